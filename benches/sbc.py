"""Simulation-based calibration: ranks of true parameters among posterior draws are uniform.

Parameters are drawn from the prior, curves from the parameters, and each curve is fitted with the
same prior (Talts et al. 2018, arXiv 1804.06788).  Priors are absolute: relative ones depend on the
data, so no simulation can be drawn from them first.

    python -m benches.sbc --laws power power_linear --n 60 --simulations 20000
    python -m benches.sbc --noise student_t --simulations 1000

Laws of three nonlinear parameters are sampled by the ensemble, with Gaussian noise only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from benches import _report
from lossfit import laws
from lossfit.kernels.driver import Batch, PriorTable, fit_batch
from lossfit.laws import Law
from lossfit.laws.priors import KIND_CODES
from tests.kernels.oracles import columns, nonlinear_rows

Floats = NDArray[np.float64]

DRAWS = 99  # so that ranks are 0 to 99
BINS = 20
THIN = {"gaussian": 1, "student_t": 8}  # Gibbs sweeps between draws
DOF = 4.0
START = 0.05  # first axis value

# Means and standard deviations (at sigma = scale) of the priors of linear parameters, as shares of
# the law's typical values: half-normals, or normals cut at zero.
SETTINGS = {"informative": (1.2, 0.3), "at_zero": (0.0, 0.5)}
# Of the law's own spread: curves that are steep beyond all measure teach nothing about a posterior.
SPREAD = 0.6
SIGMA = (3.0, 0.02)


@dataclass(frozen=True)
class Simulation:
    """Curves drawn from the prior.

    Attributes
    ----------
    truth : ndarray, shape (n_simulations, d + p + 1)
        Nonlinear parameters, linear ones, sigma.
    """

    truth: Floats
    batch: Batch
    table: PriorTable


def method_of(law: str) -> str:
    """How the law is fitted."""
    return "quadrature" if len(laws.get(law).nonlinear) <= 2 else "ensemble"


def _narrowed(law: Law) -> Law:
    """The law with log-normal priors of `SPREAD` times their spread."""
    narrow = {
        p.name: replace(p.prior, second=SPREAD * p.prior.second)
        for p in law.nonlinear
        if p.prior.kind == "lognormal"
    }
    return law.with_priors(narrow)


def _from_prior(
    rng: np.random.Generator, size: int, rows: Floats, mean: Floats, sd: Floats
) -> Floats:
    """Parameters from the prior, by rejection: bounds and positivity cut the joint density."""
    kept: list[Floats] = []
    count = 0
    while count < size:
        m = 2 * size
        columns = []
        inside = np.ones(m, bool)
        for low, high, kind, first, second in rows:
            z = rng.normal(size=m)
            if kind == KIND_CODES["uniform"]:
                value = rng.uniform(low, high, m)  # the bounds are cut to it
            else:
                lognormal = kind == KIND_CODES["lognormal"]
                value = first * np.exp(second * z) if lognormal else first + second * z
            inside &= (value > low) & (value < high)
            columns.append(value)
        shape, scale = SIGMA
        sigma = np.sqrt(shape * scale**2 / rng.gamma(shape, size=m))
        linear = mean + sd * (sigma / scale)[:, None] * rng.normal(size=(m, mean.size))
        inside &= (linear >= 0).all(axis=1)
        kept.append(np.column_stack([*columns, linear, sigma])[inside])
        count += len(kept[-1])
    return np.concatenate(kept)[:size]


def simulate(
    law: str, size: int, n: int, setting: str, noise: str, rng: np.random.Generator
) -> Simulation:
    """Curves of `n` points (give or take a fifth: runs are ragged) with random weights."""
    declared = laws.get(law)
    typical = np.array([declared.typical[p.name] for p in declared.linear])
    mean, sd = (share * typical for share in SETTINGS[setting])
    rows = nonlinear_rows(_narrowed(declared), START)
    truth = _from_prior(rng, size, rows, mean, sd)
    sizes = rng.integers(n - n // 5, n + n // 5 + 1, size)
    x_parts, y_parts, w_parts = [], [], []
    for parameters, points in zip(truth, sizes, strict=True):
        x = np.geomspace(START, 1, points)
        nonlinear, linear = parameters[: len(rows)], parameters[len(rows) : -1]
        y = columns(law, x, nonlinear[:, None])[0] @ linear
        weight = rng.uniform(0.5, 2.0, points)
        error = rng.normal(size=points) if noise == "gaussian" else rng.standard_t(DOF, points)
        x_parts.append(x)
        y_parts.append(y + parameters[-1] * error / np.sqrt(weight))
        w_parts.append(weight)
    one = np.ones((size, 1))
    table = PriorTable(
        np.tile(rows, (size, 1, 1)), one * mean, one * sd, 0 * one * mean, one * np.array(SIGMA)
    )
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    x, y, weight = (np.concatenate(part) for part in (x_parts, y_parts, w_parts))
    return Simulation(truth, Batch(x, y, weight, offsets), table)


def ranks(
    law: str, simulation: Simulation, noise: str, seed: int, method: str | None = None
) -> tuple[NDArray[np.int64], Floats]:
    """Ranks of the truth among 99 draws, shape (n_simulations, n_parameters), and the fits'
    status.  By default the method is the law's own."""
    size = len(simulation.truth)
    keys = np.random.default_rng(seed).integers(2**63, size=size).astype(np.uint64)
    thin = THIN[noise]
    result = fit_batch(
        simulation.batch,
        laws.get(law).program,
        simulation.table,
        keys,
        draws=DRAWS * thin,
        method=method or method_of(law),
        noise=noise,
        dof=DOF,
    )
    draws = result.draws[:, :, thin - 1 :: thin]
    return (draws < simulation.truth[:, :, None]).sum(axis=2), result.info["status"]


def p_values(rank: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Chi-square p-value of each parameter's rank histogram, and the histograms (n_parameters,
    BINS)."""
    width = (DRAWS + 1) // BINS
    counts = np.array([np.bincount(row // width, minlength=BINS) for row in rank.T])
    expected = len(rank) / BINS
    statistic = ((counts - expected) ** 2 / expected).sum(axis=1)
    return np.asarray(chi2.sf(statistic, BINS - 1)), counts


def study(
    law: str, n: int, setting: str, noise: str, size: int, seed: int, chunk: int = 2000
) -> dict[str, Any]:
    """Ranks of many simulations, a chunk at a time."""
    rng = np.random.default_rng(seed)
    found, failed = [], 0
    begin = time.perf_counter()
    for first in range(0, size, chunk):
        simulation = simulate(law, min(chunk, size - first), n, setting, noise, rng)
        rank, status = ranks(law, simulation, noise, int(rng.integers(2**62)))
        found.append(rank)
        failed += int((status != 0).sum())
    p, counts = p_values(np.concatenate(found))
    return {
        "law": law,
        "n": n,
        "setting": setting,
        "noise": noise,
        "simulations": size,
        "failed": failed,
        "seconds": time.perf_counter() - begin,
        "parameters": [*laws.get(law).parameters, "sigma"],
        "p": p.tolist(),
        "counts": counts.tolist(),
    }


def plot(results: list[dict[str, Any]], path: str) -> None:
    """Rank histograms, one row a study."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    width = max(len(r["parameters"]) for r in results)
    figure, axes = plt.subplots(
        len(results), width, figsize=(2.2 * width, 1.6 * len(results)), squeeze=False
    )
    for row, result in zip(axes, results, strict=True):
        expected = result["simulations"] / BINS
        for ax in row:
            ax.set_visible(False)
        for ax, name, counts, p in zip(
            row, result["parameters"], result["counts"], result["p"], strict=False
        ):
            ax.set_visible(True)
            ax.bar(np.arange(BINS), np.array(counts) / expected, width=1, color="0.6")
            ax.axhline(1, color="k", lw=0.8)
            ax.set_title(f"{name}, p = {p:.2g}", fontsize=7)
            ax.set_ylim(0.7, 1.3)
            ax.set_xticks([])
            ax.tick_params(labelsize=6)
        row[0].set_ylabel(f"{result['law']}\n{result['setting']}, n={result['n']}", fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("--laws", nargs="+", default=list(laws.NAMES))
    arguments.add_argument("--n", type=int, nargs="+", default=[60])
    arguments.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    arguments.add_argument("--noise", default="gaussian", choices=list(THIN))
    arguments.add_argument("--simulations", type=int, default=5000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--plot", metavar="PNG")
    options = arguments.parse_args()
    if options.noise == "student_t":
        options.laws = [law for law in options.laws if method_of(law) == "quadrature"]
    record = _report.start("sbc")
    results = []
    for law in options.laws:
        for n in options.n:
            for setting in options.settings:
                size, seed = options.simulations, options.seed
                result = study(law, n, setting, options.noise, size, seed)
                results.append(result)
                text = ", ".join(
                    f"{name} {p:.3g}"
                    for name, p in zip(result["parameters"], result["p"], strict=True)
                )
                print(
                    f"{law}, n {n}, {setting}, {options.noise}, {result['simulations']} "
                    f"simulations, {result['failed']} incomplete, {result['seconds']:.1f} s: "
                    f"p {text}",
                    flush=True,
                )
    record["results"] = results
    if options.plot:
        plot(results, options.plot)
    low = min(min(r["p"]) for r in results)
    many = sum(len(r["p"]) for r in results)
    # A Bonferroni bound at 1 in 1,000 for the whole table.
    failures = [] if low > 1e-3 / many else [f"a p-value of {low:.2g} among {many}"]
    failures += [f"{r['failed']} fits of {r['law']} are incomplete" for r in results if r["failed"]]
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
