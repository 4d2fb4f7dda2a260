"""Whether a run broke just now: a look at every point that costs next to nothing."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from ..runs.breaks import LASTING_JUMP, LEAST_TAIL, Break, recognise

RECENT = 256  # points that are looked at
LEVEL_EVERY = 32  # points between two levels
LEAST_POINTS = 40  # before which a run that begins to learn is not judged here
SIDE = 6  # points above the level, before they are looked at
ABRUPT = frozenset({"not_finite", "zeros", "scale_jump", "diverged"})


class Alarm:
    """The last points of a run, as they were logged, and when to look at them.

    `lossfit.runs.breaks.recognise` is asked when the loss was not finite, or 0, three times in a
    row, or stood a quarter above its level for 6, 12, 24, ... points.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._seen = 0
        self._level = math.inf
        self._bad = self._zero = self._high = 0

    def add(self, step: float, loss: float) -> Break | None:
        """What broke, as far as one more point shows it."""
        while self._recent and self._recent[-1][0] >= step:
            self._recent.pop()  # the run was started again from a checkpoint
        self._recent.append((step, loss))
        self._seen += 1
        self._bad = self._bad + 1 if not math.isfinite(loss) else 0
        self._zero = self._zero + 1 if loss == 0 else 0
        high = self._level > 0 and loss > math.exp(LASTING_JUMP) * self._level
        self._high = self._high + 1 if high else 0
        if not self._high and self._seen % LEVEL_EVERY == 0:
            losses = [value for _, value in self._recent if math.isfinite(value)]
            self._level = float(np.median(losses[-LEVEL_EVERY:])) if losses else math.inf
        if LEAST_TAIL in (self._bad, self._zero) or self._is_due():
            return self.look()
        return None

    def look(self) -> Break | None:
        """What the last points show."""
        if len(self._recent) < SIDE:
            return None
        step, loss = np.array(self._recent).T
        seen = recognise(step, loss)
        if seen is None or seen.kind not in ABRUPT:
            return None
        early = self._seen < LEAST_POINTS and seen.kind != "not_finite"
        return None if early else seen

    def state(self) -> dict[str, Any]:
        """What `restore` takes: numbers and lists only."""
        return {
            "points": [list(point) for point in self._recent],
            "seen": self._seen,
            "level": self._level if math.isfinite(self._level) else None,
            "counts": [self._bad, self._zero, self._high],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The points of a `state`, in the place of these."""
        self._recent = deque(((at, loss) for at, loss in state["points"]), maxlen=RECENT)
        level = state["level"]
        self._seen, self._level = int(state["seen"]), math.inf if level is None else float(level)
        self._bad, self._zero, self._high = state["counts"]

    def _is_due(self) -> bool:
        sides, rest = divmod(self._high, SIDE)
        return sides > 0 and rest == 0 and sides & (sides - 1) == 0
