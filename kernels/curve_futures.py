"""Curves of draws: at targets beyond the data, within them, and back from the fitted scale."""

from __future__ import annotations

import math

from .curve_draws import (
    N_KNOTS,
    NORMALS,
    OFF_A,
    OFF_B,
    OFF_C,
    OFF_COMING,
    A,
    B,
    C,
)
from .curve_law import DRIFT, FUTURE, GROWTH, KNOTS, SLOW
from .maths import exp, inline, kernel
from .ranks import quantile
from .team import lane, sync, width

__all__ = ["back", "describe_futures", "evaluate", "evaluate_past", "shorten_gains", "widen"]

SHARE = 0.04  # e-folds of a window in which the loss at a target is averaged: its slow noise


@inline
def _spread_squared(h, size, grow, growth, drift):
    """Variance of the discrepancy at log ratio h."""
    return grow * size * size * h * (1.0 + growth * h) + drift * h * h * h


@kernel
def describe_futures(n_at, log_ratio, window, grid, numbers, jitter, discrepancy, slow):
    """Coefficients of a draw's normals at the targets beyond the data.

    Between two knots the discrepancy is its value at the first one plus a normal of that stretch
    times what the variance has grown since: its variance is exact everywhere, and a target needs
    no other target.

    Parameters
    ----------
    log_ratio : float64, shape (n_at,)
        Log of target over end.
    numbers : float64, shape (len(curve_law.NUMBERS),)
    jitter : float
        Log of the standard deviation that nothing explains.
    discrepancy : float64, shape (n_at, N_KNOTS, n_size)
        Written.
    slow : float64, shape (n_at, n_noise)
        Written.
    """
    grow = math.exp(2.0 * numbers[FUTURE])
    growth = math.exp(numbers[GROWTH])
    drift = math.exp(2.0 * numbers[DRIFT]) * window.slope * window.slope
    unexplained = math.exp(2.0 * jitter)
    share = math.exp(numbers[SLOW]) * window.noise * window.noise
    for j in range(lane(), n_at, width()):
        h = log_ratio[j]
        if h <= 0.0:
            continue
        for k in range(grid.sizes.size):
            size = grid.sizes[k] * window.slope
            before = 0.0
            for i in range(N_KNOTS):
                until = h
                if i + 1 < N_KNOTS:
                    until = min(h, KNOTS[i + 1])
                now = _spread_squared(max(until, 0.0), size, grow, growth, drift)
                discrepancy[j, i, k] = math.sqrt(max(now - before, 0.0))
                before = max(now, before)
        count = max(SHARE * window.density, 1.0) * math.exp(h)
        for k in range(grid.noises.size):
            excess = max(grid.noises[k] - 1.0, 0.0)
            slow[j, k] = math.sqrt(share * excess / count + unexplained)
    sync()


@kernel
def evaluate(n, phi, response, discrepancy, slow, drawn, parts, sides, out):
    """Values at one target beyond the data, on the fitted scale.

    Parameters
    ----------
    phi, response : float64, shape (n_exponents,) and (n_responses,)
        Columns of the target.
    discrepancy : float64, shape (N_KNOTS, n_size)
    slow : float64, shape (n_noise,)
    drawn : float64, shape (DRAW_ROWS, n)
    parts : int64, shape (5, n)
        What the draws' cells are of, as in `curve_weights.weigh`.
    sides : float64, shape (2, n)
        Of `curve_draws.choose_sides`.
    out : float64, shape (n,)
        Written.
    """
    for i in range(lane(), n, width()):
        p = phi[parts[0, i]]
        d = response[parts[1, i]]
        k = parts[3, i]
        middle = drawn[C, i] + drawn[A, i] * p + drawn[B, i] * d
        off = (
            drawn[OFF_C, i] + drawn[OFF_A, i] * p + drawn[OFF_COMING, i] * d
            + discrepancy[0, k] * drawn[NORMALS, i]
            + discrepancy[1, k] * drawn[NORMALS + 1, i]
            + discrepancy[2, k] * drawn[NORMALS + 2, i]
            + slow[parts[4, i]] * drawn[NORMALS + 3, i]
        )  # fmt: skip
        out[i] = middle + off * (sides[0, i] if off < 0.0 else sides[1, i])


@kernel
def evaluate_past(n, n_exponents, phi, response, past, drawn, parts, out):
    """Values at one target within the data, on the fitted scale.

    ``past``, shape (n_covariances, 3 + n_exponents + n_responses): the standard deviation of the
    discrepancy given the bins, then its mean's coefficients on the columns.
    """
    at_b = 3 + n_exponents
    for i in range(lane(), n, width()):
        k = parts[2, i]
        a = parts[0, i]
        b = parts[1, i]
        out[i] = (
            (drawn[C, i] + drawn[OFF_C, i]) * (1.0 - past[k, 1]) + past[k, 2]
            + (drawn[A, i] + drawn[OFF_A, i]) * (phi[a] - past[k, 3 + a])
            + (drawn[B, i] + drawn[OFF_B, i]) * (response[b] - past[k, at_b + b])
            + past[k, 0] * drawn[NORMALS + 3, i]
        )  # fmt: skip


@kernel
def _interpolate(x, at, table, column):
    """Linear interpolation in a table, held beyond its ends."""
    n = at.size
    if x <= at[0]:
        return table[0, column]
    if x >= at[n - 1]:
        return table[n - 1, column]
    i = 1
    while at[i] < x:
        i += 1
    return table[i - 1, column] + (table[i, column] - table[i - 1, column]) * (
        (x - at[i - 1]) / (at[i] - at[i - 1])
    )


@kernel
def _learned(log_ratio, knowledge, like, hyper, column):
    """A number of the widths at a horizon, between the two classes of runs."""
    table = hyper.width[knowledge]
    other = _interpolate(log_ratio, hyper.width_at, table[0], column)
    return other + like * (_interpolate(log_ratio, hyper.width_at, table[1], column) - other)


@kernel
def _stretch(n, centre, moved, lower, upper, values):
    for i in range(lane(), n, width()):
        e = values[i] - centre
        values[i] = moved + e * (lower if e < 0.0 else upper)


@kernel
def widen(n, log_ratio, knowledge, like, hyper, siblings, values, work, counts):
    """Stretch draws about their median, those below and those above it by factors of their own.

    Parameters
    ----------
    siblings : float64, shape (2,)
        What the errors of reference runs say: a shift, in distances from the median to the 5 % or
        95 % quantile, and a factor on the distances.
    values : float64, shape (n,)
        Changed in place.
    work : float64, shape (n,)
        Scratch.
    counts : int64, shape (ranks.RANK_BINS,)
        Scratch.
    """
    lower = _learned(log_ratio, knowledge, like, hyper, 0)
    shift = _learned(log_ratio, knowledge, like, hyper, 1)
    upper = _learned(log_ratio, knowledge, like, hyper, 2)
    more = siblings[0]
    if lower == 1.0 and upper == 1.0 and shift == 0.0 and more == 0.0 and siblings[1] == 1.0:
        return
    down = min(shift, 0.0) + min(more, 0.0) * lower
    up = max(shift, 0.0) + max(more, 0.0) * upper
    centre = 0.0
    moved = 0.0
    for k in range(3):  # one call of `quantile`: a GPU has room for no more
        by = 1.0 if k == 0 else (down if k == 1 else up)
        if by == 0.0:
            continue
        place = quantile(n, values, 0.5 if k == 0 else (0.05 if k == 1 else 0.95), work, counts)
        if k == 0:
            centre = place
            moved = place
        elif k == 1:
            moved += (centre - place) * by
        else:
            moved += (place - centre) * by
    _stretch(n, centre, moved, lower * siblings[1], upper * siblings[1], values)


@kernel
def shorten_gains(n, base, longer, gain, values):
    """What a finished run gains by a longer plan, on the fitted scale, in place.

    A longer plan hardly ever ends above a shorter one: little is kept of what lies above the last
    bin.
    """
    for i in range(lane(), n, width()):
        z = values[i] - base
        z *= exp(longer[0] + longer[1] * gain[i])
        values[i] = base + (z * longer[2] if z > 0.0 else z)


@kernel
def _logarithm_back(n, level, last, top, values):
    unit = exp(last)
    for i in range(lane(), n, width()):
        z = values[i] - last
        # One exponential: below the last level the value itself, high above it that of a tanh.
        high = z > 0.5 * top
        e = exp(-4.0 * (z / top - 0.5) if high else min(max(z, -60.0), 0.0))
        bent = top / (1.0 + e)
        values[i] = unit * (1.0 + (bent if high else z) if z > 0.0 else e)


@kernel
def _linear_back(n, level, scale, last, top, values):
    for i in range(lane(), n, width()):
        z = values[i] - last
        bent = top / (1.0 + exp(-4.0 * max(z / top - 0.5, 0.0)))
        values[i] = level + scale * (last + (bent if z > 0.5 * top else z))


@kernel
def back(n, window, values):
    """From the fitted scale to losses, in place.

    On the logarithm below the last level, linear above it, and bent under the window's top.
    """
    if window.positive:
        _logarithm_back(n, window.level, window.last, window.top, values)
    else:
        _linear_back(n, window.level, window.scale, window.last, window.top, values)
