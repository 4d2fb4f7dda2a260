"""What finished runs of the same project add to a forecast, and its record on left-out sources.

Each sibling's own forecast, cut at the asked run's share of its plan and asked at the same horizon,
gives the place of its outcome (in half widths).  A shift and a factor are estimated from them,
shrunk as if six runs of an ordinary project had been seen too; a run never learns from itself.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from benches.forecast_cases import Case
from benches.forecast_score import Problem
from benches.forecast_tables import (
    NOISE,
    Floats,
    Step,
    draws_of,
    labels,
    line,
    place,
    scale,
    scores,
)
from tests.oracles import forecast_draws

SIBLINGS = {
    "scale": 6.0,
    "shift": 6.0,
    "typical": 0.449,
    "clip": [0.35, 2.5],
    "most": 4.0,
    "least": 2,
}
CUTS = (0.1, 0.3, 0.5, 0.7, 0.8)


def adapted(y: Floats, runs: list[float], s: dict[str, Any] = SIBLINGS) -> Floats:
    """Draws moved and stretched by siblings' places (a mean for each sibling run)."""
    k = len(runs)
    if k < s["least"]:
        return y
    z = np.clip(runs, -s["most"], s["most"])
    shift = float(np.median(z)) * k / (k + s["shift"])
    factor = (np.abs(z - shift).sum() / s["typical"] + s["scale"]) / (k + s["scale"])
    factor = float(np.clip(factor, *s["clip"]))
    lo, mid, up = np.quantile(y, [0.05, 0.5, 0.95])
    return mid + shift * (mid - lo if shift < 0 else up - mid) + factor * (y - mid)


def sibling_scores(
    left_out: list[Floats],
    steps: list[Step],
    fold: dict[str, int],
    problems: list[Problem],
    cases: list[Case],
    scales: list[tuple[float, float]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores without and with siblings, where there are at least two."""
    seen: dict[tuple[Any, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    asked = []
    for p in problems:
        case = cases[p.case]
        known = case.curve.schedule is not None
        if case.cut not in CUTS or p.mode != ("known" if known else "total"):
            continue
        for t, horizon in enumerate(p.horizons):
            k = fold[p.source]
            y = steps[k](draws_of(left_out[k], p, t), p.h[t], p)
            key = (p.source, case.cut, horizon)
            seen[key][case.curve.name].append(place(y, p.y[t], p.noise[t]))
            asked.append((p, t, key, y))
    frames = []
    for use in (False, True):
        rows = []
        for p, t, key, y in asked:
            case = cases[p.case]
            others = [float(np.mean(v)) for n, v in seen[key].items() if n != case.curve.name]
            if len(others) < SIBLINGS["least"]:
                continue
            draws = adapted(y, others) if use else y
            target = case.targets[t]
            x = forecast_draws.back(draws, p.data) + NOISE * target.noise
            row = scores(x, target.observed)
            row["proper"] = row["crps"] / scale(scales[p.case], p.h[t], target.noise)
            rows.append({**labels(p, case, key[2], t), **row})
        frames.append(pd.DataFrame(rows))
    alone, helped = frames
    return alone, helped


def sibling_table(alone: pd.DataFrame, helped: pd.DataFrame) -> list[str]:
    """Coverage with and without siblings."""
    if alone.empty:
        return ["no source has enough runs"]
    out = []
    for group in ("shipped", "more", "corpus"):
        plain, with_them = (f[f["group"] == group] for f in (alone, helped))
        if len(plain):
            out += [line(f"{group}, alone", plain), line(f"{group}, siblings", with_them, plain)]
    late, late_helped = (f[(f["group"] == "shipped") & (f["cut"] >= 0.3)] for f in (alone, helped))
    if len(late):
        out += [line("shipped, cuts >= .3, alone", late)]
        out += [line("shipped, cuts >= .3, siblings", late_helped, late)]
    return out
