"""Backtest cases: runs cut at a point of their past, with targets in their known future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from .._base.ragged import Floats, Ints
from ..runs.broken import broken_runs, reason, without_forecast
from ..runs.collection import Runs
from ..runs.columns import cut, described, joined
from ..runs.logged_rate import history_of
from ..schedules import kinds
from ..schedules.shapes import Schedule

END = "end"
Knowledge = Literal["known", "masked", "none"]

LEAST_POINTS = 25  # before a cutoff
BEYOND = 1.0005  # a target so little beyond the end is at the end
LEAST_RATIO = 1.2  # the end is a horizon only if it is so far away
HALF_WINDOW = 0.01  # of the run, either side of a target
LAST = 0.02  # of the run: the window of the end
NEAREST = 0.03  # of the run: how far a sparse log's nearest point may be


class Cases(NamedTuple):
    """Cut runs and their targets; the rows of the arrays are targets."""

    runs: Runs | None  # one for each case, called ``name@cutoff``
    names: tuple[str, ...]  # the run behind each case
    cutoffs: tuple[float, ...]  # the cutoff of each case
    # dict by case: end of the run, for cases whose schedule is not known (or masked)
    totals: dict[str, float]
    case: Ints  # shape (m,): the case of each target
    horizon: tuple[str, ...]  # length m
    # at, observed: shape (m,): mean axis value and mean loss of the target's window
    at: Floats
    observed: Floats
    # shape (m,): sum of the weights there, where those before the cutoff have mean 1
    points: Floats
    skipped: list[tuple[str, str]]  # (run, reason)
    broken: dict[str, tuple[str, bool]]  # what broke in runs, as `broken_runs` says it


def make_cases(
    runs: Runs,
    axis: str,
    cutoffs: Sequence[float],
    horizons: Sequence[float | str],
    knowledge: Knowledge,
) -> Cases:
    """Every case of the runs.

    A run is cut at the last point before ``cutoff`` of its end, if it has 25 points there.  Targets
    are at multiples of that point and at the end (if that is more than 1.2 times away); the outcome
    is the mean loss within 1 % of the run either side (for the end: the last 2 %), or the nearest
    point of a sparse log within 3 %.  A run of which nothing can be learned, because it broke, has
    none.
    """
    flat = runs.flat(axis)
    offsets = flat.offsets
    rows: list[tuple[int, str, float, float, float]] = []
    chosen: list[tuple[int, float, int]] = []  # run, cutoff, points kept
    skipped = []
    broken = broken_runs(runs, runs.names, axis)
    for r, name in enumerate(runs.names):
        if without_forecast(broken, name):
            skipped.append((name, reason(broken[name][0])))
            continue
        some = slice(int(offsets[r]), int(offsets[r + 1]))
        x, loss, weight = flat.x[some], flat.loss[some], flat.weight[some]
        before = len(chosen)
        short = True
        for cutoff in cutoffs:
            n = int(np.searchsorted(x, cutoff * x[-1], side="right"))
            if n < LEAST_POINTS:
                continue
            short = False
            # In the units of the cut run, whose weights have mean 1: its sigma is of them.
            outcomes = _targets(x, loss, weight / weight[:n].mean(), float(x[n - 1]), horizons)
            if outcomes:
                rows += [(len(chosen), *target) for target in outcomes]
                chosen.append((r, float(cutoff), n))
        if len(chosen) == before:
            why = (
                f"fewer than {LEAST_POINTS} points before every cutoff"
                if short
                else "no horizon lies within the run, with a logged point near it"
            )
            skipped.append((name, why))
    case_names = tuple(f"{runs.names[r]}@{cutoff:g}" for r, cutoff, _ in chosen)
    totals: dict[str, float] = {}
    made = None
    if chosen:
        made = _cut(runs, axis, chosen, case_names, knowledge)
        if knowledge != "none":
            for (r, _, _), case in zip(chosen, case_names, strict=True):
                if made[case].schedule is None:
                    totals[case] = float(flat.x[offsets[r + 1] - 1])
    return Cases(
        made,
        tuple(runs.names[r] for r, _, _ in chosen),
        tuple(cutoff for _, cutoff, _ in chosen),
        totals,
        np.array([row[0] for row in rows], np.int64),
        tuple(row[1] for row in rows),
        np.array([row[2] for row in rows]),
        np.array([row[3] for row in rows]),
        np.array([row[4] for row in rows]),
        skipped,
        broken,
    )


def _targets(
    x: Floats, loss: Floats, weight: Floats, last: float, horizons: Sequence[float | str]
) -> list[tuple[str, float, float, float]]:
    """Horizon, place, outcome and weight of the targets of one case."""
    total = float(x[-1])
    out = []
    for horizon in horizons:
        if horizon == END:
            if total <= LEAST_RATIO * last:
                continue
            at, low, high = total, (1 - LAST) * total, 1.0001 * total
        else:
            at = float(horizon) * last
            if at > BEYOND * total:
                continue
            low, high = at - HALF_WINDOW * total, min(at + HALF_WINDOW * total, total)
        a = int(np.searchsorted(x, low, side="left"))
        b = int(np.searchsorted(x, high, side="right"))
        if a == b:
            a = int(np.argmin(np.abs(x - at)))
            if abs(x[a] - at) > NEAREST * total:
                continue
            b = a + 1
        w = weight[a:b]
        out.append(
            (
                END if horizon == END else f"{float(horizon):g}x",
                float(x[a:b].mean()),
                float(np.average(loss[a:b], weights=w)),
                float(w.sum()),
            )
        )
    return out


def _cut(
    runs: Runs,
    axis: str,
    chosen: list[tuple[int, float, int]],
    names: tuple[str, ...],
    knowledge: Knowledge,
) -> Runs:
    """The cut runs in one collection, with the schedules of the whole ones."""
    table = runs._columns
    plans = {}
    if knowledge == "known":
        for r in dict.fromkeys(r for r, _, _ in chosen):
            run = runs[runs.names[r]]
            plan = run.schedule
            if plan is None:
                plan = _logged(run, axis)
            if plan is not None:
                plans[r] = plan
    parts: Any = None
    by_cutoff: dict[float, list[int]] = {}
    for i, (_, cutoff, _) in enumerate(chosen):
        by_cutoff.setdefault(cutoff, []).append(i)
    for which in by_cutoff.values():
        index = np.array([chosen[i][0] for i in which])
        starts = table.offsets[index]
        counts = np.array([chosen[i][2] for i in which])
        part = cut(table, index, starts, starts + counts)
        part = replace(
            part,
            names=tuple(names[i] for i in which),
            lr=None,
            schedules={names[i]: plans[chosen[i][0]] for i in which if chosen[i][0] in plans},
            meta={},
            flags={},
        )
        parts = part if parts is None else joined(parts, part)
    return Runs._of(described(parts)).select(names)


def _logged(run: Any, axis: str) -> Schedule | None:
    """The whole logged learning rate as a schedule."""
    for own in ("step", "tokens"):
        if run.has(own):
            history = history_of(run, own)
            return None if history is None else kinds.from_points(*history, axis=own)
    return None
