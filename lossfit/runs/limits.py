"""How large and how small numbers may be, so that no power of them leaves double precision.

The ranges are far beyond any log's; what lies outside is a mistake of units or a broken file, and
is refused by name rather than turned into an infinite or undefined answer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats, Ints
from .axes import AXES

MOST_LOSS = 1e60  # of any point
LEAST_LOSS = 1e-12  # of a run's largest point, unless all are 0
AXIS_LIMIT = 1e40  # axis values lie between its inverse and it, or are 0
NUMBER_LIMIT = 1e20  # so do parameters, tokens per step and GPU-hours
WEIGHT_LIMIT = 1e100  # and relative precisions


def _run_at(row: int, offsets: Ints) -> int:
    return int(np.searchsorted(offsets, row, side="right")) - 1


def check_names(names: tuple[str, ...]) -> None:
    """Names that can be written as UTF-8.

    Raises `DataError`: a name with half a character in it.
    """
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        for name in names:
            if name != name.encode(errors="replace").decode():
                raise DataError(
                    f"the run name {name!a} cannot be written as UTF-8: rename the run"
                ) from None


def check_losses(
    names: tuple[str, ...], loss: Floats, offsets: Ints, where: Callable[[int], str]
) -> None:
    """Losses of a size that can be computed with.

    Raises `DataError`: a loss beyond `MOST_LOSS`; a run whose losses are all below `LEAST_LOSS` in
    size.
    """
    size = np.abs(loss)
    over = np.flatnonzero(size > MOST_LOSS)
    if len(over):
        row = int(over[0])
        raise DataError(
            f"run {names[_run_at(row, offsets)]!r}, {where(row)}: loss is {loss[row]:g}; losses "
            f"must lie within +-{MOST_LOSS:g}: correct or delete that row"
        )
    most = np.maximum.reduceat(size, offsets[:-1])
    small = np.flatnonzero((most > 0) & (most < LEAST_LOSS))
    if len(small):
        run = int(small[0])
        raise DataError(
            f"run {names[run]!r}: no loss is larger than {most[run]:g}; give losses in a unit in "
            f"which some are above {LEAST_LOSS:g}"
        )


def check_axis_values(
    names: tuple[str, ...], x: Floats, offsets: Ints, base: Ints, where: Callable[[int], str]
) -> None:
    """Axis values that are 0 or of a size that can be computed with.

    Raises `DataError`: a positive value beyond `AXIS_LIMIT` or below its inverse.
    """
    out = np.flatnonzero((x > AXIS_LIMIT) | ((x < 1 / AXIS_LIMIT) & (x > 0)))
    if len(out):
        row = int(out[0])
        run = _run_at(row, offsets)
        raise DataError(
            f"run {names[run]!r}, {where(row)}: {AXES[base[run]]} is {x[row]:g}; it must be 0 or "
            f"between {1 / AXIS_LIMIT:g} and {AXIS_LIMIT:g}: correct or delete that row"
        )
