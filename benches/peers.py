"""lossfit against the usual tools, on one curve in one run: seconds for 1,000 effective draws.

The curve has 512 points and looks like Llama 2 7B's: y = 1.75 + 0.02 x^-0.6 - 0.06 x with noise of
0.004. All tools fit the same model with the same priors (curve_fit has none). lossfit is timed in a
batch of 1,000 fits on all cores, draws included; the others, which fit one curve at a time, alone.

    python -m benches.peers
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

import lossfit
from benches import _report
from lossfit import laws
from lossfit.kernels.driver import Batch, PriorTable, fit_batch
from lossfit.laws.priors import KIND_CODES

Floats = NDArray[np.float64]
FITS = 1000
DRAWS = 1000
BARS = {"emcee": 50_000, "bootstrap": 15_000}
PRIOR_SD = (3.5, 3.5, 1.75)
NOISE = (1.0, 0.004)  # shape and scale of sigma's prior
ALPHA = (0.02, 3.0, 0.5, 1.0)  # bounds, median, log-sd
NAMES = ("alpha", "E", "A", "B", "sigma")
QUANTILES = (0.05, 0.5, 0.95)


def curve(seed: int = 3) -> tuple[Floats, Floats]:
    x = np.linspace(0.05, 1, 512)
    y = 1.75 + 0.02 * x**-0.6 - 0.06 * x
    return x, y + np.random.default_rng(seed).normal(0, 0.004, x.size)


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


def ours(x: Floats, y: Floats, record: dict[str, Any]) -> tuple[float, Floats]:
    """Seconds a fit in a batch, and draws (n_parameters, n_draws) of one fit with many."""
    program = laws.get("power_linear").program
    data, priors = batch(x, y, FITS), table(FITS)
    keys = np.arange(FITS, dtype=np.uint64)
    kernel = lambda: fit_batch(data, program, priors, keys, draws=DRAWS)  # noqa: E731
    cold, warm = _report.best(kernel, 15)
    print(f"lossfit kernels   {1e6 * warm / FITS:10.2f} us a fit (first call {cold:.2f} s)")
    offsets = np.arange(FITS + 1) * x.size
    names = [str(i) for i in range(FITS)]
    runs = lossfit.Runs.from_arrays("step", data.x, data.y, offsets, names)
    whole = lambda: lossfit.fit(runs, "power_linear", "step", "all", DRAWS)  # noqa: E731
    _cold, all_of_it = _report.best(whole, 7)
    print(f"lossfit.fit       {1e6 * all_of_it / FITS:10.2f} us a fit")
    record["lossfit"] = {
        "kernels_us": 1e6 * warm / FITS,
        "fit_us": 1e6 * all_of_it / FITS,
        "first_s": cold,
    }
    many = fit_batch(
        batch(x, y, 1), program, table(1), np.array([7], np.uint64), draws=400_000
    ).draws[0]
    return warm / FITS, many


def emcee_time(x: Floats, y: Floats, start: Floats, steps: int) -> tuple[float, Floats, float]:
    """Seconds for 1,000 effective draws, draws (n_parameters, n), and effective draws."""
    import emcee

    walkers = 32
    rng = np.random.default_rng(1)
    sampler = emcee.EnsembleSampler(walkers, 5, log_posterior, args=(x, y), vectorize=True)
    sampler.random_state = np.random.RandomState(5).get_state()
    first = start[:, rng.choice(start.shape[1], walkers)].T.copy()
    first[:, -1] = np.log(first[:, -1])
    begin = time.perf_counter()
    sampler.run_mcmc(first, steps)
    seconds = time.perf_counter() - begin
    tau = float(sampler.get_autocorr_time(tol=0).max())
    effective = walkers * steps / tau
    chain = sampler.get_chain(flat=True).T.copy()
    chain[-1] = np.exp(chain[-1])
    print(
        f"emcee             {1e6 * seconds / effective * 1000:10.0f} us for 1,000 effective draws "
        f"({steps} steps, autocorrelation time {tau:.0f}, {effective:.0f} effective, "
        f"{seconds:.1f} s)"
    )
    return seconds / effective * 1000, chain, effective


def bootstrap_time(x: Floats, y: Floats, refits: int) -> tuple[float, float]:
    """Seconds for curve_fit and 1,000 residual bootstraps, with and without the model's bounds."""

    def model(t: Floats, alpha: float, e: float, a: float, b: float) -> Floats:
        return e + a * t**-alpha - b * t

    bounds = ((ALPHA[0], 0, 0, 0), (ALPHA[1], 10, 10, 10))
    rng = np.random.default_rng(2)
    begin = time.perf_counter()
    best, _ = curve_fit(model, x, y, (0.5, y[-1], 0.05, 0.05), bounds=bounds)
    fitted = model(x, *best)
    residual = y - fitted
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    for _ in range(refits):
        curve_fit(model, x, fitted + rng.choice(residual, x.size), best, bounds=bounds)
    each = (time.perf_counter() - begin) / refits
    total = first + 1000 * each
    # Without bounds curve_fit uses a faster optimiser, for a model in which E, A, B may be
    # negative.
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(refits):
            try:
                curve_fit(model, x, fitted + rng.choice(residual, x.size), best)
            except RuntimeError:  # a resample that did not converge
                continue
    free = first + 1000 * (time.perf_counter() - begin) / refits
    print(
        f"curve_fit + 1,000 bootstraps: {total:.2f} s; without bounds {free:.2f} s "
        f"({refits} refits timed)"
    )
    return total, free


def numpyro_time(x: Floats, y: Floats) -> float | None:
    """Seconds for 1,000 effective draws of NUTS, warm; None if NumPyro is not installed."""
    try:
        import jax
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as dist
        from numpyro.infer import MCMC, NUTS
    except ImportError:
        print("NumPyro is not installed: pip install '.[peers]' adds it")
        return None
    numpyro.enable_x64()
    one = jnp.array(x)

    def model(loss: Any) -> None:
        alpha = numpyro.sample(
            "alpha",
            dist.TruncatedDistribution(
                dist.Normal(np.log(ALPHA[2]), ALPHA[3]), np.log(ALPHA[0]), np.log(ALPHA[1])
            ),
        )
        variance = numpyro.sample("variance", dist.InverseGamma(NOISE[0], NOISE[0] * NOISE[1] ** 2))
        sigma = jnp.sqrt(variance)
        e, a, b = (
            numpyro.sample(name, dist.HalfNormal(sd * sigma / NOISE[1]))
            for name, sd in zip("EAB", PRIOR_SD, strict=True)
        )
        mean = e + a * one ** -jnp.exp(alpha) - b * one
        numpyro.sample("y", dist.Normal(mean, sigma), obs=loss)

    sampler = MCMC(NUTS(model, target_accept_prob=0.9), num_warmup=500, num_samples=1000,
                   progress_bar=False)  # fmt: skip
    sampler.run(jax.random.PRNGKey(0), y)
    begin = time.perf_counter()
    sampler.run(jax.random.PRNGKey(1), y)
    seconds = time.perf_counter() - begin
    effective = min(
        float(numpyro.diagnostics.effective_sample_size(np.asarray(v)[None]))
        for v in sampler.get_samples().values()
    )
    print(f"NumPyro NUTS, warm {1e6 * seconds / effective * 1000:.0f} us for 1,000 effective draws")
    return seconds / effective * 1000


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
    parser.add_argument("--refits", type=int, default=300, help="of the bootstrap")
    options = parser.parse_args()
    record = _report.start("peers")
    x, y = curve()
    seconds, draws = ours(x, y, record)
    emcee_seconds, chain, effective = emcee_time(x, y, draws[:, :5000], options.steps)
    bounded, free = bootstrap_time(x, y, options.refits)
    others = {"emcee": emcee_seconds, "bootstrap": bounded, "bootstrap without bounds": free}
    nuts = numpyro_time(x, y)
    if nuts is not None:
        others["NumPyro NUTS"] = nuts
    failures = []
    record["ratios"] = {}
    for name, other in others.items():
        ratio = other / seconds
        record["ratios"][name] = ratio
        print(f"lossfit is {ratio:,.0f} times faster than {name}")
        if ratio < BARS.get(name, 0):
            failures.append(f"{name}: {ratio:,.0f} x, bar {BARS[name]:,} x")
    gap = quantile_gap(draws, chain)
    allowed = 0.03 + 4 * 2.1 / np.sqrt(effective)  # 2.1: error of a 5 % quantile, in sd / sqrt(n)
    print(
        f"quantiles agree with emcee's to {gap:.3f} sd (allowed {allowed:.3f}: bar and its noise)"
    )
    if gap > allowed:
        failures.append(f"quantiles differ from emcee's by {gap:.3f} sd")
    worst = broad_curve_gap()
    print(f"20-point curve with a broad alpha: {worst:.2f} of the exactness bar")
    if worst > 1:
        failures.append("the 20-point curve misses the exactness bar")
    record.update(quantile_gap=gap, broad_curve=worst)
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
