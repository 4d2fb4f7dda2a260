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

__all__ = ["PHI", "Grid", "RunInput", "Scratch", "bin_noise", "cell", "evidence"]

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
    at : float64, shape (n_at,)
        Targets, not decreasing, NaN last.
    b_mean, b_sd, log_b : float64, shape (n_b,)
        Components of B's prior in nats; a component with log_b below -1e299 is left out.
    b_scale : float
        Factor on their means and sds.
    log_unit : float64, shape (n_units,)
        Log prior weights of the responses.
    step_size : float
        Axis units in a step.
    memory : float
        Autocorrelation of smoothed noise, 0 for none.
    """

    history: NDArray[np.int64]
    future: NDArray[np.int64]
    log_path: NDArray[np.float64]
    at: NDArray[np.float64]
    b_mean: NDArray[np.float64]
    b_sd: NDArray[np.float64]
    log_b: NDArray[np.float64]
    b_scale: float
    log_unit: NDArray[np.float64]
    step_size: float
    memory: float


class Scratch(NamedTuple):
    """Memory that one thread reuses; shapes in `forecast_driver._scratch`."""

    values: NDArray[np.float64]
    log_t: NDArray[np.float64]
    mean: NDArray[np.float64]
    points: NDArray[np.float64]
    clock: NDArray[np.float64]
    clock_at: NDArray[np.float64]
    times: NDArray[np.float64]
    x: NDArray[np.float64]
    response: NDArray[np.float64]
    columns: NDArray[np.float64]
    white: NDArray[np.float64]
    level: NDArray[np.float64]
    gram: NDArray[np.float64]
    log_weight: NDArray[np.float64]
    phi_at: NDArray[np.float64]
    drop_at: NDArray[np.float64]
    nodes: NDArray[np.float64]
    taus: NDArray[np.float64]
    memory: NDArray[np.float64]
    moments: NDArray[np.float64]


@kernel
def _fill_columns(h, n, n_past, grid, run, shapes, paths, w):
    """Columns 1, y, -phi, -(D - D(tc)) of the bins (latest first) and of past targets.

    Gives x(tc).  ``w.level[h, unit]`` keeps D(tc).
    """
    n_alpha = grid.alphas.size
    n_units = grid.units.shape[0]
    # The paths want increasing times: the bins lie latest first.
    times = w.times
    m = n + n_past + 1
    for i in range(m):
        times[i] = math.exp(w.log_t[m - 1 - i])
    features(
        run.history[h], shapes, paths, m, times, grid.groups, grid.units, run.step_size,
        (w.nodes, w.taus, w.memory), w.x, w.response,
    )  # fmt: skip
    x_end = w.x[m - 1]
    for u in range(n_units):
        w.level[h, u] = w.response[m - 1, u]
    for i in range(1, m):
        row = m - 1 - i
        ratio = log(w.x[row] / x_end)
        w.clock[h, i] = max(-ratio, 0.0)
        for a in range(n_alpha):
            w.columns[h, i, 2 + a] = -(1.0 - exp(-grid.alphas[a] * ratio)) / grid.alphas[a]
        for u in range(n_units):
            w.columns[h, i, 2 + n_alpha + u] = -(w.response[row, u] - w.response[m - 1, u])
    return x_end


@kernel
def _whiten(h, n_rows, wander, doubt, noise, n_columns, w):
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
        if w.points[i] <= 0.0:
            continue
        gap = max(w.clock[h, i] - u, 0.0)
        u += gap
        variance += wander * gap * (1.0 + doubt * (2.0 * u - gap))
        r = noise / w.points[i]
        total = variance + r
        gain = variance / total
        scale = 1.0 / math.sqrt(total)
        log_det += math.log(total)
        for c in range(n_columns):
            e = w.columns[h, i, c] - w.moments[c]
            w.white[i, c] = e * scale
            w.moments[c] += gain * e
        variance = gain * r
    return 0.5 * log_det


@kernel
def _gram(k, n_rows, n_alpha, n_units, w):
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
def bin_noise(sigma, grid, run):
    """Noise variance of a bin with one point; smoothed noise is shared by its neighbours."""
    return grid.temper * sigma * sigma * (1.0 + run.memory) / (1.0 - run.memory)


@kernel
def evidence(n, n_past, sigma, s, grid, run, shapes, paths, w, x_ends):
    """Log weights of all cells; bins are in the scratch, latest first, from row 1.

    Gives the number of paths and the largest log weight; ``x_ends`` is x(tc) of each path.
    """
    n_alpha = grid.alphas.size
    n_units = grid.units.shape[0]
    n_kb = grid.kbs.size
    n_b = run.log_b.size
    n_columns = 2 + n_alpha + n_units
    n_rows = n + n_past
    noise = bin_noise(sigma, grid, run)
    a_precision = 1.0 / (grid.slope_sd * s) ** 2
    best = -1e300
    n_paths = 0
    filled = 0
    for h in range(run.history.size):
        if run.history[h] < 0:
            break
        n_paths += 1
        for i in range(1, n_rows + 1):
            w.columns[h, i, 0] = 1.0
            w.columns[h, i, 1] = w.mean[i]
        x_ends[h] = _fill_columns(h, n, n_past, grid, run, shapes, paths, w)
        for k in range(n_kb):
            log_det = _whiten(h, n_rows, (grid.kbs[k] * s) ** 2, grid.doubt, noise, n_columns, w)
            _gram(h * n_kb + k, n_rows, n_alpha, n_units, w)
            g = w.gram[h * n_kb + k]
            base = run.log_path[h] + grid.log_kb[k] - log_det + 0.5 * math.log(a_precision)
            for a in range(n_alpha):
                for u in range(n_units):
                    for b in range(n_b):
                        value = -1e300
                        if run.log_b[b] > -1e299:
                            b_precision = 1.0 / (run.b_scale * run.b_sd[b]) ** 2
                            mean_a, var_a, _mean_b, _var_b, _cov, det, quad = cell(
                                g, a, u, n_alpha, n_units, s, a_precision,
                                run.b_scale * run.b_mean[b], b_precision,
                            )  # fmt: skip
                            value = (
                                base + grid.log_alpha[a] + run.log_unit[u] + run.log_b[b]
                                - 0.5 * log(det / b_precision) - 0.5 * quad
                                + log_normal_cdf(mean_a / math.sqrt(var_a))
                            )  # fmt: skip
                            best = max(best, value)
                        w.log_weight[filled] = value
                        filled += 1
    return n_paths, best
