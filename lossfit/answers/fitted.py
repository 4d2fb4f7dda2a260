"""Runs fitted so that their loss under other schedules can be asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Unpack

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..backtests.conformal import Calibration, calibrated
from ..forecasts.knowledge import check_targets
from ..forecasts.learning import Priors
from ..forecasts.question import LawOptions, Question
from ..forecasts.record import farthest
from .scenarios import FittedRun, fit_alone, fit_together, own_rate

if TYPE_CHECKING:
    from ..runs.collection import Runs

LEARNED = 0.35  # relative sd of B above which the run is said not to know it
LOWER = 0.05  # of the peak: how far below the rates of the data is worth a word
FAR = 2.0

DISTANCE_MEANINGS = {
    "far": "more than twice as far as the data reach",
    "untested": "beyond the farthest horizon at which forecasts were checked against real runs: "
    "16x the data (3.3x with share=)",
}


class Fits(NamedTuple):
    """The fits of the asked runs by name, what ``calibrate_on`` did, and flags of all rows."""

    runs: dict[str, FittedRun]
    calibration: Calibration | None
    flags: tuple[str, ...]


def question_of(runs: Runs, axis: str, **options: Unpack[LawOptions]) -> Question:
    """The question to runs under other schedules; with `share` runs of one model are one."""
    if not isinstance(options.get("priors"), Priors | None):
        raise DataError("priors= is what lossfit.learn_priors gives")
    return Question.of(runs, axis, **options)


def fitted(
    question: Question,
    runs: Runs,
    names: Sequence[str],  # the runs that are asked about
    at: Mapping[str, Floats],  # dict by run: where, for the calibration
) -> Fits:
    """Fit the asked runs: by themselves, or with the other runs of their model."""
    together = names if question.models is not None else []
    alone = names if question.models is None else []
    made: dict[str, FittedRun] = {}
    calibration = None
    check_targets(runs, names, question.axis, _rows(at, names))
    if alone:
        where = _rows(at, alone)
        by_itself = replace(question, models=None, company=None)
        by_itself, calibration = calibrated(by_itself, runs, alone, where)
        made.update(fit_alone(by_itself, runs, alone))
    if together:
        made.update(fit_together(question, runs, together))
    flags: tuple[str, ...] = ()
    learned = [question.learned(name) for name in names]
    if any(priors is not None and not priors.used for priors in learned):
        flags += ("siblings_unused",)
    if calibration is not None:
        flags += ("calibrated" if calibration.factor else "not_calibrated",)
    return Fits({name: made[name] for name in names}, calibration, flags)


def _rows(at: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    """Places of some runs as rows, NaN where a run has fewer than another."""
    where = np.full((len(names), max(len(at[name]) for name in names)), np.nan)
    for row, name in zip(where, names, strict=True):
        row[: len(at[name])] = at[name]
    return where


def check_known(runs: Runs, name: str, axis: str) -> None:
    """Raise where the learning rate of a run is not known."""
    single = runs.select([name])
    end = single[name].end(axis)
    own_rate(single[name], single, axis, end, 1.0)


def distance_flags(engine: FittedRun, at: float) -> list[str]:
    """How far a place on the axis lies beyond the data, where that is worth a word."""
    ratio = at / engine.end
    if ratio > farthest(engine.fitted == 1):
        return ["untested"]
    return ["far"] if ratio > FAR else []


def is_unsure(engine: FittedRun) -> bool:
    """Whether the data say little of how the loss responds to the learning rate."""
    mean, sd = engine.strength
    return bool(sd > LEARNED * max(float(mean), 1e-12))
