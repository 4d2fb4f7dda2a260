"""What a log goes through before it is a run: each rule stated, each effect counted in a flag.

Rows that cannot be used are dropped, in this order:

1. a row whose loss or axis is blank or NaN (``missing``) or infinite (``not_finite``);
2. a row followed at once by another at the same axis value: the later one is kept
   (``duplicate_step``);
3. where the axis goes down the run was restarted: the rows logged before, at or beyond the restart
   point, are dropped and the later ones kept (``restart``).

Everything else is kept and described: ``spike``, ``zero_axis``, ``nonpositive_loss``, ``constant``,
``rounded``, ``smoothed`` (see `MEANINGS`).  What cannot be handled raises `DataError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints, blocks, counts

TAIL_ROWS, TAIL_SHARE = 3, 0.05  # of a tail: the least number of rows, and share of the run

MEANINGS: dict[str, str] = {
    "missing": "rows dropped: the loss or the axis is blank or NaN",
    "not_finite": "rows dropped: the loss or the axis is infinite",
    "tail_not_finite": "the loss is NaN or infinite at the end of the run",
    "duplicate_step": "rows dropped: the next row has the same axis value and was kept",
    "restart": "rows dropped: logged again after the axis went back",
    "counter": "times that the axis begins again while training goes on: carried on",
    "other_run": "further runs in the log of one: where the axis and the loss begin again",
    "ranks": "rows averaged: several ranks log the same axis values",
    "epoch_axis": "points whose axis is the epoch, for want of steps",
    "hours_axis": "points whose axis is the time since the log began, for want of steps",
    "record_axis": "points whose axis is the number of their row, for want of steps",
    "joined": "parts of one run, in several logs, that were joined",
    "header_again": "rows dropped: the line of names stood there again",
    "text_cells": "rows dropped: text in the place of a number",
    "unusable_axis": "rows whose value of a further axis is missing or does not increase; that "
    "axis was left out of the run",
    "ignored_columns": "columns of the input that lossfit does not know",
    "renamed_columns": "columns of the input read under another name",
    "unused": "values given by keyword that the log's own column made unnecessary",
    "zero_axis": "rows at axis 0: kept, but no power law can use them",
    "nonpositive_loss": "rows with loss <= 0: kept, but not a cross-entropy in nats",
    "constant": "every loss of the run is the same",
    "spike": "rows far off a running median of five: kept, marked, and left out of fits",
    "rounded": "losses written with few decimals",
    "smoothed": "neighbouring points share their noise: smoothed before logging, or no noise",
    "moving_average": "each loss is a moving average over the steps before it, as it is logged",
    "validation": "the losses read are validation losses",
    "other_losses": "rows that hold other losses than those read (loss= says which)",
    "run_average": "averages over a whole run that its log closes with: not points, dropped",
    "base_two": "losses logged in bits, read times ln 2: in nats",
    "window_average": "each loss is a mean over the steps since the one before",
    "single_batch": "each loss is of one micro-batch, and noisy",
    "group_mean": "each loss is a mean over the runs of a group, or over several steps",
    "sampled_history": "the log has as many rows as a sample that was drawn from more",
    "unknown_lr": "learning rates printed as 0 for want of decimals: taken as unknown",
    "stepless": "entries without a step: dropped",
    "short_run": "runs of the log that were left out: fewer than three points",
    "other_lines": "lines of the log that are no points, such as source code",
    "damaged_lines": "lines that begin like a point and could not be read: dropped",
    "cut_line": "a last line that was cut while writing: dropped",
}

# The flags that describe the rows kept; a shortened run gets them again.
DESCRIBED = ("zero_axis", "nonpositive_loss", "constant", "spike", "rounded", "smoothed")

MINIMUM_POINTS = 3  # what a run needs to be of any use
SPIKE_MADS = 8.0  # a spike is off the running median by more than this many MADs ...
SPIKE_SHARE = 1e-3  # ... and this share of the loss
SPIKE_POINTS = 8  # shorter runs say too little of their own noise
PIECE = 1 << 15  # points of a long run that are looked at together
ABSURD_FACTOR = 100.0  # times the others, at a run's start and in runs too short for the rule above
ROUNDED_DECIMALS = 4  # losses with at most this many decimals are flagged
SMOOTHED_POINTS = 50
# Independent noise gives -0.5, an exponential moving average with weight f on the past
# -(1 - f) / 2; the estimate from m differences has a standard error of about 1 / sqrt(m).
SMOOTHED_RHO = -0.25


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing that a careful reader would want to know of a run."""

    run: str | None  # the run; None for the whole collection
    flag: str  # one of `MEANINGS`
    count: int  # how many rows (or columns) it concerns
    detail: str  # in words


class Inspection(NamedTuple):
    """What `inspect` finds: ``spike`` (N,), ``decimals`` (R,), -1 for many, and ``flags``."""

    spike: Bools
    decimals: Ints
    flags: list[Flag]


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def usable_rows(
    names: tuple[str, ...],  # length R: names of the runs
    # x, loss: shape (N,): axis value and loss of each row, in log order
    x: Floats,
    loss: Floats,
    offsets: Ints,  # shape (R + 1,): where each run starts
    axis_of: Callable[[int], str],  # name of the axis ``x`` of a run (by number), for messages
    where: Callable[[int], str],  # the words for a row (by number), for messages
) -> tuple[Bools, list[Flag]]:
    """Which rows of the logs can be used, by rules 1 to 3 of this module.

    Raises `DataError`: a negative axis value; rows that are not in log order.

    Returns
    -------
    keep : ndarray of bool, shape (N,)
    flags : list of Flag
    """
    flags: list[Flag] = []
    missing = np.isnan(x) | np.isnan(loss)
    infinite = ~missing & ~(np.isfinite(x) & np.isfinite(loss))
    keep = ~(missing | infinite)
    for flag, mask in (("missing", missing), ("not_finite", infinite)):
        if mask.any():
            for run, count in _nonzero(counts(mask, offsets)):
                words = MEANINGS[flag].removeprefix("rows dropped: ")
                flags.append(Flag(names[run], flag, count, f"{_plural(count, 'row')}: {words}"))
    flags += _tails(names, x, np.isfinite(x) & ~np.isfinite(loss), offsets)
    negative = np.flatnonzero(keep & (x < 0))
    if negative.size:
        row = int(negative[0])
        run = _run_at(row, offsets)
        raise DataError(
            f"run {names[run]!r}, {where(row)}: {axis_of(run)} is {x[row]:g}; it must be 0 or "
            "more: correct or delete that row"
        )
    rows = np.flatnonzero(keep)
    inner = np.searchsorted(rows, offsets)  # offsets among the rows kept so far
    fall = np.flatnonzero(np.diff(x[rows]) <= 0) + 1
    at_start = np.zeros(len(rows) + 1, dtype=bool)
    at_start[inner] = True
    fall = fall[~at_start[fall]]  # a new run may start lower
    for run in np.unique(np.searchsorted(inner, fall, side="right") - 1):
        own = rows[inner[run] : inner[run + 1]]
        name, axis = names[run], axis_of(int(run))
        kept, new = _resumed(name, axis, x[own], partial(_where_of, where, own))
        keep[own] = kept
        flags += new
    return keep, flags


def _where_of(where: Callable[[int], str], rows: Ints, i: int) -> str:
    return where(int(rows[i]))


def _resumed(
    name: str, axis: str, x: Floats, where: Callable[[int], str]
) -> tuple[Bools, list[Flag]]:
    """Rules 2 and 3 for one run with duplicated or decreasing axis values."""
    down = np.flatnonzero(np.diff(x) < 0) + 1
    # A restarted run goes back a few times; rows in some other order go down all the time.
    if len(down) > max(3, len(x) // 5):
        raise DataError(
            f"run {name!r}, {where(int(down[0]))}: {axis} goes down at {len(down)} of {len(x)} "
            f"rows, so the rows are not in log order: sort them by {axis} first"
        )
    lowest_after = np.append(np.minimum.accumulate(x[::-1])[::-1][1:], np.inf)
    keep = x < lowest_after
    same = ~keep & np.append(x[:-1] == x[1:], False)
    again = ~keep & ~same
    flags = []
    if same.any():
        count = int(same.sum())
        first = f"{x[np.flatnonzero(same)[0]]:g}"
        words = f"{_plural(count, 'row')} dropped: a later row has the same {axis} (first: {first})"
        flags.append(Flag(name, "duplicate_step", count, words))
    if len(down):
        count = int(again.sum())
        words = (
            f"{_plural(len(down), 'restart')} (first back to {axis} {x[down[0]]:g}): "
            f"{_plural(count, 'row')} logged before and run again dropped"
        )
        flags.append(Flag(name, "restart", count, words))
    return keep, flags


def inspect(names: tuple[str, ...], x: Floats, loss: Floats, offsets: Ints) -> Inspection:
    """Describe clean runs: spikes, rounding, smoothing and other oddities.

    Parameters
    ----------
    names : tuple of str, length R
    x, loss : ndarray, shape (N,)
        Increasing axis values and finite losses.
    offsets : ndarray of int, shape (R + 1,)

    Notes
    -----
    A *spike* is more than 8 MAD + 0.1 % of the loss away from a running median of five; MAD is the
    run's median absolute deviation of a point from the mean of its two neighbours, so 8 MAD are
    6.6 standard deviations of Gaussian noise.  (Deviations from the running median itself would not
    do: on a curve that falls faster than its noise more than half of them are 0.)  At the end of a
    run, where the median has no later points to go by, only rises count.  The first point, and any
    point of a run of 4 to 15, is a spike too if it is more than 100 times as large as the others
    (of the first eight, or all).

    A run is *smoothed* if first differences of neighbouring losses, over its second half and less
    their straight line, correlate above -0.25 by more than a standard error.  Independent noise
    gives -0.5, an exponential moving average with weight f on the past -(1 - f) / 2; a curve that
    is nearly free of noise is flagged too.
    """
    total = len(offsets) - 1
    spike = np.zeros(len(loss), dtype=bool)
    decimals = np.full(total, -1)
    constant = np.zeros(total, dtype=bool)
    rho = np.full(total, np.nan)
    smoothed = np.zeros(total, dtype=bool)
    for runs, rows in blocks(offsets):
        y = loss[rows].reshape(len(runs), -1)
        constant[runs] = (y == y[:, :1]).all(axis=1)
        spike[rows] = _spikes(y).reshape(spike[rows].shape)
        decimals[runs] = _decimals(y)
        if y.shape[1] >= SMOOTHED_POINTS:
            rho[runs] = _difference_correlation(y)
            smoothed[runs] = rho[runs] > SMOOTHED_RHO + (2 / y.shape[1]) ** 0.5
    flags = []
    for flag, mask in (("zero_axis", x == 0), ("nonpositive_loss", loss <= 0), ("spike", spike)):
        if mask.any():
            for run, count in _nonzero(counts(mask, offsets)):
                verb = MEANINGS[flag].partition(" ")[2]
                flags.append(Flag(names[run], flag, count, f"{_plural(count, 'row')} {verb}"))
    lengths = np.diff(offsets)
    for run in np.flatnonzero(constant).tolist():
        words = f"every loss is {loss[offsets[run]]:g}"
        flags.append(Flag(names[run], "constant", int(lengths[run]), words))
    for run in np.flatnonzero((decimals >= 0) & ~constant).tolist():
        step = 10.0 ** -int(decimals[run])
        words = f"losses have {_plural(int(decimals[run]), 'decimal')}: rounding noise of sd "
        words += f"{step / np.sqrt(12.0):.1e}"
        flags.append(Flag(names[run], "rounded", int(lengths[run]), words))
    for run in np.flatnonzero(smoothed & ~constant).tolist():
        words = f"neighbouring differences correlate at {rho[run]:.2f} (independent noise: -0.5)"
        flags.append(Flag(names[run], "smoothed", int(lengths[run]), words))
    return Inspection(spike, decimals, flags)


def _spikes(y: Floats) -> Bools:
    """Spikes of runs of one length; ``y`` and the result have shape (m, length)."""
    if y.shape[1] < SPIKE_POINTS:
        return _absurd(y)
    # At the front the first point is repeated: there a curve is steep, and no first point is odd.
    # At the end the last full window is used for the last two points.
    width = y.shape[1]
    ahead = np.concatenate([y[:, :1], y[:, :1], y], axis=1)
    noise = np.empty((len(y), width - 2))
    spike = np.empty(y.shape, dtype=bool)
    pieces = [(first, min(first + PIECE, width)) for first in range(0, width, PIECE)]
    for first, last in pieces:  # temporaries stay in the processor's cache
        part = y[:, first : last + 2]
        noise[:, first:last] = np.abs(part[:, 1:-1] - (part[:, :-2] + part[:, 2:]) / 2)
    size = SPIKE_MADS * np.median(noise, axis=1, keepdims=True)
    for first, last in pieces:
        begin = min(first, width - 3)
        median = _median_of_five(ahead[:, begin : min(last, width - 2) + 4])
        if last > width - 2:
            median = median[:, np.minimum(np.arange(first, last), width - 3) - begin]
        off = y[:, first:last] - median
        spike[:, first:last] = np.abs(off) > size + SPIKE_SHARE * np.abs(y[:, first:last])
        if last > width - 2:
            falls = off[:, max(width - 2 - first, 0) :] <= 0
            spike[:, max(width - 2, first) : last] &= ~falls
    if y.shape[1] < 2 * SPIKE_POINTS:  # one spike can be in half of the neighbourhoods
        return spike | _absurd(y)
    spike[:, 0] |= _absurd(y[:, :SPIKE_POINTS])[:, 0]
    return spike


def _median_of_five(y: Floats) -> Floats:
    """Running medians of five columns, shape (m, length - 4)."""
    a, b, c, d, e = (y[:, i : y.shape[1] - 4 + i] for i in range(5))
    low = np.maximum(np.minimum(a, b), np.minimum(c, d))
    high = np.minimum(np.maximum(a, b), np.maximum(c, d))
    return np.asarray(np.maximum(np.minimum(e, low), np.minimum(np.maximum(e, low), high)))


def _absurd(y: Floats) -> Bools:
    """A point more than 100 times larger than all the others; ``y`` has shape (m, length).

    No law falls so steeply: such a point is a spike where too few points say what a curve is like.
    """
    size = np.abs(y)
    if y.shape[1] <= 3:
        return np.zeros(y.shape, dtype=bool)
    second = np.partition(size, -2, axis=1)[:, -2:-1]
    return np.asarray((size > ABSURD_FACTOR * second) & (second > 0))


def _decimals(y: Floats) -> Ints:
    """Decimals that the losses of each run are written with, -1 for many; shape (m,)."""
    found = np.full(len(y), -1)
    if y.shape[1] > 2 * PIECE and (_decimals(y[:, :PIECE]) < 0).all():
        return found  # those of a part are as many or fewer: most long logs have more
    for decimals in range(ROUNDED_DECIMALS, -1, -1):
        scaled = y * 10.0**decimals
        # Of the number itself: 1e-8 has no 4 decimals.  Float32 holds 7 digits of what was written.
        close = np.minimum(np.clip(1e-7 * np.abs(scaled), 1e-6, 1e-2), 1e-3 * np.abs(scaled))
        exact = (np.abs(scaled - np.rint(scaled)) <= close).all(axis=1)
        if not exact.any():
            break
        found[exact] = decimals
    return found


def _difference_correlation(y: Floats) -> Floats:
    """Lag-one correlation of detrended first differences over the second half; shape (m,)."""
    step = np.diff(y[:, y.shape[1] // 2 :], axis=1)
    time = np.arange(step.shape[1]) - (step.shape[1] - 1) / 2
    # A spike would bend the line that is taken off.
    middle = np.median(step, axis=1, keepdims=True)
    far = np.abs(step - middle)
    step = np.where(far > 20 * np.median(far, axis=1, keepdims=True), middle, step)
    step = step - step.mean(axis=1, keepdims=True)
    step -= (step @ time)[:, None] / (time @ time) * time
    spread = np.median(np.abs(step), axis=1, keepdims=True)
    step = np.clip(step, -5 * spread, 5 * spread)  # spikes say nothing of smoothing
    power = (step**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: Floats = (step[:, 1:] * step[:, :-1]).sum(axis=1) / power
    return rho


def _tails(names: tuple[str, ...], x: Floats, bad: Bools, offsets: Ints) -> list[Flag]:
    """Flags of runs that end in losses that are not finite; `bad` are all such rows.

    Logs with another metric on rows of its own have blank losses everywhere: a tail must be longer
    than any other stretch of them.
    """
    flags = []
    rows = np.diff(offsets)
    last = np.where(rows > 0, offsets[1:] - 1, 0)
    for run in np.flatnonzero((rows > 0) & bad[last]) if len(bad) else ():
        first = int(offsets[run])
        good = np.flatnonzero(~bad[first : offsets[run + 1]])
        if len(good) < 2:
            continue
        tail = int(rows[run]) - 1 - int(good[-1])
        if tail < max(TAIL_ROWS, TAIL_SHARE * rows[run], TAIL_ROWS * int(np.diff(good).max())):
            continue
        where = f"{x[first + good[-1] + 1]:,.6g}"
        words = f"the loss is NaN or infinite from {where} on ({_plural(tail, 'row')})"
        flags.append(Flag(names[run], "tail_not_finite", tail, words))
    return flags


def _nonzero(count: Ints) -> list[tuple[int, int]]:
    return [(int(run), int(count[run])) for run in np.flatnonzero(count)]


def _run_at(row: int, offsets: Ints) -> int:
    return int(np.searchsorted(offsets, row, side="right")) - 1
