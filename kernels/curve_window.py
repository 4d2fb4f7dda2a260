"""From the points of a run to its bins, and to what the hyper-prior asks of them.

A run whose losses are all positive is fitted on their logarithm, so that forecasts stay positive;
another one on (loss - level) / scale.  Everything from the bins on is in that unit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .curve_law import KNOWN, LIKE, NOTHING
from .curve_points import (
    bin_means,
    copy,
    first_from,
    logs,
    noise_of,
    to_fitted,
    trend,
    without_spikes,
)
from .maths import inline, kernel, missing
from .ranks import absolute_median, middle
from .team import any_lane, lane, sync, width

__all__ = ["LOG_T", "POINTS", "SLOPE_BINS", "VALUE", "Window", "features", "prepare"]

# Rows of the bins
LOG_T = 0
VALUE = 1  # on the fitted scale
POINTS = 2  # sum of the points' weights

LEAST_POSITIVE = 1e-300
WARMUPS = 1.2  # the window begins so many warm-ups after the start, at the earliest
FEW_POINTS = 12  # a window of fewer is widened ...
LAST_POINTS = 25  # ... to so many
LEVEL_SHARE = 20  # the level is the median of this part of the window
SLOPE_SPAN = 4.0  # the local slope is that over this last factor of the axis
SLOPE_WARM = 0.7  # ... which begins before this share of the data, warm-up or not
SLOPE_POINTS = 6
SLOPE_BINS = 20
LEAST_SLOPE = 0.004
SLOPE_ERRORS = 0.3  # the slope counts as at least this share of its standard error
LEAST_OWN = 0.3  # of a slope's standard error is never white noise
DENSE_FROM = 1.5  # points per e-fold are counted over this last factor of the axis
LEAST_TOP = 0.02


class Window(NamedTuple):
    """What is known of a run before any law is fitted; losses on the fitted scale but for `level`.

    Attributes
    ----------
    n : int
        Bins.
    positive : bool
        Whether the fitted scale is the logarithm.
    level, scale : float
        Median of the last losses; unit of the fitted scale where it is not the logarithm.
    end, log_end : float
        Where the data end.
    noise : float
        Standard deviation of a point.
    trend, trend_error : float
        Fall per e-fold of the axis over the last two octaves, and its standard error.
    own_error : float
        What of that error white noise does not explain, at least a share of it.
    slope : float
        The same, at least the least that it is taken for: the unit of the cells.
    last, top : float
        Mean of the last bins; how far above it the window reaches.
    density, points : float
        Points per e-fold of the axis at the end; points without spikes.
    """

    n: int
    positive: bool
    level: float
    scale: float
    end: float
    log_end: float
    noise: float
    trend: float
    trend_error: float
    own_error: float
    slope: float
    last: float
    top: float
    density: float
    points: float


@kernel
def prepare(t, loss, weight, warmup, floor, noise, slope, grid, points, work, counts, slopes, bins):
    """Everything that the cells need of a run's points.

    Parameters
    ----------
    t, loss, weight : float64, shape (n_points,)
        Positive axis values in increasing order, finite losses, relative precisions.
    warmup : float
        Axis value where the warm-up ends, 0 for none.
    floor : float
        Least noise of a point: that of rounding, in units of the loss.
    noise, slope : float
        On the fitted scale; negative to measure them.
    grid : curve_law.CellGrid
    points : float64, shape (5, at least n_points)
        Scratch: t, loss, weight and fitted value without spikes; log t.
    work : float64, shape (3, at least n_points)
        Scratch.
    counts : int64, shape (ranks.RANK_BINS,)
        Scratch.
    slopes : float64, shape (6, max(SLOPE_BINS, n_bins))
        Scratch.
    bins : float64, shape (3, n_bins)
        Written, the latest bin first: `LOG_T`, `VALUE`, `POINTS`.

    Returns
    -------
    Window
    """
    n = t.size
    end = t[n - 1]
    log_end = math.log(end)
    positive = True
    for i in range(lane(), n, width()):
        positive = positive and loss[i] > LEAST_POSITIVE
    positive = not any_lane(not positive)
    values = points[4]
    if positive:
        logs(n, loss, values)
    else:
        copy(n, loss, values)
    logs(n, t, work[2])
    m = without_spikes(n, t, loss, weight, work[2], values, positive, work, counts, points)
    axis = points[4]
    logs(m, points[0], axis)
    first = first_from(m, points[0], max(WARMUPS * warmup, grid.first * end))
    if m - first < FEW_POINTS:
        first = max(m - LAST_POINTS, 0)
    n_window = m - first
    # The level, and the fitted scale.
    few = min(max(3, n_window // LEVEL_SHARE), n_window)
    level = middle(few, points[1, m - few : m], work[1], counts)
    scale = 1.0
    if not positive:
        copy(n_window, points[1, first:m], work[2])
        scale = max(absolute_median(n_window, work[2], 0.0, work[1], counts), 1e-12)
        for i in range(lane(), m, width()):
            points[3, i] = (points[1, i] - level) / scale
        sync()
    unit = level if positive else scale
    if noise < 0.0:
        noise = noise_of(n_window, points[3, first:m], points[2, first:m], work, counts)
        noise = max(noise, floor / unit)
    n_bins = bin_means(
        n_window, axis[first:m], points[1, first:m], points[2, first:m], axis[first], axis[m - 1],
        grid.n_bins, slopes[3:], bins,
    )  # fmt: skip
    to_fitted(n_bins, bins[VALUE], positive, level, scale)
    # The local slope.
    start = max(end / SLOPE_SPAN, min(WARMUPS * warmup, SLOPE_WARM * end))
    late = first_from(m, points[0], start)
    if m - late < SLOPE_POINTS:
        late = max(m - SLOPE_POINTS, 0)
    n_slope = bin_means(
        m - late, axis[late:m], points[3, late:m], points[2, late:m], axis[late], log_end + 1e-9,
        SLOPE_BINS, slopes[3:], slopes,
    )  # fmt: skip
    fall, error, white = (
        trend(n_slope, slopes, log_end) if n_slope >= 3 else trend(n_bins, bins, log_end)
    )
    white *= noise
    own = math.sqrt(max(error * error - white * white, (LEAST_OWN * error) ** 2))
    b = slope
    if slope < 0.0:
        b = max(fall, LEAST_SLOPE, SLOPE_ERRORS * error)
    dense = m - first_from(m, points[0], end / DENSE_FROM)
    # The last level, and how high the window reaches above it.
    last = bins[VALUE, 0]
    if n_bins > 1:
        count = bins[POINTS, 0] + bins[POINTS, 1]
        last = (bins[VALUE, 0] * bins[POINTS, 0] + bins[VALUE, 1] * bins[POINTS, 1]) / count
    highest = bins[VALUE, 0]
    for i in range(n_bins):
        highest = max(highest, bins[VALUE, i])
    top = max(highest - last, 1.5 * b, 3.0 * noise / math.sqrt(bins[POINTS, 0]), LEAST_TOP)
    return Window(
        n_bins, positive, level, scale, end, log_end, noise, fall, error, own, b, last,
        top,
        max(dense / math.log(DENSE_FROM), 1.0), np.float64(m),
    )  # fmt: skip


@inline
def _clip(value, low, high):
    return min(max(value, low), high)


@kernel
def features(window, plan, knowledge, like, out):
    """Features of a run, `curve_law.FEATURES`, and the same times ``like``.

    Parameters
    ----------
    window : Window
    plan : float
        Where the run is planned to end.
    knowledge : int
        `KNOWN`, `TOTAL` or `NOTHING`.
    like : float
        How much the run is said to be a language model's, 0 to 1, or NaN: the feature is what its
        curve shows of that, and no more than is said.
    out : float64, shape (2 * n_features,)
        Written.
    """
    b = window.slope
    rough = _clip(math.log(max(window.trend_error, 1e-6) / b) + 2.0, -3.0, 3.0)
    own = _clip(math.log(max(window.own_error, 1e-6) / b) + 2.0, -3.0, 3.0)
    shown = 0.0
    if window.positive and 1.3 < window.level < 6.5 and b < 0.2 and window.points > 30.0:
        shown = 1.0 / (1.0 + math.exp((own + 0.7) / 0.3))
    like = shown if missing(like) else min(like, shown)
    if lane() == 0:
        out[0] = 1.0
        out[1] = _clip(math.log(b / 0.08), -3.0, 3.5)
        out[2] = _clip(0.5 * math.log(window.noise / 0.01), -2.0, 2.5)
        out[LIKE] = like
        out[4] = 1.0 if knowledge == KNOWN else 0.0
        out[5] = rough
        out[6] = _clip(0.5 * math.log(window.points / 100.0), -1.0, 2.0)
        out[7] = _clip(math.log(max(plan / window.end, 1.0)) - 1.0, -1.0, 2.0)
        out[8] = 1.0 if knowledge == NOTHING else 0.0
        n = out.size // 2
        for i in range(n):
            out[n + i] = like * out[i]
    sync()
