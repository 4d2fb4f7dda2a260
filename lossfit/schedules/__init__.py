"""Learning-rate schedules: functions of the step that cover the future too."""

from __future__ import annotations

from .kinds import (
    constant,
    cosine,
    cosine_cycle,
    cosine_restarts,
    from_points,
    linear,
    one_minus_sqrt,
    stretched,
    two_stage,
    wsd,
)
from .shapes import Schedule

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "cosine_cycle",
    "cosine_restarts",
    "from_points",
    "linear",
    "one_minus_sqrt",
    "stretched",
    "two_stage",
    "wsd",
]
