"""The window: the part of each run that a fit uses.

The rule of ``window="auto"``:

* the first 30 % of the run's axis are dropped (no law holds there; measured on 429 real curves this
  covers better than dropping 5 %; 35 % by the laws that respond to the learning rate, nothing by
  joint fits), and at least 1.2 times the warm-up where one is known or logged;
* if that leaves fewer than 12 points, the last 25 points after the warm-up are taken instead, or as
  many as there are.

Points at axis value 0 and, unless the noise is Student's t, spikes are never used; the laws that
respond to the learning rate look for spikes in the window itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints, counts, run_of_row
from ..engine.serving import serve
from ..kernels.windows import MINIMUM_POINTS, Log, Shares, Windows

if TYPE_CHECKING:
    from ..runs.collection import Flat, Runs

AUTO_DROP = 0.3
AUTO_WARMUPS = 1.2
SECONDS = 1e-7  # of a point, in plain Python
STRAY_SHARE = 0.01  # of a run's points that may lie at or below 0 by accident

OneWindow: TypeAlias = Literal["auto", "all"] | tuple[float, float]
WindowSpec: TypeAlias = OneWindow | Mapping[str, OneWindow]


class Rule(NamedTuple):
    """What was asked for, run by run."""

    # low, high: shape (n_runs,): shares of the run's end
    low: Floats
    high: Floats
    # shape (n_runs,): where the automatic rule holds (``low`` is its share, before the fallback)
    auto: Bools
    warmup: Floats  # shape (n_runs,): warm-up as a share of the run's end; 0 where unknown
    text: str  # the rule in words


class Selection(NamedTuple):
    """The points of some runs that lie in their windows."""

    rows: Bools  # shape (n_points,): which of the runs' points are used
    n_points: Ints  # shape (n_runs,): how many
    # start, end: shape (n_runs,): first and last axis value used; NaN where there is none
    start: Floats
    end: Floats


def rule_of(window: WindowSpec, runs: Runs, drop: float = AUTO_DROP) -> Rule:
    """Check a window and spell it out for every run; `drop` is the automatic rule's share.

    Raises `DataError`: not a window; a run in the dict that is not there.
    """
    n_runs = len(runs)
    low, high = np.zeros(n_runs), np.ones(n_runs)
    auto = np.zeros(n_runs, bool)
    if isinstance(window, Mapping):
        unknown = [name for name in window if name not in runs]
        if unknown:
            raise DataError(f"window names a run {unknown[0]!r} that is not there")
        each = [_one(window.get(name, "auto"), name, drop) for name in runs.names]
        for i, (a, b, is_auto) in enumerate(each):
            low[i], high[i], auto[i] = a, b, is_auto
        text = "by run: " + ", ".join(f"{name} {_words(rule)}" for name, rule in window.items())
    else:
        low[:], high[:], auto[:] = _one(window, None, drop)
        text = _words(window)
    return Rule(low, high, auto, _warmups(runs), text)


def _words(window: OneWindow) -> str:
    if isinstance(window, str):
        return window
    return f"({window[0]:g}, {window[1]:g})"


def _one(window: Any, name: str | None, drop: float) -> tuple[float, float, bool]:
    if isinstance(window, str):
        if window == "auto":
            return drop, 1.0, True
        if window == "all":
            return 0.0, 1.0, False
    elif isinstance(window, (tuple, list)) and len(window) == 2:
        try:
            low, high = float(window[0]), float(window[1])
        except (TypeError, ValueError):
            low = high = np.nan
        if 0 <= low < high <= 1:
            return low, high, False
    of = "" if name is None else f" of run {name!r}"
    raise DataError(
        f"the window{of} must be 'auto', 'all' or two shares of the run such as (0.3, 1.0), "
        f"got {window!r}"
    )


def _warmups(runs: Runs) -> Floats:
    """Warm-up of every run as a share of its end, 0 where it is not known."""
    from ..runs.logged_rate import by_schedule, has_rate, logged_shares, warmup_in

    out = np.zeros(len(runs))
    table = runs._columns
    if not table.schedules and table.lr is None:
        return out
    rated = has_rate(runs)
    for schedule, rows in by_schedule(runs):
        if schedule is None:
            rows = rows[rated[rows]]
            if len(rows):
                out[rows] = logged_shares(runs)[rows]
        elif warmup := warmup_in(schedule):
            values, has = runs._axis(schedule.axis)
            some = rows[has[rows]]
            out[some] = warmup / values[table.offsets[1:][some] - 1]
    return out


def log_of(flat: Flat) -> Log:
    """The columns of all runs as the kernels of windows take them, without copies."""
    x, y, weight = (np.ascontiguousarray(v) for v in (flat.x, flat.loss, flat.weight))
    return Log(x, y, weight, np.ascontiguousarray(flat.spike).view(np.uint8))


def windows_of(
    flat: Flat,
    names: tuple[str, ...],
    rule: Rule,
    first: int,
    last: int,
    *,
    keep_spikes: bool,
    same_bits: bool = False,
    threads: int | None = None,
) -> Windows:
    """The windows of runs ``first`` to ``last`` (exclusive), as rows of `flat`.

    Raises `DataError`: a run has fewer than 3 usable points in its window.
    """
    runs = slice(first, last)
    offsets = flat.offsets[first : last + 1]
    warm = AUTO_WARMUPS * rule.warmup[runs]
    auto = rule.auto[runs]
    low = np.where(auto, np.maximum(rule.low[runs], warm), rule.low[runs])
    shares = Shares(low, np.ascontiguousarray(rule.high[runs]), warm, auto.astype(np.int64))
    seconds = SECONDS * float(offsets[-1] - offsets[0])
    kernels = serve("windows", "_find_range", seconds, same_bits=same_bits)
    found: Windows = kernels.find_windows(log_of(flat), offsets, shares, keep_spikes, threads)
    few = np.flatnonzero(found.count < MINIMUM_POINTS)
    if few.size:
        count = int(found.count[few[0]])
        raise DataError(_too_few(names, first + int(few[0]), count, rule, keep_spikes))
    return found


def select(
    flat: Flat, names: tuple[str, ...], rule: Rule, first: int, last: int, *, keep_spikes: bool
) -> Selection:
    """The points of runs ``first`` to ``last`` (exclusive) in their windows.

    Raises `DataError`: a run has fewer than 3 usable points in its window.
    """
    windows = windows_of(flat, names, rule, first, last, keep_spikes=keep_spikes)
    begin, end = int(flat.offsets[first]), int(flat.offsets[last])
    edges = np.zeros(end - begin + 1, np.int8)  # a run's rows are its own: no edge falls on another
    edges[windows.first - begin] += 1
    edges[windows.last - begin] -= 1
    rows = np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)
    if not keep_spikes:
        rows &= ~flat.spike[begin:end]
    return Selection(rows, windows.count, windows.start, windows.end)


def without_outer_spikes(flat: Flat, chosen: Selection, short: int) -> tuple[Selection, Bools]:
    """The same points less the spikes that a look at the window alone does not find.

    A running median cannot judge the first and the last point of a window, and windows of up to
    `short` points are not judged: there the spikes that `cleaning` marked are left out.  So is a
    marked spike at or below 0 among positive losses, which would change the scale of a fit.

    Returns
    -------
    Selection
        Of all runs; at least three points of each are left.
    dropped : ndarray of bool, shape (n_runs,)
        Which runs lost points.
    """
    dropped = np.zeros(len(chosen.n_points), bool)
    used = np.flatnonzero(chosen.rows)
    edges = np.concatenate([[0], np.cumsum(chosen.n_points)])
    spike = flat.spike[used]
    if not spike.any():
        return chosen, dropped
    keep = np.ones(len(used), bool)
    below = flat.loss[used] <= 0
    touched = (chosen.n_points <= short) | spike[edges[:-1]] | spike[edges[1:] - 1]
    few = np.maximum(chosen.n_points * STRAY_SHARE, 1)
    stray = (counts(below, edges) <= few) & (counts(below & ~spike, edges) == 0)
    touched |= stray & (counts(below, edges) > 0)
    for run in np.flatnonzero(touched & (counts(spike, edges) > 0)):
        first, last = int(edges[run]), int(edges[run + 1])
        spikes_inside = spike[first:last]
        inner = np.flatnonzero(~spikes_inside)
        if len(inner) < MINIMUM_POINTS:
            continue
        left = ~spikes_inside
        if len(spikes_inside) > short:
            left[inner[0] : inner[-1] + 1] = True
            if stray[run]:
                left &= ~below[first:last]
        keep[first:last] = left
        dropped[run] = not left.all()
    rows = chosen.rows.copy()
    rows[used[~keep]] = False
    edges = np.concatenate([[0], np.cumsum(counts(keep, edges))])
    used = used[keep]
    return Selection(
        rows, np.diff(edges), flat.x[used[edges[:-1]]], flat.x[used[edges[1:] - 1]]
    ), dropped


def _too_few(names: tuple[str, ...], run: int, count: int, rule: Rule, keep_spikes: bool) -> str:
    what = (
        "points above axis value 0"
        if keep_spikes
        else "points above axis value 0 that are no spikes"
    )
    fix = "log more points, or leave the run out"
    if not rule.auto[run] and (rule.low[run] > 0 or rule.high[run] < 1):
        fix = 'widen the window (window="auto" or "all"), or leave the run out'
    return (
        f"run {names[run]!r} has {count} {what} in its window; a fit needs {MINIMUM_POINTS}: {fix}"
    )


def _usable(flat: Flat, first: int, last: int, keep_spikes: bool) -> tuple[Floats, Ints, Bools]:
    offsets = flat.offsets[first : last + 1]
    points = slice(int(offsets[0]), int(offsets[-1]))
    x = flat.x[points]
    usable = x > 0
    if not keep_spikes:
        usable &= ~flat.spike[points]
    return x, offsets - offsets[0], usable


def rows_between(
    flat: Flat, start: Floats, end: Floats, first: int, last: int, *, keep_spikes: bool
) -> Bools:
    """The same rows again, from the first and last axis value of each window (of all runs)."""
    x, offsets, usable = _usable(flat, first, last, keep_spikes)
    of_row = run_of_row(offsets)
    return usable & (x >= start[first:last][of_row]) & (x <= end[first:last][of_row])
