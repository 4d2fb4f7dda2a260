"""What finished runs of the same project add to a forecast, and its record on left-out sources.

How often the siblings, each at its latest cut, showed each normal of the prior of B counts beside
that prior, which is worth six runs.  Then each sibling's own forecast, cut at the asked run's share
of its plan and asked at the same horizon, gives the place of its outcome (in half widths).  A shift
and a factor are estimated from them, shrunk as if six runs of an ordinary project had been seen
too.  A run never learns from itself, nor from a sibling that has learned from it.
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
    log_weights,
    place,
    scale,
    scores,
)
from tests.oracles import forecast_draws, forecast_oracle

SIBLINGS = {
    "scale": 6.0,
    "shift": 6.0,
    "strengths": 6.0,
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


def strengths_of(p: Problem, table: Floats) -> tuple[Floats, Floats]:
    """Prior and posterior probabilities of the normals of B."""
    H = forecast_oracle.hyper(table, p.features)
    weight = np.exp(log_weights(p, H))
    prior = np.exp(H["strength"] - H["strength"].max())
    n = len(prior)
    return prior / prior.sum(), np.bincount(p.index[5], weight, n) / weight.sum()


def logits_of(prior: Floats, seen: list[Floats]) -> Floats:
    """What is added to the logits of B, by the posterior probabilities of other runs."""
    if len(seen) < SIBLINGS["least"]:
        return np.zeros(len(prior))
    s = SIBLINGS["strengths"]
    return np.log((s * prior + np.sum(seen, axis=0)) / ((s + len(seen)) * prior))


def in_mode(p: Problem, cases: list[Case]) -> bool:
    known = cases[p.case].curve.schedule is not None
    return p.mode == ("known" if known else "total")


def sibling_scores(
    left_out: list[Floats],
    steps: list[Step],
    fold: dict[str, int],
    problems: list[Problem],
    cases: list[Case],
    scales: list[tuple[float, float]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores without and with siblings, where there are at least two."""
    latest: dict[str, dict[str, Problem]] = defaultdict(dict)
    asked: dict[tuple[str, float], list[Problem]] = defaultdict(list)
    for p in problems:
        if not in_mode(p, cases):
            continue
        case, last = cases[p.case], latest[p.source].get(cases[p.case].curve.name)
        if last is None or cases[last.case].cut < case.cut:
            latest[p.source][case.curve.name] = p
        if case.cut in CUTS:
            asked[p.source, case.cut].append(p)
    seen = {
        source: {name: strengths_of(p, left_out[fold[source]])[1] for name, p in runs.items()}
        for source, runs in latest.items()
    }

    def name_of(p: Problem) -> str:
        return cases[p.case].curve.name

    def drawn(p: Problem, t: int, unseen: set[str]) -> Floats:
        table = left_out[fold[p.source]]
        others = [w for name, w in seen[p.source].items() if name not in unseen]
        extra = logits_of(strengths_of(p, table)[0], others)
        return steps[fold[p.source]](draws_of(table, p, t, extra), p.h[t], p)

    alone, helped = [], []
    for group in asked.values():
        for p in group:
            own = name_of(p)
            for t, horizon in enumerate(p.horizons):
                errors: dict[str, list[float]] = defaultdict(list)
                for q in group:
                    if name_of(q) != own and horizon in q.horizons:
                        i = q.horizons.index(horizon)
                        y = drawn(q, i, {own, name_of(q)})
                        errors[name_of(q)].append(place(y, q.y[i], q.noise[i]))
                if len(errors) < SIBLINGS["least"]:
                    continue
                table = left_out[fold[p.source]]
                plain = steps[fold[p.source]](draws_of(table, p, t), p.h[t], p)
                moved = adapted(drawn(p, t, {own}), [float(np.mean(e)) for e in errors.values()])
                for y, rows in ((plain, alone), (moved, helped)):
                    rows.append(_row(y, p, t, horizon, cases[p.case], scales[p.case]))
    return pd.DataFrame(alone), pd.DataFrame(helped)


def _row(
    y: Floats, p: Problem, t: int, horizon: str, case: Case, level: tuple[float, float]
) -> dict[str, Any]:
    target = case.targets[t]
    x = forecast_draws.back(y, p.data) + NOISE * target.noise
    row = scores(x, target.observed)
    row["proper"] = row["crps"] / scale(level, p.h[t], target.noise)
    return {**labels(p, case, horizon, t), **row}


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
