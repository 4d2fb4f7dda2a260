"""A law's columns as machine code that every kernel can call by an address.

The code is kept in the cache, each column's in a folder named by what it is made of: Numba would
take columns for each other that differ in a constant or in a function that they call.
"""

from __future__ import annotations

import ctypes
import threading
import types as python_types
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cache import place, use, writable
from .fingerprint import fingerprint
from .machine_code import Code, address, load_or_make, name_of

__all__ = ["column_code", "placed_column", "run_column", "scalar_column", "stack"]

_POINTER = ctypes.POINTER(ctypes.c_double)
_C_FUNCTION = ctypes.CFUNCTYPE(
    None, *(ctypes.c_int64,) * 3, *(_POINTER,) * 3, ctypes.c_int64, _POINTER
)
_lock = threading.Lock()
_alive: list[Any] = []
_loaded: dict[tuple[Any, tuple[int, ...]], int] = {}


def scalar_column(function: Callable[..., float], positions: tuple[int, ...]) -> Any:
    """A column as a compiled function of (x, log_x, t0, t1, t2, t3).

    ``positions[i]`` says which of these the i-th argument of `function` is.
    """
    from numba import njit

    from .linking import callable_column

    made = placed_column(callable_column(function), positions)
    return njit(error_model="numpy", forceinline=True)(made)


def placed_column(inner: Any, positions: tuple[int, ...]) -> Callable[..., Any]:
    """`scalar_column` of a function as it is, not compiled."""
    count = len(positions)
    a, b, c, d, e, f = (*positions, 0, 0, 0, 0, 0, 0)[:6]
    if count == 0:
        return lambda x, log_x, t0, t1, t2, t3: inner()
    if count == 1:
        return lambda x, log_x, t0, t1, t2, t3: inner((x, log_x, t0, t1, t2, t3)[a])

    def two(x, log_x, t0, t1, t2, t3):  # type: ignore[no-untyped-def]
        v = (x, log_x, t0, t1, t2, t3)
        return inner(v[a], v[b])

    def three(x, log_x, t0, t1, t2, t3):  # type: ignore[no-untyped-def]
        v = (x, log_x, t0, t1, t2, t3)
        return inner(v[a], v[b], v[c])

    def four(x, log_x, t0, t1, t2, t3):  # type: ignore[no-untyped-def]
        v = (x, log_x, t0, t1, t2, t3)
        return inner(v[a], v[b], v[c], v[d])

    def five(x, log_x, t0, t1, t2, t3):  # type: ignore[no-untyped-def]
        v = (x, log_x, t0, t1, t2, t3)
        return inner(v[a], v[b], v[c], v[d], v[e])

    def six(x, log_x, t0, t1, t2, t3):  # type: ignore[no-untyped-def]
        v = (x, log_x, t0, t1, t2, t3)
        return inner(v[a], v[b], v[c], v[d], v[e], v[f])

    return (two, three, four, five, six)[count - 2]


def column_code(function: Callable[..., float], positions: tuple[int, ...]) -> int:
    """Address of a column's C function, for `column_call.call_column`; loaded once a process."""
    key = (function, positions)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(function, positions)
        return _loaded[key]


def stack(columns: list[int]) -> NDArray[np.int64]:
    """Columns as kernels take them."""
    return np.array(columns, np.int64)


def run_column(
    address: int, x: NDArray[Any], log_x: NDArray[Any], theta: NDArray[Any], out: NDArray[Any]
) -> None:
    """A column for all points and parameter sets: out[point, set]."""
    data = [a.ctypes.data_as(_POINTER) for a in (x, log_x, theta, out)]
    _C_FUNCTION(address)(
        0, x.size, theta.shape[1], data[0], data[1], data[2], theta.shape[1], data[3]
    )


def _load(function: Callable[..., float], positions: tuple[int, ...]) -> int:
    try:
        return address(_code(function, positions))
    except Exception as error:  # Numba may not be there to name it
        compiled = getattr(error, "compiled", None)
        if compiled is None:
            raise
        _alive.append(compiled)  # a column that can raise an exception, say: in this process only
        return int(compiled.address)


def _code(function: Callable[..., float], positions: tuple[int, ...]) -> Code:
    """The C function of a column, from the cache or by Numba."""

    def make() -> Code:
        from numba import types

        from .linking import c_code

        double_p = types.CPointer(types.float64)
        signature = types.void(
            types.int64, types.int64, types.int64, double_p, double_p, double_p, types.int64,
            double_p,
        )  # fmt: skip
        scope = {"column": scalar_column(function, positions), "__name__": __name__}
        fill = python_types.FunctionType(_fill.__code__, scope)
        return c_code(fill, signature, error_model="numpy", fastmath={"contract"})

    made_of = fingerprint(function, positions)
    if made_of is None or not writable():  # it refers to something whose content cannot be told
        return make()
    where = place("columns", made_of)
    use(where)
    return load_or_make(where / name_of("column"), make)


column: Any = None  # what `_fill` calls, in the scope that `_code` makes for it


def _fill(mode, n, lanes, x, log_x, theta, stride, out):  # type: ignore[no-untyped-def]
    s2 = 2 * stride
    s3 = 3 * stride
    if mode == 0:  # every point with every parameter value
        for p in range(n):
            xp = x[p]
            lp = log_x[p]
            o = p * lanes
            for j in range(lanes):
                out[o + j] = column(
                    xp, lp, theta[j], theta[stride + j], theta[s2 + j], theta[s3 + j]
                )
    else:  # every point with the first parameter value
        t0 = theta[0]
        t1 = theta[stride]
        t2 = theta[s2]
        t3 = theta[s3]
        for p in range(n):
            out[p] = column(x[p], log_x[p], t0, t1, t2, t3)
