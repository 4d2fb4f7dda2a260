"""The broken power law."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

import lossfit
from lossfit import laws, priors

matplotlib.use("agg")

END = 1000.0
TRUTH = {"E": 2.0, "A": 0.3, "alpha": 0.2, "d": 0.3, "c": 0.4}  # of x / END


def formula(x, E, A, alpha, d, c, f=0.25):
    """One break of Caballero et al. 2022."""
    return E + A * x**-alpha * (1 + (x / d) ** (1 / f)) ** (-c * f)


@pytest.fixture(scope="module")
def runs():
    x = np.linspace(0.01, 1, 100)
    noise = np.random.default_rng(0).normal(0, 0.002, x.size)
    return lossfit.Runs.from_arrays("step", END * x, formula(x, **TRUTH) + noise)


@pytest.fixture(scope="module")
def fit(runs):
    return lossfit.fit(runs, "broken_power", window="all")


def test_broken_power_by_hand():
    x = np.array([0.02, 0.3, 1.0, 4.0])
    law = laws.get("broken_power")
    alpha, d, r = np.array([[0.4, 1.2], [0.1, 2.5], [0.5, 3.0]])
    found = law.evaluate(x, [alpha, d, r], [[1.8, 1.8], [0.3, 0.3]])
    for j in range(2):
        c = (r[j] - 1) * alpha[j]
        raw = formula(x, 0, 1, alpha[j], d[j], c)
        np.testing.assert_allclose(found[:, j], 1.8 + 0.3 * raw / raw[2], rtol=1e-12)


def test_without_a_change_of_exponent_it_is_power():
    x = np.geomspace(0.01, 5, 20)
    linear = [[2.0], [0.3]]
    found = laws.get("broken_power").evaluate(x, [[0.4], [0.3], [1.0]], linear)
    np.testing.assert_allclose(found, laws.get("power").evaluate(x, [[0.4]], linear), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_prior_without_a_break_gives_the_fit_of_power(runs):
    window = (0.4, 1.0)
    pinned = {"r": priors.lognormal(1.0, 1e-4)}
    broken = lossfit.fit(runs, "broken_power", window=window, priors=pinned, draws=2000)
    power = lossfit.fit(runs, "power", window=window, draws=8000)
    for name in ("alpha", "E", "A", "sigma"):
        a, b = broken.scaled_posterior[name], power.scaled_posterior[name]
        assert abs(float(a.mean() - b.mean())) < 0.1 * float(b.std()), name
        assert float(a.std() / b.std()) == pytest.approx(1, abs=0.1), name


def test_a_planted_break_is_found(fit):
    posterior = fit.posterior
    c = (posterior["r"] - 1) * posterior["alpha"]
    found = {
        "E": posterior["E"],
        "A": posterior["A"] / END ** posterior["alpha"],
        "alpha": posterior["alpha"],
        "d": posterior["d"] / END,
        "c": c,
    }
    for name, draws in found.items():
        assert abs(float(draws.mean()) - TRUTH[name]) < 3 * float(draws.std()), name
    assert float(found["d"].std()) < 0.01
    assert float(c.min()) > 0.2
    assert fit.settings.method == "ensemble"
    assert fit.flags == [()]
    assert fit.summary()["rhat"].max() < 1.01


@pytest.mark.slow
def test_the_ensemble_agrees_with_emcee(runs, fit):
    reference = lossfit.fit(runs, "broken_power", window="all", method="emcee", draws=500)
    assert reference.flags == [()]
    for k, name in enumerate(fit.parameters):
        sd = reference.draws[0, k].std()
        assert abs(fit.draws[0, k].mean() - reference.draws[0, k].mean()) < 0.12 * sd, name
        assert fit.draws[0, k].std() / sd == pytest.approx(1, abs=0.15), name


def test_parameters_of_broken_power_are_in_units_of_the_axis(fit):
    at = np.array([50.0, 400.0, 3000.0])
    p = {name: value.values[..., None] for name, value in fit.posterior.data_vars.items()}
    c = (p["r"] - 1) * p["alpha"]
    wanted = formula(at, p["E"], p["A"], p["alpha"], p["d"], c)
    np.testing.assert_allclose(fit.predict(at), wanted, rtol=1e-9)
    table = fit.summary()
    assert 280 < table.loc[("0", "d"), "mean"] < 330


def test_broken_power_extrapolates_and_plots(runs, fit, tmp_path):
    answer = lossfit.extrapolate(
        runs, at=2000.0, axis="step", laws="broken_power", draws=500, window="all"
    )
    row = answer.frame.iloc[0]
    truth = formula(2.0, **TRUTH)
    assert row["lower"] < truth < row["upper"]
    assert row["upper"] - row["lower"] < 0.1
    for name, shown in {"fit": fit, "answer": answer}.items():
        shown.plot().figure.savefig(tmp_path / f"{name}.png", dpi=30)
    assert "broken_power" in str(answer)
