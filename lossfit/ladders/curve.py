"""The curve of a size that was never trained, as races and plans take it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._base.ragged import Floats
from .._base.seeds import run_keys
from .rows import Rung

if TYPE_CHECKING:
    from .parts import LadderParts


@dataclass(frozen=True, eq=False)
class LadderCurve:
    """What a ladder says of one run to come; made by `Ladder.curve`."""

    ladder: LadderParts
    rung: Rung  # size, schedule and length; no data
    stretched: bool  # whether its schedule was stretched to its length

    @property
    def name(self) -> str:
        """What it is called."""
        return self.rung.name

    @property
    def params(self) -> float:
        """Model parameters."""
        return self.rung.params

    def span(self, axis: str) -> tuple[float, float]:
        """First and last place of an axis at which it is known."""
        factor = self.ladder.units(self.params, axis)
        return self.rung.start * factor, self.rung.end * factor

    def draw(self, at: Floats, draws: int, seed: int, axis: str | None = None) -> Floats:
        """Joint draws of the loss without noise at increasing places, shape (k, draws)."""
        factor = 1.0 if axis is None else self.ladder.units(self.params, axis)
        key = int(run_keys(seed, [self.name], "ladder")[0])
        return self.ladder.readings.curves(self.rung, at / factor, key, draws)


@dataclass(frozen=True, eq=False)
class DrawnCurve:
    """A curve with the number and the seed of its draws: what an answer asks for other places."""

    curve: LadderCurve
    draws: int
    seed: int

    def __call__(self, at: Floats) -> Floats:
        """Joint draws at increasing places of the ladder's axis, shape (k, draws)."""
        return self.curve.draw(at, self.draws, self.seed)
