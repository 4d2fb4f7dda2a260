"""Checks of what users give."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError
from .._base.ragged import Floats
from .._base.views import view
from .axes import AXES
from .limits import AXIS_LIMIT
from .tables import is_table

if TYPE_CHECKING:
    from .collection import Runs

__all__ = ["as_runs", "axis_values", "check_prob", "choose_axis", "whole"]


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


def choose_axis(runs: Runs, axis: str) -> str:
    """The axis to fit on."""
    if axis != "auto":
        return axis  # Runs.flat checks it, and says what a run lacks
    for name in AXES:  # not runs.axes, which would derive those that nobody asked for
        if runs.has(name):
            return name
    raise DataError(
        f"the runs share none of the axes {', '.join(AXES)}: fit them one by one, or give what "
        f"makes one known for all (tokens_per_step=, params=, gpu_hours=)"
    )


def axis_values(at: ArrayLike) -> Floats:
    """Positive axis values as a flat array."""
    try:
        points = np.atleast_1d(np.asarray(at, np.float64))
    except (TypeError, ValueError):
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


def whole(value: Any, what: str, least: int) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise DataError(f"{what} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def check_prob(prob: Any) -> float:
    """A probability between 0 and 1."""
    try:
        good = 0 < float(prob) < 1
    except (TypeError, ValueError):
        good = False
    if not good:
        raise DataError(f"prob must be a probability between 0 and 1 such as 0.9, got {prob!r}")
    return float(prob)
