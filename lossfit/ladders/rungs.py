"""Runs as rungs of a ladder: their sizes, tokens, schedules; and the schedule of a size to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..runs.logged_rate import axis_factor, history_of
from ..schedules.shapes import Schedule
from .clock import Clock
from .rows import Rung

if TYPE_CHECKING:
    from ..runs.collection import Runs
    from ..runs.run import Run

LEAST_POINTS = 4  # after twice the warm-up
STEPS = 20_000  # of a run that does not count them
NODES = 2000


class Rungs(NamedTuple):
    """Rungs, and what is not known of them."""

    rungs: list[Rung]
    unscheduled: list[str]  # runs whose learning rate is not known, taken for constant
    stepless: list[str]  # runs whose batch is not known


def rungs_of(runs: Runs, axis: str) -> Rungs:
    """All runs as rungs.

    Raises `DataError`: a run without params or the axis, or with too few points; schedules that are
    known of some runs and not of others.
    """
    rungs, unscheduled, stepless = [], [], []
    for run in runs:
        rung, scheduled, stepped = rung_of(run, axis)
        rungs.append(rung)
        unscheduled += [] if scheduled else [run.name]
        stepless += [] if stepped else [run.name]
    if unscheduled and len(unscheduled) < len(rungs):
        raise DataError(
            f"run {unscheduled[0]!r}: its learning rate is not known while that of others is: give "
            f"its schedule with runs.with_schedule({{{unscheduled[0]!r}: ...}}), or an lr column"
        )
    return Rungs(rungs, unscheduled, stepless)


def rung_of(
    run: Run,
    axis: str,  # {"tokens", "step"}
    total: float | None = None,  # axis value to which its clock reaches, at least
) -> tuple[Rung, bool, bool]:
    """A run as a rung; whether its schedule and its batch are known.

    Raises `DataError`: no params, too few points after the warm-up, an axis that the run does not
    have.
    """
    if run.params is None:
        raise DataError(
            f"run {run.name!r} has no params, which a ladder needs: give params= when the runs are "
            f"made, or a column params"
        )
    keep = ~run.spike & (run.axis(axis) > 0)
    x, loss = run.axis(axis)[keep], run.loss[keep]
    if len(x) < LEAST_POINTS:
        raise DataError(
            f"run {run.name!r} has {len(x)} points; a ladder needs {LEAST_POINTS}: leave it out"
        )
    batch, stepped = _batch(run, axis)
    end = max(float(x[-1]), 0.0 if total is None else float(total))
    clock, scheduled = _clock(run, axis, end, batch)
    rung = Rung(run.name, run.params, x, loss, clock, batch)
    if int((x >= min(2 * clock.warmup, rung.start)).sum()) < LEAST_POINTS:
        raise DataError(
            f"run {run.name!r} has fewer than {LEAST_POINTS} points after twice its warm-up: it "
            f"says too little yet; leave it out"
        )
    return rung, scheduled, stepped


def _batch(run: Run, axis: str) -> tuple[float, bool]:
    """Units of the axis in a step, and whether they are known."""
    if axis == "step":
        return 1.0, True
    if run.tokens_per_step is not None:
        return run.tokens_per_step, True
    if run.has("step") and run.end("step") > 0:
        return run.end("tokens") / run.end("step"), True
    return run.end(axis) / STEPS, False


def _clock(run: Run, axis: str, end: float, batch: float) -> tuple[Clock, bool]:
    if run.schedule is not None:
        return scheduled_clock(run.schedule, axis_factor(run, run.schedule, axis), end, batch), True
    logged = history_of(run, axis)
    if logged is not None:
        t, rate = logged
        return Clock.of(t, rate, end, batch, float(rate.max())), True
    return Clock.constant(end), False


def scheduled_clock(schedule: Schedule, factor: float, end: float, batch: float) -> Clock:
    """The clock of a schedule whose axis times ``factor`` is the ladder's."""
    t = np.linspace(0.0, end, NODES)
    edges = [schedule.warmup * factor]
    if schedule.total is not None:
        edges.append(schedule.total * factor)
    t = np.unique(np.append(t, [edge for edge in edges if 0 < edge < end]))
    peak = schedule.peak if schedule.peak != 1.0 else np.nan  # 1 stands for "relative"
    return Clock.of(t, schedule(t / factor), end, batch, peak)


def planned(
    rungs: list[Rung], runs: Runs, axis: str, end: float, schedule: Schedule | None, batch: float
) -> tuple[Clock, bool]:
    """The clock of a run to come; and whether its schedule was stretched to ``end``.

    Without a schedule it is that of the largest rung, planned to end there.
    """
    if schedule is not None:
        factor = 1.0 if schedule.axis == axis else batch if axis == "tokens" else 1 / batch
        stretched = schedule.total is not None and end > schedule.total * factor * 1.001
        if stretched:
            schedule = schedule.stretched(end / factor)
        total = end if schedule.total is None else max(end, schedule.total * factor)
        return scheduled_clock(schedule, factor, total, batch), stretched
    largest = max(rungs, key=lambda rung: (rung.params, rung.end))
    own = runs[largest.name].schedule
    if own is not None and own.kind != "points" and own.total is not None:
        factor = axis_factor(runs[largest.name], own, axis)
        warmup = own.warmup * factor
        if end > 1.05 * warmup:
            return scheduled_clock(own.stretched(end / factor), factor, end, batch), True
    return _scaled(largest, end, batch), True


def _scaled(rung: Rung, end: float, batch: float) -> Clock:
    """The clock of a rung with its length scaled to another."""
    clock = rung.clock
    if clock.kind == "constant":
        warmup = min(clock.warmup, 0.5 * end)
        return Clock.constant(end, warmup, clock.peak)
    rate = np.gradient(clock.cumulative, clock.tokens)
    inside = clock.tokens <= rung.end * (1 + 1e-9)
    t: Floats = clock.tokens[inside] * (end / rung.end)
    return Clock.of(t, rate[inside], end, batch, clock.peak)
