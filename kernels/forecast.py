"""The default forecast of a run: draws of its loss curve at targets within and beyond its data.

`bins` makes noise and bins of the points, `cells` has the model and the weights of its cells; here
a cell is drawn, then (a, B, Lc) from its cut normal, then the discrepancy: beyond the data by exact
steps, within them given the bins.
"""

from __future__ import annotations

import math

from numpy import uint64

from .bins import log_bins, memory, noise, slope, without_spikes
from .cells import PHI, bin_noise, cell, evidence, quotient, short, tabulate
from .maths import exp, inline, kernel
from .normal import positive_normal
from .philox import normal_pair, philox, uniform
from .records import B_MEAN, B_SD, EFFECTIVE_CELLS, LOG_EVIDENCE, MEMORY, SIGMA
from .records import SLOPE as INFO_SLOPE
from .team import lane, real, sync, team_sum, width

__all__ = [
    "PARAMETERS",
    "STATE",
    "draw_past",
    "draw_run",
    "find_filters",
    "forecast_run",
    "keep_parameters",
    "loss_unit",
    "parts_of",
    "prepare_run",
    "sum_before",
    "tabulate_run",
    "weigh_run",
]

PARAMETERS = ("Lc", "a", "B", "alpha", "tau", "power", "discrepancy", "path")
ZERO = uint64(0)
# Places in Scratch.state
N_ROWS = 0
N_PAST = 1
NOISE = 2  # variance of a bin with one point
SLOPE = 3
CENTRE = 4  # taken off the bins' losses
LOSS_UNIT = 5  # of losses, slope and noise from the bins on
N_PATHS = 6
TOTAL = 7  # of the cells' weights
STATE = 8
LEAST_WEIGHT = -23.0  # cells below exp(-23) of the best one are not drawn


@inline
def loss_unit(s):
    """What losses are measured in from the bins on: the local slope s in single precision."""
    return 1.0


@inline
def sum_before(value):
    """Sum over the lanes before this one."""
    return 0.0 * value


@inline
def parts_of(c, n_b, n_units, n_alpha):
    """Covariance, exponent, response and component of B's prior of a cell."""
    rest = quotient(c, n_b)
    b = c - rest * n_b
    c = quotient(rest, n_units)
    u = rest - c * n_units
    rest = quotient(c, n_alpha)
    return rest, c - rest * n_alpha, u, b


@kernel
def _insert_past(n, run, w):
    """Put targets within the data among the bins; gives how many there are.

    Rows 1 to n hold the bins, the latest first; the targets do not decrease.
    """
    n_past = 0
    while n_past < run.n_at and run.log_at[n_past] <= w.log_t[0]:
        n_past += 1
    sync()
    if lane() == 0:
        row = n  # merge from the far end, the oldest
        out = n + n_past
        j = 0
        while j < n_past:
            x = run.log_at[j]
            if row >= 1 and w.log_t[row] < x:
                w.log_t[out] = w.log_t[row]
                w.mean[out] = w.mean[row]
                w.points[out] = w.points[row]
                row -= 1
            else:
                w.log_t[out] = x
                w.mean[out] = 0.0
                w.points[out] = 0.0
                w.past_rows[j] = out
                j += 1
            out -= 1
    sync()
    return n_past


@kernel
def _cumulate(n_cells, best, w):
    """Turn log weights into cumulative weights; gives their sum and the sum of squares."""
    # Each lane has a stretch of cells, and begins where those before it end.
    stretch = (n_cells + width() - 1) // width()
    first = lane() * stretch
    last = min(first + stretch, n_cells)
    total = 0.0
    squares = 0.0
    for c in range(first, last):
        d = w.log_weight[c] - best
        e = exp(d) if d > LEAST_WEIGHT else 0.0
        w.log_weight[c] = e
        total += e
        squares += e * e
    running = sum_before(total)
    for c in range(first, last):
        running += w.log_weight[c]
        w.log_weight[c] = running
    sync()
    return team_sum(total), team_sum(squares)


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
def find_filters(n_paths, n_rows, noise, s, grid, w):
    """What `draw_past` needs of every covariance, one a lane.

    Carter & Kohn 1994, Biometrika 81(3): filter from tc into the past, then sample backwards; the
    gains and the sd of both passes do not depend on the draw.
    """
    n_kb = short(grid.kbs.size)
    for hk in range(lane(), n_paths * n_kb, width()):
        h = quotient(hk, n_kb)
        wander = grid.kbs[hk - h * n_kb] * s
        brownian = wander * wander
        variance = 0.0  # given the rows before this one
        known = 0.0  # of the row before, given it and those before it
        now = 0.0
        for i in range(1, n_rows + 1):
            gap = max(w.clock[h, i] - now, 0.0)
            now += gap
            variance += brownian * gap * (1.0 + grid.doubt * (2.0 * now - gap))
            if i > 1:
                back = known / variance if variance > 0.0 else 0.0
                w.filters[hk, 1, i - 1] = back
                w.filters[hk, 2, i - 1] = math.sqrt(
                    max(known - back * known, 0.0) if variance > 0.0 else known
                )
            gain = 0.0
            if w.points[i] > 0.0:
                r = noise / w.points[i]
                gain = variance / (variance + r)
                variance = variance * r / (variance + r)
            w.filters[hk, 0, i] = gain
            known = variance
        w.filters[hk, 1, n_rows] = 0.0
        w.filters[hk, 2, n_rows] = math.sqrt(known)
    sync()


@kernel
def draw_past(i, n_past, n_rows, h, hk, level, slope, drop, a, u, n_alpha, run, w, draws):
    """Draw g at all rows, given the residuals of the bins, and the curve at the targets there."""
    me = lane()
    draw = uint64(i)
    mean = 0.0
    for row in range(1, n_rows + 1):
        if w.points[row] > 0.0:
            residual = (
                w.columns[h, row, 1] - level - slope * w.columns[h, row, 2 + a]
                - drop * w.columns[h, row, 2 + n_alpha + u]
            )  # fmt: skip
            mean += w.filters[hk, 0, row] * (residual - mean)
        w.walk[row, me] = mean
    value = 0.0
    for row in range(n_rows, 0, -1):
        m = w.walk[row, me]  # what the row before predicts of the next one, too
        m += w.filters[hk, 1, row] * (value - m)
        w0, w1, _w2, _w3 = philox(draw, uint64(row), uint64(2), ZERO, run.key[0])
        z, _z = normal_pair(w0, w1)
        value = m + w.filters[hk, 2, row] * z
        w.walk[row, me] = value
    for j in range(n_past):
        draws[j, i] = (
            level + slope * w.tables[h, a, j] + drop * w.tables[h, n_alpha + u, j]
            + w.walk[w.past_rows[j], me]
        )  # fmt: skip


@kernel
def keep_parameters(i, level, slope, drop, a, u, k, h, grid, parameters):
    """Write the parameters of a draw, where there is room."""
    if parameters.shape[0] > 0:
        parameters[0, i] = level
        parameters[1, i] = slope
        parameters[2, i] = drop
        parameters[3, i] = grid.alphas[a]
        parameters[4, i] = grid.units[u, 1]
        parameters[5, i] = grid.units[u, 2]
        parameters[6, i] = grid.kbs[k]
        parameters[7, i] = real(h)


@kernel
def _draw(grid, run, w, draws, parameters):
    """Draws, one a lane; gives the sums of B and of B^2.

    ``w.fallen`` gets each lane's sums of what the schedule takes off the loss at the targets.
    """
    n_paths = short(int(w.state[N_PATHS]))
    n_rows = short(int(w.state[N_ROWS]))
    n_past = short(int(w.state[N_PAST]))
    s = w.state[SLOPE]
    n_alpha = short(grid.alphas.size)
    n_units = short(grid.units.shape[0])
    n_kb = short(grid.kbs.size)
    n_b = short(run.log_b.size)
    n_cells = n_paths * n_kb * n_alpha * n_units * n_b
    spread = grid.slope_sd * s
    a_precision = 1.0 / (spread * spread)
    drift = grid.drift * s
    future = grid.future if n_paths == 1 else grid.future_unknown
    me = lane()
    for j in range(run.n_at):
        w.fallen[j, me] = 0.0
    b_sum = 0.0
    b_squares = 0.0
    for i in range(me, short(draws.shape[1]), width()):
        draw = uint64(i)
        # Read here, not before the loop: registers are what a GPU is short of.
        w0, w1, w2, w3 = philox(draw, ZERO, ZERO, ZERO, run.key[0])
        c = _find(n_cells, uniform(w0) * w.state[TOTAL], w.log_weight)
        hk, a, u, b = parts_of(c, n_b, n_units, n_alpha)
        h = quotient(hk, n_kb)
        k = hk - h * n_kb
        g = w.gram[hk]
        mean_a, var_a, mean_b, var_b, cov, _det, _quad = cell(
            g, a, u, n_alpha, n_units, s, a_precision, w.b_prior[0, b], w.b_prior[1, b]
        )
        z_b, z_level = normal_pair(w2, w3)
        slope = positive_normal(mean_a, math.sqrt(var_a), uniform(w1))
        left = max(var_b - cov * cov / var_a, 0.0)
        drop = mean_b + cov / var_a * (slope - mean_a) + math.sqrt(left) * z_b
        level = (
            (g[1] - g[PHI + a] * slope - g[PHI + 3 * n_alpha + u] * drop) / g[0]
            + z_level / math.sqrt(g[0])
        )  # fmt: skip
        v0, v1, _v2, _v3 = philox(draw, uint64(1), ZERO, ZERO, run.key[0])
        z_future, _z = normal_pair(v0, v1)
        wander = grid.kbs[k] * s
        brownian = wander * wander
        if n_past > 0:
            draw_past(
                i, n_past, n_rows, h, hk, level, slope, drop, a, u, n_alpha, run, w, draws
            )  # fmt: skip
        phi = w.tables[h, a]
        response = w.tables[h, n_alpha + u]
        clock = w.clock_at[h]
        coming = drop * (1.0 + future * z_future)
        wander = 0.0
        first = 0.0  # a Brownian motion and its two integrals
        second = 0.0
        third = 0.0
        at = 0.0
        for j in range(n_past, run.n_at):
            if clock[j] < at:  # another schedule, on which less happens: its own g
                wander = 0.0
                first = 0.0
                second = 0.0
                third = 0.0
                at = 0.0
            gap = clock[j] - at
            at += gap
            q0, q1, q2, q3 = philox(draw, uint64(j), uint64(1), ZERO, run.key[0])
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
                level + slope * phi[j] + coming * response[j] + wander + drift * third
            )  # fmt: skip
            w.fallen[j, me] -= drop * response[j]
        b_sum += drop
        b_squares += drop * drop
        keep_parameters(i, level, slope, drop, a, u, k, h, grid, parameters)
    return team_sum(b_sum), team_sum(b_squares)


@kernel
def prepare_run(x, y, weight, grid, run, w, info):
    """The first of four stages: noise, slope and rows (bins, and targets among them) of a run.

    Parameters as of `forecast_run`.
    """
    n_b = short(run.log_b.size)
    m = without_spikes(
        x.size, x, y, weight, run.level, w.values, w.axis, w.loss, w.weight
    )  # fmt: skip
    phi = run.memory
    if phi < 0.0:
        phi = memory(m, w.loss)
    sigma = run.sigma
    if sigma < 0.0:
        sigma = max(noise(m, w.loss, w.weight, phi, run.level, w.values), run.floor)
    if lane() == 0:
        w.log_t[0] = x[x.size - 1]
    n = log_bins(
        m, w.axis, w.loss, w.weight, grid.n_bins, w.ends, w.log_t[1:], w.mean[1:], w.points[1:]
    )  # fmt: skip
    s = run.slope
    if s < 0.0:
        s = slope(n, w.log_t[1:], w.mean[1:], w.points[1:], w.log_t[0], run.level)
    b_scale = min(1.0, run.b_slopes * s / run.b_centre)
    unit = loss_unit(s)
    for b in range(lane(), n_b, width()):
        sd = b_scale * run.b_sd[b] / unit
        w.b_prior[0, b] = b_scale * run.b_mean[b] / unit
        w.b_prior[1, b] = 1.0 / (sd * sd)
    centre = w.mean[1]
    sync()
    for i in range(1 + lane(), n + 1, width()):
        w.mean[i] = (w.mean[i] - centre) / unit
    n_past = _insert_past(n, run, w)
    if lane() == 0:
        w.state[N_ROWS] = real(n + n_past)
        w.state[N_PAST] = real(n_past)
        w.state[NOISE] = bin_noise(sigma / unit, phi, grid)
        w.state[SLOPE] = s / unit
        w.state[CENTRE] = centre
        w.state[LOSS_UNIT] = unit
        info[SIGMA] = sigma
        info[INFO_SLOPE] = s
        info[MEMORY] = phi
    sync()


@kernel
def tabulate_run(grid, run, shapes, paths, w):
    """The second stage: columns of the model at the rows and at the targets.

    Parameters as of `forecast_run`.
    """
    n_rows = short(int(w.state[N_ROWS]))
    n_past = short(int(w.state[N_PAST]))
    n_paths = tabulate(n_rows, n_past, grid, run, shapes, paths, w)
    if lane() == 0:
        w.state[N_PATHS] = real(n_paths)
    sync()


@kernel
def weigh_run(grid, run, w, shares, info):
    """The third stage: cumulative weights of the cells.

    Parameters as of `forecast_run`.
    """
    n_rows = short(int(w.state[N_ROWS]))
    n_past = short(int(w.state[N_PAST]))
    n_paths = short(int(w.state[N_PATHS]))
    variance = w.state[NOISE]
    s = w.state[SLOPE]
    best = evidence(n_paths, n_rows, variance, s, grid, run, w)
    per_path = short(grid.kbs.size * grid.alphas.size * grid.units.shape[0] * run.log_b.size)
    total, squares = _cumulate(short(n_paths * per_path), best, w)
    for h in range(lane(), short(shares.size), width()):
        share = 0.0
        if h < n_paths:
            before = w.log_weight[h * per_path - 1] if h > 0 else 0.0
            share = (w.log_weight[(h + 1) * per_path - 1] - before) / total
        shares[h] = share
    if n_past > 0:
        find_filters(n_paths, n_rows, variance, s, grid, w)
    if lane() == 0:
        w.state[TOTAL] = total
        info[EFFECTIVE_CELLS] = total * total / squares
        # A density of the bins but one: a level of no prior takes that.
        info[LOG_EVIDENCE] = (
            best + math.log(total) - real(n_rows - n_past - 1) * math.log(w.state[LOSS_UNIT])
        )
    sync()


@kernel
def draw_run(grid, run, w, draws, parameters, falls, spreads, info):
    """The fourth stage: draws and their means.

    Parameters as of `forecast_run`.
    """
    n_past = short(int(w.state[N_PAST]))
    b_sum, b_squares = _draw(grid, run, w, draws, parameters)
    n_draws = short(draws.shape[1])
    count = real(n_draws)
    centre = w.state[CENTRE]
    unit = w.state[LOSS_UNIT]
    for j in range(run.n_at):
        mean = 0.0
        for i in range(lane(), n_draws, width()):
            mean += draws[j, i]
        mean = team_sum(mean) / count
        squares = 0.0
        for i in range(lane(), n_draws, width()):
            gap = draws[j, i] - mean
            squares += gap * gap
            draws[j, i] = draws[j, i] * unit + centre
        spread = math.sqrt(team_sum(squares) / count) if j >= n_past else 0.0
        fall = team_sum(w.fallen[j, lane()]) / count
        if lane() == 0:
            falls[j] = fall * unit
            spreads[j] = spread * unit
    if parameters.shape[0] > 0:
        for i in range(lane(), n_draws, width()):
            parameters[0, i] = parameters[0, i] * unit + centre
            parameters[1, i] *= unit
            parameters[2, i] *= unit
    b_mean = b_sum / count
    if lane() == 0:
        info[B_MEAN] = b_mean * unit
        info[B_SD] = math.sqrt(max(b_squares / count - b_mean * b_mean, 0.0)) * unit


@kernel
def forecast_run(x, y, weight, grid, run, shapes, paths, w, draws, parameters, shares, falls,
                 spreads, info):  # fmt: skip
    """Draws of the loss curve of a run at its targets.

    Parameters
    ----------
    x, y, weight : float64, shape (n_points,)
        Logarithm of the axis (from ``run.unit`` on), losses (less ``run.level``) and relative
        precisions; at least 3 points.
    grid : Grid
    run : RunInput
    shapes, paths : Shapes, Paths
    w : Scratch
    draws : float64, shape (n_at, n_draws)
        Written for the ``run.n_at`` targets that are there, less ``run.level``.
    parameters : float64, shape (len(PARAMETERS), n_draws) or (0, 0)
        Written where there is room.
    shares : float64, shape (n_paths,)
        Posterior weight of each path.
    falls, spreads : float64, shape (n_at,)
        Mean of B [D(t) - D(tc)], what the schedule takes off the loss; sd of the draws.
    info : float64, shape (len(FORECAST),)
        `records.FORECAST`.
    """
    prepare_run(x, y, weight, grid, run, w, info)
    tabulate_run(grid, run, shapes, paths, w)
    weigh_run(grid, run, w, shares, info)
    draw_run(grid, run, w, draws, parameters, falls, spreads, info)
