"""Posterior draws by Hamiltonian Monte Carlo, many chains of many posteriors at once.

Every posterior of a batch has its own chains, its own metric (the covariance of its chains, first
that of a normal approximation) and its own step size; a whole batch moves by one evaluation of
values and gradients.  Random numbers are common to all posteriors of a batch: the same seed gives
each the same draws, whatever the others are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from .._base.ragged import Floats

Density = Callable[[Floats], tuple[Floats, Floats]]

ACCEPTED = 0.8  # share of trajectories that the step size aims at
LOST = 25.0  # of log density below the median of the chains: a chain that never arrived
ROUND = 15  # trajectories between adaptations of the metric
MOST_RHAT = 1.05
MOST_ROUNDS = 4  # of the kept trajectories, until the chains agree


class Drawn(NamedTuple):
    """Draws of B posteriors of p coordinates by C chains."""

    # each of shape (C, D, p): as many as it took for the chains of that posterior
    # to agree
    draws: list[Floats]
    acceptance: Floats  # shape (B,): mean acceptance of the kept trajectories
    rhat: Floats  # shape (B,): worst split R-hat of the coordinates' normal scores


class _State(NamedTuple):
    x: Floats
    value: Floats
    gradient: Floats


def draw(
    # log densities, shape (B, C), and their gradients, shape (B, C, p), at coordinates of shape (B,
    # C, p).  Values that are not finite are outside of the support
    density: Density,
    start: Floats,  # shape (B, p): near the modes
    root: Floats,  # shape (B, p, p): roots of approximate covariances (root @ root.T) there
    rng: np.random.Generator,
    *,
    chains: int = 24,
    # rounds of `ROUND` trajectories before draws are kept; the metric is adapted after each
    rounds: int = 3,
    # trajectories that are kept at first; as many again while a posterior's R-hat is large
    keep: int = 60,
    steps: tuple[int, int] = (4, 20),  # fewest and most steps of a trajectory
) -> Drawn:
    """Draw from a batch of posteriors."""
    batch, p = start.shape
    x = start[:, None] + rng.standard_normal((chains, p)) @ np.swapaxes(root, 1, 2)
    state = _State(x, *_safe(density, x))
    step = np.full(batch, 0.5)
    for _ in range(rounds):
        state, trail, step, _ = _walk(density, state, root, step, ROUND, rng, steps, adapt=True)
        state = _without_lost(state)
        late = trail[:, :, ROUND // 2 :].reshape(batch, -1, p)
        root = _root(late, root)
    # The step size settles on the last metric, then nothing is adapted any more.
    state, _, step, _ = _walk(density, state, root, step, ROUND // 2, rng, steps, adapt=True)
    draws: list[Floats] = [np.empty((chains, 0, p))] * batch
    shares = np.zeros((batch, 0))
    acceptance, rhat = np.empty(batch), np.full(batch, np.inf)
    for _ in range(MOST_ROUNDS):
        state, trail, step, share = _walk(density, state, root, step, keep, rng, steps, adapt=False)
        shares = np.column_stack([shares, share])
        for b in np.flatnonzero(rhat >= MOST_RHAT):
            draws[b] = np.concatenate([draws[b], trail[b]], axis=1)
            rhat[b] = _rhat(draws[b])
            acceptance[b] = shares[b].mean()
        if rhat.max() < MOST_RHAT:
            break
    return Drawn(draws, acceptance, rhat)


def _safe(density: Density, x: Floats) -> tuple[Floats, Floats]:
    with np.errstate(all="ignore"):
        value, gradient = density(x)
    good = np.isfinite(value) & np.isfinite(gradient).all(axis=-1)
    return np.where(good, value, -np.inf), np.where(good[..., None], gradient, 0.0)


def _walk(
    density: Density,
    state: _State,
    root: Floats,
    step: Floats,
    count: int,
    rng: np.random.Generator,
    steps: tuple[int, int],
    adapt: bool,
) -> tuple[_State, Floats, Floats, Floats]:
    """Some trajectories: the state, where they ended (B, C, count, p), step sizes, acceptance."""
    batch, chains, p = state.x.shape
    trail = np.empty((batch, chains, count, p))
    shares = np.empty((count, batch))
    step = step.copy()
    for k in range(count):
        size = step[:, None, None] * rng.uniform(0.7, 1.2, (chains, 1))
        state, accepted = _trajectory(density, state, root, size, rng, steps)
        trail[:, :, k] = state.x
        shares[k] = accepted.mean(axis=1)
        if adapt:
            step *= np.exp((shares[k] - ACCEPTED) * 1.5 / (1 + 0.15 * k))
            np.clip(step, 1e-4, 2.0, out=step)
    return state, trail, step, shares.mean(axis=0)


def _trajectory(
    density: Density,
    state: _State,
    root: Floats,
    size: Floats,
    rng: np.random.Generator,
    steps: tuple[int, int],
) -> tuple[_State, Floats]:
    """One trajectory of every chain by the leapfrog; the new state and acceptance probabilities."""
    x, value, gradient = state
    momentum = rng.standard_normal(x.shape[1:])
    before = value - 0.5 * (momentum**2).sum(axis=-1)
    turn = np.swapaxes(root, 1, 2)
    moved = momentum + 0.5 * size * (gradient @ root)
    count = int(rng.integers(steps[0], steps[1] + 1))
    for k in range(count):
        x = x + size * (moved @ turn)
        new, slope = _safe(density, x)
        with np.errstate(over="ignore"):  # of a chain that has left the support
            moved = moved + (size if k < count - 1 else 0.5 * size) * (slope @ root)
    with np.errstate(over="ignore", invalid="ignore"):
        after = new - 0.5 * (moved**2).sum(axis=-1)
        probability = np.nan_to_num(np.minimum(1.0, np.exp(after - before)), nan=0.0)
    take = rng.uniform(size=value.shape[1:]) < probability
    wide = take[..., None]
    return _State(
        np.where(wide, x, state.x), np.where(take, new, value), np.where(wide, slope, gradient)
    ), probability


def _without_lost(state: _State) -> _State:
    """Chains far below the others are put where other ones are."""
    x, value, gradient = (array.copy() for array in state)
    lost = ~(value > np.median(value, axis=1, keepdims=True) - LOST)
    for b in np.flatnonzero(lost.any(axis=1)):
        good = np.flatnonzero(~lost[b])
        if good.size:
            pick = np.resize(good, int(lost[b].sum()))
            for array in (x, value, gradient):
                array[b, lost[b]] = array[b, pick]
    return _State(x, value, gradient)


def _root(draws: Floats, last: Floats) -> Floats:
    """Roots of the covariances of draws (B, m, p), shrunk a little towards the last metric."""
    gap = draws - draws.mean(axis=1, keepdims=True)
    share = draws.shape[1] / (draws.shape[1] + 5.0 * draws.shape[2])
    covariance = share * (np.swapaxes(gap, 1, 2) @ gap) / draws.shape[1]
    covariance = covariance + (1 - share) * (last @ np.swapaxes(last, 1, 2))
    values, vectors = np.linalg.eigh(covariance)
    least = 1e-12 * values[:, -1:]
    return np.asarray(vectors * np.sqrt(np.maximum(values, least))[:, None])


def _rhat(draws: Floats) -> float:
    """Worst split R-hat of the normal scores of the coordinates of draws (C, D, p)."""
    chains, count, p = draws.shape
    half = count // 2
    flat = draws.reshape(-1, p)
    scores = ndtri((rankdata(flat, axis=0) - 0.375) / (len(flat) + 0.25))
    scores = scores.reshape(chains, count, p)[:, : 2 * half]
    parts = scores.reshape(2 * chains, half, p)
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = parts.mean(axis=1).var(axis=0, ddof=1)
    return float(np.sqrt(((half - 1) / half * within + between) / within).max())
