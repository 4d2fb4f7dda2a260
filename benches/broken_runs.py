"""How often broken runs are recognised, and healthy ones mistaken for broken.

    python -m benches.broken_runs CURVES

CURVES is a folder of public curves (see `benches.forecast_cases`).  Hits: healthy public curves,
broken at a random point in each way.  False alarms: the same curves as they are, whole and cut.
Runs that are documented as broken by their source are left out of the healthy ones.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from benches.forecast_cases import Curve, all_curves
from lossfit.runs.breaks import recognise

Floats = np.ndarray
CUTS = (0.1, 0.3, 0.5, 0.7, 1.0)
BARS = {"false alarms": 0.02, "hits": 0.8}


def documented(curve: Curve) -> bool:
    """What ``more/README.md`` says: one Criteo run diverges, the molecules' validation overfits."""
    overfits = curve.source == "algoperf_ogbg" and curve.is_validation
    return overfits or "shampoo-s0t3" in curve.name


def broken(curve: Curve, rng: np.random.Generator) -> dict[str, Floats]:
    """The curve broken in seven ways at one point between 40 and 85 % of its rows."""
    t, loss, n = curve.t, curve.loss, len(curve.t)
    j = int(rng.uniform(0.4, 0.85) * n)
    since = np.arange(n) - j
    after = since >= 0
    level = float(np.median(loss[max(0, j - 5) : j]))
    rise = rng.uniform(0.5, 1) * max(np.log(max(np.median(loss[:3]) / level, 1.5)), 0.6)
    up = 1 - np.exp(-since[after] / rng.uniform(1, 15))
    noise = rng.normal(0, 0.03, after.sum())
    decay = np.exp(-since[after] / ((n - j) * rng.uniform(0.7, 2.0)))
    steepness = rng.uniform(0.25, 1) / np.log(t[-1] / t[j])

    def with_end(values: Floats | float) -> Floats:
        out = loss.copy()
        out[after] = values
        return out

    return {
        "not_finite": with_end(np.nan),
        "zeros": with_end(0.0),
        "frozen": with_end(loss[j]),
        "scale_jump": with_end(loss[after] * rng.choice([2, 4, 8, 16, 0.125])),
        "diverged": with_end(level * np.exp(rise * up + noise)),
        "restarted": with_end(loss[after] * np.exp(rise * decay)),
        "overfitting": with_end(loss[after] * (t[after] / t[j]) ** steepness),
    }


def main(folder: Path) -> int:
    curves = [c for c in all_curves(folder) if not documented(c)]
    rows = []
    for c in curves:
        for cut in CUTS:
            kept = c.t <= cut * c.t[-1]
            if kept.sum() >= 20:
                found = recognise(c.t[kept], c.loss[kept], c.is_validation)
                rows.append((c.source, c.name, cut, found.kind if found else ""))
    alarms = pd.DataFrame(rows, columns=["source", "run", "cut", "kind"])
    alarms["alarm"] = alarms["kind"] != ""
    print("healthy runs called broken, by share of the run seen:")
    print(alarms.groupby("cut")["alarm"].agg(["mean", "size"]).round(4).to_string())
    print(alarms[alarms["alarm"]].drop(columns="alarm").to_string(index=False))
    rng = np.random.default_rng(0)
    found_as: dict[str, Counter[str]] = defaultdict(Counter)
    for c in curves:
        if len(c.t) < 60 or (c.loss <= 0).any() or recognise(c.t, c.loss, c.is_validation):
            continue
        for _ in range(2):
            for kind, loss in broken(c, rng).items():
                seen = recognise(c.t, loss, kind == "overfitting")
                found_as[kind][seen.kind if seen else "missed"] += 1
    table = pd.DataFrame(found_as).fillna(0).T.astype(int)
    table["caught"] = 1 - table["missed"] / table.sum(axis=1) if "missed" in table else 1.0
    print("healthy curves broken on purpose (rows), and what was said:")
    print(table.round(3).to_string())
    rate = float(alarms["alarm"].mean())
    good = rate <= BARS["false alarms"] and float(table["caught"].min()) >= BARS["hits"]
    print(f"false alarms {rate:.3f}; fewest caught {table['caught'].min():.3f}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
