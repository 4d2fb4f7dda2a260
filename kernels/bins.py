"""Noise, bins and local slope of the fitted part of a curve, for a team of lanes.

The axis comes as its logarithm.  ``level`` is what was taken off the losses before: nothing on a
CPU, the last loss where they are held in single precision.
"""

from __future__ import annotations

import math

from .maths import inline, kernel
from .order import median, median_of_five
from .team import count_before, lane, real, sync, team_max, team_sum, width

__all__ = ["log_bins", "memory", "noise", "slope", "without_spikes"]

TINY = 1e-20  # losses that are all 0; its powers must not underflow
LEAST_NOISE = 5e-5  # of the loss: smoother logs than this are taken for rounding
LEAST_SLOPE = 0.004  # of the loss, per e-fold
MAD = 1.4826  # standard deviations in a median absolute deviation
FEW = 24  # shorter windows are used whole for the noise
SMOOTHED_POINTS = 50
SMOOTHED_RHO = -0.25
MOST_MEMORY = 0.95
SPIKE_POINTS = 9  # shorter windows are taken as they are
SPIKE_MADS = 8.0  # a spike is off a running median of five by more than so many standard deviations
SPIKE_SHARE = 1e-3  # ... and this share of the loss


@kernel
def without_spikes(n, x, y, weight, level, scratch, clean_x, clean_y, clean_weight):
    """Copy the points that are no spikes; gives how many.

    The residuals from a running median of five (the ends repeated) are compared with their scaled
    MAD over the window.  ``scratch`` has room for 2 n numbers.
    """
    limit = 0.0
    if n > SPIKE_POINTS:
        for i in range(lane(), n, width()):
            scratch[i] = y[i] - median_of_five(
                y[max(i - 2, 0)], y[max(i - 1, 0)], y[i], y[min(i + 1, n - 1)], y[min(i + 2, n - 1)]
            )
            scratch[n + i] = scratch[i]
        middle = 0.0
        size = 0.0
        for stage in range(3):
            sync()
            found = median(n, scratch[n:])
            sync()
            if stage == 0:
                middle = found
                for i in range(lane(), n, width()):
                    scratch[n + i] = abs(scratch[i] - middle)
            elif stage == 1:
                size = found
                for i in range(lane(), n, width()):
                    scratch[n + i] = y[i]
            else:
                limit = SPIKE_MADS * MAD * size + SPIKE_SHARE * abs(found + level) + TINY
    m = 0
    for first in range(0, n, width()):
        i = first + lane()
        keep = i < n and (n <= SPIKE_POINTS or abs(scratch[i]) < limit)
        before, kept = count_before(keep)
        if keep:
            clean_x[m + before] = x[i]
            clean_y[m + before] = y[i]
            clean_weight[m + before] = weight[i]
        m += kept
    sync()
    return m


@kernel
def memory(n, y):
    """Autocorrelation phi of noise that was smoothed before logging (phi^k at lag k), else 0.

    First differences of noise smoothed by an exponential moving average with weight phi on the past
    correlate at -(1 - phi)/2, those of independent noise at -1/2.  Over the last half of the
    window, less their straight line; only where they stand out by more than a standard error.
    """
    if n < SMOOTHED_POINTS:
        return 0.0
    first = n // 2
    m = n - 1 - first
    sd = 0.0
    si = 0.0
    sii = 0.0
    sid = 0.0
    for i in range(lane(), m, width()):
        d = y[first + i + 1] - y[first + i]
        t = real(i)
        sd += d
        si += t
        sii += t * t
        sid += t * d
    sd = team_sum(sd)
    si = team_sum(si)
    sii = team_sum(sii)
    sid = team_sum(sid)
    count = real(m)
    trend = (sid - si * sd / count) / (sii - si * si / count)
    level = (sd - trend * si) / count
    square = 0.0
    product = 0.0
    for i in range(lane(), m, width()):
        e = y[first + i + 1] - y[first + i] - level - trend * real(i)
        square += e * e
        if i > 0:
            before = y[first + i] - y[first + i - 1] - level - trend * real(i - 1)
            product += e * before
    square = team_sum(square)
    product = team_sum(product)
    if square <= 0.0:
        return 0.0
    rho = product / square
    if rho <= SMOOTHED_RHO + math.sqrt(2.0 / real(n)):
        return 0.0
    return min(1.0 + 2.0 * rho, MOST_MEMORY)


@kernel
def noise(n, y, weight, memory, level, scratch):
    """Standard deviation of a point of weight 1, blind to any smooth trend.

    The scaled MAD of ``y_i - (y_{i-1} + y_{i+1}) / 2`` over the last half of the window.  A point
    has variance sigma^2 / weight; with `memory` phi (noise that an exponential moving average
    smoothed, autocorrelation phi^k) the difference has variance sigma^2 (1.5 - 2 phi + phi^2 / 2).
    """
    first = n // 2 if n >= FEW else 0
    m = max(n - 2 - first, 0)
    for j in range(lane(), m, width()):
        i = first + 1 + j
        spread = math.sqrt(1.0 / weight[i] + 0.25 / weight[i - 1] + 0.25 / weight[i + 1])
        scratch[j] = (y[i] - 0.5 * (y[i - 1] + y[i + 1])) / spread
    most = 0.0
    for i in range(lane(), n, width()):
        most = max(most, abs(y[i] + level))
    most = team_max(most)
    least = max(LEAST_NOISE * abs(y[n - 1] + level), 1e-9 * most, TINY)
    if m == 0:
        return least
    found = 0.0
    for stage in range(2):
        sync()
        found = median(m, scratch)
        sync()
        if stage == 0:
            for i in range(lane(), m, width()):
                scratch[i] = abs(scratch[i] - found)
    share = (1.5 - 2.0 * memory + 0.5 * memory * memory) / 1.5
    return max(MAD * found / math.sqrt(share), least)


@inline
def _bin(x, low, step, n_bins):
    """Number of the bin of a point, the latest first."""
    return n_bins - 1 - min(max(int((x - low) / step), 0), n_bins - 1)


@inline
def bin_means(first, last, x, y, weight):
    """Weighted means of x and y over some points, and the sum of the weights."""
    sx = 0.0
    sy = 0.0
    count = 0.0
    for i in range(last, first - 1, -1):
        sx += weight[i] * x[i]
        sy += weight[i] * y[i]
        count += weight[i]
    return sx / count, sy / count, count


@kernel
def log_bins(n, x, y, weight, n_bins, ends, log_t, mean, count):
    """Means of log t and of y in bins even in log t, the latest bin first; gives how many.

    ``count`` is the sum of the weights in a bin.  ``ends`` is scratch for ``n_bins`` integers.
    """
    low = x[0] - 1e-4
    step = (x[n - 1] + 1e-4 - low) / real(n_bins)
    for k in range(lane(), n_bins, width()):
        ends[k] = -1
    sync()
    # A bin is a stretch of points: the last one is found, then the bins without points are dropped.
    for i in range(lane(), n, width()):
        k = _bin(x[i], low, step, n_bins)
        if i == n - 1 or k != _bin(x[i + 1], low, step, n_bins):
            ends[k] = i
    sync()
    filled = 0
    for first in range(0, n_bins, width()):
        k = first + lane()
        last = ends[k] if k < n_bins else -1
        before, more = count_before(last >= 0)
        sync()
        if last >= 0:
            ends[filled + before] = last
        sync()
        filled += more
    for k in range(lane(), filled, width()):
        start = ends[k + 1] + 1 if k + 1 < filled else 0
        log_t[k], mean[k], count[k] = bin_means(start, ends[k], x, y, weight)
    sync()
    return filled


@kernel
def slope(n, log_t, mean, count, log_end, level):
    """Loss per e-fold of the axis, falling counted positive, over the last factor of 4.

    Least squares with weights min(count, 5); at least 0.4 % of the loss, because it scales the
    prior of the power law's slope and the discrepancy.
    """
    used = 0
    most = 0.0
    for k in range(lane(), n, width()):
        if log_t[k] > log_end - math.log(4.0):
            used += 1
        most = max(most, abs(mean[k] + level))
    used = team_sum(used)
    most = team_max(most)
    if used < 6:
        used = n
    s0 = 0.0
    s1 = 0.0
    sy = 0.0
    for k in range(lane(), used, width()):
        w = min(count[k], 5.0)
        s0 += w
        s1 += w * (log_t[k] - log_end)
        sy += w * mean[k]
    s0 = team_sum(s0)
    centre = team_sum(s1) / s0
    middle = team_sum(sy) / s0
    sxx = 0.0
    sxy = 0.0
    for k in range(lane(), used, width()):
        w = min(count[k], 5.0)
        d = log_t[k] - log_end - centre
        sxx += w * d * d
        sxy += w * d * (mean[k] - middle)
    sxx = team_sum(sxx)
    sxy = team_sum(sxy)
    found = -sxy / sxx if sxx > 0.0 else 0.0
    return max(found, LEAST_SLOPE * abs(mean[0] + level), 1e-6 * most, TINY)
