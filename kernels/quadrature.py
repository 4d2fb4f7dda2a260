"""Adaptive quadrature over one or two nonlinear parameters.

The inner parameter is scanned coarsely, the window that holds the mass is found by repeated
refinement, and the log posterior is tabulated at even nodes of it.  For a second (outer) parameter
the same is done with the whole inner quadrature at each of its nodes, so that the inner window
follows a ridge.
"""

from __future__ import annotations

import math

from .marginal import BASE_NU, evaluate, row_of_q, row_of_u
from .maths import exp, kernel, sums
from .orthant import log_orthant
from .work import (
    CHECKS,
    INNER,
    LANES,
    MAX_ROWS,
    NODES,
    OUTER,
    SIZE_COARSE,
    SIZE_INNER,
    SIZE_OUTER,
)

__all__ = ["distribution", "integrate_inner", "integrate_outer", "locate_cell"]

DROP = 18.0  # nats below the maximum that a window keeps
REFINE = 32  # up to so many nodes, each is evaluated and no rows are kept
SPAN = 10  # steps that the window must span before the final nodes are placed
TOLERANCE = 1e-4  # nats, of interpolated log posteriors
ROW_TOLERANCE = 1e-3  # posterior sd, of interpolated conditional means


@kernel
def _scan(first, step, n, n_points, model, prior, work, constrained, out):
    """Log posterior at even nodes of the inner coordinate; returns its maximum.

    With `constrained`, the log probability of the constraints is added.  The conditional posteriors
    are kept in ``work.node``.
    """
    top = -1e300
    for start in range(0, n, LANES):
        lanes = min(LANES, n - start)
        for j in range(lanes):
            work.z[0, j] = first + step * (start + j)
            work.z[1, j] = work.z[1, 0]
        evaluate(lanes, n_points, model, prior, work)
        for j in range(lanes):
            value = work.logp[j]
            if constrained:
                value += log_orthant(j, model.n_fixed, model.n_varying, work.rows, work)
            out[start + j] = value
            top = max(top, value)
        if n > REFINE:
            for r in range(MAX_ROWS):
                for j in range(lanes):
                    work.node[r, start + j] = work.rows[r, j]
    return top


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


@kernel
def _tabulate(first, step, n, n_points, model, prior, work, constrained, out):
    """`_scan` of the final nodes at a quarter of the cost.

    The log posterior and the conditional posteriors are smooth functions of the parameter: they are
    evaluated at Chebyshev nodes of the window and interpolated to the even nodes by a fixed matrix.
    `CHECKS` lanes are compared with their own interpolation; where that fails (a law with a kink, a
    constraint that sets in), every node is evaluated.
    """
    m = model.n_varying
    tables = work.tables
    matrix = tables.spread_long if n == NODES else tables.spread_short
    half = 0.5 * step * (n - 1)
    middle = first + half
    for j in range(LANES):
        work.z[0, j] = middle + half * tables.lanes[j]
        work.z[1, j] = work.z[1, 0]
    evaluate(work.z.shape[1], n_points, model, prior, work)
    if constrained:
        for j in range(LANES):
            work.logp[j] += log_orthant(j, model.n_fixed, m, work.rows, work)
    count = LANES - CHECKS
    wide = n + CHECKS
    _spread(count, wide, matrix, work.logp, work.wide_logp)
    top = -1e300
    for j in range(n):
        top = max(top, work.wide_logp[j])
    wrong = False
    for j in range(CHECKS):
        exact = work.logp[count + j]
        if exact > top - DROP and not abs(work.wide_logp[n + j] - exact) < TOLERANCE:
            wrong = True
    if model.n_nonlinear == 1:
        root_nu = math.sqrt(work.base[BASE_NU])
        for r in range(row_of_q(m) + 1):
            _spread(count, wide, matrix, work.rows[r], work.node[r])
        for a in range(m):
            for j in range(CHECKS):
                i = count + j
                sd = work.rows[row_of_u(m, a, a), i] * work.rows[row_of_q(m), i] / root_nu
                if not abs(work.node[a, n + j] - work.rows[a, i]) < ROW_TOLERANCE * sd:
                    wrong = True
    if wrong:
        return _scan(first, step, n, n_points, model, prior, work, constrained, out)
    for j in range(n):
        out[j] = work.wide_logp[j]
    return top


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
    step = (high - low) / (n - 1)
    first = low
    top = _scan(first, step, n, n_points, model, prior, work, constrained, out)
    for _ in range(12):
        j0, j1 = _window(n, out, top)
        last = first + j1 * step
        first = first + j0 * step
        if j1 - j0 >= SPAN:
            break
        step = (last - first) / (n - 1)
        top = _scan(first, step, n, n_points, model, prior, work, constrained, out)
    step = (last - first) / (nodes - 1)
    if nodes <= REFINE:
        top = _scan(first, step, nodes, n_points, model, prior, work, constrained, out)
    else:
        top = _tabulate(first, step, nodes, n_points, model, prior, work, constrained, out)
    return first, step, top


@kernel
def distribution(n, density, cumulative):
    """Cumulative mass of a piecewise-linear density at even nodes, normalised; returns the mass."""
    cumulative[0] = 0.0
    for j in range(1, n):
        cumulative[j] = cumulative[j - 1] + 0.5 * (density[j - 1] + density[j])
    total = cumulative[n - 1]
    for j in range(n):
        cumulative[j] /= total
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
    work.z[1, 0] = z1
    first, step, top = integrate_inner(
        low, high, nodes, n_points, model, prior, work, constrained, out
    )
    s = 0.0
    for j in range(nodes):
        s += exp(out[j] - top)
    return top + math.log(max(s * step, 1e-300)), first, step, top


@kernel
def integrate_outer(low, high, low1, high1, n_points, model, prior, work, constrained):
    """Nodes of the outer coordinate, each with its inner quadrature.

    Fills ``work.outer`` (log evidence, density, cumulative mass), ``work.inner`` (first inner node
    and step), ``work.inner_scan`` (inner densities) and ``work.inner_cumulative``.

    Returns
    -------
    first, step, mass : float64
        Outer nodes are ``first + step * i``; mass of the tabulated outer density.
    """
    n = work.sizes[SIZE_OUTER]
    first = low1
    step = (high1 - low1) / (n - 1)
    for _ in range(12):
        top = -1e300
        for i in range(n):
            value, _a, _b, _c = _evidence(
                first + step * i,
                low,
                high,
                work.sizes[SIZE_COARSE],
                n_points,
                model,
                prior,
                work,
                constrained,
                work.scan,
            )
            work.outer[0, i] = value
            top = max(top, value)
        i0, i1 = _window(n, work.outer[0], top)
        last = first + i1 * step
        first = first + i0 * step
        if i1 - i0 >= SPAN:
            break
        step = (last - first) / (n - 1)
    step = (last - first) / (OUTER - 1)
    top = -1e300
    for i in range(OUTER):
        value, first0, step0, top0 = _evidence(
            first + step * i,
            low,
            high,
            work.sizes[SIZE_INNER],
            n_points,
            model,
            prior,
            work,
            constrained,
            work.inner_scan[i],
        )
        work.outer[0, i] = value
        work.inner[i, 0] = first0
        work.inner[i, 1] = step0
        for j in range(INNER):
            work.inner_scan[i, j] = exp(work.inner_scan[i, j] - top0)
        distribution(INNER, work.inner_scan[i], work.inner_cumulative[i])
        top = max(top, value)
    for i in range(OUTER):
        work.outer[1, i] = exp(work.outer[0, i] - top)
    mass = distribution(OUTER, work.outer[1], work.outer[2])
    return first, step, mass
