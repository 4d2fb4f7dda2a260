"""From a law's scalar basis functions to code that any kernel can call.

The CPU kernels are compiled once, for every law: they reach a law's columns through the address of
a small C function that evaluates one column on a block of points and parameter values.  A new law
therefore costs a fraction of a second, not a recompilation of the engine.  CUDA kernels call
the same scalar functions directly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import cfunc, njit, types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_COLUMNS", "MAX_NONLINEAR", "Program", "call_column", "scalar_column"]

MAX_NONLINEAR = 4
MAX_FIXED = 3
MAX_VARYING = 3
MAX_COLUMNS = MAX_FIXED + MAX_VARYING

# Numbers of pseudo-points that compression may use; see compress.py.
ORDERS = (16, 24, 32, 40, 48, 64, 96, 128)
HALF_STEP = 0.25  # granularity of the half-width of log x at which orders are chosen
HALF_MAX = 16.0

_double_p = types.CPointer(types.float64)
_SIGNATURE = types.void(
    types.int64, types.int64, types.int64, _double_p, _double_p, _double_p, types.int64, _double_p
)
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


def _compile(function: Callable[..., float], positions: tuple[int, ...]) -> Any:
    """The C function of a column; compiled once in a process."""
    key = (function, positions)
    with _lock:
        if key not in _compiled:
            column = scalar_column(function, positions)

            def fill(mode, n, lanes, x, log_x, theta, stride, out):  # type: ignore[no-untyped-def]
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

            _compiled[key] = cfunc(_SIGNATURE, error_model="numpy", fastmath={"contract"})(fill)
        return _compiled[key]


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


@dataclass(eq=False)
class Program:
    """A law's columns as the kernels take them: fixed columns first, then varying ones.

    Parameters
    ----------
    columns : tuple of callable
        Scalar functions in the law's order.
    arguments : tuple of tuple of str
        Their argument names.
    nonlinear : tuple of str
        Names of the nonlinear parameters.
    log : tuple of bool
        Which nonlinear parameters are worked with in the logarithm.
    bounds : tuple of (low, high, at_start)
        Bounds of the nonlinear parameters; with ``at_start`` in units of the first axis value.
    """

    columns: tuple[Callable[..., float], ...]
    arguments: tuple[tuple[str, ...], ...]
    nonlinear: tuple[str, ...]
    log: tuple[bool, ...]
    bounds: tuple[tuple[float, float, bool], ...]
    order: NDArray[np.int64] = field(init=False)
    n_fixed: int = field(init=False)
    constant: int = field(init=False)

    def __post_init__(self) -> None:
        names = set(self.nonlinear)
        fixed = [not names.intersection(a) for a in self.arguments]
        where = [k for k, f in enumerate(fixed) if f] + [k for k, f in enumerate(fixed) if not f]
        self.order = np.array(where, np.int64)
        self.n_fixed = sum(fixed)
        # Position among the fixed columns of the constant 1, or -1: losses are centred with it.
        self.constant = next((i for i in range(self.n_fixed) if not self.arguments[where[i]]), -1)
        self._orders: dict[int, int] = {}

    @property
    def n_linear(self) -> int:
        """Number of linear parameters."""
        return len(self.columns)

    @property
    def n_varying(self) -> int:
        """Number of columns that depend on nonlinear parameters."""
        return len(self.columns) - self.n_fixed

    def _handle(self, k: int) -> Any:
        slots = {"x": 0, "log_x": 1, **{n: 2 + i for i, n in enumerate(self.nonlinear)}}
        return _compile(self.columns[k], tuple(slots[a] for a in self.arguments[k]))

    def addresses(self) -> NDArray[np.int64]:
        """Addresses of the columns' C functions in the kernels' order, padded to 6."""
        out = np.zeros(MAX_COLUMNS, np.int64)
        for i, k in enumerate(self.order):
            out[i] = self._handle(int(k)).address
        return out

    def column(self, k: int, x: ArrayLike, nonlinear: ArrayLike) -> NDArray[np.float64]:
        """Column k (in the law's order) for points x and parameter sets.

        Parameters
        ----------
        x : array_like, shape (n_points,)
        nonlinear : array_like, shape (n_nonlinear, n_sets)

        Returns
        -------
        ndarray, shape (n_points, n_sets)
        """
        import ctypes

        points = np.ascontiguousarray(x, float).ravel()
        with np.errstate(divide="ignore", invalid="ignore"):
            log_points = np.log(points)
        sets = np.atleast_2d(np.asarray(nonlinear, float))
        theta = np.zeros((MAX_NONLINEAR, sets.shape[1]))
        theta[: sets.shape[0]] = sets
        out = np.empty((points.size, sets.shape[1]))
        pointer = ctypes.POINTER(ctypes.c_double)
        data = [a.ctypes.data_as(pointer) for a in (points, log_points, theta, out)]
        self._handle(k).ctypes(
            0, points.size, sets.shape[1], data[0], data[1], data[2], sets.shape[1], data[3]
        )
        return out

    def pseudo_points(self, half: float) -> int:
        """Index into `ORDERS` of the pseudo-points that reproduce this law's sums, or -1.

        The columns and their products are interpolated at Chebyshev nodes in log x, for corners of
        the parameter box and values in between, and compared with their values elsewhere.  The
        answer depends on the half-width of log x (rounded up), not on the data.
        """
        bucket = int(np.ceil(max(half, 1e-9) / HALF_STEP))
        if bucket not in self._orders:
            self._orders[bucket] = self._find_order(bucket * HALF_STEP)
        return self._orders[bucket]

    def _find_order(self, half: float) -> int:
        if half > HALF_MAX:
            return -1
        start = np.exp(-2 * half)
        grids = []
        for (low, high, at_start), is_log in zip(self.bounds, self.log, strict=True):
            scale = start if at_start else 1.0
            g = np.array([0.0, 0.15, 0.5, 0.85, 1.0])
            grid = (
                np.exp(np.log(low) + g * np.log(high / low)) if is_log else low + g * (high - low)
            )
            grids.append(grid * scale)
        theta = np.array([g.ravel() for g in np.meshgrid(*grids, indexing="ij")])
        test = np.cos(np.pi * (np.arange(301) + 0.5) / 301)
        at_test = self._products(np.exp(half * (test - 1)), theta)
        size = np.abs(at_test).max(axis=0) + 1e-300
        for index, order in enumerate(ORDERS):
            u, matrix = chebyshev(order)
            at_nodes = self._products(np.exp(half * (u - 1)), theta)
            polynomials = np.cos(np.arange(order)[:, None] * np.arccos(test))
            # 1e-12 leaves errors of 1e-8 nats in the log posterior of a real curve.
            if (
                np.abs(polynomials.T @ (matrix @ at_nodes) - at_test).max(axis=0) < 1e-12 * size
            ).all():
                return index
        return -1

    def _products(self, x: NDArray[np.float64], theta: NDArray[np.float64]) -> NDArray[np.float64]:
        columns = [self.column(k, x, theta) for k in range(len(self.columns))]
        pairs = [a * b for i, a in enumerate(columns) for b in columns[i:]]
        return np.concatenate([*columns, *pairs], axis=1)


def chebyshev(order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chebyshev nodes, and the matrix D with D[k, p] = (2 - [k = 0]) T_k(u_p) / order."""
    angle = np.pi * (np.arange(order) + 0.5) / order
    matrix = np.cos(np.arange(order)[:, None] * angle) * (2.0 / order)
    matrix[0] /= 2
    return np.cos(angle), matrix
