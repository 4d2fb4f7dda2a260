"""lossfit against the usual tools, on one curve in one run: CPU seconds for 1,000 effective draws.

Everything is timed on one core, in CPU seconds (BLAS has one thread), and fits the same model with
the same priors (curve_fit has none): y = E + A x^-alpha - B x.  There are two curves of 512 points
with noise of 0.004.  The easy one looks like Llama 2 7B's, 1.75 + 0.02 x^-0.6 - 0.06 x.  The hard
one is a plain power law, 1.6 + 0.2 x^-0.3: B is at its bound of 0, which cuts off most of what the
other constraints allow.  The comparisons are with the easy one; the least flattering comes first.

Not compared: NUTS (NumPyro), which does not mix on this posterior as written and would flatter
lossfit, and amortised predictors (LC-PFN, ifbo), which have another model.

    OPENBLAS_NUM_THREADS=1 python -m benches.peers
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from threadpoolctl import threadpool_limits

import lossfit
from benches import _report
from benches._report import cpu
from lossfit import laws
from lossfit.kernels.driver import Batch, PriorTable, fit_batch
from lossfit.laws.priors import KIND_CODES

Floats = NDArray[np.float64]
FITS = 1000
DRAWS = 1000
BARS = {"a closed form in NumPy": 20, "curve_fit + 1,000 bootstraps, no bounds": 2_000}
PRIOR_SD = (3.5, 3.5, 1.75)
NOISE = (1.0, 0.004)  # shape and scale of sigma's prior
ALPHA = (0.02, 3.0, 0.5, 1.0)  # bounds, median, log-sd
NAMES = ("alpha", "E", "A", "B", "sigma")
QUANTILES = (0.05, 0.5, 0.95)


def curve(seed: int = 3) -> tuple[Floats, Floats]:
    x = np.linspace(0.05, 1, 512)
    y = 1.75 + 0.02 * x**-0.6 - 0.06 * x
    return x, y + np.random.default_rng(seed).normal(0, 0.004, x.size)


def hard_curve(seed: int = 3) -> Floats:
    x, _ = curve()
    return 1.6 + 0.2 * x**-0.3 + np.random.default_rng(seed).normal(0, 0.004, x.size)


def table(fits: int) -> PriorTable:
    one = np.ones((fits, 1))
    row = np.array([[*ALPHA[:2], KIND_CODES["lognormal"], *ALPHA[2:]]])
    return PriorTable(
        np.tile(row, (fits, 1, 1)),
        np.zeros((fits, 3)),
        one * PRIOR_SD,
        np.zeros((fits, 3)),
        one * NOISE,
    )


def batch(x: Floats, y: Floats, fits: int) -> Batch:
    return Batch(
        np.tile(x, fits), np.tile(y, fits), np.ones(fits * x.size), np.arange(fits + 1) * x.size
    )


def log_posterior(theta: Floats, x: Floats, y: Floats) -> Floats:
    """Of rows (alpha, E, A, B, log sigma), vectorised; not normalised."""
    alpha, e, a, b, log_sigma = theta.T
    sigma = np.exp(log_sigma)
    inside = (alpha > ALPHA[0]) & (alpha < ALPHA[1]) & (e >= 0) & (a >= 0) & (b >= 0)
    safe = np.clip(alpha, *ALPHA[:2])
    residual = y[:, None] - (e + a * x[:, None] ** -safe - b * x[:, None])
    out = -0.5 * (residual**2).sum(axis=0) / sigma**2 - x.size * log_sigma
    for value, sd in zip((e, a, b), PRIOR_SD, strict=True):
        out -= 0.5 * (value * NOISE[1] / (sd * sigma)) ** 2 + log_sigma
    out -= 2 * NOISE[0] * log_sigma + NOISE[0] * NOISE[1] ** 2 / sigma**2
    out -= 0.5 * (np.log(safe / ALPHA[2]) / ALPHA[3]) ** 2 + np.log(safe)
    return np.where(inside, out, -np.inf)


def ours(x: Floats, y: Floats, name: str) -> tuple[float, Floats]:
    """CPU seconds a fit in a batch, and draws (n_parameters, n_draws) of one fit with many."""
    program = laws.get("power_linear").program
    data, priors = batch(x, y, FITS), table(FITS)
    keys = np.arange(FITS, dtype=np.uint64)
    kernel = lambda: fit_batch(data, program, priors, keys, draws=DRAWS, threads=1)  # noqa: E731
    kernel()
    seconds = cpu(kernel, 7) / FITS
    print(f"lossfit kernels, {name} curve {1e6 * seconds:8.1f} us a fit")
    alone = batch(x, y, 1), program, table(1), np.array([7], np.uint64)
    return seconds, fit_batch(*alone, draws=200_000).draws[0]


def through_fit(x: Floats, y: Floats) -> float:
    """CPU seconds a run of `lossfit.fit`, windows, scales and priors included."""
    data = batch(x, y, FITS)
    names = [str(i) for i in range(FITS)]
    runs = lossfit.Runs.from_arrays("step", data.x, data.y, data.offsets, names)
    whole = lambda: lossfit.fit(runs, "power_linear", "step", "all", DRAWS)  # noqa: E731
    whole()
    return cpu(whole, 3) / FITS


def closed_form(x: Floats, y: Floats, rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """The same posterior in 30 lines of NumPy: a grid of alpha, the rest in closed form.

    Returns
    -------
    ndarray, shape (5, draws)
    """
    z = np.linspace(np.log(ALPHA[0]), np.log(ALPHA[1]), 256)
    columns = np.empty((z.size, 3, x.size))  # 1, x^-alpha, -x
    columns[:, 0], columns[:, 2] = 1.0, -x
    columns[:, 1] = np.exp(-np.exp(z)[:, None] * np.log(x))
    precision = np.diag((NOISE[1] / np.array(PRIOR_SD)) ** 2)
    gram = columns @ columns.transpose(0, 2, 1) + precision
    right = columns @ y
    factor = np.linalg.cholesky(gram)
    white = np.linalg.solve(factor, right[:, :, None])[:, :, 0]
    left = y @ y - (white**2).sum(axis=1) + 2 * NOISE[0] * NOISE[1] ** 2
    nu = x.size + 2 * NOISE[0]
    log_p = -np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1) - 0.5 * nu * np.log(left)
    log_p -= 0.5 * ((z - np.log(ALPHA[2])) / ALPHA[3]) ** 2
    weight = np.cumsum(np.exp(log_p - log_p.max()))
    inverse = np.linalg.inv(factor).transpose(0, 2, 1)
    mean = (inverse @ white[:, :, None])[:, :, 0]
    out = np.empty((5, 0))
    while out.shape[1] < draws:
        cell = np.searchsorted(weight, rng.random(2 * draws) * weight[-1])
        sigma = np.sqrt(left[cell] / rng.chisquare(nu, cell.size))
        noise = np.einsum("nij,nj->ni", inverse[cell], rng.standard_normal((cell.size, 3)))
        beta = mean[cell] + sigma[:, None] * noise
        alpha = np.exp(z[cell] + (z[1] - z[0]) * (rng.random(cell.size) - 0.5))
        good = (beta >= 0).all(axis=1)
        out = np.concatenate([out, np.stack([alpha, *beta.T, sigma])[:, good]], axis=1)
    return out[:, :draws]


def jax_time(x: Floats, y: Floats) -> float | None:
    """CPU seconds a fit of the same grid in JAX, compiled, 64 curves at once; None without JAX."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    z = jnp.linspace(np.log(ALPHA[0]), np.log(ALPHA[1]), 256)
    powers = jnp.exp(-jnp.exp(z)[:, None] * jnp.log(x))
    columns = jnp.stack([jnp.ones_like(powers), powers, jnp.broadcast_to(-x, powers.shape)], axis=1)
    gram = columns @ columns.transpose(0, 2, 1)
    factor = jnp.linalg.cholesky(gram + jnp.diag(NOISE[1] / jnp.array(PRIOR_SD)) ** 2)
    nu = x.size + 2 * NOISE[0]

    def fit(loss: Any, key: Any) -> Any:
        white = jax.scipy.linalg.solve_triangular(factor, (columns @ loss)[:, :, None], lower=True)
        left = loss @ loss - (white**2).sum(axis=(1, 2)) + 2 * NOISE[0] * NOISE[1] ** 2
        log_p = -jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        log_p += -0.5 * nu * jnp.log(left) - 0.5 * ((z - np.log(ALPHA[2])) / ALPHA[3]) ** 2
        keys = jax.random.split(key, 3)
        cell = jax.random.categorical(keys[0], log_p, shape=(DRAWS,))
        sigma = jnp.sqrt(0.5 * left[cell] / jax.random.gamma(keys[1], 0.5 * nu, (DRAWS,)))
        normal = jax.random.normal(keys[2], (DRAWS, 3)) * sigma[:, None] + white[cell, :, 0]
        upper = factor.transpose(0, 2, 1)[cell]
        return jax.scipy.linalg.solve_triangular(upper, normal[:, :, None], lower=False)

    many = jax.jit(jax.vmap(fit))
    losses, keys = jnp.tile(y, (64, 1)), jax.random.split(jax.random.PRNGKey(0), 64)
    many(losses, keys).block_until_ready()
    return cpu(lambda: many(losses, keys).block_until_ready(), 5) / 64


def log_collapsed(theta: Floats, x: Floats, y: Floats) -> Floats:
    """Log posterior of rows (log alpha), the coefficients and sigma integrated out; no signs."""
    z = theta[:, 0]
    columns = np.empty((z.size, 3, x.size))
    columns[:, 0], columns[:, 2] = 1.0, -x
    columns[:, 1] = np.exp(-np.exp(z)[:, None] * np.log(x))
    factor = np.linalg.cholesky(
        columns @ columns.transpose(0, 2, 1) + np.diag((NOISE[1] / np.array(PRIOR_SD)) ** 2)
    )
    white = np.linalg.solve(factor, (columns @ y)[:, :, None])[:, :, 0]
    left = y @ y - (white**2).sum(axis=1) + 2 * NOISE[0] * NOISE[1] ** 2
    out = -np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    out -= 0.5 * (x.size + 2 * NOISE[0]) * np.log(left)
    out -= 0.5 * ((z - np.log(ALPHA[2])) / ALPHA[3]) ** 2
    inside = (z > np.log(ALPHA[0])) & (z < np.log(ALPHA[1]))
    return np.where(inside, out, -np.inf)


def emcee_time(
    density: Callable[..., Floats], first: Floats, x: Floats, y: Floats, steps: int
) -> tuple[float, Floats, float]:
    """CPU seconds for 1,000 effective draws, draws (n_parameters, n), and effective draws."""
    import emcee

    walkers, n = first.shape
    sampler = emcee.EnsembleSampler(walkers, n, density, args=(x, y), vectorize=True)
    sampler.random_state = np.random.RandomState(5).get_state()
    begin = time.process_time()
    sampler.run_mcmc(first, steps)
    seconds = time.process_time() - begin
    tau = float(sampler.get_autocorr_time(tol=0).max())
    effective = walkers * steps / tau
    return seconds / effective * 1000, sampler.get_chain(flat=True).T.copy(), effective


def bootstrap_time(x: Floats, y: Floats, refits: int) -> tuple[float, float]:
    """CPU seconds of curve_fit and 1,000 residual bootstraps, with the model's bounds and without.

    Without bounds curve_fit uses a faster optimiser, for a model in which E, A, B may be negative.
    """

    def model(t: Floats, alpha: float, e: float, a: float, b: float) -> Floats:
        return e + a * t**-alpha - b * t

    bounds = ((ALPHA[0], 0, 0, 0), (ALPHA[1], 10, 10, 10))
    rng = np.random.default_rng(2)
    best, _ = curve_fit(model, x, y, (0.5, y[-1], 0.05, 0.05), bounds=bounds)
    fitted = model(x, *best)
    residual = y - fitted
    seconds = []
    for options in ({"bounds": bounds}, {}):
        begin = time.process_time()
        for _ in range(refits):
            # A resample that does not converge counts as well.
            with warnings.catch_warnings(), suppress(RuntimeError):
                warnings.simplefilter("ignore")
                curve_fit(model, x, fitted + rng.choice(residual, x.size), best, **options)
        seconds.append(1000 * (time.process_time() - begin) / refits)
    return seconds[0], seconds[1]


def quantile_gap(ours_: Floats, theirs: Floats) -> float:
    """Largest difference of 5/50/95 % quantiles in posterior sd."""
    sd = ours_.std(axis=1)
    a, b = (np.quantile(v, QUANTILES, axis=1) for v in (ours_, theirs))
    return float(np.abs((a - b) / sd).max())


def broad_curve_gap() -> float:
    """Worst deviation on a 20-point curve with a broad alpha, over its exactness bar."""
    from tests.kernels.oracles import deviation, posterior, random_problem

    problem = random_problem(np.random.default_rng(11), "power_linear", 20)
    exact = posterior(problem, seed=1)
    key = np.array([3], np.uint64)
    found = deviation(fit_batch(*problem.arguments(), key, draws=400_000).draws[0], exact)
    bars = {"mean": 0.02, "sd": 0.02, "quantile": 0.03}
    return max(float(np.abs(getattr(found, k)).max()) / bar for k, bar in bars.items())


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--steps", type=int, default=60_000, help="of emcee")
    parser.add_argument("--refits", type=int, default=100, help="of the bootstrap")
    options = parser.parse_args()
    record = _report.start("peers")
    with threadpool_limits(1):
        failures = _compare(options.steps, options.refits, record)
    _report.finish(record, options.json, failures)


def _compare(steps: int, refits: int, record: dict[str, Any]) -> list[str]:
    x, y = curve()
    seconds, draws = ours(x, y, "easy")
    hard, _ = ours(x, hard_curve(), "hard")
    whole = through_fit(x, y)
    print(f"the same through lossfit.fit {1e6 * whole:8.1f} us a run (easy curve)")
    rng = np.random.default_rng(4)
    others = {
        "a closed form in NumPy": cpu(lambda: closed_form(x, y, rng), 20),
        "the same in JAX, compiled, 64 curves at once": jax_time(x, y),
    }
    first = np.log(draws[:1, :32]).T.copy()
    collapsed, _, _ = emcee_time(log_collapsed, first, x, y, max(steps // 100, 300))
    others["emcee on the collapsed posterior (no signs)"] = collapsed
    bounded, free = bootstrap_time(x, y, refits)
    others["curve_fit + 1,000 bootstraps, no bounds"] = free
    others["curve_fit + 1,000 bootstraps, bounds"] = bounded
    first = draws[:, rng.choice(draws.shape[1], 32)].T.copy()
    first[:, -1] = np.log(first[:, -1])
    full, chain, effective = emcee_time(log_posterior, first, x, y, steps)
    chain[-1] = np.exp(chain[-1])
    others["emcee on all parameters"] = full
    failures = []
    ratios = {}
    for name, other in others.items():
        if other is None:
            print(f"{name}: not installed")
            continue
        ratios[name] = other / seconds
        print(f"{name:46} {1e6 * other:12,.0f} us {other / seconds:10,.0f} x")
        if ratios[name] < BARS.get(name, 0):
            failures.append(f"{name}: {ratios[name]:,.0f} x, bar {BARS[name]:,} x")
    for name, found, error in (
        ("the closed form", closed_form(x, y, rng, 50_000), 0.0),
        ("emcee", chain, 2.1 / np.sqrt(effective)),  # of a 5 % quantile, in sd
    ):
        gap, allowed = quantile_gap(draws, found), 0.03 + 4 * error
        print(f"quantiles agree with {name}'s to {gap:.3f} sd (allowed {allowed:.3f})")
        if gap > allowed:
            failures.append(f"quantiles differ from {name}'s by {gap:.3f} sd")
    worst = broad_curve_gap()
    print(f"20-point curve with a broad alpha: {worst:.2f} of the exactness bar")
    if worst > 1:
        failures.append("the 20-point curve misses the exactness bar")
    record.update(
        easy_us=1e6 * seconds, hard_us=1e6 * hard, fit_us=1e6 * whole, ratios=ratios,
        broad_curve=worst,
    )  # fmt: skip
    return failures


if __name__ == "__main__":
    main()
