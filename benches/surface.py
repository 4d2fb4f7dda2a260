"""Surfaces of final losses: simulation-based calibration, the Epoch re-fit, held-out rows.

python -m benches.surface                       # calibration on 300 synthetic tables
python -m benches.surface --points CSV          # and the Chinchilla points (Epoch's file)
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import chi2, kstest

from lossfit._base.errors import LossfitWarning
from lossfit.laws.chinchilla import EPOCH, LAW
from lossfit.surfaces.fitting import Surface, _fitted, fit_surface
from lossfit.surfaces.table import Table
from lossfit.surfaces.target import SIGMA_MEDIAN, SIGMA_SD, Target, middle

DRAWS = 199
BINS = 10
LEAST_P = 1e-3  # of one rank test; 8 quantities are tested


def synthetic(rng: np.random.Generator, rows: int) -> tuple[Target, dict[str, float]]:
    """A table drawn from the prior, losses in units of the level, and the truth."""
    log_n, log_d = rng.normal(0, 1.5, rows), rng.normal(0, 1.5, rows)
    log_n -= log_n.mean()
    log_d -= log_d.mean()
    e, a, b = np.abs(rng.normal(0, 1, 3))
    exponents = [np.exp(m + s * rng.normal()) for m, s in map(middle, LAW.priors.values())]
    sigma = SIGMA_MEDIAN * np.exp(SIGMA_SD * rng.normal())
    while not 1 < (nu := rng.gamma(2.0, 10.0)) < 100:
        pass
    alpha, beta = exponents
    mean = e + a * np.exp(-alpha * log_n) + b * np.exp(-beta * log_d)
    loss = mean * np.exp(sigma * rng.standard_t(nu, rows))
    table = Table(np.exp(log_n), np.exp(log_d), loss, None, tuple(map(str, range(rows))))
    target = Target.of(table, LAW, LAW.priors, "student_t")
    # The prior's unit is the median loss of a table; here it must not depend on the draw.
    target = replace(target, level=1.0, log_y=np.log(loss))
    truth = {"E": e, "A": a, "B": b, "alpha": alpha, "beta": beta, "sigma": sigma, "nu": nu}
    return target, {**truth, "far": e + a * np.exp(-4 * alpha) + b * np.exp(-4 * beta)}


def calibration(tables: int, rows: int, seed: int) -> bool:
    """Ranks of the truth among posterior draws."""
    ranks: dict[str, list[int]] = {}
    ensembles, start = 0, time.perf_counter()
    for k in range(tables):
        rng = np.random.default_rng([seed, k])
        target, truth = synthetic(rng, rows)
        surface: Surface = _fitted(target, 0.9, DRAWS + 1, 0, rng)
        ensembles += surface.method == "ensemble"
        draws = {name: values[:DRAWS] for name, values in surface.values.items()}
        far = surface.losses(np.exp(4.0), np.exp(4.0))[:DRAWS]
        for name, value in truth.items():
            one = far if name == "far" else draws[name]
            ranks.setdefault(name, []).append(int((one < value).sum()))
    seconds = time.perf_counter() - start
    print(f"{tables} tables of {rows} rows in {seconds:.0f} s, {ensembles} by the ensemble")
    print("quantity   p of uniform ranks (chi2, KS)   covered at 50, 90 %")
    good = True
    for name, found in ranks.items():
        u = (np.array(found) + 0.5) / (DRAWS + 1)
        counts = np.histogram(u, BINS, (0, 1))[0]
        p = chi2.sf(((counts - tables / BINS) ** 2 / (tables / BINS)).sum(), BINS - 1)
        ks = kstest(u, "uniform").pvalue
        covered = [float((np.abs(u - 0.5) < q / 2).mean()) for q in (0.5, 0.9)]
        print(f"{name:<9}  {p:.3f}  {ks:.3f}   {covered[0]:.3f}  {covered[1]:.3f}")
        good &= min(p, ks) > LEAST_P
    return good


def epoch(path: str) -> bool:
    """The Chinchilla points against the Epoch re-fit."""
    frame = pd.read_csv(path)
    good = True
    for dropped in (5, 0):
        kept = frame.sort_values("loss").iloc[: len(frame) - dropped]
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LossfitWarning)
            surface = fit_surface(
                kept, params="Model Size", flops="Training FLOP", draws=4000, random_seed=1
            )
        seconds = time.perf_counter() - start
        print(f"{len(kept)} points, {seconds:.1f} s, efficiency {surface.efficiency:.2f}")
        summary = surface.summary()
        for name, value in EPOCH.values.items():
            row, error = summary.loc[name], EPOCH.errors[name]
            z = (row["median"] - value) / error
            print(
                f"  {name:<6}{row['median']:>9.4g} ({row['lower']:.4g} to {row['upper']:.4g})"
                f"   Epoch {value:.4g} +- {error:.3g}: {z:+.2f} of its errors"
            )
            good &= abs(z) < 1
    return good


def held_out(path: str) -> None:
    """Coverage of 90 % intervals on rows left out: at random, and the largest budgets.

    The file has columns params, tokens, budget, loss, and those that tell its tables apart.
    """
    frame = pd.read_csv(path)
    keys = [k for k in ("source", "dataset", "model", "condition") if k in frame]
    rng = np.random.default_rng(0)
    print("table, rows fitted and left out, budgets to: covered at 90 %, bias, width")
    for key, table in frame.groupby(keys, dropna=False):
        edge = np.quantile(table["budget"], 0.6)
        some = rng.uniform(size=len(table)) < 0.7
        for what, fitted in (("at random", some), ("larger", (table["budget"] <= edge).to_numpy())):
            rest = table[~fitted]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LossfitWarning)
                surface = fit_surface(table[fitted])
                found = surface.predict(rest["params"], rest["tokens"], noise=True)
            lower, median, upper = np.quantile(
                found.to_numpy()[0]
                if surface.chains == 1
                else np.concatenate(list(found.to_numpy())),
                [0.05, 0.5, 0.95],
                axis=0,
            )
            loss = rest["loss"].to_numpy()
            covered = float(((loss > lower) & (loss < upper)).mean())
            ratio = rest["budget"].max() / table[fitted]["budget"].max()
            name = "/".join(str(k) for k in key if isinstance(k, str))
            print(
                f"{name:<40} {what:<10} {fitted.sum():>4} {len(rest):>4} {ratio:>5.3g}x: "
                f"{covered:.2f}  {np.mean(median - loss):+.4f}  {np.mean(upper - lower):.4f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", help="chinchilla_points.csv")
    parser.add_argument("--held-out", help="a CSV of isoFLOP tables")
    parser.add_argument("--tables", type=int, default=300)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    good = True
    if options.points:
        good &= epoch(options.points)
    if options.held_out:
        held_out(options.held_out)
    if options.tables:
        good &= calibration(options.tables, options.rows, options.seed)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
