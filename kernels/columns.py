"""From a law's scalar basis functions to code that any kernel can call.

The CPU kernels are compiled once, for every law: they reach a law's columns through the address of
a small C function that evaluates one column on a block of points and parameter values.  A new law
therefore costs a fraction of a second, not a recompilation of the engine.  CUDA kernels call
the same scalar functions directly.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import COMPILED, Intrinsic

if COMPILED:
    from .column_code import column_code, run_column, stack

    call_column: Any = Intrinsic("column_call", "call_column")
else:
    from .column_plain import call_column, column_code, run_column, stack

__all__ = ["MAX_COLUMNS", "MAX_NONLINEAR", "Program", "call_column", "own_program"]

MAX_NONLINEAR = 4
MAX_FIXED = 3
MAX_VARYING = 3
MAX_COLUMNS = MAX_FIXED + MAX_VARYING

# Numbers of pseudo-points that compression may use; see compress.py.
ORDERS = (16, 24, 32, 40, 48, 64, 96, 128)
HALF_STEP = 0.25  # granularity of the half-width of log x at which orders are chosen
HALF_MAX = 16.0


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
        self._orders: dict[float, int] = {}

    @property
    def n_linear(self) -> int:
        """Number of linear parameters."""
        return len(self.columns)

    @property
    def n_varying(self) -> int:
        """Number of columns that depend on nonlinear parameters."""
        return len(self.columns) - self.n_fixed

    def _code(self, k: int) -> Any:
        slots = {"x": 0, "log_x": 1, **{n: 2 + i for i, n in enumerate(self.nonlinear)}}
        return column_code(self.columns[k], tuple(slots[a] for a in self.arguments[k]))

    def code(self) -> Any:
        """What kernels call the columns by, in their order, padded to 6: addresses (int64)."""
        columns = [self._code(int(k)) for k in self.order]
        return stack(columns + [columns[0]] * (MAX_COLUMNS - len(columns)))

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
        points = np.ascontiguousarray(x, float).ravel()
        with np.errstate(divide="ignore", invalid="ignore"):
            log_points = np.log(points)
        sets = np.atleast_2d(np.asarray(nonlinear, float))
        theta = np.zeros((MAX_NONLINEAR, sets.shape[1]))
        theta[: sets.shape[0]] = sets
        out = np.empty((points.size, sets.shape[1]))
        run_column(self._code(k), points, log_points, theta, out)
        return out

    def pseudo_points(self, half: float) -> int:
        """Index into `ORDERS` of the pseudo-points that reproduce this law's sums, or -1.

        The columns and their products are interpolated at Chebyshev nodes in log x, for corners of
        the parameter box and values in between, and compared with their values elsewhere.  The
        answer depends on the half-width of log x (rounded up), not on the data.
        """
        return int(self.orders(np.array([half]))[0])

    def orders(self, half: NDArray[np.float64]) -> NDArray[np.int64]:
        """`pseudo_points` of many half-widths."""
        buckets, which = np.unique(np.ceil(np.maximum(half, 1e-9) / HALF_STEP), return_inverse=True)
        for bucket in buckets:
            if bucket not in self._orders:
                self._orders[bucket] = self._find_order(bucket * HALF_STEP)
        return np.array([self._orders[bucket] for bucket in buckets], np.int64)[which]

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


def own_program(program: Any) -> Program:
    """A program of the other import of these files (see `jit`) as one of this import."""
    if isinstance(program, Program):
        return program
    if program not in _own_programs:
        _own_programs[program] = Program(
            program.columns, program.arguments, program.nonlinear, program.log, program.bounds
        )
    return _own_programs[program]


_own_programs: weakref.WeakKeyDictionary[Any, Program] = weakref.WeakKeyDictionary()


def chebyshev(order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chebyshev nodes, and the matrix D with D[k, p] = (2 - [k = 0]) T_k(u_p) / order."""
    angle = np.pi * (np.arange(order) + 0.5) / order
    matrix = np.cos(np.arange(order)[:, None] * angle) * (2.0 / order)
    matrix[0] /= 2
    return np.cos(angle), matrix
