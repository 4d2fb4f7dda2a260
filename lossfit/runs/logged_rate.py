"""What a log, or a schedule of points, says of the learning rate: warm-up, history, restarts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints, counts, spans
from ..schedules import kinds
from ..schedules.shapes import Schedule
from .rate_falls import LEAST_POINTS, MATCH, LoggedRate

if TYPE_CHECKING:
    from .collection import Runs
    from .run import Owner, Run

WARM = 0.98  # of the peak: where a logged warm-up ends
WARM_SHARE = 0.25  # and it ends within this share of a finished log
MOST_NODES = 512
BEFORE_END = 0.02  # of the data: a plan may end so little before they do, or after
LAST = 0.05  # of a log: the part that shows whether its rate comes to nothing
STRAIGHT = 0.1  # of its fall: rms from a straight line that this part may be off
LOW = 0.1  # of the peak: the highest rate from which it does
LEAP = 0.3  # of the peak: a logged rate that rises so much at once starts a cycle
GROWTHS = (1.0, 1.5, 2.0, 3.0)  # of a cycle over the one before


def warmed(t: Floats, rate: Floats) -> tuple[Floats, Floats]:
    """Points of a logged rate relative to its peak, the warm-up counted at the peak."""
    if len(t) > MOST_NODES:
        grid = np.linspace(t[0], t[-1], MOST_NODES)
        t, rate = grid, np.interp(grid, t, rate)
    peak = float(rate.max())
    rho = rate / peak if peak > 0 else np.ones_like(rate)
    first = _warm_rows(rho)
    rho = rho.copy()
    rho[:first] = rho[first]
    return t, rho


def _warm_rows(rho: Floats) -> int:
    """How many rows at the start are warm-up."""
    first = int(np.argmax(rho >= WARM))
    rising = bool((np.diff(rho[: first + 1]) >= 0).all())
    return first if rising and first <= max(_most_warm(rho[-1]) * len(rho), 1) else 0


def _most_warm(last: Any) -> Any:
    """The largest share of a log that a warm-up may be, by its last rate.

    A cosine that has fallen so far tells how much of its plan a log is.
    """
    over = np.arcsin(np.sqrt(np.clip(1 - last, 0, 1))) * 2 / np.pi
    return WARM_SHARE / np.maximum(over, 0.5)


class _Histories(NamedTuple):
    """The logged rates of all runs of a collection on one axis, where enough was logged."""

    offsets: Ints  # shape (R + 1,): run r owns the points offsets[r]:offsets[r + 1], or none
    t: Floats
    rate: Floats
    warm: Ints  # shape (R,): how many points at the start are warm-up


def _histories(runs: Owner, axis: str) -> _Histories:
    """The logged rates, found once for a collection and axis."""
    key = f"rates by {axis}"
    if key not in runs._cache:
        runs._cache[key] = _found(runs, axis)
    histories: _Histories = runs._cache[key]
    return histories


def _found(runs: Owner, axis: str) -> _Histories:
    lr, offsets = runs._columns.lr, runs._columns.offsets
    x, has = runs._axis(axis)
    nothing = np.zeros(len(has), np.int64)
    if lr is None:
        return _Histories(spans(nothing), np.zeros(0), np.zeros(0), nothing)
    usable = np.isfinite(lr) & (x > 0)
    n, points = counts(usable, offsets), np.diff(offsets)
    ends = x[np.maximum(offsets[1:] - 1, 0)]
    t, rate = (x, lr) if usable.all() else (x[usable], lr[usable])
    if len(rate) and rate.min() < 0:
        rate = np.maximum(rate, 0.0)  # some schedulers end at -5e-12
    of_all = spans(n)
    some = np.flatnonzero(n)
    last, peak = np.zeros(len(n)), np.zeros(len(n))
    last[some] = t[of_all[some + 1] - 1]
    peak[some] = np.maximum.reduceat(rate, of_all[some]) if len(some) else 0.0
    # A rate that was logged for a part of the run only says nothing of the rest.
    enough = (n >= 3) & (last >= 0.97 * ends) & (2 * n >= points) & (peak > 0)
    if not enough.all():
        kept = np.repeat(enough, n)
        t, rate, n = t[kept], rate[kept], np.where(enough, n, 0)
    offsets = spans(n)
    return _Histories(offsets, t, rate, _warm_counts(rate, offsets, peak))


def _warm_counts(rate: Floats, offsets: Ints, peak: Floats) -> Ints:
    """`_warm_rows` of every run, shape (R,)."""
    out = np.zeros(len(peak), np.int64)
    some = np.flatnonzero(np.diff(offsets))
    if not len(some):
        return out
    starts, n = offsets[some], np.diff(offsets)[some]
    rho = rate / np.repeat(peak[some], n)
    hot = np.flatnonzero(rho >= WARM)
    first = hot[np.searchsorted(hot, starts)]
    falls = spans(np.diff(rho, prepend=rho[0]) < 0)
    rising = falls[first + 1] == falls[starts + 1]
    first = first - starts
    most = np.maximum(_most_warm(rho[starts + n - 1]) * n, 1)
    out[some] = np.where(rising & (first <= most), first, 0)
    return out


def history_of(run: Run, axis: str) -> tuple[Floats, Floats] | None:
    """Axis values and logged learning rate, or None where too little of it was logged."""
    if run.lr is None:
        return None
    if not run.has(axis):
        run.axis(axis)  # raises
    of_all = _histories(run._runs, axis)
    rows = slice(*of_all.offsets[run._i : run._i + 2].tolist())
    return None if rows.start == rows.stop else (of_all.t[rows], of_all.rate[rows])


def rate_of(t: Floats, rate: Floats) -> LoggedRate:
    """A logged learning rate, whose form may be asked (`lossfit.runs.rate_forms.forms_of`)."""
    return LoggedRate(t, rate / rate.max(), _warm_end(t, rate))


def logged_shares(runs: Runs) -> Floats:
    """Logged warm-ups as a share of each run's end on its first axis, 0 where none was logged."""
    out = np.zeros(len(runs))
    for axis, which in runs._first_axes().items():
        rows = np.flatnonzero(which)
        ends = runs._axis(axis)[0][runs._columns.offsets[1:][rows] - 1]
        out[rows] = _logged_warmups(runs, axis)[rows] / ends
    return out


def has_rate(runs: Runs) -> Bools:
    """Which runs have a logged learning rate, shape (n_runs,)."""
    lr, offsets = runs._columns.lr, runs._columns.offsets
    return np.zeros(len(runs), bool) if lr is None else counts(~np.isnan(lr), offsets) > 0


def by_schedule(runs: Runs) -> list[tuple[Schedule | None, Ints]]:
    """The runs' own schedules, and which runs have each."""
    schedules = runs._columns.schedules
    if not schedules:
        return [(None, np.arange(len(runs)))]
    which = np.fromiter(map(id, map(schedules.get, runs.names)), np.int64, len(runs))
    order = np.argsort(which, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(which[order])) + 1)
    return [(schedules.get(runs.names[rows[0]]), rows) for rows in groups]


def warmup_in(schedule: Schedule) -> float:
    """End of a schedule's warm-up in units of its own axis, 0 for none."""
    if schedule.kind != "points":
        return schedule.warmup
    return _warm_end(*schedule._points)


def _warm_end(t: Floats, rate: Floats) -> float:
    if not rate.max() > 0:
        return 0.0
    rows = _warm_rows(rate / rate.max())
    return float(t[rows]) if rows else 0.0


def warmup_of(run: Run, axis: str) -> float:
    """End of the warm-up on the axis, 0 where none is known."""
    schedule = run.schedule
    if schedule is not None:
        warmup = warmup_in(schedule)
        return warmup * axis_factor(run, schedule, axis) if warmup else 0.0
    return 0.0 if history_of(run, axis) is None else float(_logged_warmups(run._runs, axis)[run._i])


def _logged_warmups(runs: Owner, axis: str) -> Floats:
    """Ends of the warm-ups that were logged, 0 where none was, shape (R,)."""
    of_all = _histories(runs, axis)
    out, warm = np.zeros(len(of_all.warm)), np.flatnonzero(of_all.warm)
    out[warm] = of_all.t[of_all.offsets[warm] + of_all.warm[warm]]
    return out


def warmups_of(runs: Runs, axis: str) -> Floats:
    """`warmup_of` of every run, shape (n_runs,)."""
    out, rated = np.zeros(len(runs)), has_rate(runs)
    for schedule, rows in by_schedule(runs):
        if schedule is None:
            rows = rows[rated[rows]]
            for r in rows[~runs._axis(axis)[1][rows]].tolist():
                runs[runs.names[r]].axis(axis)  # raises
            if len(rows):
                out[rows] = _logged_warmups(runs, axis)[rows]
        elif warmup := warmup_in(schedule):
            out[rows] = warmup * axis_factors(runs, rows, schedule, axis)
    return out


def axis_factors(runs: Runs, rows: Ints, schedule: Schedule, axis: str) -> Floats:
    """`axis_factor` of the runs of these numbers, shape (n,)."""
    if schedule.axis == axis:
        return np.ones(len(rows))
    (own, has), (values, _) = runs._axis(schedule.axis), runs._axis(axis)
    for r in rows[~has[rows]].tolist():
        axis_factor(runs[runs.names[r]], schedule, axis)  # raises
    last = runs._columns.offsets[1:][rows] - 1
    return np.asarray(values[last] / own[last])


def axis_factor(run: Run, schedule: Schedule, axis: str) -> float:
    """Units of the axis in a unit of the schedule's axis."""
    if schedule.axis == axis:
        return 1.0
    if not run.has(schedule.axis):
        fix = "give tokens_per_step="
        if axis in ("step", "tokens"):
            fix += f", or a schedule with axis={axis!r}"
        elif not (run.has("step") or run.has("tokens")):
            fix = f"give total=, the planned end of the run on the axis {axis!r}, instead"
        raise DataError(
            f"run {run.name!r}: its schedule counts {schedule.axis}, which the run does not have: "
            f"{fix}"
        )
    return float(run.end(axis) / run.end(schedule.axis))


def ends_here(t: Floats, rho: Floats) -> bool:
    """Whether a logged rate comes to nothing where its log ends, as the rate of a whole run does.

    Its last stretch is a straight line to 0 there; a step down, or a decay that goes on, is none.
    """
    if rho[-1] <= 1e-6:  # some go on at 0
        return True
    last = min(int(np.searchsorted(t, t[-1] - LAST * (t[-1] - t[0]))), len(t) - 3)
    if len(t) < LEAST_POINTS or rho[-1] > LOW:
        return False
    x, y = t[last:], rho[last:]
    line = np.polyfit(x, y, 1)
    off = float(np.sqrt(np.mean((np.polyval(line, x) - y) ** 2)))
    straight = off <= STRAIGHT * float(np.ptp(y))
    return straight and line[0] < 0 and bool(rho[-1] <= -line[0] * BEFORE_END * t[-1])


def restarts_of(
    # t, rho: shape (n,): as `warmed` gives them
    t: Floats,
    rho: Floats,
    warmup: float,  # its end
    total: float,  # where the schedule is to end
) -> Schedule | None:
    """The cosine with warm restarts that a logged rate has followed up to now, if it has."""
    main = t >= warmup
    t, rho = t[main], rho[main]
    starts = np.flatnonzero(np.diff(rho) > LEAP) + 1
    if len(t) < LEAST_POINTS or not len(starts) or not total > warmup:
        return None
    best, form = MATCH, None
    # A cycle starts between two points of the log: where, the others tell.
    first = np.linspace(t[starts[0] - 1], t[min(starts[0] + 1, len(t) - 1)], 65) - warmup
    rises = np.flatnonzero(np.diff(rho) > 0)
    t, rho = np.delete(t, [rises, rises + 1]), np.delete(rho, [rises, rises + 1])
    if len(t) < LEAST_POINTS:
        return None
    for growth in GROWTHS:
        for cycle in first[first > 0]:
            number = (total - warmup) / cycle
            if growth > 1:
                number = float(np.log1p(number * (growth - 1)) / np.log(growth))
            unit = kinds.cosine_restarts(1.0, total, number, warmup, growth=growth, axis="tokens")
            wave = unit(t)
            a = 1 - wave  # rho = f + (1 - f) wave
            final = float(np.clip(((rho - wave) @ a) / max(float(a @ a), 1e-12), 0, 1))
            miss = float(np.sqrt(np.mean((final + (1 - final) * wave - rho) ** 2)))
            if miss < best:
                best, form = miss, replace(unit, final_ratio=final)
    return form
