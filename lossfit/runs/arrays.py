"""Flat arrays with offsets as rows of logs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError
from .._base.ragged import Floats
from ..engine.devices import host_array
from .raw import Raw


def raw_from_arrays(
    axis: str,
    x: ArrayLike,
    loss: ArrayLike,
    offsets: ArrayLike | None,
    names: Sequence[str] | None,
    weight: ArrayLike | None,
) -> Raw:
    """Rows of runs from flat arrays; see `lossfit.Runs.from_arrays`."""
    columns: dict[str, Floats] = {}
    for what, given in ((axis, x), ("loss", loss), ("weight", weight)):
        if given is None:
            continue
        try:
            columns[what] = np.array(host_array(given), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{what} must be an array of numbers: {error}") from None
        if columns[what].ndim != 1 or len(columns[what]) != len(columns[axis]):
            raise DataError(
                f"{axis} and {what} must be flat and of one length, got shapes "
                f"{columns[axis].shape} and {columns[what].shape}"
            )
    total = len(columns[axis])
    try:
        exact = np.asarray([0, total] if offsets is None else host_array(offsets))
        starts = exact.astype(np.int64)
    except (TypeError, ValueError):
        raise DataError("offsets must be integers") from None
    if starts.ndim != 1 or len(starts) < 2 or (starts != exact).any():
        raise DataError("offsets must be a flat array of integers, one more than there are runs")
    if starts[0] != 0 or starts[-1] != total or (np.diff(starts) < 0).any():
        raise DataError(f"offsets must rise from 0 to the number of points, {total}")
    labels = tuple(map(str, range(len(starts) - 1))) if names is None else tuple(map(str, names))
    if len(labels) != len(starts) - 1:
        raise DataError(f"there are {len(labels)} names for {len(starts) - 1} runs")
    return Raw(
        labels, starts, columns["loss"], {axis: columns[axis]}, precision=columns.get("weight")
    )
