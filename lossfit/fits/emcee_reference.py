"""The emcee package on the full posterior: the slow, independent reference for the kernels.

Nothing is integrated out here and nothing of the kernels is used but the law's curves: nonlinear
and linear parameters and log sigma are all sampled, with plain numpy (`full_posterior`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.errors import DataError
from ..kernels.records import BOUND_SHARE, FIT, RHO1, STATUS, as_records
from ..laws.priors import KIND_CODES
from .full_posterior import LogPosterior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..kernels.driver import Batch, PriorTable
    from ..laws import Law

    Array = NDArray[np.float64]

MOST_STEPS = 200_000
TIMES = 50  # autocorrelation times that a chain must span
FIRST_BLOCK = 1_000


class Chain(NamedTuple):
    """What emcee gave for one run."""

    # shape (n_parameters, chains * draws): scaled parameters in the order nonlinear, linear, sigma;
    # a chain is a group of walkers
    draws: Array
    tau: float  # longest integrated autocorrelation time, in steps
    steps: int  # steps kept after burn-in
    converged: bool  # whether the chain spans `TIMES` autocorrelation times


def sample_batch(
    law: Law,
    batch: Batch,
    table: PriorTable,
    keys: NDArray[np.uint64],  # shape (n_runs,): seed of each run
    *,
    draws: int,
    chains: int = 4,
    dof: float | None = None,  # degrees of freedom of Student-t noise; Gaussian by default
    progress: Callable[[int], None] | None = None,  # called with 1 after each run
) -> tuple[Array, NDArray[np.void]]:
    """Sample many runs, one after the other.

    Returns
    -------
    draws : ndarray, shape (n_runs, n_parameters, chains * draws)
        Scaled parameters in the order nonlinear, linear, sigma.
    info : structured ndarray, shape (n_runs,)
        As the kernels' diagnostics; NaN for those that only the kernels know.
    """
    n_runs = len(keys)
    out = np.empty((n_runs, len(law.parameters) + 1, chains * draws))
    info = np.full((n_runs, len(FIT)), np.nan)
    for r in range(n_runs):
        points = slice(batch.offsets[r], batch.offsets[r + 1])
        target = LogPosterior(
            law, batch.x[points], batch.y[points], batch.weight[points], table, r, dof
        )
        chain = sample(target, draws=draws, chains=chains, seed=int(keys[r]))
        out[r] = chain.draws
        info[r, BOUND_SHARE] = _bound_share(law, table.nonlinear[r], chain.draws)
        info[r, RHO1] = _residual_autocorrelation(target, chain.draws)
        info[r, STATUS] = 0.0 if chain.converged else 1.0
        if progress is not None:
            progress(1)
    return out, as_records(info, FIT)


def _bound_share(law: Law, bounds: Array, draws: Array) -> float:
    """Share of draws within 1 % of the range from a bound; the largest of all parameters."""
    worst = 0.0
    for k, parameter in enumerate(law.nonlinear):
        low, high, value = bounds[k, 0], bounds[k, 1], draws[k]
        if parameter.log:
            low, high, value = np.log(low), np.log(high), np.log(value)
        share = (value - low) / (high - low)
        worst = max(worst, float(np.mean((share < 0.01) | (share > 0.99))))
    return worst


def _residual_autocorrelation(target: LogPosterior, draws: Array) -> float:
    """Lag-1 autocorrelation of the weighted residuals of the mean curve."""
    gap = target.residuals(draws.T).mean(axis=1) * np.sqrt(target.weight)
    total = float(gap @ gap)
    return float(gap[1:] @ gap[:-1]) / total if total > 0 else 0.0


def sample(
    target: LogPosterior,
    *,
    # draws, chains: draws for each chain; a chain is a group of walkers
    draws: int,
    chains: int = 4,
    seed: int = 0,  # seed of the walkers and of their moves
    most_steps: int = MOST_STEPS,  # give up (with ``converged=False``) after that many steps
    progress: Callable[[int], None] | None = None,  # called with the number of steps done
) -> Chain:
    """Sample one run's posterior with emcee's affine-invariant ensemble.

    Notes
    -----
    The chain is run until it spans 50 autocorrelation times and holds as many effective draws as
    are asked for; a tenth of it, at least 10 autocorrelation times, is dropped as burn-in.

    References
    ----------
    Foreman-Mackey et al. 2013, emcee: the MCMC hammer, PASP 125, 306.
    """
    import emcee

    rng = np.random.default_rng(seed)
    n_par = target.n_nonlinear + target.n_linear + 1
    per_chain = -(-max(32, 4 * n_par) // chains)
    n_walkers = per_chain * chains
    n_walkers += n_walkers % 2 * chains  # emcee splits the walkers into halves
    sampler = emcee.EnsembleSampler(n_walkers, n_par, target, vectorize=True)
    legacy = np.random.RandomState(int(rng.integers(2**32)))
    state = emcee.State(_start(target, n_walkers, rng), random_state=legacy.get_state())
    block, total, tau = FIRST_BLOCK, 0, np.inf
    wanted = np.inf
    while total < most_steps:
        block = min(max(block, total // 2), most_steps - total)
        state = sampler.run_mcmc(state, block)
        total += block
        if progress is not None:
            progress(total)
        tau = float(np.max(sampler.get_autocorr_time(tol=0)))
        if np.isfinite(tau):
            wanted = max(TIMES * tau, draws * chains * tau / n_walkers)
            if total - _burn_in(total, tau) >= wanted:
                break
    burn = _burn_in(total, tau)
    walkers = sampler.get_chain()[burn:]  # (steps, walkers, parameters)
    steps = walkers.shape[0]
    groups = (
        walkers.reshape(steps, chains, -1, n_par).transpose(1, 0, 2, 3).reshape(chains, -1, n_par)
    )
    picked = groups[:, np.linspace(0, groups.shape[1] - 1, draws).astype(int)]
    out = target.to_parameters(picked.reshape(chains * draws, n_par))[0].T.copy()
    out[-1] = np.exp(out[-1])
    converged = bool(np.isfinite(tau) and steps >= TIMES * tau)
    return Chain(out, tau, steps, converged)


def _burn_in(total: int, tau: float) -> int:
    burn = total // 10
    if np.isfinite(tau):
        burn = max(burn, int(10 * tau))
    return min(burn, total // 2)


def _start(target: LogPosterior, n_walkers: int, rng: np.random.Generator) -> Array:
    """Walkers around the best fit, shape (n_walkers, n_parameters), all with a finite density."""
    centre, spread = _best_fit(target)
    out = np.empty((n_walkers, centre.size))
    filled = 0
    width = 1.0
    for attempt in range(200):
        trial = centre + width * rng.standard_normal((4 * n_walkers, spread.shape[0])) @ spread
        d = target.n_nonlinear
        low, high = target.nonlinear[:, 0], target.nonlinear[:, 1]
        margin = 1e-9 * (high - low)
        trial[:, :d] = np.clip(trial[:, :d], low + margin, high - margin)
        bounded = np.isfinite(target.lower)
        # Reflected, not clipped: walkers on a common plane would never leave it.
        folded = target.lower[bounded] + np.abs(trial[:, d:-1][:, bounded] - target.lower[bounded])
        trial[:, d:-1][:, bounded] = folded
        good = trial[np.isfinite(target.log_posterior(trial))][: n_walkers - filled]
        good = target.to_walkers(good)
        out[filled : filled + len(good)] = good
        filled += len(good)
        if filled == n_walkers:
            return out
        width *= 0.5 if attempt % 20 == 19 else 1.0
    raise DataError("emcee found no starting points with a finite density; check the priors")


def _best_fit(target: LogPosterior) -> tuple[Array, Array]:
    """Least-squares fit under the constraints, and a square root of its covariance (transposed)."""
    from scipy.optimize import least_squares, nnls

    d, p = target.n_nonlinear, target.n_linear
    low, high = target.nonlinear[:, 0].copy(), target.nonlinear[:, 1].copy()
    uniform = target.nonlinear[:, 2] == KIND_CODES["uniform"]
    low[uniform] = np.maximum(low, target.nonlinear[:, 3])[uniform]
    high[uniform] = np.minimum(high, target.nonlinear[:, 4])[uniform]
    root = np.sqrt(target.weight)
    bounded = bool(np.all(target.lower == 0))
    best: tuple[float, Array] | None = None
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        # Nodes even in the logarithm where the parameter is positive, as its priors are.
        theta = np.where(
            low > 0, np.exp((1 - share) * np.log(np.abs(low) + 1e-300) + share *
            np.log(np.abs(high))), (1 - share) * low + share * high,
        )  # fmt: skip
        columns = target.columns(target.x, theta[:, None])[0]
        scaled = columns * root[:, None]
        if bounded:
            beta = nnls(scaled, target.y * root)[0]
        else:
            beta = np.linalg.lstsq(scaled, target.y * root, rcond=None)[0]
            beta = np.maximum(beta, target.lower)
        guess = np.concatenate([theta, beta])
        cost = float(np.sum((columns @ beta - target.y) ** 2 * target.weight))
        if best is None or cost < best[0]:
            best = cost, guess
    assert best is not None
    lower = np.concatenate([low, target.lower])
    upper = np.concatenate([high, np.full(p, np.inf)])
    size = np.maximum(np.abs(best[1]), 1e-3 * np.max(np.abs(target.y)))

    def misfit(z: Array) -> Array:
        theta = np.append(z, 0.0)[None, :]
        # A weak pull to the prior keeps directions that the data leave open from running away.
        pull = (z[d:] - target.mean) / target.sd * target.scale
        return np.concatenate([target.residuals(theta)[:, 0] * root, pull])

    span = np.where(np.isfinite(upper - lower), upper - lower, size)
    start = np.clip(best[1], lower + 1e-8 * span, upper - 1e-8 * span)
    fit = least_squares(misfit, start, bounds=(lower, upper), x_scale=size, max_nfev=500)
    n_free = max(target.y.size - d - p, 1)
    sigma = max(float(np.sqrt(2 * fit.cost / n_free)), 0.1 * target.scale)
    values, vectors = np.linalg.eigh(
        fit.jac.T @ fit.jac / sigma**2 + np.diag(1 / (0.3 * size) ** 2)
    )
    spread = np.zeros((d + p + 1, d + p + 1))
    spread[: d + p, : d + p] = (vectors / np.sqrt(values)).T
    spread[-1, -1] = 1 / np.sqrt(2 * max(n_free, 2))
    return np.append(fit.x, np.log(sigma)), spread
