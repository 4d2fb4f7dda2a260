"""Runs of three to eight points, alone and beside long ones, at levels of the loss of any size."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from tests.properties.strategies import Curve, runs_of

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


@pytest.mark.parametrize("law", ["power", "power_linear"])
def test_a_short_run_beside_a_long_one(law):
    """Scratch for the longest run must not change how the sums of the others are grouped."""
    rng = np.random.default_rng(0)

    def curve(n: int) -> Curve:
        x = np.arange(1, n + 1) / n
        return Curve(x, rng.uniform(1, 3) + x ** -rng.uniform(0.2, 0.8) + rng.normal(0, 0.01, n))

    short = [curve(n) for n in (3, 4, 5, 6, 7, 8) for _ in range(20)]
    names = [f"run{i}" for i in range(len(short))]
    beside = lossfit.fit(runs_of([*short, curve(600)], [*names, "long"]), law, draws=20)
    for i, one in enumerate(short):
        alone = lossfit.fit(runs_of([one], [names[i]]), law, draws=20)
        np.testing.assert_array_equal(alone.draws[0], beside.draws[i])


def test_spikes_are_found_at_any_level_of_the_loss():
    """The forecast's own search for spikes has no length scale in nats."""
    rng = np.random.default_rng(0)
    x = np.arange(1, 61) * 100.0
    y = 2 + x**-0.3 + rng.normal(0, 0.01, 60)
    y[40] += 0.5
    schedule = lossfit.schedules.constant(1.0, axis="tokens")
    found = [
        lossfit.extrapolate(
            runs_of([Curve(x, size * y)]),
            at=12_000,
            axis="tokens",
            schedule=schedule,
            domain="other",  # by itself the law looks whether a loss is a language model's
        ).mixed.curves
        / size
        for size in (1.0, 2.0**-27)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
