"""Histories from a tracker as one collection of runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._base.errors import DataError, LossfitWarning

if TYPE_CHECKING:
    from ..runs.collection import Runs

__all__ = ["as_one"]

MOST_SAID = 3  # reasons in a message


def as_one(
    histories: Mapping[str, Any], loss: str, columns: Mapping[str, str] | None, where: str
) -> Runs:
    """All histories that hold the loss, as runs.

    Parameters
    ----------
    histories : dict of table by name
        What `Runs.from_frame` takes.
    loss, columns
        As in `lossfit.load`.
    where : str
        What they are of, for messages.

    Raises
    ------
    DataError
        None of them can be read.

    Warns
    -----
    LossfitWarning
        Some were left out.
    """
    from ..runs.collection import Runs
    from ..runs.tables import frame_from

    together: Runs | None = None
    reasons = []
    for name, history in histories.items():
        try:
            frame = frame_from(history).dropna(axis="columns", how="all")
            frame = frame.drop(columns=[c for c in frame.columns if c in ("run", "run_name")])
            run = Runs.from_frame(frame.assign(run=name), loss=loss, columns=columns)
        except DataError as error:
            reasons.append(f"{name}: {error}")
            continue
        together = run if together is None else together + run
    said = "; ".join(reasons[:MOST_SAID])
    if together is None:
        raise DataError(f"no run of {where} can be used: {said}")
    if reasons:
        warnings.warn(
            LossfitWarning(f"{len(reasons)} runs of {where} were left out: {said}"), stacklevel=3
        )
    return together
