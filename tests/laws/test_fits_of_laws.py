"""What holds for a fit of every registered law to its own example."""

from __future__ import annotations

from functools import cache

import matplotlib
import numpy as np
import pytest

import lossfit
from lossfit import laws
from tests.laws import formulas

matplotlib.use("agg")
pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")

END = 1000.0  # of the window, in steps


@cache
def example_fit(law: str) -> lossfit.Fit:
    """The fit of the law to its own example."""
    example = laws.get(law).example(points=200)
    runs = lossfit.Runs.from_arrays("step", END * example.x, example.loss)
    return lossfit.fit(runs, law, window="all", draws=1000, random_seed=1)


@pytest.mark.parametrize("name", laws.NAMES)
def test_parameters_in_units_of_the_axis_give_the_predictions(name):
    fit = example_fit(name)
    at = np.array([0.4, 1.0, 3.0]) * END
    values = {key: value.values[..., None] for key, value in fit.posterior.data_vars.items()}
    predicted = fit.predict(at)
    assert predicted.dims == ("chain", "draw", "run", "at")
    np.testing.assert_allclose(predicted, formulas.curve(fit.law, at, values), rtol=1e-8)


@pytest.mark.parametrize("name", laws.NAMES)
def test_a_fit_of_its_example_holds_the_truth(name):
    fit = example_fit(name)
    example = laws.get(name).example(points=200, noise=1e-12)
    curves = fit.predict(END * example.x).stack(sample=["chain", "draw"]).isel(run=0)
    middle, spread = curves.median("sample"), curves.std("sample")
    # Within 4.5 sd of the posterior everywhere: one seed of noise, points that hang together.
    np.testing.assert_array_less(np.abs(middle - example.loss), 4.5 * spread + 1e-6)
    # The whole curve is known to less than the noise of a point.
    assert float(spread.median()) < 0.01
    assert "contradicted" not in fit.flags[0]


@pytest.mark.parametrize("name", laws.NAMES)
def test_two_methods_agree_on_its_example(name):
    law = laws.get(name)
    example = law.example(points=60)
    runs = lossfit.Runs.from_arrays("step", END * example.x, example.loss)
    own = lossfit.fit(runs, name, window="all", draws=4000)
    sampled = lossfit.fit(runs, name, window="all", draws=4000, method="ensemble", random_seed=2)
    at = END * np.array([0.1, 1.0, 2.0])
    a, b = (fit.predict(at).isel(run=0).stack(sample=["chain", "draw"]) for fit in (own, sampled))
    gap = (a.mean("sample") - b.mean("sample")) / a.std("sample")
    assert np.abs(gap).max() < 0.25
    np.testing.assert_allclose(a.std("sample"), b.std("sample"), rtol=0.3)


@pytest.mark.parametrize("name", laws.NAMES)
def test_it_extrapolates_and_is_drawn(name, tmp_path):
    fit = example_fit(name)
    answer = lossfit.extrapolate(
        fit.runs, at=2 * END, axis="step", laws=name, draws=200, window="all"
    )
    row = answer.frame.iloc[0]
    assert row["lower"] < row["median"] < row["upper"]
    assert name in str(answer)
    for kind, result in {"fit": fit, "answer": answer}.items():
        result.plot().figure.savefig(tmp_path / f"{kind}.png", dpi=30)
