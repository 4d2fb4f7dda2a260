"""The ways that results take between a user and the kernels, tried on a GPU against the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.device_draws import DeviceDraws
from ..kernels import driver
from ..kernels.columns import Program
from ..kernels.driver import Batch
from ..kernels.forecast_driver import forecast_batch
from ..kernels.gpu.batch import fit_arrays, fit_batch_on
from ..kernels.gpu.device import Device, on_host
from ..kernels.gpu.forecast_batch import ForecastJob
from ..kernels.gpu.launch import Options, run
from ..kernels.records import STATUS
from ..laws import get
from .random_batches import cut_curves, fit_problem, forecast_problem
from .speed import problem as many_curves

Row = dict[str, Any]
LAW = "power_linear"
LENGTHS = (3, 129, 20, 60, 5, 40, 33)
RATE = 2_000  # runs of which the rate is measured


def _close(given: Any, expected: Any) -> None:
    np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-8)


def _chunks(devices: Sequence[Device]) -> Row:
    """Chunks that follow one another through the slots."""
    given = fit_problem(LAW, LENGTHS, seed=3)
    expected = driver.fit_batch(*given, draws=20)
    for runs in (1, 3, None):
        found, _ = fit_batch_on(
            devices, *given, draws=20, single=False, options=Options(runs=runs, slots=2)
        )
        _close(found.draws, expected.draws)
    return {}


def _weights_of_one(devices: Sequence[Device]) -> Row:
    """Weights that are made on the GPU."""
    batch, program, table, keys = fit_problem(LAW, LENGTHS, seed=3)
    given = batch._replace(weight=np.ones_like(batch.weight)), program, table, keys
    expected = driver.fit_batch(*given, draws=20)
    found, _ = fit_batch_on(devices, *given, draws=20, single=False, options=Options(runs=3))
    _close(found.draws, expected.draws)
    return {}


def _other_kernels(devices: Sequence[Device]) -> Row:
    """Runs that the first kernel hands on to the next."""
    given = cut_curves(LAW, [129, 5, 20, 40], seed=3)
    expected = driver.fit_batch(*given, draws=20)
    found, _ = fit_batch_on(devices, *given, draws=20, single=False)
    _close(found.draws, expected.draws)
    return {}


def _kept(devices: Sequence[Device]) -> tuple[DeviceDraws, Program, Any]:
    given = fit_problem(LAW, LENGTHS, seed=3)
    expected = driver.fit_batch(*given, draws=20)
    _found, parts = fit_batch_on(
        devices, *given, draws=20, single=False, on_gpu=True, options=Options(runs=3)
    )
    kept = DeviceDraws(tuple(part for _, part in parts), tuple(device for device, _ in parts))
    return kept, given[1], expected.draws


def _stay(devices: Sequence[Device]) -> Row:
    """Draws that stay: selected, summarised and turned into curves there."""
    kept, program, draws = _kept(devices)
    _close(kept.to_host(), draws)
    rows = np.array([4, 0, 5])
    at = np.random.default_rng(2).uniform(0.1, 4.0, (len(rows), 3))
    chosen = kept.select(rows)
    _close(chosen.curves(get(LAW), at), driver.predict_batch(program, draws[rows], at))
    described = kept.describe(0.8)
    _close(described[0], draws.mean(axis=-1))
    _close(described[1], draws.std(axis=-1, ddof=1))
    _close(described[3], np.median(draws, axis=-1))
    return {}


def _there_already(devices: Sequence[Device]) -> Row:
    """Data that lie on the GPU, just written by the caller."""
    device = devices[0]
    batch, program, table, keys = fit_problem(LAW, LENGTHS, seed=3)
    expected = driver.fit_batch(batch, program, table, keys, draws=20)
    with device.active():
        xp = device.xp
        x, y, weight = (xp.asarray(part) + xp.asarray(0.0) for part in batch[:3])
        draws, info = fit_arrays(
            device, Batch(x, y, weight, batch.offsets), program, table, keys, draws=20, single=False
        )
        draws, info = on_host(draws), on_host(info)
    served = info[:, STATUS] == 0
    if not served.any():
        raise AssertionError("no run was served")
    _close(draws[served], expected.draws[served])
    return {}


def _large_chunk(devices: Sequence[Device]) -> Row:
    """A chunk of more points than 16 bits count."""
    given = fit_problem("power", [40_000, 30_000, 50], seed=4)
    expected = driver.fit_batch(*given, draws=5)
    found, _ = fit_batch_on(devices[:1], *given, draws=5, single=False)
    _close(found.draws, expected.draws)
    return {}


def _summaries(devices: Sequence[Device]) -> Row:
    """Quantiles of forecasts, without their draws."""
    given = forecast_problem(7, [24, 9, 51, 30])
    shares = (0.05, 0.5, 0.95)
    expected = forecast_batch(*given, draws=50, threads=1)
    job = ForecastJob(*given, draws=50, single=False, shares=shares)
    run(job, devices, options=Options(runs=2))
    if job.summary is None:
        raise AssertionError("no summary came back")
    _close(job.summary.mean, expected.draws.mean(axis=-1))
    _close(job.summary.quantiles, np.moveaxis(np.quantile(expected.draws, shares, axis=-1), 0, -1))
    return {}


def _rate(devices: Sequence[Device]) -> Row:
    """Fits a second, launches and copies included."""
    batch, table, keys = many_curves(RATE if _is_fast(devices[0]) else 4, 512, 0)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        fit_batch_on(devices, batch, get(LAW).program, table, keys, draws=50, single=False)
        times.append(time.perf_counter() - start)
    return {"fits_per_second": len(keys) / min(times)}


def _is_fast(device: Device) -> bool:
    return hasattr(device.xp, "cuda")


# In the order in which they are tried.
HOST_TRIALS: dict[str, Callable[[Sequence[Device]], Row]] = {
    "chunks follow one another": _chunks,
    "weights are made on the GPU": _weights_of_one,
    "runs are handed to the next kernel": _other_kernels,
    "draws stay on the GPU": _stay,
    "data lie on the GPU": _there_already,
    "a chunk of 70,050 points": _large_chunk,
    "quantiles come back, not draws": _summaries,
    "fits a second": _rate,
}
