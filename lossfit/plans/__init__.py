"""How to spend a budget: `plan`.

`build` asks, `optimum` finds the best size, `at_hand` compares the surface with finished runs,
`result` and `text` are what comes back.
"""

from __future__ import annotations

from .build import plan
from .result import Plan

__all__ = ["Plan", "plan"]
