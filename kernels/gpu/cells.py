"""Parts of `cells` and `forecast` that have another form on a GPU."""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from ..cells import PHI
from ..team import lane, real, sync, team_sum, width
from .warp import FULL

__all__ = [
    "gram_by_entry",
    "parts_of",
    "quotient",
    "slope_as_unit",
    "sum_before",
    "whiten_by_column",
]


def whiten_by_column(h, n_rows, wander, doubt, noise, n_columns, w):
    """`cells.whiten`, a column a lane; every lane computes the gains."""
    for c in range(lane(), max(n_columns, width()), width()):
        variance = real(0.0)
        u = real(0.0)
        moment = real(0.0)
        for i in range(1, n_rows + 1):
            total = real(1.0)
            points = w.points[i]
            if points > 0.0:
                gap = max(w.clock[h, i] - u, real(0.0))
                u += gap
                variance += wander * gap * (1.0 + doubt * (2.0 * u - gap))
                r = noise / points
                total = variance + r
                gain = variance / total
                if c < n_columns:
                    e = w.columns[h, i, c] - moment
                    w.white[i, c] = e / math.sqrt(total)
                    moment += gain * e
                variance = gain * r
            if c == 0:
                w.totals[i] = total
    sync()
    log_det = real(0.0)
    for i in range(1 + lane(), n_rows + 1, width()):
        log_det += math.log(w.totals[i])
    return 0.5 * team_sum(log_det)


def gram_by_entry(k, n_rows, n_alpha, n_units, w):
    """`cells.gram_products`, an entry a lane."""
    alphas = np.uint32(n_alpha)
    units = np.uint32(n_units)
    at_u = np.uint32(PHI) + np.uint32(3) * alphas
    at_au = at_u + np.uint32(3) * units
    e = np.uint32(cuda.threadIdx.x)
    while e < at_au + alphas * units:
        if e < np.uint32(PHI):
            first = e >> np.uint32(1)
            second = (e + np.uint32(1)) >> np.uint32(1)
        elif e < at_au:
            here = e - np.uint32(PHI)
            many = alphas
            second = np.uint32(2)
            if e >= at_u:
                here = e - at_u
                many = units
                second += alphas
            first = here // many
            second += here - first * many
            if first == np.uint32(2):
                first = second
        else:
            here = e - at_au
            first = here // units
            second = np.uint32(2) + alphas + here - first * units
            first += np.uint32(2)
        total = real(0.0)
        for i in range(1, n_rows + 1):
            if w.points[i] > 0.0:
                total += w.white[i, first] * w.white[i, second]
        w.gram[k, e] = total
        e = np.uint32(e + np.uint32(32))


def parts_of(c, n_b, n_units, n_alpha):
    """`forecast.parts_of` in 32 bits."""
    rest = np.uint32(c)
    left = rest // np.uint32(n_b)
    b = rest - left * np.uint32(n_b)
    rest = left // np.uint32(n_units)
    u = left - rest * np.uint32(n_units)
    left = rest // np.uint32(n_alpha)
    a = rest - left * np.uint32(n_alpha)
    return np.int64(left), np.int64(a), np.int64(u), np.int64(b)


def quotient(i, n):
    """`cells.quotient` in 32 bits."""
    return np.int64(np.uint32(i) // np.uint32(n))


def slope_as_unit(s):
    """`forecast.loss_unit` in single precision: products of precisions stay far from its limits."""
    return s


def sum_before(value):
    """Sum over the lanes before this one."""
    me = np.int32(cuda.threadIdx.x)
    for distance in (1, 2, 4, 8, 16):
        other = cuda.shfl_up_sync(FULL, value, distance)
        if me >= distance:
            value += other
    before = cuda.shfl_up_sync(FULL, value, 1)
    return before if me > 0 else before - before
