"""A law's columns inside a CUDA kernel.

On a CPU a column is called through the address of a C function; a CUDA kernel is compiled for one
law and calls the law's scalar functions themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import marginal, maths
from ..column_code import placed_column
from ..columns import Program
from ..team import lane, width
from .port import rebind

__all__ = ["LawColumns", "law_columns"]


class LawColumns:
    """The columns of a law, as functions of (x, log x, t0, t1, t2, t3).

    Attributes
    ----------
    varying : callable
        The one column that depends on nonlinear parameters.
    fixed : tuple of callable
        The others, padded to 3.
    exponent : callable or None
        Where the varying column is exp(g) with g proportional to the first nonlinear parameter, as
        in x^-alpha: g.  A change of the column is then accurate even where it is small.
    table : dict
        What a port needs to know of the law.
    """

    def __init__(self, varying: Callable[..., Any], fixed: tuple[Callable[..., Any], ...]) -> None:
        self.varying = varying
        self.fixed = fixed
        self.exponent = _exponent(varying)
        first, second, third = fixed

        def fill_fixed(k, n_points, model, work):  # type: ignore[no-untyped-def]
            points = work.points
            for i in range(lane(), n_points, width()):
                x = points[0, i]
                log_x = points[1, i]
                if k == 0:
                    work.fixed[k, i] = first(x, log_x, x, x, x, x)
                elif k == 1:
                    work.fixed[k, i] = second(x, log_x, x, x, x, x)
                else:
                    work.fixed[k, i] = third(x, log_x, x, x, x, x)

        self.table = {marginal.fill_fixed: fill_fixed}


def _zero(x, log_x, t0, t1, t2, t3):  # type: ignore[no-untyped-def]
    return x - x


def _same(value):  # type: ignore[no-untyped-def]
    return value


def _exponent(column: Any) -> Callable[..., Any] | None:
    """The exponent of a column that is one exponential, proportional to its first parameter."""
    exponent = rebind(column, {maths.exp: _same})
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.uniform(0.01, 2.0)
        t = rng.uniform(0.1, 1.5, 4)
        g = exponent(x, np.log(x), *t)
        value = rebind(column, {maths.exp: math.exp})(x, np.log(x), *t)
        if abs(math.exp(min(g, 700.0)) - value) > 1e-12 * abs(value):
            return None
        if abs(exponent(x, np.log(x), 2.0 * t[0], *t[1:]) - 2.0 * g) > 1e-12 * abs(g):
            return None
    return rebind(column, {maths.exp: _same})


def law_columns(program: Program) -> LawColumns:
    """The columns of a program with one varying column."""
    if program.n_varying != 1:
        raise ValueError(
            f"CUDA kernels serve laws with one column that depends on nonlinear parameters; this "
            f"one has {program.n_varying}"
        )
    slots = {"x": 0, "log_x": 1, **{n: 2 + i for i, n in enumerate(program.nonlinear)}}
    columns = [
        placed_column(program.columns[k], tuple(slots[a] for a in program.arguments[k]))
        for k in program.order
    ]
    fixed = (*columns[: program.n_fixed], _zero, _zero, _zero)[:3]
    return LawColumns(columns[program.n_fixed], fixed)
