"""Means, deviations and quantiles of many rows, in blocks, against NumPy a row at a time."""

from __future__ import annotations

import numpy as np
import pytest

from lossfit import DataError
from lossfit._base import summaries
from lossfit._base.summaries import (
    Moments,
    check_prob,
    describe,
    deviations,
    prob_less,
    sorted_quantile,
)


@pytest.mark.parametrize("shape", [(7, 3, 40), (5, 1), (1, 9), (2, 3, 4, 5)])
@pytest.mark.parametrize("block", [1, 64, 100, 1 << 17])
@pytest.mark.parametrize("prob", [0.5, 0.9])
def test_every_row_is_described(monkeypatch, shape, block, prob):
    monkeypatch.setattr(summaries, "BLOCK", block)
    draws = np.random.default_rng(0).standard_gamma(1.0, shape)
    found = describe(draws, prob)
    assert found.shape == (5, *shape[:-1])
    for index in np.ndindex(shape[:-1]):
        row = draws[index]
        sd = row.std(ddof=1) if len(row) > 1 else 0.0
        ends = np.quantile(row, [(1 - prob) / 2, 0.5, (1 + prob) / 2])
        np.testing.assert_allclose(
            found[(slice(None), *index)], [row.mean(), sd, *ends], rtol=1e-12
        )
    np.testing.assert_array_equal(deviations(draws), found[1])


@pytest.mark.parametrize(("draws", "rows"), [(1, 8), (3, 2), (8, 1), (20, 1)])
def test_a_block_has_so_many_draws(monkeypatch, draws, rows):
    """A row at least: memory is bounded by the block, not by the number of rows."""
    monkeypatch.setattr(summaries, "BLOCK", 8)
    made = np.arange(30.0 * draws).reshape(5, 6, draws)
    blocks = list(summaries._blocks(made))
    assert [len(part) for _, part in blocks] == [rows] * (30 // rows) + [30 % rows] * (
        30 % rows > 0
    )
    where = np.concatenate([np.arange(30)[place] for place, _ in blocks])
    assert where.tolist() == list(range(30))
    np.testing.assert_array_equal(
        np.concatenate([part for _, part in blocks]), made.reshape(30, -1)
    )
    assert summaries.BLOCK == 8


def test_huge_numbers_have_an_infinite_sd_and_no_warning():
    found = describe(np.array([[1e300, -1e300, 1e308]]), 0.9)
    assert np.isinf(found[1, 0])


@pytest.mark.parametrize("q", [0.0, 0.05, 0.5, 0.77, 1.0])
def test_quantiles_of_sorted_rows(q):
    rows = np.sort(np.random.default_rng(1).standard_normal((4, 11)))
    np.testing.assert_allclose(sorted_quantile(rows, q), np.quantile(rows, q, axis=1))
    found = summaries.quantiles(rows[:, ::-1], (q, 0.5))
    np.testing.assert_allclose(found, np.quantile(rows, [q, 0.5], axis=1))


@pytest.mark.parametrize("wrong", [0, 1, -0.1, 1.5, "x", None, float("nan"), [0.9, 0.8]])
def test_a_probability_lies_between_0_and_1(wrong):
    with pytest.raises(DataError, match=r"prob must be a probability between 0 and 1 such as 0\.9"):
        check_prob(wrong)


@pytest.mark.parametrize("good", [1e-9, "0.5", 0.999])
def test_probabilities(good):
    assert check_prob(good) == float(good)


def test_moments_hold_numbers_beyond_float32():
    rng = np.random.default_rng(3)
    draws = [10.0**power * rng.standard_normal((3, 50)) for power in (0, 60, -60)]
    kept = Moments.empty(5, 3)
    kept.fill(slice(1, 4), draws, 0.8)
    assert kept.mantissa.shape == kept.exponent.shape == (5, 3, 4)
    kept = kept.select(np.array([1, 2, 3]))
    for parameter, of_runs in enumerate(draws):
        expected = describe(of_runs, 0.8)[[0, 1, 2, 4]].T
        np.testing.assert_allclose(kept.values[:, parameter], expected, rtol=1e-7)
    assert (kept.mantissa.dtype, kept.exponent.dtype) == (np.float32, np.int16)
    chosen = kept.select(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.values, kept.values[[2, 0]])
    np.testing.assert_array_equal(Moments.of(kept.values).values, kept.values)


def test_ties_are_not_less():
    assert prob_less(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.0
    assert prob_less(np.array([0.0, 1.0]), np.array([1.0])) == 0.5
