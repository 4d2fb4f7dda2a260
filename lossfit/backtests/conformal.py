"""Intervals widened or narrowed by the user's own backtests: ``extrapolate(calibrate_on=...)``.

The same law and priors forecast the known future of finished runs (`lossfit.backtest`), and the
distance of every outcome from the median is measured in arms of the interval on its side.  The
factor on all draws' distances from their median is the conformal quantile of these numbers (Vovk,
Gammerman & Shafer 2005; Romano, Patterson & Candes 2019, arXiv 1905.03222), each run counting once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..forecasts.learning import Priors
from ..runs.broken import left_out
from .backtesting import backtest_question
from .references import moves_of, rounded, share_of_plan, standings

if TYPE_CHECKING:
    import pandas as pd

    from ..forecasts.question import Question
    from ..runs.collection import Runs

LEAST_RUNS = 10
NEAR = 0.5  # |log of horizon ratios|: a backtest at so different a ratio does not count
LIMITS = (0.5, 4.0)
CUTS = (0.3, 0.5, 0.7)  # where no plan is known


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate_on`` did."""

    # on the distance of draws from their median; None if there was too little to learn from
    factor: float | None
    # runs, forecasts: how many it was learned from
    runs: int
    forecasts: int
    # share of their outcomes in the intervals before the change; NaN without forecasts
    covered: float
    prob: float  # probability of these intervals

    def __str__(self) -> str:
        if self.factor is None:
            return (
                f"Not calibrated: calibrate_on gave forecasts of {self.runs} runs near this "
                f"horizon, {LEAST_RUNS} are needed."
            )
        word = "widened" if self.factor > 1 else "narrowed"
        return (
            f"Calibrated: {word} by a factor of {self.factor:.2f}, because {100 * self.prob:g} % "
            f"intervals held {100 * self.covered:.0f} % of {self.forecasts} outcomes of "
            f"{self.runs} finished runs."
        )


def calibrated(
    question: Question,
    runs: Runs,  # runs of the question
    names: Sequence[str],  # those extrapolated; they are left out of the finished ones
    at: Floats,  # shape (n_names, n_at): their targets
) -> tuple[Question, Calibration | None]:
    """The question with the factor learned from its ``calibrate_on``, and what was done."""
    if question.by_default and question.priors is not None and question.moves is None:
        question = _with_siblings(question, runs, names)
    finished = question.calibrate_on
    if finished is None:
        return question, None
    uncalibrated = question
    if question.moves is not None:  # the finished runs find the width, if they are enough
        moves = {
            name: move._replace(factor=np.ones_like(move.factor))
            for name, move in question.moves.items()
        }
        question = replace(question, moves=moves)
    unheard = {*names, *left_out(finished, question.axis)}
    others = [name for name in finished.names if name not in unheard]
    ends = np.array([runs[name].end(question.axis) for name in names])
    beyond = at > ends[:, None]
    nothing = Calibration(None, 0, 0, float("nan"), question.prob)
    if not others or not beyond.any():
        return uncalibrated, nothing
    ratio = float(np.median((at / ends[:, None])[beyond]))
    plain = replace(
        question,
        widen=1.0,
        compared=(),
        calibrate_on=None,
        priors=None if question.by_default else question.priors,
        moves=None,
    )
    shares = [share_of_plan(question, runs, name) for name in names]
    known = [share for share in shares if share is not None]
    frame, count = None, 0
    # At the asked runs' own share of their plan, where that is known and enough runs can be cut.
    own = [(rounded(float(np.median(known))),)] if known else []
    for cuts in [*own, CUTS]:
        try:
            check = backtest_question(finished.select(others), plain, cuts, (ratio, "end"))
        except DataError:  # no run is long enough for one forecast
            continue
        frame = check.frame
        frame = frame[np.abs(np.log(frame["horizon_ratio"] / ratio)) < NEAR]
        count = int(frame["run"].nunique())
        if count >= LEAST_RUNS:
            break
    if frame is None:
        return uncalibrated, nothing
    if count < LEAST_RUNS:
        return uncalibrated, replace(nothing, runs=count, forecasts=len(frame))
    off = (frame["observed"] - frame["median"]).to_numpy()
    arm = np.where(off > 0, frame["upper"] - frame["median"], frame["median"] - frame["lower"])
    score = np.abs(off) / np.maximum(arm, 1e-12)
    weight = 1 / frame.groupby("run")["run"].transform("size").to_numpy()
    order = np.argsort(score)
    # One run more, whose score is not known: the finite-sample correction.
    share = np.cumsum(weight[order]) / (count + 1)
    reached = np.flatnonzero(share >= question.prob)
    factor = float(score[order][reached[0]]) if reached.size else float(score.max())
    factor = float(np.clip(factor, *LIMITS))
    done = Calibration(factor, count, len(frame), float(frame["covered"].mean()), question.prob)
    return replace(question, widen=factor), done


def _with_siblings(question: Question, runs: Runs, names: Sequence[str]) -> Question:
    """The question with what its siblings say of the default law's errors."""
    asked = standings(question, runs, names)
    learned = question.priors
    if not asked or not isinstance(learned, Priors) or learned.runs is None:
        return question
    return replace(question, moves=moves_of(question, learned.runs, asked, _frame))


def _frame(
    runs: Runs, question: Question, cutoffs: Sequence[float], horizons: Sequence[float | str]
) -> pd.DataFrame:
    return backtest_question(runs, question, cutoffs, horizons).frame
