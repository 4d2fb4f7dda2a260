"""The fit in ArviZ's own functions, whichever version is installed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

import lossfit
from lossfit import DataError
from lossfit.fits import arviz_adapter, arviz_groups
from tests.curves import power_runs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz as az

OLD = arviz_adapter.version() < (1, 0)

pytestmark = pytest.mark.filterwarnings("ignore")  # ArviZ's and matplotlib's own


@pytest.fixture(scope="module")
def fit():
    return lossfit.fit(power_runs(2), draws=200)


@pytest.fixture(scope="module")
def one(fit):
    return fit.select("run0").to_datatree()


@pytest.fixture(autouse=True)
def no_window():
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("Agg")
    yield
    plt.close("all")


def test_groups(fit):
    tree = fit.to_datatree()
    for group in (
        "posterior", "posterior_predictive", "log_likelihood", "observed_data", "constant_data",
        "sample_stats",
    ):  # fmt: skip
        assert group in (tree.groups() if OLD else tree.children)
    n_max = int(fit.count.max())
    assert dict(tree["posterior_predictive"]["loss"].sizes) == {
        "chain": 1, "draw": 200, "run": 2, "obs": n_max,
    }  # fmt: skip
    short = int(fit.count[0])
    loss = tree["observed_data"]["loss"].values
    assert np.isnan(loss[0, short:]).all()
    assert not np.isnan(loss[0, :short]).any()
    step = tree["constant_data"]["step"].values
    np.testing.assert_array_equal(step[1], fit.runs["run1"].axis("step")[-n_max:])
    assert tree["posterior"].attrs["law"] == "power_linear"


def test_log_likelihood_agrees_with_scipy():
    step = np.arange(1.0, 41)
    rng = np.random.default_rng(2)
    weight = rng.uniform(0.3, 2, 40)
    runs = lossfit.Runs.from_arrays(
        "step", step, 2 + step**-0.5 + rng.normal(0, 0.02, 40), weight=weight
    )
    for noise in ("gaussian", "student_t"):
        fit = lossfit.fit(runs, "power", window="all", noise=noise, draws=30, tune=20)
        groups = arviz_groups.groups(fit)
        found = groups["log_likelihood"]["loss"].values[0, :, 0]
        spread = fit.posterior["sigma"].values[0] / np.sqrt(runs["0"].weight)
        family = stats.norm if noise == "gaussian" else stats.t(4)
        gap = (runs["0"].loss - fit.predict(step).values[0, :, 0]) / spread
        np.testing.assert_allclose(found, family.logpdf(gap) - np.log(spread), rtol=1e-8)
        total = groups["sample_stats"]["log_likelihood"].values[0, :, 0]
        np.testing.assert_allclose(total, found.sum(axis=-1))


def test_summary_is_arviz_own(fit):
    tree = fit.to_datatree()
    table = az.summary(tree, round_to=None if OLD else "none")
    assert len(table) == 10
    wanted = fit.summary()["mean"].loc[("run1", "alpha")]
    assert float(table.loc["alpha[run1]", "mean"]) == pytest.approx(wanted, rel=1e-3)
    mine = arviz_adapter.summary(tree, prob=0.8)
    assert list(mine.index) == list(table.index)


def test_plots_take_the_fit(fit, one):
    ragged = fit.to_datatree()
    if OLD:
        az.plot_posterior(ragged, var_names=["alpha"])
        az.plot_trace(one)
        az.plot_forest(ragged, var_names=["alpha", "E"])
        az.plot_ppc(one, num_pp_samples=20)
    else:
        az.plot_dist(ragged, var_names=["alpha"])
        az.plot_trace_dist(one)
        az.plot_forest(ragged, var_names=["alpha", "E"])
        az.plot_ppc_dist(one)


def test_loo_takes_one_run(one):
    assert np.isfinite(az.loo(one, var_name="loss").elpd_loo if OLD else az.loo(one).elpd)


def test_files_open_in_arviz(fit, tmp_path):
    fit.to_netcdf(tmp_path / "fit.nc")
    opened = az.from_netcdf(tmp_path / "fit.nc")
    np.testing.assert_array_equal(opened["posterior"]["alpha"], fit.posterior["alpha"])
    opened.close()


def test_huge_groups_are_refused(fit, monkeypatch):
    monkeypatch.setattr(arviz_groups, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match=r"select some runs, or ask for to_datatree\(predictive"):
        fit.to_datatree()
    small = fit.to_datatree(predictive=False)
    assert "log_likelihood" not in (small.groups() if OLD else small.children)


def test_ess_and_rhat_broadcast_over_runs():
    rng = np.random.default_rng(0)
    import xarray as xr

    draws = rng.normal(size=(4, 500, 3))
    draws[0, :, 2] += 3
    data = xr.Dataset({"a": (("chain", "draw", "run"), draws)})
    ess, rhat = arviz_adapter.diagnostics(data)
    assert (ess["a"][:2] > 1500).all()
    assert (rhat["a"][:2] < 1.02).all()
    assert rhat["a"][2] > 1.2
