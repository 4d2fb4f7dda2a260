"""What feeds the kernels: windows, scaled axes and scales of many runs, in one pass over flat logs.

A window is a stretch of a run's points, less the spikes in it.  It is found first (`find_windows`);
then its points are taken, the axis divided by its end, and the run's scales are measured while they
are at hand (`take_windows`).  Nothing is copied in between.

Loops run over slices: an index that a compiler knows to be positive lets it use vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .entries import entry
from .maths import kernel
from .ranks import RANK_BINS
from .records import writable
from .scales import MOST_DEVIATIONS, scales_of
from .spreading import spread

__all__ = [
    "AUTO_POINTS",
    "FALLBACK_POINTS",
    "MINIMUM_POINTS",
    "Log",
    "Shares",
    "Windows",
    "find_windows",
    "run_scales",
    "take_windows",
]

AUTO_POINTS = 12
FALLBACK_POINTS = 25
MINIMUM_POINTS = 3
MARGIN = 1e-12  # relative: a share such as 0.3 must not lose a point to the last bit
TINY = 5e-324  # at or above it is above 0
RUNS = 512  # that a thread takes at once: a run takes it two microseconds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Log(NamedTuple):
    """Points of many runs, one run after the other.

    Attributes
    ----------
    x : float64, shape (n_points,)
        Axis values, which do not decrease in a run.
    y, weight : float64, shape (n_points,)
        Losses and relative precisions.
    spike : uint8, shape (n_points,)
        1 where a point is not to be used.
    """

    x: Floats
    y: Floats
    weight: Floats
    spike: NDArray[np.uint8]


class Shares(NamedTuple):
    """The rule of each window, shape (n_runs,): see `lossfit.fits.window`.

    Attributes
    ----------
    low, high : float64
        Shares of the run's end.
    warm : float64
        The share before which the automatic rule takes nothing.
    auto : int64
        1 where the automatic rule holds.
    """

    low: Floats
    high: Floats
    warm: Floats
    auto: Ints


class Windows(NamedTuple):
    """Windows of some runs, shape (n_runs,).

    Attributes
    ----------
    first, last : int64
        Rows of the first point used, and after the last one.
    count : int64
        Points used: those from first to last that are no spikes.
    start, end : float64
        First and last axis value used; NaN where there is none.
    """

    first: Ints
    last: Ints
    count: Ints
    start: Floats
    end: Floats


@kernel
def _first_from(x, value):
    """Number of the first of some values that do not decrease which is at least that; or how many.

    Logs are nearly even along their axis, so the search begins where a straight line says.
    """
    n = x.size
    low = 0
    high = n
    if n > 8 and x[n - 1] > x[0]:
        share = (value - x[0]) / (x[n - 1] - x[0])
        guess = int(min(max(share, 0.0), 1.0) * (n - 1))
        step = 1
        if x[guess] < value:
            low = guess + 1
            while low < n and x[min(guess + step, n - 1)] < value:
                low = min(guess + step, n - 1) + 1
                step *= 2
            high = min(guess + step, n)
        else:
            high = guess
            while high > 0 and x[max(guess - step, 0)] >= value:
                high = max(guess - step, 0)
                step *= 2
            low = min(max(guess - step, 0), high)
    while low < high:
        middle = (low + high) >> 1
        if x[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _set(marks):
    """How many of some marks are set."""
    count = 0
    for i in range(marks.size):
        count += np.int64(marks[i])
    return count


@kernel
def _window(x, spike, low, high, warm, auto, keep_spikes):
    """First, last and number of the points of a run that are used."""
    n = x.size
    if n == 0:
        return 0, 0, 0
    end = x[n - 1]
    least = low * end * (1.0 - MARGIN)
    most = high * end * (1.0 + MARGIN)
    first = _first_from(x, max(least, TINY))
    last = n
    if end > most:
        last = first + _first_from(x[first:], most)
        while last < n and x[last] <= most:
            last += 1
    count = last - first
    if keep_spikes == 0:
        count -= _set(spike[first:last])
    if auto == 1 and count < AUTO_POINTS:
        positive = _first_from(x, TINY)
        first = max(_first_from(x, warm * end), positive)
        count = n - first
        if keep_spikes == 0:
            count -= _set(spike[first:])
        if count < MINIMUM_POINTS:
            first = positive
        begin = first
        first = n
        last = n
        count = 0
        while first > begin and count < FALLBACK_POINTS:
            first -= 1
            if keep_spikes == 1 or spike[first] == 0:
                count += 1
    if keep_spikes == 0:
        while last > first and spike[last - 1] == 1:
            last -= 1
        while last > first and spike[first] == 1:
            first += 1
    return first, last, count


@entry
def _find_range(start, stop, log, offsets, shares, keep_spikes, windows):
    """Windows of some runs."""
    for r in range(start, stop):
        a = offsets[r]
        b = offsets[r + 1]
        first, last, count = _window(
            log.x[a:b], log.spike[a:b], shares.low[r], shares.high[r], shares.warm[r],
            shares.auto[r], keep_spikes,
        )  # fmt: skip
        windows.first[r] = a + first
        windows.last[r] = a + last
        windows.count[r] = count
        windows.start[r] = np.nan
        windows.end[r] = np.nan
        if count > 0:
            windows.start[r] = log.x[a + first]
            windows.end[r] = log.x[a + last - 1]


@kernel
def _divide(values, by, out):
    """Quotients.  A product with 1 / by would be off 1 at the end of a window."""
    for i in range(values.size):
        out[i] = values[i] / by


@kernel
def _copy(values, out):
    """The same values."""
    for i in range(values.size):
        out[i] = values[i]


@kernel
def _fill(values, value):
    """The same value everywhere."""
    for i in range(values.size):
        values[i] = value


@kernel
def _without(marks, values, out):
    """The values that are not marked."""
    count = 0
    for i in range(values.size):
        if marks[i] == 0:
            out[count] = values[i]
            count += 1


@entry
def _take_range(
    start, stop, log, even, windows, offsets, first, x, y, weight, scales, work, counts
):  # fmt: skip
    """Points of some runs, run r from ``offsets[r] - first`` on, and their scales.

    With `even` all weights are 1: none is read, and none is written where `weight` is empty.
    """
    for r in range(start, stop):
        a = windows.first[r]
        b = windows.last[r]
        count = windows.count[r]
        k = offsets[r] - first
        some_x = x[k : k + count]
        some_y = y[k : k + count]
        some_weight = weight[:0] if weight.size == 0 else weight[k : k + count]
        if b - a == count:
            _divide(log.x[a:b], windows.end[r], some_x)
            _copy(log.y[a:b], some_y)
        else:
            _without(log.spike[a:b], log.x[a:b], some_x)
            _without(log.spike[a:b], log.y[a:b], some_y)
            _divide(some_x, windows.end[r], some_x)
        if even == 1:
            _fill(some_weight, 1.0)
        elif b - a == count:
            _copy(log.weight[a:b], some_weight)
        else:
            _without(log.spike[a:b], log.weight[a:b], some_weight)
        loss, noise = scales_of(some_x, some_y, some_weight, even == 1, work, counts)
        scales[r, 0] = loss
        scales[r, 1] = noise


def find_windows(
    log: Log, offsets: Ints, shares: Shares, keep_spikes: bool, threads: int | None = None
) -> Windows:
    """Windows of runs.

    Parameters
    ----------
    log : Log
    offsets : int64, shape (n_runs + 1,)
        Rows at which runs begin; they need not begin with 0.
    shares : Shares
    keep_spikes : bool
        Whether points that are marked are used all the same.
    threads : int, optional

    Returns
    -------
    Windows
    """
    n_runs = offsets.size - 1
    rows = (np.empty(n_runs, np.int64) for _ in range(3))
    windows = Windows(*rows, np.empty(n_runs), np.empty(n_runs))
    offsets = writable(offsets, np.int64)

    def task(start: int, stop: int) -> None:
        _find_range(start, stop, log, offsets, shares, int(keep_spikes), windows)

    spread(task, n_runs, threads, None, RUNS)
    return windows


def take_windows(
    log: Log,
    windows: Windows,
    offsets: Ints,
    out: tuple[Floats, Floats, Floats],
    scales: Floats,
    start: int = 0,
    stop: int | None = None,
    even: bool = False,
    threads: int | None = None,
) -> None:
    """Points of windows, scaled, and the scales of their runs.

    Parameters
    ----------
    log : Log
    windows : Windows
        Of all runs, each with at least 3 points.
    offsets : int64, shape (n_runs + 1,)
        Where the points of each run go, if run 0 goes to 0.
    out : tuple of three float64 arrays
        What is written from its beginning on: axis values over their last one, losses, weights
        (or nothing into an empty array, if they are even).
    scales : float64, shape (n_runs, 2)
        Written for the same runs: see `scales.scales_of`.
    start, stop : int
        Which runs; all by default.
    even : bool
        Whether all weights of the log are 1.
    threads : int, optional
    """
    stop = offsets.size - 1 if stop is None else stop
    if start >= stop:
        return
    longest = int(windows.count[start:stop].max())
    first = int(offsets[start])

    def task(some: int, end: int) -> None:
        work = np.empty((2, max(longest, MOST_DEVIATIONS)))
        counts = np.empty(RANK_BINS, np.int64)
        _take_range(
            start + some, start + end, log, int(even), windows, offsets, first, *out, scales,
            work, counts,
        )  # fmt: skip

    spread(task, stop - start, threads, None, RUNS)


def run_scales(x: Floats, y: Floats, weight: Floats, offsets: Ints) -> Floats:
    """Loss scale and noise scale of every run.

    Parameters
    ----------
    x, y, weight : ndarray, shape (n_points,)
        Axis values (strictly increasing in a run), losses and weights of all runs, one after the
        other.
    offsets : ndarray of int64, shape (n_runs + 1,)
        Where each run starts; every run has at least 3 points.

    Returns
    -------
    ndarray, shape (n_runs, 2)
        As in `scales.scales_of`.
    """
    x, offsets = writable(x), writable(offsets, np.int64)
    scales = np.empty((offsets.size - 1, 2))
    first, last = offsets[:-1].copy(), offsets[1:].copy()
    weight = writable(weight)
    log = Log(x, writable(y), weight, np.zeros(x.size, np.uint8))
    # The scales are the same whatever the axis is divided by.
    windows = Windows(first, last, last - first, x[first], x[last - 1])
    out = (np.empty(x.size), np.empty(x.size), np.empty(x.size))
    take_windows(log, windows, offsets, out, scales, even=bool((weight == 1.0).all()))
    return scales
