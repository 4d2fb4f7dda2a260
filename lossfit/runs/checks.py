"""Checks of what users give."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from .._base.units import amount_of, multiple_of
from .._base.views import view
from .axes import AXES, Axis, check_axis
from .limits import AXIS_LIMIT
from .tables import is_table

if TYPE_CHECKING:
    from .collection import Runs
    from .run import Run

FAR = 1e3  # times the data, or a part of them: asked about where another axis would fit
NEARBY = 100.0


def as_runs(runs: Any) -> Runs:
    """Runs as they are, or made of one run, a table, or logs.

    Parameters
    ----------
    runs : Runs, Run, table, path, or a list of paths
        A table is what `Runs.from_frame` takes; paths and names of collections go to
        `lossfit.load`.
    """
    from .collection import Runs
    from .run import Run

    if isinstance(runs, Run):
        return cast(Runs, runs.alone())
    if isinstance(runs, Runs):
        return runs
    if is_table(runs):
        return Runs.from_frame(runs)
    if isinstance(runs, (str, PathLike)) or (
        isinstance(runs, (list, tuple))
        and runs
        and all(isinstance(path, (str, PathLike)) for path in runs)
    ):
        return cast(Runs, view("runs.load")(runs))
    raise DataError(
        f"runs must be lossfit.Runs, a table (pandas, polars, pyarrow, a dict of arrays) or paths "
        f"of logs, got {type(runs).__name__}"
    )


def choose_axis(runs: Runs, axis: str) -> Axis:
    """The axis to fit on."""
    if axis != "auto":
        return check_axis(axis)  # Runs.flat says what a run lacks
    for name in AXES:  # not runs.axes, which would derive those that nobody asked for
        if runs.has(name):
            return check_axis(name)
    raise DataError(
        f"the runs share none of the axes {', '.join(AXES)} ({_first_axes(runs)}): fit them one by "
        f"one, or give what makes one known for all (tokens_per_step=, params=, gpu_hours=)"
    )


def _first_axes(runs: Runs) -> str:
    """A run for each axis that runs have first, in words."""
    named = {run.axes[0]: run.name for run in reversed(list(runs))}
    return ", ".join(f"{name!r} has {axis}" for axis, name in named.items())


def axis_values(
    at: Any,  # number, word such as "2T" or "40k", or a list of them
    end: float | None = None,  # where the data end: what "2x" is a multiple of
) -> Floats:
    """Positive axis values as a flat array.

    Raises `DataError`: not numbers, or not positive; "2x" without an end.
    """
    try:
        if has_words(at):
            at = [_of_word(each, end) for each in ([at] if isinstance(at, str) else at)]
        points = np.atleast_1d(np.asarray(at, np.float64))
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"axis values must be numbers, got {at!r}") from None
    if (
        points.ndim != 1
        or not points.size
        or not (np.isfinite(points).all() and (points > 0).all())
    ):
        raise DataError(f"axis values must be positive numbers in a flat list, got {at!r}")
    if (points > AXIS_LIMIT).any() or (points < 1 / AXIS_LIMIT).any():
        raise DataError(
            f"axis values must lie between {1 / AXIS_LIMIT:g} and {AXIS_LIMIT:g}, got {at!r}"
        )
    return points


def has_words(at: Any) -> bool:
    """Whether axis values are words such as "2x", or have such words among them."""
    return isinstance(at, str) or (
        isinstance(at, (list, tuple)) and any(isinstance(each, str) for each in at)
    )


def beyond_reason(runs: Runs, axis: str, values: Floats) -> list[str]:
    """Names of the runs for which one of the values is far from their data (`check_meant`)."""
    flat = runs.flat(axis)
    ends = flat.x[flat.offsets[1:] - 1]
    low, high = float(np.min(values)), float(np.max(values))
    odd = (low < ends / FAR) | (high > ends * FAR)
    return [runs.names[i] for i in np.flatnonzero(odd)]


def _of_word(word: Any, end: float | None) -> Any:
    if not isinstance(word, str):
        return word
    times = multiple_of(word)
    if times is None:
        return amount_of(word)
    if end is None:
        raise DataError(f"{word!r} is a multiple of a run's data; give an axis value here")
    return times * end


def check_meant(run: Run, axis: str, values: Floats) -> None:
    """Targets that can be meant, on the axis they are given on.

    Raises `DataError`: a target of a thousandth of the data, or a thousand times them, that would
    fit another axis of the run, or that reads as a multiple of the data.
    """
    end = run.end(axis)
    for value in values[np.isfinite(values)].tolist():
        ratio = value / end
        if 1 / FAR <= ratio <= FAR:
            continue
        others = [
            other for other in run.axes if other != axis and 0.5 <= value / run.end(other) <= NEARBY
        ]
        hint = ""
        if others:
            hint = f"; it fits the axis {others[0]}: did you mean axis={others[0]!r}?"
        elif ratio < 1 and 1 < value <= NEARBY:
            hint = f"; did you mean '{value:g}x', {value:g} times the data?"
        if hint:  # what is far and nothing else is refused where the question is built
            raise DataError(
                f"run {run.name!r}: the target {value:g} is {ratio:.2g} times its {axis} "
                f"({end:g}){hint}"
            )


def whole(value: Any, what: str, least: int) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise DataError(f"{what} must be a whole number of at least {least}, got {value!r}")
    return int(value)
