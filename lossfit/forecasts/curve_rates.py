"""Hypotheses on the learning rate for the kernels of the default forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints, spans
from .constants import KINDS
from .path_book import PathBook
from .rates import Plan, groups_of

if TYPE_CHECKING:
    from ..kernels.paths import Paths, Shapes
    from ..runs.collection import Runs

__all__ = ["AskedRates", "asked_rates"]

KNOWLEDGE = {"known": 0, "total": 1, "nothing": 2}  # as in `lossfit.kernels.curve_law`
FLAGS = (
    "schedule_unknown",
    "no_plan",
    "schedule_stretched",
    "schedule_held",
    "schedule_over",
    "total_disagrees",
    "total_far",
)
FAR_PLAN = 980.0  # times the data: a planned end so far away may be meant in another unit


class AskedRates(NamedTuple):
    """Paths and hypotheses of R runs with T targets each, ragged by run.

    Attributes
    ----------
    shapes, paths : Shapes, Paths
    offsets : ndarray of int, shape (R + 1,)
        Run r owns ``offsets[r]:offsets[r + 1]`` of the next three.
    history, kind : ndarray of int
        Path of the past, and row of the hyper-prior's kinds.
    labels : list of tuple of str, length R
        Names of each run's hypotheses.
    future : ndarray of int
        Paths that lead to the targets: run by run, target by target, a hypothesis each.
    plan : ndarray, shape (R,)
        Planned end.
    knowledge : ndarray of int, shape (R,)
    longer : ndarray of bool, shape (R, T)
        Where a finished run is asked for a longer plan.
    flags : dict of str to ndarray of bool, shape (R, T)
    """

    shapes: Shapes
    paths: Paths
    offsets: Ints
    history: Ints
    kind: Ints
    labels: list[tuple[str, ...]]
    future: Ints
    plan: Floats
    knowledge: Ints
    longer: Bools
    flags: dict[str, Bools]


def asked_rates(runs: Runs, axis: str, ends: Floats, at: Floats, plan: Plan) -> AskedRates:
    """Paths for every run and target.

    Parameters
    ----------
    runs : Runs
    axis : str
    ends : ndarray, shape (R,)
        End of the data.
    at : ndarray, shape (R, T)
        Targets; NaN is none.
    plan : Plan
    """
    book = PathBook()
    n_runs, n_at = at.shape
    groups = groups_of(book, runs, axis, ends, at, plan, fixed=True)
    n_paths = np.zeros(n_runs, np.int64)
    for group in groups:
        n_paths[group.rows] = len(group.labels)
    offsets = spans(n_paths)
    history, kind = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
    future = np.empty(n_at * offsets[-1], np.int64)
    labels: list[tuple[str, ...]] = [()] * n_runs
    planned, knowledge = np.empty(n_runs), np.empty(n_runs, np.int64)
    longer = np.zeros(at.shape, bool)
    flags = {name: np.zeros(at.shape, bool) for name in FLAGS}
    beyond = at > (ends * (1 + 1e-9))[:, None]
    for group in groups:
        rows, each = group.rows, np.arange(len(group.labels))
        places = offsets[rows][:, None] + each
        history[places] = group.past
        kind[places] = KINDS[group.menu] + each
        places = n_at * offsets[rows][:, None] + np.arange(n_at * len(each))
        future[places] = group.coming.reshape(len(rows), -1)
        planned[rows] = group.end
        knowledge[rows] = KNOWLEDGE[group.menu]
        longer[rows] = group.longer & beyond[rows]
        for flag, where in group.flags.items():
            flags[flag][rows] = where & beyond[rows]
        for r in rows.tolist():
            labels[r] = group.labels
    flags["longer_plan"] = longer
    flags["total_far"] = beyond & (planned > FAR_PLAN * ends)[:, None]
    shapes, paths = book.arrays()
    return AskedRates(
        shapes=shapes,
        paths=paths,
        offsets=offsets,
        history=history,
        kind=kind,
        labels=labels,
        future=future,
        plan=planned,
        knowledge=knowledge,
        longer=longer,
        flags=flags,
    )
