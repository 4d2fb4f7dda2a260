"""A law's columns as plain Python, for kernels that are not compiled; see `column_code`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import plain

__all__ = ["call_column", "column_code", "run_column", "stack"]


@cache
def column_code(function: Callable[..., float], positions: tuple[int, ...]) -> Callable[..., float]:
    """A column as a function of (x, log_x, t0, t1, t2, t3); see `column_code.scalar_column`."""
    inner = plain(function)

    def column(*values: float) -> float:
        value: float = inner(*[values[i] for i in positions])
        return value

    return column


def stack(columns: list[Callable[..., float]]) -> tuple[Callable[..., float], ...]:
    """Columns as kernels take them."""
    return tuple(columns)


def call_column(column, mode, n, lanes, x, log_x, theta, stride, out):  # type: ignore[no-untyped-def]
    """`column_code.call_column`, of a function in place of an address."""
    values = theta.reshape(-1)
    result = out.reshape(-1)
    sets = [values[j : 4 * stride : stride] for j in range(lanes if mode == 0 else 1)]
    for p in range(n):
        for j, (t0, t1, t2, t3) in enumerate(sets):
            result[p * len(sets) + j] = column(x[p], log_x[p], t0, t1, t2, t3)


def run_column(
    column: Any, x: NDArray[Any], log_x: NDArray[Any], theta: NDArray[Any], out: NDArray[Any]
) -> None:
    """A column for all points and parameter sets: out[point, set]."""
    with np.errstate(all="ignore"):
        call_column(column, 0, x.size, theta.shape[1], x, log_x, theta, theta.shape[1], out)
