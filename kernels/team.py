"""A team of lanes: one lane on a CPU, the 32 threads of a warp on a GPU.

Code that is shared by both is written for a team: ``for i in range(lane(), n, width())`` gives each
lane its part of a loop, ``team_sum`` and ``team_max`` combine what the lanes found, ``sync`` makes
what one lane wrote visible to the others, and what only one may write stands behind
``if lane() == 0``.  Here the team is one lane and all of this costs nothing; `gpu.warp` has the
same functions for a warp, and `gpu.port` puts them in the place of these.

Every lane must reach every `sync` and every combination.
"""

from __future__ import annotations

import numpy as np

from .maths import inline

__all__ = [
    "any_lane",
    "count_before",
    "lane",
    "real",
    "sync",
    "team_argbest",
    "team_max",
    "team_sum",
    "width",
]

real = np.float64  # what integers are turned into: float32 where a kernel is ported to that


@inline
def lane():
    """Number of this lane."""
    return 0


@inline
def width():
    """Number of lanes."""
    return 1


@inline
def sync():
    """Wait for the team; what lanes wrote before is then seen by all."""
    return


@inline
def team_sum(value):
    """Sum over the lanes, for every lane."""
    return value


@inline
def team_max(value):
    """Largest over the lanes, for every lane."""
    return value


@inline
def any_lane(condition):
    """Whether the condition holds in some lane."""
    return condition


@inline
def team_argbest(value, index):
    """The index that comes with the largest value over the lanes (the lowest one of equals)."""
    return index


@inline
def count_before(condition):
    """How many lanes before this one meet the condition, and how many do in all."""
    return 0, 1 if condition else 0
