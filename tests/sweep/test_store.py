"""What a store holds, and that other tools read it."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr

import lossfit
from lossfit.fits import arviz_adapter
from lossfit.sweep import fit_to, open_store
from tests.sweep.curves import frame, runs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it announces its next version, once a day
    import arviz as az

OLD = arviz_adapter.version() < (1, 0)
pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
OPTIONS = {"draws": 50, "chunk_runs": 8}


def test_draws_summary_and_predictions_are_those_of_fit(tmp_path):
    data = runs()
    result = fit_to(tmp_path / "a.zarr", data, horizons=(1.25, 2), at=[5000], **OPTIONS)
    assert (result.runs, result.fitted, result.failed) == (30, 30, 0)
    fit = lossfit.fit(data, draws=50)
    with result.open() as found:
        assert list(found.run.values) == list(data.names)
        for name in fit.parameters:
            np.testing.assert_array_equal(found[name], fit.posterior[name])
        summary = fit.summary()
        for column in ("mean", "sd", "lower", "upper"):
            np.testing.assert_allclose(found[column].values.ravel(), summary[column], rtol=1e-12)
        ends = np.array([run.end("step") for run in data])
        targets = np.stack([1.25 * ends, 2 * ends, np.full(30, 5000.0)], axis=1)
        np.testing.assert_allclose(found["at"], targets, rtol=1e-15)
        curves = fit.curves(targets)
        np.testing.assert_allclose(found["loss_mean"], curves.mean(axis=-1), rtol=1e-13)
        quantiles = np.quantile(curves, [0.05, 0.5, 0.95], axis=-1)
        np.testing.assert_allclose(
            found["loss_quantile"], np.moveaxis(quantiles, 0, -1), rtol=1e-13
        )
        diagnostics = fit.diagnostics
        for column in ("n_points", "window_start", "window_end", "rho1", "n_eff", "acceptance"):
            np.testing.assert_array_equal(found[column], diagnostics[column])
        assert [tuple(f.split(",")) if f else () for f in found.flags.values] == fit.flags


def test_xarray_and_arviz_open_it(tmp_path):
    result = fit_to(tmp_path / "a.zarr", runs(), **OPTIONS)
    with xr.open_zarr(result.path) as root:
        assert root.attrs["complete"]
        assert root.attrs["lossfit_version"] == lossfit.__version__
        assert root.attrs["settings"]["random_seed"] == 0
        assert len(root.attrs["input"]["hash"]) == 32
        assert root.attrs["runs"] == 30
        assert "x_ref" not in root
    with xr.open_zarr(result.path, consolidated=False) as root:
        assert root.sizes["run"] == 30
    with xr.open_datatree(result.path, engine="zarr") as tree:
        posterior = tree["posterior"].to_dataset(inherit=False)
        assert dict(posterior.sizes) == {"chain": 1, "draw": 50, "run": 30}
        assert "x_ref" in posterior.coords
        data = az.InferenceData.from_datatree(tree) if OLD else tree
        ess = az.ess(np.tile(data["posterior"]["E"].values[0, :, 0], (2, 1)))
        assert 1 < ess < 200


def test_zarr_reads_every_array_as_it_was_encoded(tmp_path):
    import zarr

    result = fit_to(tmp_path / "a.zarr", runs(20), keep="summary", draws=50, chunk_runs=8)
    group = zarr.open_group(str(result.path), mode="r")
    assert group["run"].shape == (20,)
    assert group["run"].chunks == (8,)
    assert group["failed"].dtype == bool
    assert not group["failed"][:].any()
    assert group["n_points"][:].min() > 0
    assert json.loads(str(group["ledger/entry"][0]))["entry"]["runs"] == 8


def test_keep_quantiles(tmp_path):
    data = runs(10)
    result = fit_to(tmp_path / "a.zarr", data, keep="quantiles", prob=[0.5, 0.9], **OPTIONS)
    with result.open() as found:
        assert "mean" not in found
        assert "loss_mean" not in found
        np.testing.assert_allclose(found["quantile"], [0.05, 0.25, 0.5, 0.75, 0.95])
        assert list(found.target.values) == ["1.25x", "2x"]
        draws = lossfit.fit(data, draws=50).posterior["alpha"].values[0]
        np.testing.assert_allclose(
            found["parameter_quantile"].sel(parameter="alpha"),
            np.quantile(draws, found["quantile"], axis=0).T,
        )


def test_names_of_any_kind(tmp_path):
    data = frame(4).replace(
        {"run": {"run000": "größe/ä", "run001": "汉字" * 40, "run002": "<b>&\"'", "run003": " x"}}
    )
    result = fit_to(tmp_path / "a.zarr", data, keep="summary", **OPTIONS)
    with result.open() as found:
        assert list(found.run.values) == ["größe/ä", "汉字" * 40, "<b>&\"'", " x"]


@pytest.mark.parametrize("law", ["power", "broken_power"])
def test_other_laws_and_noise(tmp_path, law):
    data = runs(5)
    options = {"law": law, "draws": 20}
    result = fit_to(tmp_path / "a.zarr", data, chunk_runs=2, **options)
    with result.open() as found:
        for name, values in lossfit.fit(data, **options).posterior.items():
            np.testing.assert_array_equal(found[name], values)


def test_student_noise_has_chains(tmp_path):
    data = runs(3)
    result = fit_to(tmp_path / "a.zarr", data, noise="student_t", chains=2, draws=20, chunk_runs=2)
    with result.open() as found:
        expected = lossfit.fit(data, noise="student_t", chains=2, draws=20).posterior
        assert found["E"].shape == (2, 20, 3)
        np.testing.assert_array_equal(found["E"], expected["E"])


def test_refusals(tmp_path):
    data = runs(3)
    for options, words in (
        ({"keep": "all"}, "keep must be"),
        ({"on_error": "skip"}, "on_error"),
        ({"horizons": [-1]}, "horizon"),
        ({"at": ["abc"]}, "axis value"),
        ({"prob": 2}, "prob"),
        ({"chunk_runs": 0}, "chunk_runs"),
        ({"shard": (3, 3)}, "shard"),
        ({"axis": "weeks"}, "no axis"),
        ({"window": (2, 1)}, "window"),
        ({"draws": 0}, "draws"),
        ({"client": 3}, "client"),
    ):
        with pytest.raises(lossfit.DataError, match=words):
            fit_to(tmp_path / "a.zarr", data, **options)
    assert not list(tmp_path.iterdir())
    with pytest.raises(lossfit.DataError, match="no store"):
        open_store(tmp_path)
