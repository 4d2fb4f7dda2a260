"""How often intervals of the laws by name hold on the seven text sources (`record.RECORDS`).

The default law's record on all sources is that of `benches.learn_forecast`.

    python -m benches.calibration CURVES [--plot out/calibration.png] [--leave-one-out] [--priors]

CURVES is a folder of public curves (`benches.curves`).  Every run is cut at 30, 50 and 70 % and its
known future forecast; scores are means within a source, then over sources.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeWarning, curve_fit

import lossfit
from benches import _report, curves
from lossfit.backtests.backtesting import Check
from lossfit.backtests.cases import make_cases
from lossfit.backtests.scores import LEVELS, score
from lossfit.laws import find

BARS = {"crps": (0.0078, 0.0160, 0.0172), "masked": (0.0110, 0.0216, 0.0285)}
PLAIN = ("power", "power_linear", "power_offset", "power_linear_offset", "broken_power")


def by_curve_fit(runs: lossfit.Runs, group: dict[str, str], draws: int = 1000) -> Check:
    """What most people do: `curve_fit` of a power law, and normal draws from its covariance."""
    cases = make_cases(runs, "step", curves.CUTOFFS, curves.HORIZONS, "none")
    assert cases.runs is not None
    out = np.empty((len(cases.at), draws))
    rng = np.random.default_rng(0)
    for i, run in enumerate(cases.runs):
        t, y = run.axis("step"), run.loss
        late = t >= 0.3 * t[-1]
        late = late if late.sum() >= 12 else np.arange(len(t)) >= len(t) - 25
        x, y = t[late] / t[-1], y[late]

        def law(x: Any, e: float, a: float, alpha: float) -> Any:
            return e + a * np.asarray(x) ** -alpha

        mine = np.flatnonzero(cases.case == i)
        try:
            best, cov = curve_fit(
                law, x, y, (y[-1] * 0.8, y[-1] * 0.2, 0.3), bounds=(0, (np.inf, np.inf, 3))
            )
            found = rng.multivariate_normal(best, cov, draws, check_valid="ignore")
        except (RuntimeError, np.linalg.LinAlgError):
            found = np.tile([y[-1], 0.0, 0.3], (draws, 1))
        sd = np.std(y - law(x, *found.mean(0)))
        for j in mine:
            curve = law(cases.at[j] / t[-1], *found.T)
            out[j] = curve + rng.normal(0, sd / math.sqrt(cases.points[j]), draws)
    out = np.nan_to_num(out, nan=1e3, posinf=1e3, neginf=-1e3)
    found_scores = score(out, cases.observed, 0.9)
    frame = pd.DataFrame(
        {
            "run": np.array(cases.names, dtype=object)[cases.case],
            "cutoff": np.array(cases.cutoffs)[cases.case],
            "horizon": list(cases.horizon),
            "observed": cases.observed,
            "median": found_scores.median,
            "crps": found_scores.crps,
            "log_score": found_scores.log_score,
            "width": found_scores.width,
            "error": np.abs(found_scores.median - cases.observed),
            **{f"cover{100 * q:.0f}": found_scores.cover[k] for k, q in enumerate(LEVELS)},
        }
    )
    frame.insert(1, "group", [group[name] for name in frame["run"]])
    skipped = pd.DataFrame(cases.skipped, columns=["run", "reason"])
    return Check(frame, skipped, "step", 0.9, ("curve_fit",))


def line(label: str, check: Check) -> dict[str, Any]:
    """Print one row of the table, and give it back."""
    table = check.summary()
    worst = check.summary("group")["cover90"]

    def join(column: str, form: str, factor: float = 1.0) -> str:
        return "/".join(format(factor * v, form) for v in table[column])

    row = {
        "method": label,
        "cov90": join("cover90", ".0f", 100),
        "cov50": join("cover50", ".0f", 100),
        "crps": join("crps", ".4f"),
        "width": join("width", ".3f"),
        "error": join("error", ".4f"),
        "worst": f"{100 * worst.min():.0f} ({' '.join(worst.idxmin())})",
    }
    print(
        f"{label:34s} {row['cov90']:>10} {row['cov50']:>10}  {row['crps']}  {row['width']}  "
        f"{row['error']}  {row['worst']}",
        flush=True,
    )
    return row


def leave_one_out(runs: lossfit.Runs, group: dict[str, str]) -> Check:
    """Constants chosen on six sources, scored on the seventh: B0, kb, sB and the temper.

    The objective is the mean log score less the mean log CRPS (relative to the loss), within a
    source and horizon.
    """
    law = find("annealing")
    checks, goals = [], []
    grid = itertools.product(
        (0.15, 0.19, 0.24), (0.025, 0.04, 0.065), (0.05, 0.1, 0.2), (1.0, 1.5, 2.5)
    )
    for b0, kb, future, temper in grid:
        weights = tuple(
            math.exp(-0.5 * (math.log(size / kb) / 0.6) ** 2) for size in law.discrepancies
        )
        one = replace(
            law,
            strength=replace(law.strength, mean=b0, share=b0 / 1.5),
            discrepancy_weights=weights,
            future=future,
            temper=temper,
        )
        check = lossfit.backtest(runs, laws=one, group=group, axis="step", draws=400)
        frame = check.frame.assign(
            goal=check.frame["log_score"] - np.log(check.frame["crps"] / check.frame["observed"])
        )
        goals.append(frame.groupby(["group", "horizon"])["goal"].mean().groupby("group").mean())
        checks.append(check)
    table = pd.DataFrame(goals)
    parts = []
    for source in table:
        best = int(table.drop(columns=source).mean(axis=1).argmax())
        frame = checks[best].frame
        parts.append(frame[frame["group"] == source])
    return replace(checks[0], frame=pd.concat(parts, ignore_index=True))


def priors_by_source(runs: lossfit.Runs, group: dict[str, str]) -> None:
    """What the runs of each source say of B: the evidence behind the shipped prior."""
    print("B of finished runs, in nats (median, 10 and 90 %), and what a next run would be told")
    for source in dict.fromkeys(group.values()):
        some = runs.select([name for name in runs.names if group[name] == source])
        found = lossfit.learn_priors(some)
        b = found.b[[name in found.used for name in found.names]]
        if not len(b):
            print(f"  {source:14s} none of {len(some)} runs can tell")
            continue
        low, mid, high = np.quantile(b, [0.1, 0.5, 0.9])
        print(
            f"  {source:14s} {mid:.3f} ({low:.3f} to {high:.3f}), {len(b)} of {len(some)} runs: "
            f"{found!r}"
        )


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("folder", help="folder of curves")
    arguments.add_argument("--plot", help="write the picture of annealing here")
    arguments.add_argument("--leave-one-out", action="store_true", help="choose constants again")
    arguments.add_argument("--priors", action="store_true", help="B by source")
    options = arguments.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    warnings.simplefilter("ignore", OptimizeWarning)
    record = _report.start("calibration")
    runs, group = curves.load(options.folder)
    print(f"{len(runs)} runs of {len(set(group.values()))} sources")
    if options.priors:
        priors_by_source(runs, group)

    def check(laws: Any = "annealing", **more: Any) -> Callable[[], Check]:
        return lambda: lossfit.backtest(runs, group=group, axis="step", laws=laws, **more)

    methods: dict[str, Callable[[], Check]] = {
        "annealing": check(),
        "annealing, siblings": check(siblings="others"),
        "annealing, schedules masked": check(schedules="masked"),
        "annealing, nothing known": check(schedules="none"),
        "multi_power": check(laws="multi_power"),
        "annealing and multi_power mixed": check(laws=["annealing", "multi_power"]),
        "curve_fit and covariance": lambda: by_curve_fit(runs, group),
        **{law: check(laws=law) for law in PLAIN},
        "power and power_linear mixed": check(laws=["power", "power_linear"]),
    }
    if options.leave_one_out:
        methods["annealing, one source left out"] = lambda: leave_one_out(runs, group)
    print(
        "method, then at 1.25x / 2x / end: coverage of 90 and 50 %, CRPS, width of 90 %, |error|, "
    )
    print("lowest 90 % coverage of a source")
    rows, found = [], {}
    for label, method in methods.items():
        start = time.perf_counter()
        found[label] = method()
        rows.append({**line(label, found[label]), "seconds": time.perf_counter() - start})
    record["rows"] = rows
    if options.plot:
        found["annealing"].plot().savefig(options.plot, dpi=120)
    print("\nannealing by source")
    for source, part in found["annealing"].summary("group").groupby("group", sort=False):
        cover = "/".join(f"{100 * v:.0f}" for v in part["cover90"])
        half = "/".join(f"{100 * v:.0f}" for v in part["cover50"])
        crps = "/".join(f"{v:.4f}" for v in part["crps"])
        print(f"  {source:14s} {cover:>12} {half:>10}  {crps}")
    failures = _failures(found)
    _report.finish(record, options.json, failures)


def _failures(found: dict[str, Check]) -> list[str]:
    """Bars that are missed."""
    out = []
    table = {label: check.summary() for label, check in found.items()}
    own, masked = table["annealing"], table["annealing, schedules masked"]
    for label in ("annealing", "annealing, one source left out"):
        if label in table:
            if not table[label]["cover90"].between(0.86, 0.95).all():
                out.append(f"{label}: 90 % coverage outside 86 to 95 %")
            if not table[label]["cover50"].between(0.42, 0.62).all():
                out.append(f"{label}: 50 % coverage outside 42 to 62 %")
            if (table[label]["crps"].to_numpy() > BARS["crps"]).any():
                out.append(f"{label}: CRPS above {BARS['crps']}")
    if found["annealing"].summary("group")["cover90"].min() < 0.75:
        out.append("annealing: a source below 75 %")
    if (
        not masked["cover90"].between(0.86, 0.97).all()
        or (masked["crps"].to_numpy() > BARS["masked"]).any()
    ):
        out.append("masked schedules: coverage outside 86 to 97 %, or CRPS too large")
    if (own["crps"] > 0.55 * table["power_linear"]["crps"]).any():
        out.append("annealing: less than 45 % below power_linear")
    plain = np.min([table[law]["crps"] for law in PLAIN], axis=0)
    if (own["crps"].to_numpy() > 0.85 * plain).any():
        out.append("annealing: less than 15 % below the best plain law")
    return out


if __name__ == "__main__":
    sys.exit(main())
