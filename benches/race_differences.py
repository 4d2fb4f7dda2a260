"""Do intervals of differences between runs hold, and how much of their errors is shared?

    python -m benches.race_differences CURVES

CURVES is a folder of public curves (see `benches.forecast_cases`).  Pairs of runs of one source
with losses of one kind, cut at one share of their lengths and asked at one horizon (and runs that
were cut at different shares, asked where they end); the truth is the difference of their outcomes.
Each part of the errors' variance that runs may share (`lossfit.races.together`) is scored by the
interval score of 90 % intervals over their width for independent draws, one vote a source; the
part that scores best on all other sources is what a source is scored with.
"""

from __future__ import annotations

import itertools
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lossfit
from benches import _report
from benches.forecast_baselines import schedule_of
from benches.forecast_cases import Case, make_cases, spread_out
from lossfit.forecasts.mixture import curves_of
from lossfit.forecasts.question import Question
from lossfit.races.together import MARKS, SHARED, draw_order

CUTS = (0.1, 0.3, 0.5, 0.7, 0.8)
PARTS = (0.0, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95)
MOST_RUNS, BATCH, DRAWS = 8, 40, 512
APART = 0.7  # in the logarithm of the loss: such runs are hardly compared
LEAST_PAIRS = 4  # of a source
SOME = 4  # one in so many pairs of runs of different sources
BARS = {"coverage": (0.85, 0.95), "from the best": 0.06}


def forecasts(cases: list[Case]) -> list[np.ndarray]:
    """Draws of every case at its targets and then at the marks."""
    out = []
    for a in range(0, len(cases), BATCH):
        part = {f"c{a + i}": case for i, case in enumerate(cases[a : a + BATCH])}
        frames = [pd.DataFrame({"run": n, "step": c.t, "loss": c.loss}) for n, c in part.items()]
        runs = lossfit.Runs.from_frame(pd.concat(frames))
        plans = {n: schedule_of(c.curve) for n, c in part.items()}
        question = Question.of(
            runs, "step", draws=DRAWS,
            schedule={n: plan for n, plan in plans.items() if plan is not None},
            total={n: c.curve.plan for n, c in part.items() if plans[n] is None},
        )  # fmt: skip
        most = max(len(c.targets) for c in part.values())
        at = np.full((len(part), most + len(MARKS)), np.nan)
        for row, case in zip(at, part.values(), strict=True):
            row[: len(case.targets)] = [target.at for target in case.targets]
            row[most:] = case.t[-1] * np.array(MARKS)
        drawn = curves_of(question, runs, at).curves
        for case, each in zip(part.values(), drawn, strict=True):
            out.append(np.concatenate([each[: len(case.targets)], each[most:]]))
    return out


def pairs(cases: list[Case]) -> list[tuple[str, int, int, int, int]]:
    """What is compared ("one cut", "two cuts" or "other source"): cases and their targets."""
    out = []
    for i, j in itertools.combinations(range(len(cases)), 2):
        a, b = cases[i].curve, cases[j].curve
        if a.name == b.name or a.is_validation != b.is_validation:
            continue
        other = a.source != b.source
        if other and (a.kind != "lm_pretrain" or a.kind != b.kind or (i + j) % SOME):
            continue
        last = [max(float(np.median(cases[k].loss[-5:])), 1e-9) for k in (i, j)]
        if abs(math.log(last[0] / last[1])) > APART:
            continue
        for (s, first), (t, second) in itertools.product(
            enumerate(cases[i].targets), enumerate(cases[j].targets)
        ):
            if first.horizon != second.horizon:
                continue
            if cases[i].cut == cases[j].cut:
                out.append(("other source" if other else "one cut", i, j, s, t))
            elif first.horizon == "end" and abs(math.log(first.at / second.at)) < 0.02:
                out += [("two cuts", i, j, s, t)] * (not other)
    return out


def scored(cases: list[Case], drawn: list[np.ndarray]) -> pd.DataFrame:
    """A row a pair and shared part."""
    names = [f"{case.curve.name}, {case.cut}" for case in cases]
    marks = np.stack([each[-len(MARKS) :] for each in drawn])
    order = {part: draw_order(marks, names, 0, part) for part in PARTS}
    noise, rows = np.random.default_rng(0).normal(size=DRAWS), []
    for what, i, j, s, t in pairs(cases):
        first, other = cases[i].targets[s], cases[j].targets[t]
        truth = first.observed - other.observed
        source = " and ".join(sorted({cases[k].curve.source for k in (i, j)}))
        sd, alone = math.hypot(first.noise, other.noise), 0.0
        for part in PARTS:
            x = drawn[i][s][order[part][i]] - drawn[j][t][order[part][j]] + sd * noise
            low, a, b, high = np.quantile(x, [0.05, 0.25, 0.75, 0.95])
            alone = alone or high - low
            missed = max(low - truth, 0.0) + max(truth - high, 0.0)
            row = {"c90": low <= truth <= high, "c50": a <= truth <= b}
            row |= {"width": (high - low) / alone, "score": (high - low + 20 * missed) / alone}
            rows.append({"what": what, "group": cases[i].curve.group, "source": source,
                         "part": part, "horizon": first.horizon, **row})  # fmt: skip
    return pd.DataFrame(rows)


def by_source(frame: pd.DataFrame) -> pd.DataFrame:
    """Means of each source and shared part, of sources with enough pairs."""
    by = frame.groupby(["source", "part"])
    mean = by[["c90", "c50", "width", "score"]].mean()
    return mean[by.size() >= LEAST_PAIRS]


def left_out(score: pd.Series[Any]) -> pd.Series[Any]:
    """For each source the part that scores best on all others."""
    table = score.unstack()
    return pd.Series({s: table.drop(s).mean().idxmin() for s in table.index})


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("curves", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("race_differences")
    runs: dict[str, dict[str, None]] = {}
    cases = make_cases(options.curves, CUTS)
    for case in cases:
        runs.setdefault(case.curve.source, {})[case.curve.name] = None
    some = {(source, n) for source, names in runs.items() for n in spread_out([*names], MOST_RUNS)}
    cases = [case for case in cases if (case.curve.source, case.curve.name) in some]
    frame = scored(cases, forecasts(cases))
    same = frame[frame["what"] == "one cut"]
    of = left_out(by_source(same)["score"])
    print(f"best on all sources but one: {of.value_counts().to_dict()}; shipped: {SHARED}")
    groups = {
        "one cut": same,
        "the seven text sources": same[same["group"] == "shipped"],
        "all others": same[same["group"] != "shipped"],
        **{f"at {h}": same[same["horizon"] == h] for h in ("1.25", "2", "4", "8", "end")},
        "different sources of text": frame[frame["what"] == "other source"],
        "two cuts, at the end": frame[frame["what"] == "two cuts"],
    }
    failures = []
    for label, rows in groups.items():
        table = by_source(rows)
        chosen = table[[p == of.get(s, SHARED) for s, p in table.index]].mean()
        mean = table.groupby("part").mean()
        print(f"{label} ({len(table) // len(PARTS)} sources): held of 90 and 50 %, width, score")
        for part, m in [*mean.iterrows(), ("left out", chosen)]:
            held = f"{100 * m.c90:3.0f} {100 * m.c50:3.0f}"
            print(f"  {part!s:9} {held}  {m.width:.2f} {m.score:.3f}")
        record[label] = {"left out": chosen.to_dict(), "independent": mean.loc[0.0].to_dict()}
        low, high = BARS["coverage"]
        if label in ("one cut", "all others") and not low <= chosen.c90 <= high:
            failures.append(f"{label}: {100 * chosen.c90:.0f} % of differences held")
    if abs(of.mode()[0] - SHARED) > BARS["from the best"]:
        failures.append(f"the shipped part is {SHARED}, the best {of.mode()[0]}")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
