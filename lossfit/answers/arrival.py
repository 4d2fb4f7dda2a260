"""When a curve reaches a loss: first arrivals of an answer's draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError
from .._base.frames import word_column
from .._base.ragged import Floats
from ..runs.axes import AXES, check_axis
from ..runs.broken import words_of

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.axes import Axis
    from .answer import Answer

FIRST_SHARE = 0.1  # of the data, from which the curve is looked at
BEFORE, BEYOND = 24, 96  # places inside and beyond the data
WALL = "hours"  # GPU-hours over the number of GPUs


def arrivals(
    curves: Floats,  # shape (G, D): curves at increasing places
    at: Floats,  # shape (G,)
    loss: float,
) -> Floats:
    """Where each curve is first at or below a loss; infinite where it never is.

    Returns
    -------
    ndarray, shape (D,)
        Between two places by a straight line in the logarithm of the axis.
    """
    below = curves <= loss
    first = below.argmax(axis=0)
    out = np.full(curves.shape[1], np.inf)
    reached = below.any(axis=0)
    out[reached & (first == 0)] = at[0]
    between = np.flatnonzero(reached & (first > 0))
    g = first[between]
    high, low = curves[g - 1, between], curves[g, between]
    share = (high - loss) / (high - low)
    out[between] = np.exp(np.log(at[g - 1]) + share * np.log(at[g] / at[g - 1]))
    return out


def time_to(
    answer: Answer, loss: ArrayLike, axis: Axis | None = None, gpus: float | None = None
) -> pd.DataFrame:
    """See `Answer.time_to`."""
    import pandas as pd

    levels = _levels(loss)
    low, high = (1 - answer.prob) / 2, (1 + answer.prob) / 2
    rows: list[dict[str, Any]] = []
    for r, name in enumerate(answer.names):
        factor = _factor(answer, name, axis, gpus)
        horizon = float(np.nanmax(answer.at[r]))
        at = _places(float(answer.ends[r]), horizon)
        curves = answer.curves_at(name, at)
        for level in levels:
            found = factor * np.sort(arrivals(curves, at, level))
            # Of inverted_cdf, since an interpolation between a place and infinity is neither.
            ends = np.quantile(found, [low, 0.5, high], method="inverted_cdf")
            rows.append(
                {
                    "run": name,
                    "loss": level,
                    "lower": ends[0],
                    "median": ends[1],
                    "upper": ends[2],
                    "prob_reached": float(np.isfinite(found).mean()),
                    "horizon": factor * horizon,
                    "axis": answer.axis if axis is None else axis,
                }
            )
    frame = pd.DataFrame(rows)
    frame["broken"] = word_column(words_of(answer.broken, frame["run"]))
    return frame


def _places(end: float, horizon: float) -> Floats:
    """Places from within the data to the horizon, even in the logarithm on either side."""
    if not np.isfinite(end) or horizon <= end:
        last = horizon
        return np.geomspace(FIRST_SHARE * last, last, BEFORE + BEYOND)
    inside = np.geomspace(FIRST_SHARE * end, end, BEFORE, endpoint=False)
    return np.concatenate([inside, np.geomspace(end, horizon, BEYOND)])


def _levels(loss: ArrayLike) -> Floats:
    try:
        levels = np.atleast_1d(np.asarray(loss, np.float64))
    except (TypeError, ValueError):
        raise DataError(f"time_to is asked for losses, got {loss!r}") from None
    if levels.ndim != 1 or not levels.size or not np.isfinite(levels).all():
        raise DataError(f"time_to is asked for finite losses in a flat list, got {loss!r}")
    return levels


def _factor(answer: Answer, name: str, axis: str | None, gpus: float | None) -> float:
    """Units of the axis asked for in a unit of the answer's."""
    if axis is None or axis == answer.axis:
        return 1.0
    if axis == WALL:
        if gpus is None or not gpus > 0:
            raise DataError("wall hours are GPU-hours over the number of GPUs: give gpus=")
        return answer.units_of(name, "gpu_hours") / float(gpus)
    if axis not in AXES:
        raise DataError(
            f"the axis of an arrival is one of {', '.join((*AXES, WALL))}, got {axis!r}"
        )
    return answer.units_of(name, check_axis(axis))
