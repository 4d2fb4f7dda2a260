"""Noise about a level shows no fall; a fall shows, whether slow or soon over."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from lossfit.forecasts.falling import CLEAR, LEAST_POINTS, _ranks, shows_no_fall

RUNS = 1000


def share(losses: np.ndarray) -> float:
    runs, n = losses.shape
    return float(shows_no_fall(losses.ravel(), n * np.arange(runs + 1)).mean())


@pytest.mark.parametrize("n", [60, 100, 1000])
@pytest.mark.parametrize("noise", ["normal", "student", "rounded", "skewed"])
def test_noise_about_a_level_is_said_to_show_no_fall(n: int, noise: str) -> None:
    rng = np.random.default_rng(n)
    size = (RUNS, n)
    losses = {
        "normal": rng.normal(0, 1, size),
        "student": rng.standard_t(2, size),
        "rounded": np.round(rng.normal(0, 1, size)),
        "skewed": rng.exponential(1, size),
    }[noise]
    assert 0.9 <= share(3 + 0.1 * losses) < 0.95


@pytest.mark.parametrize("n", [60, 300])
@pytest.mark.parametrize("fall", ["slow", "soon over", "cooldown", "power law"])
def test_a_fall_of_the_size_of_the_noise_shows(n: int, fall: str) -> None:
    u = np.arange(1, n + 1) / n
    curve = {
        "slow": 1.6 * (1 - u),
        "soon over": 3.0 * (u < 0.12),
        "cooldown": 1.8 * (u < 0.75),
        "power law": 0.8 * u**-0.3,
    }[fall]
    curve *= 300**0.5 / n**0.5  # what can be told from fewer points is larger
    noise = np.random.default_rng(n).standard_normal((RUNS, n))
    assert share(3 + 0.02 * (curve + noise)) <= 0.02
    assert share(3 - 0.02 * curve + 0.002 * noise) == 1  # a rise is no fall


def test_against_ranks_of_scipy_run_by_run() -> None:
    rng = np.random.default_rng(0)
    runs = [np.round(rng.normal(0, 1, n) - 0.01 * np.arange(n), 1) for n in
            (5, 39, 40, 41, 60, 60, 60, 200, 333)]  # fmt: skip
    by_hand = []
    for loss in runs:
        n, rank = len(loss), rankdata(loss)
        np.testing.assert_array_equal(_ranks(loss[None])[0] + 1, rank)
        falls = []
        for place in (np.arange(n), np.log(np.arange(1, n + 1))):
            spread = np.sqrt(np.var(place) * np.var(rank, ddof=1) * n)
            falls.append(-np.sum((place - place.mean()) * (rank - rank.mean())) / spread)
        by_hand.append(n >= LEAST_POINTS and max(falls) < CLEAR)
    offsets = np.cumsum([0, *map(len, runs)])
    assert shows_no_fall(np.concatenate(runs), offsets).tolist() == by_hand
    assert 0 < sum(by_hand) < len(runs) - 2
    assert shows_no_fall(np.full(50, 2.5), np.array([0, 50])).tolist() == [True]
