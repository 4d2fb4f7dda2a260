"""Compile every kernel that Python calls: one small question to each.

``python -m lossfit.kernels.warmup`` fills the cache; `compiling` starts that in the background.
The types of what is passed here are those that the kernels are compiled for, once and for all.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

import numpy as np

from . import compiling
from .cells import Grid
from .columns import Program
from .curve_data import Asked, Observed
from .curve_forecast import forecast_curves
from .curve_law import FEATURES, NUMBERS, CellGrid, HyperPrior, n_marginals
from .driver import Batch, PriorTable, fit_batch, predict_batch
from .forecast_driver import Curves, Hypotheses, ResponsePrior, forecast_batch
from .jit import scalar
from .maths import exp
from .paths import Paths, Shapes, feature_table
from .windows import Log, Shares, find_windows, run_scales

__all__ = ["STEPS", "main"]


@scalar
def _constant():  # type: ignore[no-untyped-def]
    return 1.0


@scalar
def _power(log_x, alpha):  # type: ignore[no-untyped-def]
    return exp(-alpha * log_x)


def _program() -> Program:
    return Program(
        (_constant, _power), ((), ("log_x", "alpha")), ("alpha",), (True,), ((0.1, 2.0, False),)
    )


def _curve() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x = np.arange(1.0, 41.0) / 40
    loss = 2 + x**-0.5 + 0.01 * np.sin(280 * x)
    return x, loss, np.ones(40), np.array([0, 40], np.int64)


def _fit() -> None:
    prior = PriorTable(
        np.array([[[0.1, 2.0, 0.0, 0.0, 0.0]]]),
        np.zeros((1, 2)),
        np.ones((1, 2)),
        np.zeros((1, 2)),
        np.array([[1.0, 0.01]]),
    )
    fit_batch(Batch(*_curve()), _program(), prior, np.ones(1, np.uint64), draws=8)


def _predict() -> None:
    predict_batch(_program(), np.ones((1, 4, 8)), np.array([[1.5]]))


def _windows() -> None:
    x, loss, weight, offsets = _curve()
    one = np.ones(1)
    shares = Shares(0.3 * one, one, 0.0 * one, np.ones(1, np.int64))
    find_windows(Log(x, loss, weight, np.zeros(40, np.uint8)), offsets, shares, False)


def _scales() -> None:
    run_scales(*_curve())


def _shapes() -> tuple[Shapes, Paths]:
    shapes = Shapes(np.array([0.0, 1.0]), np.array([1.0, 0.1]), np.array([0, 2], np.int64))
    return shapes, Paths(np.zeros(1, np.int64), np.zeros(1), np.array([2.0]))


UNITS = np.array([[0.0, 0.1, 1.0, 0.0]])
GROUPS = np.array([0, 1], np.int64)


def _features() -> None:
    feature_table(0, *_shapes(), np.array([0.5, 1.0]), GROUPS, UNITS, 1.0)


def _forecast() -> None:
    one = np.ones(1)
    nothing = np.full(1, np.nan)
    grid = Grid(
        one, np.zeros(1), one, np.zeros(1), UNITS, GROUPS, 8, 1.0, 1.0, 0.1, 0.1, 0.1, 1.0, 0.1
    )
    path = np.zeros((1, 1), np.int64)
    row = np.ones((1, 1))
    forecast_batch(
        Curves(*_curve(), one, nothing, np.zeros(1), nothing, nothing),
        grid,
        Hypotheses(path, path[:, None], np.zeros((1, 1))),
        ResponsePrior(row, row, np.zeros((1, 1)), one, one, np.zeros((1, 1))),
        *_shapes(),
        np.array([[1.5]]),
        np.ones(1, np.uint64),
        draws=8,
    )


def _curves() -> None:
    one = np.ones(1)
    nothing = np.full(1, np.nan)
    x, loss, weight, offsets = _curve()
    path = np.zeros(1, np.int64)
    grid = CellGrid(
        one, one, one, UNITS, one, GROUPS, np.array([[0.0, 1.0, 1.0]]), 8, 0.3, 1.0, 1.0, 0.1, 0.1,
        1.0,
    )  # fmt: skip
    n_rows = n_marginals(grid) + 1 + len(NUMBERS) + 3
    hyper = HyperPrior(
        np.zeros((n_rows, 2 * len(FEATURES))), 1, 1, np.zeros(3), np.zeros(1),
        np.ones((3, 2, 1, 3)),
    )  # fmt: skip
    forecast_curves(
        Observed(
            x, loss, weight, offsets, np.zeros(1), one, np.zeros(1), nothing, nothing,
            np.ones(1, np.uint64),
        ),
        Asked(
            np.array([1.5]), np.array([0, 1], np.int64), np.array([0, 1], np.int64), path, path,
            np.zeros(1), np.array([0, 1], np.int64), path, np.full(1, 2.0), path, nothing, path,
            np.array([[0.0, 1.0]]), np.zeros((1, len(grid.strengths))),
        ),
        grid,
        hyper,
        *_shapes(),
        draws=8,
    )  # fmt: skip


#: What compiles each kernel: the quickest first, then those of the default answer.
STEPS: dict[str, Callable[[], None]] = {
    "windows._find_range": _windows,
    "windows._take_range": _scales,
    "paths._feature_table": _features,
    "driver._predict_range": _predict,
    "curve_forecast._forecast_range": _curves,
    "driver._fit_range": _fit,
    "forecast_driver._forecast_range": _forecast,
}


def main() -> None:
    """Compile what is not in the cache, unless another process does."""
    if "--background" in sys.argv:
        compiling.stay_with_parent()
        if hasattr(os, "nice"):
            os.nice(10)
    with compiling.lock() as mine:
        if not mine:
            return
        # Numba makes millions of objects that live on: to look for cycles among them time and
        # again takes a sixth of the time.
        gc.set_threshold(50_000)
        for name, step in STEPS.items():
            if not compiling.is_compiled(name):
                step()


if __name__ == "__main__":
    main()
