from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, Fit, laws, priors, schedules
from tests.curves import power_runs


@pytest.fixture(scope="module")
def fit() -> Fit:
    return lossfit.fit(power_runs(3, slope=0.3), draws=400, random_seed=2)


def test_posterior_is_labelled(fit):
    posterior = fit.posterior
    assert dict(posterior.sizes) == {"chain": 1, "draw": 400, "run": 3}
    assert tuple(posterior.data_vars) == ("alpha", "E", "A", "B", "sigma")
    assert list(posterior["run"].values) == ["run0", "run1", "run2"]
    assert posterior["alpha"].dims == ("chain", "draw", "run")
    np.testing.assert_array_equal(posterior["x_ref"], 1000.0)
    for name in ("law", "formula", "axis", "units", "inference_library_version", "created_at"):
        assert posterior.attrs[name]
    assert posterior.attrs["random_seed"] == "2"
    assert fit.posterior is posterior


def test_scaled_parameters_are_sizes_of_terms_at_the_end_of_the_window(fit):
    at_end = fit.predict([1000.0])[..., 0]
    p = fit.scaled_posterior
    np.testing.assert_allclose(p["E"] + p["A"] - p["B"], at_end, rtol=1e-9)
    table = fit.summary(scaled=True)
    np.testing.assert_allclose(table.loc[("run2", "B"), "mean"], p["B"].sel(run="run2").mean())
    kept = lossfit.fit(power_runs(3, slope=0.3), draws=0, random_seed=2)
    with pytest.raises(DataError, match="keep='draws'"):
        kept.summary(scaled=True)


def test_predictions_do_not_depend_on_the_company(fit):
    one = fit.select("run1")
    for noise in (False, True):
        together, alone = fit.predict([500, 2000], noise), one.predict([500, 2000], noise)
        np.testing.assert_array_equal(together.sel(run="run1"), alone.sel(run="run1"))


def test_noise_has_the_size_of_sigma(fit):
    at = np.linspace(900, 1100, 50)
    gap = fit.predict(at, noise=True) - fit.predict(at)
    size = gap.std(["chain", "draw", "at"])
    wanted = np.sqrt((fit.posterior["sigma"] ** 2).mean(["chain", "draw"]))
    np.testing.assert_allclose(size, wanted, rtol=0.03)
    again = fit.predict(at, noise=True) - fit.predict(at)
    np.testing.assert_array_equal(gap, again)
    other = fit.predict(at, noise=True, random_seed=9) - fit.predict(at)
    assert not np.array_equal(gap, other)
    flat = gap.values[0, :, 0].ravel() / np.repeat(fit.posterior["sigma"].values[0, :, 0], 50)
    assert abs((np.abs(flat) < 1.96).mean() - 0.95) < 0.01


def test_student_t_noise_has_its_tails():
    fit = lossfit.fit(power_runs(1), "power", noise="student_t", draws=300, tune=50)
    assert fit.posterior.sizes["chain"] == 4
    at = np.linspace(900, 1100, 50)
    gap = (fit.predict(at, noise=True) - fit.predict(at)) / fit.posterior["sigma"]
    # P(|T_4| > 2.776) = 0.05
    assert abs((np.abs(gap) > 2.776).mean().item() - 0.05) < 0.005


@pytest.mark.parametrize("at", [[0.0, 1], [-1], [np.nan], [np.inf], [], [[1, 2]], "far", None])
def test_places_must_be_positive_numbers(fit, at):
    with pytest.raises(DataError, match=r"axis values must be|no axis value"):
        fit.predict(at)


def test_summary_agrees_with_numpy(fit):
    table = fit.summary(0.8)
    assert table.index.names == ["run", "parameter"]
    assert list(table.columns[:3]) == ["median", "lower", "upper"]
    assert set(table.columns[3:]) == {"mean", "sd", "ess", "rhat", "notes"}
    for (run, parameter), row in table.iterrows():
        draws = fit.posterior[parameter].sel(run=run).values.ravel()
        wanted = [draws.mean(), draws.std(ddof=1), *np.quantile(draws, [0.1, 0.9])]
        found = row[["mean", "sd", "lower", "upper"]].astype(float)
        np.testing.assert_allclose(found, wanted, rtol=1e-10)
        assert row["ess"] == 400
        assert np.isnan(row["rhat"])
    with pytest.raises(DataError, match="prob must be"):
        fit.summary(90)


def test_samplers_get_ess_and_rhat():
    fit = lossfit.fit(power_runs(2), "power", method="ensemble", draws=300, random_seed=1)
    table = fit.summary()
    assert (table["ess"].xs("alpha", level="parameter") < 1200).all()
    assert (table["ess"] > 50).all()
    assert table["rhat"].between(0.99, 1.1).all()
    chains = fit.draws.reshape(2, 4, 4, 300)
    apart = np.array(chains)
    apart[0, 0, 1] += 1
    split = dataclasses.replace(fit, draws=apart.reshape(fit.draws.shape))
    flags = split.summary()["notes"]
    assert "not_converged" in flags.loc[("run0", "alpha")]
    assert "not_converged" not in flags.loc[("run1", "alpha")]


def test_diagnostics(fit):
    table = fit.diagnostics
    assert list(table.index) == ["run0", "run1", "run2"]
    np.testing.assert_array_equal(
        table["n_points"], fit.padded()[0].shape[1] - np.isnan(fit.padded()[0]).sum(1)
    )
    np.testing.assert_array_equal(table["window_end"], 1000)
    rho = table["rho1"]
    np.testing.assert_allclose(
        table["n_eff"], np.clip(table["n_points"] * (1 - rho) / (1 + rho), 1, table["n_points"])
    )
    residual = fit.residuals().groupby("run")["residual"]
    for run, gap in residual:
        gap = gap.to_numpy()
        # The kernels take the residuals of a central draw, this those of the mean curve.
        assert rho[run] == pytest.approx(gap[1:] @ gap[:-1] / (gap @ gap), abs=0.2)


def test_residuals(fit):
    table = fit.residuals()
    np.testing.assert_allclose(table["loss"] - table["fitted"], table["residual"])
    assert len(table) == fit.count.sum()
    one = table[table["run"] == "run2"]
    curve = fit.predict(one["step"].to_numpy()).sel(run="run2").mean(["chain", "draw"])
    np.testing.assert_allclose(one["fitted"], curve, rtol=1e-10)
    assert one["standardised"].std() == pytest.approx(1, abs=0.2)


def test_select_keeps_the_order_asked_for(fit):
    two = fit.select(["run2", "run0"])
    assert two.runs.names == ("run2", "run0")
    np.testing.assert_array_equal(two.draws, fit.draws[[2, 0]])
    np.testing.assert_array_equal(
        two.diagnostics["n_points"], fit.diagnostics["n_points"].iloc[[2, 0]]
    )
    with pytest.raises(DataError):
        fit.select("none")


def test_a_fit_does_not_change(fit):
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.law = None
    with pytest.raises(ValueError, match="read-only"):
        fit.draws[0] = 0
    assert "3 runs on step" in repr(fit)


def rich_runs():
    runs = power_runs(3, tokens_per_step=500, params={"run1": 7e9}, meta={"run2": {"note": "é"}})
    return runs.with_schedule({"run0": schedules.wsd(1e-3, 1000, decay=0.2)})


@pytest.mark.parametrize("options", [{"draws": 60}, {"draws": 0, "prob": 0.8}])
def test_a_file_gives_the_fit_back(tmp_path, options):
    fit = lossfit.fit(
        rich_runs(), window={"run1": "all"}, priors={"E": priors.normal(1, 3)}, **options
    )
    fit.to_netcdf(tmp_path / "fit.nc")
    back = lossfit.from_netcdf(tmp_path / "fit.nc")
    assert back.runs == fit.runs
    assert back.runs["run0"].schedule == fit.runs["run0"].schedule
    assert (back.law, back.settings) == (fit.law, fit.settings)
    pd.testing.assert_frame_equal(back.summary(fit.settings.prob), fit.summary(fit.settings.prob))
    pd.testing.assert_frame_equal(back.diagnostics, fit.diagnostics)
    if fit.draws is not None:
        np.testing.assert_array_equal(
            back.predict([2000.0], noise=True), fit.predict([2000.0], noise=True)
        )
        pd.testing.assert_frame_equal(back.residuals(), fit.residuals())
        assert back.posterior.identical(fit.posterior)
    assert Fit.from_netcdf(tmp_path / "fit.nc").runs == fit.runs


def test_a_law_of_ones_own_must_be_given_again(tmp_path):
    own = dataclasses.replace(laws.get("power"), name="mine")
    fit = lossfit.fit(power_runs(1), own, draws=30)
    fit.to_netcdf(tmp_path / "fit.nc")
    with pytest.raises(DataError, match=r"give it: from_netcdf\(path, law=\.\.\.\)"):
        lossfit.from_netcdf(tmp_path / "fit.nc")
    back = lossfit.from_netcdf(tmp_path / "fit.nc", law=own)
    np.testing.assert_array_equal(back.predict(2000.0), fit.predict(2000.0))
    with pytest.raises(DataError, match="give the law that it was made with"):
        lossfit.from_netcdf(tmp_path / "fit.nc", law=laws.get("power_linear"))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        lossfit.from_netcdf(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(DataError, match=r"is not a result written by its to_netcdf"):
        lossfit.from_netcdf(tmp_path / "text.nc")
    import xarray as xr

    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(DataError, match=r"is not a result written by its to_netcdf"):
        lossfit.from_netcdf(tmp_path / "other.nc")
