"""Noise, bins and local slope of the fitted part of a curve."""

from __future__ import annotations

import math

from .maths import kernel
from .order import median, median_of_five

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
def without_spikes(n, t, y, weight, scratch, clean_t, clean_y, clean_weight):
    """Copy the points that are no spikes; gives how many.

    The residuals from a running median of five (the ends repeated) are compared with their scaled
    MAD over the window.  ``scratch`` has room for 2 n numbers.
    """
    if n <= SPIKE_POINTS:
        for i in range(n):
            clean_t[i] = t[i]
            clean_y[i] = y[i]
            clean_weight[i] = weight[i]
        return n
    for i in range(n):
        scratch[i] = y[i] - median_of_five(
            y[max(i - 2, 0)], y[max(i - 1, 0)], y[i], y[min(i + 1, n - 1)], y[min(i + 2, n - 1)]
        )
        scratch[n + i] = scratch[i]
    middle = median(n, scratch[n:])
    for i in range(n):
        scratch[n + i] = abs(scratch[i] - middle)
    limit = SPIKE_MADS * (MAD * median(n, scratch[n:]) + 1e-9)
    for i in range(n):
        scratch[n + i] = y[i]
    limit += SPIKE_SHARE * abs(median(n, scratch[n:]))
    m = 0
    for i in range(n):
        if abs(scratch[i]) < limit:
            clean_t[m] = t[i]
            clean_y[m] = y[i]
            clean_weight[m] = weight[i]
            m += 1
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
    for i in range(m):
        d = y[first + i + 1] - y[first + i]
        sd += d
        si += i
        sii += i * i
        sid += i * d
    trend = (sid - si * sd / m) / (sii - si * si / m)
    level = (sd - trend * si) / m
    before = 0.0
    square = 0.0
    product = 0.0
    for i in range(m):
        e = y[first + i + 1] - y[first + i] - level - trend * i
        square += e * e
        if i > 0:
            product += e * before
        before = e
    if square <= 0.0:
        return 0.0
    rho = product / square
    if rho <= SMOOTHED_RHO + math.sqrt(2.0 / n):
        return 0.0
    return min(1.0 + 2.0 * rho, MOST_MEMORY)


@kernel
def noise(n, y, weight, memory, scratch):
    """Standard deviation of a point of weight 1, blind to any smooth trend.

    The scaled MAD of ``y_i - (y_{i-1} + y_{i+1}) / 2`` over the last half of the window.  A point
    has variance sigma^2 / weight; with `memory` phi (noise that an exponential moving average
    smoothed, autocorrelation phi^k) the difference has variance sigma^2 (1.5 - 2 phi + phi^2 / 2).
    """
    first = n // 2 if n >= FEW else 0
    m = 0
    for i in range(first + 1, n - 1):
        spread = math.sqrt(1.0 / weight[i] + 0.25 / weight[i - 1] + 0.25 / weight[i + 1])
        scratch[m] = (y[i] - 0.5 * (y[i - 1] + y[i + 1])) / spread
        m += 1
    most = 0.0
    for i in range(n):
        most = max(most, abs(y[i]))
    least = max(LEAST_NOISE * abs(y[n - 1]), 1e-9 * most, TINY)
    if m == 0:
        return least
    middle = median(m, scratch)
    for i in range(m):
        scratch[i] = abs(scratch[i] - middle)
    share = (1.5 - 2.0 * memory + 0.5 * memory * memory) / 1.5
    return max(MAD * median(m, scratch) / math.sqrt(share), least)


@kernel
def log_bins(n, t, y, weight, n_bins, log_t, mean, count):
    """Means of log t and of y in bins even in log t, the latest bin first; gives how many.

    ``count`` is the sum of the weights in a bin.
    """
    low = math.log(t[0]) - 1e-4
    width = (math.log(t[n - 1]) + 1e-4 - low) / n_bins
    filled = 0
    current = -1
    for i in range(n - 1, -1, -1):
        x = math.log(t[i])
        which = min(max(int((x - low) / width), 0), n_bins - 1)
        if which != current:
            current = which
            log_t[filled] = 0.0
            mean[filled] = 0.0
            count[filled] = 0.0
            filled += 1
        k = filled - 1
        log_t[k] += weight[i] * x
        mean[k] += weight[i] * y[i]
        count[k] += weight[i]
    for k in range(filled):
        log_t[k] /= count[k]
        mean[k] /= count[k]
    return filled


@kernel
def slope(n, log_t, mean, count, log_end):
    """Loss per e-fold of the axis, falling counted positive, over the last factor of 4.

    Least squares with weights min(count, 5); at least 0.4 % of the loss, because it scales the
    prior of the power law's slope and the discrepancy.
    """
    used = 0
    for k in range(n):
        if log_t[k] > log_end - math.log(4.0):
            used += 1
    if used < 6:
        used = n
    s0 = 0.0
    s1 = 0.0
    sy = 0.0
    for k in range(used):
        w = min(count[k], 5.0)
        s0 += w
        s1 += w * (log_t[k] - log_end)
        sy += w * mean[k]
    centre = s1 / s0
    level = sy / s0
    sxx = 0.0
    sxy = 0.0
    for k in range(used):
        w = min(count[k], 5.0)
        d = log_t[k] - log_end - centre
        sxx += w * d * d
        sxy += w * d * (mean[k] - level)
    found = -sxy / sxx if sxx > 0.0 else 0.0
    most = 0.0
    for k in range(n):
        most = max(most, abs(mean[k]))
    return max(found, LEAST_SLOPE * abs(mean[0]), 1e-6 * most, TINY)
