"""Ladders: the curve of a model of a size that was never trained, or has only begun.

`rungs` makes runs rungs, `rows` their curves a few rows, `clock` what a schedule does along them.
`law` is the law, `discrepancy` what it misses, `pilot` a point fit and scales, `reading` a
posterior, `core` both readings and what they say together.  `build`, `result`, `curve`, `answer`,
`frontier`, `notes` and `text` are what users see.
"""

from __future__ import annotations

from .build import fit_ladder
from .result import Ladder

__all__ = ["Ladder", "fit_ladder"]
