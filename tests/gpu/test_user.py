"""`lossfit.fit` and its relatives on a GPU whose kernels the CPU runs."""

import numpy as np
import pandas as pd
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

import lossfit
from lossfit.engine import devices
from lossfit.kernels.gpu import curve_forecast

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


@pytest.fixture
def gpu(monkeypatch, new_device):
    """A machine with one such GPU."""
    seen = devices.Gpu(0, "emulated", (9, 0))
    monkeypatch.setattr(devices, "find", lambda: devices.Found((seen,), (), ()))
    device = new_device()
    monkeypatch.setattr(devices.Place, "open", lambda self: [device])
    return device


@pytest.fixture
def runs():
    return lossfit.load("llama2")


def test_a_fit_on_a_gpu_is_that_of_the_cpu(gpu, runs):
    options = {"law": "power_linear", "draws": 40}
    expected = lossfit.fit(runs, device="cpu", **options)
    found = lossfit.fit(runs, device="cuda", **options)
    assert found.settings.device == "cuda:0"
    assert gpu.launches
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-6, atol=1e-9)
    assert found.flags == expected.flags


def test_auto_leaves_few_runs_to_the_cpu(gpu, runs, monkeypatch):
    options = {"law": "power_linear", "draws": 40}
    few = lossfit.fit(runs, **options)
    assert (few.settings.device, gpu.launches) == ("cpu", [])
    monkeypatch.setattr(devices, "COLD_START", 0.0)
    monkeypatch.setattr(devices, "WARM_START", 0.0)
    assert lossfit.fit(runs, **options).settings.device == "cuda:0"
    assert gpu.launches


def test_auto_takes_a_gpu_where_only_a_gpu_will_do(gpu, runs):
    options = {"law": "power_linear", "draws": 40}
    assert lossfit.fit(runs, keep="device", **options).settings.device == "cuda:0"
    assert lossfit.fit(runs, dtype="float32", **options).settings.dtype == "float32"


def test_draws_kept_on_a_gpu_give_summaries_and_predictions(gpu, runs):
    options = {"law": "power_linear", "draws": 40}
    expected = lossfit.fit(runs, device="cpu", **options)
    found = lossfit.fit(runs, device="cuda", keep="device", **options)
    assert found.draws is None
    columns = ["mean", "sd", "lower", "upper"]
    np.testing.assert_allclose(
        found.summary()[columns], expected.summary()[columns], rtol=1e-5, atol=1e-9
    )
    at = np.tile([[1e12, 3e12]], (len(runs), 1))
    np.testing.assert_allclose(found.curves(at), expected.curves(at), rtol=1e-6)
    some = found.select(runs.names[1:3])
    np.testing.assert_allclose(some.curves(at[1:3]), expected.curves(at)[1:3], rtol=1e-6)
    np.testing.assert_allclose(found.to_host().draws, expected.draws, rtol=1e-6, atol=1e-9)


def test_a_summary_is_made_on_the_gpu(gpu, runs):
    options = {"law": "power_linear", "draws": 40, "keep": "summary"}
    columns = ["mean", "sd", "lower", "upper"]
    np.testing.assert_allclose(
        lossfit.fit(runs, device="cuda", **options).summary()[columns],
        lossfit.fit(runs, device="cpu", **options).summary()[columns],
        rtol=1e-5,
        atol=1e-9,
    )
    assert [name for name, _, _ in gpu.launches] == ["fit", "quantiles"]


def test_single_precision_is_close(gpu, runs):
    options = {"law": "power_linear", "draws": 200}
    expected = lossfit.fit(runs, device="cpu", **options).summary()
    found = lossfit.fit(runs, device="cuda", dtype="float32", **options).summary()
    assert (abs(found["mean"] - expected["mean"]) < 0.2 * expected["sd"]).all()


@pytest.mark.parametrize(
    ("law", "kernel", "options"),
    [
        ("power_linear_offset", "exact", {}),
        ("broken_power", "ensemble", {"tune": 4, "chains": 2}),
        ("power", "ensemble", {"tune": 4, "chains": 1, "method": "ensemble"}),
    ],
)
def test_every_kind_of_fit_on_a_gpu_is_that_of_the_cpu(gpu, runs, law, kernel, options):
    some = runs.select(runs.names[:2])
    options = {"law": law, "draws": 3, **options}
    expected = lossfit.fit(some, device="cpu", **options)
    found = lossfit.fit(some, device="cuda", **options)
    assert [name for name, _, _ in gpu.launches] == [kernel]
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-6, atol=1e-9)
    assert found.flags == expected.flags
    assert found.settings.chains == expected.settings.chains


@pytest.mark.parametrize("law", ["annealing", "multi_power"])
def test_an_answer_from_a_gpu_is_that_of_the_cpu(gpu, runs, law):
    options = {"at": [1.5e12, 3e12, 5e12], "axis": "tokens", "laws": law, "draws": 40}
    some = runs.select(runs.names[:2])
    expected = lossfit.extrapolate(some, device="cpu", **options)
    found = lossfit.extrapolate(some, device="cuda", **options)
    assert [name for name, _, _ in gpu.launches[-4:]] == [
        "forecast_prepare", "forecast_tabulate", "forecast_weigh", "forecast_draw",
    ]  # fmt: skip
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-6)
    assert found.frame["notes"].tolist() == expected.frame["notes"].tolist()


OF_THE_DEFAULT_LAW = {
    "an answer": lambda runs, **on: lossfit.extrapolate(
        runs, at=[1e12, 3e12], axis="tokens", draws=40, **on
    ),
    "no schedule": lambda runs, **on: lossfit.extrapolate(
        lossfit.Runs.from_frame(runs.frame), at=3e12, axis="tokens", draws=20, **on
    ),
    "a window": lambda runs, **on: lossfit.extrapolate(
        runs, at=3e12, axis="tokens", window=(0.1, 1.0), draws=20, **on
    ),
    "a race": lambda runs, **on: lossfit.race(runs, axis="gpu_hours", draws=20, **on),
    "a what-if": lambda runs, **on: lossfit.what_if(
        runs.select(["llama2-7B"]), schedules={"constant": "constant"}, at=1e12, draws=20, **on
    ),
    "a backtest": lambda runs, **on: lossfit.backtest(runs, draws=20, **on),
}


@pytest.mark.parametrize("name", OF_THE_DEFAULT_LAW)
def test_what_rests_on_the_default_law_is_that_of_the_cpu(gpu, runs, name):
    ask = OF_THE_DEFAULT_LAW[name]
    some = runs.select(runs.names[:2]).until(0.6)
    expected, found = (ask(some, device=device) for device in ("cpu", "cuda"))
    assert {kernel for kernel, _, _ in gpu.launches} == {
        f"curve_{stage}" for stage in curve_forecast.ARGUMENTS
    }
    pd.testing.assert_frame_equal(found.frame, expected.frame, rtol=1e-8)


def test_memory_that_runs_out_is_an_error_of_the_device(runs, monkeypatch, new_device):
    seen = devices.Gpu(0, "small", (9, 0))
    monkeypatch.setattr(devices, "find", lambda: devices.Found((seen,), (), ()))
    monkeypatch.setattr(devices.Place, "open", lambda self: [new_device(memory=40_000)])
    with pytest.raises(lossfit.DeviceError, match=r"memory is exhausted: .*'llama2-"):
        lossfit.extrapolate(runs, at=3e12, axis="tokens", device="cuda", draws=40)


def test_quantiles_of_forecasts_are_made_on_the_gpu(gpu, runs, monkeypatch):
    """A job that brings quantiles back in the place of draws."""
    from lossfit._base.summaries import quantiles
    from lossfit.kernels.gpu import forecast_batch
    from lossfit.kernels.gpu.launch import Options, run

    taken = {}
    real = forecast_batch.forecast_batch_on

    def spy(devices, *brought, **options):
        taken.update(brought=brought, result=real(devices, *brought, **options))
        return taken["result"]

    monkeypatch.setattr(forecast_batch, "forecast_batch_on", spy)
    lossfit.extrapolate(
        runs.until(0.5),
        at=[1e12, 2e12],
        axis="tokens",
        laws="annealing",
        device="cuda",
        draws=70,
        dtype="float64",
    )
    job = forecast_batch.ForecastJob(
        *taken["brought"], draws=70, single=False, shares=(0.05, 0.5, 0.95)
    )
    run(job, [gpu], options=Options(runs=2))
    draws = taken["result"].draws
    np.testing.assert_allclose(job.summary.mean, draws.mean(-1), rtol=1e-12)
    np.testing.assert_allclose(job.summary.sd, draws.std(-1, ddof=1), rtol=1e-9)
    found = np.moveaxis(job.summary.quantiles, -1, 0)
    np.testing.assert_allclose(found, quantiles(draws, (0.05, 0.5, 0.95)), rtol=1e-12)
    np.testing.assert_allclose(job.result.shares, taken["result"].shares, rtol=1e-12)
