"""Ragged arrays: many runs end to end in one flat array, with offsets (CSR).

Run ``i`` owns the rows ``offsets[i]:offsets[i + 1]``.  Work over many runs goes through `blocks`:
runs of equal length are laid side by side as a matrix, so NumPy does the loop over runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

# Points handled at a time: small enough for the temporaries to stay in the processor's cache.
BLOCK = 1 << 17
COUNTED = 512  # rows a run from which a run is counted by itself


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, made read-only."""
    array.setflags(write=False)
    return array


def run_of_row(offsets: Ints) -> Ints:
    """The run that each row belongs to, shape (N,)."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def counts(mask: Bools, offsets: Ints) -> Ints:
    """How many rows of each run are true, shape (R,); empty runs count 0."""
    if len(mask) > COUNTED * len(offsets):
        edges = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        return np.array([np.count_nonzero(mask[a:b]) for a, b in edges], np.int64)
    total = spans(mask)
    return np.asarray(total[offsets[1:]] - total[offsets[:-1]])


def spans(lengths: Ints | Bools) -> Ints:
    """The offsets of runs of these lengths, shape (R + 1,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def gather(starts: Ints, stops: Ints) -> tuple[Ints, Ints]:
    """Row numbers of the slices ``starts[i]:stops[i]`` in order, and the new offsets."""
    lengths = stops - starts
    offsets = spans(lengths)
    index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return index, offsets


def blocks(offsets: Ints) -> Iterator[tuple[Ints, Ints | slice]]:
    """Groups of runs of one length, at most about `BLOCK` points each.

    Yields
    ------
    runs : ndarray of int, shape (m,)
        The runs of the group.
    rows : slice or ndarray of int, shape (m, length)
        Their rows: ``flat[rows].reshape(len(runs), -1)`` is the matrix (a view for a slice).
    """
    lengths = np.diff(offsets)
    order = np.argsort(lengths, kind="stable")
    edges = np.flatnonzero(np.diff(lengths[order])) + 1
    for group in np.split(order, edges):
        if not len(group) or not lengths[group[0]]:
            continue
        length = int(lengths[group[0]])
        step = max(1, BLOCK // length)
        for first in range(0, len(group), step):
            runs = group[first : first + step]
            start = int(offsets[runs[0]])
            if runs[-1] - runs[0] == len(runs) - 1:  # neighbours: one stretch of the flat array
                yield runs, slice(start, start + length * len(runs))
            else:
                yield runs, offsets[runs][:, None] + np.arange(length)


def search(
    values: Floats,  # shape (N,): not decreasing within a run
    offsets: Ints,
    targets: Floats,  # shape (R, ...): what is looked for in each run
    right: bool = False,
) -> Ints:
    """`numpy.searchsorted` in every run at once: rows counted from the run's first."""
    shape = (-1,) + (1,) * (targets.ndim - 1)
    starts = offsets[:-1].reshape(shape)
    low = np.broadcast_to(starts, targets.shape)
    high = np.broadcast_to(offsets[1:].reshape(shape), targets.shape)
    below = np.less_equal if right else np.less
    while (open_yet := low < high).any():
        middle = (low + high) // 2
        passed = open_yet & below(values[np.minimum(middle, len(values) - 1)], targets)
        low, high = np.where(passed, middle + 1, low), np.where(open_yet & ~passed, middle, high)
    return np.asarray(low - starts)
