"""How a batch of runs is cut into chunks that a GPU holds.

A run is never cut: a chunk is a range of runs ``start`` to ``stop`` (exclusive).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ALIGNMENT", "MOST_POINTS", "Limits", "Need", "Spec", "plan", "size", "split", "views"]

ALIGNMENT = 256  # bytes; that of CUDA's own allocations
MOST_POINTS = 2**32 - 1  # offsets within a chunk are uint32


class Spec(NamedTuple):
    """An array to make room for."""

    shape: tuple[int, ...]
    dtype: Any


class Need(NamedTuple):
    """What a chunk takes.

    Attributes
    ----------
    device : int
        Bytes on the GPU: inputs, scratch and results.
    host : int
        The larger of the bytes that go up and that come down.
    points : int
    """

    device: int
    host: int
    points: int


class Limits(NamedTuple):
    """What a chunk may take; a single run may always be one."""

    device: int
    host: int
    runs: int
    points: int = MOST_POINTS

    def allow(self, need: Need, runs: int) -> bool:
        """Whether a chunk of so many runs is within the limits."""
        return (
            need.device <= self.device
            and need.host <= self.host
            and need.points <= self.points
            and runs <= self.runs
        )


def size(specs: Sequence[Spec]) -> int:
    """Bytes of arrays that lie one after the other, each aligned."""
    return sum(_aligned(_bytes(spec)) for spec in specs)


def views(block: Any, specs: Sequence[Spec]) -> list[Any]:
    """The arrays in a flat block of bytes (of NumPy or CuPy) of their `size`."""
    found, start = [], 0
    for spec in specs:
        n_bytes = _bytes(spec)
        found.append(block[start : start + n_bytes].view(spec.dtype).reshape(spec.shape))
        start += _aligned(n_bytes)
    return found


def _bytes(spec: Spec) -> int:
    return math.prod(spec.shape) * int(np.dtype(spec.dtype).itemsize)


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def plan(
    need: Callable[[int, int], Need], start: int, stop: int, limits: Limits
) -> list[tuple[int, int]]:
    """Chunks of the runs ``start`` to ``stop``, in order, of about equal numbers of runs.

    Parameters
    ----------
    need : callable
        What the runs from one to another (exclusive) take; grows with the range.
    start, stop : int
    limits : Limits
        A run that exceeds them is a chunk of its own.
    """
    if start >= stop:
        return []
    chunks = _greedy(need, start, stop, limits)
    # No short last chunk: the GPU would idle in it.
    even = limits._replace(runs=min(limits.runs, -(-(stop - start) // len(chunks))))
    evened = _greedy(need, start, stop, even)
    return evened if len(evened) == len(chunks) else chunks


def _greedy(
    need: Callable[[int, int], Need], start: int, stop: int, limits: Limits
) -> list[tuple[int, int]]:
    chunks = []
    while start < stop:
        most = min(stop - start, max(limits.runs, 1))

        # As many runs as the limits allow, by bisection; at least one.
        def too_many(runs: int, first: int = start) -> bool:
            return not limits.allow(need(first, first + runs), runs)

        runs = bisect_right(range(1, most + 1), False, key=too_many)
        chunks.append((start, start + max(runs, 1)))
        start = chunks[-1][1]
    return chunks


def split(
    cost: Callable[[int, int], float], n_runs: int, weights: Sequence[float]
) -> list[tuple[int, int]]:
    """Ranges of runs whose costs are to each other as the weights, as nearly as runs allow.

    Parameters
    ----------
    cost : callable
        Of the runs from one to another (exclusive).
    n_runs : int
    weights : sequence of float
        Positive.
    """
    total = cost(0, n_runs)
    shares = np.cumsum(weights) / np.sum(weights)
    edges = [0]
    for share in shares[:-1]:
        target = share * total
        edge = bisect_right(range(n_runs + 1), target, key=lambda r: cost(0, r)) - 1
        if edge < n_runs and cost(0, edge + 1) - target < target - cost(0, edge):
            edge += 1
        edges.append(max(edge, edges[-1]))
    edges.append(n_runs)
    return list(pairwise(edges))
