"""What answers, curves and frontiers need of a ladder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from .._base.ragged import Floats
from .core import Readings
from .rows import Rung

if TYPE_CHECKING:
    from ..runs.collection import Runs


class LadderParts(Protocol):
    """A ladder; see `lossfit.ladders.result.Ladder`."""

    @property
    def runs(self) -> Runs:
        """Its runs."""
        ...

    @property
    def rungs(self) -> list[Rung]:
        """The runs as rungs."""
        ...

    @property
    def readings(self) -> Readings:
        """Posteriors of its law."""
        ...

    @property
    def axis(self) -> str:
        """Tokens or step."""
        ...

    @property
    def random_seed(self) -> int:
        """Seed of its draws."""
        ...

    @property
    def notes(self) -> Mapping[str, str]:
        """Flags, and a sentence on each."""
        ...

    @property
    def largest(self) -> float:
        """The largest size."""
        ...

    def units(self, params: float, axis: str) -> float:
        """Units of another axis in one of the ladder's."""
        ...

    def final_loss(self, name: str, draws: int = 1000) -> Floats:
        """Draws of a run's loss at its end."""
        ...
