"""Ladders of public curves: larger sizes held out, D ~ N, and large runs that have begun.

python -m benches.ladder CURVES                 # unseen sizes
python -m benches.ladder CURVES --growing       # lengths in proportion to the size
python -m benches.ladder CURVES --begun         # 5, 10, 20 and 40 % of the largest runs

The constants of the law's discrepancy were chosen by a study on these families: scores are in
sample for them.  Means within a cut, a family, a source, then over sources; percent of the loss.
"""

from __future__ import annotations

import itertools
import sys
import time
import warnings

import numpy as np
import pandas as pd

import lossfit
from lossfit.ladders.core import Readings, readings
from lossfit.ladders.rows import Rung

from . import _report
from ._ladders import cuts, growing, ladders

EDGES, NAMES = (1.05, 3.0, 6.0, 12.0, np.inf), ("2x", "4x", "8x", "12x+")
SHARES = (0.05, 0.1, 0.2, 0.4)
POINTS = 11  # of a curve besides its end
SCORES = ["held90", "held50", "crps", "width", "error"]
HELD = (0.85, 0.96)


def crps(draws: np.ndarray, truth: float) -> float:
    x = np.sort(draws)
    n = len(x)
    spread = ((2 * np.arange(1, n + 1) - n - 1) * x).sum() / n**2
    return float(np.abs(x - truth).mean() - spread)


def score(draws: np.ndarray, truth: float) -> dict[str, float]:
    low, q1, middle, q3, high = np.quantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95])
    return {
        "held90": float(low <= truth <= high),
        "held50": float(q1 <= truth <= q3),
        "crps": 100 * crps(draws, truth) / truth,
        "width": 100 * (high - low) / truth,
        "error": 100 * abs(middle / truth - 1),
    }


def outcomes(rung: Rung) -> tuple[np.ndarray, np.ndarray]:
    """Places on a curve, and its means around them; the last is the end."""
    at = np.append(np.geomspace(rung.start, 0.97 * rung.end, POINTS), 0.99 * rung.end)
    edges = np.concatenate([[0.9 * at[0]], np.sqrt(at[1:] * at[:-1]), [1.01 * rung.end]])
    edges[-2] = 0.98 * rung.end
    means = []
    for low, high in itertools.pairwise(edges):
        inside = (rung.tokens >= low) & (rung.tokens < high)
        means.append(rung.loss[inside].mean() if inside.any() else np.nan)
    return at, np.array(means)


def unseen(folder: str, grow: bool) -> pd.DataFrame:
    rows = []
    for ladder in ladders(folder):
        ladder = growing(ladder) if grow else ladder
        for k, cut in enumerate(cuts(ladder) if ladder else ()):
            start = time.process_time()
            fitted = readings(cut.fitted, 0)
            seconds = time.process_time() - start
            for target in cut.targets:
                at, truth = outcomes(target)
                draws = fitted.curves(target, at, 1, 1000, True)
                for j in np.flatnonzero(np.isfinite(truth)):
                    rows.append(
                        {
                            "source": ladder.source,
                            "family": ladder.family,
                            "cut": k,
                            "ratio": cut.ratio(target),
                            "what": "end" if j == len(at) - 1 else "curve",
                            "runs": len(cut.fitted),
                            "seconds": seconds,
                            **score(draws[j], truth[j]),
                        }
                    )
            print(f"{ladder.family}: {len(cut.fitted)} runs, {seconds:.1f} CPU s", flush=True)
    return pd.DataFrame(rows)


def averaged(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means within a cut, a family, a source, then over sources."""
    for keys in (["source", "family", "cut"], ["source", "family"], ["source"], []):
        table = table.groupby([*keys, *by], observed=True)[SCORES].mean().reset_index()
    return table


def begun(folder: str) -> pd.DataFrame:
    """The ladder alone on the largest runs of each family, of which a share is there."""
    rows = []
    for ladder in ladders(folder):
        order = sorted(ladder.rungs, key=lambda rung: (rung.params, rung.end))
        targets = order[-3:-1] if ladder.family == "gemstones" else order[-1:]
        for target in targets:
            smaller = [rung for rung in order if rung.params < 0.7 * target.params]
            for share in SHARES:
                keep = target.tokens <= share * target.end
                late = target.tokens[keep] >= max(
                    3 * target.clock.warmup, 0.04 * share * target.end
                )
                if keep.sum() < 4 or late.sum() < 4:
                    continue
                own = Rung(target.name, target.params, target.tokens[keep], target.loss[keep],
                           target.clock, target.batch)  # fmt: skip
                fitted: Readings = readings(smaller, 0, own)
                at, truth = outcomes(target)
                draws = fitted.curves(own, at[-1:], 1, 1000, True)
                rows.append(
                    {
                        "source": ladder.source,
                        "family": ladder.family,
                        "cut": target.name,
                        "share": share,
                        **score(draws[0], truth[-1]),
                    }
                )
    return pd.DataFrame(rows)


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("folder", help="folder of curves")
    arguments.add_argument("--growing", action="store_true", help="ladders with D ~ N")
    arguments.add_argument("--begun", action="store_true", help="large runs that have begun")
    options = arguments.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("ladder")
    failures: list[str] = []
    if options.begun:
        table = averaged(begun(options.folder), ["share"])
    else:
        found = unseen(options.folder, options.growing)
        found["bin"] = pd.cut(found["ratio"], EDGES, labels=NAMES)
        table = averaged(found, ["what", "bin"])
        ends = table[(table["what"] == "end") & (table["bin"] != "12x+")]
        if not ends["held90"].between(*HELD).all():
            failures.append(f"90 % intervals of ends hold outside {HELD[0]:.0%} to {HELD[1]:.0%}")
        if not ends["held50"].between(0.40, 0.62).all():
            failures.append("50 % intervals of ends hold outside 40 to 62 %")
    print(table.round(2).to_string(index=False))
    record["rows"] = table.to_dict("records")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
