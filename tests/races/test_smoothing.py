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
