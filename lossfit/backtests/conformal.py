"""Intervals widened or narrowed by the user's own backtests: ``extrapolate(calibrate_on=...)``.

The same law and priors forecast the known future of finished runs (`lossfit.backtest`), and the
distance of every outcome from the median is measured in arms of the interval on its side.  The
factor on all draws' distances from their median is the conformal quantile of these numbers (Vovk,
Gammerman & Shafer 2005; Romano, Patterson & Candes 2019, arXiv 1905.03222), each run counting once.

There is a factor for each of some horizons, found once for a run, and a target takes what lies
between those beside it: so no answer depends on the other targets, nor on the other runs.  The
default law's distances are those of logarithms, as its draws are: no loss is taken below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..forecasts.learning import Priors
from ..forecasts.moves import NEAR, Widths
from ..runs.broken import left_out
from .backtesting import backtest_question
from .cases import END
from .references import HORIZONS, moves_of, rounded, share_of_plan, standings

if TYPE_CHECKING:
    import pandas as pd

    from ..forecasts.question import Question
    from ..runs.collection import Runs

LEAST_RUNS = 10
LIMITS = (0.5, 4.0)
CUTS = (0.3, 0.5, 0.7)  # where no plan is known
RATIOS = tuple(ratio for ratio in HORIZONS if not isinstance(ratio, str))


@dataclass(frozen=True, eq=False)
class Calibration:
    """What ``calibrate_on`` did."""

    # shape (R, T): on the distances of draws from their median; NaN where there was too little to
    # learn from
    factors: Floats
    # runs, forecasts: how many they were learned from
    runs: int
    forecasts: int
    # share of their outcomes in the intervals before the change; NaN without forecasts
    covered: float
    prob: float  # probability of these intervals

    @property
    def factor(self) -> float | None:
        """The factor, the median of several; None if there was too little to learn from."""
        known = self.factors[np.isfinite(self.factors)]
        return float(np.median(known)) if known.size else None

    def __str__(self) -> str:
        if self.factor is None:
            return (
                f"Not calibrated: calibrate_on gave forecasts of {self.runs} runs near this "
                f"horizon, {LEAST_RUNS} are needed."
            )
        low, high = float(np.nanmin(self.factors)), float(np.nanmax(self.factors))
        word = "widened" if low > 1 else "narrowed" if high <= 1 else "narrowed or widened"
        by = f"a factor of {low:.2f}"
        if f"{low:.2f}" != f"{high:.2f}":
            by = f"factors of {low:.2f} to {high:.2f}"
        return (
            f"Calibrated: {word} by {by}, because {100 * self.prob:g} % intervals held "
            f"{100 * self.covered:.0f} % of {self.forecasts} outcomes of {self.runs} finished runs."
        )


class _Learned(NamedTuple):
    """What finished runs say of a run, by horizon ratio."""

    factors: dict[float, float]  # where enough of them say something
    # what they were learned from, or the little that there was
    frames: dict[float, pd.DataFrame]


def calibrated(
    question: Question,
    runs: Runs,  # runs of the question
    names: Sequence[str],  # those extrapolated; none of them learns from itself
    at: Floats,  # shape (n_names, n_at): their targets
) -> tuple[Question, Calibration | None]:
    """The question with factors learned from its ``calibrate_on``, and what was done."""
    if question.by_default and question.priors is not None and question.moves is None:
        question = _with_siblings(question, runs, names)
    finished = question.calibrate_on
    if finished is None:
        return question, None
    log_ratio = np.log(at / np.array([runs[name].end(question.axis) for name in names])[:, None])
    learned: dict[str, _Learned] = {}
    unheard = left_out(finished, question.axis)
    sound = [name for name in finished.names if name not in unheard]
    if sound and (log_ratio > 0).any():
        learned = _learned(question, runs, names, finished.select(sound))
    widths = {
        name: Widths(np.log(RATIOS), np.array([told.factors.get(k, np.nan) for k in RATIOS]))
        for name, told in learned.items()
        if told.factors
    }
    done = _summary(learned, widths, names, log_ratio, question.prob)
    if question.moves is not None:  # the finished runs find the width, if they are enough
        moves = {
            name: move._replace(factor=np.ones_like(move.factor)) if name in widths else move
            for name, move in question.moves.items()
        }
        question = replace(question, moves=moves)
    return replace(question, widths=widths or None), done


def _learned(
    question: Question, runs: Runs, names: Sequence[str], finished: Runs
) -> dict[str, _Learned]:
    """What the finished runs say of each run."""
    plain = replace(
        question,
        widths=None,
        compared=(),
        calibrate_on=None,
        priors=None if question.by_default else question.priors,
        moves=None,
    )
    checked: dict[tuple[float, ...], pd.DataFrame | None] = {}

    def frame(cuts: tuple[float, ...]) -> pd.DataFrame | None:
        if cuts not in checked:
            try:
                check = backtest_question(finished, plain, cuts, HORIZONS)
                checked[cuts] = _scored(check.frame, question.by_default)
            except DataError:  # no run is long enough for one forecast
                checked[cuts] = None
        return checked[cuts]

    known: dict[tuple[float | None, str | None], _Learned] = {}
    out = {}
    for name in names:
        share = share_of_plan(question, runs, name)
        key = (None if share is None else rounded(share), name if name in finished else None)
        if key not in known:
            # At the run's own share of its plan, where that is known and enough runs can be cut.
            cuts = [CUTS] if key[0] is None else [(key[0],), CUTS]
            known[key] = _by_horizon(frame, cuts, key[1], question.prob)
        out[name] = known[key]
    return out


def _scored(frame: pd.DataFrame, in_logs: bool) -> pd.DataFrame:
    """Rows with their scores: distances from the median, in arms of the interval on their side."""
    values = frame[["observed", "lower", "median", "upper"]].to_numpy(float)
    if in_logs:
        logs = np.log(np.where(values > 0, values, np.nan))
        values = np.where(np.isfinite(logs).all(axis=1, keepdims=True), logs, values)
    observed, lower, median, upper = values.T
    arm = np.where(observed > median, upper - median, median - lower)
    return frame.assign(score=np.abs(observed - median) / np.maximum(arm, 1e-12))


def _by_horizon(
    frame: Callable[[tuple[float, ...]], pd.DataFrame | None],
    cuts: Sequence[tuple[float, ...]],
    own: str | None,  # the finished run that is the asked one
    prob: float,
) -> _Learned:
    factors: dict[float, float] = {}
    frames: dict[float, pd.DataFrame] = {}
    for each in cuts:
        lacking = [ratio for ratio in RATIOS if ratio not in factors]
        table = frame(each) if lacking else None
        if table is None:
            continue
        table = table[table["run"] != own]
        off = np.abs(np.log(table["horizon_ratio"].to_numpy(float)[:, None] / RATIOS))
        nearest, near = off.argmin(axis=1), off.min(axis=1) < NEAR
        horizon = table["horizon"].to_numpy()
        for ratio in lacking:
            # The end of a run counts at the horizon nearest to it, if it is no outcome of its own.
            ends = (horizon == END) & (nearest == RATIOS.index(ratio)) & near
            rows = table[(horizon == f"{ratio:g}x") | ends]
            rows = rows.drop_duplicates(["run", "cutoff", "horizon_ratio"])
            count = int(rows["run"].nunique())
            if count >= LEAST_RUNS:
                factors[ratio] = _quantile(rows, count, prob)
            if count >= LEAST_RUNS or ratio not in frames:
                frames[ratio] = rows
    return _Learned(factors, frames)


def _quantile(rows: pd.DataFrame, count: int, prob: float) -> float:
    """The conformal quantile of the scores, each run counting once."""
    score = rows["score"].to_numpy()
    weight = 1 / rows.groupby("run")["run"].transform("size").to_numpy()
    order = np.argsort(score)
    # One run more, whose score is not known: the finite-sample correction.
    share = np.cumsum(weight[order]) / (count + 1)
    reached = np.flatnonzero(share >= prob)
    factor = float(score[order][reached[0]]) if reached.size else float(score.max())
    return float(np.clip(factor, *LIMITS))


def _summary(
    learned: dict[str, _Learned],
    widths: dict[str, Widths],
    names: Sequence[str],
    log_ratio: Floats,
    prob: float,
) -> Calibration:
    """What was done at the targets, and what it rests on."""
    import pandas as pd

    factors = np.full(log_ratio.shape, np.nan)
    used: dict[int, pd.DataFrame] = {}
    little: dict[int, pd.DataFrame] = {}
    for r, name in enumerate(names):
        if name not in learned:
            continue
        if name in widths:
            factors[r] = widths[name].at_ratio(log_ratio[r])
        for t in np.flatnonzero(log_ratio[r] > 0):
            ratio = min(RATIOS, key=lambda each: abs(np.log(each) - log_ratio[r, t]))
            told = learned[name]
            if ratio in told.frames:
                rows = told.frames[ratio]
                (used if np.isfinite(factors[r, t]) else little)[id(rows)] = rows
    tables = list((used or little).values())
    if not tables:
        return Calibration(factors, 0, 0, float("nan"), prob)
    rows = pd.concat(tables)
    rows = rows[~rows.duplicated(["run", "cutoff", "horizon"])]
    covered = float(rows["covered"].mean()) if used else float("nan")
    return Calibration(factors, int(rows["run"].nunique()), len(rows), covered, prob)


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
