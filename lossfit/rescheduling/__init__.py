"""Other learning-rate schedules: `what_if` and `best_tail`.

`what_ifs` and `tails` ask, `scenarios` evaluates a fitted law under another schedule, `search`
minimises the expected final loss.
"""

from __future__ import annotations

from .tails import Tail, best_tail
from .what_ifs import WhatIf, what_if

__all__ = ["Tail", "WhatIf", "best_tail", "what_if"]
