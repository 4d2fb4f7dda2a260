"""What is measured of the points of a run: spikes, noise, means in bins, and the local slope."""

from __future__ import annotations

import math

import numpy as np

from .maths import inline, kernel, log
from .ranks import absolute_median, middle
from .team import count_before, lane, sync, width

__all__ = [
    "bin_means",
    "copy",
    "first_from",
    "logs",
    "noise_of",
    "to_fitted",
    "trend",
    "without_spikes",
]

MAD = 1.4826  # standard deviations in a median absolute deviation
SPIKE_POINTS = 9  # shorter runs are taken as they are
SPIKE_MADS = 8.0  # a spike is off its neighbours by more than so many standard deviations ...
SPIKE_SHARE = 1e-3  # ... this share of the loss ...
SPIKE_STEPS = 0.5  # ... and this part of the steps to its neighbours
SPIKE_ENDS = 2.5  # standard deviations of noise in the one line that the ends have
HALF_FROM = 24  # windows of fewer points are used whole for the noise
LEAST_NOISE = 5e-5
UNKNOWN_NOISE = 0.01  # of two differences or fewer
MOST_WEIGHT = 5.0  # of a bin in the slope


@kernel
def logs(n, values, out):
    """Logarithms."""
    for i in range(lane(), n, width()):
        out[i] = log(values[i])
    sync()


@kernel
def copy(n, source, out):
    """The same values."""
    for i in range(lane(), n, width()):
        out[i] = source[i]
    sync()


@kernel
def _bends(n, x, y, out):
    """Distances from the straight line between the two neighbours; gives how many."""
    for i in range(1 + lane(), n - 1, width()):
        share = (x[i] - x[i - 1]) / (x[i + 1] - x[i - 1])
        out[i - 1] = abs(y[i] - y[i - 1] - share * (y[i + 1] - y[i - 1]))
    sync()
    return n - 2


@inline
def _off_line(x, y, i, a, b):
    """Distance of a point from the straight line through two others."""
    return abs(y[i] - y[a] - (y[b] - y[a]) * (x[i] - x[a]) / (x[b] - x[a]))


@inline
def _off_every_line(n, x, y, i):
    """How far a point is off all straight lines through two of its neighbours.

    0 where half of a step to a neighbour explains that: curves bend where they are steep.
    """
    off = math.inf
    step = math.inf
    if i > 0:
        step = min(step, abs(y[i] - y[i - 1]))
    if i < n - 1:
        step = min(step, abs(y[i] - y[i + 1]))
    if 0 < i < n - 1:
        off = min(off, _off_line(x, y, i, i - 1, i + 1))
    if i > 1:
        off = min(off, _off_line(x, y, i, i - 1, i - 2))
    if i < n - 2:
        off = min(off, _off_line(x, y, i, i + 1, i + 2))
    return off if off > SPIKE_STEPS * step else 0.0


@kernel
def without_spikes(n, t, loss, weight, x, y, positive, work, counts, points):
    """Drop spikes from ``points`` (t, loss, weight and fitted value by rows); gives how many stay.

    A spike is off every straight line in log t (``x``) through two neighbours by more than
    `SPIKE_MADS` standard deviations of a point, `SPIKE_SHARE` of the loss and `SPIKE_STEPS` of the
    steps to its neighbours, on the fitted scale where that is the logarithm, else on the loss.  The
    first and the last point have one such line only, which noise moves more.
    """
    limit = 0.0
    if n >= SPIKE_POINTS:
        size = MAD * middle(_bends(n, x, y, work[0]), work[0], work[1], counts) / math.sqrt(1.5)
        unit = 1.0
        if not positive:
            copy(n, y, work[0])
            unit = absolute_median(n, work[0], 0.0, work[1], counts)
        limit = SPIKE_MADS * size + SPIKE_SHARE * unit
    m = 0
    for first in range(0, n, width()):
        i = first + lane()
        stays = i < n
        if stays and n >= SPIKE_POINTS:
            most = limit if 0 < i < n - 1 else limit * SPIKE_ENDS
            stays = _off_every_line(n, x, y, i) <= most
        before, count = count_before(stays)
        if stays:
            points[0, m + before] = t[i]
            points[1, m + before] = loss[i]
            points[2, m + before] = weight[i]
            points[3, m + before] = y[i]
        m += count
    sync()
    return m


@inline
def first_from(n, t, start):
    """The first point at or after a place, by bisection."""
    low = 0
    high = n
    while low < high:
        half = (low + high) // 2
        if t[half] < start:
            low = half + 1
        else:
            high = half
    return low


@kernel
def _differences(n, y, weight, out):
    """What the middle of its neighbours leaves of a point, for noise of weight 1."""
    for i in range(1 + lane(), n - 1, width()):
        spread = 1.0 / weight[i] + 0.25 / weight[i - 1] + 0.25 / weight[i + 1]
        out[i - 1] = (y[i] - 0.5 * (y[i - 1] + y[i + 1])) * math.sqrt(1.5 / spread)
    sync()


@kernel
def noise_of(n, y, weight, work, counts):
    """Standard deviation of a point of weight 1, blind to any smooth trend."""
    first = n // 2 if n >= HALF_FROM else 0
    m = n - first - 2
    if m <= 2:
        return UNKNOWN_NOISE
    _differences(n - first, y[first:], weight[first:], work[0])
    centre = middle(m, work[0], work[1], counts)
    size = absolute_median(m, work[0], centre, work[1], counts)
    return max(MAD * size / math.sqrt(1.5), LEAST_NOISE)


@kernel
def bin_means(n, x, y, weight, low, high, n_bins, sums_of, out):
    """Means in bins even in x, the latest bin first: out[0] of x, out[1] of y, out[2] weights.

    Gives how many bins have points.  ``sums_of`` is scratch of shape (3, n_bins).
    """
    for b in range(n_bins):
        sums_of[0, b] = 0.0
        sums_of[1, b] = 0.0
        sums_of[2, b] = 0.0
    step = (high - low) / n_bins
    inverse = 1.0 / step if step > 0.0 else 0.0
    for i in range(n):
        b = min(max(np.int64((x[i] - low) * inverse), 0), n_bins - 1)
        sums_of[0, b] += weight[i] * x[i]
        sums_of[1, b] += weight[i] * y[i]
        sums_of[2, b] += weight[i]
    m = 0
    for b in range(n_bins - 1, -1, -1):
        if sums_of[2, b] > 0.0:
            out[0, m] = sums_of[0, b] / sums_of[2, b]
            out[1, m] = sums_of[1, b] / sums_of[2, b]
            out[2, m] = sums_of[2, b]
            m += 1
    return m


@kernel
def trend(n, bins, log_end):
    """Fall per e-fold of the axis and its standard error, by least squares over bins.

    The third number times the noise of a point is the error that white noise makes.
    """
    total = 0.0
    mx = 0.0
    my = 0.0
    for i in range(n):
        w = min(bins[2, i], MOST_WEIGHT)
        total += w
        mx += w * (bins[0, i] - log_end)
        my += w * bins[1, i]
    mx /= total
    my /= total
    vx = 0.0
    vxy = 0.0
    white = 0.0
    for i in range(n):
        w = min(bins[2, i], MOST_WEIGHT)
        d = bins[0, i] - log_end - mx
        vx += w * d * d
        white += w * w * d * d / bins[2, i]
        vxy += w * d * (bins[1, i] - my)
    if vx <= 0.0:
        return 0.0, 0.0, 0.0
    slope = -vxy / vx
    white = math.sqrt(white) / vx
    if n <= 2:
        return slope, abs(slope), white
    rest = 0.0
    for i in range(n):
        e = bins[1, i] - my + slope * (bins[0, i] - log_end - mx)
        rest += min(bins[2, i], MOST_WEIGHT) * e * e
    return slope, math.sqrt(rest / (n - 2) / vx), white


@kernel
def to_fitted(n, values, positive, level, scale):
    """Losses to the fitted scale, in place."""
    for i in range(lane(), n, width()):
        values[i] = math.log(values[i]) if positive else (values[i] - level) / scale
    sync()
