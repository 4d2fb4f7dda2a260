from __future__ import annotations

import numpy as np
import pytest

from lossfit.kernels.driver import Batch, PriorTable, fit_batch, predict_batch
from tests.kernels.oracles import EXACT, Problem, arguments, columns, random_problem


def problems(law: str, count: int) -> list[Problem]:
    """Short and long, easy and cut off."""
    return [random_problem(np.random.default_rng([9, i]), law) for i in range(count)]


@pytest.fixture(scope="module", params=["power_linear", "power_offset"])
def batch(request):
    some = problems(request.param, 150)
    keys = np.random.default_rng(3).integers(2**63, size=len(some)).astype(np.uint64)
    return some, keys, fit_batch(*arguments(some), keys, draws=50)


def test_a_run_alone_has_the_draws_that_it_has_in_a_batch(batch):
    some, keys, together = batch
    for i in (0, 7, 63, 64, 149):
        alone = fit_batch(*some[i].arguments(), keys[i : i + 1], draws=50)
        np.testing.assert_array_equal(alone.draws[0], together.draws[i])
        np.testing.assert_array_equal(alone.info[0], together.info[i])


def test_order_and_threads_do_not_matter(batch):
    some, keys, together = batch
    order = np.random.default_rng(1).permutation(len(some))
    shuffled = arguments([some[i] for i in order])
    for threads in (1, 2, 5):
        again = fit_batch(*shuffled, keys[order], draws=50, threads=threads)
        np.testing.assert_array_equal(again.draws, together.draws[order])


def test_keys_matter(batch):
    some, keys, together = batch
    other = fit_batch(*arguments(some), keys + np.uint64(1), draws=50)
    assert not np.any(np.all(other.draws == together.draws, axis=(1, 2)))


@pytest.mark.parametrize(
    ("method", "noise"), [("ensemble", "gaussian"), ("quadrature", "student_t")]
)
def test_samplers_are_reproducible(method, noise):
    some = problems("power", 3)
    keys = np.arange(3, dtype=np.uint64)
    options = {"method": method, "noise": noise, "chains": 2, "tune": 20, "draws": 30}
    together = fit_batch(*arguments(some), keys, **options)
    alone = fit_batch(*some[1].arguments(), keys[1:2], threads=1, **options)
    np.testing.assert_array_equal(alone.draws[0], together.draws[1])
    assert not np.array_equal(together.draws[0, :, :30], together.draws[0, :, 30:])


def test_among_ten_thousand():
    problem = random_problem(np.random.default_rng(2), "power", 20)
    b, program, table = problem.arguments()
    count = 10_000
    many = Batch(*(np.tile(v, count) for v in b[:3]), np.arange(count + 1) * 20)
    tables = PriorTable(*(np.repeat(v, count, axis=0) for v in table))
    keys = np.arange(count, dtype=np.uint64)
    all_of_them = fit_batch(many, program, tables, keys, draws=20)
    one = fit_batch(b, program, table, keys[7777:7778], draws=20)
    np.testing.assert_array_equal(one.draws[0], all_of_them.draws[7777])


@pytest.mark.parametrize("law", EXACT)
def test_predictions(law):
    rng = np.random.default_rng(4)
    some = problems(law, 5)
    b, program, table = arguments(some)
    draws = fit_batch(b, program, table, np.arange(5, dtype=np.uint64), draws=70).draws
    at = np.exp(rng.uniform(-1, 2, (5, 4)))
    at[2, 1] = np.nan
    found = predict_batch(program, draws, at)
    assert found.shape == (5, 4, 70)
    assert np.isnan(found[2, 1]).all()
    assert np.isnan(found).sum() == 70
    d = len(program.nonlinear)
    for r in range(5):
        for t in range(4):
            terms = columns(law, at[r, t : t + 1], draws[r, :d])[:, 0]
            wanted = (terms * draws[r, d:-1].T).sum(axis=1)
            np.testing.assert_allclose(found[r, t], wanted, rtol=1e-9, atol=1e-12)
