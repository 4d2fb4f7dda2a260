"""Posterior draws by an ensemble of walkers.

For the law of repeated data, whose amplitudes are tied to its nonlinear parameters, and where
quadrature is not effective.

Differential evolution (ter Braak 2006): a walker moves along the difference of two walkers of the
other half of its ensemble.  Four separate ensembles start from draws that are already close, and
are compared in the end.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from .._base.ragged import Floats
from .quadrature import Sampled
from .target import GAUSSIAN, Target, middle

CHAINS = 4
FEWEST_WALKERS, MOST_WALKERS = 40, 120  # of one ensemble: more where a step costs little
WALKER_ROWS = 4000  # walkers times rows of the table that one ensemble has between these
BURN, MOST_BURNS = 400, 8  # steps before draws are kept, again while walkers stray
FIRST_STEPS, MOST_STEPS = 1000, 8000  # of which draws are kept: doubled until chains agree
MOST_RHAT = 1.01
LEAP_EVERY = 10  # steps between attempts to swap modes
NOISE = 1e-4  # of a move, in the coordinates themselves


def by_ensemble(target: Target, start: Sampled, draws: int, rng: np.random.Generator) -> Sampled:
    """Draw from the posterior, starting at another sampler's draws.

    Parameters
    ----------
    target : Target
    start : Sampled
        Draws of (log alpha, log beta, ...), u, log nu to start from; coordinates that these lack
        start at their priors.
    draws : int
        In all; rounded up to a multiple of four.

    Returns
    -------
    Sampled
        ``chains`` consecutive blocks of draws.
    """
    walkers = 2 * (WALKER_ROWS // (2 * len(target.log_y)))
    walkers = min(max(walkers, FEWEST_WALKERS), MOST_WALKERS)
    size = CHAINS * walkers
    pick = rng.integers(len(start.u), size=size)
    logs = np.empty((size, len(target.nonlinear)))
    logs[:, : start.logs.shape[1]] = start.logs[pick]
    for k in range(start.logs.shape[1], logs.shape[1]):
        centre, spread = middle(target.priors[target.nonlinear[k]])
        logs[:, k] = centre + spread * rng.standard_normal(size)
    student = target.noise == "student_t"
    x = np.concatenate([logs, start.u[pick]], axis=1)
    if student:
        x = np.concatenate([x, start.log_nu[pick][:, None]], axis=1)
    # Draws of an importance sample repeat; walkers must differ.
    x += 1e-3 * rng.standard_normal(x.shape)
    if student:
        x[:, -1] = np.clip(x[:, -1], 1e-3, np.log(100) - 1e-3)
    x = x.reshape(CHAINS, walkers, -1)
    state = x, _value(target, x.reshape(size, -1)).reshape(CHAINS, walkers)
    for _ in range(MOST_BURNS):
        state, _ = _run(target, state, BURN, BURN, rng)
        state, lost = _without_stragglers(state, rng)
        if not lost:
            break
    per_chain = -(-draws // CHAINS)
    generations = -(-per_chain // walkers)
    steps = FIRST_STEPS
    while True:
        state, kept = _run(target, state, steps, max(1, steps // generations), rng)
        worst = _rhat(kept)
        if worst < MOST_RHAT or steps >= MOST_STEPS:
            break
        steps *= 2
    # Generations in order of time, the last of them: (chains, per_chain, p).
    flat = kept.reshape(CHAINS, -1, x.shape[2])[:, -per_chain:].reshape(CHAINS * per_chain, -1)
    k = len(target.nonlinear)
    return Sampled(
        logs=flat[:, :k],
        u=flat[:, k : k + 4],
        log_nu=flat[:, -1] if student else np.full(len(flat), np.log(GAUSSIAN)),
        method="ensemble",
        cells=float("nan"),
        ess=float("nan"),
        efficiency=float("nan"),
        log_evidence=float("nan"),
        chains=CHAINS,
        rhat=worst,
    )


def _run(
    target: Target, state: tuple[Floats, Floats], steps: int, thin: int, rng: np.random.Generator
) -> tuple[tuple[Floats, Floats], Floats]:
    """Go on for some steps; every ``thin``-th generation, shape (chains, kept, walkers, p)."""
    x, value = (array.copy() for array in state)
    walkers = x.shape[1]
    half = walkers // 2
    kept = []
    for step in range(steps):
        for first in (0, half):
            mine, others = slice(first, first + half), slice(half - first, walkers - first)
            x[:, mine], value[:, mine] = _move(
                target, x[:, mine], value[:, mine], x[:, others], step % LEAP_EVERY == 0, rng
            )
        if (step + 1) % thin == 0:
            kept.append(x.copy())
    return (x, value), np.stack(kept, axis=1)


def _without_stragglers(
    state: tuple[Floats, Floats], rng: np.random.Generator
) -> tuple[tuple[Floats, Floats], int]:
    """Walkers that never found the posterior are put beside others that did; how many."""
    x, value = (array.copy() for array in state)
    p = x.shape[2]
    lost = value < np.median(value) - 2.5 * p
    chain, walker = np.nonzero(lost)
    good = np.argwhere(~lost)
    pick = good[rng.integers(len(good), size=len(chain))]
    x[chain, walker] = x[pick[:, 0], pick[:, 1]]
    value[chain, walker] = value[pick[:, 0], pick[:, 1]]
    return (x, value), len(chain)


def _rhat(kept: Floats) -> float:
    """The worst split R-hat of the coordinates' ranks, from generation means of each ensemble.

    ``kept`` has shape (chains, generations, walkers, p).
    """
    chains, generations, _, p = kept.shape
    ranks = rankdata(kept.reshape(-1, p), axis=0).reshape(kept.shape)
    half = max(1, generations // 2)
    parts = np.concatenate([ranks[:, :half], ranks[:, -half:]]).reshape(2 * chains, -1, p)
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = parts.mean(axis=1).var(axis=0, ddof=1)
    return float(np.sqrt(1 + (between / within)).max())


def _value(target: Target, x: Floats) -> Floats:
    k = len(target.nonlinear)
    log_nu = x[:, -1] if target.noise == "student_t" else np.full(len(x), np.log(GAUSSIAN))
    with np.errstate(all="ignore"):
        return target.log_posterior(x[:, :k], x[:, k : k + 4], log_nu)


def _move(
    target: Target, x: Floats, value: Floats, others: Floats, leap: bool, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Move half of every ensemble; x has shape (chains, half, p)."""
    chains, half, p = x.shape
    first = rng.integers(others.shape[1], size=(chains, half))
    second = rng.integers(others.shape[1] - 1, size=(chains, half))
    second += second >= first
    row = np.arange(chains)[:, None]
    scale = 1.0 if leap else 2.38 / np.sqrt(2 * p)
    stretch = scale * rng.uniform(0.6, 1.0, (chains, half, 1)) if not leap else scale
    trial = x + stretch * (others[row, first] - others[row, second])
    trial = trial + NOISE * rng.standard_normal(x.shape)
    new = _value(target, trial.reshape(-1, p)).reshape(chains, half)
    take = np.log(rng.uniform(size=(chains, half))) < new - value
    return np.where(take[:, :, None], trial, x), np.where(take, new, value)
