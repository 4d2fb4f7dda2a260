"""Flags of fits that a law does not suit."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit.fits.flags import FIT_MEANINGS, QUIET, flags_text, runs_by_flag, warning_text

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


def test_flags_are_gathered_by_what_they_say_as_run_by_run():
    rng = np.random.default_rng(3)
    own = ("few_points", "positivity", "at_bound")
    others = ("spike", "rounded", "few_points", "nan_loss")
    names = [f"run {i}" for i in range(12)]
    seen = set()
    for _ in range(200):
        fit = {flag: rng.random(12) < 0.1 for flag in own}
        data = {
            r: tuple(rng.permutation(others)[: rng.integers(1, 4)].tolist())
            for r in rng.permutation(12)[:3].tolist()
        }
        by_run = [
            (*(flag for flag in own if fit[flag][r]), *data.get(r, ())) for r in range(len(names))
        ]
        by_flag = {f: [names[r] for r in rows] for f, rows in runs_by_flag(fit, data).items()}
        text = flags_text(by_flag, FIT_MEANINGS)
        assert text == warning_text(names, by_run, FIT_MEANINGS)
        seen.add(text)
    assert len(seen) > 100
    assert runs_by_flag({flag: np.zeros(12, bool) for flag in own}, {}) == {}
