"""What a learning rate that was logged up to the cut is worth, against the whole schedule.

    python -m benches.logged_rates CURVES

Runs of the public curves (`benches.forecast_cases`) whose rate was logged are cut, and forecast
with that column alone, with ``total=`` beside it, and with the schedule to the end.  The constants
have seen these sources: the three ways are to be compared with each other.  Means within a source,
then over sources.  Besides, finished runs asked for a longer plan, told in five ways.  The bar is
that of the record, 86 % held at each horizon and 85 % of the longer plans; it is missed where they
are off by more than two standard errors.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lossfit
from benches.forecast_cases import Case, finished_pairs, make_cases
from benches.forecast_tables import HORIZONS, crps, level_and_slope, scale
from benches.learn_forecast import few_runs
from lossfit.schedules import from_points

CUTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8)
WAYS = ("schedule", "logged", "logged, total")
HELD, PLANS_HELD, SURE = 0.86, 0.85, 2.0
DRAWS = 500


def asked(frame: pd.DataFrame, at: list[float], own: Any = None, **options: Any) -> lossfit.Answer:
    runs = lossfit.Runs.from_frame(frame, schedules=own)
    return lossfit.extrapolate(runs, at=at, axis="step", draws=DRAWS, **options)


def rows_of(case: Case) -> list[tuple[Any, ...]]:
    """A row a way and target: source, way, horizon, held, proper score."""
    curve, t = case.curve, case.t
    assert curve.schedule is not None
    rate = np.asarray(curve.schedule(curve.t), float)
    if not (np.isfinite(rate).all() and rate.max() > 0):
        return []
    rate, frame = np.maximum(rate, 0), pd.DataFrame({"step": t, "loss": case.loss})
    logged, at = frame.assign(lr=rate[: len(t)]), [target.at for target in case.targets]
    answers = (
        asked(frame, at, from_points(curve.t, rate)),
        asked(logged, at),
        asked(logged, at, total=float(curve.plan)),
    )
    levels, out = level_and_slope(t, case.loss, curve.warmup), []
    for way, answer in zip(WAYS, answers, strict=True):
        noise = np.random.default_rng(0).standard_normal((len(at), DRAWS))
        for j, target in enumerate(case.targets):
            draws = answer.draws.to_numpy()[0, j] + target.noise * noise[j]
            low, high = np.quantile(draws, [0.05, 0.95])
            score = crps(draws, target.observed)
            score /= scale(levels, np.log(target.at / t[-1]), target.noise)
            held = bool(low <= target.observed <= high)
            out.append((curve.source, way, target.horizon, held, score))
    return out


def longer_plans(folder: Path) -> pd.DataFrame:
    """Finished runs asked for a longer plan: a row a pair and way of telling their end."""
    out = []
    for kind, case, future, own in finished_pairs(folder):
        curve, target = case.curve, case.targets[0]
        assert curve.schedule is not None
        frame = pd.DataFrame({"step": curve.t, "loss": curve.loss})
        logged = frame.assign(lr=np.asarray(curve.schedule(curve.t)))
        end, at = float(curve.t[-1]), [target.at]
        for way, answer in {
            "schedule": asked(frame, at, curve.schedule),
            "both schedules": asked(frame, at, curve.schedule, schedule=future),
            "total": asked(frame, at, total=end),
            "logged": asked(logged, at),
            "logged, total": asked(logged, at, total=end),
        }.items():
            draws = answer.draws.to_numpy().ravel()
            low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
            held = bool(low <= target.observed <= high)
            worse = float((draws > own).mean())
            out.append((kind, way, held, middle - target.observed, high - low, worse))
    return pd.DataFrame(out, columns=["kind", "way", "held", "error", "width", "worse"])


def main(folder: Path) -> int:
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    cases = make_cases(folder, CUTS)
    some = few_runs(cases, 8)
    cases = [c for c in cases if (c.curve.source, c.curve.name) in some and c.curve.schedule]
    rows = [row for case in cases for row in rows_of(case)]
    frame = pd.DataFrame(rows, columns=["source", "way", "horizon", "held", "proper"])
    means = frame.groupby(["way", "horizon", "source"])[["held", "proper"]].mean()
    groups = means.groupby(["way", "horizon"])
    table, errors = groups.mean(), groups["held"].std() / groups["held"].size() ** 0.5
    print(f"{frame['source'].nunique()} sources, {len(frame) // len(WAYS):,} forecasts each way")
    for name, column in (("held", table["held"]), ("+-", errors), ("proper", table["proper"])):
        shown = column.unstack("horizon").loc[list(WAYS), list(HORIZONS)]
        print(name, shown.round(3).to_string(), sep="\n")
    plans = longer_plans(folder)
    print("a finished run's longer plan, by how its end is known:")
    print(plans.groupby(["kind", "way"], sort=False).mean().round(3).to_string())
    held = plans.groupby("way")["held"]
    share, error = held.mean(), held.std() / held.size() ** 0.5
    print("all pairs:", *(f"{way} {100 * share[way]:.0f} %" for way in share.index), sep="  ")
    good = bool((table["held"] + SURE * errors >= HELD).all())
    return 0 if good and bool((share + SURE * error >= PLANS_HELD).all()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
