"""The cosines that are closest to logged learning rates, many at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints
from ..schedules import kinds
from ..schedules.shapes import Schedule
from .rate_falls import CONSTANT, MATCH, Falls, judged

HIDDEN = 0.25  # of a cosine: what a warm-up laid over it may hide
HIGHEST = 0.5  # of its peak: a cosine that ended higher would be another decay
FARTHEST = 20.0  # times the log: where a cosine may end
STARTS, ENDS = 3, 24  # places between which the first guess of a cosine is looked for
HOPELESS = 0.1  # rms: a guess so far off is of no cosine
ROUNDS, LEAST_GAIN = 20, 1e-4  # of Levenberg-Marquardt
PATIENCE, BEHIND = 4, 10.0  # rounds, and times the best rms, after which a cosine is given up


def cosines(falls: Falls) -> tuple[Floats, Bools, Any]:
    """Cosines from 0 or from where the fall began, of the logged height and to 0 or not."""
    guess, low, high = _guesses(falls)
    place, last, fall, residual = _least_squares(falls, guess, low, high)
    end, start = place[..., 0], place[..., 1]
    # It was no higher than what was logged; a part of its second half looks like other decays.
    top = np.clip((falls.top[:, None] - start) / (end - start), 0, 1)
    fine = (fall > 0) & (last + fall >= 1 - MATCH)
    fine &= last + fall * (1 + np.cos(np.pi * top)) / 2 < 1 + CONSTANT
    fine &= (falls.t[:, 0, None] - start) <= HIDDEN * (end - start)
    fine &= ~np.isnan(falls.total[:, None]) | (last <= HIGHEST * (last + fall))
    free = (high > low).sum(-1) + np.tile([0, 1, 1, 2], 2)
    wide = falls._replace(rho=falls.rho[:, None], weight=falls.weight[:, None], n=falls.n[:, None])
    price, noise = judged(wide, residual, free, fine)
    best = price.argmin(1)

    def form(r: int) -> Schedule:
        k, scale = int(best[r]), float(falls.end[r])
        peak = float(last[r, k] + fall[r, k])
        total, begin = float(end[r, k]) * scale, float(start[r, k]) * scale
        return kinds.cosine(peak, total, begin, float(last[r, k]) / peak, axis="tokens")

    rows = np.arange(len(best))
    return price[rows, best], noise[rows, best], form


def _heights(mean: Floats, square: Floats, product: Floats, level: Floats) -> tuple[Floats, Floats]:
    """Last rate and fall of least squares, for four ways that a cosine may be free, (..., 4).

    Of the logged height and to 0, of that height, to 0, and neither; from the means of the cosine,
    of its square, of its product with the rate and of the rate, (..., 1 or 4).
    """
    shape = (*np.broadcast_shapes(mean.shape, level.shape)[:-1], 4)
    mean, square, product, level = (
        np.broadcast_to(m, shape) for m in (mean, square, product, level)
    )
    last, fall = np.zeros(shape), np.ones(shape)
    under, over = 1 - 2 * mean + square, level - product - mean + square
    last[..., 1] = np.clip(over / np.maximum(under, 1e-12), 0, 1)[..., 1]
    fall[..., 1] = 1 - last[..., 1]
    to_nothing = product / np.maximum(square, 1e-12)
    fall[..., 2] = to_nothing[..., 2]
    slope = (product - mean * level) / np.maximum(square - mean * mean, 1e-12)
    last[..., 3] = np.maximum(level - slope * mean, 0)[..., 3]
    fall[..., 3] = np.where(last > 0, slope, to_nothing)[..., 3]
    return last, fall


def _guesses(falls: Falls) -> tuple[Floats, Floats, Floats]:
    """First end and start of 8 cosines of each log, (R, 8, 2), and their bounds.

    Four that begin at 0, then four that begin where the fall did; each four as in `_heights`.
    """
    n, weight = len(falls.n), falls.weight
    nearest = np.where(np.isnan(falls.total), 1.0, falls.total)
    farthest = np.where(np.isnan(falls.total), FARTHEST, falls.total)
    n_ends = ENDS if np.isnan(falls.total).any() else 1
    ends = nearest[:, None] * (farthest / nearest)[:, None] ** np.linspace(0, 1, n_ends)
    starts = np.zeros((n, 1 + STARTS))
    starts[:, 1:] = np.linspace(falls.low, falls.high, STARTS, axis=1)
    first = starts[:, :, None, None]
    wave = (falls.t[:, None, None] - first) / (ends[:, None, :, None] - first)
    wave = (1 + np.cos(np.pi * wave)) / 2
    weights = np.stack([weight, weight * falls.rho], axis=-1)[:, None]
    mean, product = np.moveaxis(wave @ weights, -1, 0)[..., None]
    square = (wave * wave) @ weights[..., :1]
    level, power = (np.sum(weight * falls.rho**k, axis=1)[:, None, None, None] for k in (1, 2))
    last, fall = _heights(mean, square, product, level)
    miss = power + last * last + fall * fall * square
    miss += 2 * (last * fall * mean - last * level - fall * product)
    out = np.empty((n, 8, 2))
    rows = np.arange(n)[:, None]
    for k, of in enumerate((slice(0, 1), slice(1, None))):
        s, e = np.divmod(miss[:, of].reshape(n, -1, 4).argmin(1), n_ends)
        out[:, 4 * k : 4 * k + 4, 0] = ends[rows, e]
        out[:, 4 * k : 4 * k + 4, 1] = starts[rows, s + k]
    low, high = np.zeros_like(out), np.zeros_like(out)
    low[..., 0], high[..., 0] = nearest[:, None], farthest[:, None]
    low[:, 4:, 1], high[:, 4:, 1] = falls.low[:, None], falls.high[:, None]
    return out, low, high


class _State(NamedTuple):
    """M cosines: last rate and fall (M,), residual (M, N), its slopes in the places (M, 2, N)."""

    last: Floats
    fall: Floats
    residual: Floats
    slopes: Floats
    cost: Floats


def _least_squares(
    falls: Falls, place: Floats, low: Floats, high: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Levenberg and Marquardt's least squares in end and start, within bounds.

    The heights are those of least squares for each place (variable projection: Kaufman 1975).
    Gives places (R, 8, 2), last rates and falls (R, 8) and residuals (R, 8, N).
    """
    shape = place.shape[:2]
    place, low, high = (a.reshape(-1, 2) for a in (place, low, high))
    rows, way = np.repeat(np.arange(len(falls.n)), 8), np.tile(np.arange(8) % 4, len(falls.n))
    state = _state(falls, rows, way, place)
    damping = np.full(len(place), 1e-3)
    going = np.flatnonzero(state.cost < HOPELESS**2)
    for k in range(ROUNDS):
        if not len(going):
            break
        at, slopes = place[going], state.slopes[going]
        weighted = slopes * falls.weight[rows[going], None]
        gradient = (weighted @ state.residual[going, :, None])[..., 0]
        # What lies at a bound and would leave it stays there.
        moves = (high > low)[going] & ~((at <= low[going]) & (gradient > 0))
        moves &= ~((at >= high[going]) & (gradient < 0))
        weighted *= moves[..., None]
        both = (weighted[:, 0] * slopes[:, 1] * moves[:, 1:]).sum(-1)
        own = (weighted * slopes).sum(-1) * (1 + damping[going, None])
        own = np.where(moves, own + 1e-14, 1.0)
        gradient *= moves
        step = own[:, ::-1] * gradient - both[:, None] * gradient[:, ::-1]
        step /= (own.prod(-1) - both * both)[:, None]
        to = np.clip(at - step, low[going], high[going])
        new = _state(falls, rows[going], way[going], to)
        before = state.cost[going]
        better = new.cost < before
        changed = going[better]
        place[changed] = to[better]
        for whole, part in zip(state, new, strict=True):
            whole[changed] = part[better]
        damping[going] *= np.where(better, 0.1, 10.0)
        done = better & ((new.cost > (1 - LEAST_GAIN) * before) | (new.cost < 1e-24))
        going = going[~done & (damping[going] < 1e4)]
        if k >= PATIENCE:  # by now others of the same log are far nearer
            least = state.cost.reshape(shape).min(-1)
            going = going[state.cost[going] <= BEHIND**2 * least[rows[going]]]
    return (
        place.reshape(*shape, 2), state.last.reshape(shape), state.fall.reshape(shape),
        state.residual.reshape(*shape, -1),
    )  # fmt: skip


def _state(falls: Falls, rows: Ints, way: Ints, place: Floats) -> _State:
    """Cosines at some places, of the logs of those rows and free in those ways."""
    end, start = place[:, :1], place[:, 1:]
    t, rho, weight = falls.t[rows], falls.rho[rows], falls.weight[rows]
    z = (t - start) / (end - start)
    wave = (1 + np.cos(np.pi * z)) / 2
    weighted = wave * weight
    mean, square, product, level = (
        m.sum(-1, keepdims=True) for m in (weighted, weighted * wave, weighted * rho, weight * rho)
    )
    heights = _heights(mean, square, product, level)
    last, fall = (np.take_along_axis(h, way[:, None], -1) for h in heights)
    residual = last + fall * wave - rho
    bend = fall * (np.pi / 2) / (end - start) * np.sin(np.pi * z)
    slopes = np.stack([bend * z, bend * (1 - z)], axis=1)
    # What heights would make up for is no slope: 1 - wave, wave, or both wave and 1.
    above = ((way == 3) & (last[:, 0] > 0))[:, None]
    column = np.where((way == 1)[:, None], 1 - wave, wave) - np.where(above, mean, 0.0)
    kept = (way == 0) | ((way == 1) & ((last[:, 0] <= 0) | (last[:, 0] >= 1)))
    column[kept] = 0.0
    slopes -= np.where(above[..., None], (slopes * weight[:, None]).sum(-1, keepdims=True), 0.0)
    share = (slopes * (column * weight)[:, None]).sum(-1, keepdims=True)
    share /= np.maximum((column**2 * weight).sum(-1), 1e-300)[:, None, None]
    slopes -= share * column[:, None]
    cost = (residual**2 * weight).sum(-1)
    return _State(last[:, 0], fall[:, 0], residual, slopes, cost)
