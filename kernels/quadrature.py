"""Adaptive quadrature over one or two nonlinear parameters.

The inner parameter is scanned coarsely, the window that holds the mass is found by repeated
refinement, and the log posterior is tabulated at even nodes of it.  For a second (outer) parameter the same
is done with the whole inner quadrature at each of its nodes, so that the inner window follows a ridge.
"""

from __future__ import annotations

import math

from .marginal import evaluate
from .maths import exp, kernel
from .orthant import log_orthant
from .work import COARSE, INNER, LANES, MAX_ROWS, NODES, OUTER

__all__ = ["distribution", "integrate_inner", "integrate_outer", "locate_cell"]

DROP = 18.0  # nats below the maximum that a window keeps
REFINE = 32  # nodes of a refinement
SPAN = 10  # steps that the window must span before the final nodes are placed
COARSE_OUTER = 24


@kernel
def _scan(first, step, n, n_points, model, prior, work, constrained, keep_rows, out):
    """Log posterior at even nodes of the inner coordinate; returns its maximum.

    With `constrained`, the log probability of the constraints is added; with `keep_rows` the conditional
    posteriors are kept in ``work.node``.
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
                value += log_orthant(j, model.n_fixed, model.n_varying, work)
            out[start + j] = value
            top = max(top, value)
        if keep_rows:
            for r in range(MAX_ROWS):
                for j in range(lanes):
                    work.node[r, start + j] = work.rows[r, j]
    return top


@kernel
def _window(n, values, top):
    """First and last node within `DROP` of the maximum, and one more on each side."""
    j0 = 0
    while values[j0] < top - DROP:
        j0 += 1
    j1 = n - 1
    while values[j1] < top - DROP:
        j1 -= 1
    return max(j0 - 1, 0), min(j1 + 1, n - 1)


@kernel
def integrate_inner(low, high, nodes, n_points, model, prior, work, constrained, keep_rows, out):
    """Place `nodes` even nodes where the posterior of the inner coordinate has its mass.

    The outer coordinate, if there is one, is ``work.z[1, 0]``.

    Returns
    -------
    first, step : float64
        The nodes are ``first + step * j``; ``out[j]`` is the log posterior there.
    top : float64
        Its maximum.
    """
    n = COARSE
    step = (high - low) / (n - 1)
    first = low
    top = _scan(first, step, n, n_points, model, prior, work, constrained, False, out)
    for _ in range(12):
        j0, j1 = _window(n, out, top)
        last = first + j1 * step
        first = first + j0 * step
        if j1 - j0 >= SPAN and n == REFINE or j1 - j0 >= 2 * SPAN:
            break
        n = REFINE
        step = (last - first) / (n - 1)
        top = _scan(first, step, n, n_points, model, prior, work, constrained, False, out)
    step = (last - first) / (nodes - 1)
    top = _scan(first, step, nodes, n_points, model, prior, work, constrained, keep_rows, out)
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
        low, high, nodes, n_points, model, prior, work, constrained, False, out
    )
    s = 0.0
    for j in range(nodes):
        s += exp(out[j] - top)
    return top + math.log(max(s * step, 1e-300)), first, step, top


@kernel
def integrate_outer(low, high, low1, high1, n_points, model, prior, work, constrained):
    """Nodes of the outer coordinate, each with its inner quadrature.

    Fills ``work.outer`` (log evidence, density, cumulative mass), ``work.inner`` (first inner node and
    step), ``work.inner_scan`` (inner densities) and ``work.inner_cumulative``.

    Returns
    -------
    first, step, mass : float64
        Outer nodes are ``first + step * i``; mass of the tabulated outer density.
    """
    n = COARSE_OUTER
    first = low1
    step = (high1 - low1) / (n - 1)
    for _ in range(12):
        top = -1e300
        for i in range(n):
            value, _a, _b, _c = _evidence(
                first + step * i,
                low,
                high,
                REFINE,
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
            INNER,
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
