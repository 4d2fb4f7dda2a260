"""Curves of sizes that were never trained, in a race with runs that were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..runs.checks import as_runs
from ..runs.collection import Runs
from ..runs.run import Run

if TYPE_CHECKING:
    from .curves import RaceCurves

POINTS = 48  # places at which an unseen curve stands among the runs
DRAWS = 200


class Unseen(Protocol):
    """A curve without a run, such as `lossfit.ladders.Ladder.curve` gives."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def params(self) -> float:
        """Model parameters."""
        ...

    def span(self, axis: str) -> tuple[float, float]:
        """First and last place of an axis at which it is known."""
        ...

    def draw(self, at: Floats, draws: int, seed: int, axis: str | None = None) -> Floats:
        """Joint draws of the loss at increasing places, shape (k, draws)."""
        ...


def contestants(runs: Any, axis: str) -> tuple[Runs, dict[str, Unseen]]:
    """Runs of a race, and the unseen curves among them by name.

    A list may mix runs with unseen curves.  An unseen curve stands among the runs as its median.

    Raises `DataError`: something that is neither; an axis that the ladder does not tell.
    """
    if not isinstance(runs, (list, tuple)):
        return as_runs(runs), {}
    if axis == "auto" and any(hasattr(item, "span") for item in runs):
        raise DataError("a race with an unseen size needs its axis: axis='flops' or 'tokens'")
    unseen: dict[str, Unseen] = {}
    joined: Runs | None = None
    for item in runs:
        if isinstance(item, Run):
            part: Any = item.alone()
        elif hasattr(item, "span") and hasattr(item, "draw"):
            part = _median(item, axis)
            unseen[item.name] = item
        else:
            raise DataError(
                f"a race takes runs and curves of ladders, got {type(item).__name__}: "
                f"runs['name'], or ladder.curve(params=...)"
            )
        joined = part if joined is None else joined + part
    if joined is None:
        raise DataError("a race needs at least two runs, got none: add two to compare")
    return joined, unseen


def _median(curve: Unseen, axis: str) -> Runs:
    low, high = curve.span(axis)
    at = np.geomspace(low, high, POINTS)
    at[-1] = high
    loss = np.median(curve.draw(at, DRAWS, 0, axis), axis=1)
    return Runs.from_arrays(axis, at, loss, names=[curve.name], params=curve.params)


def with_unseen(
    part: RaceCurves, names: tuple[str, ...], grid: Floats, seed: int, axis: str,
    unseen: Mapping[str, Unseen],
) -> RaceCurves:  # fmt: skip
    """Draws of the unseen curves in place of those made of their medians; flags say so."""
    if not any(name in unseen for name in names):
        return part
    draws, fit_flags = part.draws.copy(), list(part.fit_flags)
    gap = part.gap.copy()
    row_flags = {flag: where.copy() for flag, where in part.row_flags.items()}
    for r, name in enumerate(names):
        if name not in unseen:
            continue
        low, high = unseen[name].span(axis)
        inside = (grid >= low * (1 - 1e-9)) & (grid <= high * (1 + 1e-9))
        draws[r] = np.nan
        draws[r, inside] = unseen[name].draw(grid[inside], draws.shape[2], seed, axis)
        fit_flags[r] = ("ladder",)
        gap[r] = np.nan
        for where in row_flags.values():
            where[r] = False
    return part._replace(draws=draws, fit_flags=fit_flags, gap=gap, row_flags=row_flags)
