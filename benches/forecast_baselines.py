"""Scores of other methods on the cases of `benches.learn_forecast`, through lossfit itself."""

from __future__ import annotations

import numpy as np
import pandas as pd

import lossfit
from benches.forecast_cases import Case, Curve
from benches.forecast_tables import NOISE, POINTS, Floats, scale, scores
from lossfit.laws import ScheduleLaw, find

LEVELS = (np.arange(200) + 0.5) / 200
BATCH = 40


def baseline(
    cases: list[Case], scales: list[tuple[float, float]], laws: str, chosen: list[int]
) -> pd.DataFrame:
    """One row a target of the chosen cases: what ``extrapolate(..., laws=laws)`` says.

    With the schedule where it is known, else the planned end, for laws that take them.
    """
    rows = []
    for a in range(0, len(chosen), BATCH):
        part = chosen[a : a + BATCH]
        frames = [
            pd.DataFrame({"run": f"c{i}", "step": cases[i].t, "loss": cases[i].loss}) for i in part
        ]
        runs = lossfit.Runs.from_frame(pd.concat(frames))
        at = {f"c{i}": [t.at for t in cases[i].targets] for i in part}
        plans = {f"c{i}": schedule_of(cases[i].curve) for i in part}
        known = {
            "schedule": {name: plan for name, plan in plans.items() if plan is not None},
            "total": {f"c{i}": cases[i].curve.plan for i in part if plans[f"c{i}"] is None},
        }
        if laws != "auto" and not isinstance(find(laws), ScheduleLaw):
            known = {}  # it would be refused
        answer = lossfit.extrapolate(
            runs, at=at, axis="step", laws=laws, random_seed=1, draws=400, **known
        )
        for i in part:
            draws = np.asarray(answer.draws.sel(run=f"c{i}"))
            rows += [_row(i, t, draws[t], cases[i], scales[i]) for t in range(len(at[f"c{i}"]))]
    return pd.DataFrame([r for r in rows if r is not None])


def schedule_of(curve: Curve) -> lossfit.schedules.Schedule | None:
    plan = curve.schedule
    if plan is None or isinstance(plan, lossfit.schedules.Schedule):
        return plan
    return lossfit.schedules.from_points(curve.t, np.maximum(plan(curve.t), 0))


def _row(
    i: int, t: int, draws: Floats, case: Case, level_slope: tuple[float, float]
) -> dict[str, object] | None:
    draws, target = draws[np.isfinite(draws)], case.targets[t]
    if not len(draws):
        return None
    x = np.interp(POINTS[:, 0], LEVELS, np.quantile(draws, LEVELS)) + NOISE * target.noise
    row = scores(x, target.observed)
    row["proper"] = row["crps"] / scale(level_slope, np.log(target.at / case.t[-1]), target.noise)
    return {
        "case": i,
        "target": t,
        "source": case.curve.source,
        "group": case.curve.group,
        "kind": case.curve.kind,
        "cut": case.cut,
        "horizon": target.horizon,
        **row,
    }
