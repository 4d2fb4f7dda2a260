"""Runs in files: their clean columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base.packing import Damaged
from .axes import AXES, Columns
from .collection import Runs
from .run import Run


def packed(runs: Runs) -> Columns:
    """The columns."""
    return runs._columns


def unpacked(columns: Any, _: Any = None) -> Runs:
    """Runs of the columns, if these fit together.

    Raises `Damaged`: columns that are no runs.
    """
    if not isinstance(columns, Columns):
        raise Damaged("its runs have no columns")
    offsets, points, n = columns.offsets, len(columns.loss), len(columns.names)
    if (
        offsets.shape != (n + 1,)
        or offsets[0] != 0
        or offsets[-1] != points
        or not n
        or (np.diff(offsets) < 1).any()
    ):
        raise Damaged("the offsets of its runs do not cover their points")
    if len(set(columns.names)) != n:
        raise Damaged("two of its runs have one name")
    flat = {"weight": columns.weight, "spike": columns.spike, **columns.logged}
    if columns.lr is not None:
        flat["lr"] = columns.lr
    for name, values in flat.items():
        if values.shape != (points,):
            raise Damaged(f"{name} of its runs has shape {values.shape}, not ({points},)")
    for name, values in {"base": columns.base, "params": columns.params, **columns.has}.items():
        if values.shape != (n,):
            raise Damaged(f"{name} of its runs has shape {values.shape}, not ({n},)")
    if not np.isfinite(columns.loss).all() or set(columns.logged) - set(AXES):
        raise Damaged("its runs have losses that are not finite, or an axis that is none")
    return Runs._of(columns)


def run_packed(run: Run) -> Any:
    """The run as a collection of its own."""
    return run.alone()


def run_unpacked(runs: Any, _: Any = None) -> Run:
    """The one run of a collection."""
    return Run(runs, 0)
