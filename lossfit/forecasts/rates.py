"""What the learning rate was and may become: the paths that a forecast weighs.

A path is the learning rate relative to its peak (`lossfit.kernels.paths`).  For each run and target
the past and the future are found in this order:

=======================================  ======================================================
known                                    hypotheses
=======================================  ======================================================
a schedule of the run                    it; beyond its end its own kind, stretched to the target
``schedule=`` as well                    the run's own up to the end of the data, and the given
                                         one, from its start, for the target
a logged learning rate                   what was logged; then the cosine (with restarts or not),
                                         line or cooldown that it follows, else the last value
``total=`` as well                       what was logged; then the cosine, line or cooldown that it
                                         follows and that ends there or later, else the menu's
                                         schedules in proportion to the last value
``total=``                               `MENU`: five schedules to that end, or to a target beyond
nothing                                  the menu, ending at or beyond the farthest target (`ENDS`)
=======================================  ======================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.ragged import Floats, Ints
from ..runs.logged_rate import (
    BEFORE_END,
    axis_factors,
    by_schedule,
    has_rate,
    history_of,
)
from ..runs.rate_falls import CONSTANT
from ..schedules.shapes import Schedule
from .logged_groups import Logged, logged_groups
from .path_book import PathBook
from .rate_groups import (
    ENDS,
    MENU,
    OPEN_END,
    OPEN_MENU,
    STRETCH_MARGIN,
    Group,
    finished,
    open_label,
    reach,
    relative,
)

if TYPE_CHECKING:
    from ..kernels.forecast_driver import Hypotheses
    from ..kernels.paths import Paths, Shapes
    from ..runs.collection import Runs

__all__ = [
    "BEFORE_END",
    "MENU",
    "OPEN_END",
    "OPEN_MENU",
    "STRETCH_MARGIN",
    "Group",
    "Plan",
    "Rates",
    "chosen",
    "groups_of",
    "known_of",
    "rates",
]


class Plan(NamedTuple):
    """What the caller says of the future: by run where given, else None.

    Attributes
    ----------
    schedule : Schedule, dict by run, or None
    total : float, dict by run, or None
        Planned end on the axis of the forecast.
    """

    schedule: Schedule | Mapping[str, Schedule] | None = None
    total: float | Mapping[str, float] | None = None


class Rates(NamedTuple):
    """Paths of some runs for the kernels, and what to say of them.

    Attributes
    ----------
    shapes, paths, hypotheses
        `lossfit.kernels.paths.Shapes`, ``Paths`` and `forecast_driver.Hypotheses`.
    labels : list of tuple of str
        Names of each run's hypotheses.
    flags : dict of str to ndarray of bool, shape (n_runs, n_at)
    """

    shapes: Shapes
    paths: Paths
    hypotheses: Hypotheses
    labels: list[tuple[str, ...]]
    flags: dict[str, np.ndarray[Any, np.dtype[np.bool_]]]


def chosen(value: Any, name: str) -> Any:
    """The run's own entry of one value for all or a dict by run."""
    return value.get(name) if isinstance(value, Mapping) else value


def rates(runs: Runs, axis: str, ends: Floats, at: Floats, plan: Plan) -> Rates:
    """Paths for every run and target.

    Parameters
    ----------
    runs : Runs
    axis : str
    ends : ndarray, shape (n_runs,)
        End of the data.
    at : ndarray, shape (n_runs, n_at)
        Targets, not decreasing, NaN last.
    plan : Plan

    Raises
    ------
    DataError
        A schedule on an axis that its run does not have.
    """
    from ..kernels.forecast_driver import Hypotheses

    book = PathBook()
    n_runs, n_at = at.shape
    most = len(MENU) * len(ENDS)
    history = np.full((n_runs, most), -1, np.int64)
    future = np.full((n_runs, n_at, most), -1, np.int64)
    log_weight = np.full((n_runs, most), -1e300)
    names = (
        "schedule_unknown",
        "no_plan",
        "schedule_stretched",
        "schedule_held",
        "schedule_over",
        "total_disagrees",
    )
    flags = {name: np.zeros((n_runs, n_at), bool) for name in names}
    labels: list[tuple[str, ...]] = [()] * n_runs
    beyond = at > (ends * (1 + 1e-9))[:, None]
    for group in groups_of(book, runs, axis, ends, at, plan):
        rows, h = group.rows, len(group.labels)
        history[rows, :h] = group.past
        future[rows, :, :h] = group.coming
        log_weight[rows, :h] = [math.log(weight) for weight in group.weights]
        for flag, where in group.flags.items():
            flags[flag][rows] = where & beyond[rows]
        for r in rows.tolist():
            labels[r] = group.labels
    used = max(1, max(len(names) for names in labels))
    shapes, paths = book.arrays()
    hypotheses = Hypotheses(
        np.ascontiguousarray(history[:, :used]),
        np.ascontiguousarray(future[:, :, :used]),
        np.ascontiguousarray(log_weight[:, :used]),
    )
    return Rates(shapes, paths, hypotheses, labels, flags)


def known_of(runs: Runs, plan: Plan) -> list[tuple[Schedule | None, Schedule | None, Ints]]:
    """Own schedule and given one, and the runs that have these."""
    out: list[tuple[Schedule | None, Schedule | None, Ints]] = []
    for own, rows in by_schedule(runs):
        if not isinstance(plan.schedule, Mapping):
            out.append((own, plan.schedule, rows))
            continue
        by_given: dict[int, list[int]] = {}
        for r in rows.tolist():
            by_given.setdefault(id(plan.schedule.get(runs.names[r])), []).append(r)
        for some in by_given.values():
            out.append((own, plan.schedule.get(runs.names[some[0]]), np.array(some)))
    return out


def groups_of(
    book: PathBook,
    runs: Runs,
    axis: str,
    ends: Floats,
    at: Floats,
    plan: Plan,
    fixed: bool = False,
) -> list[Group]:
    """Hypotheses of all runs; with `fixed` none depends on targets where nothing is known."""
    totals = _totals(runs, plan)
    rated = has_rate(runs)
    out: list[Group] = []
    logs: list[Logged] = []
    for own, given, rows in known_of(runs, plan):
        plain = []
        for r in rows[rated[rows]].tolist() if own is None else ():
            run, total = runs[runs.names[r]], None if np.isnan(totals[r]) else float(totals[r])
            history = history_of(run, axis)
            if history is None:
                plain.append(r)
            else:
                end, to = float(ends[r]), at[r : r + 1]
                logs.append(Logged(run, r, end, to, history, given, total))
        if own is None and rated.any():
            rows = np.sort(np.concatenate([rows[~rated[rows]], np.array(plain, np.int64)]))
        if not len(rows):
            continue
        if own is not None or given is not None:
            schedule = given if own is None else own
            assert schedule is not None
            out.append(_scheduled(book, runs, axis, rows, schedule, given, totals, ends, at))
            continue
        for some in (rows[~np.isnan(totals[rows])], rows[np.isnan(totals[rows])]):
            if len(some):
                out.append(_from_menu(book, some, totals[some], ends[some], at[some], fixed))
    return out + logged_groups(book, axis, logs, fixed)


def _totals(runs: Runs, plan: Plan) -> Floats:
    """Planned ends that were given, NaN where none was, shape (n_runs,)."""
    if isinstance(plan.total, Mapping):
        return np.array([plan.total.get(name, np.nan) for name in runs.names], np.float64)
    return np.full(len(runs), np.nan if plan.total is None else float(plan.total))


def _scheduled(
    book: PathBook,
    runs: Runs,
    axis: str,
    rows: Ints,
    own: Schedule,
    given: Schedule | None,
    totals: Floats,
    ends: Floats,
    at: Floats,
) -> Group:
    """The one hypothesis of runs with a known schedule."""
    factors = axis_factors(runs, rows, own, axis)
    past = book.schedule(own, factors)
    over, done = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    if own.total:
        if given is None:
            over = own.total * factors < ends[rows] * (1 - BEFORE_END)
        done = finished(ends[rows], own.total * factors)
    coming = past
    last = own if given is None else given
    other = np.ones(len(rows), bool)
    if last != own:
        # What goes on from the data's end as the run's own schedule does is no other plan.
        rate = relative(own, ends[rows] / factors)
        factors = axis_factors(runs, rows, last, axis)
        coming = book.schedule(last, factors)
        other = np.abs(relative(last, ends[rows] / factors) - rate) > CONSTANT
    goal = at[rows]
    if given is None and own.total:  # a finished run's longer plan ends at total=, if given
        beyond = goal > (own.total * factors * (1 + STRETCH_MARGIN))[:, None]
        goal = np.where(beyond, np.fmax(goal, totals[rows][:, None]), goal)
    to, stretched = reach(book, last, factors, goal, coming)
    planned = last.total * factors if last.total else _or_open(totals[rows], ends[rows])
    later = stretched if last == own else at[rows] > (ends[rows] * (1 + STRETCH_MARGIN))[:, None]
    return Group(
        rows,
        past[:, None],
        to[:, :, None],
        (1.0,),
        (str(own.kind),),
        {"schedule_stretched": stretched, "schedule_over": over[:, None]},
        planned,
        longer=later & (done & other)[:, None],
    )


def _or_open(totals: Floats, ends: Floats) -> Floats:
    """Planned ends, some multiple of the data where none is known."""
    return np.where(np.isnan(totals), OPEN_END * ends, totals)


def _from_menu(
    book: PathBook, rows: Ints, totals: Floats, ends: Floats, at: Floats, fixed: bool
) -> Group:
    """The menu for runs of which no rate is known: all of them have a total, or none has."""
    if not np.isnan(totals[0]):
        planned = np.maximum(totals, ends)
        past = np.stack([book.menu(name, planned) for name, _ in MENU], axis=1)
        coming = np.repeat(past[:, None], at.shape[1], axis=1)
        beyond = at > (totals * (1 + STRETCH_MARGIN))[:, None]
        if beyond.any():
            coming[beyond] = np.stack([book.menu(name, at[beyond]) for name, _ in MENU], axis=1)
        names, weights = zip(*MENU, strict=True)
        flags = {"schedule_unknown": True, "schedule_stretched": beyond}
        longer = beyond & finished(ends, planned)[:, None]
        return Group(rows, past, coming, weights, names, flags, planned, "total", longer)
    if fixed:
        menu = [(name, share * ends, 1.0, open_label(name, share)) for name, share in OPEN_MENU]
    else:
        farthest = np.fmax.reduce(np.column_stack([at, ends]), axis=1)
        every = sum(prior for _, prior in ENDS)
        menu = [
            (name, share * farthest, weight * prior, f"{name} to {share:g}x")
            for share, prior in ENDS
            for name, weight in MENU
            if name != "constant"
        ]
        share, prior = ENDS[0]
        weight = dict(MENU)["constant"] * (every / prior) * prior  # it has no end
        menu.insert(0, ("constant", share * farthest, weight, f"constant to {share:g}x"))
    past = np.stack([book.menu(name, end) for name, end, _, _ in menu], axis=1)
    coming = np.repeat(past[:, None], at.shape[1], axis=1)
    weights = tuple(weight for _, _, weight, _ in menu)
    labels = tuple(label for _, _, _, label in menu)
    return Group(rows, past, coming, weights, labels, {"no_plan": True}, OPEN_END * ends, "nothing")
