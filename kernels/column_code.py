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
from numba import cfunc, njit, types
from numba.core import config
from numba.extending import intrinsic
from numpy.typing import NDArray

from .cache import place, use, writable
from .fingerprint import fingerprint

__all__ = ["call_column", "column_code", "run_column", "scalar_column", "stack"]

_double_p = types.CPointer(types.float64)
_SIGNATURE = types.void(
    types.int64, types.int64, types.int64, _double_p, _double_p, _double_p, types.int64, _double_p
)
_POINTER = ctypes.POINTER(ctypes.c_double)
_C_FUNCTION = ctypes.CFUNCTYPE(
    None, *(ctypes.c_int64,) * 3, *(_POINTER,) * 3, ctypes.c_int64, _POINTER
)
_config: Any = config  # its settings are made at run time, so no type checker sees them
_lock = threading.Lock()
_compiled: dict[tuple[Any, tuple[int, ...]], Any] = {}


def scalar_column(function: Callable[..., float], positions: tuple[int, ...]) -> Any:
    """A column as a compiled function of (x, log_x, t0, t1, t2, t3).

    ``positions[i]`` says which of these the i-th argument of `function` is.
    """
    inner = function if hasattr(function, "py_func") else njit(error_model="numpy")(function)
    jit = njit(error_model="numpy", forceinline=True)
    count = len(positions)
    a, b, c, d, e, f = (*positions, 0, 0, 0, 0, 0, 0)[:6]
    if count == 0:
        return jit(lambda x, log_x, t0, t1, t2, t3: inner())
    if count == 1:
        return jit(lambda x, log_x, t0, t1, t2, t3: inner((x, log_x, t0, t1, t2, t3)[a]))

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

    return jit((two, three, four, five, six)[count - 2])


def column_code(function: Callable[..., float], positions: tuple[int, ...]) -> int:
    """Address of a column's C function, for `call_column`; made once a process."""
    key = (function, positions)
    with _lock:
        if key not in _compiled:
            _compiled[key] = _c_function(function, positions)
        return int(_compiled[key].address)


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


def _c_function(function: Callable[..., float], positions: tuple[int, ...]) -> Any:
    """The C function of a column, from the cache or by Numba."""
    scope = {"column": scalar_column(function, positions), "__name__": __name__}
    fill = python_types.FunctionType(_fill.__code__, scope)
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
    made_of = fingerprint(function, positions)
    if made_of is None or not writable():  # it refers to something whose content cannot be told
        return cfunc(_SIGNATURE, **options)(fill)
    before = _config.CACHE_DIR  # Numba reads the setting when a function is decorated
    where = place("columns", made_of)
    use(where)
    _config.CACHE_DIR = str(where)
    try:
        return cfunc(_SIGNATURE, cache=True, **options)(fill)
    except Exception:
        # Compiled code names the module of a law's function.  Where that is none that can be
        # imported (a notebook, `runpy`), or a file is damaged, it is compiled for this process;
        # what is wrong with the function itself is said then.
        return cfunc(_SIGNATURE, **options)(fill)
    finally:
        _config.CACHE_DIR = before


column: Any = None  # what `_fill` calls, in the scope that `_c_function` makes for it


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


@intrinsic
def call_column(typingctx, address, mode, n, lanes, x, log_x, theta, stride, out):
    """Call the C function of a column at that address.

    Parameters
    ----------
    address : int64
    mode : int64
        0: ``out[p * lanes + j] = column(x[p], theta[:, j])``;
        1: ``out[p] = column(x[p], theta[:, 0])``.
    n, lanes : int64
        Numbers of points and of parameter values.
    x, log_x, theta, out : pointers (``array.ctypes``) to float64
        ``theta[k * stride + j]`` is nonlinear parameter k of lane j; it always has 4 rows.
    """
    signature = types.void(address, mode, n, lanes, x, log_x, theta, stride, out)

    def codegen(context, builder, sig, args):
        from llvmlite import ir

        double_p = ir.IntType(8).as_pointer()
        i64 = ir.IntType(64)
        function_type = ir.FunctionType(
            ir.VoidType(), [i64, i64, i64, double_p, double_p, double_p, i64, double_p]
        )
        pointer = builder.inttoptr(args[0], function_type.as_pointer())
        data = [
            context.make_array(t)(context, builder, value=v).data
            if isinstance(t, types.Array)
            else v
            for t, v in zip(sig.args, args, strict=True)
        ]
        arrays = [builder.bitcast(data[i], double_p) for i in (4, 5, 6, 8)]
        builder.call(
            pointer,
            [data[1], data[2], data[3], arrays[0], arrays[1], arrays[2], data[7], arrays[3]],
        )
        return context.get_dummy_value()

    return signature, codegen
