"""Independent draws from the posterior that quadrature has tabulated.

`draw_fast` serves laws with one nonlinear parameter where the constraints cut off little:
everything conditional on the parameter is interpolated between nodes, and candidates outside the
constraints are rejected.  `draw_exact` evaluates every candidate exactly and corrects for the
proposal by rejection: for two nonlinear parameters, and where constraints cut off much.

Both are keyed by (run key, draw): the same seed gives the same draws whatever the batch.
"""

from __future__ import annotations

import math

import numpy as np
from numba import uint64

from .marginal import (
    BASE_B,
    BASE_CENTRE,
    BASE_NU,
    BASE_U,
    evaluate,
    row_of_h,
    row_of_q,
    row_of_u,
)
from .maths import exp, kernel, log, sums
from .orthant import draw_coefficients
from .philox import normal_pair, philox, uniform
from .quadrature import locate_cell
from .work import BLOCK, GUIDE, INNER, LANES, NODES, OUTER, PILOT

__all__ = ["FAST_SHARE", "draw_exact", "draw_fast", "write_draw"]

# Below this share of kept candidates `draw_fast` gives up: `draw_exact` is then the faster one.
FAST_SHARE = 0.08
# Below this probability of the constraints `draw_exact` wants proposals that know of them.
EXACT_SHARE = 0.05
STREAM_FAST = uint64(0)
STREAM_EXACT = uint64(64)  # `draw_coefficients` uses the streams from here on
STREAM_PROPOSAL = uint64(1)
MASK32 = uint64(0xFFFFFFFF)


@sums
def _words(count, key, base, block, out):
    """Four random words of each of `count` candidates."""
    a, b, c, d = out[0], out[1], out[2], out[3]
    for i in range(count):
        draw = uint64(base + i)
        a[i], b[i], c[i], d[i] = philox(
            draw & MASK32, uint64(block), STREAM_FAST, draw >> uint64(32), key
        )


@sums
def _normals(count, word0, word1, first, second):
    for i in range(count):
        first[i], second[i] = normal_pair(word0[i], word1[i])


@sums
def _uniforms(count, word, out):
    for i in range(count):
        out[i] = uniform(word[i])


@sums
def _gammas(count, shape, word, normal, value, kept):
    """Marsaglia and Tsang's gamma variates; `kept` is 0 where one is rejected."""
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    for i in range(count):
        z = normal[i]
        v = 1.0 + c * z
        v = max(v * v * v, 1e-300)
        value[i] = d * v
        excess = log(uniform(word[i])) - (0.5 * z * z + d - d * v + d * log(v))
        kept[i] = 1.0 if excess < 0.0 else 0.0


@kernel
def _candidates(count, key, base, shape, n_normals, words, out):
    """Random numbers of `count` candidates: uniform, gamma variate, its acceptance, normals.

    Words, normals and gammas are made in loops of their own: each then vectorises.
    """
    block = np.int64(0)
    _words(count, key, base, block, words)
    _uniforms(count, words[0], out[0])
    _normals(count, words[2], words[3], out[9], out[3])
    _gammas(count, shape, words[1], out[9], out[1], out[2])
    if n_normals > 1:
        block += 1
        _words(count, key, base, block, words)
        _normals(count, words[0], words[1], out[4], out[5])
        if n_normals > 3:
            _normals(count, words[2], words[3], out[6], out[7])
    if n_normals > 5:
        block += 1
        _words(count, key, base, block, words)
        _normals(count, words[0], words[1], out[8], out[9])


@kernel
def _make_guide(cumulative, guide):
    """Where to start the search of the distribution function for a uniform number."""
    j = 0
    for k in range(GUIDE):
        while cumulative[j + 1] < k / GUIDE:
            j += 1
        guide[k] = j


@kernel
def _cells(count, u, guide, cumulative, cell):
    for i in range(count):
        j = guide[int(u[i] * GUIDE)]
        while cumulative[j + 1] < u[i]:
            j += 1
        cell[i] = np.uint64(j)  # unsigned: signed gather indices do not vectorise


@sums
def _fractions(count, u, cell, density, cumulative, total, out):
    one = np.uint64(1)
    for i in range(count):
        j = cell[i]
        p = density[j]
        w = 2.0 * (u[i] - cumulative[j]) * total
        f = w / max(p + math.sqrt(max(p * p + w * (density[j + one] - p), 0.0)), 1e-300)
        out[i] = min(max(f, 0.0), 1.0)


@sums
def _interpolate(count, cell, fraction, table, out):
    one = np.uint64(1)
    for i in range(count):
        j = cell[i]
        a = table[j]
        out[i] = a + fraction[i] * (table[j + one] - a)


@sums
def _sigma(count, root_q, g, out):
    for i in range(count):
        out[i] = root_q[i] / math.sqrt(2.0 * g[i])


@sums
def _add_product(count, sign, a, b, out):
    for i in range(count):
        out[i] += sign * a[i] * b[i]


@sums
def _add_noise(count, factor, sigma, normal, out):
    for i in range(count):
        out[i] += factor * sigma[i] * normal[i]


@sums
def _add_varying_noise(count, factor, sigma, normal, out):
    for i in range(count):
        out[i] += factor[i] * sigma[i] * normal[i]


@sums
def _fill(count, value, out):
    for i in range(count):
        out[i] = value


@sums
def _coordinates(count, first, step, cell, fraction, out):
    for i in range(count):
        out[i] = first + step * (np.float64(np.int64(cell[i])) + fraction[i])


@sums
def _within(count, value, lower, kept):
    for i in range(count):
        kept[i] = kept[i] if value[i] >= lower else 0.0


@sums
def _total(count, kept):
    s = 0.0
    for i in range(count):
        s += kept[i]
    return s


@kernel
def _kept_indices(count, kept, limit, index):
    """Indices of the first `limit` kept candidates; returns how many there are."""
    number = 0
    for i in range(count):
        if kept[i] > 0.0 and number < limit:
            index[number] = np.uint64(i)
            number += 1
    return number


@sums
def _gather(count, index, source, shift, out):
    for i in range(count):
        out[i] = source[index[i]] + shift


@kernel
def _assemble(count, first, step, total, model, work):
    """Turn candidates into values.

    Rows of ``work.value`` are z, the coefficients (fixed, then varying) and sigma.

    Clears the flag of candidates outside the constraints.
    """
    m = model.n_varying
    q = model.n_fixed
    p = q + m
    candidates = work.candidates
    value = work.value
    cell = work.cell
    fraction = value[p + 2]
    _fractions(count, candidates[0], cell, work.density, work.cumulative, total, fraction)
    _coordinates(count, first, step, cell, fraction, value[0])
    scratch = value[p + 3]
    root_q = value[p + 4]
    _interpolate(count, cell, fraction, work.node[row_of_q(m)], root_q)
    sigma = value[p + 1]
    _sigma(count, root_q, candidates[1], sigma)
    for a in range(m):
        row = value[1 + q + a]
        _interpolate(count, cell, fraction, work.node[a], row)
        for b in range(a, m):
            _interpolate(count, cell, fraction, work.node[row_of_u(m, a, b)], scratch)
            _add_varying_noise(count, scratch, sigma, candidates[3 + b], row)
    for k in range(q):
        row = value[1 + k]
        b = work.base[BASE_B + k]
        _fill(count, b, row)
        for a in range(m):
            _interpolate(count, cell, fraction, work.node[row_of_h(m, a, k)], scratch)
            _add_product(count, -1.0, scratch, value[1 + q + a], row)
        for i in range(k, q):
            _add_noise(count, work.base[BASE_U + 3 * k + i], sigma, candidates[3 + m + i], row)
    for k in range(p):
        if work.lower[k] > -1e299:
            _within(count, value[1 + k], work.lower[k], candidates[2])


@sums
def _exponentials(count, z):
    for i in range(count):
        z[i] = exp(z[i])


@kernel
def draw_fast(n_draws, key, first, step, total, model, work, out):
    """Draws by rejection from interpolated conditional posteriors.

    Parameters
    ----------
    out : float64, shape (d + p + 1, n_draws)
        Nonlinear parameter, linear ones in the law's order, sigma.

    Returns
    -------
    filled : int64
        Draws made, or -1 where too few candidates were kept.
    good, kept : float64
        Candidates with a valid sigma, and those of them that meet the constraints.
    """
    p = model.n_fixed + model.n_varying
    _make_guide(work.cumulative, work.guide)
    filled = np.int64(0)  # typed: Numba would compile what it is passed to for the constant 0, too
    tried = np.int64(0)
    good = 0.0
    kept_total = 0.0
    while filled < n_draws:
        left = n_draws - filled
        count = min(BLOCK, (left + left // 16 + 15) // 8 * 8)
        _candidates(count, key, tried, 0.5 * work.base[BASE_NU], p, work.words, work.candidates)
        good += _total(count, work.candidates[2])
        _cells(count, work.candidates[0], work.guide, work.cumulative, work.cell)
        _assemble(count, first, step, total, model, work)
        kept = _total(count, work.candidates[2])
        kept_total += kept
        tried += count
        # the cells are no longer needed: their array takes the indices
        number = _kept_indices(count, work.candidates[2], left, work.cell)
        if model.log[0] == 1:
            _exponentials(count, work.value[0])
        _gather(number, work.cell, work.value[0], 0.0, out[0, filled:])
        for k in range(p):
            shift = work.base[BASE_CENTRE] if k == model.constant else 0.0
            _gather(number, work.cell, work.value[1 + k], shift, out[1 + model.order[k], filled:])
        _gather(number, work.cell, work.value[p + 1], 0.0, out[p + 1, filled:])
        filled += number
        if filled < n_draws and tried >= BLOCK and kept_total < FAST_SHARE * good:
            return -1, good, kept_total
    return filled, good, kept_total


@kernel
def write_draw(lane, theta, coefficients, model, work, out, i):
    """Write the draw in a lane to column i of `out`, in the law's order."""
    d = model.n_nonlinear
    p = model.n_fixed + model.n_varying
    for k in range(d):
        out[k, i] = theta[k, lane]
    for k in range(p):
        shift = work.base[BASE_CENTRE] if k == model.constant else 0.0
        out[d + model.order[k], i] = coefficients[k] + shift
    out[d + p, i] = coefficients[p]


@kernel
def _propose(lane, draw, key, first, step, total, two, work):
    """Coordinates of a lane from the tabulated density, and their log proposal density."""
    w0, w1, _w2, _w3 = philox(draw, uint64(0), STREAM_PROPOSAL, uint64(0), key)
    u = uniform(w0)
    if not two:
        j, f = locate_cell(u, NODES, work.density, work.cumulative, total)
        work.z[0, lane] = first + step * (j + f)
        density = work.density[j] + f * (work.density[j + 1] - work.density[j])
        return math.log(max(density, 1e-300))
    i, f = locate_cell(uniform(w1), OUTER, work.outer[1], work.outer[2], total)
    work.z[1, lane] = first + step * (i + f)
    outer = work.outer[1, i] + f * (work.outer[1, i + 1] - work.outer[1, i])
    # Between two outer nodes the inner quantile function is interpolated: the ridge is followed.
    z = 0.0
    slope = 0.0
    for side in range(2):
        weight = f if side == 1 else 1.0 - f
        row = i + side
        scan = work.inner_scan[row]
        cumulative = work.inner_cumulative[row]
        mass = 0.0
        for j in range(1, INNER):
            mass += 0.5 * (scan[j - 1] + scan[j])
        j, g = locate_cell(u, INNER, scan, cumulative, mass)
        h = work.inner[row, 1]
        z += weight * (work.inner[row, 0] + h * (j + g))
        density = (scan[j] + g * (scan[j + 1] - scan[j])) / (mass * h)
        slope += weight / max(density, 1e-300)
    work.z[0, lane] = z
    return math.log(max(outer, 1e-300)) - math.log(max(slope, 1e-300))


@kernel
def _thin(filled, probability, draw, key, out):
    """Keep each of the first `filled` draws with that probability; returns how many are left."""
    left = np.int64(0)
    for i in range(filled):
        w0, _w1, _w2, _w3 = philox(draw, uint64(2), STREAM_PROPOSAL, uint64(i), key)
        if uniform(w0) < probability:
            for k in range(out.shape[0]):
                out[k, left] = out[k, i]
            left += 1
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
    coefficients = np.empty(8)
    u = np.empty(LANES)
    weight = np.empty(LANES)
    filled = np.int64(0)
    bound = -1e300
    share = 0.0
    piloted = 0
    limit = 400 * n_draws + 20000
    tried = 0
    while filled < n_draws and tried < limit:
        for lane in range(LANES):
            draw = uint64(tried + lane)
            work.proposal[lane] = _propose(lane, draw, key, first, step, total, two, work)
        evaluate(work.z.shape[1], n_points, model, prior, work)
        for lane in range(LANES):
            draw = uint64(tried + lane)
            orthant = draw_coefficients(
                lane, q, model.n_varying, work, draw, STREAM_EXACT, key, coefficients
            )
            weight[lane] = work.logp[lane] + orthant - work.proposal[lane]
            w0, _w1, _w2, _w3 = philox(draw, uint64(1), STREAM_PROPOSAL, uint64(0), key)
            u[lane] = math.log(uniform(w0))
            if piloted < PILOT:
                share += math.exp(max(orthant, -700.0))
                for k in range(d):
                    work.pilot[piloted, k] = work.theta[k, lane]
                for k in range(p + 1):
                    work.pilot[piloted, d + k] = coefficients[k]
                work.pilot_weight[piloted] = weight[lane] - u[lane]
                bound = max(bound, weight[lane])
                piloted += 1
            elif filled < n_draws:
                if weight[lane] > bound:
                    filled = _thin(filled, math.exp(bound - weight[lane]), draw, key, out)
                    bound = weight[lane]
                if u[lane] <= weight[lane] - bound:
                    write_draw(lane, work.theta, coefficients, model, work, out, filled)
                    filled += 1
        tried += LANES
        if piloted == PILOT and tried == PILOT:
            bound += 0.05
            kept = 0
            for i in range(PILOT):
                if work.pilot_weight[i] > bound:
                    kept += 1
            # A pilot does not see regions that proposals rarely reach and constraints favour.
            if not constrained and (kept < PILOT // 16 or share < EXACT_SHARE * PILOT):
                return -1, share / PILOT
            for i in range(PILOT):
                if work.pilot_weight[i] > bound and filled < n_draws:
                    for k in range(d):
                        work.theta[k, 0] = work.pilot[i, k]
                    for k in range(p + 1):
                        coefficients[k] = work.pilot[i, d + k]
                    write_draw(piloted - PILOT, work.theta, coefficients, model, work, out, filled)
                    filled += 1
    return filled, share / PILOT
