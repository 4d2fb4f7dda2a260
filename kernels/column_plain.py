"""A law's columns as plain Python, for kernels that are not compiled; see `column_code`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import plain

__all__ = ["call_column", "column_code", "run_column", "stack"]


def clipped_exp(x: Any) -> Any:
    """`maths.exp` of arrays."""
    return np.exp(np.clip(x, -700.0, 700.0))


# What columns call, by name, for whole arrays.
ARRAYS = {"exp": clipped_exp, "log": np.log}


class Column:
    """A column as functions of (x, log_x, t0, t1, t2, t3): of numbers, and of whole arrays.

    Attributes
    ----------
    one : callable
        Of numbers.
    many : callable
        The same of arrays, by NumPy's functions; a column with a branch raises an error there.
    """

    def __init__(self, function: Callable[..., float], positions: tuple[int, ...]) -> None:
        self.positions = positions
        self.one = plain(function)
        self.many: Callable[..., Any] | None = plain(function, ARRAYS)

    def fill(self, arguments: list[NDArray[Any]], out: NDArray[Any]) -> None:
        """Values for arguments that broadcast to the shape of `out`."""
        chosen = [arguments[i] for i in self.positions]
        if self.many is not None:
            try:
                out[:] = self.many(*chosen)
                return
            except (TypeError, ValueError):
                self.many = None
        shaped = [np.broadcast_to(values, out.shape) for values in chosen]
        for place in np.ndindex(out.shape):
            out[place] = self.one(*[values[place] for values in shaped])


@cache
def column_code(function: Callable[..., float], positions: tuple[int, ...]) -> Column:
    """A column; see `column_code.scalar_column`."""
    return Column(function, positions)


def stack(columns: list[Column]) -> tuple[Column, ...]:
    """Columns as kernels take them."""
    return tuple(columns)


def call_column(column, mode, n, lanes, x, log_x, theta, stride, out):  # type: ignore[no-untyped-def]
    """`column_call.call_column`, of a column in place of an address."""
    count = lanes if mode == 0 else 1
    values = theta.reshape(-1)
    rows = [values[k * stride : k * stride + count][None] for k in range(4)]
    result = out.reshape(-1)[: n * count].reshape(n, count)
    column.fill([x[:n, None], log_x[:n, None], *rows], result)


def run_column(
    column: Any, x: NDArray[Any], log_x: NDArray[Any], theta: NDArray[Any], out: NDArray[Any]
) -> None:
    """A column for all points and parameter sets: out[point, set]."""
    with np.errstate(all="ignore"):
        call_column(column, 0, x.size, theta.shape[1], x, log_x, theta, theta.shape[1], out)
