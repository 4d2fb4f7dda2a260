"""Affine-invariant ensemble sampler on the collapsed posterior.

It serves any number of nonlinear parameters.

Stretch moves (Goodman & Weare 2010, doi:10.2140/camcos.2010.5.65) of one half of the walkers
against the other, which is how emcee runs them in parallel (Foreman-Mackey et al. 2013, section
2.1).  A walker is a value of the nonlinear parameters with a draw of the coefficients and the
unbiased estimate of the probability of the constraints that came with it: a pseudo-marginal chain
(Andrieu & Roberts 2009), exact for whatever noise the estimate has.

The half that moves is evaluated together, and every lane of the team decides for walkers of its
own.
"""

from __future__ import annotations

import math

from numpy import uint64

from .exact import write_draw
from .marginal import evaluate
from .maths import kernel
from .orthant import draw_coefficients
from .philox import philox, uniform
from .posterior import bounds
from .student_t import chain_key
from .team import lane, real, sync, team_argbest, team_max, team_sum, width
from .work import LANES, STARTS, WALKERS

__all__ = ["THIN", "draw_ensemble"]

THIN = 10  # sweeps from one kept state to the next, times the number of nonlinear parameters
STRETCH = 2.0  # the move's parameter a
LOST = 20.0  # nats below the best walker at which a walker sits in a mode without mass
FIRST = STARTS // LANES  # batches of points of the prior box
STREAM_RESCUE = uint64(1 << 20)
STREAM_MOVE = uint64(1 << 18)
STREAM_START = uint64(1 << 19)
STREAM_COEFFICIENTS = uint64(1 << 10)
ZERO = uint64(0)


@kernel
def _start_at(number, d, key, box, z, column):
    """Put a uniform point of the prior box, by its number, in a column of `z`."""
    w0, w1, w2, w3 = philox(uint64(number), ZERO, STREAM_START, ZERO, key)
    words = (w0, w1, w2, w3)
    for k in range(d):
        z[k, column] = box[0, k] + (box[1, k] - box[0, k]) * uniform(words[k])


@kernel
def _choose(d, key, work):
    """The best points of the prior box become walkers."""
    for i in range(WALKERS):
        best = lane()
        value = work.starts[best]
        for j in range(lane() + width(), STARTS, width()):
            if work.starts[j] > value:
                value = work.starts[j]
                best = j
        best = team_argbest(value, best)
        sync()
        if lane() == 0:
            work.starts[best] = real(-1e300) * 1.1  # below what a prior excludes
            _start_at(best, d, key, work.box, work.walker_z, i)
        sync()


@kernel
def _propose(half, d, key, work):
    """Stretch moves of a half of the walkers, and their factors and levels in ``work.weight``."""
    z = work.walker_z
    for i in range(lane(), LANES, width()):
        walker = half * LANES + i
        w0, w1, w2, _w3 = philox(uint64(walker), ZERO, STREAM_MOVE, ZERO, key)
        # In single precision `uniform` may be 1.
        partner = (1 - half) * LANES + min(int(uniform(w0) * real(LANES)), LANES - 1)
        root = (STRETCH - 1.0) * uniform(w1) + 1.0
        stretch = root * root / STRETCH
        factor = real(d - 1) * math.log(stretch)
        inside = True
        for k in range(d):
            value = z[k, partner] + stretch * (z[k, walker] - z[k, partner])
            if value < work.box[0, k] or value > work.box[1, k]:
                inside = False
            work.z[k, i] = value
        if not inside:
            factor = real(-1e300)
            for k in range(d):
                work.z[k, i] = z[k, walker]
        work.weight[0, i] = factor
        work.weight[1, i] = math.log(uniform(w2))


@kernel
def _rescue(d, p, key, work):
    """Put walkers that are lost on places of others; only before draws are kept.

    A walker that starts in a minor mode may never leave it: stretch moves go along lines through
    the others.
    """
    logp = work.walker_logp
    best = real(-1e300)
    for i in range(lane(), WALKERS, width()):
        best = max(best, logp[i])
    best = team_max(best)
    if best > -1e299:  # some has mass
        for i in range(WALKERS):
            if not logp[i] > best - LOST:
                w0, _w1, _w2, _w3 = philox(uint64(i), ZERO, STREAM_RESCUE, ZERO, key)
                j = min(int(uniform(w0) * real(WALKERS)), WALKERS - 1)
                while not logp[j] > best - LOST:
                    j = (j + 1) % WALKERS
                sync()
                if lane() == 0:
                    logp[i] = logp[j]
                for k in range(lane(), d, width()):
                    work.walker_z[k, i] = work.walker_z[k, j]
                for k in range(lane(), p + 1, width()):
                    work.walker_drawn[k, i] = work.walker_drawn[k, j]
                sync()


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
    p = model.n_fixed + model.n_varying
    for k in range(d):
        low, high = bounds(k, model, prior)
        if lane() == 0:
            work.box[0, k] = low
            work.box[1, k] = high
    sync()
    steps = (n_draws + WALKERS - 1) // WALKERS
    thin = THIN * d
    sweeps = tune + steps * thin
    moved = 0
    filled = 0
    for chain in range(chains):
        # Batches, all by the same steps: points of the prior box, the first walkers, and then
        # moves of one half after the other.
        for batch in range(FIRST + 2 + 2 * sweeps):
            half = batch % 2
            sweep = (batch - FIRST - 2) // 2
            moving = sweep >= 0
            batch_key = chain_key(key, chain, sweep + 1 if moving else 0)
            if batch < FIRST:
                for i in range(lane(), LANES, width()):
                    _start_at(batch * LANES + i, d, batch_key, work.box, work.z, i)
            elif not moving:
                if half == 0:
                    _choose(d, batch_key, work)
                for i in range(lane(), LANES, width()):
                    for k in range(d):
                        work.z[k, i] = work.walker_z[k, half * LANES + i]
                    work.weight[0, i] = 0.0
            else:
                # At a quarter, a half and three quarters of the discarded sweeps.
                if half == 0 and 0 < sweep < tune and tune >= 4 and sweep % (tune // 4) == 0:
                    _rescue(d, p, batch_key, work)
                _propose(half, d, batch_key, work)
            sync()
            evaluate(work.z.shape[1], n_points, model, prior, work)
            for i in range(lane(), LANES, width()):
                walker = half * LANES + i
                if batch < FIRST:
                    work.starts[batch * LANES + i] = work.logp[i]
                elif work.weight[0, i] > -1e299:
                    proposed = work.logp[i] + draw_coefficients(
                        i,
                        model.n_fixed,
                        model.n_varying,
                        work,
                        uint64(walker),
                        STREAM_COEFFICIENTS,
                        batch_key,
                        work.drawn,
                    )
                    gain = work.weight[0, i] + proposed - work.walker_logp[walker]
                    if not moving or work.weight[1, i] < gain:
                        work.walker_logp[walker] = proposed
                        for k in range(d):
                            work.walker_z[k, walker] = work.z[k, i]
                        for k in range(p + 1):
                            work.walker_drawn[k, walker] = work.drawn[k, i]
                        if moving:
                            moved += 1
            sync()
            kept = sweep - tune
            if half == 1 and kept >= 0 and kept % thin == thin - 1:
                for i in range(lane(), WALKERS, width()):
                    for k in range(d):
                        value = work.walker_z[k, i]
                        work.walker_drawn[p + 1 + k, i] = (
                            math.exp(value) if model.log[k] == 1 else value
                        )
                sync()
                for i in range(WALKERS):
                    place = i * steps + kept // thin
                    if place < n_draws:
                        write_draw(work.walker_drawn, i, model, work, out, chain * n_draws + place)
                        filled += 1
    accepted = real(team_sum(moved)) / real(chains * sweeps * WALKERS)
    return filled, accepted
