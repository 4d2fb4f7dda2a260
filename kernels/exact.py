"""Draws from exactly evaluated candidates.

`draw_exact` evaluates every candidate exactly and corrects for the proposal by rejection: for two
nonlinear parameters, and where constraints cut off much.  Draws are keyed by (run key, draw).

A batch of candidates is evaluated together.  Their coefficients are drawn by the lanes of the team,
and accepted or not in the order of their numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import uint64

from .marginal import BASE_CENTRE, evaluate
from .maths import kernel
from .orthant import draw_coefficients
from .philox import philox, uniform
from .quadrature import locate_cell
from .team import count_before, lane, real, sync, team_max, team_sum, width
from .work import INNER, LANES, NODES, OUTER, PILOT

__all__ = ["draw_exact", "write_draw"]

# Below this probability of the constraints `draw_exact` wants proposals that know of them.
EXACT_SHARE = 0.05
STREAM_EXACT = uint64(64)  # `draw_coefficients` uses the streams from here on
STREAM_PROPOSAL = uint64(1)
ZERO = uint64(0)
ONE = uint64(1)
TWO = uint64(2)
MARGIN = 0.05  # nats by which the bound is above the largest weight of the pilot


@kernel
def write_draw(candidates, column, model, work, out, i):
    """Write a candidate to column i of `out`, in the law's order; a lane for each value.

    The rows of `candidates` are coefficients (fixed, then varying; centred), sigma, and the
    nonlinear parameters.
    """
    d = model.n_nonlinear
    p = model.n_fixed + model.n_varying
    for k in range(lane(), d + p + 1, width()):
        value = candidates[k, column]
        place = d + k
        if k > p:
            place = k - p - 1
        elif k < p:
            place = d + model.order[k]
            if k == model.constant:
                value += work.base[BASE_CENTRE]
        out[place, i] = value


@kernel
def _propose(column, draw, key, first, step, total, two, work):
    """Coordinates of a column from the tabulated density, and their log proposal density."""
    w0, w1, _w2, _w3 = philox(draw, ZERO, STREAM_PROPOSAL, ZERO, key)
    u = uniform(w0)
    if not two:
        j, f = locate_cell(u, NODES, work.density, work.cumulative, total)
        work.z[0, column] = first + step * (real(j) + f)
        density = work.density[j] + f * (work.density[j + 1] - work.density[j])
        return math.log(max(density, 1e-300))
    i, f = locate_cell(uniform(w1), OUTER, work.outer[1], work.outer[2], total)
    work.z[1, column] = first + step * (real(i) + f)
    outer = work.outer[1, i] + f * (work.outer[1, i + 1] - work.outer[1, i])
    # Between two outer nodes the inner quantile function is interpolated: the ridge is followed.
    z = real(0.0)
    slope = real(0.0)
    for side in range(2):
        weight = f if side == 1 else 1.0 - f
        row = i + side
        scan = work.inner_scan[row]
        mass = work.inner[row, 2]
        j, g = locate_cell(u, INNER, scan, work.inner_cumulative[row], mass)
        h = work.inner[row, 1]
        z += weight * (work.inner[row, 0] + h * (real(j) + g))
        density = (scan[j] + g * (scan[j + 1] - scan[j])) / (mass * h)
        slope += weight / max(density, 1e-300)
    work.z[0, column] = z
    return math.log(max(outer, 1e-300)) - math.log(max(slope, 1e-300))


@kernel
def _thin(filled, probability, draw, key, out):
    """Keep each of the first `filled` draws with that probability; returns how many are left."""
    left = np.int64(0)
    sync()
    for start in range(0, filled, width()):
        i = start + lane()
        w0, _w1, _w2, _w3 = philox(draw, TWO, STREAM_PROPOSAL, uint64(i), key)
        kept = i < filled and uniform(w0) < probability
        before, number = count_before(kept)
        for k in range(out.shape[0]):
            value = out[k, min(i, filled - 1)]
            sync()
            if kept:
                out[k, left + before] = value
        left += number
    sync()
    return left


@kernel
def draw_exact(n_draws, key, first, step, total, n_points, model, prior, work, constrained, out):
    """Draws by rejection from exactly evaluated candidates.

    The first `PILOT` candidates set the bound of their importance weights (exact posterior with the
    constraints over proposal density).  A later weight beyond it raises the bound, and the draws
    made so far are thinned to match (empirical supremum rejection sampling; Caffo et al. 2002).

    Returns
    -------
    filled : int64
        Draws made, or -1 where the weights are so uneven that the proposal should know of the
        constraints.
    share : float64
        Mean over the pilot of the probability that the constraints hold.
    """
    d = model.n_nonlinear
    q = model.n_fixed
    p = q + model.n_varying
    two = d == 2
    filled = np.int64(0)
    bound = real(-1e300)
    share = real(0.0)
    limit = 400 * n_draws + 20000
    tried = 0
    while filled < n_draws and tried < limit:
        for i in range(lane(), LANES, width()):
            draw = uint64(tried + i)
            work.weight[0, i] = _propose(i, draw, key, first, step, total, two, work)
        sync()
        evaluate(work.z.shape[1], n_points, model, prior, work)
        pilot = tried < PILOT
        for i in range(lane(), LANES, width()):
            draw = uint64(tried + i)
            orthant = draw_coefficients(
                i, q, model.n_varying, work, draw, STREAM_EXACT, key, work.drawn
            )
            for k in range(d):
                work.drawn[p + 1 + k, i] = work.theta[k, i]
            weight = work.logp[i] + orthant - work.weight[0, i]
            w0, _w1, _w2, _w3 = philox(draw, ONE, STREAM_PROPOSAL, ZERO, key)
            level = math.log(uniform(w0))
            work.weight[0, i] = weight
            work.weight[1, i] = level
            if pilot:
                share += math.exp(max(orthant, -700.0))
                bound = max(bound, weight)
                for k in range(d + p + 1):
                    work.pilot[k, tried + i] = work.drawn[k, i]
                work.pilot_weight[tried + i] = weight - level
        sync()
        if not pilot:
            for i in range(LANES):
                weight = work.weight[0, i]
                if filled < n_draws:
                    if weight > bound:
                        draw = uint64(tried + i)
                        filled = _thin(filled, math.exp(bound - weight), draw, key, out)
                        bound = weight
                    if work.weight[1, i] <= weight - bound:
                        write_draw(work.drawn, i, model, work, out, filled)
                        filled += 1
        tried += LANES
        if tried == PILOT:
            bound = team_max(bound) + MARGIN
            share = team_sum(share)
            kept = 0
            for i in range(PILOT):
                if work.pilot_weight[i] > bound:
                    if filled < n_draws:
                        write_draw(work.pilot, i, model, work, out, filled)
                        filled += 1
                    kept += 1
            # A pilot does not see regions that proposals rarely reach and constraints favour.
            if not constrained and (kept < PILOT // 16 or share < EXACT_SHARE * real(PILOT)):
                filled = -1
                break
        sync()
    return filled, share / real(PILOT)
