"""The median of many numbers, by a warp."""

from __future__ import annotations

import numpy as np

from .backend import cuda
from .warp import team_max, team_sum

__all__ = ["team_median"]


def team_median(n, values):
    """Median of ``values[:n]``: the range that has it is cut in the middle until it is a value."""
    count = np.uint32(n)
    step = np.uint32(32)
    half = np.int32(count >> np.uint32(1))
    low = values[0]
    high = low
    i = np.uint32(cuda.threadIdx.x)
    while i < count:
        low = min(low, values[i])
        high = max(high, values[i])
        i = np.uint32(i + step)
    low = -team_max(-low)
    high = team_max(high)
    less = np.int32(0)  # values below the range
    below = low  # the largest of them
    while low < high:
        middle = 0.5 * low + 0.5 * high
        if middle >= high:
            middle = low
        here = np.int32(0)
        left = low  # the largest value up to the middle
        right = high  # the smallest beyond it
        i = np.uint32(cuda.threadIdx.x)
        while i < count:
            v = values[i]
            if v <= middle:
                here += np.int32(1)
                left = max(left, v)
            else:
                right = min(right, v)
            i = np.uint32(i + step)
        here = team_sum(here)
        left = team_max(left)
        if here > half:
            high = left
        else:
            less = here
            below = left
            low = -team_max(-right)
    if (count & np.uint32(1)) == np.uint32(0) and less == half:
        return 0.5 * (below + high)
    return high
