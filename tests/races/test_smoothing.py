"""Smoothed curves of races: their noise has the right size, and they meet the forecasts."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit.forecasts.question import Question
from lossfit.races import curves as curves_module
from lossfit.races import smoothing
from lossfit.races.curves import race_curves
from lossfit.races.smoothing import smoothers
from tests.races import spline_oracle

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


def lines(count, points, sd):
    """Runs of a curve that the smoother has as it is, with noise of one size."""
    rng = np.random.default_rng(0)
    t = np.linspace(100, 1000, points)
    loss = 3 - 0.4 * np.log(t / 1000) + rng.normal(0, sd, (count, points))
    offsets = np.arange(count + 1) * points
    return lossfit.Runs.from_arrays("step", np.tile(t, count), loss.ravel(), offsets)


def test_the_columns_take_their_degrees_of_freedom():
    """Four columns are fitted to nine points: five are left for the noise."""
    smooth = smoothers(lines(3, 9, 0.02), "step")
    np.testing.assert_allclose(smooth.freedom, 9 - 4 + smoothing.PRIOR_POINTS)


def test_a_smoothed_curve_ends_where_its_forecast_begins(monkeypatch):
    """A forecast that begins one nat higher takes the end of the smoothed curve with it."""
    real = curves_module.curves_of

    def higher(*arguments, **options):
        made = real(*arguments, **options)
        made.curves[:] += 1.0
        return made

    monkeypatch.setattr(curves_module, "curves_of", higher)
    runs = lines(3, 60, 0.02)
    at = np.array([150.0, 1000.0, 1500.0])
    curves = race_curves(runs, at, Question.of(runs, "step", draws=300))
    early, end, _ = np.median(curves.draws, axis=2).T
    np.testing.assert_allclose(curves.gap, 1.0, atol=0.05)
    np.testing.assert_allclose(end, 4.0, atol=0.05)
    np.testing.assert_allclose(early, 3 - 0.4 * np.log(0.15), atol=0.1)


def bent(t, sd, level, rng):
    """A power law that falls faster at its end, with noise."""
    share = t / t[-1]
    fall = 0.3 * np.exp(-(((1 - share) / 0.1) ** 2))
    return level + share**-0.4 - fall + rng.normal(0, sd, len(t))


def curve(kind):
    """Places, losses, and what these are rounded by."""
    rng = np.random.default_rng(5)
    if kind == "short":
        t = np.geomspace(200.0, 4000.0, 25)
        return t, bent(t, 0.25, 3.0, rng), 0.0
    if kind == "long":  # it is binned, and begins at 0
        t = np.arange(0.0, 3000.0, 7.0)
        return t, np.r_[15.0, bent(t[1:], 0.05, 2.0, rng)], 0.0
    if kind == "rounded":  # no noise but that of one decimal: the prior of the noise matters
        t = np.linspace(50.0, 1000.0, 8)
        return t, np.round(bent(t, 0.0, 50.0, rng), 1), 0.1 / 12**0.5
    t = np.arange(10.0, 700.0, 10.0)
    return t, 0.01 * bent(t, 0.5, -3.0, rng), 0.0  # flat: the slope is nearly all noise


@pytest.mark.parametrize("kind", ["short", "long", "rounded", "flat"])
@pytest.mark.parametrize("company", [False, True])
def test_the_smoother_is_what_dense_algebra_says(kind, company):
    t, y, rounding = curve(kind)
    runs = lossfit.Runs.from_arrays("step", t, y)
    if company:  # a longer run beside it changes nothing
        other = np.arange(1.0, 200.0)
        runs = lossfit.Runs.from_arrays(
            "step",
            np.r_[t, other],
            np.r_[y, 5 - np.log(other)],
            np.array([0, len(t), len(t) + 199]),
        )
    smooth = smoothers(runs, "step")
    end = t[-1]
    at = np.unique(np.r_[t[t > 0][[0, 1, -2]], np.geomspace(t[t > 0][0], end, 9)])
    least = max(rounding, 1e-9 * abs(y[t > 0].mean()))
    p, means, variances, scales = spline_oracle.posterior(t, y, at, least)
    mean = p @ means
    squared = p @ (scales[:, None] * variances)
    sd = np.sqrt(squared + p @ (means - mean) ** 2)
    np.testing.assert_allclose(smooth.weights[0], p, atol=0.01)
    count = 40_000
    where = np.tile(at, (len(runs), 1))
    keys = np.arange(3, 3 + len(runs)).astype(np.uint64)
    tied = np.random.default_rng(1).standard_normal((len(runs), count))
    for ends in (None, tied):  # tied to scores that are standard normal it is the same
        draws = smooth.draw(where, keys, count, ends)[0]
        np.testing.assert_allclose((draws.mean(1) - mean) / sd, 0, atol=0.03)
        # Its 40 patterns leave out what is finer: up to 4 % of the sd of a rough curve.
        np.testing.assert_allclose(draws.std(1) / sd, 1, atol=0.05)
    # The scores are what they say: deviations of the end, given q and sigma.
    last = np.full((len(runs), 1), end)
    low, high = (smooth.draw(last, keys, count, np.full_like(tied, z))[0, 0] for z in (0.0, 1.0))
    np.testing.assert_allclose(np.mean((high - low) ** 2) ** 0.5 / squared[-1] ** 0.5, 1, atol=0.05)
    assert np.all(high > low)
    np.testing.assert_allclose(low.mean(), mean[-1], atol=0.02 * sd[-1])


def test_patterns_are_those_of_an_integrated_wiener_process():
    v, patterns = smoothing._wiener()
    np.testing.assert_allclose(v, (2 * np.arange(512) + 1) / 1024)
    np.testing.assert_allclose(patterns @ patterns.T, spline_oracle.kernel(v, v), atol=1e-5)


def test_patterns_between_nodes_and_at_both_ends_lie_on_lines():
    """The ends of the clock are half a node beyond the outermost nodes."""
    start, end = np.array([100.0]), np.array([1000.0])
    t = np.linspace(100.0, 1000.0, 4001)[None]
    slope = np.array([[1e-300, 0.3, 1.0]])  # the least slope holds everywhere
    waves = smoothing._waves(t, start, end, slope)[0]
    _, patterns = smoothing._wiener()
    places = spline_oracle.clock(t[0], 100.0, 1000.0) * 512 - 0.5
    for k in range(0, 40, 7):
        inside = np.interp(places, np.arange(512), patterns[:, k])
        inside = np.where(
            places < 0, patterns[0, k] + places * (patterns[1, k] - patterns[0, k]), inside
        )
        beyond = patterns[-1, k] + (places - 511) * (patterns[-1, k] - patterns[-2, k])
        np.testing.assert_allclose(waves[:, k], np.where(places > 511, beyond, inside), atol=1e-12)
