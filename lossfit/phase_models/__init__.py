"""Power law, line and tip, or just the schedule: `phases`.

`models` has the models, `build` compares them, `result` is what comes back.
"""

from __future__ import annotations

from .build import phases
from .result import Phases

__all__ = ["Phases", "phases"]
