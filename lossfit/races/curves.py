"""The curves of a race: draws of what each run's loss was, and of what it would become.

Inside the data a curve is a draw of the smoother (`lossfit.races.smoothing`), beyond them one of
the laws; a draw is one curve throughout.  At the end of the data the two descriptions of the same
level are tied: the smoother's draws are taken in the order of the law's, and what is left of the
difference is taken back over the last `TAPER` e-folds.  What a law allows for beyond the data at
once (errors that nothing explains, its tails) comes in over as many e-folds beyond them, so that no
curve jumps there, and runs do not change places by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

from .._base.ragged import Bools, Floats
from .._base.seeds import run_keys
from ..forecasts.mixture import curves_of
from ..forecasts.rates import STRETCH_MARGIN
from .smoothing import smoothers
from .together import MARKS, draw_order

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..forecasts.question import Question
    from ..runs.collection import Runs

TAPER = 0.03
#: Of the end: where what a law allows for at once is looked at.  A finished run's plan is stretched
#: to places farther than `rates.STRETCH_MARGIN` beyond it.
AT_ONCE = 2 * STRETCH_MARGIN


class RaceCurves(NamedTuple):
    """Curves of R runs at G places, D draws each."""

    # shape (R, G, D): NaN before a run's first point (and beyond its end where it is not forecast)
    draws: Floats
    # start, end: shape (R,): ends of the data
    start: Floats
    end: Floats
    row_flags: dict[str, Bools]  # shape (R,): flags of the forecasts, at any place
    fit_flags: list[tuple[str, ...]]  # length R
    # gap, gap_sd: shape (R,): by how much law and smoother differ at the end of the data, and the
    # sd of that; NaN where nothing was forecast
    gap: Floats
    gap_sd: Floats

    def only(self, i: int) -> RaceCurves:
        """What there is of one run, without its draws."""
        row = slice(i, i + 1)
        return RaceCurves(
            self.draws[row, :0],
            self.start[row],
            self.end[row],
            {name: np.asarray(where[row], bool) for name, where in self.row_flags.items()},
            self.fit_flags[row],
            self.gap[row],
            self.gap_sd[row],
        )


def race_curves(
    runs: Runs,
    at: Floats,  # shape (G,): increasing axis values
    question: Question,  # how what lies beyond the data is forecast
    # names of runs without a forecast: they are out of the race where their data end
    broken: Collection[str] = (),
) -> RaceCurves:
    """Draw the curves."""
    ended = np.array([name in broken for name in runs.names])
    smooth = smoothers(runs, question.axis)
    end = smooth.end
    beyond = at > end[:, None] * (1 + 1e-9)
    inside = (at >= smooth.start[:, None] * (1 - 1e-9)) & ~beyond
    gap = np.full(len(runs), np.nan)
    gap_sd = np.full(len(runs), np.nan)
    flags: dict[str, Bools] = {}
    fit_flags: list[tuple[str, ...]] = [()] * len(runs)
    draws = np.full((len(runs), len(at), question.draws), np.nan)
    # The columns with data of some run; the rest need not be drawn.
    stretch = _stretch(inside)
    past = np.clip(np.broadcast_to(at[stretch], inside[:, stretch].shape), smooth.start[:, None],
                   end[:, None])  # fmt: skip
    far = _stretch(beyond)
    scores, left = None, None
    if beyond.any():
        ahead = np.where(beyond, at, np.nan)[:, far]
        targets = np.column_stack([end, end * (1 + AT_ONCE), ahead, *np.outer(MARKS, end)])
        mixed = curves_of(question, runs, targets)
        asked = slice(2, 2 + ahead.shape[1])
        drawn = mixed.curves
        if question.by_default and question.ladder is None:
            order = draw_order(drawn[:, asked.stop :], runs.names, question.seed)
            drawn = np.take_along_axis(drawn, order[:, None], axis=2)
        level = drawn[:, 0]
        at_once = drawn[:, 1] - level
        soon = np.exp(-np.log(ahead / end[:, None]) / TAPER)
        forecast = drawn[:, asked] - soon[:, :, None] * at_once[:, None]
        forecast[ended] = np.nan
        rank = np.argsort(np.argsort(level, axis=1, kind="stable"), axis=1, kind="stable")
        scores = ndtri((rank + 0.5) / question.draws)
        np.copyto(draws[:, far], forecast)
        # The end itself comes last, to see what is left of the difference there.
        past = np.column_stack([past, end])
        flags = {
            name: np.asarray(where[:, asked].any(axis=1) & ~ended)
            for name, where in mixed.row_flags.items()
        }
        fit_flags = [
            () if ended[r] else tuple(dict.fromkeys(flag for law in mixed.flags for flag in law[r]))
            for r in range(len(runs))
        ]
    keys = run_keys(question.seed, runs.names, "race")
    smoothed = smooth.draw(past, keys, question.draws, scores)
    if beyond.any():
        last = smoothed[:, -1]
        left = np.where(ended[:, None], 0.0, level - last)
        gap = left.mean(axis=1)
        gap_sd = np.sqrt(last.var(axis=1) + level.var(axis=1))
        smoothed, past = smoothed[:, :-1], past[:, :-1]
        part = np.exp(np.log(past / end[:, None]) / TAPER)
        smoothed += part[:, :, None] * left[:, None, :]
    np.copyto(draws[:, stretch], smoothed, where=inside[:, stretch, None])
    return RaceCurves(draws, smooth.start, end, flags, fit_flags, gap, gap_sd)


def _stretch(inside: Bools) -> slice:
    """The columns from the first to the last that holds something."""
    columns = np.flatnonzero(inside.any(axis=0))
    return slice(int(columns[0]), int(columns[-1]) + 1) if columns.size else slice(0, 0)
