"""Surfaces of final losses: simulation-based calibration, the Epoch re-fit, held-out rows.

python -m benches.surface                       # calibration on 300 synthetic tables
python -m benches.surface --coupled --rows 8    # ... of the default law
python -m benches.surface --points CSV          # and the Chinchilla points (Epoch's file)
python -m benches.surface --tables 0 --beyond CSV   # rows beyond the fitted compute
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
from lossfit.laws import coupled
from lossfit.laws.chinchilla import EPOCH, LAW
from lossfit.surfaces.batch import KAPPA, SIGMA, posteriors
from lossfit.surfaces.conditioning import missed_of, values_of
from lossfit.surfaces.constants import KNOTS
from lossfit.surfaces.fitting import _fitted, fit_surface, fit_surfaces
from lossfit.surfaces.forms import Coupled
from lossfit.surfaces.missed import kernel, usual
from lossfit.surfaces.result import Surface
from lossfit.surfaces.table import Table
from lossfit.surfaces.target import SIGMA_MEDIAN, SIGMA_SD, Target, middle

OUT = "lossfit/data/chinchilla_posterior.csv"
DRAWS = 199
COUPLED = (
    "log_E",
    "log_A",
    "log_B",
    "log_alpha",
    "log_beta",
    "log_gamma",
    "log_sigma",
    "log_kappa",
)
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
    return uniform(ranks)


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


def kept(path: str) -> None:
    """Write what `lossfit.surfaces.constants` keeps of the fit of 240 Chinchilla points."""
    points = pd.read_csv(path).sort_values("loss").iloc[:240]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        surface = fit_surface(
            points, params="Model Size", flops="Training FLOP", draws=4000, random_seed=0
        )
    missed = surface.missed
    assert missed is not None
    v, centre = surface.values, missed.centre
    theta = np.column_stack(
        [
            np.log(v["E"] / missed.level),
            np.log(v["A"] / missed.level) - v["alpha"] * centre[0],
            np.log(v["B"] / missed.level) - v["beta"] * centre[1],
            *(np.log(v[name]) for name in ("alpha", "beta", "gamma")),
        ]
    )
    columns = [theta, v["sigma"][:, None], v["kappa"][:, None]]
    seen = surface.seen
    assert seen is not None
    for (low, high), nodes, paths in zip(
        (seen.params, seen.tokens), missed.paths.nodes, missed.paths.values, strict=True
    ):
        knots = np.linspace(np.log(low), np.log(high), KNOTS + 1)[:-1]
        columns.append(np.stack([np.interp(knots, nodes, path) for path in paths]))
    print("centre", centre, "level", missed.level, seen)
    names = ["log_E", "log_A", "log_B", "log_alpha", "log_beta", "log_gamma", "sigma", "kappa"]
    names += [f"{what}_{k}" for what in ("size", "tokens") for k in range(KNOTS)]
    # Draws far apart in time say more than as many that follow each other.
    table = pd.DataFrame(np.concatenate(columns, axis=1), columns=names).iloc[::10]
    table.to_csv(OUT, index=False, float_format="%.5g")
    print(f"wrote {OUT}")


def coupled_tables(rng: np.random.Generator, tables: int, rows: int) -> tuple[list[Table], dict]:
    """Tables drawn from the priors of the coupled law and of what it misses, and the truth."""
    out, truth = [], {name: [] for name in (*COUPLED, "far")}
    while len(out) < tables:
        n, d = rng.normal(0, 1.5, (2, rows))
        n, d = n - n.mean(), d - d.mean()
        theta = np.log(np.abs(rng.normal(0, 1, 3))).tolist()
        theta += [m + s * rng.normal() for m, s in map(middle, coupled.LAW.priors.values())]
        one = np.array(theta)
        sigma, kappa = (np.exp(m + s * rng.normal()) for m, s in (SIGMA, KAPPA))
        at = np.append(n, n.max() + 1.5), np.append(d, d.max() + 1.5)
        size = usual(*at)
        g = np.zeros(rows + 1)
        for place in at:
            u = place - place[:-1].max()
            values, vectors = np.linalg.eigh(kernel(u, u))
            g += kappa * vectors @ (np.sqrt(np.maximum(values, 0)) * rng.standard_normal(rows + 1))
        loss = np.exp(one[0]) + coupled.reducible(one, *at).loss + size * g
        seen = loss[:-1] * (1 + sigma * rng.standard_normal(rows))
        if not (seen > 0).all():
            continue
        out.append(Table(np.exp(n), np.exp(d), seen, None, tuple(map(str, range(rows)))))
        for name, value in zip(COUPLED, [*one, np.log(sigma), np.log(kappa)], strict=True):
            truth[name].append(value)
        truth["far"].append(loss[-1])
    return out, truth


def coupled_ranks(tables: int, rows: int, seed: int) -> dict[str, list[int]]:
    """Ranks of the truth among `DRAWS` posterior draws of the coupled law, by quantity."""
    made, truth = coupled_tables(np.random.default_rng([seed, rows]), tables, rows)
    start = time.process_time()
    form = Coupled(coupled.LAW.priors)
    rng = np.random.default_rng(seed)
    found = posteriors(made, form, DRAWS, rng, robust=False, level=1.0)
    print(f"coupled law: {tables} tables of {rows} rows in {time.process_time() - start:.0f} CPU s")
    ranks: dict[str, list[int]] = {name: [] for name in truth}
    for k, (table, (batch, b, posterior)) in enumerate(zip(made, found, strict=True)):
        columns = [*posterior.theta.T, np.log(posterior.sigma), np.log(posterior.kappa)]
        for name, draws in zip(COUPLED, columns, strict=True):
            ranks[name].append(int((draws < truth[name][k]).sum()))
        missed = missed_of(table, batch, b, posterior, k)
        at = [np.exp(np.log(v).max() + 1.5) for v in (table.params, table.tokens)]
        v = values_of(batch, b, posterior, coupled.LAW)
        law = coupled.LAW.evaluate(v, *at, None)
        still = replace(missed, last=np.zeros(DRAWS))
        far = still.applied(law[:, None], *(np.array([x]) for x in at))[:, 0]
        ranks["far"].append(int((far < truth["far"][k]).sum()))
    return ranks


def p_values(found: list[int]) -> tuple[float, float]:
    """Of uniform ranks: by chi-squared and by Kolmogorov and Smirnov."""
    u = (np.array(found) + 0.5) / (DRAWS + 1)
    usual = len(u) / BINS
    counts = np.histogram(u, BINS, (0, 1))[0]
    p = chi2.sf(((counts - usual) ** 2 / usual).sum(), BINS - 1)
    return float(p), float(kstest(u, "uniform").pvalue)


def uniform(ranks: dict[str, list[int]]) -> bool:
    """Print tests of uniform ranks and coverage; whether none is too far off."""
    print("quantity   p of uniform ranks (chi2, KS)   covered at 50, 90 %")
    good = True
    for name, found in ranks.items():
        p, ks = p_values(found)
        u = (np.array(found) + 0.5) / (DRAWS + 1)
        covered = [float((np.abs(u - 0.5) < q / 2).mean()) for q in (0.5, 0.9)]
        print(f"{name:<9}  {p:.3f}  {ks:.3f}   {covered[0]:.3f}  {covered[1]:.3f}")
        good &= min(p, ks) > LEAST_P
    return good


SHARES = (1 / 2, 1 / 4, 1 / 10, 1 / 30, 1 / 100, 1 / 300)  # of the largest compute, fitted up to
EDGES, BINS_OF = (1.0, 2.5, 6.0, 15.0, 50.0, np.inf), ("2x", "4x", "10x", "30x", "100x")
LEAST_ROWS, LEAST_LEVELS = 10, 3
SCORES = ("held50", "held90", "crps", "crps_log", "width", "bias")


def splits(path: str) -> list[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """Source, table, rows of small compute, and all other rows."""
    out = []
    for (source, name), table in pd.read_csv(path).groupby(["source", "table"]):
        compute = 6 * table["params"] * table["tokens"]
        for share in SHARES:
            small = table[compute <= share * compute.max()]
            levels = [
                1 + (np.diff(np.sort(np.log(small[c]))) > 0.01).sum() for c in ("params", "tokens")
            ]
            if len(small) >= LEAST_ROWS and min(levels) >= LEAST_LEVELS:
                out.append((str(source), str(name), small, table[compute > share * compute.max()]))
    return out


def crps_of(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of sorted draws (n, k)."""
    n = len(draws)
    spread = ((2 * np.arange(1, n + 1) - n - 1)[:, None] * draws).sum(axis=0) / n**2
    return np.abs(draws - truth).mean(axis=0) - spread


def scored(surface: Surface, rest: pd.DataFrame, most: float) -> pd.DataFrame:
    """Scores of held-out rows, percent of the loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        found = surface.predict(rest["params"], rest["tokens"], noise=True, random_seed=1)
    draws = np.sort(found.to_numpy().reshape(-1, len(rest)), axis=0)
    loss = rest["loss"].to_numpy()
    lower, q1, median, q3, upper = np.quantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    ratio = 6 * rest["params"].to_numpy() * rest["tokens"].to_numpy() / most
    return pd.DataFrame(
        {
            "bin": pd.cut(ratio, EDGES, labels=BINS_OF, right=False),
            "held50": (q1 <= loss) & (loss <= q3),
            "held90": (lower <= loss) & (loss <= upper),
            "crps": 100 * crps_of(draws, loss) / loss,
            # Of the logarithm: noise by Student's t of the log loss has no mean of the loss itself.
            "crps_log": 100 * crps_of(np.log(draws), np.log(loss)),
            "width": 100 * (upper - lower) / loss,
            "bias": 100 * (median - loss) / loss,
        }
    ).astype(dict.fromkeys(SCORES, float))


def beyond(path: str) -> None:
    """Rows beyond the fitted compute, by table: the default law, and Chinchilla's for comparison.

    Nothing is fitted to these tables here: the law's and the discrepancy's constants are those of a
    study that chose them with whole sources left out (on most of these tables among others).
    """
    found = splits(path)
    start = time.perf_counter()
    surfaces = fit_surfaces([small for _, _, small, _ in found], random_seed=0)
    seconds = time.perf_counter() - start
    print(f"{len(found)} splits in {seconds:.0f} s by the default law")
    logs = {}
    for what in ("default", "chinchilla"):
        parts = []
        for k, (source, name, small, rest) in enumerate(found):
            if what == "default":
                surface = surfaces[k]
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", LossfitWarning)
                    surface = fit_surface(small, "chinchilla")
            most = float((6 * small["params"] * small["tokens"]).max())
            part = scored(surface, rest, most)
            parts.append(part.assign(source=source, table=name, split=k))
        frame = pd.concat(parts)
        for keys in (["source", "table", "split"], ["source", "table"], ["source"], []):
            frame = frame.groupby([*keys, "bin"], observed=True)[list(SCORES)].mean()
            if keys == ["source"]:
                print(frame["held90"].unstack().round(2).to_string())
            frame = frame.reset_index()
        print(what, "(means within a split, a table, a source, then over sources)")
        print(frame.round(2).to_string(index=False), flush=True)
        print(f"mean CRPS {frame['crps'].mean():.2f} %, 90 % held {frame['held90'].mean():.3f}")
        logs[what] = frame.set_index("bin")["crps_log"]
    ratio = logs["default"] / logs["chinchilla"]
    print("CRPS of the log loss, default over chinchilla:", ratio.round(2).to_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", help="chinchilla_points.csv")
    parser.add_argument("--held-out", help="a CSV of isoFLOP tables")
    parser.add_argument("--coupled", action="store_true", help="calibrate the default law instead")
    parser.add_argument("--kept", help="chinchilla_points.csv: print the constants kept of it")
    parser.add_argument("--beyond", help="a CSV of tables: source, table, params, tokens, loss")
    parser.add_argument("--tables", type=int, default=300)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    good = True
    if options.points:
        good &= epoch(options.points)
    if options.kept:
        kept(options.kept)
    if options.beyond:
        beyond(options.beyond)
    if options.held_out:
        held_out(options.held_out)
    if options.coupled:
        good &= uniform(coupled_ranks(options.tables, options.rows, options.seed))
    elif options.tables:
        good &= calibration(options.tables, options.rows, options.seed)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
