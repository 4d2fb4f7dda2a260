"""Parts of `cells` and `forecast` that have another form on a GPU."""

from __future__ import annotations

import math

import numpy as np

from ..maths import exp, log
from ..philox import normal_pair, philox
from ..team import real, sync, team_sum
from .backend import cuda
from .warp import FULL

__all__ = [
    "draw_past",
    "gram_by_entry",
    "parts_of",
    "put_columns",
    "put_targets",
    "quotient",
    "short",
    "slope_as_unit",
    "sum_before",
    "whiten_by_column",
]


def put_columns(h, n_rows, grid, w):
    """`cells.put_columns`, an element a lane."""
    rows = np.uint32(n_rows)
    step = np.uint32(cuda.blockDim.x)  # see `whiten_by_column`
    x_end = w.x_ends[h]
    clock = w.clock[h]
    columns = w.columns[h]
    i = np.uint32(cuda.threadIdx.x)
    while i < rows:
        row = np.uint32(rows - i)  # the features lie in the order of time, the rows latest first
        ratio = log(w.x[i] / x_end)
        w.x[i] = ratio
        clock[row] = max(-ratio, real(0.0))
        columns[row, 0] = real(1.0)
        columns[row, 1] = w.mean[row]
        i = np.uint32(i + step)
    sync()
    count = np.uint32(grid.alphas.size + grid.units.shape[0])
    e = np.uint32(cuda.threadIdx.x)
    while e < np.uint32(rows * count):
        i = np.uint32(e // count)
        c = np.uint32(e - np.uint32(i * count))
        row = np.uint32(rows - i)
        columns[row, np.uint32(c + np.uint32(2))] = element(i, c, grid, w)
        e = np.uint32(e + step)


def put_targets(h, first, last, row, grid, w):
    """`cells.put_targets`, an element a lane."""
    number = np.uint32(last - first)
    step = np.uint32(cuda.blockDim.x)
    x_end = w.x_ends[h]
    clock = w.clock_at[h]
    tables = w.tables[h]
    i = np.uint32(cuda.threadIdx.x)
    while i < number:
        at = np.uint32(np.uint32(row) + i)
        ratio = log(w.x[at] / x_end)
        w.x[at] = ratio
        clock[np.uint32(np.uint32(first) + i)] = max(ratio, real(0.0))
        i = np.uint32(i + step)
    sync()
    count = np.uint32(grid.alphas.size + grid.units.shape[0])
    e = np.uint32(cuda.threadIdx.x)
    while e < np.uint32(number * count):
        i = np.uint32(e // count)
        c = np.uint32(e - np.uint32(i * count))
        value = element(np.uint32(np.uint32(row) + i), c, grid, w)
        tables[c, np.uint32(np.uint32(first) + i)] = value
        e = np.uint32(e + step)


def element(i, c, grid, w):
    """Column c, exponents first, at the time of features i: -phi or -(D - D(tc))."""
    alphas = np.uint32(grid.alphas.size)
    if c < alphas:
        alpha = grid.alphas[c]
        return -(1.0 - exp(-alpha * w.x[i])) / alpha
    u = np.uint32(c - alphas)
    return -(w.response[i, u] - w.level[u])


def whiten_by_column(h, n_rows, wander, doubt, noise, n_columns, w):
    """`cells.whiten`, a column a lane; every lane computes the gains."""
    rows = np.uint32(n_rows)
    count = np.uint32(n_columns)
    one = np.uint32(1)
    # Of a size that the compiler does not know: it would write loops out, in too many registers.
    step = np.uint32(cuda.blockDim.x)
    clock = w.clock[h]
    columns = w.columns[h]
    c = np.uint32(cuda.threadIdx.x)
    first = c
    while c < count or c == first:
        variance = real(0.0)
        u = real(0.0)
        moment = real(0.0)
        i = one
        while i <= rows:
            total = real(1.0)
            white = real(0.0)  # of a row without points
            points = w.points[i]
            if points > 0.0:
                gap = max(clock[i] - u, real(0.0))
                u += gap
                variance += wander * gap * (1.0 + doubt * (2.0 * u - gap))
                r = noise / points
                total = variance + r
                gain = variance / total
                variance = gain * r
                if c < count:
                    e = columns[i, c] - moment
                    white = e / math.sqrt(total)
                    moment += gain * e
            if c < count:
                w.white[i, c] = white
            if c == np.uint32(0):
                w.totals[i] = total
            i = np.uint32(i + one)
        c = np.uint32(c + step)
    sync()
    log_det = real(0.0)
    i = np.uint32(one + np.uint32(cuda.threadIdx.x))
    while i <= rows:
        log_det += math.log(w.totals[i])
        i = np.uint32(i + step)
    return 0.5 * team_sum(log_det)


def gram_by_entry(k, n_rows, n_alpha, n_units, w):
    """`cells.gram_products`, an entry a lane; rows without points are 0."""
    rows = np.uint32(n_rows)
    alphas = np.uint32(n_alpha)
    units = np.uint32(n_units)
    one = np.uint32(1)
    two = np.uint32(2)
    three = np.uint32(3)
    at_u = np.uint32(three + three * alphas)  # PHI is 3
    at_au = np.uint32(at_u + three * units)
    gram = w.gram[k]
    e = np.uint32(cuda.threadIdx.x)
    while e < np.uint32(at_au + alphas * units):
        if e < three:  # 1.1, 1.y, y.y
            first = np.uint32(e >> one)
            second = np.uint32(np.uint32(e + one) >> one)
        elif e < at_au:  # products of 1, y and itself with each column
            here = np.uint32(e - three)
            many = alphas
            second = two
            if e >= at_u:
                here = np.uint32(e - at_u)
                many = units
                second = np.uint32(two + alphas)
            first = np.uint32(here // many)
            second = np.uint32(second + np.uint32(here - np.uint32(first * many)))
            if first == two:
                first = second
        else:  # products of an exponent's and a response's column
            here = np.uint32(e - at_au)
            first = np.uint32(here // units)
            second = np.uint32(here - np.uint32(first * units))
            second = np.uint32(second + np.uint32(two + alphas))
            first = np.uint32(first + two)
        total = real(0.0)
        i = one
        while i <= rows:
            total += w.white[i, first] * w.white[i, second]
            i = np.uint32(i + one)
        gram[e] = total
        e = np.uint32(e + np.uint32(cuda.blockDim.x))


def draw_past(i, n_past, n_rows, h, hk, level, slope, drop, a, u, n_alpha, run, w, draws):
    """`forecast.draw_past`."""
    me = np.uint32(cuda.threadIdx.x)
    one = np.uint32(1)
    rows = np.uint32(n_rows)
    columns = w.columns[h]
    filters = w.filters[hk]
    mean = real(0.0)
    row = one
    while row <= rows:
        if w.points[row] > 0.0:
            residual = columns[row, 1] - level - slope * columns[row, 2 + a]
            residual -= drop * columns[row, 2 + n_alpha + u]
            mean += filters[0, row] * (residual - mean)
        w.walk[row, me] = mean
        row = np.uint32(row + one)
    value = real(0.0)
    row = rows
    while row > np.uint32(0):
        m = w.walk[row, me]
        m += filters[1, row] * (value - m)
        w0, w1, _w2, _w3 = philox(i, row, 2, 0, run.key[0])
        z, _z = normal_pair(w0, w1)
        value = m + filters[2, row] * z
        w.walk[row, me] = value
        row = np.uint32(row - one)
    for j in range(n_past):
        draws[j, i] = (
            level + slope * w.tables[h, a, j] + drop * w.tables[h, n_alpha + u, j]
            + w.walk[np.uint32(w.past_rows[j]), me]
        )  # fmt: skip


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


def short(i):
    """`cells.short`."""
    return np.int32(i)


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
