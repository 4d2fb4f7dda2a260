"""Every kernel of the catalogue on random batches, compared with the CPU.

What ``lossfit bench --verify`` runs on a GPU, and what tests run by the interpreter of PTX and
natively.  Batches go through the launch layer, in chunks of two runs, so that it is tried too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import compress, driver
from ..kernels.curve_forecast import forecast_curves
from ..kernels.exact import EXACT_SHARE
from ..kernels.forecast_driver import forecast_batch
from ..kernels.gpu import fit, moments, quantiles
from ..kernels.gpu.batch import EnsembleJob, ExactJob, FitJob
from ..kernels.gpu.chunks import Spec
from ..kernels.gpu.curve_batch import forecast_curves_on
from ..kernels.gpu.device import Device, on_host
from ..kernels.gpu.forecast_batch import ForecastJob
from ..kernels.gpu.launch import Chunk, Job, Options, built, run
from ..kernels.gpu.predict import build as build_predict
from ..kernels.gpu.predict import predict_on
from ..kernels.records import ACCEPTANCE, STATUS, as_table
from ..laws import get
from .kernel_catalogue import Entry, catalogue
from .random_batches import bent_curves, cut_curves, fit_problem, forecast_problem
from .random_curves import curve_problem

Floats = NDArray[np.float64]

STATUSES = {0: "served", 1: "few draws", 2: "imprecise", 3: "no room"}
IN_DOUBLE = 1e-6  # largest difference of a draw in posterior standard deviations
IN_SINGLE = 0.05
FEW_IN_SINGLE = 0.02  # share of draws that rounding may put in another cell
LEAST_SIZE = 1e-3  # below which numbers are compared by their difference
ORDER = 24  # of moments
SHARES = (0.0, 0.05, 0.25, 0.5, 0.777, 0.95, 1.0)


class Outcome(NamedTuple):
    """What came of a trial."""

    # error, tolerance: largest difference from the CPU in units of a posterior standard deviation
    # (of draws) or of the numbers' own size, and the largest that is allowed; an error of NaN fails
    error: float
    tolerance: float
    statuses: dict[str, int]  # runs by what the kernel says of them
    # first, warm: seconds of the first call, compilation included, and of the next
    first: float
    warm: float

    @property
    def passed(self) -> bool:
        """Whether numbers agree and some runs were served."""
        return self.error <= self.tolerance and self.statuses.get("served", 0) > 0


class _Numbers(NamedTuple):
    """What a device gave, with what the CPU gave."""

    given: Floats
    expected: Floats
    scale: Floats | float
    status: NDArray[np.int64]
    few: float = 0.0  # share of numbers that may differ
    tolerance: tuple[float, float] = (IN_DOUBLE, IN_SINGLE)

    def with_more(self, given: Floats, expected: Floats) -> _Numbers:
        """Other numbers too, which are compared relative to their size."""
        size = np.abs(expected) + LEAST_SIZE
        scale = np.broadcast_to(self.scale, self.given.shape).ravel()
        return self._replace(
            given=np.concatenate([self.given.ravel(), given.ravel()]),
            expected=np.concatenate([self.expected.ravel(), expected.ravel()]),
            scale=np.concatenate([scale, size.ravel()]),
        )


def _fits(
    job_of: Callable[..., FitJob], problem: tuple[Any, ...], expected: Any, devices: Any,
    options: Options, *numbers: int,
) -> _Numbers:  # fmt: skip
    """Draws of a job of fits."""
    job = job_of(*problem, *numbers)
    run(job, devices, options=options)
    status = job.info[:, STATUS].astype(np.int64)
    served = status == 0
    if job.single:  # an acceptance that rounding turns over moves all later draws up by one
        served &= (expected.info["acceptance"] == 1.0) & (job.info[:, ACCEPTANCE] == 1.0)
    if type(job) is ExactJob and len(job.program.nonlinear) == 1:
        served &= expected.info["acceptance"] < EXACT_SHARE  # where the CPU takes exact draws, too
    assert job.draws is not None
    scale = expected.draws.std(axis=-1, keepdims=True)[served]
    draws = _Numbers(job.draws[served], expected.draws[served], scale, status)
    if job.single:
        return draws
    # What is said of a run, to as many digits: the autocorrelation of residuals, say.
    said = as_table(expected.info)[served, :STATUS]
    return draws.with_more(job.info[served, :STATUS], said)


def _fit(law: str, wide: bool) -> Callable[..., Callable[..., _Numbers]]:
    points = fit.POINTS[int(wide)]

    def prepared(single: bool) -> Callable[..., _Numbers]:
        lengths = [140, 40, 300] if wide else [129, 60, 3, 40]
        problem = fit_problem(law, lengths, seed=6)
        expected = driver.fit_batch(*problem, draws=33)
        if single:  # priors that weigh as much as the data: wrong ones are seen
            table, linear = problem[2], expected.draws[:, 1 : 1 + problem[1].n_linear]
            table.mean[...] = linear.mean(-1) + linear.std(-1)
            table.sd[...] = 3 * linear.std(-1)
            expected = driver.fit_batch(*problem, draws=33)

        def compute(devices: Any, options: Options) -> _Numbers:
            def job(*given: Any) -> FitJob:
                batch, program, table, keys, draws = given
                return FitJob(batch, program, table, keys, draws, single, points=points)

            return _fits(job, problem, expected, devices, options, 33)

        return compute

    return prepared


def _exact(law: str) -> Callable[..., Callable[..., _Numbers]]:
    def prepared(single: bool) -> Callable[..., _Numbers]:
        problem = cut_curves(law, [129, 5, 20, 40], seed=3)
        expected = driver.fit_batch(*problem, draws=33)

        def compute(devices: Any, options: Options) -> _Numbers:
            return _fits(ExactJob, problem, expected, devices, options, 33)

        return compute

    return prepared


def _ensemble(single: bool) -> Callable[..., _Numbers]:
    problem = bent_curves("broken_power", [150, 20, 2], seed=3)
    problem[0].x[:150] = np.geomspace(1e-4, 1.0, 150)  # a curve that is not compressed
    expected = driver.fit_batch(*problem, draws=2, tune=3, chains=2, method="ensemble")

    def compute(devices: Any, options: Options) -> _Numbers:
        return _fits(EnsembleJob, problem, expected, devices, options, 2, 3, 2)

    return compute


def _predict(law: str) -> Callable[..., Callable[..., _Numbers]]:
    def prepared(single: bool) -> Callable[..., _Numbers]:
        program = get(law).program
        number = np.float32 if single else np.float64
        rng = np.random.default_rng(5)
        n_parameters = len(program.nonlinear) + program.n_linear + 1
        draws = rng.uniform(0.2, 1.0, (3, n_parameters, 45)).astype(number)
        at = rng.uniform(0.1, 4.0, (3, 2))
        expected = driver.predict_batch(program, draws.astype(np.float64), at)

        def compute(devices: Any, options: Options) -> _Numbers:
            device = devices[0]
            with device.active():
                there = device.xp.asarray(draws)
            losses = predict_on(device, built(build_predict, program, single), there, at)
            given = _host(device, losses)
            status = np.zeros(3, np.int64)
            scale = np.abs(expected) + 1 / 3  # a relative error, and a third of it absolute
            return _Numbers(given, expected, scale, status, tolerance=(1e-12, 3e-6))

        return compute

    return prepared


class _Arrays(Job):
    """A kernel on whole arrays, one chunk."""

    def __init__(
        self, kernel: Any, n_runs: int, inputs: Sequence[NDArray[Any]], outputs: Sequence[Spec],
        arguments: Callable[[list[Any], list[Any]], Sequence[Any]],
    ) -> None:  # fmt: skip
        self.kernel, self.n_runs, self.arrays = kernel, n_runs, inputs
        self.specs, self.order = outputs, arguments
        self.results = [np.full(spec.shape, np.nan) for spec in outputs]

    def points(self, start: int, stop: int) -> int:
        return stop - start

    def inputs(self, start: int, stop: int) -> Sequence[Spec]:
        return [Spec(array.shape, array.dtype) for array in self.arrays]

    def fill(self, start: int, stop: int, inputs: Sequence[NDArray[Any]]) -> None:
        for view, array in zip(inputs, self.arrays, strict=True):
            view[...] = array

    def outputs(self, start: int, stop: int) -> Sequence[Spec]:
        return self.specs

    def launch(self, chunk: Chunk) -> None:
        chunk.launch(self.kernel, *self.order(chunk.inputs, chunk.outputs))

    def collect(self, start: int, stop: int, outputs: Sequence[NDArray[Any]]) -> None:
        for result, values in zip(self.results, outputs, strict=True):
            result[...] = values


def _moments(single: bool) -> Callable[..., _Numbers]:
    number = np.dtype(np.float32 if single else np.float64)
    rng = np.random.default_rng(4)
    lengths = [2, 300, 33, 129]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    x = np.concatenate([np.sort(rng.uniform(0.03, 1.0, n)) for n in lengths])
    y = 2 + 0.5 * x**-0.3 + rng.normal(0, 0.01, x.size)
    w = rng.uniform(0.5, 2.0, x.size)
    cutoffs = np.array([np.sort(rng.integers(1, n + 1, 3)) for n in lengths], np.int32)
    cutoffs[:, -1] = lengths
    centres = y[offsets[1:] - 1]
    expected = np.empty((4, 3, 2 * ORDER + 3))
    for r, (a, b) in enumerate(pairwise(offsets)):
        sums, totals = np.empty((3, 2, ORDER)), np.empty((3, 3))
        compress.prefix_moments(
            x[a:b], y[a:b], w[a:b], centres[r], cutoffs[r].astype(np.int64), ORDER,
            np.empty((7, b - a)), sums, totals,
        )  # fmt: skip
        expected[r] = np.concatenate([sums.reshape(3, -1), totals], axis=1)
        expected[r] /= w[a:b].sum()
    inputs = [a.astype(number) for a in (x, y, w)]
    inputs += [offsets.astype(np.uint32), centres.astype(number), cutoffs]
    outputs = [Spec((4, 3, 2, ORDER), np.float64), Spec((4, 3, 3), np.float64)]
    total = np.add.reduceat(w, offsets[:-1])[:, None, None]

    def compute(devices: Any, options: Options) -> _Numbers:
        job = _Arrays(
            built(moments.build, single), 4, inputs, outputs, lambda ins, outs: (*ins, *outs)
        )
        run(job, devices[:1])
        given = np.concatenate([job.results[0].reshape(4, 3, -1), job.results[1]], axis=2)
        status = np.zeros(4, np.int64)
        return _Numbers(given / total, expected, 1.0, status, tolerance=(1e-12, 1e-4))

    return compute


def _quantiles(single: bool) -> Callable[..., _Numbers]:
    number = np.dtype(np.float32 if single else np.float64)
    rng = np.random.default_rng(6)
    rows = (3 + rng.normal(0, [[1.0], [1e-2], [10.0]], (3, 600))).astype(number)
    wide = rows.astype(np.float64)
    expected = np.column_stack(
        [wide.mean(axis=1), wide.std(axis=1, ddof=1), np.quantile(wide, SHARES, axis=1).T]
    )
    places = quantiles.places(SHARES, 600, single)
    outputs = [Spec((3, 2 + len(SHARES)), number)]

    def compute(devices: Any, options: Options) -> _Numbers:
        job = _Arrays(
            built(quantiles.build, single, 1024), 3, [rows, *places], outputs,
            lambda ins, outs: (*ins, *outs),
        )  # fmt: skip
        run(job, devices[:1])
        status = np.zeros(3, np.int64)
        sd = expected[:, 1:2]
        return _Numbers(job.results[0], expected, sd, status, tolerance=(1e-12, 1e-3))

    return compute


def _forecast(everything: bool) -> Callable[..., Callable[..., _Numbers]]:
    def prepared(single: bool) -> Callable[..., _Numbers]:
        if everything:
            problem = forecast_problem(
                5, [40, 7, 24], n_at=60, n_paths=2, multi_power=True, past=True, gaps=False
            )
        else:
            problem = forecast_problem(12, [24, 51, 9])
        draws = 9 if everything else 33
        expected = forecast_batch(*problem, draws=draws, parameters=everything, threads=1)

        def compute(devices: Any, options: Options) -> _Numbers:
            job = ForecastJob(*problem, draws=draws, single=single, parameters=everything)
            run(job, devices, options=options)
            given, kept = job.result, expected
            scale = kept.draws.std(axis=-1, keepdims=True) + 1e-12
            status = np.where(np.isfinite(given.info).all(axis=1), 0, 3)
            if single:
                return _Numbers(given.draws, kept.draws, scale, status, FEW_IN_SINGLE)
            numbers = _Numbers(given.draws, kept.draws, scale, status)
            for name in ("shares", "falls", "spreads", "info"):
                parts = (as_table(getattr(answer, name)) for answer in (given, kept))
                numbers = numbers.with_more(*parts)
            return numbers

        return compute

    return prepared


def _curves(single: bool) -> Callable[..., _Numbers]:
    problem = curve_problem(6, [60, 9, 140], n_paths=2)
    expected = forecast_curves(*problem, draws=40, parameters=True, threads=1)

    def compute(devices: Any, options: Options) -> _Numbers:
        given = forecast_curves_on(devices, *problem, draws=40, parameters=True, options=options)
        scale = expected.draws.std(axis=-1, keepdims=True)
        finite = np.isfinite(as_table(given.records)).all(axis=1)
        numbers = _Numbers(given.draws, expected.draws, scale, np.where(finite, 0, 3))
        for name in expected._fields[1:]:
            parts = (as_table(getattr(answer, name)) for answer in (given, expected))
            numbers = numbers.with_more(*parts)
        return numbers

    return compute


def _host(device: Device, array: Any) -> Any:
    with device.active():
        return np.asarray(on_host(array), np.float64)


def _family(name: str) -> str:
    """Entries of the same family are tried together: the stages of a forecast."""
    if name.startswith("curve "):
        return "curve"
    return "forecast" + name[name.index(",") :] if name.startswith("forecast ") and (
        "," in name
    ) else ("forecast" if name.startswith("forecast ") else name)  # fmt: skip


def _prepared(family: str) -> Callable[[bool], Callable[[Any, Options], _Numbers]]:
    kind, _, rest = family.partition(" ")
    if kind == "fit":
        law, _, wide = rest.partition(", ")
        return _fit(law, bool(wide))
    if kind == "exact":
        return _exact(rest)
    if kind == "predict":
        return _predict(rest)
    plain = {
        "ensemble": _ensemble,
        "curve": _curves,
        "moments": _moments,
        "quantiles": _quantiles,
        "forecast": _forecast(False),
        "forecast,": _forecast(True),
    }
    return plain[kind]


def trials_of(entries: Sequence[Entry] | None = None) -> dict[tuple[str, str], list[Entry]]:
    """What there is to try: (family, precision) -> its entries of the catalogue."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in catalogue() if entries is None else entries:
        for dtype in entry.precisions:
            found.setdefault((_family(entry.name), dtype), []).append(entry)
    return found


def trial(
    # family, dtype: a key of `trials_of`
    family: str,
    dtype: str,
    devices: Sequence[Device],
    options: Options | None = None,  # two runs a chunk by default
    times: int = 2,  # how often to compute; what the last one gives is compared
) -> Outcome:
    """Compare a family of kernels with the CPU."""
    single = dtype == "float32"
    options = options or Options(runs=2)
    compute = _prepared(family)(single)
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        numbers = compute(devices, options)
        seconds.append(time.perf_counter() - start)
    off = np.abs(numbers.given - numbers.expected) / numbers.scale
    off = np.where(np.isnan(numbers.given) & np.isnan(numbers.expected), 0.0, off).ravel()
    error = float("nan")
    if off.size and not np.isnan(off).any():
        error = float(np.sort(off)[int(np.ceil(off.size * (1 - numbers.few))) - 1])
    statuses = Counter(STATUSES.get(int(s), str(s)) for s in numbers.status)
    return Outcome(error, numbers.tolerance[single], dict(statuses), seconds[0], seconds[-1])
