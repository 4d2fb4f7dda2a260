"""What a project's finished runs say of the default forecast: ``siblings=``.

*Of its response.*  Each finished run, as a whole, has posterior probabilities of the normals that
the prior of B is made of: how often they were seen counts beside the learned prior, which is worth
six runs.

*Of its errors.*  Each finished run is cut at the share of its plan at which the asked run stands,
and its known future is forecast, with what the others say of B.  The errors, in half widths of the
90 % interval on their side, move and stretch the draws of the asked run at the same horizon; how
many runs no change counts as was learned from projects that were left out
(`lossfit.forecasts.constants.References`).

Neither learns from the asked run, nor from one that broke.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..forecasts.constants import references
from ..forecasts.curve_forecast import forecast_curves
from ..forecasts.moves import Moves
from ..forecasts.rates import Plan, chosen
from ..runs.broken import left_out
from ..runs.known import for_runs
from ..runs.logged_rate import axis_factor, history_of, rate_of
from ..runs.rate_forms import forms_of

if TYPE_CHECKING:
    import pandas as pd

    from ..forecasts.question import Question
    from ..runs.collection import Runs
    from ..runs.run import Run

HORIZONS = (1.25, 2.0, 4.0, 8.0, 16.0, "end")
STEP = 0.05  # shares of plans are rounded to it
LEAST, MOST = 0.05, 0.95  # ... within these
SHARES = 19  # ... which are so many
LEAST_RUNS = 2
LEAST_POINTS = 25  # of a run that says something of B
MOST_BACKTESTS = 20_000  # of runs: beyond, errors are of forecasts that know nothing of B
FEW_DRAWS = 10  # where nobody looks at them


Backtest = Callable[[Any, Any, Any, Any], "pd.DataFrame"]


class Standing(NamedTuple):
    """How far an asked run is, and which finished runs it may learn from."""

    share: float  # of its plan
    others: Collection[str]  # names of finished runs


def standings(question: Question, runs: Runs, names: Collection[str]) -> dict[str, Standing]:
    """The asked runs whose planned end is known."""
    found = {}
    for name in names:
        learned = question.learned(name)
        if learned is None or learned.runs is None:
            continue
        share = share_of_plan(question, runs, name)
        if share is not None:
            found[name] = Standing(share, learned.names)
    return found


def share_of_plan(question: Question, runs: Runs, name: str) -> float | None:
    """How far a run is in its plan, None where no end is known."""
    run = runs[name]
    plan = Plan(*(for_runs(given, [name]) for given in question.plan))
    schedule = chosen(plan.schedule, name) or run.schedule
    total = chosen(plan.total, name)
    if schedule is not None and schedule.total:
        total = schedule.total * axis_factor(run, schedule, question.axis)
    elif total is None:
        total = _logged_end(run, question.axis)
    return None if total is None else run.end(question.axis) / float(total)


def _logged_end(run: Run, axis: str) -> float | None:
    """The end of the form that a logged rate follows."""
    history = history_of(run, axis)
    form = None if history is None else forms_of([rate_of(*history)])[0].form
    return None if form is None else form.total


def rounded(share: float) -> float:
    """The share of their plans at which finished runs are cut."""
    return float(np.clip(STEP * round(share / STEP), LEAST, MOST))


def moves_of(
    question: Question,  # its default law, without what was learned of siblings
    finished: Runs,
    asked: Mapping[str, Standing],  # dict by run of Standing
    backtest: Backtest,  # from runs, a question, a cut and horizons to the frame of a backtest
) -> dict[str, Moves]:
    """How the draws of the asked runs move; runs without enough finished ones are left out."""
    plain = replace(
        question, priors=None, moves=None, widths=None, calibrate_on=None, compared=(), prob=0.9
    )
    broken = left_out(finished, question.axis)
    have = [
        name for name in finished.names if name not in broken and finished[name].has(question.axis)
    ]
    seen = _strengths(plain, finished.select(have)) if have else {}
    places = {
        name: (rounded(standing.share), frozenset(standing.others).intersection(have))
        for name, standing in asked.items()
    }
    places = {name: place for name, place in places.items() if len(place[1]) >= LEAST_RUNS}
    errors: dict[tuple[float, frozenset[str], bool], dict[str, dict[str, float]]] = {}
    moves = {}
    for name, (share, others) in places.items():
        # Whoever is asked beside it: as many backtests as if all were asked that may be.  Runs that
        # are references themselves each need backtests of their own.
        sets = len(have) if len(others) < len(have) else SHARES
        many = sets * len(others) > MOST_BACKTESTS
        used = frozenset(have) if many else others
        if (share, used, many) not in errors:
            each = None
            if not many:
                each = {run: Moves(strengths=_counts(seen, used - {run})) for run in used}
            runs = finished.select([run for run in have if run in used])
            errors[share, used, many] = _errors(replace(plain, moves=each), runs, share, backtest)
        made = _moves(errors[share, used, many], others, share, _counts(seen, others))
        if made is not None:
            moves[name] = made
    return moves


def _strengths(question: Question, finished: Runs) -> dict[str, Floats]:
    """Posterior probabilities of the normals of B of each finished run with enough points."""
    long = [run.name for run in finished if len(run.axis(question.axis)) >= LEAST_POINTS]
    if not long:
        return {}
    runs = finished.select(long)
    ends = {run.name: run.end(question.axis) for run in runs}
    made = forecast_curves(
        runs, question.axis, "auto", np.array([[end] for end in ends.values()]), Plan(None, ends),
        draws=FEW_DRAWS, seed=question.seed, domain=question.domain,
    )  # fmt: skip
    return dict(zip(runs.names, made.strengths, strict=True))


def _counts(seen: Mapping[str, Floats], others: Collection[str]) -> Floats:
    """How many runs showed each normal; nothing where fewer than two can tell."""
    strengths = [seen[run] for run in sorted(others) if run in seen]
    return np.sum(strengths, axis=0) if len(strengths) >= LEAST_RUNS else np.zeros(0)


def _errors(
    question: Question, finished: Runs, share: float, backtest: Backtest
) -> dict[str, dict[str, float]]:
    """Errors of the finished runs cut at a share, in half widths, by horizon and run."""
    try:
        frame = backtest(finished, question, (share,), HORIZONS)
    except DataError:  # no run is long enough for one forecast
        return {}
    off = (frame["observed"] - frame["median"]).to_numpy()
    half = np.where(off < 0, frame["median"] - frame["lower"], frame["upper"] - frame["median"])
    most = references().most
    frame = frame.assign(error=np.clip(off / np.maximum(half, 1e-12), -most, most))
    table = frame.groupby(["horizon", "run"])["error"].mean()
    found: dict[str, dict[str, float]] = {}
    for (horizon, run), error in table.items():
        found.setdefault(str(horizon), {})[str(run)] = float(error)
    return found


def _moves(
    errors: Mapping[str, Mapping[str, float]],
    others: Collection[str],
    share: float,
    strengths: Floats,
) -> Moves | None:
    learned = references()
    at, shift, factor = [], [], []
    for horizon, of_runs in errors.items():
        r: Floats = np.array([error for run, error in of_runs.items() if run in others])
        if len(r) < LEAST_RUNS:
            continue
        move = float(np.median(r)) * len(r) / (len(r) + learned.shift)
        size = float(np.abs(r - move).sum()) / learned.typical
        ratio = 1 / share if horizon == "end" else float(horizon.removesuffix("x"))
        at.append(np.log(ratio))
        shift.append(move)
        factor.append(
            float(np.clip((size + learned.scale) / (len(r) + learned.scale), *learned.clip))
        )
    if not at:  # of B alone nothing was checked so early in a plan
        return None
    order = np.argsort(at)
    return Moves(np.array(at)[order], np.array(shift)[order], np.array(factor)[order], strengths)
