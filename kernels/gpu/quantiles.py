"""Means, standard deviations and quantiles of rows of draws: a block for each row.

A row is sorted in shared memory by Batcher's bitonic network, which has the same steps whatever the
numbers are; then quantiles are read off, by the interpolation of `lossfit.summaries`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..team import real
from .backend import cuda, types
from .device import Device
from .launch import built
from .port import Port
from .spec import Kernel
from .warp import TABLE, team_sum

__all__ = ["LARGEST_ROW", "build", "describe_on", "places", "size_for"]

LARGEST_ROW = 2048
SMALLEST_ROW = 64
MOST_THREADS = 32  # of a block: one warp, as of all kernels; each sorts several numbers at a step


def size_for(n_draws: int) -> int:
    """The size to build a kernel of, for rows of so many draws.

    Raises
    ------
    ValueError
        There are more than fit in shared memory.
    """
    if n_draws > LARGEST_ROW:
        raise ValueError(f"{n_draws} draws in a row, at most {LARGEST_ROW} can be sorted")
    return max(1 << (n_draws - 1).bit_length(), SMALLEST_ROW)


def places(
    shares: Sequence[float], n_draws: int, single: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where quantiles lie in a sorted row: the draw below, and the part of the way to the next."""
    position = np.asarray(shares, np.float64) * (n_draws - 1)
    below = np.floor(position)
    return below.astype(np.int32), (position - below).astype(np.float32 if single else np.float64)


def in_order(a, b, up):  # type: ignore[no-untyped-def]
    """The lower of two numbers first, or last."""
    low = min(a, b)
    high = max(a, b)
    return (low, high) if up else (high, low)


def build(single: bool, size: int) -> Kernel:
    """The kernel for rows of up to `size` draws.

    Parameters
    ----------
    single : bool
        Whether numbers are float32.
    size : int
        A power of 2, of `size_for`.

    Returns
    -------
    Kernel
        Its arguments are rows (n_rows, n_draws), the two arrays of `places` (n_quantiles,), and
        what it writes: out (n_rows, 2 + n_quantiles), mean, standard deviation (n_draws - 1 in the
        divisor) and quantiles; all NaN where a draw is.
    """
    number = np.float32 if single else np.float64
    threads = min(size // 2, MOST_THREADS)
    warps = threads // 32
    half = np.uint32(size // 2)
    block = np.uint32(threads)
    quarter = np.uint32(size // 4)
    one = np.uint32(1)
    two = np.uint32(2)

    def block_sum(value, parts):  # type: ignore[no-untyped-def]
        """Sum over the block, for every thread."""
        value = team_sum(value)
        cuda.syncthreads()  # the sum before has been read
        if cuda.threadIdx.x % 32 == 0:
            parts[cuda.threadIdx.x // 32] = value
        cuda.syncthreads()
        total = parts[0]
        for k in range(1, warps):
            total += parts[k]
        return total

    port = Port(TABLE, single)
    sum_of = port.device(block_sum)
    ordered = port.device(in_order)

    def quantiles(rows, below, part, out):  # type: ignore[no-untyped-def]
        values = cuda.shared.array(size, number)
        parts = cuda.shared.array(warps, number)
        row = cuda.blockIdx.x
        me = np.uint32(cuda.threadIdx.x)
        n = np.uint32(rows.shape[1])
        # Differences from the first draw: float32 then resolves what differs.
        first = rows[row, 0]
        total = real(0.0)
        i = me
        while i < np.uint32(size):
            v = real(np.inf)  # sorted to the end
            if i < n:
                v = rows[row, i]
                total += v - first
            values[i] = v
            i = np.uint32(i + block)
        mean = sum_of(total, parts) / real(n)
        squares = real(0.0)
        missing = real(0.0)
        i = me
        while i < n:
            v = values[i]
            gap = v - first - mean
            squares += gap * gap
            if v != v:
                missing += real(1.0)
            i = np.uint32(i + block)
        squares = sum_of(squares, parts)
        missing = sum_of(missing, parts)
        length = np.uint32(2)  # of the stretches that are sorted after the steps of a round
        while length <= np.uint32(size):
            distance = np.uint32(length >> one)
            while distance > np.uint32(1):
                # Two steps at once, on four numbers in registers.
                cuda.syncthreads()
                near = np.uint32(distance >> one)
                i = me
                while i < quarter:
                    rest = np.uint32(i & np.uint32(near - one))
                    k = np.uint32(np.uint32(np.uint32(i - rest) << two) + rest)
                    up = np.uint32(k & length) == np.uint32(0)
                    a, c = ordered(values[k], values[np.uint32(k + distance)], up)
                    b, d = ordered(
                        values[np.uint32(k + near)], values[np.uint32(k + distance + near)], up
                    )
                    a, b = ordered(a, b, up)
                    c, d = ordered(c, d, up)
                    values[k] = a
                    values[np.uint32(k + near)] = b
                    values[np.uint32(k + distance)] = c
                    values[np.uint32(k + distance + near)] = d
                    i = np.uint32(i + block)
                distance = np.uint32(distance >> two)
            if distance == np.uint32(1):
                cuda.syncthreads()
                i = me
                while i < half:
                    k = np.uint32(i << one)
                    up = np.uint32(k & length) == np.uint32(0)
                    a, b = ordered(values[k], values[np.uint32(k + one)], up)
                    values[k] = a
                    values[np.uint32(k + one)] = b
                    i = np.uint32(i + block)
            length = np.uint32(length << one)
        cuda.syncthreads()
        blank = real(np.nan)
        if me == np.uint32(0):
            out[row, 0] = blank if missing > real(0.0) else first + mean
            spread = squares / real(max(n, np.uint32(2)) - one)
            out[row, 1] = blank if missing > real(0.0) else math.sqrt(spread)
        i = me
        while i < np.uint32(below.size):
            a = values[below[i]]
            b = values[min(below[i] + 1, rows.shape[1] - 1)]
            between = a + part[i] * (b - a) if part[i] > real(0.0) else a
            out[row, 2 + i] = blank if missing > real(0.0) else between
            i = np.uint32(i + block)

    kind = types.float32 if single else types.float64
    matrix = types.Array(kind, 2, "C")
    signature = (
        matrix, types.Array(types.int32, 1, "C"), types.Array(kind, 1, "C"), matrix,
    )  # fmt: skip
    return Kernel("quantiles", port.rebound(quantiles), signature, threads, False)


def describe_on(device: Device, rows: Any, shares: Sequence[float]) -> Any:
    """Mean, standard deviation and quantiles of rows of draws that lie on a GPU.

    Parameters
    ----------
    device : Device
    rows : device array, shape (n_rows, n_draws)
        Contiguous, at most `LARGEST_ROW` draws.
    shares : sequence of float
        Of the quantiles.

    Returns
    -------
    device array, shape (n_rows, 2 + n_quantiles)
        All NaN where a draw is.
    """
    n_rows, n_draws = rows.shape
    single = rows.dtype.itemsize == 4
    kernel = built(build, single, size_for(n_draws))
    found: list[Any] = []

    def task() -> None:
        xp = device.xp
        below, part = (xp.asarray(values) for values in places(shares, n_draws, single))
        out = xp.empty((n_rows, 2 + len(shares)), rows.dtype)
        device.launch(kernel, n_rows, (rows, below, part, out), stream)
        found.append(out)

    with device.active():
        stream = device.stream()
        device.follow(stream)  # the caller may still be computing what is read here
        device.work(stream, task)
        device.mark(stream).wait()
    return found[0]
