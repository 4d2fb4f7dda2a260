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

from .._base.ragged import Floats

if TYPE_CHECKING:
    from ..forecasts.mixture import Recipe
    from ..runs.collection import Runs

__all__ = ["LEAST_RUNS", "Calibration", "widened"]

LEAST_RUNS = 10
NEAR = 0.5  # |log of horizon ratios|: a backtest at so different a ratio does not count
LIMITS = (0.5, 4.0)


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate_on`` did.

    Attributes
    ----------
    factor : float or None
        On the distance of draws from their median; None if there was too little to learn from.
    runs, forecasts : int
        How many it was learned from.
    covered : float
        Share of their outcomes in the intervals before the change; NaN without forecasts.
    prob : float
        Probability of these intervals.
    """

    factor: float | None
    runs: int
    forecasts: int
    covered: float
    prob: float

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


def widened(
    recipe: Recipe, finished: Runs, runs: Runs, asked: Sequence[str], at: Floats
) -> tuple[Recipe, Calibration]:
    """The recipe with the factor learned from finished runs, and what was done.

    Parameters
    ----------
    recipe : Recipe
    finished : Runs
        Runs to backtest.
    runs : Runs
        Runs of the question.
    asked : sequence of str
        Those extrapolated; they are left out of the finished ones.
    at : ndarray, shape (n_asked, n_at)
        Their targets.
    """
    from .._base.errors import DataError
    from .backtesting import backtest_recipe

    others = [name for name in finished.names if name not in set(asked)]
    ends = np.array([runs[name].end(recipe.axis) for name in asked])
    ratio = float(np.nanmedian(np.where(at > ends[:, None], at / ends[:, None], np.nan)))
    nothing = Calibration(None, 0, 0, float("nan"), recipe.prob)
    if not others or not np.isfinite(ratio):
        return recipe, nothing
    plain = replace(recipe, widen=1.0, compared=())
    try:
        check = backtest_recipe(finished.select(others), plain, (0.3, 0.5, 0.7), (ratio, "end"))
    except DataError:  # no run is long enough for one forecast
        return recipe, nothing
    frame = check.frame
    frame = frame[np.abs(np.log(frame["horizon_ratio"] / ratio)) < NEAR]
    count = int(frame["run"].nunique())
    if count < LEAST_RUNS:
        return recipe, replace(nothing, runs=count, forecasts=len(frame))
    off = (frame["observed"] - frame["median"]).to_numpy()
    arm = np.where(off > 0, frame["upper"] - frame["median"], frame["median"] - frame["lower"])
    score = np.abs(off) / np.maximum(arm, 1e-12)
    weight = 1 / frame.groupby("run")["run"].transform("size").to_numpy()
    order = np.argsort(score)
    # One run more, whose score is not known: the finite-sample correction.
    share = np.cumsum(weight[order]) / (count + 1)
    reached = np.flatnonzero(share >= recipe.prob)
    factor = float(score[order][reached[0]]) if reached.size else float(score.max())
    factor = float(np.clip(factor, *LIMITS))
    done = Calibration(factor, count, len(frame), float(frame["covered"].mean()), recipe.prob)
    return replace(recipe, widen=factor), done
