"""Hypotheses on the learning rate of a run that logged it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints
from ..runs.labels import amount
from ..runs.logged_rate import (
    CONSTANT,
    axis_factor,
    ends_here,
    form_of,
    form_to,
    restarts_of,
    warmed,
    warmup_of,
)
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

__all__ = ["LOGGED", "logged_group"]

LOGGED = "from the logged rate"  # said of a schedule that it was recognised in


def logged_group(
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
    warmup = warmup_of(run, axis)

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
        longer = at > end * (1 + STRETCH_MARGIN)
        longer &= departs and _logged_plan(t, rho, warmup, end, total).whole
        return group(coming, ["logged"], {"schedule_stretched": stretched}, planned, longer)
    again = restarts_of(t, rho, warmup, MOST_RESTARTS * end if total is None else max(total, end))
    if again is not None:
        coming, stretched = follow(again, 1.0)
        if total is None:  # its end is not the run's, but where cycles are looked at
            return group(coming, [again.kind], {}, OPEN_END * end)
        flags = {"schedule_stretched": stretched}
        return group(coming, [again.kind], flags, total, stretched & finished(end, total))
    form, whole, disagrees = _logged_plan(t, rho, warmup, end, total)
    if form is None and whole:  # of no form that has a name
        form = from_points(t, rho, axis="tokens")
    if form is not None:
        coming, stretched = follow(form, 1.0)
        if form.kind != "points":  # its peak may lie above all that was logged
            past = book.points(t, rho / form.peak)
        label = "logged" if form.kind == "points" else _recognised(form, axis, total)
        flags = {"schedule_stretched": stretched}
        return group(coming, [label], flags, form.total or OPEN_END * end, stretched & whole)
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
    """What a logged rate followed: its form, if it has one that is known.

    Attributes
    ----------
    form : Schedule or None
    whole : bool
        Whether it came to its end.
    disagrees : bool
        Whether it follows a form, but to another end than the planned one.
    """

    form: Schedule | None
    whole: bool
    disagrees: bool


def _logged_plan(
    t: Floats, rho: Floats, warmup: float, end: float, total: float | None
) -> _LoggedPlan:  # fmt: skip
    if total is None:
        form = form_of(t, rho, warmup)
        if form is None or form.total is None:
            return _LoggedPlan(form, ends_here(t, rho), False)
        return _LoggedPlan(form, finished(end, form.total), False)
    form = form_to(t, rho, warmup, max(total, end))
    disagrees = form is None and form_of(t, rho, warmup) is not None
    # A constant rate has come to no end: what comes is its decay.
    moved = bool(rho.min() <= 1 - CONSTANT)
    return _LoggedPlan(form, moved and not disagrees and finished(end, total), disagrees)


def _recognised(form: Schedule, axis: str, total: float | None) -> str:
    """A form that a logged rate follows, in words."""
    if form.total is None:
        return str(form.kind)
    end = form.total if total is not None else float(f"{form.total:.4g}")  # no exacter than that
    share = round(100 * form.final_ratio)
    last = f"{share} % of its peak" if share else "0"
    return f"{form.kind} to {amount(end, axis)}, down to {last} ({LOGGED})"


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
