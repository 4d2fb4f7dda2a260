"""How often the advice of a Monitor to stop is wrong, and whether its intervals hold.

    python -m benches.early_stop CURVES [--out FILE]

Every public curve of `benches.forecast_cases` is logged to a `lossfit.Monitor`, point by point, and
asked at 19 places from 5 to 95 % of the run.  Targets are losses 0.5 to 5 % above the loss at its
end (which the run reaches) and below it (which it does not), for the rule of
`lossfit.monitoring.stopping`.  Shares are means over sources, of each the mean over runs and
targets.  A break is false where the whole run shows none.  `--out` writes lossfit's table.

The constants of the default law were learned on the same curves (`benches.learn_forecast`, which
has the scores on left-out sources), and that the rule waits for a twentieth of the run was decided
on them.  Runs of these sources that the constants were not learned from are scored apart.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import lossfit
from benches import _report, forecast_cases
from benches.forecast_cases import Curve, all_curves
from lossfit.monitoring import stopping
from lossfit.runs.breaks import recognise

LOOKS = np.arange(1, 20) / 20
OFFSETS = (0.005, 0.01, 0.02, 0.05)  # of the loss at the end
THRESHOLDS = (0.005, 0.01, 0.02, 0.05, 0.1)
SHOWN = (0.1, 0.3, 0.5, 0.7, 0.9)
MORE_RUNS = 40  # of a source, of which those not learned from are scored apart
LEAST_POINTS = 40
MOST_WRONG = 0.05  # of the cases that would have reached their target, at the default threshold


def replay(curve: Curve) -> tuple[list[dict[str, float]], str]:
    """What a monitor says at each look, and the first break that it sees."""
    t, loss = curve.t, curve.loss
    end = float(t[-1])
    last = t >= 0.98 * end
    truth, noise = float(loss[last].mean()), _noise(t, loss) / last.sum() ** 0.5
    rate = curve.schedule(t) if curve.schedule is not None else np.full(len(t), np.nan)
    # Only what is asked for makes a forecast: `every` is beyond the end.
    monitor = lossfit.Monitor(total=curve.plan, every=10**15, name=curve.name)
    rng = np.random.default_rng(0)
    looks, broken = iter(LOOKS), ""
    look = next(looks)
    rows = []
    for k in range(len(t)):
        monitor.log(step=t[k], loss=loss[k], lr=None if np.isnan(rate[k]) else rate[k])
        broken = broken or monitor.broken
        if t[k] < look * end:
            continue
        while look is not None and t[k] >= look * end:
            share, look = look, next(looks, None)
        if monitor._points.logged >= 8:
            monitor.update()
            broken = broken or monitor.broken
            if monitor.answer is not None and not monitor.problem:
                curves = np.sort(monitor.answer.mixed.curves[0, 0])
                seen = curves + noise * rng.standard_normal(len(curves))
                low, high = np.quantile(seen, [0.05, 0.95])
                row = {"look": share, "held": float(low <= truth <= high), "width": high - low}
                for off in OFFSETS:
                    for sign in (1, -1):
                        target = truth + sign * off * abs(truth)
                        row[f"{sign * off:g}"] = float((curves < target).mean())
                rows.append(row)
        if look is None:
            break
    return rows, broken


def _noise(t: np.ndarray, loss: np.ndarray) -> float:
    near = loss[t >= 0.95 * t[-1]]
    bend = near[1:-1] - (near[:-2] + near[2:]) / 2
    return float(1.4826 * np.median(np.abs(bend)) / 1.5**0.5) if len(bend) > 2 else 0.0


def stops(looks: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """One row a run and target: whether it was reached, and where it was stopped (NaN: never)."""
    rows = []
    for (source, run), table in looks.groupby(["source", "run"]):
        for off in OFFSETS:
            for sign in (1, -1):
                at, since = np.nan, None
                for share, prob in zip(table["look"], table[f"{sign * off:g}"], strict=True):
                    since = stopping.hopeless_since(since, share, prob, threshold)
                    if stopping.is_long(since, share):
                        at = share
                        break
                rows.append((source, run, sign > 0, off, at))
    return pd.DataFrame(rows, columns=["source", "run", "reached", "off", "at"])


def by_source(table: pd.DataFrame, values: pd.Series) -> float:
    """Mean over sources of the mean in each."""
    return float(values.groupby(table["source"]).mean().mean())


def rates_of(looks: pd.DataFrame) -> list[dict[str, float]]:
    rows = []
    for threshold in THRESHOLDS:
        table = stops(looks, threshold)
        stopped = table["at"].notna()
        reached, caught = table[table["reached"]], table[~table["reached"] & stopped]
        others = table[~table["reached"]]
        rows.append(
            {
                "threshold": threshold,
                "wrong": by_source(reached, stopped[reached.index]),
                "caught": by_source(others, stopped[others.index]),
                "saved": by_source(caught, 1 - caught["at"]),
            }
        )
    return rows


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def shown(name: str, looks: pd.DataFrame) -> list[dict[str, float]]:
    """Print the tables of some runs."""
    runs = looks.groupby(["source", "run"]).ngroups
    print(f"\n{name}: {runs} runs of {looks['source'].nunique()} sources")
    for look in SHOWN:
        part = looks[np.isclose(looks["look"], look)]
        print(f"  at {look:.0%}: 90 % intervals held {by_source(part, part['held']):.3f}")
    table = rates_of(looks)
    print(pd.DataFrame(table).round(3).to_string(index=False))
    return table


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("folder", type=Path, help="folder of curves")
    arguments.add_argument("--out", type=Path, help="write the table that lossfit ships")
    options = arguments.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lossfit").setLevel(logging.ERROR)
    record = _report.start("early_stop")
    learned = {(c.source, c.name) for c in all_curves(options.folder)}
    forecast_cases.MOST_RUNS = MORE_RUNS
    rows, breaks, runs = [], [], 0
    for curve in all_curves(options.folder):
        if curve.plan > 1.02 * curve.t[-1] or len(curve.t) < LEAST_POINTS or (curve.t < 0).any():
            continue
        looks, broken = replay(curve)
        used = (curve.source, curve.name) in learned
        if broken:
            whole = recognise(curve.t, curve.loss, curve.is_validation)
            breaks.append((curve.source, curve.name, broken, str(whole)))
        runs += 1
        rows += [{"source": curve.source, "run": curve.name, "used": used, **row} for row in looks]
    looks = pd.DataFrame(rows)
    seen = pd.DataFrame(breaks, columns=["source", "run", "broken", "by the whole run"])
    false = seen[seen["by the whole run"] == "None"]
    print(f"called broken: {len(seen)} of {runs}, {len(false)} falsely")
    print(seen.to_string(index=False))
    table = shown("runs that the constants were learned from", looks[looks["used"]])
    fresh = shown("other runs of these sources", looks[~looks["used"]])
    failures = []
    for name, rates in (("learned from", table), ("others", fresh)):
        at = next(row for row in rates if row["threshold"] == stopping.THRESHOLD)
        if at["wrong"] > MOST_WRONG:
            failures.append(f"{name}: wrong stops {at['wrong']:.3f}")
    if options.out is not None:
        shipped = {
            "runs": int(looks.groupby(["source", "run"]).ngroups),
            "sources": int(looks["source"].nunique()),
            "false_breaks": rounded(len(false) / runs),
            "rows": [
                {key: rounded(value) for key, value in row.items()} for row in rates_of(looks)
            ],
        }
        options.out.write_text(json.dumps(shipped, indent=1) + "\n")
        print(f"wrote {options.out}")
    record["learned"], record["others"] = table, fresh
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
