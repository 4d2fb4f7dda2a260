"""Posterior draws of many runs on cards: `driver.fit_batch` for laws that CUDA kernels serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import ORDERS, Program
from ..driver import (
    Batch,
    PriorTable,
    Result,
    compression_orders,
    fit_batch,
    prior_arrays,
    tables,
)
from ..work import SLACK, Tables
from . import fit
from .chunks import Spec
from .device import Device, on_host
from .launch import Chunk, Job, Options, built, run

__all__ = ["FitJob", "fit_arrays", "fit_batch_on"]

LARGEST = 3e38  # of a float32, for "no bound"


def room_for(n_points: NDArray[np.int64], orders: NDArray[np.int64]) -> NDArray[np.int64]:
    """Most points or pseudo-points that the kernels hold of each run."""
    order = np.array([*ORDERS, 0])[orders]
    raw = (orders < 0) | (n_points <= order + SLACK)
    return np.where(raw, n_points, order)


class FitJob(Job):
    """Fits of one law with one nonlinear parameter.

    Parameters
    ----------
    batch, program, table, keys, draws
        As in `driver.fit_batch`.
    single : bool
        Whether to compute in float32.
    on_card : bool
        Whether the draws stay on the card.
    points : int
        Room for pseudo-points in shared memory (`fit.POINTS`).
    names : sequence of str, optional
        Of the runs, for messages.

    Attributes
    ----------
    draws : float64, shape (n_runs, n_parameters, n_draws), or None
    info : float64, shape (n_runs, len(fit.INFO))
    parts : list of (start, device, device array)
        Draws that stay on cards.
    """

    def __init__(
        self,
        batch: Batch,
        program: Program,
        table: PriorTable,
        keys: NDArray[np.uint64],
        draws: int,
        single: bool,
        on_card: bool = False,
        points: int = fit.POINTS[0],
        names: Sequence[str] | None = None,
    ) -> None:
        self.names = names
        self.n_runs = batch.offsets.size - 1
        self.batch = batch
        self.program = program
        self.number = np.dtype(np.float32 if single else np.float64)
        self.single = single
        self.keys = keys
        self.n_draws = draws
        self.n_parameters = program.n_linear + 2
        self.kernel = built(fit.build, program, single, points)
        self.orders = compression_orders(program, batch.x, batch.offsets)
        self.priors = prior_arrays(program, table)
        # float32 resolves residuals from the last loss better than losses.
        self.shift = np.zeros(self.n_runs)
        if single and program.constant >= 0:
            last = batch.y[batch.offsets[1:] - 1]
            self.shift = last.astype(np.float32).astype(np.float64)
        self.on_card = on_card
        shape = (self.n_runs, self.n_parameters, draws)
        self.draws = None if on_card else np.empty(shape)
        self.info = np.empty((self.n_runs, len(fit.INFO)))
        self.parts: list[tuple[int, Device, Any]] = []

    def label(self, run: int) -> str:
        """The run's name."""
        return super().label(run) if self.names is None else f"run {self.names[run]!r}"

    def points(self, start: int, stop: int) -> int:
        """Points of some runs."""
        return int(self.batch.offsets[stop] - self.batch.offsets[start])

    def constants(self) -> Sequence[NDArray[Any]]:
        """Chebyshev tables."""
        made = tables()
        return [
            made.orders.astype(np.int32),
            *(np.ascontiguousarray(a, self.number) for a in made[1:]),
        ]

    def inputs(self, start: int, stop: int) -> Sequence[Spec]:
        """Points, offsets, compression orders, shifts, priors and keys."""
        n, m = stop - start, self.points(start, stop)
        p = self.program.n_linear
        return [
            *[Spec((m,), self.number)] * 3,
            Spec((n + 1,), np.uint32),
            Spec((n,), np.int32),
            Spec((n,), self.number),
            Spec((n, 1, 5), self.number),
            *[Spec((n, p), self.number)] * 3,
            Spec((n, 2), self.number),
            Spec((n,), np.uint64),
        ]

    def fill(self, start: int, stop: int, inputs: Sequence[NDArray[Any]]) -> None:
        """Write them."""
        x, y, weight, offsets, orders, shifts, nonlinear, mean, precision, lower, sigma, keys = (
            inputs
        )
        edges = self.batch.offsets[start : stop + 1]
        a, b = edges[0], edges[-1]
        shift = self.shift[start:stop]
        x[...] = self.batch.x[a:b]
        np.subtract(self.batch.y[a:b], np.repeat(shift, np.diff(edges)), out=y, casting="same_kind")
        weight[...] = self.batch.weight[a:b]
        offsets[...] = edges - a
        orders[...] = self.orders[start:stop]
        shifts[...] = shift
        some = [part[start:stop] for part in self.priors]
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
        """No room for the tabulated posteriors."""
        return [Spec((stop - start, 0), self.number)]

    def outputs(self, start: int, stop: int) -> Sequence[Spec]:
        """Diagnostics, and draws unless they stay."""
        info = Spec((stop - start, len(fit.INFO)), self.number)
        return [info] if self.on_card else [info, self._draws(start, stop)]

    def kept(self, start: int, stop: int) -> Sequence[Spec]:
        """Draws that stay."""
        return [self._draws(start, stop)] if self.on_card else []

    def _draws(self, start: int, stop: int) -> Spec:
        return Spec((stop - start, self.n_parameters, self.n_draws), self.number)

    def launch(self, chunk: Chunk) -> None:
        """One block a run."""
        x, y, weight, offsets, orders, shifts, nonlinear, mean, precision, lower, sigma, keys = (
            chunk.inputs
        )
        draws = chunk.kept[0] if self.on_card else chunk.outputs[1]
        chunk.launch(
            self.kernel, x, y, weight, offsets, orders, shifts, Tables(*chunk.constants),
            (nonlinear, mean, precision, lower, sigma), keys, draws, chunk.outputs[0],
            chunk.scratch[0],
        )  # fmt: skip

    def collect(self, start: int, stop: int, outputs: Sequence[NDArray[Any]]) -> None:
        """Copy them."""
        self.info[start:stop] = outputs[0]
        if self.draws is not None:
            self.draws[start:stop] = outputs[1]

    def keep(self, start: int, stop: int, device: Device, kept: Sequence[Any]) -> None:
        """Remember the arrays."""
        self.parts.append((start, device, kept[0]))


def fit_batch_on(
    devices: Sequence[Device],
    batch: Batch,
    program: Program,
    table: PriorTable,
    keys: NDArray[np.uint64],
    *,
    draws: int,
    single: bool,
    on_card: bool = False,
    names: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
    options: Options | None = None,
) -> tuple[Result, list[tuple[Device, Any]]]:
    """`driver.fit_batch` by quadrature, on cards.

    Runs that the kernels do not serve are done on the CPU: where the constraints leave too few
    candidates, where float32 may be off by more than 0.05 nats, and long runs that cannot be
    compressed (axis values that span more than 14 powers of ten).

    Parameters
    ----------
    devices : sequence of Device
    batch, program, table, keys, draws, progress
        As in `driver.fit_batch`.
    single : bool
        Whether to compute in float32.
    on_card : bool
        Whether the draws stay on the cards: the result's own are then empty.
    names : sequence of str, optional
        Of the runs, for messages.

    Returns
    -------
    Result
    list of (Device, device array of shape (n, n_parameters, n_draws))
        The draws in the order of the runs, where they stay.
    """
    n_points = np.diff(batch.offsets)
    room = room_for(n_points, compression_orders(program, batch.x, batch.offsets))
    points = fit.POINTS[0] if room.max() <= fit.POINTS[0] else fit.POINTS[1]
    job = FitJob(batch, program, table, keys, draws, single, on_card, points, names)
    run(job, devices, progress=progress, options=options)
    job.parts.sort(key=lambda part: part[0])
    again = np.flatnonzero(job.info[:, fit.STATUS] != 0)
    info = np.array(job.info[:, :5])
    if again.size:
        done = fit_batch(
            _rows(batch, again), program, PriorTable(*(part[again] for part in table)), keys[again],
            draws=draws,
        )  # fmt: skip
        info[again] = done.info
        if job.draws is not None:
            job.draws[again] = done.draws
        for start, device, part in job.parts:
            mine = (again >= start) & (again < start + part.shape[0])
            with device.active():
                for row, values in zip(again[mine] - start, done.draws[mine], strict=True):
                    part[row] = device.xp.asarray(values, dtype=part.dtype)
    empty = np.empty((batch.offsets.size - 1, job.n_parameters, 0))
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
    """Fits of data that lie on a card already; nothing but their ends is copied back.

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
        room = room_for(np.diff(offsets), compression_orders(program, edges.x, edges.offsets))
        points = fit.POINTS[0] if room.max() <= fit.POINTS[0] else fit.POINTS[1]
        job = FitJob(edges, program, table, keys, draws, single, True, points)
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
        device.work(stream, task)
        device.mark(stream).wait()
    return made[0], made[1]


def _rows(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    """Some runs of a batch."""
    lengths = np.diff(batch.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    at = np.repeat(batch.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Batch(batch.x[at], batch.y[at], batch.weight[at], offsets)
