"""Cells of the default forecast: one closed-form regression on a small grid.

For a run observed up to tc, with x the LR time and D the response of `paths`:

    L(t) = Lc - a phi(t) - B [D(t) - D(tc)] + g(t) + noise,   phi = (1 - (x/x(tc))^-alpha) / alpha

g is a Brownian motion in log x (sd kb s per square root of an e-fold, s the local slope) that is 0
at tc and independent before and after it; beyond tc a twice integrated one is added, which is
nothing at short horizons and opens the band at long ones.  (Lc, a, B) are normal given the cell
(path, kb, alpha, response unit, component of B's prior), a > 0 is cut exactly, and the cells are
summed.  g plus white noise is a Markov process, so whitening is a Kalman filter that runs from tc
into the past: O(n) in place of a dense Cholesky factor.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .maths import exp, inline, kernel, log
from .normal import log_normal_cdf
from .paths import features
from .team import lane, sync, team_max, width

__all__ = [
    "PHI",
    "Grid",
    "RunInput",
    "Scratch",
    "bin_noise",
    "cell",
    "evidence",
    "gram_products",
    "gram_size",
    "put_columns",
    "put_targets",
    "quotient",
    "short",
    "tabulate",
    "whiten",
]

PHI = 3  # where a Gram vector holds the products with phi; before it are 1.1, 1.y and y.y


class Grid(NamedTuple):
    """Constants of the law.

    Attributes
    ----------
    alphas, log_alpha : float64, shape (n_alpha,)
        Exponents and their log prior weights.
    kbs, log_kb : float64, shape (n_kb,)
        Sizes of the Brownian discrepancy.
    units : float64, shape (n_units, 4)
        Responses: kind, tau in steps (C per step), p (beta), gamma.
    groups : int64, shape (n_groups + 1,)
        Units of one group differ in tau only.
    n_bins : int
    temper : float
        Factor on the noise variance of a bin.
    slope_sd : float
        a ~ Normal(s, (slope_sd s)^2).
    future, future_unknown : float
        Relative sd by which the coming response differs from the past one; the second where there
        is more than one path.
    drift, drift_from : float
        Size of the drift of the slope's slope: its part of g has the variance (drift s)^2 h^5 / 20
        at h e-folds beyond ``drift_from``, itself in e-folds beyond the data.
    doubt : float
        The Brownian part of the past runs on the clock u (1 + doubt u), u = log(xc/x): the law is
        trusted less the farther back.
    """

    alphas: NDArray[np.float64]
    log_alpha: NDArray[np.float64]
    kbs: NDArray[np.float64]
    log_kb: NDArray[np.float64]
    units: NDArray[np.float64]
    groups: NDArray[np.int64]
    n_bins: int
    temper: float
    slope_sd: float
    future: float
    future_unknown: float
    drift: float
    drift_from: float
    doubt: float


class RunInput(NamedTuple):
    """What a run brings besides its points.

    Attributes
    ----------
    history : int64, shape (n_paths,)
        The path of each hypothesis up to the end of the data; -1 ends the list.
    future : int64, shape (n_at, n_paths)
        The path that leads to each target.
    log_path : float64, shape (n_paths,)
    at, log_at : float64, shape (n_at,)
        Targets, not decreasing, and their place on the log axis of the points.
    n_at : int
        Targets that are there: the first ones.
    b_mean, b_sd, log_b : float64, shape (n_b,)
        Components of B's prior in nats; a component with log_b below -1e299 is left out.
    b_centre, b_slopes : float
        Means and sds are scaled down where `b_centre` exceeds `b_slopes` local slopes.
    log_unit : float64, shape (n_units,)
        Log prior weights of the responses.
    step_size : float
        Axis units in a step.
    memory : float
        Autocorrelation of smoothed noise, 0 for none; negative to measure it.
    floor : float
        Least noise of a point.
    sigma, slope : float
        Noise of a point and local slope; negative to measure them.
    unit : float
        Axis value where the log axis of the points is 0.
    level : float
        What was taken off the losses.
    key : uint64, shape (1,)
        Of the random numbers.
    """

    history: NDArray[np.int64]
    future: NDArray[np.int64]
    log_path: NDArray[np.float64]
    at: NDArray[np.float64]
    log_at: NDArray[np.float64]
    n_at: int
    b_mean: NDArray[np.float64]
    b_sd: NDArray[np.float64]
    log_b: NDArray[np.float64]
    b_centre: float
    b_slopes: float
    log_unit: NDArray[np.float64]
    step_size: float
    memory: float
    floor: float
    sigma: float
    slope: float
    unit: float
    level: float
    key: NDArray[np.uint64]


class Scratch(NamedTuple):
    """Memory for one run at a time.

    Attributes
    ----------
    values : float64, shape (2 n_points,)
        For medians.
    axis, loss, weight : float64, shape (n_points,)
        Points that are no spikes.
    state : float64, shape (forecast.STATE,)
        What the stages of a forecast hand on.
    ends : int64, shape (n_bins,)
        Last point of each bin.
    past_rows : int64, shape (n_at,)
        Rows of the targets within the data.
    log_t, mean, points : float64, shape (n_rows,)
        Rows: the end of the data, then the bins and the targets among them, the latest first.
    x_ends : float64, shape (n_paths,)
        LR time at the end of the data.
    clock, clock_at : float64, shape (n_paths, n_rows) and (n_paths, n_at)
        e-folds of LR time before the end, and beyond it.
    times, x : float64, shape (n_rows,)
    response : float64, shape (n_rows, n_units)
    columns : float64, shape (n_paths, n_rows, 2 + n_alpha + n_units)
        1, y, -phi for every alpha, -(D - D(tc)) for every response.
    white : float64, shape (n_rows, 2 + n_alpha + n_units)
        The same, whitened.
    level, taus, memory : float64, shape (n_units,)
    moments : float64, shape (2 + n_alpha + n_units,)
    gram : float64, shape (n_paths * n_kb, `gram_size`)
    b_prior : float64, shape (2, n_b)
        Mean and precision of the components of B's prior.
    log_weight : float64, shape (n_cells,)
        Log weights of the cells, then cumulative weights.
    tables : float64, shape (n_paths, n_alpha + n_units, n_at)
        -phi and -(D - D(tc)) at the targets.
    nodes : float64, shape (2 * most nodes,)
    filters : float64, shape (n_paths * n_kb, 3, n_rows)
        What `forecast.draw_past` needs of a covariance.
    walk, fallen : float64, shape (n_rows, n_lanes) and (n_at, n_lanes)
        A column for each lane.
    """

    values: NDArray[np.float64]
    axis: NDArray[np.float64]
    loss: NDArray[np.float64]
    weight: NDArray[np.float64]
    state: NDArray[np.float64]
    ends: NDArray[np.int64]
    past_rows: NDArray[np.int64]
    log_t: NDArray[np.float64]
    mean: NDArray[np.float64]
    points: NDArray[np.float64]
    x_ends: NDArray[np.float64]
    clock: NDArray[np.float64]
    clock_at: NDArray[np.float64]
    times: NDArray[np.float64]
    x: NDArray[np.float64]
    response: NDArray[np.float64]
    columns: NDArray[np.float64]
    white: NDArray[np.float64]
    level: NDArray[np.float64]
    taus: NDArray[np.float64]
    memory: NDArray[np.float64]
    moments: NDArray[np.float64]
    gram: NDArray[np.float64]
    b_prior: NDArray[np.float64]
    log_weight: NDArray[np.float64]
    tables: NDArray[np.float64]
    nodes: NDArray[np.float64]
    filters: NDArray[np.float64]
    walk: NDArray[np.float64]
    fallen: NDArray[np.float64]


@inline
def quotient(i, n):
    """Whole part of i over n, numbers below 2**32."""
    return i // n


@inline
def short(i):
    """The same number; in 32 bits on a GPU, which has few registers."""
    return i


def gram_size(n_alpha, n_units):
    """Numbers in a Gram vector."""
    return PHI + 3 * n_alpha + 3 * n_units + n_alpha * n_units


@kernel
def put_columns(h, n_rows, grid, w):
    """Columns 1, y, -phi and -(D - D(tc)) of the rows, from the features at increasing times."""
    n_alpha = short(grid.alphas.size)
    n_units = short(grid.units.shape[0])
    x_end = w.x[n_rows]
    for i in range(1 + lane(), n_rows + 1, width()):
        row = n_rows - i  # the features lie in the order of time, the rows latest first
        ratio = log(w.x[row] / x_end)
        w.clock[h, i] = max(-ratio, 0.0)
        w.columns[h, i, 0] = 1.0
        w.columns[h, i, 1] = w.mean[i]
        for a in range(n_alpha):
            w.columns[h, i, 2 + a] = -(1.0 - exp(-grid.alphas[a] * ratio)) / grid.alphas[a]
        for u in range(n_units):
            w.columns[h, i, 2 + n_alpha + u] = -(w.response[row, u] - w.response[n_rows, u])


@kernel
def put_targets(h, first, last, row, grid, w):
    """The columns phi and D - D(tc) of some targets, whose features begin at that row."""
    n_alpha = short(grid.alphas.size)
    n_units = short(grid.units.shape[0])
    for j in range(first + lane(), last, width()):
        i = row + j - first
        ratio = math.log(w.x[i] / w.x_ends[h])
        w.clock_at[h, j] = max(ratio, 0.0)
        for a in range(n_alpha):
            w.tables[h, a, j] = -(1.0 - math.exp(-grid.alphas[a] * ratio)) / grid.alphas[a]
        for u in range(n_units):
            w.tables[h, n_alpha + u, j] = -(w.response[i, u] - w.level[u])


@kernel
def tabulate(n_rows, n_past, grid, run, shapes, paths, w):
    """The columns of the model at the rows and at the targets; gives the number of paths.

    A path is walked from its beginning for all times that are on it; for the targets beyond the
    data that is mostly the walk that the data need anyway.
    """
    n_units = short(grid.units.shape[0])
    n_at = short(run.n_at)
    n_paths = short(0)
    while n_paths < short(run.history.size) and run.history[n_paths] >= 0:
        h = n_paths
        path = run.history[h]
        first = n_past
        last = n_past
        m = short(n_rows + 1)  # times of the data
        for i in range(lane(), m, width()):
            w.times[i] = math.exp(w.log_t[n_rows - i]) * run.unit
        while last < n_at and run.future[last, h] == path:
            last = short(last + 1)
        joined = last
        while True:
            for j in range(lane(), short(last - first), width()):
                w.times[m + j] = run.at[first + j]
            features(
                path, shapes, paths, short(m + last - first), w.times, grid.groups, grid.units,
                run.step_size, (w.nodes, w.taus, w.memory), w.x, w.response,
            )  # fmt: skip
            if m > 0:
                if lane() == 0:
                    w.x_ends[h] = w.x[n_rows]
                for u in range(lane(), n_units, width()):
                    w.level[u] = w.response[n_rows, u]
                sync()
                put_columns(h, n_rows, grid, w)
            put_targets(h, first, last, m, grid, w)
            sync()
            # What is left: targets within the data, and those on other paths.
            first = short(0) if m > 0 else last
            m = short(0)
            if n_past <= first < joined:
                first = joined
            if first >= n_at:
                break
            path = run.future[first, h]
            stop = n_past if first < n_past else n_at
            last = short(first + 1)
            while last < stop and run.future[last, h] == path:
                last = short(last + 1)
        n_paths = short(n_paths + 1)
    return n_paths


@kernel
def whiten(h, n_rows, wander, doubt, noise, n_columns, w):
    """Kalman filter from tc into the past; whitened columns and the log determinant.

    The state is g, 0 at tc; `wander` is its variance per unit of the clock.  Rows without an
    observation (no points: past targets) are passed over.
    """
    variance = 0.0
    u = 0.0
    log_det = 0.0
    for c in range(n_columns):
        w.moments[c] = 0.0
    for i in range(1, n_rows + 1):
        if w.points[i] > 0.0:
            gap = max(w.clock[h, i] - u, 0.0)
            u += gap
            variance += wander * gap * (1.0 + doubt * (2.0 * u - gap))
            r = noise / w.points[i]
            total = variance + r
            gain = variance / total
            scale = 1.0 / math.sqrt(total)
            for c in range(n_columns):
                e = w.columns[h, i, c] - w.moments[c]
                w.white[i, c] = e * scale
                w.moments[c] += gain * e
            variance = gain * r
            log_det += math.log(total)
    return 0.5 * log_det


@kernel
def gram_products(k, n_rows, n_alpha, n_units, w):
    """Inner products of the whitened columns for covariance k."""
    g = w.gram[k]
    n_columns = 2 + n_alpha + n_units
    for i in range(PHI + 3 * n_alpha + 3 * n_units + n_alpha * n_units):
        g[i] = 0.0
    at_u = PHI + 3 * n_alpha
    at_au = at_u + 3 * n_units
    for i in range(1, n_rows + 1):
        if w.points[i] <= 0.0:
            continue
        row = w.white[i, :n_columns]
        one = row[0]
        y = row[1]
        g[0] += one * one
        g[1] += one * y
        g[2] += y * y
        for a in range(n_alpha):
            f = row[2 + a]
            g[PHI + a] += one * f
            g[PHI + n_alpha + a] += y * f
            g[PHI + 2 * n_alpha + a] += f * f
        for u in range(n_units):
            d = row[2 + n_alpha + u]
            g[at_u + u] += one * d
            g[at_u + n_units + u] += y * d
            g[at_u + 2 * n_units + u] += d * d
        for a in range(n_alpha):
            f = row[2 + a]
            for u in range(n_units):
                g[at_au + a * n_units + u] += f * row[2 + n_alpha + u]


@inline
def cell(g, a, u, n_alpha, n_units, a_mean, a_precision, b_mean, b_precision):
    """Normal posterior of (a, B) in a cell, and what is left of the sum of squares.

    Returns mean and variance of a, mean and variance of B, their covariance, the determinant of the
    precision of (Lc, a, B), and the quadratic form.
    """
    at_u = PHI + 3 * n_alpha
    at_au = at_u + 3 * n_units
    g00 = g[0]
    ga = g[PHI + a] / g00
    gu = g[at_u + u] / g00
    saa = g[PHI + 2 * n_alpha + a] - g[PHI + a] * ga + a_precision
    sau = g[at_au + a * n_units + u] - g[PHI + a] * gu
    suu = g[at_u + 2 * n_units + u] - g[at_u + u] * gu + b_precision
    ra = g[PHI + n_alpha + a] - g[1] * ga + a_mean * a_precision
    ru = g[at_u + n_units + u] - g[1] * gu + b_mean * b_precision
    det = saa * suu - sau * sau
    mean_a = (suu * ra - sau * ru) / det
    mean_b = (saa * ru - sau * ra) / det
    quad = (
        g[2] - g[1] * g[1] / g00 + a_mean * a_mean * a_precision + b_mean * b_mean * b_precision
        - mean_a * ra - mean_b * ru
    )  # fmt: skip
    return mean_a, suu / det, mean_b, saa / det, -sau / det, g00 * det, quad


@inline
def bin_noise(sigma, memory, grid):
    """Noise variance of a bin with one point; smoothed noise is shared by its neighbours."""
    return grid.temper * sigma * sigma * (1.0 + memory) / (1.0 - memory)


@kernel
def evidence(n_paths, n_rows, noise, s, grid, run, w):
    """Log weights of all cells, with the columns in the scratch; gives the largest."""
    n_alpha = short(grid.alphas.size)
    n_units = short(grid.units.shape[0])
    n_kb = short(grid.kbs.size)
    n_b = short(run.log_b.size)
    spread = grid.slope_sd * s
    a_precision = 1.0 / (spread * spread)
    log_precision = 0.5 * math.log(a_precision)
    best = -1e300
    for hk in range(n_paths * n_kb):
        h = quotient(hk, n_kb)
        k = hk - h * n_kb
        wander = grid.kbs[k] * s
        log_det = whiten(
            h, n_rows, wander * wander, grid.doubt, noise, 2 + n_alpha + n_units, w
        )  # fmt: skip
        gram_products(hk, n_rows, n_alpha, n_units, w)
        sync()
        g = w.gram[hk]
        base = run.log_path[h] + grid.log_kb[k] - log_det + log_precision
        for au in range(lane(), n_alpha * n_units, width()):
            a = quotient(au, n_units)
            u = au - a * n_units
            for b in range(n_b):
                value = -1e300
                if run.log_b[b] > -1e299:
                    b_precision = w.b_prior[1, b]
                    mean_a, var_a, _mean_b, _var_b, _cov, det, quad = cell(
                        g, a, u, n_alpha, n_units, s, a_precision, w.b_prior[0, b], b_precision
                    )  # fmt: skip
                    value = (
                        base + grid.log_alpha[a] + run.log_unit[u] + run.log_b[b]
                        - 0.5 * log(det / b_precision) - 0.5 * quad
                        + log_normal_cdf(mean_a / math.sqrt(var_a))
                    )  # fmt: skip
                    best = max(best, value)
                w.log_weight[(hk * n_alpha * n_units + au) * n_b + b] = value
    sync()
    return team_max(best)
