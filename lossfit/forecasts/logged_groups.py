"""Hypotheses on the learning rate of a run that logged it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints
from ..runs.labels import amount
from ..runs.logged_rate import (
    WARM,
    axis_factor,
    ends_here,
    rate_of,
    restarts_of,
    warmed,
)
from ..runs.rate_falls import CONSTANT, LoggedRate
from ..runs.rate_forms import forms_of
from ..schedules.kinds import from_points
from ..schedules.shapes import Schedule
from .path_book import NODES, PathBook
from .rate_groups import (
    MENU,
    MOST_RESTARTS,
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
    from ..runs.run import Run


LOGGED = "the logged rate"  # said of a schedule that it was recognised in, or that follows it


class Logged(NamedTuple):
    """A run whose learning rate was logged up to the end of its data."""

    run: Run
    row: int  # its number
    end: float  # of its data
    at: Floats  # shape (1, T): targets
    history: tuple[Floats, Floats]  # as `lossfit.runs.logged_rate.history_of` gives it
    given: Schedule | None  # what is said of its future
    total: float | None  # its planned end

    @property
    def later(self) -> Bools:
        """Which targets lie beyond the data."""
        return self.at > self.end * (1 + STRETCH_MARGIN)


def logged_groups(book: PathBook, axis: str, logs: Sequence[Logged], fixed: bool) -> list[Group]:
    """Hypotheses of runs whose learning rate was logged."""
    rates = [rate_of(*log.history) for log in logs]
    nodes = [warmed(*log.history) for log in logs]
    again = [
        restarts_of(t, rho, rate.warmup, _where_cycles_end(log)) if log.given is None else None
        for log, rate, (t, rho) in zip(logs, rates, nodes, strict=True)
    ]
    plans: dict[int, _LoggedPlan] = {}
    asked = [
        i
        for i, log in enumerate(logs)
        if again[i] is None and (log.given is None or log.later.any())
    ]
    if asked:
        ends, totals = (
            np.array([np.nan if value is None else value for value in values], np.float64)
            for values in zip(*((logs[i].end, logs[i].total) for i in asked), strict=True)
        )
        found = _plans([rates[i] for i in asked], [nodes[i] for i in asked], ends, totals)
        plans = dict(zip(asked, found, strict=True))
    return [
        _group(book, axis, log, nodes[i], again[i], plans.get(i), fixed)
        for i, log in enumerate(logs)
    ]


def _where_cycles_end(log: Logged) -> float:
    return MOST_RESTARTS * log.end if log.total is None else max(log.total, log.end)


def _group(
    book: PathBook,
    axis: str,
    log: Logged,
    nodes: tuple[Floats, Floats],
    again: Schedule | None,
    plan: _LoggedPlan | None,
    fixed: bool,
) -> Group:
    """Hypotheses of one run: `again` are its restarts, `plan` what its rate followed."""
    run, row, end, at, _, given, total = log
    t, rho = nodes
    past = book.points(t, rho)
    n_at = at.shape[1]

    def group(
        coming: Ints,
        labels: Sequence[str],
        flags: dict[str, Any],
        end: float,
        longer: Bools | bool = False,
    ) -> Group:
        n_paths = coming.shape[2]
        return Group(
            np.array([row]), np.full((1, n_paths), past), coming, (1.0,) * n_paths, tuple(labels),
            flags, np.array([end]), longer=longer,
        )  # fmt: skip

    def follow(schedule: Schedule, factor: float) -> tuple[Ints, Bools]:
        factors = np.array([factor])
        paths = book.schedule(schedule, factors)
        to, stretched = reach(book, schedule, factors, at, paths)
        return to[:, :, None], stretched

    if given is not None:
        factor = axis_factor(run, given, axis)
        coming, stretched = follow(given, factor)
        planned = given.total * factor if given.total else total or OPEN_END * end
        departs = abs(float(relative(given, np.array(end / factor))) - rho[-1]) > CONSTANT
        longer = log.later & (departs and plan is not None and plan.whole)
        label = _given(given, planned, axis)
        return group(coming, [label], {"schedule_stretched": stretched}, planned, longer)
    if again is not None:
        coming, stretched = follow(again, 1.0)
        if total is None:  # its end is not the run's, but where cycles are looked at
            return group(coming, [again.kind], {}, OPEN_END * end)
        flags = {"schedule_stretched": stretched}
        return group(coming, [again.kind], flags, total, stretched & finished(end, total))
    assert plan is not None
    form, whole, disagrees = plan
    if form is None and whole:  # of no form that has a name
        form = from_points(t, rho, axis="tokens")
    if form is not None:
        told = total is not None and form.total == max(total, end)
        label = "logged" if form.kind == "points" else _recognised(form, axis, told)
        planned = form.total or OPEN_END * end
        if form.kind == "points":
            coming, stretched = follow(form, 1.0)
        else:
            past = book.points(t, rho / form.peak)  # its peak may lie above all that was logged
            coming, stretched = follow(form, 1.0)
            if rho[0] < WARM:  # a long rise is a part of the path
                coming = _risen(book, t, rho, form, at)
        flags = {"schedule_stretched": stretched}
        return group(coming, [label], flags, planned, stretched & whole)
    if total is None and not fixed:
        held = np.full((1, n_at, 1), past)
        return group(held, ["logged"], {"schedule_held": True}, math.nan)
    if total is None:
        labels = [open_label(name, share) for name, share in OPEN_MENU]
        ways = [_went_on(name, t, rho, end, share * end) for name, share in OPEN_MENU]
        coming = np.broadcast_to([book.points(*way) for way in ways], (1, n_at, len(ways)))
        made = group(coming, labels, {"no_plan": True}, OPEN_END * end)
        return made._replace(menu="nothing")
    beyond = at > total * (1 + STRETCH_MARGIN)
    planned = max(total, end * 1.001)
    paths = {
        last: [book.points(*_went_on(name, t, rho, end, last)) for name, _ in MENU]
        for last in dict.fromkeys(np.where(beyond, at, planned)[0].tolist())
    }
    coming = np.array([[paths[last] for last in np.where(beyond, at, planned)[0].tolist()]])
    said: dict[str, Any] = {"total_disagrees": disagrees, "schedule_stretched": beyond}
    made = group(coming, [name for name, _ in MENU], {"schedule_unknown": True, **said}, planned)
    return made._replace(menu="total", weights=tuple(weight for _, weight in MENU))


class _LoggedPlan(NamedTuple):
    """What a logged rate followed."""

    form: Schedule | None  # if it has one that is known
    whole: bool  # it came to its end
    disagrees: bool  # it follows a form, but to an earlier end than the planned one


def _plans(
    rates: Sequence[LoggedRate],
    nodes: Sequence[tuple[Floats, Floats]],
    ends: Floats,
    totals: Floats,
) -> list[_LoggedPlan]:
    """What logged rates followed; `totals` are NaN where no end is planned."""
    out = []
    followed = forms_of(rates, np.maximum(totals, ends))
    for (form, elsewhere), (t, rho), end, total in zip(
        followed, nodes, ends.tolist(), totals.tolist(), strict=True
    ):
        if form is not None and form.total is not None:
            whole = finished(end, form.total)
        elif math.isnan(total):
            whole = ends_here(t, rho)
        else:
            # A constant rate has come to no end: what comes is its decay.
            whole = bool(rho.min() <= 1 - CONSTANT) and not elsewhere and finished(end, total)
        out.append(_LoggedPlan(form, whole, elsewhere and form is None))
    return out


def _risen(book: PathBook, t: Floats, rho: Floats, form: Schedule, at: Floats) -> Ints:
    """Paths to the targets, (1, T, 1): what was logged, then the form, stretched beyond its end."""
    assert form.total is not None
    ways = {}
    for to in dict.fromkeys(at[0].tolist()):
        longer = form.stretched(to) if to > form.total * (1 + STRETCH_MARGIN) else form
        assert longer.total is not None
        x = np.linspace(t[-1], max(longer.total, t[-1]), NODES)[1:]
        later = np.asarray(longer(x)) / form.peak
        ways[to] = book.points(np.append(t, x), np.append(rho / form.peak, later))
    return np.array([[[ways[to]] for to in at[0].tolist()]])


def _recognised(form: Schedule, axis: str, told: bool) -> str:
    """A form that a logged rate follows, in words."""
    if form.total is None:
        return str(form.kind)
    end = form.total if told else float(f"{form.total:.4g}")  # no exacter than that
    share = round(100 * form.final_ratio)
    last = f"{share} % of its peak" if share else "0"
    if not told and form.kind != "cosine":  # nothing in a line says where it ends
        last += " if it goes on"
    return f"{form.kind} to {amount(end, axis)}, down to {last} (from {LOGGED})"


def _given(schedule: Schedule, end: float, axis: str) -> str:
    """A schedule that was given for what comes after a logged rate, in words."""
    to = f" to {amount(end, axis)}" if schedule.total else ""
    return f"{schedule.kind}{to} (after {LOGGED})"


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
