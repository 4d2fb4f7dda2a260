"""Flags of fits that a law does not suit."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit.fits.flags import QUIET

END = 1000.0


def flat_tail(slope):
    """A power law plus a line that rises by `slope` up to the end."""
    x = np.geomspace(0.05, 1, 200)
    y = 1.8 + 0.3 * x**-0.4 + slope * x + np.random.default_rng(1).normal(0, 0.01, x.size)
    return lossfit.Runs.from_arrays("step", END * x, y)


@pytest.mark.parametrize("law", ["power_linear", "power_linear_offset"])
def test_data_that_contradict_the_constraints_are_warned_of(law):
    assert "contradicted" not in QUIET
    with pytest.warns(lossfit.LossfitWarning, match="contradicted"):
        fit = lossfit.fit(flat_tail(0.5), law, window="all")
    assert {"positivity", "contradicted"} <= set(fit.flags[0])
    assert fit.diagnostics["acceptance"].iloc[0] < 1e-4


def test_data_that_merely_press_against_a_constraint_are_not():
    fit = lossfit.fit(flat_tail(0.02), window="all")
    assert 1e-4 < fit.diagnostics["acceptance"].iloc[0] < 0.9
    assert fit.flags == [("positivity",)]
