"""Order statistics of many numbers, by a warp."""

from __future__ import annotations

import numpy as np

from ..team import sync
from .backend import cuda
from .warp import team_max, team_sum

__all__ = ["team_median", "team_neighbours"]


def team_neighbours(n, values, k, work, counts):
    """`ranks.neighbours`: the range that has the k-th is cut in the middle until it is a value.

    ``work`` and ``counts`` are not used.
    """
    sync()
    count = np.uint32(n)
    step = np.uint32(32)
    rank = np.int32(k)
    low = values[0]
    high = low
    i = np.uint32(cuda.threadIdx.x)
    while i < count:
        low = min(low, values[i])
        high = max(high, values[i])
        i = np.uint32(i + step)
    low = -team_max(-low)
    high = team_max(high)
    top = high
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
        if here > rank:
            high = team_max(left)
        else:
            low = -team_max(-right)
    # The next one is another of the same size, or the smallest beyond.
    here = np.int32(0)
    right = top
    i = np.uint32(cuda.threadIdx.x)
    while i < count:
        v = values[i]
        if v <= high:
            here += np.int32(1)
        else:
            right = min(right, v)
        i = np.uint32(i + step)
    here = team_sum(here)
    right = -team_max(-right)
    sync()  # the values have been read
    return high, high if here > rank + np.int32(1) else right


def team_median(n, values):
    """Median of ``values[:n]``."""
    low, high = team_neighbours(n, values, (n - 1) // 2, values, values)
    return low if n % 2 == 1 else 0.5 * (low + high)
