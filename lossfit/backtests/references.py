"""What a project's finished runs say of the default forecast's errors: ``siblings=``.

Each finished run is cut at the share of its plan at which the asked run stands, and its known
future is forecast.  The errors, in half widths of the 90 % interval on their side, move and stretch
the draws of the asked run at the same horizon; how many runs no change counts as was learned from
projects that were left out (`lossfit.forecasts.constants.References`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..forecasts.constants import references
from ..forecasts.moves import Moves
from ..forecasts.rates import Plan, chosen
from ..runs.known import for_runs
from ..runs.logged_rate import axis_factor, form_of, history_of, warmed, warmup_of

if TYPE_CHECKING:
    import pandas as pd

    from ..forecasts.question import Question
    from ..runs.collection import Runs
    from ..runs.run import Run

__all__ = ["Standing", "moves_of", "rounded", "share_of_plan", "standings"]

HORIZONS = (1.25, 2.0, 4.0, 8.0, 16.0, "end")
STEP = 0.05  # shares of plans are rounded to it
LEAST, MOST = 0.05, 0.95  # ... within these
LEAST_RUNS = 2


Backtest = Callable[[Any, Any, Any, Any], "pd.DataFrame"]


class Standing(NamedTuple):
    """How far an asked run is, and which finished runs it may learn from.

    Attributes
    ----------
    share : float
        Of its plan.
    others : collection of str
        Names of finished runs.
    """

    share: float
    others: Collection[str]


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
    """The end of the cosine or straight line that a logged rate follows."""
    history = history_of(run, axis)
    form = None if history is None else form_of(*warmed(*history), warmup_of(run, axis))
    return None if form is None else form.total


def rounded(share: float) -> float:
    """The share of their plans at which finished runs are cut."""
    return float(np.clip(STEP * round(share / STEP), LEAST, MOST))


def moves_of(
    question: Question, finished: Runs, asked: Mapping[str, Standing], backtest: Backtest
) -> dict[str, Moves]:
    """How the draws of the asked runs move; runs without enough finished ones are left out.

    Parameters
    ----------
    question : Question
        Its default law, without what was learned of siblings.
    finished : Runs
    asked : dict by run of Standing
    backtest : callable
        From runs, a question, a cut and horizons to the frame of a backtest.
    """
    plain = replace(
        question, priors=None, moves=None, widen=1.0, calibrate_on=None, compared=(), prob=0.9
    )
    errors: dict[float, dict[str, dict[str, float]]] = {}
    moves = {}
    for name, standing in asked.items():
        share = rounded(standing.share)
        if share not in errors:
            errors[share] = _errors(plain, finished, share, backtest)
        made = _moves(errors[share], set(standing.others), share)
        if made is not None:
            moves[name] = made
    return moves


def _errors(
    question: Question, finished: Runs, share: float, backtest: Backtest
) -> dict[str, dict[str, float]]:
    """Errors of the finished runs cut at a share, in half widths, by horizon and run."""
    have = [name for name in finished.names if finished[name].has(question.axis)]
    try:
        frame = backtest(finished.select(have), question, (share,), HORIZONS)
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
    errors: Mapping[str, Mapping[str, float]], others: set[str], share: float
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
    if not at:
        return None
    order = np.argsort(at)
    return Moves(*(np.array(values)[order] for values in (at, shift, factor)))
