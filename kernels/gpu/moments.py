"""Staging of a run and its spectral moments, by one warp.

What `compress.compress` does with loops that a CPU vectorises: points are staged in shared memory
tile by tile, every lane keeps its own, and eight orders of the Chebyshev recurrence are summed in
registers at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..maths import exp, log
from ..team import lane, real, sync, team_sum, width
from ..work import SLACK
from .backend import cuda, types
from .port import Port
from .spec import Kernel
from .warp import FULL, SINGLE_TABLE, TABLE

__all__ = [
    "ORDERS_AT_ONCE",
    "TILE_POINTS",
    "build",
    "compress",
    "deviation",
    "first_centre",
    "to_weights",
    "weighted_mean",
]

wide = np.float64  # what is summed in double precision in any case

TILE_POINTS = 128
ORDERS_AT_ONCE = 8


def fold(upper, low, high, distance):
    """Half of a reduction of two sums: the lanes with the bit keep the second one."""
    mine = high if upper else low
    other = low if upper else high
    return mine + cuda.shfl_xor_sync(FULL, other, distance)


def sixteen_sums(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7):
    """Sums over the lanes of sixteen numbers: lane j gets that of number j // 2.

    Each step halves the numbers that a lane is responsible for: 16 shuffles in place of 80.
    """
    j = lane()
    up = (j & 16) != 0
    a0 = fold(up, a0, b0, 16)
    a1 = fold(up, a1, b1, 16)
    a2 = fold(up, a2, b2, 16)
    a3 = fold(up, a3, b3, 16)
    a4 = fold(up, a4, b4, 16)
    a5 = fold(up, a5, b5, 16)
    a6 = fold(up, a6, b6, 16)
    a7 = fold(up, a7, b7, 16)
    up = (j & 8) != 0
    a0 = fold(up, a0, a4, 8)
    a1 = fold(up, a1, a5, 8)
    a2 = fold(up, a2, a6, 8)
    a3 = fold(up, a3, a7, 8)
    up = (j & 4) != 0
    a0 = fold(up, a0, a2, 4)
    a1 = fold(up, a1, a3, 4)
    a0 = fold((j & 2) != 0, a0, a1, 2)
    return a0 + cuda.shfl_xor_sync(FULL, a0, 1)


def tile_moments(count, order, tile, moments):
    """Add a tile's points to the moments of the weights and of the weighted losses.

    Rows of ``tile``: 2u, T_k, T_k+1, weight, weighted loss.  A lane reads and writes its own points
    only.
    """
    one = np.uint32(1)
    stop = np.uint32(count)
    k = np.uint32(0)
    while k < np.uint32(order):
        a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = real(0.0)
        b0 = b1 = b2 = b3 = b4 = b5 = b6 = b7 = real(0.0)
        i = np.uint32(lane())
        while i < stop:
            d = tile[0, i]
            p = tile[1, i]
            q = tile[2, i]
            w = tile[3, i]
            v = tile[4, i]
            a0 += p * w
            b0 += p * v
            a1 += q * w
            b1 += q * v
            p = d * q - p
            q = d * p - q
            a2 += p * w
            b2 += p * v
            a3 += q * w
            b3 += q * v
            p = d * q - p
            q = d * p - q
            a4 += p * w
            b4 += p * v
            a5 += q * w
            b5 += q * v
            p = d * q - p
            q = d * p - q
            a6 += p * w
            b6 += p * v
            a7 += q * w
            b7 += q * v
            p = d * q - p
            tile[1, i] = p
            tile[2, i] = d * p - q
            i = np.uint32(i + np.uint32(32))
        s = sixteen_sums(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7)
        j = np.uint32(lane())
        if (j & one) == np.uint32(0):
            row = j >> np.uint32(4)
            column = k + ((j >> one) & np.uint32(7))
            moments[row, column] += s
        k = np.uint32(k + np.uint32(ORDERS_AT_ONCE))


def deviation(i, x, log_x, y, centre, work):
    """What is left of the loss of point i, to be summed."""
    return y[i] - centre


def first_centre(x, y, w, work):
    """What is subtracted from the losses, and the sum of the weights."""
    return weighted_mean(x, y, w)


def weighted_mean(x, y, w):
    """Weighted mean of the losses, and the sum of the weights."""
    mass = real(0.0)
    first = real(0.0)
    for i in range(lane(), x.size, width()):
        mass += w[i]
        first += w[i] * y[i]
    mass = team_sum(mass)
    return team_sum(first) / mass, mass


def to_weights(order, order_index, middle, half, moments, tables, points):
    """Pseudo-points from moments; see `compress`."""
    matrix = tables.matrix
    for p in range(lane(), order, width()):
        a = real(0.0)
        b = real(0.0)
        for k in range(order):
            m = matrix[order_index, k, p]
            a += moments[0, k] * m
            b += moments[1, k] * m
        log_x = middle + half * tables.u[order_index, p]
        points[1, p] = log_x
        points[0, p] = exp(log_x)
        points[2, p] = a
        points[3, p] = b


def compress(x, y, w, order_index, tables, work):
    """`compress.compress`; ``work.staging`` takes the pseudo-points."""
    n = x.size
    centre, mass = first_centre(x, y, w, work)
    total = wide(0.0)
    order = tables.orders[order_index] if order_index >= 0 else n
    low = log(x[0])
    high = log(x[n - 1])
    half = 0.5 * (high - low)
    points = work.staging
    if order_index < 0 or n <= order + SLACK or not half > 0.0:
        for i in range(lane(), n, width()):
            log_x = log(x[i])
            e = deviation(i, x[i], log_x, y, centre, work)
            v = w[i] * e
            total += v * e
            points[0, i] = x[i]
            points[1, i] = log_x
            points[2, i] = w[i]
            points[3, i] = v
        sync()
        return n, centre, team_sum(total), mass
    middle = 0.5 * (high + low)
    inverse = 1.0 / half
    tile = work.tile
    moments = work.moments
    for k in range(lane(), order, width()):
        moments[0, k] = 0.0
        moments[1, k] = 0.0
    for start in range(0, n, TILE_POINTS):
        count = min(TILE_POINTS, n - start)
        part = real(0.0)  # summed in full precision tile by tile
        for i in range(lane(), count, width()):
            log_x = log(x[start + i])
            u = (log_x - middle) * inverse
            e = deviation(start + i, x[start + i], log_x, y, centre, work)
            v = w[start + i] * e
            part += v * e
            tile[0, i] = 2.0 * u
            tile[1, i] = 1.0
            tile[2, i] = u
            tile[3, i] = w[start + i]
            tile[4, i] = v
        total += part
        sync()  # the sums of the last tile are in
        tile_moments(count, order, tile, moments)
    sync()
    to_weights(order, order_index, middle, half, moments, tables, points)
    sync()
    return order, centre, team_sum(total), mass


def prefix_moments(x, y, w, centre, cutoffs, order, tile, sums, moments, totals):
    """`compress.prefix_moments` by a warp; ``sums`` is (2, order) in shared memory."""
    n = x.size
    low = log(x[0])
    high = log(x[n - 1])
    middle = 0.5 * (high + low)
    inverse = 2.0 / (high - low)
    for k in range(lane(), order, width()):
        sums[0, k] = 0.0
        sums[1, k] = 0.0
    s0 = s1 = s2 = wide(0.0)
    start = np.int64(0)
    for c in range(cutoffs.size):
        stop = np.int64(cutoffs[c])
        for first in range(start, stop, TILE_POINTS):
            count = min(TILE_POINTS, stop - first)
            p0 = p1 = p2 = real(0.0)
            for i in range(lane(), count, width()):
                u = (log(x[first + i]) - middle) * inverse
                e = y[first + i] - centre
                v = w[first + i] * e
                p0 += w[first + i]
                p1 += v
                p2 += v * e
                tile[0, i] = 2.0 * u
                tile[1, i] = 1.0
                tile[2, i] = u
                tile[3, i] = w[first + i]
                tile[4, i] = v
            s0 += p0
            s1 += p1
            s2 += p2
            sync()
            tile_moments(count, order, tile, sums)
        sync()
        for k in range(lane(), order, width()):
            moments[c, 0, k] = sums[0, k]
            moments[c, 1, k] = sums[1, k]
        t0, t1, t2 = team_sum(s0), team_sum(s1), team_sum(s2)
        if lane() == 0:
            totals[c, 0] = t0
            totals[c, 1] = t1
            totals[c, 2] = t2
        sync()
        start = stop


def build(single: bool, most: int = 128) -> Kernel:
    """The kernel of `compress.prefix_moments` for many runs.

    Parameters
    ----------
    single : bool
        Whether data and recurrences are float32; sums are float64 in any case.
    most : int
        Largest order.

    Returns
    -------
    Kernel
        Its arguments are x, y, weight (n_points,), offsets (n_runs + 1,), centres (n_runs,),
        cutoffs (n_runs, n_cutoffs), and what it writes: moments (n_runs, n_cutoffs, 2, order) and
        totals (n_runs, n_cutoffs, 3), both float64.  The order is a multiple of 8.
    """
    run: Any = Port(SINGLE_TABLE if single else TABLE, single).device(prefix_moments)
    number = np.float32 if single else np.float64

    def moments(x, y, weight, offsets, centres, cutoffs, out, totals):  # type: ignore[no-untyped-def]
        r = cuda.blockIdx.x
        tile = cuda.shared.array((5, TILE_POINTS), number)
        sums = cuda.shared.array((2, most), np.float64)
        a = offsets[r]
        b = offsets[r + 1]
        order = out.shape[3]
        run(
            x[a:b], y[a:b], weight[a:b], centres[r], cutoffs[r], order, tile, sums, out[r],
            totals[r],
        )  # fmt: skip

    data = types.Array(types.float32 if single else types.float64, 1, "C")
    signature = (
        data,
        data,
        data,
        types.Array(types.uint32, 1, "C"),
        data,
        types.Array(types.int32, 2, "C"),
        types.Array(types.float64, 4, "C"),
        types.Array(types.float64, 3, "C"),
    )
    return Kernel("moments", Port(TABLE).rebound(moments), signature, 32, single)
