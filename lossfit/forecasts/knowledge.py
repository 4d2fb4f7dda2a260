"""What cannot be: knowledge that contradicts the data, and targets that no forecast can serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..runs.known import numbers, schedules_by_run
from ..runs.labels import AXIS_UNITS, amount
from ..runs.limits import AXIS_LIMIT
from ..runs.logged_rate import BEFORE_END, axis_factor
from ..runs.schedule_words import check_end, own_end
from .rates import Plan

if TYPE_CHECKING:
    from ..runs.collection import Runs
    from ..runs.run import Run
    from ..schedules.shapes import Schedule

FARTHEST_TARGET = 1e6  # times the data
OTHER_UNIT = 50.0  # times the data: a planned end so far away may be meant in another unit
UNITS = {1e3: "k", 1e6: "M", 1e9: "B"}
MOST_STEPS = 1e8  # that anyone plans: more are tokens


def check_knowledge(
    plan: Plan,  # what was given for the future of runs
    runs: Runs,
    names: Sequence[str],  # those that are asked about
    axis: str,
) -> None:
    """Refuse planned ends and schedules that the data contradict.

    Raises `DataError`: an end before the data's, or one that is meant in another unit; the message
    names the run.
    """
    of_run: dict[str, float] = {}
    if plan.total is not None:
        given = numbers(plan.total, runs.names, "total", AXIS_LIMIT)
        of_run = dict(zip(runs.names, given, strict=True))
        for name in names:
            if not np.isnan(of_run[name]):
                _check_total(float(of_run[name]), runs, name, axis)
    if plan.total is None and plan.schedule is None:
        return
    given_schedules = schedules_by_run(plan.schedule, runs.names)
    for name in names:
        run, total = runs[name], of_run.get(name, np.nan)
        schedule = given_schedules.get(name, run.schedule)
        if schedule is None or (schedule == run.schedule and np.isnan(total)):
            continue
        if schedule != run.schedule:
            check_end(schedule, run, axis)
        last = (schedule.total or np.nan) * axis_factor(run, schedule, axis)
        # A run that came to the end of its own schedule may be asked for a longer plan.
        longer = name not in given_schedules and run.end(axis) >= last * (1 - BEFORE_END)
        if abs(np.log(total / last)) > BEFORE_END and not (longer and total > last):  # no NaN is
            whose, way_out = "its own schedule", "leave total= out, or say by schedule= how it ends"
            if name in given_schedules:
                whose, way_out = "the schedule given for it", "give one of them"
            raise DataError(
                f"run {name!r}: total={total:g}, but {whose} ends at {amount(last, axis)}: "
                f"{way_out}"
            )


def _check_total(total: float, runs: Runs, name: str, axis: str) -> None:
    run = runs[name]
    end = run.end(axis)
    if total < end * (1 - BEFORE_END):
        raise DataError(
            f"total={total:g} ends before the data of run {name!r}, which reach "
            f"{amount(end, axis)}: give the planned end in {AXIS_UNITS[axis]}, or leave total= "
            f"out{meant(total, run, axis)}"
        )
    for other in run.axes:
        if other == axis or total <= OTHER_UNIT * end:
            continue
        if 1 - BEFORE_END <= total / run.end(other) <= OTHER_UNIT:
            raise DataError(
                f"total={total:g} is {total / end:,.0f} times the data of run {name!r}, which "
                f"reach {amount(end, axis)}: it looks like {AXIS_UNITS[other]}; give it in "
                f"{AXIS_UNITS[axis]}, or axis={other!r}"
            )
    if total > FARTHEST_TARGET * end:
        raise DataError(
            f"total={total:g} is more than a million times the data of run {name!r}, which reach "
            f"{amount(end, axis)}: give the planned end in {AXIS_UNITS[axis]}"
            f"{meant(total, run, axis)}"
        )


def planned_end(
    run: Run,
    axis: str,
    schedule: Schedule | None,  # given for the run
    total: float | None,  # its planned end on the axis, where it was given
    by_rate: bool = True,  # whether the form of the logged rate counts
) -> float | None:
    """Where a run is to end: as given, by its schedule, its log, or the form of its logged rate.

    None where nothing says it.
    """
    if total is not None and np.isfinite(total):
        return float(total)
    schedule = schedule or run.schedule
    if schedule is not None and schedule.total:
        return schedule.total * axis_factor(run, schedule, axis)
    planned = run.meta.get("planned_steps")
    if planned is not None and run.has("step"):
        return float(planned) * run.end(axis) / run.end("step")
    end = own_end(run, axis) if by_rate and schedule is None else 0.0
    return end if end > run.end(axis) else None


def meant(total: float, run: Run, axis: str) -> str:
    """``"; did you mean 24k?"`` where a planned end is one of the data but for a k, M or B.

    Tokens on the axis of steps are told from that, where the run counts none.
    """
    if axis == "step" and total > MOST_STEPS and not run.has("tokens"):
        return "; if it counts tokens, give tokens_per_step= and axis='tokens'"
    end = run.end(axis)
    low, high = (1 - BEFORE_END) * end, OTHER_UNIT * end
    for factor, word in UNITS.items():
        if low <= total * factor <= high:
            return f"; did you mean total='{total:g}{word}'?"
        # The data's own end is no plan that anyone gets wrong by a factor of a thousand.
        if (1 + BEFORE_END) * end < total / factor <= high:
            return f"; did you mean total={total / factor:,.10g}?"
    return ""


def check_targets(
    runs: Runs,
    names: Sequence[str],  # length R
    axis: str,
    at: Floats,  # shape (R, T): axis values; NaN is no target
) -> None:
    """Refuse targets before a run's first point, or a million times beyond its last one.

    Raises `DataError`: the message names the run and its data.
    """
    flat = runs.flat(axis) if len(names) == len(runs) else runs.select(names).flat(axis)
    first, last = flat.x[flat.offsets[:-1]], flat.x[flat.offsets[1:] - 1]
    early = at < first[:, None]
    far = at > FARTHEST_TARGET * last[:, None]
    for r, t in np.argwhere(early | far)[:1]:
        what = "before the first point" if early[r, t] else "more than a million times the data"
        raise DataError(
            f"at={at[r, t]:g} lies {what} of run {names[r]!r}, which has "
            f"{amount(float(first[r]), axis)} to {amount(float(last[r]), axis)}: give a place on "
            f"the axis {axis}, or another axis="
        )
