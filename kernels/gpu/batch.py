"""Posterior draws of many runs on GPUs: `driver.fit_batch` for laws that CUDA kernels serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import ORDERS, Program
from ..driver import (
    TUNE,
    Batch,
    PriorTable,
    Result,
    fit_batch,
    prior_arrays,
    tables,
)
from ..records import FIT, STATUS, as_records, as_table
from ..work import SLACK, Tables
from . import ensemble, exact, fit
from .chunks import Spec
from .device import Device, on_host
from .feed import Feed, as_feed, orders_of
from .launch import Chunk, Job, Options, built, run
from .spec import Kernel

__all__ = ["EnsembleJob", "ExactJob", "FitJob", "fit_arrays", "fit_batch_on"]

LARGEST = 3e38  # of a float32, for "no bound"


def room_for(n_points: NDArray[np.int64], orders: NDArray[np.int64]) -> NDArray[np.int64]:
    """Most points or pseudo-points that the kernels hold of each run."""
    order = np.array([*ORDERS, 0])[orders]
    raw = (orders < 0) | (n_points <= order + SLACK)
    return np.where(raw, n_points, order)


class FitJob(Job):
    """Fits of one law with one nonlinear parameter; the other jobs differ in their kernels.

    Parameters
    ----------
    batch, program, table, keys, draws
        As in `driver.fit_batch`; the batch may be a `Feed`, which has the priors.
    single : bool
        Whether to compute in float32.
    on_gpu : bool
        Whether the draws stay on the GPU.
    points : int
        Room for pseudo-points in shared memory (`fit.POINTS`).
    names : sequence of str, optional
        Of the runs, for messages.

    Attributes
    ----------
    draws : float64, shape (n_runs, n_parameters, n_draws), or None
    info : float64, shape (n_runs, n_info)
    parts : list of (start, device, device array)
        Draws that stay on GPUs.
    """

    n_info = len(fit.INFO)

    def __init__(
        self,
        batch: Batch | Feed,
        program: Program,
        table: PriorTable | None,
        keys: NDArray[np.uint64],
        draws: int,
        single: bool,
        on_gpu: bool = False,
        points: int = fit.POINTS[0],
        names: Sequence[str] | None = None,
    ) -> None:
        self.names = names
        self.feed = as_feed(batch, table)
        self.n_runs = self.feed.offsets.size - 1
        self.program = program
        self.number = np.dtype(np.float32 if single else np.float64)
        self.single = single
        self.keys = keys
        self.n_draws = draws
        self.n_parameters = program.n_linear + 1 + len(program.nonlinear)
        self.kernel = self.choose_kernel(points)
        self.orders = orders_of(program, self.feed)
        # float32 resolves residuals from the last loss better than losses.
        self.shift = np.zeros(self.n_runs)
        if single and program.constant >= 0:
            self.shift = self.feed.last_loss.astype(np.float32).astype(np.float64)
        self.on_gpu = on_gpu
        shape = (self.n_runs, self.n_parameters, draws)
        self.draws = None if on_gpu else np.empty(shape)
        self.info = np.empty((self.n_runs, self.n_info))
        self.parts: list[tuple[int, Device, Any]] = []

    def choose_kernel(self, points: int) -> Kernel:
        """The kernel with that much room for pseudo-points."""
        return built(fit.build, self.program, self.single, points)

    def label(self, run: int) -> str:
        """The run's name."""
        return super().label(run) if self.names is None else f"run {self.names[run]!r}"

    def points(self, start: int, stop: int) -> int:
        """Points of some runs."""
        return int(self.feed.offsets[stop] - self.feed.offsets[start])

    def constants(self) -> Sequence[NDArray[Any]]:
        """Chebyshev tables."""
        made = tables()
        return [
            made.orders.astype(np.int32),
            *(np.ascontiguousarray(a, self.number) for a in made[1:]),
        ]

    def inputs(self, start: int, stop: int) -> Sequence[Spec]:
        """Points, offsets, compression orders, shifts, priors and keys.

        Weights that are all 1 are made on the GPU: neither the host nor the bus has to bring them.
        """
        n, m = stop - start, self.points(start, stop)
        p = self.program.n_linear
        return [
            *[Spec((m,), self.number)] * 2,
            Spec((0 if self.feed.even else m,), self.number),
            Spec((n + 1,), np.uint32),
            Spec((n,), np.int32),
            Spec((n,), self.number),
            Spec((n, len(self.program.nonlinear), 5), self.number),
            *[Spec((n, p), self.number)] * 3,
            Spec((n, 2), self.number),
            Spec((n,), np.uint64),
        ]

    def fill(self, start: int, stop: int, inputs: Sequence[NDArray[Any]]) -> None:
        """Write them."""
        x, y, weight, offsets, orders, shifts, nonlinear, mean, precision, lower, sigma, keys = (
            inputs
        )
        edges = self.feed.offsets[start : stop + 1]
        a = edges[0]
        shift = self.shift[start:stop]
        if self.single:
            double_x, double_y, double_weight = (np.empty(part.size) for part in (x, y, weight))
            weights = None if self.feed.even else double_weight
            table = self.feed.write(start, stop, double_x, double_y, weights)
            x[...], weight[...] = double_x, double_weight
            by = np.repeat(shift, np.diff(edges))
            np.subtract(double_y, by, out=y, casting="same_kind")
        else:
            table = self.feed.write(start, stop, x, y, None if self.feed.even else weight)
        offsets[...] = edges - a
        orders[...] = self.orders[start:stop]
        shifts[...] = shift
        some = prior_arrays(self.program, table)
        nonlinear[...], mean[...], precision[...] = some[0], some[1], some[2]
        lower[...] = np.maximum(some[3], -LARGEST)
        sigma[...] = some[4]
        if self.program.constant >= 0:
            mean[:, self.program.constant] = some[1][:, self.program.constant] - shift
            lower[:, self.program.constant] = np.maximum(
                some[3][:, self.program.constant] - shift, -LARGEST
            )
        keys[...] = self.keys[start:stop]

    def scratch(self, start: int, stop: int) -> Sequence[Spec]:
        """What the kernel works in, and weights where none are brought."""
        ones = [Spec((self.points(start, stop),), self.number)] if self.feed.even else []
        return [*self.room(start, stop), *ones]

    def room(self, start: int, stop: int) -> Sequence[Spec]:
        """No room for the tabulated posteriors."""
        return [Spec((stop - start, 0), self.number)]

    def weights(self, chunk: Chunk) -> Any:
        """The weights of a chunk, as its kernel takes them."""
        if not self.feed.even:
            return chunk.inputs[2]
        chunk.scratch[-1].fill(1)
        return chunk.scratch[-1]

    def outputs(self, start: int, stop: int) -> Sequence[Spec]:
        """Diagnostics, and draws unless they stay."""
        info = Spec((stop - start, self.n_info), self.number)
        return [info] if self.on_gpu else [info, self._draws(start, stop)]

    def kept(self, start: int, stop: int) -> Sequence[Spec]:
        """Draws that stay."""
        return [self._draws(start, stop)] if self.on_gpu else []

    def _draws(self, start: int, stop: int) -> Spec:
        return Spec((stop - start, self.n_parameters, self.n_draws), self.number)

    def launch(self, chunk: Chunk) -> None:
        """One block a run."""
        x, y, _, offsets, orders, shifts, nonlinear, mean, precision, lower, sigma, keys = (
            chunk.inputs
        )
        draws = chunk.kept[0] if self.on_gpu else chunk.outputs[1]
        chunk.launch(
            self.kernel, x, y, self.weights(chunk), offsets, orders, shifts,
            Tables(*chunk.constants), (nonlinear, mean, precision, lower, sigma), keys, draws,
            chunk.outputs[0], chunk.scratch[0],
        )  # fmt: skip

    def collect(self, start: int, stop: int, outputs: Sequence[NDArray[Any]]) -> None:
        """Copy them."""
        self.info[start:stop] = outputs[0]
        if self.draws is not None:
            self.draws[start:stop] = outputs[1]

    def keep(self, start: int, stop: int, device: Device, kept: Sequence[Any]) -> None:
        """Remember the arrays."""
        self.parts.append((start, device, kept[0]))


class ExactJob(FitJob):
    """Draws from exactly evaluated candidates, in float64: see `exact.build`.

    Its arguments are those of `FitJob` without a precision.
    """

    n_info = len(FIT)

    def __init__(
        self,
        batch: Batch | Feed,
        program: Program,
        table: PriorTable | None,
        keys: NDArray[np.uint64],
        draws: int,
        on_gpu: bool = False,
        names: Sequence[str] | None = None,
    ) -> None:
        batch = as_feed(batch, table)
        self.most = room_for(np.diff(batch.offsets), orders_of(program, batch))
        most = self.most.max(initial=0)
        points = next((n for n in fit.POINTS if most <= n), 0)
        self.shared = points > 0
        super().__init__(batch, program, table, keys, draws, False, on_gpu, points, names)

    def choose_kernel(self, points: int) -> Kernel:
        """The kernel with that much room for pseudo-points."""
        return built(exact.build, self.program, points)

    def room(self, start: int, stop: int) -> Sequence[Spec]:
        """Points that have no room in shared memory, and what the kernel needs besides."""
        n = 0 if self.shared else int(self.most[start:stop].max())
        shapes = [exact.room_of(self.program, stop - start, n), *self.shapes(stop - start)]
        return [Spec(shape, self.number) for shape in shapes]

    def shapes(self, blocks: int) -> Sequence[tuple[int, ...]]:
        """Inner densities, and a pilot's candidates."""
        return exact.scratch(self.program, blocks)

    def launch(self, chunk: Chunk) -> None:
        """One block a run."""
        x, y, _, offsets, orders, _shifts, *priors, keys = chunk.inputs
        draws = chunk.kept[0] if self.on_gpu else chunk.outputs[1]
        chunk.launch(
            self.kernel, x, y, self.weights(chunk), offsets, orders, Tables(*chunk.constants),
            tuple(priors), keys, draws, chunk.outputs[0], *self.rest(chunk),
        )  # fmt: skip

    def rest(self, chunk: Chunk) -> Sequence[Any]:
        """The kernel's last arguments."""
        return chunk.scratch[:-1] if self.feed.even else chunk.scratch


class EnsembleJob(ExactJob):
    """Draws by the ensemble sampler, in float64.

    Parameters
    ----------
    draws, tune, chains : int
        Draws of each chain, discarded sweeps, and chains.
    **options
        As for `ExactJob`.
    """

    def __init__(
        self,
        batch: Batch | Feed,
        program: Program,
        table: PriorTable | None,
        keys: NDArray[np.uint64],
        draws: int,
        tune: int,
        chains: int,
        **options: Any,
    ) -> None:
        super().__init__(batch, program, table, keys, draws * chains, **options)
        self.numbers = draws, tune, chains

    def choose_kernel(self, points: int) -> Kernel:
        """The kernel with that much room for pseudo-points."""
        return built(ensemble.build, self.program, points)

    def shapes(self, blocks: int) -> Sequence[tuple[int, ...]]:
        """Log posteriors of points of the prior box."""
        return ensemble.scratch(blocks)

    def rest(self, chunk: Chunk) -> Sequence[Any]:
        """The kernel's last arguments."""
        return [*super().rest(chunk), *self.numbers]


def fit_batch_on(
    devices: Sequence[Device],
    batch: Batch | Feed,
    program: Program,
    table: PriorTable | None,
    keys: NDArray[np.uint64],
    *,
    draws: int,
    single: bool,
    method: str = "quadrature",
    chains: int = 1,
    tune: int | None = None,
    on_gpu: bool = False,
    names: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
    options: Options | None = None,
) -> tuple[Result, list[tuple[Device, Any]]]:
    """`driver.fit_batch` with Gaussian noise, on GPUs.

    Quadrature over one parameter is done once more, in float64, for runs where float32 may be off
    by more than 0.05 nats, and by exact draws where the constraints leave too few candidates.  What
    is left is done on the CPU: long runs of such laws that cannot be compressed (axis values that
    span more than 14 powers of ten), and constraints that leave too few exact draws, too.

    Parameters
    ----------
    devices : sequence of Device
    batch, program, table, keys, draws, method, chains, tune, progress
        As in `driver.fit_batch`; the batch may be a `Feed`, which has the priors.
    single : bool
        Whether to compute quadrature over one parameter in float32.
    on_gpu : bool
        Whether the draws stay on the GPUs: the result's own are then empty.
    names : sequence of str, optional
        Of the runs, for messages.

    Returns
    -------
    Result
    list of (Device, device array of shape (n, n_parameters, n_draws))
        The draws in the order of the runs, where they stay.
    """
    feed = as_feed(batch, table)
    room = room_for(np.diff(feed.offsets), orders_of(program, feed))
    points = fit.POINTS[int(room.max() > fit.POINTS[0])]
    arguments = (feed, program, None, keys, draws)
    job: FitJob
    if method == "ensemble":
        tune = TUNE["ensemble"] if tune is None else tune
        job = EnsembleJob(*arguments, tune, chains, on_gpu=on_gpu, names=names)
    elif len(program.nonlinear) == 2:
        job = ExactJob(*arguments, on_gpu, names)
    else:
        job = FitJob(*arguments, single, on_gpu, points, names)
    run(job, devices, progress=progress, options=options)
    job.parts.sort(key=lambda part: part[0])
    status = job.info[:, STATUS]

    def once_more(rows: NDArray[np.int64], draw: Callable[..., Any]) -> None:
        """Draws and diagnostics of some runs by other means."""
        if rows.size:
            some, priors = feed.rows(rows)
            done = draw(some, program, priors, keys[rows])
            _replace(job, rows, done.draws, as_table(done.info))

    def by(kind: Callable[..., FitJob], **choices: Any) -> Callable[..., FitJob]:
        """Another job, done."""

        def draw(*some: Any) -> FitJob:
            other = kind(*some, draws, **choices)
            run(other, devices, options=options)
            return other

        return draw

    if type(job) is FitJob:
        once_more(np.flatnonzero(status == 2), by(FitJob, single=False, points=points))
        once_more(np.flatnonzero(status == 1), by(ExactJob))
    left = status == 3
    if method != "ensemble":
        left |= status == 1
    once_more(
        np.flatnonzero(left),
        lambda *some: fit_batch(*some, draws=draws, method=method, chains=chains, tune=tune),
    )
    info = as_records(np.array(job.info[:, : len(FIT)]), FIT)
    empty = np.empty((job.n_runs, job.n_parameters, 0))
    result = Result(empty if job.draws is None else job.draws, info)
    return result, [(device, part) for _start, device, part in job.parts]


def fit_arrays(
    device: Device,
    batch: Batch,
    program: Program,
    table: PriorTable,
    keys: NDArray[np.uint64],
    *,
    draws: int,
    single: bool,
) -> tuple[Any, Any]:
    """Fits of data that lie on a GPU already; nothing but their ends is copied back.

    Parameters
    ----------
    device : Device
    batch : Batch
        As in `driver.fit_batch`, but x, y and weight are arrays of the device, float64 or float32;
        what `lossfit.fit` would check and clean must have been.
    program, table, keys, draws, single
        As in `fit_batch_on`.

    Returns
    -------
    draws : device array, shape (n_runs, n_parameters, n_draws)
    info : device array, shape (n_runs, len(fit.INFO))
        Where its status is not 0, the draws are not to be used: see `fit_batch_on`.
    """
    xp = device.xp
    offsets = np.asarray(batch.offsets, np.int64)
    made: list[Any] = []

    def task() -> None:
        ends = np.stack([offsets[:-1], offsets[1:] - 1], axis=1).ravel()
        edge_x = np.asarray(on_host(batch.x[xp.asarray(ends)]), np.float64)
        edge_y = np.asarray(on_host(batch.y[xp.asarray(ends)]), np.float64)
        edges = Batch(edge_x, edge_y, np.ones(ends.size), 2 * np.arange(offsets.size))
        # A job of the runs' ends has everything that is needed of a run but its points.
        ends_of = as_feed(edges, table)
        room = room_for(np.diff(offsets), orders_of(program, ends_of))
        points = fit.POINTS[int(room.max() > fit.POINTS[0])]
        job = FitJob(ends_of, program, None, keys, draws, single, True, points)
        host = [np.empty(spec.shape, spec.dtype) for spec in job.inputs(0, job.n_runs)]
        job.fill(0, job.n_runs, host)
        shift = xp.asarray(job.shift)[
            xp.repeat(xp.arange(job.n_runs), xp.asarray(np.diff(offsets)))
        ]
        x = xp.ascontiguousarray(batch.x, dtype=job.number)
        y = xp.ascontiguousarray(batch.y - shift, dtype=job.number)
        weight = xp.ascontiguousarray(batch.weight, dtype=job.number)
        _, _, _, _, orders, shifts, nonlinear, mean, precision, lower, sigma, some_keys = (
            xp.asarray(part) for part in host
        )
        out = xp.empty((job.n_runs, job.n_parameters, draws), job.number)
        info = xp.empty((job.n_runs, len(fit.INFO)), job.number)
        device.launch(
            job.kernel, job.n_runs,
            (
                x, y, weight, xp.asarray(offsets.astype(np.uint32)), orders, shifts,
                Tables(*(xp.asarray(part) for part in job.constants())),
                (nonlinear, mean, precision, lower, sigma), some_keys, out, info,
                xp.empty((job.n_runs, 0), job.number),
            ),
            stream,
        )  # fmt: skip
        made.extend((out, info))

    with device.active():
        stream = device.stream()
        device.follow(stream)  # the caller may still be computing what is read here
        device.work(stream, task)
        device.mark(stream).wait()
    return made[0], made[1]


def _replace(job: FitJob, rows: NDArray[np.int64], draws: Any, info: NDArray[Any]) -> None:
    """Other draws and diagnostics for some runs of a job that is done."""
    n_info = len(FIT)
    job.info[rows, :n_info] = info[:, :n_info]
    if job.draws is not None:
        job.draws[rows] = draws
    for start, device, part in job.parts:
        mine = (rows >= start) & (rows < start + part.shape[0])
        with device.active():
            for row, values in zip(rows[mine] - start, draws[mine], strict=True):
                part[row] = device.xp.asarray(values, dtype=part.dtype)
