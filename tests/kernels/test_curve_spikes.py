"""Which points the default forecast leaves out as spikes."""

from __future__ import annotations

import numpy as np
import pytest

from lossfit.forecasts.constants import cell_grid, hyper_prior
from tests.kernels.curve_problems import simple, solve
from tests.oracles.forecast_oracle import clean

T = np.arange(1.0, 401.0)
SMOOTH = {
    "1/t": lambda t: 10 / t,
    "1/t above a floor": lambda t: 2 + 10 / t,
    "orders of magnitude": lambda t: 3e3 * t**-1.5,
    "a language model's": lambda t: 1.8 + 9 * t**-0.4,
    "steep, then flat": lambda t: 2 + 8 * np.exp(-t / 40),
    "a step down": lambda t: np.where(t < 200, 3.0, 2.0) * t**-0.05,
    "a rise": lambda t: 2 + t / 300,
}
STEEP_AT_FIRST = ("1/t", "1/t above a floor", "orders of magnitude")
WILD = {"inside": [150], "two together": [150, 151], "first": [0], "last": [-1], "both": [0, -1]}


def points(t: np.ndarray, loss: np.ndarray) -> int:
    """How many stay in the kernel; the plain oracle says the same."""
    record = solve(
        [simple(t, loss, t[-1:] * 2, 1, grid=cell_grid(False), hyper=hyper_prior())], 20
    ).records[0]
    assert record["points"] == len(clean(t, loss, bool((loss > 0).all()))[0])
    return int(record["points"])


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("n", [12, 60, 400])
def test_nothing_is_dropped_of_a_steep_curve(name, n):
    t = T[:n] if n < 400 else T
    loss = SMOOTH[name](t)
    # The far beginning of an exponential in log t bends within one step: before any window.
    start = 3 if name == "steep, then flat" else 0
    assert points(t[start:], loss[start:]) == n - start
    if name != "orders of magnitude":  # which bends within one step unless on the logarithm
        assert points(t[start:], loss[start:] - loss.max() - 1) == n - start


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("seed", range(3))
def test_noise_is_kept(name, seed):
    noise = np.random.default_rng(seed).normal(0, 0.02, len(T))
    assert points(T, SMOOTH[name](T) * np.exp(noise)) == len(T)


@pytest.mark.parametrize(
    ("name", "where"),
    # The first step of some curves is as large as these spikes.
    [(n, w) for n in SMOOTH for w in WILD if 0 not in WILD[w] or n not in STEEP_AT_FIRST],
)
@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_spikes_are_dropped(name, where, factor):
    loss = SMOOTH[name](T) * np.exp(np.random.default_rng(5).normal(0, 0.01, len(T)))
    loss[WILD[where]] *= factor
    assert points(T, loss) == len(T) - len(WILD[where])
