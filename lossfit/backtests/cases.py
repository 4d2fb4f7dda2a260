"""Backtest cases: runs cut at a point of their past, with targets in their known future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints, search
from ..runs.broken import broken_runs, reason, without_forecast
from ..runs.collection import Flat, Runs
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
    broken = broken_runs(runs, runs.names, axis)
    left = np.array([not without_forecast(broken, name) for name in runs.names])
    starts, totals = flat.offsets[:-1, None], flat.x[flat.offsets[1:] - 1]
    kept = search(flat.x, flat.offsets, totals[:, None] * np.array(cutoffs, np.float64), True)
    enough = (kept >= LEAST_POINTS) & left[:, None]
    windows = _windows(flat, flat.x[np.maximum(starts + kept - 1, starts)], enough, horizons)
    has_target = np.any(windows[..., 1] > windows[..., 0], axis=-1)
    run_of, cut_of = np.nonzero(has_target)
    case = (np.cumsum(has_target) - 1).reshape(has_target.shape)
    r, c, h = np.nonzero(windows[..., 1] > windows[..., 0])
    kept_of = kept[run_of, cut_of]
    # In the units of the cut run, whose weights have mean 1: its sigma is of them.
    level = np.ones(len(run_of))
    if not (flat.weight == 1).all():
        first = flat.offsets[run_of]
        level[:] = [flat.weight[a : a + n].mean() for a, n in zip(first, kept_of, strict=True)]
    at, observed, points = _means(flat, windows[r, c, h], level[case[r, c]])
    labels = [END if horizon == END else f"{float(horizon):g}x" for horizon in horizons]
    skipped = []
    for i in np.flatnonzero(~np.any(has_target, axis=1)).tolist():
        name = runs.names[i]
        if not left[i]:
            skipped.append((name, reason(broken[name][0])))
        elif enough[i].any():
            skipped.append((name, "no horizon lies within the run, with a logged point near it"))
        else:
            skipped.append((name, f"fewer than {LEAST_POINTS} points before every cutoff"))
    names = tuple(runs.names[i] for i in run_of.tolist())
    shares = tuple(float(cutoffs[j]) for j in cut_of.tolist())
    case_names = tuple(f"{name}@{share:g}" for name, share in zip(names, shares, strict=True))
    made, ends = None, {}
    if len(run_of):
        made = _cut(runs, axis, run_of, cut_of, kept_of, case_names, knowledge)
        if knowledge != "none":
            told = made._columns.schedules
            planned = zip(case_names, totals[run_of].tolist(), strict=True)
            ends = {name: end for name, end in planned if name not in told}
    return Cases(
        made, names, shares, ends, case[r, c], tuple(labels[j] for j in h.tolist()),
        at, observed, points, skipped, broken,
    )  # fmt: skip


def _windows(
    flat: Flat,
    last: Floats,  # shape (R, C): the last points before the cuts
    enough: Bools,  # shape (R, C): which cuts are asked
    horizons: Sequence[float | str],
) -> Ints:
    """First row, and the one after the last, of every target's window, (R, C, H, 2)."""
    total = flat.x[flat.offsets[1:] - 1][:, None]
    ways = []
    for horizon in horizons:
        if horizon == END:
            there = total > LEAST_RATIO * last
            at, low, high = total, (1 - LAST) * total, 1.0001 * total
        else:
            at = float(horizon) * last
            there = at <= BEYOND * total
            low, high = at - HALF_WINDOW * total, np.minimum(at + HALF_WINDOW * total, total)
        ways.append([np.broadcast_to(each, last.shape) for each in (there, at, low, high)])
    there, at, low, high = (np.stack(each, axis=-1) for each in zip(*ways, strict=True))
    first = flat.offsets[:-1, None, None]
    a = first + search(flat.x, flat.offsets, low)
    b = first + search(flat.x, flat.offsets, high, right=True)
    before, after = np.maximum(a - 1, first), np.minimum(a, flat.offsets[1:, None, None] - 1)
    off = np.abs(flat.x[before] - at), np.abs(flat.x[after] - at)
    empty = a == b
    a = np.where(empty, np.where(off[0] <= off[1], before, after), a)
    near = np.minimum(*off) <= NEAREST * total[..., None]
    asked = enough[..., None] & there & (near | ~empty)
    b = np.where(asked, np.where(empty, a + 1, b), a)
    return np.stack([a, b], axis=-1)


def _means(flat: Flat, windows: Ints, level: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean place and loss of each window, and its weight in units of `level`."""
    out = np.empty((3, len(windows)))
    lengths = windows[:, 1] - windows[:, 0]
    for length in np.unique(lengths).tolist():
        some = np.flatnonzero(lengths == length)
        rows = windows[some, :1] + np.arange(length)
        weight = flat.weight[rows] / level[some, None]
        out[0, some], out[2, some] = flat.x[rows].mean(1), weight.sum(1)
        out[1, some] = (flat.loss[rows] * weight).sum(1) / out[2, some]
    return out[0], out[1], out[2]


def _cut(
    runs: Runs,
    axis: str,
    run_of: Ints,  # shape (n_cases,)
    cut_of: Ints,  # which cutoff
    kept: Ints,  # how many points are before it
    names: tuple[str, ...],
    knowledge: Knowledge,
) -> Runs:
    """The cut runs in one collection, with the schedules of the whole ones."""
    table = runs._columns
    plans = {}
    if knowledge == "known":
        for r in dict.fromkeys(run_of.tolist()):
            run = runs[runs.names[r]]
            plan = run.schedule
            if plan is None:
                plan = _logged(run, axis)
            if plan is not None:
                plans[r] = plan
    parts: Any = None
    for cutoff in dict.fromkeys(cut_of.tolist()):
        which = np.flatnonzero(cut_of == cutoff)
        index = run_of[which]
        starts = table.offsets[index]
        part = cut(table, index, starts, starts + kept[which])
        own = zip((names[i] for i in which.tolist()), index.tolist(), strict=True)
        part = replace(
            part,
            names=tuple(names[i] for i in which.tolist()),
            lr=None,
            schedules={name: plans[r] for name, r in own if r in plans},
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
