"""Draws of left-out forecasts, the width step that is learned from them, and the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import qmc

from benches.forecast_cases import MORE, SHIPPED, Case
from benches.forecast_score import Problem
from tests.oracles import forecast_draws, forecast_oracle

Floats = np.ndarray
POINTS = qmc.Sobol(4, seed=1).random(512)  # cell, tail, normal, noise of the outcome
NOISE = ndtri(POINTS[:, 3])
HORIZONS = ("1.25", "2", "4", "8", "16", "end")
WIDTH_AT = np.array([1.05, 1.1, 1.25, 2.0, 4.0, 8.0, 16.0])
BAND, SHRINK = 0.3, 6.0  # of log log horizon; sources that the pooled factor is worth
LEVEL = 0.05  # on either side
LEAST_SOURCES = 2  # of a row of the record
HALF_VOTE = 4.0  # outcomes whose scatter is as large as that between sources
Step = Callable[[Floats, float, Problem], Floats]


def log_weights(p: Problem, H: dict[str, Floats]) -> Floats:
    """Log weights of the cells, the best 0."""
    i, first = p.index, forecast_oracle.MODES[p.mode][0]
    lw = p.logz / (1 + np.exp(-H["eta"][0])) + H["temper"][i[0]] + H["kb"][i[1]]
    lw = lw + H["schedule"][first + i[2]] + H["alpha"][i[3]] + H["strength"][i[5]]
    return lw - lw.max()


def draws_of(table: Floats, p: Problem, target: int, strengths: Floats | float = 0.0) -> Floats:
    """512 quasi-random draws of one target on the fitted scale.

    ``strengths`` is added to the logits of the normals of B.
    """
    H = forecast_oracle.hyper(table, p.features)
    H = {**H, "strength": H["strength"] + strengths}
    i, h, d = p.index, p.h[target], p.data
    w = np.exp(log_weights(p, H))
    v = p.variance[target] + np.exp(2 * H["response"][0]) * p.response[target]
    v = v + forecast_draws.future_variance(H, d["b"], h)[i[1]]
    v = v + forecast_draws.slow_variance(H, d, h)[i[0]] + np.exp(2 * H["jitter"][0])
    prob, size, lean = forecast_draws.tails(H)
    k = np.minimum(np.searchsorted(np.cumsum(w) / w.sum(), POINTS[:, 0]), len(w) - 1)
    j = np.minimum(np.searchsorted(np.cumsum(prob), POINTS[:, 1]), 2)
    lo, u = lean[j], POINTS[:, 2]
    below = lo**2 / (1 + lo**2)
    z = np.where(
        u < below,
        lo * ndtri(np.clip(u / below / 2, 1e-9, 1)),
        -ndtri(np.clip((1 - u) / (1 - below) / 2, 1e-9, 1)) / lo,
    )
    return p.mean[target][k] + np.sqrt(v[k]) * size[j] * z


def place(y: Floats, outcome: float, noise: float) -> float:
    """The outcome's place in half widths of a forecast: -1 at the 5 % point, 1 at the 95 %."""
    lo, mid, up = np.quantile(y + NOISE * min(noise, 1.0), [0.05, 0.5, 0.95])
    e = outcome - mid
    return float(e / (mid - lo) if e < 0 else e / (up - mid))


def places(table: Floats, problems: list[Problem], text: set[str]) -> pd.DataFrame:
    rows = [
        (
            p.source,
            p.h[t],
            p.features[3],
            p.source in text,
            place(draws_of(table, p, t), p.y[t], p.noise[t]),
        )
        for p in problems
        for t in range(len(p.h))
    ]
    return pd.DataFrame(rows, columns=["source", "h", "like", "text", "r"])


def quantile(x: Floats, w: Floats, p: float) -> float:
    order = np.argsort(x)
    c = np.cumsum(w[order])
    return float(np.interp(p, (c - 0.5 * w[order]) / c[-1], x[order]))


def learn_width(frame: pd.DataFrame) -> Floats:
    """Factors (class, horizon, lo / shift / up) that hold 45 % on either side.

    The second class is learned from sources that are text, whatever their curves show; the first
    from all sources, each as far as its curves do not look like text.  Hierarchical: one vote a
    source (its mean membership of the class, where it has targets near the horizon); each horizon's
    factor is shrunk to the class's as if that were six sources.  So is a factor that narrows to 1:
    it has few sources to rest on, and one of them may be yours.
    """
    source, which = np.unique(frame["source"], return_inverse=True)
    log_h, at = np.log(np.maximum(frame["h"].to_numpy(), 0.02)), np.log(np.log(WIDTH_AT))
    r, like, text = (frame[k].to_numpy(float) for k in ("r", "like", "text"))
    out = np.zeros((2, len(at), 3))
    for c in range(2):
        member = text if c else (1 - like) ** 2
        pooled = np.zeros(2)
        for a in range(-1, len(at)):
            near = np.ones(len(r)) if a < 0 else np.exp(-0.5 * ((log_h - at[a]) / BAND) ** 2)
            k = member * near + 1e-12
            total = np.bincount(which, k, len(source))
            base = np.bincount(which, near, len(source))
            vote = total / np.maximum(base, 1e-12) * np.minimum(base / 0.5, 1.0)
            w = k / np.maximum(total[which], 1e-12) * vote[which]
            n = vote.sum() ** 2 / max((vote**2).sum(), 1e-9)
            found = np.log([max(-quantile(r, w, LEVEL), 0.3), max(quantile(r, w, 1 - LEVEL), 0.3)])
            if a < 0:
                pooled = found
            else:
                log_factor = (n * found + SHRINK * pooled) / (n + SHRINK)
                log_factor[log_factor < 0] *= n / (n + SHRINK)
                out[c, a, [0, 2]] = np.exp(log_factor)
    return out


def width_step(widths: dict[str, Floats], stated: bool = False) -> Step:
    """The width step of forecasts; `stated` where the runs are said to be text."""

    def step(y: Floats, h: float, p: Problem) -> Floats:
        like = 1.0 if stated else p.features[3]
        return forecast_draws.rescale(y, h, like, widths[p.mode], np.log(WIDTH_AT))

    return step


def crps(draws: Floats, outcome: float) -> float:
    x = np.sort(draws)
    n = len(x)
    return float(np.abs(x - outcome).mean() - ((2 * np.arange(n) - n + 1) * x).sum() / n**2)


def scores(draws: Floats, outcome: float) -> dict[str, float]:
    x = np.sort(draws)

    def holds(p: float) -> float:
        return float(x[int((0.5 - p / 2) * len(x))] <= outcome <= x[int((0.5 + p / 2) * len(x))])

    return {
        "c90": holds(0.9),
        "c50": holds(0.5),
        "crps": crps(x, outcome),
        "pit": float((x <= outcome).mean()),
    }


def scored(
    table: Floats, problems: list[Problem], cases: list[Case], step: Step | None, scales: list[Any]
) -> pd.DataFrame:
    """One row a target: coverage, CRPS in loss and over a scale known at the cut."""
    rows = []
    for p in problems:
        case = cases[p.case]
        for t, target in enumerate(case.targets):
            y = draws_of(table, p, t)
            y = y if step is None else step(y, p.h[t], p)
            x = forecast_draws.back(y, p.data) + NOISE * target.noise
            row = scores(x, target.observed)
            row["proper"] = row["crps"] / scale(scales[p.case], p.h[t], target.noise)
            rows.append({**labels(p, case, target.horizon, t), **row})
    return pd.DataFrame(rows)


def labels(p: Problem, case: Case, horizon: str, target: int) -> dict[str, Any]:
    return {
        "case": p.case,
        "target": target,
        "source": p.source,
        "group": case.curve.group,
        "kind": case.curve.kind,
        "cut": case.cut,
        "horizon": horizon,
        "known": case.curve.schedule is not None,
        "like": p.features[3],
        "ratio": float(np.exp(p.h[target])),
    }


def record(frame: pd.DataFrame) -> dict[str, list[list[float]]]:
    """`one_record` of the runs that look like text, and of the others."""
    return {
        "text": one_record(frame[frame["like"] >= 0.5]),
        "other": one_record(frame[frame["like"] < 0.5]),
    }


def one_record(frame: pd.DataFrame) -> list[list[float]]:
    """Share held by the nearest horizon.

    Rows are [horizon, share of outcomes within 90 % intervals, standard error, sources].  A source
    of few outcomes says little of its own share, and has a part of a vote.
    """
    log = np.log(WIDTH_AT)
    nearest = np.argmin(np.abs(np.log(frame["ratio"].to_numpy())[:, None] - log), axis=1)
    out = []
    for k, horizon in enumerate(WIDTH_AT):
        each = frame[nearest == k].groupby("source")["c90"].agg(["mean", "size"])
        if len(each) >= LEAST_SOURCES:
            vote = (each["size"] / (each["size"] + HALF_VOTE)).to_numpy()
            vote = vote / vote.sum()
            held = each["mean"].to_numpy()
            share = vote @ held
            se = np.sqrt((vote**2 @ (held - share) ** 2) / (1 - vote @ vote))
            out.append([float(horizon), round(float(share), 3), round(float(se), 3), len(each)])
    return out


def level_and_slope(t: Floats, loss: Floats, warmup: float) -> tuple[float, float]:
    """Level and late log-log slope at the cut: the scale of the proper score."""
    tc = t[-1]
    w = t >= max(tc / 4, min(1.2 * warmup, 0.7 * tc))
    if w.sum() < 6:
        w = np.arange(len(t)) >= len(t) - 6
    x, y = np.log(t[w] / tc), loss[w]
    k = np.clip(np.searchsorted(np.linspace(x[0], 0, 21), x) - 1, 0, 19)
    bins = np.unique(k)
    bx = np.array([x[k == i].mean() for i in bins])
    by = np.array([y[k == i].mean() for i in bins])
    n = np.sqrt(np.minimum([(k == i).sum() for i in bins], 5))
    level = max(abs(by[-2:].mean() if len(by) > 2 else by[-1]), 1e-300)
    z = np.log(by) if (by > 0).all() else by / level
    early, late = (-np.polyfit(bx, z, 1, w=q)[0] for q in (n, n * np.exp(1.5 * bx)))
    return float(level), float(np.clip(late if late > 0.003 else max(early, 0.003), 0.003, 8.0))


def scale(level_slope: tuple[float, float], h: float, noise: float) -> float:
    level, slope = level_slope
    return level * min(slope * h + 0.01, 1.0) + noise


def by_source(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.groupby(["source", "horizon"])[column].mean().unstack()


def line(label: str, frame: pd.DataFrame, base: pd.DataFrame | None = None) -> str:
    """One row of a table: means over sources, one vote each."""

    def joined(column: str, form: str, factor: float = 1.0) -> str:
        means = by_source(frame, column)
        return "/".join(
            format(factor * means[h].mean(), form) if h in means else "-" for h in HORIZONS
        )

    text = f"{label:30s} {frame['source'].nunique():3d}  90 % {joined('c90', '.0f', 100)}"
    text += f"  50 % {joined('c50', '.0f', 100)}  proper {joined('proper', '.3f')}"
    if base is not None:
        both = frame.merge(base, on=["case", "target"], suffixes=("", "_base"))
        ratio = np.log(by_source(both, "crps") / by_source(both, "crps_base"))
        ratio = ratio.replace([np.inf, -np.inf], np.nan)
        text += "  over base " + "/".join(
            format(np.exp(ratio[h].mean()), ".2f") if h in ratio else "-" for h in HORIZONS
        )
    return text


def tables(frame: pd.DataFrame, base: pd.DataFrame | None = None) -> list[str]:
    """The record by group, kind and cut; late cuts apart."""
    main = frame[frame["cut"] < 0.85]
    out = [line("all", main, base)]
    out += [line(g, main[main["group"] == g], base) for g in ("shipped", "more", "corpus")]
    shipped, by = main["source"].isin(SHIPPED), set(main["source"])
    out.append(line("shipped, cuts >= .3", main[shipped & (main["cut"] >= 0.3)], base))
    out += [
        line(f"cuts {name}", main[keep], base)
        for name, keep in (
            ("<= .15", main["cut"] <= 0.15),
            (".2, .3", (main["cut"] > 0.15) & (main["cut"] < 0.4)),
            (">= .5", main["cut"] >= 0.5),
        )
    ]
    away = main[~shipped]
    out += [line(f"kind {k}", part, base) for k, part in away.groupby("kind")]
    out += [line(s, main[main["source"] == s], base) for s in (*SHIPPED, *MORE) if s in by]
    rates = main.groupby("source")["c90"].mean()
    out.append(f"sources below 60 %: {(rates < 0.6).sum()} of {len(rates)}")
    for cut in (0.8, 0.9, 0.95):
        late = frame[(frame["cut"] == cut) & frame["horizon"].isin(["end", "late"])]
        held = late.groupby(["group", "source"])["c90"].mean().groupby("group").mean()
        some = late[late["source"].isin(["llama", "lr-schedules", "xlstm"])]
        each = some.groupby("source")["c90"].agg(["mean", "size"])
        words = ", ".join(f"{k} {v:.0%}" for k, v in held.items())
        more = ", ".join(f"{k} {v['mean']:.0%} of {v['size']:.0f}" for k, v in each.iterrows())
        out.append(f"cut at {cut}, the end held: {words}; {more}")
    return out
