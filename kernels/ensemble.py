"""Affine-invariant ensemble sampler on the collapsed posterior.

It serves any number of nonlinear parameters.

Stretch moves (Goodman & Weare 2010, doi:10.2140/camcos.2010.5.65) of one half of the walkers
against the other, which is how emcee runs them in parallel (Foreman-Mackey et al. 2013, section
2.1).  A walker is a value of the nonlinear parameters with a draw of the coefficients and the
unbiased estimate of the probability of the constraints that came with it: a pseudo-marginal chain
(Andrieu & Roberts 2009), exact for whatever noise the estimate has.
"""

from __future__ import annotations

import math

import numpy as np
from numba import uint64

from .draws import write_draw
from .marginal import evaluate
from .maths import kernel
from .orthant import draw_coefficients
from .philox import philox, uniform
from .posterior import bounds
from .student_t import chain_key
from .work import LANES

__all__ = ["THIN", "WALKERS", "draw_ensemble"]

WALKERS = 2 * LANES
STARTS = 2048  # points of the prior box from which the best become walkers
THIN = 10  # sweeps from one kept state to the next, times the number of nonlinear parameters
STRETCH = 2.0  # the move's parameter a
LOST = 20.0  # nats below the best walker at which a walker sits in a mode without mass
STREAM_RESCUE = uint64(1 << 20)
STREAM_MOVE = uint64(1 << 18)
STREAM_START = uint64(1 << 19)
STREAM_COEFFICIENTS = uint64(1 << 10)


@kernel
def _start(key, model, prior, n_points, work, low, high, z, logp, coefficients):
    """The best of `STARTS` uniform points of the prior box."""
    d = model.n_nonlinear
    all_z = np.empty((STARTS, d))
    all_logp = np.empty(STARTS)
    for block in range(0, STARTS, LANES):
        for lane in range(LANES):
            w0, w1, w2, w3 = philox(uint64(block + lane), uint64(0), STREAM_START, uint64(0), key)
            words = (w0, w1, w2, w3)
            for k in range(d):
                work.z[k, lane] = low[k] + (high[k] - low[k]) * uniform(words[k])
                all_z[block + lane, k] = work.z[k, lane]
        evaluate(work.z.shape[1], n_points, model, prior, work)
        for lane in range(LANES):
            all_logp[block + lane] = work.logp[lane]
    best = np.argsort(-all_logp)
    for start in range(0, WALKERS, LANES):
        for lane in range(LANES):
            for k in range(d):
                work.z[k, lane] = all_z[best[start + lane], k]
        evaluate(work.z.shape[1], n_points, model, prior, work)
        for lane in range(LANES):
            i = start + lane
            logp[i] = work.logp[lane] + draw_coefficients(
                lane,
                model.n_fixed,
                model.n_varying,
                work,
                uint64(i),
                STREAM_COEFFICIENTS,
                key,
                coefficients[i],
            )
            for k in range(d):
                z[k, i] = work.z[k, lane]


@kernel
def _move(half, key, model, prior, n_points, work, low, high, z, logp, coefficients, spare):
    """One stretch move of a half of the walkers; returns how many moved."""
    d = model.n_nonlinear
    p = model.n_fixed + model.n_varying
    here = half * LANES
    there = (1 - half) * LANES
    inside = np.empty(LANES, np.bool_)
    factor = np.empty(LANES)
    level = np.empty(LANES)
    for lane in range(LANES):
        i = here + lane
        w0, w1, w2, _w3 = philox(uint64(i), uint64(0), STREAM_MOVE, uint64(0), key)
        partner = there + int(uniform(w0) * LANES)
        root = (STRETCH - 1.0) * uniform(w1) + 1.0
        stretch = root * root / STRETCH
        level[lane] = math.log(uniform(w2))
        factor[lane] = (d - 1) * math.log(stretch)
        inside[lane] = True
        for k in range(d):
            value = z[k, partner] + stretch * (z[k, i] - z[k, partner])
            if value < low[k] or value > high[k]:
                inside[lane] = False
            work.z[k, lane] = value
        if not inside[lane]:
            for k in range(d):
                work.z[k, lane] = z[k, i]
    evaluate(work.z.shape[1], n_points, model, prior, work)
    moved = 0
    for lane in range(LANES):
        i = here + lane
        if not inside[lane]:
            continue
        proposed = work.logp[lane] + draw_coefficients(
            lane,
            model.n_fixed,
            model.n_varying,
            work,
            uint64(i),
            STREAM_COEFFICIENTS,
            key,
            spare,
        )
        if level[lane] < factor[lane] + proposed - logp[i]:
            logp[i] = proposed
            moved += 1
            for k in range(d):
                z[k, i] = work.z[k, lane]
            for k in range(p + 1):
                coefficients[i, k] = spare[k]
    return moved


@kernel
def _rescue(key, z, logp, coefficients):
    """Put walkers that are lost on places of others; only before draws are kept.

    A walker that starts in a minor mode may never leave it: stretch moves go along lines through
    the others.
    """
    best = logp[0]
    for i in range(1, WALKERS):
        best = max(best, logp[i])
    if not best > -1e300:  # none has any mass
        return
    for i in range(WALKERS):
        if logp[i] > best - LOST:
            continue
        w0, _w1, _w2, _w3 = philox(uint64(i), uint64(0), STREAM_RESCUE, uint64(0), key)
        j = int(uniform(w0) * WALKERS)
        while not logp[j] > best - LOST:
            j = (j + 1) % WALKERS
        logp[i] = logp[j]
        for k in range(z.shape[0]):
            z[k, i] = z[k, j]
        for k in range(coefficients.shape[1]):
            coefficients[i, k] = coefficients[j, k]


@kernel
def draw_ensemble(n_draws, tune, chains, key, n_points, model, prior, work, out):
    """Draws of one run whose points lie in ``work.points`` and whose constants are set up.

    Parameters
    ----------
    n_draws, tune, chains : int64
        Draws of each chain (an ensemble of `WALKERS` walkers), discarded sweeps, and chains.
    out : float64, shape (d + p + 1, chains * n_draws)
        Chain-major, and within a chain walker after walker, so that the autocorrelation of a walker
        shows.

    Returns
    -------
    filled : int64
    accepted : float64
        Share of moves that were accepted.
    """
    d = model.n_nonlinear
    z = np.empty((d, WALKERS))
    logp = np.empty(WALKERS)
    coefficients = np.empty((WALKERS, 8))
    spare = np.empty(8)
    low = np.empty(d)
    high = np.empty(d)
    for k in range(d):
        low[k], high[k] = bounds(k, model, prior)
    steps = (n_draws + WALKERS - 1) // WALKERS
    thin = THIN * d
    moved = 0
    filled = 0
    for chain in range(chains):
        _start(
            chain_key(key, chain, 0),
            model,
            prior,
            n_points,
            work,
            low,
            high,
            z,
            logp,
            coefficients,
        )
        for sweep in range(tune + steps * thin):
            # At a quarter, a half and three quarters of the discarded sweeps.
            if 0 < sweep < tune and tune >= 4 and sweep % (tune // 4) == 0:
                _rescue(chain_key(key, chain, sweep + 1), z, logp, coefficients)
            for half in range(2):
                moved += _move(
                    half,
                    chain_key(key, chain, sweep + 1),
                    model,
                    prior,
                    n_points,
                    work,
                    low,
                    high,
                    z,
                    logp,
                    coefficients,
                    spare,
                )
            kept = sweep - tune
            if kept >= 0 and kept % thin == thin - 1:
                for i in range(WALKERS):
                    place = i * steps + kept // thin
                    if place < n_draws:
                        for k in range(d):
                            value = z[k, i]
                            work.theta[k, 0] = math.exp(value) if model.log[k] == 1 else value
                        write_draw(
                            0,
                            work.theta,
                            coefficients[i],
                            model,
                            work,
                            out,
                            chain * n_draws + place,
                        )
                        filled += 1
    return filled, moved / (chains * (tune + steps * thin) * WALKERS)
