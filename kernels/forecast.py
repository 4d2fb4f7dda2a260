"""Draws of the default forecast: loss curves at targets within and beyond the data.

`cells` has the model and the weights of its cells; here a cell is drawn, then (a, B, Lc) from its
cut normal, then the discrepancy: beyond the data by exact steps, within them given the bins.
"""

from __future__ import annotations

import math

from numba import uint64

from .cells import PHI, bin_noise, cell, evidence
from .maths import exp, kernel
from .normal import positive_normal
from .paths import features
from .philox import normal_pair, philox, uniform

__all__ = ["PARAMETERS", "forecast"]

PARAMETERS = ("Lc", "a", "B", "alpha", "tau", "power", "discrepancy", "path")
ZERO = uint64(0)
LEAST_WEIGHT = -23.0  # cells below exp(-23) of the best one are not drawn


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
                w.response,
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
        Bins; targets within the data, which lie among the bins with no points.
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
    x_ends : float64, shape (n_paths,)
        Scratch: x(tc) of each path.
    info : float64, shape (>= 4,)
        ``INFO`` of the driver from the third number on: effective cells, log evidence, mean and
        sd of B.
    """
    n_alpha = grid.alphas.size
    n_units = grid.units.shape[0]
    n_kb = grid.kbs.size
    n_b = run.log_b.size
    n_rows = n + n_past
    n_paths, best = evidence(n, n_past, sigma, s, grid, run, shapes, paths, w, x_ends)
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
    noise = bin_noise(sigma, grid, run)
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
        mean_a, var_a, mean_b, var_b, cov, _det, _quad = cell(
            g, a, u, n_alpha, n_units, s, a_precision, run.b_scale * run.b_mean[b],
            1.0 / (run.b_scale * run.b_sd[b]) ** 2,
        )  # fmt: skip
        z_b, z_level = normal_pair(w2, w3)
        slope = positive_normal(mean_a, math.sqrt(var_a), uniform(w1))
        left = max(var_b - cov * cov / var_a, 0.0)
        drop = mean_b + cov / var_a * (slope - mean_a) + math.sqrt(left) * z_b
        level = (
            (g[1] - g[PHI + a] * slope - g[PHI + 3 * n_alpha + u] * drop) / g[0]
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
