"""Schedules in a word: ``cosine@250k``, ``cosine:4@20k``, or a CSV of steps and rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.units import amount_of
from ..schedules import kinds as make
from ..schedules.shapes import Schedule
from .known import schedules_by_run
from .labels import amount
from .logged_rate import BEFORE_END, axis_factor, history_of, rate_of, warmup_of
from .rate_forms import forms_of

if TYPE_CHECKING:
    from .collection import Runs
    from .known import NumberByRun, ScheduleByRun, Schedules
    from .run import Run

KINDS = ("constant", "cosine", "linear", "wsd", "1-sqrt")
MEANT = (0.98, 50.0)  # times the data: where an end may lie that counts the same as they


def schedules_of(
    # Schedule, str, dict of these by run, or None: a word is KIND, KIND@END or the path of a CSV;
    # KIND:N is N cycles of a cosine
    schedule: ScheduleByRun,
    runs: Runs,
    names: Sequence[str] | None = None,  # the runs that a word for all is for; all by default
    # float or dict by run: planned end on `axis`, where a word names none
    total: NumberByRun = None,
    axis: str = "step",
) -> Schedules:
    """A schedule for all, or by run, with words spelt out.

    Raises `DataError`: no such kind; an end that is needed and not said; a CSV that is none.
    """
    if isinstance(schedule, str):
        given: Mapping[str, Schedule | str] = dict.fromkeys(names or runs.names, schedule)
    elif isinstance(schedule, Mapping):
        given = schedule
    else:
        return schedule
    points: dict[str, Schedule] = {}
    ends = total if isinstance(total, Mapping) else dict.fromkeys(given, total)
    out: dict[str, Schedule] = {}
    for name, value in given.items():
        if not isinstance(value, str):
            out[name] = value
        elif value.lower().endswith(".csv"):
            out[name] = points[value] = points.get(value) or _points(value)
        else:
            out[name] = _of_run(value, runs[name], ends.get(name), axis)
    return out


def with_own(
    runs: Runs, own: ScheduleByRun, total: NumberByRun = None, axis: str = "step"
) -> Runs:  # fmt: skip
    """Runs with the schedule that they had, where neither they nor their logs say.

    Raises `DataError`: one that ends before the data.
    """
    if own is None:
        return runs
    stated = schedules_by_run(schedules_of(own, runs, total=total, axis=axis), runs.names)
    lacking = {n: s for n, s in stated.items() if runs[n].schedule is None and runs[n].lr is None}
    for name, schedule in lacking.items():
        if runs[name].has(schedule.axis):
            check_end(schedule, runs[name], schedule.axis)
    return runs.with_schedule(lacking) if lacking else runs


def check_end(schedule: Schedule, run: Run, axis: str) -> None:
    """Raise `DataError` where a schedule ends before the data of the run that it is given for."""
    if not schedule.total:
        return
    last = schedule.total * axis_factor(run, schedule, axis)
    if last < run.end(axis) * (1 - BEFORE_END):
        raise DataError(
            f"the schedule given for run {run.name!r} ends at {amount(last, axis)}, before its "
            f"data, which reach {amount(run.end(axis), axis)}: check the schedule's total and "
            f"its axis ({schedule.axis})"
        )


def _of_run(word: str, run: Run, total: float | None, axis: str) -> Schedule:
    """With the run's own peak and warm-up where they are known."""
    kind, cycles, end = _parted(word)
    counts = _counted(run, end)
    if end is None and total is not None:
        end = total if axis == counts else total * run.end(counts) / run.end(axis)
    if run.schedule is not None or run.lr is not None:
        return standard_schedule(run, kind, end, cycles, counts)
    if end is None and kind != "constant":
        raise DataError(
            f"run {run.name!r}: its learning rate is not known, so schedule={word!r} needs an end: "
            f"{word}@20k"
        )
    return _shape(kind, cycles, 1.0, end or 0.0, 0.0, counts)


def _counted(run: Run, end: float | None) -> str:
    """What an end counts: the run's own schedule says, else steps, or tokens where that fits."""
    own = run.schedule.axis if run.schedule is not None else "step" if run.has("step") else "tokens"
    other = "tokens" if own == "step" else "step"
    if end is None or not run.has(own) or not run.has(other):
        return own
    low, high = MEANT
    fits = {axis: low <= end / run.end(axis) <= high for axis in (own, other)}
    return other if fits[other] and not fits[own] else own


def standard_schedule(
    run: Run,
    # {"cosine", "linear", "wsd", "1-sqrt", "constant"}: cosine to 10 % of the peak, straight line
    # to 0, and the peak with a straight or a 1 - sqrt cooldown to 0 over the last 20 %
    kind: str,
    # the end, in units of `axis`; by default `own_end`
    total: float | None = None,
    cycles: int = 1,  # of a cosine that starts again; each of several ends at 0
    # {"step", "tokens"}: by default that of the run's own schedule (steps, or tokens, where the
    # rate was logged)
    axis: str | None = None,
) -> Schedule:
    """A schedule of some kind with the peak, the warm-up and the end of a run's own.

    Raises `DataError`: no such kind; a run whose learning rate is not known.
    """
    own = run.schedule
    if own is None and run.lr is None:
        raise DataError(
            f"run {run.name!r}: the learning rate that it had is not known, so its peak and "
            f"warm-up cannot be kept: give the run a schedule (Runs.with_schedule) or an lr column"
        )
    axis = axis or _counted(run, None)
    if own is None and history_of(run, axis) is None:
        raise DataError(
            f"run {run.name!r}: too little of its learning rate was logged to keep its peak and "
            f"warm-up: give the run a schedule (Runs.with_schedule)"
        )
    if total is None:
        total = own_end(run, axis)
    warmup = min(warmup_of(run, axis), 0.5 * total)
    return _shape(kind, cycles, peak_of(run), total, warmup, axis)


def own_end(run: Run, axis: str) -> float:
    """Where a run's schedule ends, or about where the form of its logged rate; else its data."""
    if run.schedule is not None:
        factor = axis_factor(run, run.schedule, axis)
        return run.schedule.total * factor if run.schedule.total else run.end(axis)
    history = history_of(run, axis)
    form = None if history is None else forms_of([rate_of(*history)])[0].form
    total = float(f"{form.total:.4g}") if form is not None and form.total else 0.0
    return total if total > run.end(axis) * (1 + BEFORE_END) else run.end(axis)


def peak_of(run: Run) -> float:
    """The highest learning rate of a run's own schedule."""
    if run.schedule is not None:
        return highest(run.schedule)
    lr = run.lr
    assert lr is not None
    return float(np.nanmax(lr))


def highest(schedule: Schedule) -> float:
    """The highest learning rate of a schedule."""
    return max(schedule.peak, schedule.second) if schedule.kind == "two_stage" else schedule.peak


def shape_of(word: str, end: float, axis: str) -> Schedule:
    """A schedule with peak 1 on some axis, which ends at `end` unless the word says where."""
    if word.lower().endswith(".csv"):
        return _points(word)
    kind, cycles, last = _parted(word)
    return _shape(kind, cycles, 1.0, end if last is None else last, 0.0, axis)


def _shape(
    kind: str, cycles: int, peak: float, total: float, warmup: float, axis: str
) -> Schedule:  # fmt: skip
    if kind == "constant":
        return make.constant(peak, warmup, axis=axis)
    if cycles > 1:
        return make.cosine_restarts(peak, total, cycles, warmup, axis=axis)
    made: dict[str, Any] = {
        "cosine": make.cosine,
        "linear": make.linear,
        "wsd": make.wsd,
        "1-sqrt": make.one_minus_sqrt,
    }
    if kind not in made:
        raise DataError(f"no kind of schedule is called {kind!r}; there are {', '.join(KINDS)}")
    schedule: Schedule = made[kind](peak, total, warmup, axis=axis)
    return schedule


def _parted(word: str) -> tuple[str, int, float | None]:
    """Kind, number of cycles and end of a word."""
    what, at, end = word.strip().partition("@")
    kind, colon, cycles = what.partition(":")
    many = kind == "cosine" and cycles.isdecimal() and int(cycles) > 0
    if kind not in KINDS or (colon and not many):
        raise DataError(
            f"no schedule is called {what!r} here; there are {', '.join(KINDS)}, cosine:4 for four "
            f"cycles, or give a CSV with columns step (or tokens) and lr"
        )
    return kind, int(cycles) if many else 1, amount_of(end) if at else None


def _points(path: str) -> Schedule:
    """A schedule through the rows of a CSV."""
    import pandas as pd

    if not Path(path).is_file():
        raise DataError(f"there is no file {path!r} of a schedule")
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"cannot read {path} as a CSV of a schedule: {error}") from None
    axis = next((name for name in ("step", "tokens") if name in table), None)
    if axis is None or "lr" not in table:
        raise DataError(
            f"{path}: a schedule has columns step (or tokens) and lr, found "
            f"{', '.join(map(str, table.columns))}"
        )
    return make.from_points(table[axis], table["lr"], axis=axis)
