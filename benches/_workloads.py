"""Typical runs of the CUDA kernels, executed by the tests' PTX emulator."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

import lossfit
from lossfit import Runs, laws
from lossfit.kernels.driver import Batch
from lossfit.kernels.gpu.chunks import size
from lossfit.kernels.gpu.spec import Kernel
from lossfit.schedules import cosine

POINTS, CURVES = 512, 8


class Workload(NamedTuple):
    """A typical run of some kernels.

    Attributes
    ----------
    name : str
    run : callable
        From (device, single) to the bytes that the GPU's memory gives and takes for a run, and
        the number of runs; launches its kernels on the device.
    precisions : tuple of str
        Those that its kernels have.
    """

    name: str
    run: Callable[[Any, bool], tuple[float, int]]
    precisions: tuple[str, ...] = ("float64", "float32")


def workloads() -> list[Workload]:
    """What is predicted."""
    found = [
        Workload(f"fit power_linear, {draws} draws", lambda d, s, n=draws: fits(d, s, n))
        for draws in (0, 200, 1000)
    ]
    double = ("float64",)
    found += [
        Workload("exact power_linear_offset, 1000 draws", lambda d, _: exact_draws(d), double),
        Workload("ensemble broken_power, 50 sweeps", lambda d, _: sweeps(d), double),
    ]
    found.append(Workload("default answer", lambda d, _: default_answers(d), double))
    found.append(Workload("annealing, quantiles", by_annealing))
    return found


def fits(device: Any, single: bool, draws: int) -> tuple[float, int]:
    """Fits of 512-point curves that look like Llama 2 7B's (`peers.curve`)."""
    from benches.peers import curve, table
    from lossfit.kernels.gpu.batch import FitJob
    from lossfit.kernels.gpu.launch import run

    curves = [curve(seed) for seed in range(CURVES)]
    batch = Batch(
        np.concatenate([x for x, _ in curves]),
        np.concatenate([y for _, y in curves]),
        np.ones(POINTS * CURVES),
        np.arange(CURVES + 1) * POINTS,
    )
    keys = np.arange(CURVES, dtype=np.uint64)
    job = FitJob(batch, laws.get("power_linear").program, table(CURVES), keys, draws, single)
    run(job, [device])
    moved = size(job.inputs(0, CURVES)) + size(job.outputs(0, CURVES))
    return moved / CURVES, CURVES


def exact_draws(device: Any) -> tuple[float, int]:
    """The same curves with an offset of the axis: two nonlinear parameters."""
    from benches.peers import curve, table
    from lossfit.kernels.gpu.batch import ExactJob
    from lossfit.kernels.gpu.launch import run

    count = 2
    curves = [curve(seed) for seed in range(count)]
    batch = Batch(
        np.concatenate([x for x, _ in curves]),
        np.concatenate([y for _, y in curves]),
        np.ones(POINTS * count),
        np.arange(count + 1) * POINTS,
    )
    priors = table(count)
    offset = np.tile([[[0.0, 0.5, 1.0, 0.0, 0.1]]], (count, 1, 1))
    priors = priors._replace(nonlinear=np.concatenate([priors.nonlinear, offset], axis=1))
    keys = np.arange(count, dtype=np.uint64)
    job = ExactJob(batch, laws.get("power_linear_offset").program, priors, keys, 1000)
    run(job, [device])
    moved = size(job.inputs(0, count)) + size(job.outputs(0, count))
    return (moved + 2 * size(job.scratch(0, count))) / count, count


def sweeps(device: Any) -> tuple[float, int]:
    """A chain of 64 walkers: 20 discarded sweeps, and 30 to the one draw of each walker."""
    from benches.peers import curve
    from lossfit.kernels.driver import PriorTable
    from lossfit.kernels.gpu.batch import EnsembleJob
    from lossfit.kernels.gpu.launch import run

    x, y = curve()
    batch = Batch(x, y, np.ones(POINTS), np.array([0, POINTS]))
    priors = PriorTable(
        np.array([[[0.02, 3, 2, 0.5, 1.0], [0.01, 3, 2, 0.4, 1.0], [0.1, 10, 2, 1.0, 0.7]]]),
        np.zeros((1, 2)),
        np.full((1, 2), 3.5),
        np.zeros((1, 2)),
        np.array([[1.0, 0.004]]),
    )
    keys = np.array([3], np.uint64)
    job = EnsembleJob(batch, laws.get("broken_power").program, priors, keys, 64, 20, 1)
    run(job, [device])
    moved = size(job.inputs(0, 1)) + size(job.outputs(0, 1))
    return moved + 2 * size(job.scratch(0, 1)), 1


def default_answers(device: Any) -> tuple[float, int]:
    """Default answers: 500 points, a known schedule, 3 targets, 1,000 draws."""
    from lossfit.kernels.gpu.curve_batch import CurveJob

    brought = brought_by("curve_forecast", "forecast_curves")
    return forecasts(device, CurveJob(*brought, draws=1000))


def by_annealing(device: Any, single: bool) -> tuple[float, int]:
    """Those of the law `annealing`, and their quantiles instead of draws."""
    from lossfit.kernels.gpu.forecast_batch import ForecastJob

    brought = brought_by("forecast_driver", "forecast_batch", laws="annealing")
    return forecasts(
        device, ForecastJob(*brought, draws=1000, single=single, shares=(0.05, 0.5, 0.95))
    )


def brought_by(module: str, function: str, **options: Any) -> tuple[Any, ...]:
    """What `extrapolate` hands to a function of the CPU's kernels."""
    kernels = import_module(f"lossfit.kernels.{module}")
    real = getattr(kernels, function)
    brought: list[Any] = []

    def spy(*given: Any, **asked: Any) -> Any:
        brought[:] = given
        return real(*given, **asked)

    setattr(kernels, function, spy)
    try:
        runs = Runs.from_arrays("step", *answer_curves(), [f"run {i}" for i in range(CURVES)])
        planned = cosine(peak=1.0, total=30_000, warmup=0)
        lossfit.extrapolate(
            runs, at=[12_500, 18_000, 20_000], axis="step", schedule=planned, device="cpu",
            **options,
        )  # fmt: skip
    finally:
        setattr(kernels, function, real)
    return tuple(brought)


def forecasts(device: Any, job: Any) -> tuple[float, int]:
    """Bytes moved by a run of a job of `CURVES` runs, and how many they are."""
    from lossfit.kernels.gpu.launch import run

    run(job, [device])
    # Scratch is written once and read once, by another kernel: it has left the caches by then.
    moved = size(job.inputs(0, CURVES)) + size(job.outputs(0, CURVES))
    return (moved + 2 * size(job.scratch(0, CURVES))) / CURVES, CURVES


def answer_curves() -> tuple[Any, Any, Any]:
    """Steps, losses and offsets of curves of 500 points."""
    rng = np.random.default_rng(0)
    step = np.linspace(20.0, 10_000.0, 500)
    loss = 2 + 3 * step ** -rng.uniform(0.3, 0.4, (CURVES, 1))
    loss += rng.normal(0, 0.01, loss.shape)
    return np.tile(step, CURVES), loss.ravel(), np.arange(CURVES + 1) * 500


class Device:
    """The tests' emulated device, which remembers kernels with what they executed."""

    def __init__(self, capability: tuple[int, int]) -> None:
        from tests.gpu.emulated import EmulatedDevice

        class Remembering(EmulatedDevice):  # type: ignore[misc]
            kernels: list[Kernel] = []  # noqa: RUF012

            def launch(self, kernel: Kernel, grid: int, arguments: Any, stream: Any) -> None:
                self.kernels.append(kernel)
                super().launch(kernel, grid, arguments, stream)

        self.device = Remembering(compute_capability=capability)
        self.device.kernels = []

    @property
    def launched(self) -> list[tuple[Kernel, Any]]:
        return list(zip(self.device.kernels, self.device.reports, strict=True))
