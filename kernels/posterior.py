"""One run: from data to draws."""

from __future__ import annotations

import math

from .columns import call_column
from .draws import LEAST_NODES, draw_fast
from .exact import draw_exact
from .marginal import set_up
from .maths import TINY, exp, kernel, sums
from .quadrature import distribution, integrate_inner, integrate_outer
from .team import lane, real, sync, team_max, team_sum, width
from .work import LANES, NODES, OUTER, SIZE_NODES

__all__ = [
    "bounds",
    "draw_quadrature",
    "residual_autocorrelation",
    "tabulate_closely",
    "tabulate_one",
    "tabulate_two",
]

MEAN_DRAWS = 32  # draws behind a mean curve, at most ...
MEAN_WORK = 512  # ... and points times draws
TAIL = 1e-6  # mass that a narrower window leaves out at each end
ZOOMS = 8  # windows, at most ...
WORTH_IT = 0.9  # ... each narrower than this part of the one before


@kernel
def bounds(i, model, prior):
    """Bounds of the coordinate of nonlinear parameter i."""
    low = prior.nonlinear[i, 0]
    high = prior.nonlinear[i, 1]
    if model.log[i] == 1:
        return math.log(low), math.log(high)
    return low, high


@kernel
def tabulate_one(low, high, n_points, model, prior, work, constrained):
    """Quadrature over one nonlinear parameter, whose coordinate lies between bounds.

    Returns the first node, the step, the mass of the tabulated density, how many nodes share it and
    the log evidence.
    """
    if lane() == 0:
        work.z[1, 0] = 0.0
    sync()
    first, step, top = integrate_inner(
        low, high, work.sizes[SIZE_NODES], n_points, model, prior, work, constrained, work.scan
    )
    one = real(0.0)
    two = real(0.0)
    for j in range(lane(), NODES, width()):
        v = exp(work.scan[j] - top)
        work.density[j] = v
        one += v
        two += v * v
    one = team_sum(one)
    two = team_sum(two)
    sync()
    mass = distribution(NODES, work.density, work.cumulative)
    return first, step, mass, one * one / two, top + math.log(max(mass * step, TINY))


@kernel
def _bulk(first, step, work):
    """The window that holds the tabulated mass but `TAIL` at each end."""
    j0 = 0
    while work.cumulative[j0 + 1] < TAIL:
        j0 += 1
    j1 = NODES - 1
    while work.cumulative[j1 - 1] > 1.0 - TAIL:
        j1 -= 1
    return first + step * real(j0), first + step * real(j1)


@kernel
def tabulate_closely(n_points, model, prior, work, constrained):
    """`tabulate_one`, again in a narrower window for as long as few nodes share the mass.

    The posterior of a handful of points has a sharp peak and tails that fall as a power: between
    nodes that reach far enough to be `quadrature.DROP` below it, the peak is not resolved or even
    missed.

    Returns what `tabulate_one` does, and whether the first window was too coarse: candidates then
    have to be evaluated exactly.
    """
    low, high = bounds(0, model, prior)
    coarse = False
    for _zoom in range(ZOOMS):
        first, step, mass, effective, value = tabulate_one(
            low, high, n_points, model, prior, work, constrained
        )
        if effective >= LEAST_NODES:
            break
        coarse = True
        low, high = _bulk(first, step, work)
        sync()
        if high - low > WORTH_IT * step * real(NODES - 1):
            break
    return first, step, mass, effective, value, coarse


@kernel
def tabulate_two(n_points, model, prior, work, constrained):
    """`tabulate_closely` for two nonlinear parameters: what it returns is of the outer one."""
    low, high = bounds(0, model, prior)
    low1, high1 = bounds(1, model, prior)
    first, step, mass = integrate_outer(
        low, high, low1, high1, n_points, model, prior, work, constrained
    )
    one = real(0.0)
    two = real(0.0)
    top = real(-1e300)
    for i in range(lane(), OUTER, width()):
        top = max(top, work.outer[0, i])
        one += work.outer[1, i]
        two += work.outer[1, i] * work.outer[1, i]
    top = team_max(top)
    one = team_sum(one)
    two = team_sum(two)
    return first, step, mass, one * one / two, top + math.log(max(mass * step, TINY)), True


@kernel
def draw_quadrature(n_draws, n_data, key, n_points, centre, total, mass, model, prior, work, out):
    """Draws of one run whose points lie in ``work.points``.

    Returns
    -------
    filled : int64
    effective : float64
        Effective number of (outer) nodes: how many share the mass.
    share : float64
        Probability that the constraints hold without being imposed.
    """
    set_up(n_data, n_points, centre, total, mass, model, prior, work)
    filled = -1
    effective = 0.0
    share = 1.0
    evidence = 0.0
    # Without the constraints in the proposal, then with them where that is needed.
    for attempt in range(2):
        constrained = attempt == 1
        if model.n_nonlinear == 1:
            first, step, tabulated, effective, value, coarse = tabulate_closely(
                n_points, model, prior, work, constrained
            )
        else:
            first, step, tabulated, effective, value, coarse = tabulate_two(
                n_points, model, prior, work, constrained
            )
        if attempt == 0:
            evidence = value
        else:  # too few candidates met the constraints to count them
            share = min(exp(value - evidence), 1.0)
        if attempt == 0 and not coarse:
            filled, good, kept = draw_fast(n_draws, key, first, step, tabulated, model, work, out)
            share = kept / max(good, 1.0)
        else:
            filled, pilot_share = draw_exact(
                n_draws, key, first, step, tabulated, n_points, model, prior, work, constrained, out
            )
            if attempt == 0:
                share = pilot_share
        if filled >= 0:
            break
    return filled, effective, share


@sums
def _add_column(n, coefficient, column, out):
    for i in range(n):
        out[i] += coefficient * column[i]


@sums
def _lag_products(n, y, w, fitted):
    """Sums of e_i^2 and e_i e_{i+1} of standardised residuals."""
    s0 = 0.0
    s1 = 0.0
    for i in range(n):
        fitted[i] = (y[i] - fitted[i]) * math.sqrt(w[i])
    for i in range(n):
        s0 += fitted[i] * fitted[i]
    for i in range(n - 1):
        s1 += fitted[i] * fitted[i + 1]
    return s0, s1


@kernel
def residual_autocorrelation(x, y, w, n_draws, model, work, draws):
    """Lag-1 autocorrelation of the residuals of the posterior mean curve.

    The mean is taken over a few evenly spaced draws, fewer for longer runs: a draw's curve is off
    by about sigma sqrt(p / n), which matters for short runs only.
    """
    n = x.size
    d = model.n_nonlinear
    p = model.n_fixed + model.n_varying
    some = min(max(MEAN_WORK // n, 1), MEAN_DRAWS, n_draws)
    fitted = work.data[6]
    column = work.data[5]
    for i in range(n):
        fitted[i] = 0.0
    for j in range(some):
        draw = ((2 * j + 1) * n_draws) // (2 * some)
        for k in range(d):
            work.theta[k, 0] = draws[k, draw]
        for k in range(p):
            call_column(model.columns[k], 1, n, 1, x, work.data[0], work.theta, LANES, column)
            _add_column(n, draws[d + model.order[k], draw] / some, column, fitted)
    s0, s1 = _lag_products(n, y, w, fitted)
    return s1 / s0 if s0 > 0.0 else 0.0
