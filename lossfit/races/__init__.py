"""Runs against each other on a compute axis: `race`.

`build` asks the forecasts, `curves` joins them to what the data say (`smoothing`), `crossings` and
`frontier` compare the curves (`device` on a GPU), `result` and `text` are what comes back.
"""

from __future__ import annotations

from .build import race
from .result import Race

__all__ = ["Race", "race"]
