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
from lossfit import schedules
from lossfit.ladders.begun import blended, own_share
from lossfit.ladders.core import Readings, readings
from lossfit.ladders.rows import Rung

from . import _report
from ._ladders import cuts, growing, ladders

EDGES, NAMES = (1.05, 3.0, 6.0, 12.0, np.inf), ("2x", "4x", "8x", "12x+")
SHARES = (0.05, 0.1, 0.2, 0.4)
OF_ALONE = (0.35, 0.45, 0.75, 1.05)  # bars: CRPS over that of the run alone with siblings
HELD_BEGUN = (0.86, 0.97)
DRAWS = 1000
NODES = 300  # of a schedule
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


def as_runs(rungs: list[Rung]) -> lossfit.Runs:
    """Rungs with their schedules, as a user has them."""
    frames, plans = [], {}
    for rung in rungs:
        columns = {"run": rung.name, "tokens": rung.tokens, "loss": rung.loss}
        frames.append(pd.DataFrame({**columns, "params": rung.params}))
        if rung.clock.kind == "constant":
            plans[rung.name] = schedules.constant(1.0, axis="tokens")
        else:
            t = rung.clock.tokens
            rate = np.maximum(np.gradient(rung.clock.cumulative, t), 1e-6)
            some = np.unique(np.linspace(0, len(t) - 1, NODES).astype(int))
            plans[rung.name] = schedules.from_points(t[some], rate[some], axis="tokens")
    batches = {rung.name: rung.batch for rung in rungs}
    return lossfit.Runs.from_frame(pd.concat(frames), schedules=plans, tokens_per_step=batches)


def begun(folder: str) -> pd.DataFrame:
    """The largest runs of each family, of which a share is there: three forecasts of their ends.

    The ladder alone, the run alone with the smaller ones as siblings, and both pooled as
    `lossfit.extrapolate` pools them.
    """
    rows = []
    for ladder in ladders(folder):
        order = sorted(ladder.rungs, key=lambda rung: (rung.params, rung.end))
        targets = order[-3:-1] if ladder.family == "gemstones" else order[-1:]
        for target in targets:
            smaller = [rung for rung in order if rung.params < 0.7 * target.params]
            siblings, asked = as_runs(smaller), as_runs([target])
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
                end = at[-1:]
                drawn = {"ladder": fitted.curves(own, end, 1, DRAWS)}
                answer = lossfit.extrapolate(
                    asked.until({"tokens": share * target.end}), at=end[0], axis="tokens",
                    siblings=siblings, draws=DRAWS,
                )  # fmt: skip
                drawn["alone"] = answer.curves_at(target.name, end)
                weight = own_share(drawn["alone"], drawn["ladder"], own.end / end,
                                   float(fitted.whole.off[-1]))  # fmt: skip
                drawn["pooled"] = blended(drawn["alone"], drawn["ladder"], weight)
                about = {"source": ladder.source, "family": ladder.family, "cut": target.name}
                rows += [
                    {**about, "share": share, "what": what, **score(draws[0], truth[-1])}
                    for what, draws in drawn.items()
                ]
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
        table = averaged(begun(options.folder), ["what", "share"])
        crps = table.pivot(index="share", columns="what", values="crps")
        for share, most in zip(SHARES, OF_ALONE, strict=True):
            ratio = crps.loc[share, "pooled"] / crps.loc[share, "alone"]
            print(f"{share:.0%} of the run: CRPS {ratio:.2f} of that alone, at most {most:g}")
            if ratio > most:
                failures.append(f"CRPS at {share:.0%} is {ratio:.2f} of that alone")
        pooled = table[table["what"] == "pooled"]
        if not pooled["held90"].between(*HELD_BEGUN).all():
            failures.append(
                f"begun: 90 % intervals hold outside {HELD_BEGUN[0]:.0%} to {HELD_BEGUN[1]:.0%}"
            )
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
