"""Independent draws from the posterior that quadrature has tabulated.

For laws with one nonlinear parameter: everything conditional on the parameter is interpolated
between nodes, and candidates outside the constraints are rejected.  Where that rejects many, the
coefficient that is rejected most often is drawn from its distribution cut at its bound (`cut`).
`exact` has the draws for all other cases.

Draws are keyed by (run key, draw): the same seed gives the same draws whatever the batch.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import uint64

from .cut import (
    CUT_SHARE,
    LEAST_SHARE,
    cut_density,
    cut_rows,
    draw_cut,
    fill,
    less_product,
    tightest,
)
from .marginal import (
    BASE_B,
    BASE_CENTRE,
    BASE_NU,
    BASE_U,
    row_of_h,
    row_of_q,
    row_of_u,
)
from .maths import exp, inline, kernel, log, sums
from .philox import normal_pair, philox, uniform
from .work import BLOCK, GUIDE

__all__ = [
    "BLOCK_CUT",
    "FAST_SHARE",
    "LEAST_NODES",
    "STREAM_FAST",
    "cell_fraction",
    "draw_fast",
    "gamma_candidate",
    "product_bend",
]

# Below this share of kept candidates `draw_fast` gives up: `exact.draw_exact` is then faster.
FAST_SHARE = 0.08
LEAST_NODES = 14.0  # that share the mass: with fewer, draws between nodes are off by 0.03 sd and up
STREAM_FAST = uint64(0)
BLOCK_CUT = 3  # of random words, for the coefficient that is cut
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


@inline
def gamma_candidate(d, c, word, z):
    """Marsaglia and Tsang's gamma variate from a normal z, and its excess: it is kept below 0.

    For the shape d + 1/3, with c = 1 / sqrt(9 d).
    """
    v = 1.0 + c * z
    v = max(v * v * v, 1e-300)
    return d * v, log(uniform(word)) - (0.5 * z * z + d - d * v + d * log(v))


@sums
def _gammas(count, shape, word, normal, value, kept):
    """Gamma variates; `kept` is 0 where one is rejected."""
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    for i in range(count):
        value[i], excess = gamma_candidate(d, c, word[i], normal[i])
        kept[i] = 1.0 if excess < 0.0 else 0.0


@kernel
def _candidates(count, key, base, shape, n_normals, cut, words, out):
    """Random numbers of `count` candidates: uniform, gamma variate, its acceptance, normals.

    Words, normals and gammas are made in loops of their own: each then vectorises.  Where a
    coefficient is cut, `words` and the last row are for that.
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
    if cut >= 0:
        _words(count, key, base, BLOCK_CUT, words)
        _normals(count, words[0], words[1], out[9], out[10])


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


@inline
def cell_fraction(u, before, p, q, total):
    """Where in a cell a piecewise-linear distribution function is u.

    The density is p and q at the cell's ends, ``before`` the distribution function at the first.
    """
    w = 2.0 * (u - before) * total
    f = w / max(p + math.sqrt(max(p * p + w * (q - p), 0.0)), 1e-300)
    return min(max(f, 0.0), 1.0)


@sums
def _fractions(count, u, cell, density, cumulative, total, out):
    one = np.uint64(1)
    for i in range(count):
        j = cell[i]
        out[i] = cell_fraction(u[i], cumulative[j], density[j], density[j + one], total)


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


@inline
def product_bend(f, dm):
    """Times the difference of h over a cell: what interp(h) interp(m) lacks of interp(h m).

    A fixed coefficient's mean b - h(z) m(z) changes by few standard deviations where h and m change
    by hundreds: it is the product that has to be interpolated.  `dm` is the difference of m.
    """
    return f * (1.0 - f) * dm


@sums
def _interpolate_mean(count, cell, fraction, table, out, bend):
    one = np.uint64(1)
    for i in range(count):
        j = cell[i]
        f = fraction[i]
        dm = table[j + one] - table[j]
        out[i] = table[j] + f * dm
        bend[i] = product_bend(f, dm)


@sums
def _subtract_product(count, cell, fraction, h, value, bend, out):
    one = np.uint64(1)
    for i in range(count):
        j = cell[i]
        dh = h[j + one] - h[j]
        out[i] -= (h[j] + fraction[i] * dh) * value[i] + dh * bend[i]


@sums
def _add_noise(count, factor, sigma, normal, out):
    for i in range(count):
        out[i] += factor * sigma[i] * normal[i]


@sums
def _add_varying_noise(count, factor, sigma, normal, out):
    for i in range(count):
        out[i] += factor[i] * sigma[i] * normal[i]


@sums
def _fill_from(count, source, out):
    for i in range(count):
        out[i] = source[i]


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
def _about_cut(count, cut, model, work):
    """Mean of the coefficient that is cut, and its row of the factor, at the candidates."""
    m = model.n_varying
    q = model.n_fixed
    value = work.value
    cell = work.cell
    fraction = value[q + m + 2]
    row = cut_rows(q + m)
    mean = value[row]
    # scratch that is filled with other things later
    h = value[row + 1]
    u = value[row + 2]
    bend = value[row + 3]
    for b in range(q + m):
        fill(count, 0.0, value[row + 4 + b])
    if cut >= q:
        a = cut - q
        _interpolate(count, cell, fraction, work.node[a], mean)
        for b in range(a, m):
            _interpolate(count, cell, fraction, work.node[row_of_u(m, a, b)], value[row + 4 + b])
        return
    fill(count, work.base[BASE_B + cut], mean)
    for a in range(m):
        _interpolate_mean(count, cell, fraction, work.node[a], u, bend)
        _subtract_product(count, cell, fraction, work.node[row_of_h(m, a, cut)], u, bend, mean)
        _interpolate(count, cell, fraction, work.node[row_of_h(m, a, cut)], h)
        for b in range(a, m):
            _interpolate(count, cell, fraction, work.node[row_of_u(m, a, b)], u)
            less_product(count, h, u, value[row + 4 + b])
    for i in range(cut, q):
        fill(count, work.base[BASE_U + 3 * cut + i], value[row + 4 + m + i])


@kernel
def _assemble(count, first, step, total, cut, model, work):
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
    if cut >= 0:
        _about_cut(count, cut, model, work)
        draw_cut(count, cut, model, work, root_q, sigma, scratch)
    else:
        _sigma(count, root_q, candidates[1], sigma)
    for a in range(m):
        row = value[1 + q + a]
        _interpolate_mean(count, cell, fraction, work.node[a], row, value[p + 5 + a])
        for b in range(a, m):
            _interpolate(count, cell, fraction, work.node[row_of_u(m, a, b)], scratch)
            _add_varying_noise(count, scratch, sigma, candidates[3 + b], row)
    for k in range(q):
        row = value[1 + k]
        b = work.base[BASE_B + k]
        fill(count, b, row)
        for a in range(m):
            h = work.node[row_of_h(m, a, k)]
            _subtract_product(count, cell, fraction, h, value[1 + q + a], value[p + 5 + a], row)
        for i in range(k, q):
            _add_noise(count, work.base[BASE_U + 3 * k + i], sigma, candidates[3 + m + i], row)
    if cut >= 0:
        _fill_from(count, value[cut_rows(p)], value[1 + cut])
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
    shape = 0.5 * work.base[BASE_NU]
    cut = np.int64(-1)
    share = 1.0
    _make_guide(work.cumulative, work.guide)
    filled = np.int64(0)  # typed: Numba would compile what it is passed to for the constant 0, too
    tried = np.int64(0)
    good = 0.0
    kept_total = 0.0
    while filled < n_draws:
        left = n_draws - filled
        count = min(BLOCK - tried % BLOCK, (left + left // 16 + 15) // 8 * 8)
        _candidates(count, key, tried, shape, p, cut, work.words, work.candidates)
        good += _total(count, work.candidates[2])
        _cells(count, work.candidates[0], work.guide, work.cumulative, work.cell)
        _assemble(count, first, step, total, cut, model, work)
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
        # At whole blocks only: the decisions then do not depend on how many draws are wanted.
        if filled < n_draws and tried % BLOCK == 0:
            if tried == BLOCK and kept_total < CUT_SHARE * good:
                cut = tightest(model.n_fixed, model.n_varying, work)
                total, effective, share = cut_density(cut, model.n_fixed, model.n_varying, work)
                if effective < LEAST_NODES or share < LEAST_SHARE:
                    return -1, good, kept_total
                _make_guide(work.cumulative, work.guide)
                shape += 0.5
                good = 0.0
                kept_total = 0.0
            elif kept_total < FAST_SHARE * good:
                return -1, good, kept_total * share
    return filled, good, kept_total * share
