"""What would the loss have been with more compute? `extrapolate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError, warn
from .._base.options import check_names
from .._base.ragged import Floats
from ..backtests.conformal import calibrated
from ..forecasts.knowledge import check_knowledge, check_targets, planned_end
from ..forecasts.question import Options, Question, takes
from ..forecasts.rates import chosen
from ..runs.axes import check_axis
from ..runs.checks import as_runs, axis_values, beyond_reason, check_meant, choose_axis, has_words
from ..runs.labels import AXIS_UNITS, names_text
from ..runs.logged_rate import BEFORE_END
from .answer import Answer

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.axes import AnyAxis, Axis
    from ..runs.collection import Runs

COMPUTE_AXES: tuple[Axis, ...] = ("gpu_hours", "flops")


@takes(Options)
def extrapolate(
    runs: Runs | pd.DataFrame,
    run: str | Sequence[str] | None = None,
    *,
    at: ArrayLike | Mapping[str, ArrayLike] | None = None,
    compute_of: str | None = None,
    axis: AnyAxis = "auto",
    progress: bool = False,
    **options: Unpack[Options],
) -> Answer:
    """Predict the loss that each run would reach with more compute.

    Parameters
    ----------
    runs : Runs or pandas.DataFrame
        The runs; a tidy frame goes through `Runs.from_frame`.
    run : str or sequence of str, optional
        Which of them to extrapolate; by default all (but for ``compute_of``).
    at : float, sequence of float, or dict by run, optional
        Where on the axis.  Without this and ``compute_of`` each run is asked for its planned end:
        that of ``total``, of its schedule or its log, or of the form that its logged rate follows.
    compute_of : str, optional
        A run whose whole compute the others get: in GPU-hours where all of them have these, else in
        FLOPs (6 x params x tokens).
    axis : str
        The axis of ``at``: ``"auto"`` takes the first of tokens, step, gpu_hours and flops that the
        runs have.  With ``compute_of``: ``"auto"``, ``"gpu_hours"`` or ``"flops"``.
    progress : bool
        Show a bar.
    **options
        See `lossfit.forecasts.question.Options`.

    Returns
    -------
    Answer
        Draws of the loss at every target; print it, or see ``frame``, ``prob_below``,
        ``plot``.

    Raises
    ------
    DataError
        Input or options that do not fit together; the message names the run and the fix.
    DeviceError
        A GPU is asked for and cannot be used; the message names what is missing and the fix.

    Warns
    -----
    LossfitWarning
        Once, if the answer has flags that matter.

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2")
    >>> answer = lossfit.extrapolate(runs, run="llama2-7B", compute_of="llama2-70B")
    >>> answer.frame[["run", "at", "lower", "median", "upper"]].shape
    (1, 5)
    >>> chance = answer.prob_below("llama2-70B")
    """
    check_names(options, Options.__annotations__, "extrapolate")
    runs = as_runs(runs)
    if at is not None and compute_of is not None:
        raise DataError("give one of at= (where) and compute_of= (a run), not both")
    asked = _asked(runs, run, at, compute_of)
    where: Floats | None = None
    if compute_of is not None:
        axis = _compute_axis(runs, [*asked, compute_of], axis)
        where = np.full((len(asked), 1), runs[compute_of].end(axis))
    else:
        axis = choose_axis(runs.select(asked), axis)
        if at is not None:
            where = _targets(runs, axis, asked, at)
    question = Question.of(runs, axis, asked=asked, **options)
    if where is None:
        check_knowledge(question.plan, runs, asked, axis)
        where = _planned_ends(question, runs, asked)
    answer = answer_to(question, runs, asked, where, compute_of, progress)
    warn("extrapolation", answer.warning)
    return answer


def answer_to(
    question: Question,
    runs: Runs,  # all runs of the question
    names: Sequence[str],  # length R: those that are asked about
    at: Floats,  # shape (R, T): their targets, NaN where a run has fewer than the others
    compute_of: str | None = None,  # the run that they are compared with at its end
    progress: bool = False,  # show a bar
) -> Answer:
    """Calibrate the question if it says so, and answer it."""
    if question.models is None:  # a joint fit says what another schedule would have given
        check_knowledge(question.plan, runs, names, question.axis)
    check_targets(runs, names, question.axis, at)
    question, calibration = calibrated(question, runs, names, at)
    return Answer.of(runs, tuple(names), at, question, compute_of, progress, calibration)


def _asked(
    runs: Runs, run: str | Sequence[str] | None, at: Any, compute_of: str | None
) -> list[str]:
    """Names of the runs to extrapolate."""
    if compute_of is not None:
        _ = runs[compute_of]  # raises, with names like it, if there is no such run
    if isinstance(at, Mapping):
        for name in at:
            _ = runs[name]
    if run is None:
        if isinstance(at, Mapping):
            names = [name for name in runs.names if name in at]
        else:
            names = [name for name in runs.names if name != compute_of]
        if not names:
            raise DataError("there is no run to extrapolate")
        return names
    names = [run] if isinstance(run, str) else list(run)
    names = list(runs.select(names).names)  # checks them
    if isinstance(at, Mapping):
        for name in names:
            if name not in at:
                raise DataError(f"at= has no value for run {name!r}")
    return names


def _planned_ends(question: Question, runs: Runs, asked: Sequence[str]) -> Floats:
    """Where the runs are to end, shape (n_runs, 1); a finished run is looked at where it ended."""
    ends, going_on = [], False
    for name in asked:
        run, plan = runs[name], question.plan
        last = run.end(question.axis)
        end = planned_end(run, question.axis, chosen(plan.schedule, name), chosen(plan.total, name))
        if end is None:
            raise DataError(
                f"nothing says where run {name!r} is to end: give at= (where to look), total= (its "
                f"planned end in {AXIS_UNITS[question.axis]}) or compute_of= (another run)"
            )
        going_on = going_on or end > last * (1 + BEFORE_END)
        ends.append(max(end, last))
    if not going_on:
        raise DataError(
            f"{names_text([repr(name) for name in asked])}: at the end of the plan: give at= "
            "(where else to look) or compute_of= (another run)"
        )
    return np.array(ends)[:, None]


def _compute_axis(runs: Runs, names: Sequence[str], axis: str) -> Axis:
    """The axis that stands for compute: GPU-hours if all the runs have them, else FLOPs."""
    if axis not in ("auto", *COMPUTE_AXES):
        raise DataError(
            f"compute_of= compares GPU-hours or FLOPs, not {axis!r}: use axis='auto', 'gpu_hours' "
            f"or 'flops', or give the place itself with at="
        )
    choices = COMPUTE_AXES if axis == "auto" else (check_axis(axis),)
    for choice in choices:
        if all(runs[name].has(choice) for name in names):
            return choice
    lacking = {
        choice: next(name for name in names if not runs[name].has(choice)) for choice in choices
    }
    reasons = []
    for choice, name in lacking.items():
        try:
            runs[name].axis(choice)
        except DataError as error:
            reasons.append(str(error))
    raise DataError("compute_of= needs GPU-hours or FLOPs of every run: " + "; ".join(reasons))


def _targets(runs: Runs, axis: str, asked: Sequence[str], at: Any) -> Floats:
    """Axis values, shape (n_runs, most targets of a run), NaN beyond a run's last."""
    if not isinstance(at, Mapping) and not has_words(at):  # one for all, without a loop
        values = axis_values(at)
        for name in beyond_reason(runs.select(asked), axis, values):
            check_meant(runs[name], axis, values)
        return np.tile(values, (len(asked), 1))
    each = []
    for name in asked:
        run = runs[name]
        try:
            values = axis_values(at[name] if isinstance(at, Mapping) else at, run.end(axis))
        except DataError as error:
            raise DataError(f"run {name!r}: {error}") from None
        check_meant(run, axis, values)
        each.append(values)
    out = np.full((len(asked), max(map(len, each))), np.nan)
    for row, values in zip(out, each, strict=True):
        row[: len(values)] = values
    return out
