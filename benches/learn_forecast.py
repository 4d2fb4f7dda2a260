"""Learn the default forecast's constants from public curves, and score them on left-out sources.

    python -m benches.learn_forecast CURVES [--out FILE] [--quick] [--tables-only FILE]

CURVES is a folder of public curves (`benches.curves`, with ``more`` and ``corpus``).  Constants are
learned by mean log score of outcomes, one vote a source (the seven sources of `benches.curves` four
each), for three states of knowledge at once; then a width step from the left-out forecasts; then
how much a longer plan gives a finished run.  Every printed score is of sources that had no part in
the constants used on them (five folds), but for the structure, ridge and votes, which were chosen
on such scores.  `--quick` takes two runs a source and few iterations (a smoke test).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from benches.forecast_baselines import baseline
from benches.forecast_cases import Case, Target, finished_pairs, make_cases
from benches.forecast_score import FEATURES, HYPER, ROWS, Problem, log_score, prepared
from benches.forecast_tables import (
    WIDTH_AT,
    Floats,
    draws_of,
    learn_width,
    level_and_slope,
    line,
    one_record,
    places,
    record,
    scored,
    tables,
    width_step,
)
from benches.sibling_forecast import SIBLINGS, sibling_scores, sibling_table
from lossfit.forecasts.domain import named_other
from tests.oracles import forecast_draws, forecast_oracle

MODES = ("known", "total", "nothing")
FOLDS = 5
TRAIN_CUTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9)
NOT_TEXT = {"jiazhe868/nanogpt-seis"}  # a language model of seismic data
FAMILY = {f"algoperf_{w}": "algoperf" for w in ("criteo", "imagenet", "ogbg")}  # one harness
VOTES, LATE_VOTE = 4.0, 0.5  # of a source of language models; of targets within 1.2 x the cut
RIDGE, LIKE_RIDGE, CONSTANT_RIDGE, STRENGTH_RIDGE = 0.3, 0.1, 0.05, 0.5
ITERATIONS = 5  # stopped early: more of them score worse on left-out sources
PRUNE = 25.0  # log evidence below the best cell that is dropped
CONSTANTS = Path(__file__).parents[1] / "lossfit/forecasts/constants.json"
SAME = 0.02  # what another processor's rounding does to five steps of learning
LIKE = forecast_oracle.NAMES.index("like")
KEEP = 0.15  # of a draw above a finished run's own end

FREE = {  # features that each hyper-parameter may depend on; after the bar: times like
    "alpha": "one slope like",
    "kb": "one slope noise like rough many | rough",
    "temper": "one",
    "strength": "one slope like",
    "schedule": "one like",
    "eta": "one like",
    "grow": "one slope noise like known rough many rest nothing | rough known",
    "curve": "one",
    "drift": "one slope like",
    "response": "one known like rest | rest",
    "slow": "one like",
    "tail": "one slope noise like known rough many rest | rough known",
    "jitter": "one like",
    "size": "one",
    "lean": "one",
}


# ---- problems -----------------------------------------------------------------------------------
def on_fitted_scale(target: Target, d: dict[str, Any]) -> tuple[float, float]:
    """An outcome and its noise, as the cells see them (the inverse of `forecast_draws.back`)."""
    if not d["positive"]:
        return (target.observed - d["level"]) / d["scale"], target.noise / d["scale"]
    base = np.exp(d["last"])
    q = target.observed / base
    z = q - 1 if q > 1 else np.log(max(q, 1e-12))
    noise = target.noise / (base if q > 1 else max(target.observed, 1e-300))
    return float(d["last"] + z), float(min(noise, 1.0))


def problem_of(i: int, case: Case, mode: str, future: list[Any] | None = None) -> Problem:
    curve = case.curve
    d = forecast_oracle.prepare(case.t, case.loss, min(curve.warmup, 0.7 * case.t[-1]))
    at = np.array([t.at for t in case.targets])
    _, schedules, plan = forecast_draws.situation(
        d, curve.schedule if mode == "known" else None, None if mode == "nothing" else curve.plan
    )
    plan = max(plan, d["tc"])
    p = forecast_oracle.cells(d, at, schedules, plan, future)
    m, v, vB = (x.reshape(len(at), -1) for x in forecast_oracle.moments(p))
    logz = p["logz"].ravel()
    kept = np.flatnonzero(logz > logz.max() - PRUNE)
    rows = [on_fitted_scale(t, d) for t in case.targets]
    features = forecast_oracle.features(d, plan, mode == "known", mode == "nothing")
    if named_other(curve.name):
        features[LIKE] = 0.0
    return Problem(
        case=i,
        source=curve.source,
        mode=mode,
        horizons=tuple(t.horizon for t in case.targets),
        features=features,
        data=d,
        index=np.array(np.unravel_index(kept, p["logz"].shape), dtype=np.int8),
        logz=(logz[kept] - logz.max()).astype(np.float32),
        mean=m[:, kept].astype(np.float32),
        variance=np.maximum(v[:, kept], 0).astype(np.float32),
        response=vB[:, kept].astype(np.float32),
        schedules=np.array(forecast_oracle.MODES[mode]) - forecast_oracle.MODES[mode][0],
        h=np.log(at / d["tc"]),
        y=np.array([y for y, _ in rows]),
        noise=np.array([n for _, n in rows]),
    )


def all_problems(cases: list[Case]) -> list[Problem]:
    modes = [(i, c, m) for i, c in enumerate(cases) for m in MODES]
    return [problem_of(i, c, m) for i, c, m in modes if m != "known" or c.curve.schedule]


def in_mode(problems: list[Problem], cases: list[Case], mode: str) -> list[Problem]:
    """A state of knowledge; ``known`` falls back on the total where no rate is logged."""
    return [
        p
        for p in problems
        if p.mode == mode
        or (mode == "known" and p.mode == "total" and cases[p.case].curve.schedule is None)
    ]


def few_runs(cases: list[Case], most: int) -> set[tuple[str, str]]:
    """Source and name of at most so many runs a source, evenly spaced."""
    names: dict[str, list[str]] = {}
    for case in cases:
        group = names.setdefault(case.curve.source, [])
        if case.curve.name not in group:
            group.append(case.curve.name)
    out = set()
    for source, group in names.items():
        for j in np.unique(np.linspace(0, len(group) - 1, min(most, len(group))).round()):
            out.add((source, group[int(j)]))
    return out


def folds_of(cases: list[Case]) -> dict[str, int]:
    """Whole sources, and whole harnesses, in one fold; each group spread over the folds."""
    rng, out = np.random.default_rng(3), {}
    for group in ("shipped", "more", "corpus"):
        sources = sorted({c.curve.source for c in cases if c.curve.group == group})
        families = sorted({FAMILY.get(s, s) for s in sources})
        rng.shuffle(families)
        place = {family: k % FOLDS for k, family in enumerate(families)}
        out.update({s: place[FAMILY.get(s, s)] for s in sources})
    return out


def text_sources(cases: list[Case]) -> set[str]:
    """Sources that train language models on text."""
    return {c.curve.source for c in cases if c.curve.kind == "lm_pretrain"} - NOT_TEXT


# ---- learning -----------------------------------------------------------------------------------
def votes_of(problems: list[Problem], cases: list[Case]) -> list[Floats]:
    """One vote a source and state of knowledge; its horizons share it."""
    count: dict[tuple[str, str, str], int] = {}
    for p in problems:
        for h in p.horizons:
            key = (p.source, p.mode, h)
            count[key] = count.get(key, 0) + 1
    share: dict[tuple[str, str], float] = {}
    for source, mode, h in count:
        key2 = (source, mode)
        share[key2] = share.get(key2, 0.0) + (LATE_VOTE if h == "late" else 1.0)
    sources = len({p.source for p in problems})
    out = []
    for p in problems:
        twice = p.mode == "total" and (p.source, "known") not in share
        vote = (2.0 if twice else 1.0) / sources / share[p.source, p.mode]
        vote *= VOTES if cases[p.case].curve.group == "shipped" else 1.0
        each = [
            vote * (LATE_VOTE if h == "late" else 1.0) / count[p.source, p.mode, h]
            for h in p.horizons
        ]
        out.append(np.array(each))
    return out


def start() -> Floats:
    """Where learning starts, and what the ridge pulls to."""
    table = np.zeros((HYPER, 2 * FEATURES))
    values = {
        "alpha": [-1.3, 0.13, 0.43, 0.97, 0.46, -0.3],
        "kb": [-0.06, 0.35, 0.2, 0.0, -0.9],
        "strength": [0.0, 0.5, 0.4, 0.0, 0.0, -0.5, -0.9],
        "eta": [0.4],
        "grow": [0.2],
        "curve": [-1.97],
        "drift": [-2.6],
        "response": [-1.8],
        "slow": [-0.6],
        "tail": [-0.5, -1.5],
        "jitter": [-6.9],
        "size": np.log([0.8, 1.5, 5.0]),
        "lean": [0.0, 0.05, 0.1],
    }
    for name, v in values.items():
        a, n = ROWS[name]
        table[a : a + n, 0] = v
    a, _ = ROWS["strength"]
    table[a + 3 : a + 7, 3] = -5.0  # B in local slopes is not what language models show
    return table


def free_entries() -> Floats:
    free = np.zeros((HYPER, 2 * FEATURES), bool)
    for name, words in FREE.items():
        a, n = ROWS[name]
        plain, _, times_like = words.partition("|")
        columns = [forecast_oracle.NAMES.index(w) for w in plain.split()]
        columns += [FEATURES + forecast_oracle.NAMES.index(w) for w in times_like.split()]
        free[a : a + n, columns] = True
    return free


def ridge() -> Floats:
    r = np.full((HYPER, 2 * FEATURES), RIDGE)
    r[:, FEATURES:] *= LIKE_RIDGE
    r[:, 3] *= LIKE_RIDGE
    r[:, 0] = RIDGE * CONSTANT_RIDGE
    a, n = ROWS["strength"]
    r[a : a + n] = STRENGTH_RIDGE
    return r


def learn(problems: list[Problem], cases: list[Case], first: Floats, iterations: int) -> Floats:
    """Constants that maximise the mean log score less the ridge."""
    ready, votes = [prepared(p) for p in problems], votes_of(problems, cases)
    free, pull, centre = free_entries(), ridge(), start()

    def objective(x: Floats) -> tuple[float, Floats]:
        table = first.copy()
        table[free] = x
        score, gradient = log_score(table, problems, ready, votes)
        off = table - centre
        return -score + 0.5 * float((pull * off**2)[free].sum()), (-gradient + pull * off)[free]

    options = {"maxiter": iterations, "maxcor": 20}
    found = minimize(objective, first[free], jac=True, method="L-BFGS-B", options=options)
    table = first.copy()
    table[free] = found.x
    return table


def stated(
    mode: str,
    text: set[str],
    left_out: list[Floats],
    steps: list[dict[str, Floats]],
    fold: dict[str, int],
    problems: list[Problem],
    cases: list[Case],
    scales: list[Any],
) -> pd.DataFrame:
    """Scores of sources of text that are said to be text."""
    asked = [p for p in in_mode(problems, cases, mode) if p.source in text]
    rows = []
    for k, widths in enumerate(steps):
        some = [p for p in asked if fold[p.source] == k]
        rows.append(scored(left_out[k], some, cases, width_step(widths, True), scales))
    return pd.concat(rows)


JOBS: list[tuple[list[Problem], list[Case], Floats, int]] = []


def learn_job(i: int) -> Floats:
    return learn(*JOBS[i])


# ---- a finished run's longer plan ---------------------------------------------------------------
def pair_problems(folder: Path, mode: str) -> list[tuple[str, Problem, Case, float]]:
    """Finished runs with the schedules of both plans known, or with the ends of both (total)."""
    out = []
    for kind, case, future, own in finished_pairs(folder):
        ahead = [future] if mode == "known" else forecast_oracle.menu(case.targets[0].at)
        out.append((kind, problem_of(0, case, mode, ahead), case, own))
    return out


def gains(pairs: list[tuple[str, Problem, Case, float]], table: dict[str, Floats]) -> pd.DataFrame:
    """Log of the true gain over the forecast one."""
    rows = []
    for kind, p, _, _ in pairs:
        base = p.data["by"][-1]
        expected = np.median(draws_of(table[p.source], p, 0)) - base
        rows.append((kind, p.source, np.log(max((p.y[0] - base) / expected, 0.05))))
    return pd.DataFrame(rows, columns=["kind", "source", "log_gain"])


def gain_of(frame: pd.DataFrame) -> dict[str, float]:
    """Mean and sd of the log gain, one vote a kind of plan."""
    mean = frame.groupby("kind")["log_gain"].median().mean()
    square = ((frame["log_gain"] - mean) ** 2).groupby(frame["kind"]).mean().mean()
    return {"mean": float(mean), "sd": float(np.sqrt(square)), "keep": KEEP}


def pair_scores(
    pairs: list[tuple[str, Problem, Case, float]],
    frame: pd.DataFrame,
    table: dict[str, Floats],
    step: dict[str, Any],
) -> pd.DataFrame:
    """Longer plans one by one; constants and gain (of `frame`) are from other sources."""
    rows = []
    for kind, p, case, own in pairs:
        gain = gain_of(frame[frame["source"] != p.source])
        y = step[p.source](draws_of(table[p.source], p, 0), p.h[0], p)
        y = forecast_draws.longer(y, p.data["by"][-1], gain, np.random.default_rng(5))
        x, o = np.sort(forecast_draws.back(y, p.data)), case.targets[0].observed
        lo, up = np.quantile(x, [0.05, 0.95])
        held = {"c90": float(lo <= o <= up), "error": np.median(x) - o, "width": up - lo}
        at = {"ratio": float(np.exp(p.h[0])), "like": p.features[3]}
        rows.append({"kind": kind, "source": p.source, **held, "worse": (x > own).mean(), **at})
    return pd.DataFrame(rows)


def pair_table(scores: pd.DataFrame) -> pd.DataFrame:
    by = scores.groupby("kind")
    out = by[["c90", "error", "width", "worse", "ratio"]].mean()
    out.insert(0, "pairs", by.size())
    return out


# ---- the command --------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curves", type=Path)
    parser.add_argument("--out", type=Path, help="where the constants go (JSON)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--against", default="", help="another law, scored too (broken_power: 1 h)")
    parser.add_argument("--check", action="store_true", help="fail if the shipped constants differ")
    parser.add_argument("--jobs", type=int, default=2, help="processes that learn at a time")
    o = parser.parse_args()
    began, runs, iterations = (
        time.perf_counter(),
        (1, 2) if o.quick else (4, 8),
        3 if o.quick else ITERATIONS,
    )
    cases = make_cases(o.curves)
    some = few_runs(cases, runs[1])
    cases = [c for c in cases if (c.curve.source, c.curve.name) in some]
    problems = all_problems(cases)
    scales = [level_and_slope(c.t, c.loss, c.curve.warmup) for c in cases]
    fold = folds_of(cases)
    some = few_runs(cases, runs[0])
    train = [
        p
        for p in problems
        if cases[p.case].cut in TRAIN_CUTS and (p.source, cases[p.case].curve.name) in some
    ]
    print(f"{len(cases)} cases of {len(fold)} sources, {len(train)} problems to learn from")
    # Fold by fold, and last with every source; forked, so that the problems are shared.
    jobs = [[p for p in train if fold[p.source] != k] for k in range(FOLDS)] + [train]
    JOBS.extend((job, cases, start(), iterations) for job in jobs)
    log_score(start(), train[:1], [prepared(train[0])], [np.ones(len(train[0].h))])  # compile once
    with multiprocessing.get_context("fork").Pool(o.jobs) as pool:
        found = pool.map(learn_job, range(len(JOBS)), 1)
    left_out, table = found[:FOLDS], found[FOLDS]
    print(f"learned: {time.perf_counter() - began:.0f} s", flush=True)
    widths: dict[str, Floats] = {}
    steps: list[dict[str, Floats]] = [{} for _ in range(FOLDS)]
    text = text_sources(cases)
    seen = [p for p in problems if (p.source, cases[p.case].curve.name) in some]
    for mode in MODES:
        asked = in_mode(seen, cases, mode)
        parts = [
            places(left_out[k], [p for p in asked if fold[p.source] == k], text)
            for k in range(FOLDS)
        ]
        widths[mode] = learn_width(pd.concat(parts))
        for k in range(FOLDS):
            steps[k][mode] = learn_width(pd.concat(parts[:k] + parts[k + 1 :]))
    stepper = [width_step(w) for w in steps]
    known: pd.DataFrame | None = None
    records: dict[str, Any] = {}
    for mode in MODES:
        rows = []
        for k in range(FOLDS):
            asked = [p for p in in_mode(problems, cases, mode) if fold[p.source] == k]
            rows.append(scored(left_out[k], asked, cases, stepper[k], scales))
        frame = pd.concat(rows)
        records[mode] = record(frame[frame["known"]] if mode == "known" else frame)
        print(f"\n{mode}, left out:", *tables(frame), sep="\n")
        told = stated(mode, text, left_out, steps, fold, problems, cases, scales)
        records[mode]["stated"] = one_record(told)
        print("text, stated:", *tables(told)[:5], sep="\n")
        if mode == "known":
            known = frame
            if o.against:
                base = baseline(cases, scales, o.against, sorted(frame["case"].unique()))
                print(f"\nover {o.against}:", *tables(frame, base), sep="\n")
                print(f"\n{o.against}:", *tables(base), sep="\n")
        elif mode == "total" and known is not None:
            print(line("known over total", known[known["known"]], frame[frame["known"]]))
    alone, helped = sibling_scores(left_out, stepper, fold, problems, cases, scales)
    print("\nwith finished siblings, left out:", *sibling_table(alone, helped), sep="\n")
    if not helped.empty:
        records["siblings"] = record(helped)
    by_source = {s: left_out[k] for s, k in fold.items()}
    # The gain is learned where schedules are known, and holds where only the ends are.
    learned = gains(pair_problems(o.curves, "known"), by_source)
    for mode, name in (("known", "longer"), ("total", "longer_total")):
        pairs = pair_problems(o.curves, mode)
        stepped = {s: stepper[k] for s, k in fold.items()}
        plans = pair_scores(pairs, learned, by_source, stepped)
        print(f"\na finished run's longer plan, {mode}, left out:")
        print(pair_table(plans).round(3).to_string())
        records[name] = record(plans)
    classes = frame.groupby("source")["like"].mean() >= 0.5
    records["domains"] = {"text": int(classes.sum()), "other": int((~classes).sum())}
    made = constants_of(table, widths, gain_of(learned), records)
    if o.out is not None:
        o.out.write_text(text_of(made))
    print(f"{time.perf_counter() - began:.0f} s")
    if o.check:
        off = difference(made, json.loads(CONSTANTS.read_text()))
        print(f"largest difference from {CONSTANTS.name}: {off:.4f}")
        raise SystemExit(off > SAME)


def constants_of(
    table: Floats,
    widths: dict[str, Floats],
    longer: dict[str, float],
    records: dict[str, Any],
) -> dict[str, Any]:
    return {
        "made by": "python -m benches.learn_forecast",
        "rows": {k: list(v) for k, v in ROWS.items()},
        "features": list(forecast_oracle.NAMES),
        "table": np.round(table, 4).tolist(),
        "width_at": WIDTH_AT.tolist(),
        "width": {m: np.round(w, 3).tolist() for m, w in widths.items()},
        "longer": {k: round(v, 3) for k, v in longer.items()},
        "siblings": SIBLINGS,
        "record": records,
    }


def text_of(constants: dict[str, Any]) -> str:
    """JSON with one line a row of numbers."""
    text = json.dumps(constants, indent=1)
    rows = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    return rows + "\n"


def difference(made: dict[str, Any], shipped: dict[str, Any]) -> float:
    """Largest difference of the numbers that forecasts are made of."""
    pairs = [(made["table"], shipped["table"])]
    pairs += [(made["width"][m], shipped["width"][m]) for m in MODES]
    pairs += [(list(made["longer"].values()), list(shipped["longer"].values()))]
    return max(float(np.abs(np.array(a) - np.array(b)).max()) for a, b in pairs)


if __name__ == "__main__":
    main()
