from __future__ import annotations

import numpy as np
import pytest
from scipy.special import beta, ndtr
from scipy.stats import norm, t

from lossfit.backtests.scores import crps, score


def test_crps_is_the_energy_form():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 40)), rng.normal(size=5)
    pairs = np.abs(x[:, :, None] - x[:, None, :]).mean((1, 2))
    expected = np.abs(x - y[:, None]).mean(1) - 0.5 * pairs
    np.testing.assert_allclose(crps(np.sort(x), y), expected, rtol=1e-12)


def test_scores_agree_with_the_normal_distributions():
    rng = np.random.default_rng(1)
    mean, sd = rng.uniform(1, 3, 6), rng.uniform(0.01, 0.2, 6)
    observed = mean + sd * np.array([-2.5, -1, 0, 0.3, 1.2, 1.9])
    levels = (np.arange(40_000) + 0.5) / 40_000
    draws = mean[:, None] + sd[:, None] * norm.ppf(levels)
    found = score(rng.permuted(draws, axis=1), observed, 0.8)
    z = (observed - mean) / sd
    closed = sd * (z * (2 * ndtr(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    np.testing.assert_allclose(found.crps, closed, rtol=2e-3)
    np.testing.assert_allclose(found.pit, ndtr(z), atol=1e-4)
    density = norm.pdf(observed, mean, sd) * observed
    np.testing.assert_allclose(found.log_score, np.log(density), atol=0.05)
    np.testing.assert_allclose(found.median, mean, atol=1e-3)
    np.testing.assert_allclose(found.upper, mean + sd * norm.ppf(0.9), rtol=1e-3)
    inside = np.abs(z) <= norm.ppf(0.5 + np.array([[0.5], [0.8], [0.9], [0.95]]) / 2)
    np.testing.assert_array_equal(found.cover, inside)


@pytest.mark.parametrize("nu", [3.0, 8.0])
def test_crps_agrees_with_the_student_t_distributions(nu):
    y = np.array([-4.0, -0.5, 0.0, 2.0])
    draws = t.ppf((np.arange(200_000) + 0.5) / 200_000, nu)
    tail = 2 * np.sqrt(nu) / (nu - 1) * beta(0.5, nu - 0.5) / beta(0.5, nu / 2) ** 2
    spread = 2 * t.pdf(y, nu) * (nu + y**2) / (nu - 1)
    closed = y * (2 * t.cdf(y, nu) - 1) + spread - tail
    np.testing.assert_allclose(crps(np.tile(draws, (4, 1)), y), closed, rtol=1e-3)


def test_a_far_outcome_has_a_bounded_log_score():
    draws = np.random.default_rng(2).normal(2, 0.01, (1, 500))
    assert score(draws, np.array([3.0]), 0.9).log_score.item() == pytest.approx(np.log(1e-3))
