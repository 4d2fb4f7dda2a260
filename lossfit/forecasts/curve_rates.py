"""Hypotheses on the learning rate for the kernels of the default forecast."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints
from .constants import KINDS
from .rates import BEFORE_END, Plan, _Book, hypotheses_of

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
)


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
    future : list of ndarray of int, shape (T, n_hypotheses)
        Paths that lead to the targets, for each run.
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
    future: list[Ints]
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
    book = _Book()
    n_runs = len(runs)
    history: list[int] = []
    kind: list[int] = []
    labels, future = [], []
    offsets = np.zeros(n_runs + 1, np.int64)
    planned, knowledge = np.empty(n_runs), np.empty(n_runs, np.int64)
    flags = {name: np.zeros(at.shape, bool) for name in FLAGS}
    for r, run in enumerate(runs):
        end = float(ends[r])
        made = hypotheses_of(book, run, axis, end, at[r], plan, fixed=True)
        first = KINDS[made.menu]
        history += [past for past, _, _ in made.hypotheses]
        kind += range(first, first + len(made.hypotheses))
        offsets[r + 1] = len(history)
        labels.append(made.labels)
        paths_to = np.empty((at.shape[1], len(made.hypotheses)), np.int64)
        for k, (_, to, _) in enumerate(made.hypotheses):
            paths_to[:, k] = to
        future.append(paths_to)
        planned[r] = end if math.isnan(made.end) else made.end
        knowledge[r] = KNOWLEDGE[made.menu]
        beyond = at[r] > end * (1 + 1e-9)
        for flag, where in made.flags.items():
            flags[flag][r] = where & beyond
    finished = ends >= planned * (1 - BEFORE_END)
    longer = flags["schedule_stretched"] & finished[:, None]
    flags["longer_plan"] = longer
    shapes, paths = book.arrays()
    return AskedRates(
        shapes=shapes,
        paths=paths,
        offsets=offsets,
        history=np.array(history, np.int64),
        kind=np.array(kind, np.int64),
        labels=labels,
        future=future,
        plan=planned,
        knowledge=knowledge,
        longer=longer,
        flags=flags,
    )
