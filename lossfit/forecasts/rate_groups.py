"""Hypotheses on the learning rate of runs of which the same is known, and their parts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints
from ..runs.logged_rate import BEFORE_END
from ..runs.schedule_words import highest
from ..schedules.shapes import Schedule
from .path_book import PathBook

__all__ = [
    "ENDS",
    "MENU",
    "MOST_RESTARTS",
    "OPEN_END",
    "OPEN_MENU",
    "STRETCH_MARGIN",
    "Group",
    "finished",
    "open_label",
    "reach",
    "relative",
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

STRETCH_MARGIN = 1e-3  # a target so little beyond the schedule's end is at its end


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
    longer : ndarray of bool, shape (G, T), or False
        Where a finished run is asked for a longer plan.
    """

    rows: Ints
    past: Ints
    coming: Ints
    weights: tuple[float, ...]
    labels: tuple[str, ...]
    flags: dict[str, Any]
    end: Floats
    menu: str = "known"
    longer: Bools | bool = False


def finished(ends: Any, planned: Any) -> Any:
    """Whether data reach a planned end: of one run, or of many."""
    return ends >= planned * (1 - BEFORE_END)


def relative(schedule: Schedule, x: Floats) -> Floats:
    """The rate over its highest."""
    return np.asarray(schedule(x), np.float64) / highest(schedule)


def open_label(name: str, share: float) -> str:
    """The name of a plan of the open menu."""
    return name if name == "constant" else f"{name} to {share:g}x the data"


def reach(
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
