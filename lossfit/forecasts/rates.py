"""What the learning rate was and may become: the paths that a forecast weighs.

A path is the learning rate relative to its peak (`lossfit.kernels.paths`).  For each run and target
the past and the future are found in this order:

=======================================  ======================================================
known                                    hypotheses
=======================================  ======================================================
a schedule of the run                    it; beyond its end its own kind, stretched to the target
``schedule=`` as well                    the run's own up to the end of the data, and the given
                                         one, from its start, for the target
a logged learning rate                   what was logged; then the cosine (with restarts or not) or
                                         straight line that it follows, else the last value
``total=`` as well                       what was logged; then the cosine or straight line that it
                                         follows and that ends there, else the menu's schedules in
                                         proportion to the last value
``total=``                               `MENU`: five schedules that end there
nothing                                  the menu, ending at or beyond the farthest target (`ENDS`)
=======================================  ======================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints
from ..runs.logged_rate import (
    axis_factor,
    axis_factors,
    by_schedule,
    form_of,
    form_to,
    has_rate,
    history_of,
    restarts_of,
    warmed,
    warmup_of,
)
from ..schedules.shapes import Schedule
from .path_book import NODES, PathBook

if TYPE_CHECKING:
    from ..kernels.forecast_driver import Hypotheses
    from ..kernels.paths import Paths, Shapes
    from ..runs.collection import Runs
    from ..runs.run import Run

__all__ = [
    "BEFORE_END",
    "MENU",
    "OPEN_END",
    "STRETCH_MARGIN",
    "Group",
    "Plan",
    "Rates",
    "chosen",
    "groups_of",
    "known_of",
    "rates",
]

#: Schedules that an unknown one may be, and their prior weights: constant, cosine to 10 % and to 0,
#: linear to 0, and a straight cooldown over the last 30 %.
MENU: tuple[tuple[str, float], ...] = (
    ("constant", 1.0),
    ("cosine_10", 2.0),
    ("cosine_0", 1.0),
    ("linear_0", 1.0),
    ("wsd_30", 1.0),
)
#: Where an unknown planned end may lie, in multiples of the farthest target, and prior weights.
ENDS: tuple[tuple[float, float], ...] = ((1.0, 2.0), (1.4, 1.0))
#: Plans of which none is known, and where they end in multiples of the data: nothing depends on
#: where forecasts are asked for.
OPEN_MENU: tuple[tuple[str, float], ...] = (
    ("constant", 3.0),
    ("cosine_10", 1.5),
    ("cosine_10", 3.0),
    ("cosine_10", 8.0),
    ("linear_0", 3.0),
)
MOST_RESTARTS = 20.0  # times the data: up to where cycles of a rate go on, if nothing says more
OPEN_END = 3.0  # times the data: the planned end where none is known

BEFORE_END = 0.02  # of the data: a plan may end so little before they do
STRETCH_MARGIN = 1e-3  # a target so little beyond the schedule's end is at its end


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


class Group(NamedTuple):
    """Hypotheses of G runs of which the same is known, H each, at T targets.

    Attributes
    ----------
    rows : ndarray of int, shape (G,)
        Which runs.
    past : ndarray of int, shape (G, H)
        Paths of the past.
    coming : ndarray of int, shape (G, T, H)
        Paths that lead to the targets.
    weights : tuple of float, length H
    labels : tuple of str, length H
    flags : dict of str to ndarray of bool, shape (G, T), or to bool
    end : ndarray, shape (G,)
        Planned end; NaN where the last value is held.
    menu : {"known", "total", "nothing"}
    """

    rows: Ints
    past: Ints
    coming: Ints
    weights: tuple[float, ...]
    labels: tuple[str, ...]
    flags: dict[str, Any]
    end: Floats
    menu: str = "known"


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
    out = []
    for own, given, rows in known_of(runs, plan):
        plain = []
        for r in rows[rated[rows]].tolist() if own is None else ():
            logged = history_of(runs[runs.names[r]], axis)
            if logged is None:
                plain.append(r)
                continue
            run, total = runs[runs.names[r]], None if np.isnan(totals[r]) else float(totals[r])
            end = float(ends[r])
            out.append(_logged(book, run, r, axis, end, at[r : r + 1], logged, given, total, fixed))
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
    return out


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
    over = np.zeros(len(rows), bool)
    if given is None and own.total:
        over = own.total * factors < ends[rows] * (1 - BEFORE_END)
    coming = past
    last = own if given is None else given
    if last != own:
        factors = axis_factors(runs, rows, last, axis)
        coming = book.schedule(last, factors)
    to, stretched = _reach(book, last, factors, at[rows], coming)
    return Group(
        rows,
        past[:, None],
        to[:, :, None],
        (1.0,),
        (str(own.kind),),
        {"schedule_stretched": stretched, "schedule_over": over[:, None]},
        last.total * factors if last.total else _or_open(totals[rows], ends[rows]),
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
        flags = {"schedule_unknown": True}
        return Group(rows, past, coming, weights, names, flags, planned, "total")
    if fixed:
        menu = [(name, share * ends, 1.0, _open_label(name, share)) for name, share in OPEN_MENU]
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


def _open_label(name: str, share: float) -> str:
    return name if name == "constant" else f"{name} to {share:g}x the data"


def _reach(
    book: PathBook, schedule: Schedule, factors: Floats, at: Floats, paths: Ints
) -> tuple[Ints, Bools]:
    """Paths to the targets (G, T): the schedule, stretched for those beyond its end."""
    coming = np.repeat(paths[:, None], at.shape[1], axis=1)
    if not schedule.total:  # no end, or a single point at 0
        return coming, np.zeros(at.shape, bool)
    stretched = at > (schedule.total * factors * (1 + STRETCH_MARGIN))[:, None]
    if stretched.any():
        factor = np.broadcast_to(factors[:, None], at.shape)[stretched]
        coming[stretched] = book.stretched(schedule, at[stretched] / factor, factor)
    return coming, stretched


def _logged(
    book: PathBook,
    run: Run,
    row: int,
    axis: str,
    end: float,
    at: Floats,
    logged: tuple[Floats, Floats],
    given: Schedule | None,
    total: float | None,
    fixed: bool,
) -> Group:
    """Hypotheses of a run whose learning rate was logged up to the end of its data."""
    t, rho = warmed(*logged)
    past = book.points(t, rho)
    n_at = at.shape[1]

    def group(coming: Ints, labels: Sequence[str], flags: dict[str, Any], end: float) -> Group:
        n_paths = coming.shape[2]
        return Group(
            np.array([row]), np.full((1, n_paths), past), coming, (1.0,) * n_paths, tuple(labels),
            flags, np.array([end]),
        )  # fmt: skip

    def follow(schedule: Schedule, factor: float) -> tuple[Ints, Bools]:
        factors = np.array([factor])
        paths = book.schedule(schedule, factors)
        to, stretched = _reach(book, schedule, factors, at, paths)
        return to[:, :, None], stretched

    if given is not None:
        factor = axis_factor(run, given, axis)
        coming, stretched = follow(given, factor)
        planned = given.total * factor if given.total else total or OPEN_END * end
        return group(coming, ["logged"], {"schedule_stretched": stretched}, planned)
    warmup = warmup_of(run, axis)
    flags: dict[str, Any] = {}
    again = restarts_of(t, rho, warmup, MOST_RESTARTS * end if total is None else max(total, end))
    if again is not None:
        coming, stretched = follow(again, 1.0)
        if total is not None:  # else the end is not the run's, but where cycles are looked at
            flags = {"schedule_stretched": stretched}
        return group(coming, [again.kind], flags, total or OPEN_END * end)
    if total is None:
        form = form_of(t, rho, warmup)
    else:
        form = form_to(t, rho, warmup, max(total, end))
        # What was logged follows a cosine or a line, but to another end than the planned one.
        disagrees = form is None and form_of(t, rho, warmup) is not None
        flags = {"total_disagrees": disagrees}
    if form is not None:
        coming, stretched = follow(form, 1.0)
        flags = {"schedule_stretched": stretched}
        return group(coming, [str(form.kind)], flags, form.total or OPEN_END * end)
    if total is None and not fixed:
        held = np.full((1, n_at, 1), past)
        return group(held, ["logged"], {"schedule_held": True}, math.nan)
    if total is None:
        names = [name for name, _ in OPEN_MENU]
        lasts = [share * end for _, share in OPEN_MENU]
    else:
        names = [name for name, _ in MENU]
        lasts = [max(total, end * 1.001)] * len(MENU)
    nodes = [_went_on(name, t, rho, end, last) for name, last in zip(names, lasts, strict=True)]
    paths = np.array([book.points(*each) for each in nodes], np.int64)
    coming = np.broadcast_to(paths, (1, n_at, len(paths)))
    if total is None:
        labels = [_open_label(name, share) for name, share in OPEN_MENU]
        made = group(coming, labels, {"no_plan": True}, OPEN_END * end)
        return made._replace(menu="nothing")
    made = group(coming, names, {"schedule_unknown": True, **flags}, lasts[0])
    weights = tuple(weight for _, weight in MENU)
    return made._replace(menu="total", weights=weights)


def _went_on(name: str, t: Floats, rho: Floats, end: float, last: float) -> tuple[Floats, Floats]:
    """What was logged, then a schedule of the menu in proportion to the rate at the end."""
    z = np.linspace(0.0, 1.0, NODES)
    if name.startswith("wsd"):
        start = max(last - 0.3 * last, end)
        nodes = np.append(start, start + (last - start) * z[1:])
        fall = 1 - z
    else:
        nodes = end + (last - end) * z
        target = float(name.partition("_")[2] or 100) / 100
        if name == "constant":
            fall = np.ones_like(z)
        elif name.startswith("cosine"):
            fall = target + (1 - target) * (1 + np.cos(np.pi * z)) / 2
        else:
            fall = 1 - z
    return np.concatenate([t, nodes]), np.concatenate([rho, rho[-1] * fall])
