"""The law with one smooth break, which quadrature does not take."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit import laws

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


def formula(x, alpha, d, r, f=0.25):
    """Caballero et al. 2022, with one break, scaled to 1 at x = 1."""
    c = (r - 1) * alpha
    return x**-alpha * ((1 + (x / d) ** (1 / f)) / (1 + d ** (-1 / f))) ** (-c * f)


def test_the_column_is_the_formula():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0.01, 2, 40))
    theta = np.stack([rng.uniform(0.1, 1, 25), rng.uniform(0.02, 2, 25), rng.uniform(0.2, 5, 25)])
    found = laws.get("broken_power").program.column(1, x, theta)
    np.testing.assert_allclose(found, formula(x[:, None], *theta), rtol=1e-11)
    theta[2] = 1.0  # no break
    found = laws.get("broken_power").program.column(1, x, theta)
    np.testing.assert_allclose(found, x[:, None] ** -theta[0], rtol=1e-11)


def test_a_planted_break_is_found():
    rng = np.random.default_rng(1)
    step = np.arange(1.0, 401) * 100
    loss = 2 + 0.5 * formula(step / 40_000, 0.2, 0.2, 3.0) + rng.normal(0, 0.002, step.size)
    runs = lossfit.Runs.from_arrays("step", step, loss)
    fit = lossfit.fit(runs, "broken_power", window=(0.02, 1.0), draws=1000)
    table = fit.summary(prob=0.95).droplevel("run")
    for name, true in (("d", 8000.0), ("E", 2.0), ("alpha", 0.2), ("r", 3.0)):
        assert table.loc[name, "lower"] < true < table.loc[name, "upper"], name
    assert (table["rhat"].dropna() < 1.05).all()
    options = {"laws": "broken_power", "window": (0.02, 1.0), "draws": 400}
    answer = lossfit.extrapolate(runs, at=80_000, **options)
    truth = 2 + 0.5 * formula(2.0, 0.2, 0.2, 3.0)
    assert answer.frame["lower"].item() - 0.02 < truth < answer.frame["upper"].item() + 0.02
