"""What the learning rate was and may become: the paths that a forecast weighs.

A path is the learning rate relative to its peak (`lossfit.kernels.paths`).  For each run and target
the past and the future are found in this order:

=======================================  ======================================================
known                                    hypotheses
=======================================  ======================================================
a schedule of the run                    it; beyond its end its own kind, stretched to the target
``schedule=`` as well                    the run's own up to the end of the data, and the given
                                         one, from its start, for the target
a logged learning rate                   what was logged; then the cosine or straight line that it
                                         follows, else the last value
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

from .._base.ragged import Floats, Ints
from ..runs.logged_rate import axis_factor, form_of, form_to, history_of, warmed, warmup_of
from ..schedules import shapes as kinds
from ..schedules.shapes import Schedule

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
    "Plan",
    "Rates",
    "check_plan",
    "chosen",
    "hypotheses_of",
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
OPEN_END = 3.0  # times the data: the planned end where none is known

NODES = 96
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


class _Book:
    """Shapes and paths, each kept once."""

    def __init__(self) -> None:
        self.z: list[Floats] = []
        self.rho: list[Floats] = []
        self.known: dict[Any, int] = {}
        self.rows: list[tuple[int, float, float]] = []

    def shape(self, key: Any, make: Any) -> int:
        """Number of the shape of that key, made at first use."""
        if key not in self.known:
            z, rho = make()
            self.known[key] = len(self.z)
            self.z.append(np.asarray(z, np.float64))
            self.rho.append(np.asarray(rho, np.float64))
        return self.known[key]

    def path(self, shape: int, start: float, stretch: float) -> int:
        """Number of a new path."""
        self.rows.append((shape, start, stretch))
        return len(self.rows) - 1

    def points(self, t: Floats, rho: Floats) -> int:
        """A path through points on the axis."""
        self.z.append(np.ascontiguousarray(t, np.float64))
        self.rho.append(np.ascontiguousarray(rho, np.float64))
        return self.path(len(self.z) - 1, 0.0, 1.0)

    def schedule(self, schedule: Schedule, factor: float) -> int:
        """A path for a schedule; `factor` turns its axis into that of the forecast."""
        start = schedule.warmup * factor
        if schedule.kind == "points":
            t = np.asarray(schedule.steps) * factor
            return self.points(*warmed(t, np.asarray(schedule.rates)))
        total = schedule.total
        if schedule.kind == "two_stage":
            switch = schedule.switch * factor
            peak = max(schedule.peak, schedule.second)
            first, second = schedule.peak / peak, schedule.second / peak
            return self.points(np.array([0.0, switch, switch]), np.array([first, first, second]))
        if schedule.kind == "constant" or total is None:
            return self.path(self.shape("constant", lambda: ([0.0], [1.0])), start, 1.0)
        # The main part from the end of the warm-up to the end: z from 0 to 1.
        first = schedule.warmup / total if schedule.kind == "wsd" else 0.0
        key = (schedule.kind, schedule.final_ratio, schedule.decay, schedule.shape, first)
        unit = Schedule(
            schedule.kind, 1.0, 1.0, 0.0, schedule.final_ratio, schedule.decay, schedule.shape
        )

        def make() -> tuple[Floats, Floats]:
            u = np.linspace(0.0, 1.0, NODES)
            if schedule.kind == "wsd":
                # Crowded where sqrt is steep and near the end, as rho^p is where rho comes to 0.
                u = 1 - schedule.decay + schedule.decay * (1 - np.cos(np.pi * u)) / 2
                z = np.concatenate([[first], u]) if first < u[0] else u
                return (z - first) / (1 - first), unit(z)
            if schedule.kind == "linear":
                u = np.sin(np.pi / 2 * u)  # crowded near the end
            return u, unit(u)

        stretch = (total - schedule.warmup) * factor
        return self.path(self.shape(key, make), start, stretch)

    def menu(self, name: str, warmup: float, total: float) -> int:
        """A path of the menu on the axis of the forecast."""
        total = max(total, warmup * 1.01)
        if name == "constant":
            return self.schedule(kinds.constant(1.0, warmup), 1.0)
        kind, _, number = name.partition("_")
        share = float(number) / 100
        if kind == "wsd":
            return self.schedule(kinds.wsd(1.0, total, min(warmup, 0.7 * total), share), 1.0)
        make = kinds.cosine if kind == "cosine" else kinds.linear
        return self.schedule(make(1.0, total, warmup, share), 1.0)

    def arrays(self) -> tuple[Shapes, Paths]:
        """For the kernels."""
        from ..kernels.paths import Paths, Shapes

        offsets = np.concatenate([[0], np.cumsum([len(z) for z in self.z])]).astype(np.int64)
        rows = np.array(self.rows, np.float64).reshape(-1, 3)
        return (
            Shapes(np.concatenate(self.z), np.concatenate(self.rho), offsets),
            Paths(rows[:, 0].astype(np.int64), rows[:, 1].copy(), rows[:, 2].copy()),
        )


def chosen(value: Any, name: str) -> Any:
    """The run's own entry of one value for all or a dict by run."""
    return value.get(name) if isinstance(value, Mapping) else value


def check_plan(plan: Plan, names: Sequence[str]) -> None:
    """Check what the caller says of the future.

    Raises
    ------
    DataError
        Something that is no schedule or no positive number; a run that is not there.
    """
    from ..runs.known import numbers, schedules_by_run
    from ..runs.limits import AXIS_LIMIT

    schedules_by_run(plan.schedule, tuple(names))
    numbers(plan.total, tuple(names), "total", AXIS_LIMIT)


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

    book = _Book()
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
    labels: list[tuple[str, ...]] = []
    for r, run in enumerate(runs):
        beyond = at[r] > ends[r] * (1 + 1e-9)
        made = hypotheses_of(book, run, axis, float(ends[r]), at[r], plan)
        for h, (past, coming, weight) in enumerate(made.hypotheses):
            history[r, h] = past
            future[r, :, h] = coming
            log_weight[r, h] = math.log(weight)
        for flag, where in made.flags.items():
            flags[flag][r] = where & beyond
        labels.append(made.labels)
    used = max(1, max(len(names) for names in labels))
    shapes, paths = book.arrays()
    hypotheses = Hypotheses(
        np.ascontiguousarray(history[:, :used]),
        np.ascontiguousarray(future[:, :, :used]),
        np.ascontiguousarray(log_weight[:, :used]),
    )
    return Rates(shapes, paths, hypotheses, labels, flags)


class _Made(NamedTuple):
    """Hypotheses of a run: past path, coming paths, weight; the menu they are of, and its end."""

    hypotheses: list[tuple[int, Any, float]]
    labels: tuple[str, ...]
    flags: dict[str, Any]
    menu: str = "known"
    end: float = math.nan


def hypotheses_of(
    book: _Book, run: Run, axis: str, end: float, at: Floats, plan: Plan, fixed: bool = False
) -> _Made:
    """Hypotheses of one run; with `fixed` none depends on the targets where nothing is known."""
    given = chosen(plan.schedule, run.name)
    total = chosen(plan.total, run.name)
    own = run.schedule
    if own is None and given is not None and history_of(run, axis) is None:
        own = given
    if own is not None:
        factor = axis_factor(run, own, axis)
        past = book.schedule(own, factor)
        if given is not None and given != own:
            factor = axis_factor(run, given, axis)
            coming, stretched = _reach(book, given, factor, at, book.schedule(given, factor))
        else:
            coming, stretched = _reach(book, own, factor, at, past)
        over = given is None and own.total and own.total * factor < end * (1 - BEFORE_END)
        flags = {"schedule_stretched": stretched, "schedule_over": bool(over)}
        planned = (given or own).total
        planned_end = planned * factor if planned else total or OPEN_END * end
        return _Made([(past, coming, 1.0)], (str(own.kind),), flags, "known", planned_end)
    logged = history_of(run, axis)
    if logged is not None:
        return _logged(book, run, axis, end, at, logged, given, total, fixed)
    warmup = warmup_of(run, axis)
    nan = np.isnan(at)
    made: list[tuple[int, Any, float]] = []
    labels: list[str] = []
    if total is not None:
        for name, weight in MENU:
            past = book.menu(name, warmup, max(float(total), end))
            coming = np.full(len(at), past, np.int64)
            for i in np.flatnonzero(~nan & (at > total * (1 + STRETCH_MARGIN))):
                coming[i] = book.menu(name, warmup, float(at[i]))
            made.append((past, coming, weight))
            labels.append(name)
        flags = {"schedule_unknown": True}
        return _Made(made, tuple(labels), flags, "total", max(float(total), end))
    if fixed:
        for name, share in OPEN_MENU:
            past = book.menu(name, warmup, share * end)
            made.append((past, np.full(len(at), past, np.int64), 1.0))
            labels.append(_open_label(name, share))
        return _Made(made, tuple(labels), {"no_plan": True}, "nothing", OPEN_END * end)
    farthest = float(np.nanmax(np.append(at, end)))
    for k, (share, prior) in enumerate(ENDS):
        for name, weight in MENU:
            if name == "constant":
                if k > 0:
                    continue  # it has no end
                weight *= sum(p for _, p in ENDS) / prior
            past = book.menu(name, warmup, share * farthest)
            made.append((past, np.full(len(at), past, np.int64), weight * prior))
            labels.append(f"{name} to {share:g}x")
    return _Made(made, tuple(labels), {"no_plan": True})


def _open_label(name: str, share: float) -> str:
    return name if name == "constant" else f"{name} to {share:g}x the data"


def _reach(
    book: _Book, schedule: Schedule, factor: float, at: Floats, path: int
) -> tuple[Ints, Any]:
    """Paths to the targets: the schedule, stretched for those beyond its end."""
    coming = np.full(len(at), path, np.int64)
    stretched = np.zeros(len(at), bool)
    if not schedule.total:  # no end, or a single point at 0
        return coming, stretched
    last = schedule.total * factor
    for i in np.flatnonzero(at > last * (1 + STRETCH_MARGIN)):
        coming[i] = book.schedule(schedule.stretched(float(at[i]) / factor), factor)
        stretched[i] = True
    return coming, stretched


def _logged(
    book: _Book,
    run: Run,
    axis: str,
    end: float,
    at: Floats,
    logged: tuple[Floats, Floats],
    given: Schedule | None,
    total: float | None,
    fixed: bool,
) -> _Made:
    """Hypotheses of a run whose learning rate was logged up to the end of its data."""
    t, rho = warmed(*logged)
    past = book.points(t, rho)
    if given is not None:
        factor = axis_factor(run, given, axis)
        coming, stretched = _reach(book, given, factor, at, book.schedule(given, factor))
        planned = given.total * factor if given.total else total or OPEN_END * end
        flags = {"schedule_stretched": stretched}
        return _Made([(past, coming, 1.0)], ("logged",), flags, "known", planned)
    warmup = warmup_of(run, axis)
    flags = {}
    made: list[tuple[int, Any, float]] = []
    labels: list[str] = []
    if total is None:
        form = form_of(t, rho, warmup)
    else:
        form = form_to(t, rho, warmup, max(float(total), end))
        # What was logged follows a cosine or a line, but to another end than the planned one.
        disagrees = form is None and form_of(t, rho, warmup) is not None
        flags = {"total_disagrees": disagrees}
    if form is not None:
        coming, stretched = _reach(book, form, 1.0, at, book.schedule(form, 1.0))
        flags = {"schedule_stretched": stretched}
        label = (str(form.kind),)
        return _Made([(past, coming, 1.0)], label, flags, "known", form.total or OPEN_END * end)
    if total is None:
        if not fixed:
            held = np.full(len(at), past, np.int64)
            return _Made([(past, held, 1.0)], ("logged",), {"schedule_held": True})
        for name, share in OPEN_MENU:
            path = book.points(*_went_on(name, t, rho, end, share * end))
            made.append((past, np.full(len(at), path, np.int64), 1.0))
            labels.append(_open_label(name, share))
        return _Made(made, tuple(labels), {"no_plan": True}, "nothing", OPEN_END * end)
    last = max(float(total), end * 1.001)
    for name, weight in MENU:
        path = book.points(*_went_on(name, t, rho, end, last))
        made.append((past, np.full(len(at), path, np.int64), weight))
        labels.append(name)
    return _Made(made, tuple(labels), {"schedule_unknown": True, **flags}, "total", last)


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
