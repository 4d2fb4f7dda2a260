"""The default forecast: one closed-form regression on a small grid, with a Brownian discrepancy.

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
from numba import uint64
from numpy.typing import NDArray

from .maths import exp, inline, kernel, log
from .paths import features
from .philox import normal_pair, philox, uniform

__all__ = ["PARAMETERS", "Grid", "RunInput", "Scratch", "evidence", "forecast", "log_normal_cdf"]

PARAMETERS = ("Lc", "a", "B", "alpha", "tau", "power", "discrepancy", "path")
ZERO = uint64(0)
LEAST_WEIGHT = -23.0  # cells below exp(-23) of the best one are not drawn


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
    """Memory that one thread reuses; shapes in `forecast_driver.make_scratch`."""

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
def log_normal_cdf(z):
    """Log of the standard normal distribution function."""
    if z > -30.0:
        return math.log(0.5 * math.erfc(-z * 0.7071067811865476))
    z2 = z * z
    return -0.5 * z2 - 0.9189385332046727 - math.log(-z) - 1.0 / z2


@inline
def _positive_normal(mean, sd, u):
    """Normal(mean, sd^2) given > 0, from a uniform, by inversion of the upper tail.

    With the cut more than 6 sd above the mean the tail is exponential to 3 % of its scale.
    """
    z = -mean / sd  # the cut
    if z > 6.0:
        return sd * (-math.log(u) / z)
    # P(Z > z) u is the upper tail of the draw.
    tail = 0.5 * math.erfc(z * 0.7071067811865476) * u
    draw = upper_quantile(tail)
    return max(mean + sd * draw, 0.0)


@inline
def upper_quantile(tail):
    """The z with P(Z > z) = tail, for 0 < tail < 1 (Acklam 2003, and one Halley step)."""
    p = min(tail, 1.0 - tail)
    if p > 0.02425:
        q = p - 0.5
        r = q * q
        z = (
            (((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r
            + 138.3577518672690) * r - 30.66479806614716) * r + 2.506628277459239) * q
            / (((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r
            + 66.80131188771972) * r - 13.28068155288572) * r + 1.0)
        )  # fmt: skip
    else:
        q = math.sqrt(-2.0 * math.log(max(p, 1e-300)))
        z = (
            (((((-0.007784894002430293 * q - 0.3223964580411365) * q - 2.400758277161838) * q
            - 2.549732539343734) * q + 4.374664141464968) * q + 2.938163982698783)
            / ((((0.007784695709041462 * q + 0.3224671290700398) * q + 2.445134137142996) * q
            + 3.754408661907416) * q + 1.0)
        )  # fmt: skip
    # z is the lower quantile of p, negative; refine it.
    e = 0.5 * math.erfc(-z * 0.7071067811865476) - p
    u = e * 2.5066282746310002 * math.exp(0.5 * z * z)
    z -= u / (1.0 + 0.5 * z * u)
    return -z if tail < 0.5 else z


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
        (w.nodes, w.taus, w.memory), w.x, w.response, 0,
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
    observation (count 0: past targets) are passed over.
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
    for i in range(4 + 3 * n_alpha + 3 * n_units + n_alpha * n_units):
        g[i] = 0.0
    at_a = 4
    at_u = at_a + 3 * n_alpha
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
            g[at_a + a] += one * f
            g[at_a + n_alpha + a] += y * f
            g[at_a + 2 * n_alpha + a] += f * f
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
def _cell(g, a, u, n_alpha, n_units, a_mean, a_precision, b_mean, b_precision):
    """Normal posterior of (a, B) in a cell, and what is left of the sum of squares.

    Returns mean and variance of a, mean and variance of B, their covariance, the determinant of the
    precision of (Lc, a, B), and the quadratic form.
    """
    at_u = 4 + 3 * n_alpha
    at_au = at_u + 3 * n_units
    g00 = g[0]
    ga = g[4 + a] / g00
    gu = g[at_u + u] / g00
    saa = g[4 + 2 * n_alpha + a] - g[4 + a] * ga + a_precision
    sau = g[at_au + a * n_units + u] - g[4 + a] * gu
    suu = g[at_u + 2 * n_units + u] - g[at_u + u] * gu + b_precision
    ra = g[4 + n_alpha + a] - g[1] * ga + a_mean * a_precision
    ru = g[at_u + n_units + u] - g[1] * gu + b_mean * b_precision
    det = saa * suu - sau * sau
    mean_a = (suu * ra - sau * ru) / det
    mean_b = (saa * ru - sau * ra) / det
    quad = (
        g[2] - g[1] * g[1] / g00 + a_mean * a_mean * a_precision + b_mean * b_mean * b_precision
        - mean_a * ra - mean_b * ru
    )  # fmt: skip
    return mean_a, suu / det, mean_b, saa / det, -sau / det, g00 * det, quad


@kernel
def evidence(n, n_past, sigma, s, grid, run, shapes, paths, w):
    """Log weights of all cells; bins are in the scratch, latest first, from row 1.

    Gives the number of paths and the largest log weight.
    """
    n_alpha = grid.alphas.size
    n_units = grid.units.shape[0]
    n_kb = grid.kbs.size
    n_b = run.log_b.size
    n_columns = 2 + n_alpha + n_units
    n_rows = n + n_past
    noise = grid.temper * sigma * sigma * (1.0 + run.memory) / (1.0 - run.memory)
    a_precision = 1.0 / (grid.slope_sd * s) ** 2
    best = -1e300
    n_paths = 0
    cell = 0
    for h in range(run.history.size):
        if run.history[h] < 0:
            break
        n_paths += 1
        for i in range(1, n_rows + 1):
            w.columns[h, i, 0] = 1.0
            w.columns[h, i, 1] = w.mean[i]
        _fill_columns(h, n, n_past, grid, run, shapes, paths, w)
        for k in range(n_kb):
            log_det = _whiten(h, n_rows, (grid.kbs[k] * s) ** 2, grid.doubt, noise, n_columns, w)
            _gram(h * n_kb + k, n_rows, n_alpha, n_units, w)
            g = w.gram[h * n_kb + k]
            g[3] = log_det
            base = run.log_path[h] + grid.log_kb[k] - log_det + 0.5 * math.log(a_precision)
            for a in range(n_alpha):
                for u in range(n_units):
                    for b in range(n_b):
                        value = -1e300
                        if run.log_b[b] > -1e299:
                            b_precision = 1.0 / (run.b_scale * run.b_sd[b]) ** 2
                            mean_a, var_a, _mean_b, _var_b, _cov, det, quad = _cell(
                                g, a, u, n_alpha, n_units, s, a_precision,
                                run.b_scale * run.b_mean[b], b_precision,
                            )  # fmt: skip
                            value = (
                                base + grid.log_alpha[a] + run.log_unit[u] + run.log_b[b]
                                - 0.5 * log(det / b_precision) - 0.5 * quad
                                + log_normal_cdf(mean_a / math.sqrt(var_a))
                            )  # fmt: skip
                            best = max(best, value)
                        w.log_weight[cell] = value
                        cell += 1
    return n_paths, best


@kernel
def _targets(n_paths, n_at, x_ends, grid, run, shapes, paths, w):
    """The columns phi and D - D(tc) of every path at every target."""
    n_alpha = grid.alphas.size
    n_units = grid.units.shape[0]
    work = (w.nodes, w.taus, w.memory)
    for h in range(n_paths):
        first = 0
        while first < n_at:  # targets that share a path are walked together
            path = run.future[first, h]
            last = first + 1
            while last < n_at and run.future[last, h] == path:
                last += 1
            m = last - first
            for i in range(m):
                w.times[i] = run.at[first + i]
            features(
                path, shapes, paths, m, w.times, grid.groups, grid.units, run.step_size, work, w.x,
                w.response, 0,
            )  # fmt: skip
            for i in range(m):
                ratio = math.log(w.x[i] / x_ends[h])
                w.clock_at[h, first + i] = max(ratio, 0.0)
                for a in range(n_alpha):
                    w.phi_at[h, a, first + i] = (
                        -(1.0 - math.exp(-grid.alphas[a] * ratio)) / grid.alphas[a]
                    )
                for u in range(n_units):
                    w.drop_at[h, u, first + i] = -(w.response[i, u] - w.level[h, u])
            first = last


@kernel
def _cumulate(n_cells, best, w):
    """Turn log weights into cumulative weights; gives their sum and the sum of squares."""
    total = 0.0
    squares = 0.0
    for c in range(n_cells):
        d = w.log_weight[c] - best
        if d > LEAST_WEIGHT:
            e = exp(d)
            total += e
            squares += e * e
        w.log_weight[c] = total
    return total, squares


@kernel
def _find(n_cells, value, cumulative):
    """The first cell whose cumulative weight exceeds the value."""
    low = 0
    high = n_cells - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def _past(
    h, n_rows, brownian, doubt, noise, draw, key, level, slope, drop, alpha_column, unit_column, w
):  # fmt: skip
    """Draw g at all rows, given the residuals of the bins: ``w.values[4 * row + 2]``.

    Carter & Kohn 1994, Biometrika 81(3): filter from tc into the past, then sample backwards.
    """
    variance = 0.0
    now = 0.0
    mean = 0.0
    for i in range(1, n_rows + 1):
        gap = max(w.clock[h, i] - now, 0.0)
        now += gap
        variance += brownian * gap * (1.0 + doubt * (2.0 * now - gap))
        w.values[4 * i] = mean
        w.values[4 * i + 1] = variance
        if w.points[i] > 0.0:
            r = noise / w.points[i]
            residual = (
                w.columns[h, i, 1] - level - slope * w.columns[h, i, alpha_column]
                - drop * w.columns[h, i, unit_column]
            )  # fmt: skip
            gain = variance / (variance + r)
            mean += gain * (residual - mean)
            variance = variance * r / (variance + r)
        w.values[4 * i + 2] = mean
        w.values[4 * i + 3] = variance
    value = 0.0
    for i in range(n_rows, 0, -1):
        m = w.values[4 * i + 2]
        v = w.values[4 * i + 3]
        if i < n_rows:
            predicted = w.values[4 * (i + 1) + 1]  # variance before the next, older row
            if predicted > 0.0:
                gain = v / predicted
                m += gain * (value - w.values[4 * (i + 1)])
                v = max(v - gain * v, 0.0)
        w0, w1, _w2, _w3 = philox(draw, uint64(i), uint64(2), ZERO, key)
        z, _z = normal_pair(w0, w1)
        value = m + math.sqrt(v) * z
        w.values[4 * i + 2] = value  # in place of the filter's mean, which was just used


@kernel
def forecast(
    n, n_past, past_rows, n_at, key, sigma, s, grid, run, shapes, paths, w, x_ends, draws,
    parameters, shares, falls, spreads, info,
):  # fmt: skip
    """Draws of the loss curve of a run at its targets.

    Parameters
    ----------
    n, n_past : int
        Bins; targets within the data, which lie among the bins with count 0.
    past_rows : int64, shape (n_past,)
        Their rows, the earliest target first.
    n_at : int
        Targets that are not NaN.
    draws : float64, shape (n_at, n_draws)
    parameters : float64, shape (len(PARAMETERS), n_draws) or (0, 0)
        Written where there is room.
    shares : float64, shape (n_paths,)
        Posterior weight of each path.
    falls, spreads : float64, shape (n_at,)
        Mean of B [D(t) - D(tc)], what the schedule takes off the loss; sd of the draws.
    info : float64, shape (>= 8,)
        ``INFO`` of the driver from the third number on.
    """
    n_alpha = grid.alphas.size
    n_units = grid.units.shape[0]
    n_kb = grid.kbs.size
    n_b = run.log_b.size
    n_rows = n + n_past
    n_paths, best = evidence(n, n_past, sigma, s, grid, run, shapes, paths, w)
    for h in range(n_paths):
        # x(tc) again: phi is measured from there
        w.times[0] = math.exp(w.log_t[0])
        features(
            run.history[h], shapes, paths, 1, w.times, grid.groups[:1], grid.units, run.step_size,
            (w.nodes, w.taus, w.memory), w.x, w.response, 0,
        )  # fmt: skip
        x_ends[h] = w.x[0]
    _targets(n_paths, n_at, x_ends, grid, run, shapes, paths, w)
    per_path = n_kb * n_alpha * n_units * n_b
    n_cells = n_paths * per_path
    total, squares = _cumulate(n_cells, best, w)
    for h in range(shares.size):
        shares[h] = 0.0
        if h < n_paths:
            before = w.log_weight[h * per_path - 1] if h > 0 else 0.0
            shares[h] = (w.log_weight[(h + 1) * per_path - 1] - before) / total
    a_precision = 1.0 / (grid.slope_sd * s) ** 2
    noise = grid.temper * sigma * sigma * (1.0 + run.memory) / (1.0 - run.memory)
    n_draws = draws.shape[1]
    for j in range(n_at):
        falls[j] = 0.0
        spreads[j] = 0.0
    b_sum = 0.0
    b_squares = 0.0
    for i in range(n_draws):
        draw = uint64(i)
        w0, w1, w2, w3 = philox(draw, ZERO, ZERO, ZERO, key)
        c = _find(n_cells, uniform(w0) * total, w.log_weight)
        b = c % n_b
        u = (c // n_b) % n_units
        a = (c // (n_b * n_units)) % n_alpha
        hk = c // (n_b * n_units * n_alpha)
        h = hk // n_kb
        k = hk % n_kb
        g = w.gram[hk]
        mean_a, var_a, mean_b, var_b, cov, _det, _quad = _cell(
            g, a, u, n_alpha, n_units, s, a_precision, run.b_scale * run.b_mean[b],
            1.0 / (run.b_scale * run.b_sd[b]) ** 2,
        )  # fmt: skip
        z_b, z_level = normal_pair(w2, w3)
        slope = _positive_normal(mean_a, math.sqrt(var_a), uniform(w1))
        left = max(var_b - cov * cov / var_a, 0.0)
        drop = mean_b + cov / var_a * (slope - mean_a) + math.sqrt(left) * z_b
        level = (
            (g[1] - g[4 + a] * slope - g[4 + 3 * n_alpha + u] * drop) / g[0]
            + z_level / math.sqrt(g[0])
        )  # fmt: skip
        v0, v1, _v2, _v3 = philox(draw, uint64(1), ZERO, ZERO, key)
        z_future, _z = normal_pair(v0, v1)
        drift = grid.drift * s
        brownian = (grid.kbs[k] * s) ** 2
        if n_past > 0:
            _past(
                h, n_rows, brownian, grid.doubt, noise, draw, key, level, slope, drop,
                2 + a, 2 + n_alpha + u, w,
            )  # fmt: skip
            for j in range(n_past):
                draws[j, i] = (
                    level + slope * w.phi_at[h, a, j] + drop * w.drop_at[h, u, j]
                    + w.values[4 * past_rows[j] + 2]
                )  # fmt: skip
        coming = drop * (1.0 + (grid.future if n_paths == 1 else grid.future_unknown) * z_future)
        wander = 0.0
        first = 0.0  # a Brownian motion and its two integrals
        second = 0.0
        third = 0.0
        at = 0.0
        for j in range(n_past, n_at):
            if w.clock_at[h, j] < at:  # another schedule, on which less happens: its own g
                wander = 0.0
                first = 0.0
                second = 0.0
                third = 0.0
                at = 0.0
            gap = w.clock_at[h, j] - at
            at += gap
            q0, q1, q2, q3 = philox(draw, uint64(j), uint64(1), ZERO, key)
            z, z1 = normal_pair(q0, q1)
            z2, z3 = normal_pair(q2, q3)
            wander += math.sqrt(brownian * gap) * z
            gap = max(at - max(at - gap, grid.drift_from), 0.0)
            root = math.sqrt(gap)
            # Exact steps: the Cholesky factor of the three increments' covariance.
            third += gap * (second + 0.5 * gap * first) + gap * gap * root * (
                z1 / 6.0 + z2 * 0.14433756729740643 + z3 * 0.037267799624996496
            )
            second += gap * first + gap * root * (0.5 * z1 + z2 * 0.28867513459481287)
            first += root * z1
            draws[j, i] = (
                level + slope * w.phi_at[h, a, j] + coming * w.drop_at[h, u, j] + wander
                + drift * third
            )  # fmt: skip
            falls[j] -= drop * w.drop_at[h, u, j]
            spreads[j] += draws[j, i] * draws[j, i]
        b_sum += drop
        b_squares += drop * drop
        if parameters.shape[0] > 0:
            parameters[0, i] = level
            parameters[1, i] = slope
            parameters[2, i] = drop
            parameters[3, i] = grid.alphas[a]
            parameters[4, i] = grid.units[u, 1]
            parameters[5, i] = grid.units[u, 2]
            parameters[6, i] = grid.kbs[k]
            parameters[7, i] = h
    for j in range(n_at):
        falls[j] /= n_draws
        mean = 0.0
        for i in range(n_draws):
            mean += draws[j, i]
        mean /= n_draws
        spreads[j] = math.sqrt(max(spreads[j] / n_draws - mean * mean, 0.0))
    info[0] = total * total / squares
    info[1] = best + math.log(total)
    info[2] = b_sum / n_draws
    info[3] = math.sqrt(max(b_squares / n_draws - info[2] * info[2], 0.0))
