"""Times to a loss: do intervals of `answer.time_to` hold the place where the curve came to be?

python -m benches.arrival CURVES
python -m benches.arrival CURVES --all   # of every source from which the forecast is learned

Runs are cut at 30, 50 and 70 %; targets are losses that the rest of the run did reach (those of its
falling curve at 1.25 and 2 times the data and at 95 % of the run), and losses .2 and 1 % below its
end, which it did not reach.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

import lossfit

from . import _report, curves, forecast_cases

CUTOFFS = (0.3, 0.5, 0.7)
PLACES = (1.25, 2.0, np.inf)  # times the data, inf for the end
BELOW = (0.002, 0.01)  # of the loss below the end: not reached
LATE = 0.95  # of the run: its last target
BINS = 100
MOST_RUNS = 12  # of a source
MOST_OF_ALL = 2  # of a source, where there are many
NODES = 300  # of a schedule
LEAST_POINTS = 40


def falling(x: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve as the best falling one through means of `BINS` parts of the run.

    A minimum of smoothed losses would lie below the curve by its noise, and come too early.
    """
    edges = np.linspace(0, x[-1] * 1.000001, BINS + 1)
    which = np.digitize(x, edges) - 1
    count = np.bincount(which, minlength=BINS)
    there = count > 0
    place = np.bincount(which, x, BINS)[there] / count[there]
    mean = np.bincount(which, loss, BINS)[there] / count[there]
    return place, isotonic_regression(mean, weights=count[there], increasing=False).x


def first_at(x: np.ndarray, curve: np.ndarray, level: float) -> float:
    below = np.flatnonzero(curve <= level)
    if not below.size:
        return np.inf
    k = below[0]
    if k == 0 or curve[k - 1] == curve[k]:
        return float(x[k])
    share = (curve[k - 1] - level) / (curve[k - 1] - curve[k])
    return float(x[k - 1] + share * (x[k] - x[k - 1]))


def every_source(folder: Path) -> tuple[lossfit.Runs, dict[str, str]]:
    """Runs of all sources with what is known of their rates: the whole schedule, or nothing."""
    by_source: dict[str, list[forecast_cases.Curve]] = {}
    for curve in forecast_cases.all_curves(folder):
        by_source.setdefault(curve.source, []).append(curve)
    frames, plans, group = [], {}, {}
    for source, found in by_source.items():
        for curve in forecast_cases.spread_out(found, MOST_OF_ALL):
            name = f"{source}: {curve.name}"
            group[name] = source
            frames.append(pd.DataFrame({"run": name, "step": curve.t, "loss": curve.loss}))
            if curve.schedule is not None:
                t = np.linspace(0, curve.t[-1], NODES)
                rate = np.maximum(curve.schedule(t), 0.0)
                plans[name] = lossfit.schedules.from_points(t, rate)
    return lossfit.Runs.from_frame(pd.concat(frames), schedules=plans), group


def cases(runs: lossfit.Runs, group: dict[str, str]) -> pd.DataFrame:
    """One row a cut run and target."""
    rows = []
    chosen: dict[str, list[str]] = {}
    for name in runs.names:
        chosen.setdefault(group[name], []).append(name)
    for source, names in chosen.items():
        pick = np.unique(np.linspace(0, len(names) - 1, MOST_RUNS).round().astype(int))
        for name in (names[k] for k in pick):
            run = runs[name]
            x = run.axis("step")
            good = ~run.spike
            place, curve = falling(x[good], run.loss[good])
            for cutoff in CUTOFFS:
                end = cutoff * x[-1]
                if (x <= end).sum() < LEAST_POINTS:
                    continue
                levels = []
                for ratio in PLACES:
                    at = ratio * end if np.isfinite(ratio) else LATE * x[-1]
                    if 1.15 * end < at < x[-1]:
                        levels.append(float(np.interp(at, place, curve)))
                levels += [float(curve[-1] * (1 - share)) for share in BELOW]
                one = runs.select([name]).until({"step": end})
                try:
                    answer = lossfit.extrapolate(one, at=x[-1], axis="step", draws=500)
                except lossfit.DataError:
                    continue
                table = answer.time_to(levels)
                for level, (_, row) in zip(levels, table.iterrows(), strict=True):
                    truth = first_at(place, curve, level)
                    reached = bool(np.isfinite(truth))
                    if reached and truth <= end:
                        continue  # it had been there before the cut
                    rows.append(
                        {
                            "source": source,
                            "reached": reached,
                            "prob": row["prob_reached"],
                            "held": row["lower"] <= truth <= row["upper"] if reached else np.nan,
                            "later": row["median"] / truth if reached else np.nan,
                        }
                    )
    return pd.DataFrame(rows)


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("folder", help="folder of curves")
    arguments.add_argument("--all", action="store_true", help="every source, two runs of each")
    options = arguments.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("arrival")
    load = every_source if options.all else curves.load
    runs, group = load(Path(options.folder))
    table = cases(runs, group)
    reached = table[table["reached"]]
    by_source = reached.groupby("source")["held"].agg(["mean", "size"])
    print(by_source.round(2).to_string())
    held = float(by_source["mean"].mean())
    print(f"90 % intervals held {held:.3f} of reached targets (mean over sources)")
    gap = 100 * (table["prob"].mean() - table["reached"].mean())
    print(
        f"P(reached) {table['prob'].mean():.3f} on average, {table['reached'].mean():.3f} were "
        f"({len(table)} targets): {gap:+.1f} points"
    )
    bins = pd.cut(table["prob"], [-0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0])
    print(table.groupby(bins, observed=True)[["prob", "reached"]].mean().round(3).to_string())
    failures = []
    if not 0.85 <= held <= 0.95:
        failures.append("90 % intervals hold less than 85 or more than 95 % of reached targets")
    if abs(gap) > 5:
        failures.append("P(reached) is off by more than 5 points")
    record["held"], record["gap"] = held, gap
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
