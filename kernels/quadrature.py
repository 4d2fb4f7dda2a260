"""Adaptive quadrature over one or two nonlinear parameters.

The inner parameter is scanned coarsely, the window that holds the mass is found by repeated
refinement, and the log posterior is tabulated at even nodes of it.  For a second (outer) parameter
the same is done with the whole inner quadrature at each of its nodes, so that the inner window
follows a ridge.
"""

from __future__ import annotations

import math

from .marginal import BASE_NU, BASE_U, evaluate, row_of_h, row_of_q, row_of_u
from .maths import exp, inline, kernel, sums
from .orthant import log_orthant
from .team import any_lane, lane, real, sync, team_max, team_sum, width
from .work import (
    CHECKS,
    INNER,
    LANES,
    NODES,
    OUTER,
    SIZE_COARSE,
    SIZE_INNER,
    SIZE_OUTER,
)

__all__ = [
    "distribution",
    "integrate_inner",
    "integrate_outer",
    "interpolate",
    "locate_cell",
    "refer",
    "settle",
]

DROP = 18.0  # nats below the maximum that a window keeps
REFINE = 32  # up to so many nodes, each is evaluated and no rows are kept
SPAN = 10  # steps that the window must span before the final nodes are placed
TOLERANCE = 1e-4  # nats, of interpolated log posteriors
ROW_TOLERANCE = 1e-3  # posterior sd, of interpolated conditional posteriors


@kernel
def _scan(first, step, n, n_points, model, prior, work, constrained, out):
    """Log posterior at even nodes of the inner coordinate; returns its maximum.

    With `constrained`, the log probability of the constraints is added.  The conditional posteriors
    are kept in ``work.node``.
    """
    top = real(-1e300)
    outer = work.z[1, 0]
    for start in range(0, n, LANES):
        lanes = min(LANES, n - start)
        sync()
        for j in range(lane(), lanes, width()):
            work.z[0, j] = first + step * real(start + j)
            work.z[1, j] = outer
        sync()
        evaluate(lanes, n_points, model, prior, work)
        for j in range(lane(), lanes, width()):
            value = work.logp[j]
            if constrained:
                value += log_orthant(j, model.n_fixed, model.n_varying, work.rows, work)
            out[start + j] = value
            top = max(top, value)
        if n > REFINE:
            for r in range(row_of_q(model.n_varying) + 1):
                for j in range(lane(), lanes, width()):
                    work.node[r, start + j] = work.rows[r, j]
    sync()
    return team_max(top)


@kernel
def interpolate(n_in, n_out, matrix, n_rows, work):
    """Log posteriors and the first rows from the Chebyshev nodes to the even ones."""
    _spread(n_in, n_out, matrix, work.logp, work.wide_logp)
    for r in range(n_rows):
        _spread(n_in, n_out, matrix, work.rows[r], work.node[r])


@sums
def _spread(n_in, n_out, matrix, at_nodes, out):
    """out[j] = sum_k matrix[k, j] at_nodes[k], for n_in a multiple of 4."""
    for j in range(n_out):
        out[j] = 0.0
    for k in range(0, n_in, 4):
        v0, v1, v2, v3 = at_nodes[k], at_nodes[k + 1], at_nodes[k + 2], at_nodes[k + 3]
        r0, r1, r2, r3 = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
        for j in range(n_out):
            out[j] += v0 * r0[j] + v1 * r1[j] + v2 * r2[j] + v3 * r3[j]


@inline
def _rows_agree(column, place, n_fixed, m, work):
    """Whether a lane's conditional posterior is what was interpolated, on the scale of its sd.

    The regressions h of the varying columns on the fixed ones need it most: over a wide window they
    grow by powers of ten, and an error that is small beside the largest is not beside the others.
    """
    rows = work.rows
    node = work.node
    scale = rows[row_of_q(m), column] / math.sqrt(work.base[BASE_NU])
    good = True
    for a in range(m):
        u = rows[row_of_u(m, a, a), column]
        sd = u * scale
        mean = rows[a, column]
        good = good and abs(node[a, place] - mean) < ROW_TOLERANCE * sd
        for b in range(a, m):
            r = row_of_u(m, a, b)
            good = good and abs(node[r, place] - rows[r, column]) < ROW_TOLERANCE * u
        for k in range(n_fixed):
            r = row_of_h(m, a, k)
            h = rows[r, column]
            of_fixed = work.base[BASE_U + 4 * k] * scale + abs(h) * sd
            error = abs(node[r, place] - h) * (abs(mean) + sd)
            good = good and error < ROW_TOLERANCE * of_fixed
    return good


@kernel
def _tabulate(first, step, n, n_points, model, prior, work, constrained, out):
    """`_scan` of the final nodes at a quarter of the cost.

    The log posterior and the conditional posteriors are smooth functions of the parameter: they are
    evaluated at Chebyshev nodes of the window and interpolated to the even nodes by a fixed matrix.
    `CHECKS` lanes are compared with their own interpolation; where that fails (a law with a kink, a
    constraint that sets in), every node has to be evaluated.

    Returns whether it served, and the maximum.
    """
    m = model.n_varying
    tables = work.tables
    matrix = tables.spread_long if n == NODES else tables.spread_short
    half = 0.5 * step * real(n - 1)
    middle = first + half
    outer = work.z[1, 0]
    sync()
    for j in range(lane(), LANES, width()):
        work.z[0, j] = middle + half * tables.lanes[j]
        work.z[1, j] = outer
    sync()
    evaluate(work.z.shape[1], n_points, model, prior, work)
    if constrained:
        for j in range(lane(), LANES, width()):
            work.logp[j] += log_orthant(j, model.n_fixed, m, work.rows, work)
        sync()
    count = LANES - CHECKS
    wide = n + CHECKS
    interpolate(count, wide, matrix, row_of_q(m) + 1 if model.n_nonlinear == 1 else 0, work)
    sync()
    top = real(-1e300)
    for j in range(lane(), n, width()):
        top = max(top, work.wide_logp[j])
    top = team_max(top)
    wrong = False
    for j in range(lane(), CHECKS, width()):
        exact = work.logp[count + j]
        if exact > top - DROP and not abs(work.wide_logp[n + j] - exact) < TOLERANCE:
            wrong = True
    if model.n_nonlinear == 1:
        for j in range(lane(), CHECKS, width()):
            if not _rows_agree(count + j, n + j, model.n_fixed, m, work):
                wrong = True
    for j in range(lane(), n, width()):
        out[j] = work.wide_logp[j]
    sync()
    return not any_lane(wrong), top


@kernel
def _window(n, logp, top):
    """First and last node within `DROP` of the maximum, and one more on each side."""
    j0 = 0
    while logp[j0] < top - DROP:
        j0 += 1
    j1 = n - 1
    while logp[j1] < top - DROP:
        j1 -= 1
    return max(j0 - 1, 0), min(j1 + 1, n - 1)


@inline
def refer(attempt, first, step, n, n_points, model, prior, work, out, top):
    """Whether to scan again, from another reference: in single precision (`gpu.single`) only."""
    return False


@inline
def settle(n_points, model, prior, work):
    """Make the last reference exact: in single precision (`gpu.single`) only."""
    return


@kernel
def integrate_inner(low, high, nodes, n_points, model, prior, work, constrained, out):
    """Place `nodes` even nodes where the posterior of the inner coordinate has its mass.

    The outer coordinate, if there is one, is ``work.z[1, 0]``.

    Returns
    -------
    first, step : float64
        The nodes are ``first + step * j``; ``out[j]`` is the log posterior there.
    top : float64
        Its maximum.
    """
    n = work.sizes[SIZE_COARSE]
    first = low
    last = high
    top = real(0.0)
    found = False
    for attempt in range(13):
        found = found or attempt == 12
        if found:
            n = nodes
            settle(n_points, model, prior, work)
        step = (last - first) / real(n - 1)
        if found and n > REFINE:
            served, top = _tabulate(first, step, n, n_points, model, prior, work, constrained, out)
            if served:
                break
        top = _scan(first, step, n, n_points, model, prior, work, constrained, out)
        if found:
            break
        if refer(attempt, first, step, n, n_points, model, prior, work, out, top):
            continue
        j0, j1 = _window(n, out, top)
        last = first + real(j1) * step
        first = first + real(j0) * step
        found = j1 - j0 >= SPAN
    return first, step, top


@kernel
def distribution(n, density, cumulative):
    """Cumulative mass of a piecewise-linear density at even nodes, normalised; returns the mass."""
    if lane() == 0:
        cumulative[0] = 0.0
        for j in range(1, n):
            cumulative[j] = cumulative[j - 1] + 0.5 * (density[j - 1] + density[j])
    sync()
    total = cumulative[n - 1]
    sync()
    for j in range(lane(), n, width()):
        cumulative[j] /= total
    sync()
    return total


@kernel
def locate_cell(u, n, density, cumulative, total):
    """Cell and fraction of it at which a piecewise-linear distribution function is u."""
    low = 0
    high = n - 1
    while high - low > 1:
        middle = (low + high) // 2
        if cumulative[middle] <= u:
            low = middle
        else:
            high = middle
    p = density[low]
    q = density[low + 1]
    w = 2.0 * (u - cumulative[low]) * total
    f = w / max(p + math.sqrt(max(p * p + w * (q - p), 0.0)), 1e-300)
    return low, min(max(f, 0.0), 1.0)


@kernel
def _evidence(z1, low, high, nodes, n_points, model, prior, work, constrained, out):
    """Log evidence of an outer coordinate."""
    if lane() == 0:
        work.z[1, 0] = z1
    sync()
    first, step, top = integrate_inner(
        low, high, nodes, n_points, model, prior, work, constrained, out
    )
    s = real(0.0)
    for j in range(lane(), nodes, width()):
        s += exp(out[j] - top)
    return top + math.log(max(team_sum(s) * step, 1e-300)), first, step, top


@kernel
def integrate_outer(low, high, low1, high1, n_points, model, prior, work, constrained):
    """Nodes of the outer coordinate, each with its inner quadrature.

    Fills ``work.outer`` (log evidence, density, cumulative mass), ``work.inner`` (first inner node,
    step, and mass of the densities), ``work.inner_scan`` (inner densities) and
    ``work.inner_cumulative``.

    Returns
    -------
    first, step, mass : float64
        Outer nodes are ``first + step * i``; mass of the tabulated outer density.
    """
    first = low1
    last = high1
    found = False
    for attempt in range(13):
        found = found or attempt == 12
        n = OUTER if found else work.sizes[SIZE_OUTER]
        nodes = work.sizes[SIZE_INNER] if found else work.sizes[SIZE_COARSE]
        step = (last - first) / real(n - 1)
        top = real(-1e300)
        for i in range(n):
            value, first0, step0, top0 = _evidence(
                first + step * real(i), low, high, nodes, n_points, model, prior, work, constrained,
                work.inner_scan[i],
            )  # fmt: skip
            if lane() == 0:
                work.outer[0, i] = value
                work.inner[i, 0] = first0
                work.inner[i, 1] = step0
            top = max(top, value)
            if found:
                for j in range(lane(), INNER, width()):
                    work.inner_scan[i, j] = exp(work.inner_scan[i, j] - top0)
                sync()
                mass = distribution(INNER, work.inner_scan[i], work.inner_cumulative[i])
                if lane() == 0:
                    work.inner[i, 2] = mass
        sync()
        if found:
            break
        i0, i1 = _window(n, work.outer[0], top)
        last = first + real(i1) * step
        first = first + real(i0) * step
        found = i1 - i0 >= SPAN
    for i in range(lane(), OUTER, width()):
        work.outer[1, i] = exp(work.outer[0, i] - top)
    sync()
    mass = distribution(OUTER, work.outer[1], work.outer[2])
    return first, step, mass
