"""The axes of a run, and how one follows from another.

==============  ==================================================================
axis            derived, where the log does not have it, as
==============  ==================================================================
``tokens``      step x tokens per step, or FLOPs / (6 x params)
``step``        tokens / tokens per step
``gpu_hours``   in proportion to the log's own axis, from the total of the run
``flops``       6 x params x tokens
==============  ==================================================================

Three more axes are never derived: ``epoch`` (passes over the data), ``hours`` (of the clock since
the log began, pauses included) and ``record`` (1, 2, ...: the rows of a log that says nothing of
where they lie).  A log is read along one of them only where it has none of the four.

FLOPs are training FLOPs of a dense transformer without the attention term: 6 per parameter and
token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints, frozen
from ..schedules.shapes import Schedule
from .cleaning import Flag

Axis = Literal["tokens", "step", "gpu_hours", "flops", "epoch", "hours", "record"]
AnyAxis = Axis | Literal["auto"]
AXES: tuple[str, ...] = get_args(Axis)
"""The axes, in the order in which one is preferred where nothing else decides."""

FLOPS_PER_PARAM_TOKEN = 6.0


@dataclass(frozen=True, eq=False)
class Columns:
    """Clean, flat columns of R runs with N rows in all; what `Runs` and `Run` read from."""

    names: tuple[str, ...]  # length R
    offsets: Ints  # shape (R + 1,): run ``i`` owns the rows ``offsets[i]:offsets[i + 1]``
    # loss, weight: shape (N,): loss; relative precision, with mean 1 in every run
    loss: Floats
    weight: Floats
    lr: Floats | None  # shape (N,) or None: logged learning rate, NaN where unknown
    logged: dict[str, Floats]  # shape (N,): axes found in the logs; NaN in the runs without it
    has: dict[str, Bools]  # shape (R,): which runs have a logged axis
    base: Ints  # shape (R,): the axis along which a log was read, as an index into `AXES`
    # params, tokens_per_step, gpu_rate: shape (R,): model parameters; tokens per step; GPU-hours
    # per unit of the base axis; NaN where unknown
    params: Floats
    tokens_per_step: Floats
    gpu_rate: Floats
    spike: Bools  # shape (N,)
    decimals: Ints  # shape (R,): decimals of the losses, -1 for many
    # schedules, meta: dict by run name
    schedules: dict[str, Schedule] = field(default_factory=dict)
    meta: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    # dict by run name (None: the whole collection)
    flags: dict[str | None, tuple[Flag, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                frozen(value)
        for array in (*self.logged.values(), *self.has.values()):
            frozen(array)

    @cached_property
    def even(self) -> bool:
        """Whether all points have weight 1, as where a log says nothing of it."""
        return bool((self.weight == 1.0).all())


def check_axis(axis: str) -> Axis:
    """The axis itself, if there is one of that name; else `DataError`."""
    if axis not in AXES:
        raise DataError(f"no axis is called {axis!r}; there are {', '.join(AXES)}")
    return cast("Axis", axis)


def derive(columns: Columns, axis: str) -> tuple[Floats, Bools]:
    """Values of an axis and which runs have it.

    Parameters
    ----------
    columns : Columns
    axis : {"tokens", "step", "gpu_hours", "flops"}

    Returns
    -------
    values : ndarray, shape (N,)
        NaN in the runs that do not have the axis; the logged array itself where every run has it.
    has : ndarray of bool, shape (R,)
    """
    has = columns.has.get(axis, np.zeros(len(columns.names), dtype=bool)).copy()
    values = columns.logged.get(axis)
    if values is not None and has.all():
        return values, frozen(has)
    values = None if values is None else values.copy()
    rate: Floats
    if axis == "tokens":
        sources = [
            ("step", columns.tokens_per_step),
            ("flops", 1 / (FLOPS_PER_PARAM_TOKEN * columns.params)),
        ]
        for name, rate in sources:
            if name in columns.logged:
                known = columns.has[name]
                values = _fill(columns, values, has, columns.logged[name], known, rate)
    elif axis == "step":
        tokens, known = derive(columns, "tokens")
        values = _fill(columns, values, has, tokens, known, 1 / columns.tokens_per_step)
    elif axis == "flops":
        tokens, known = derive(columns, "tokens")
        rate = FLOPS_PER_PARAM_TOKEN * columns.params
        values = _fill(columns, values, has, tokens, known, rate)
    elif axis == "gpu_hours":
        for name in columns.logged:
            based = columns.has[name] & (columns.base == AXES.index(name))
            values = _fill(columns, values, has, columns.logged[name], based, columns.gpu_rate)
    if values is None:  # no run has it: NaN everywhere, without the memory
        return np.broadcast_to(np.nan, len(columns.loss)), frozen(has)
    return frozen(values), frozen(has)


def _fill(
    columns: Columns, values: Floats | None, has: Bools, source: Floats, known: Bools, rate: Floats
) -> Floats | None:
    """Write source x rate, in place, in the runs that have the source and lack the axis.

    ``values`` is None as long as no run has the axis.
    """
    new = known & ~has & np.isfinite(rate)
    if not new.any():
        return values
    if values is None:
        values = np.full(len(columns.loss), np.nan)
    lengths = np.diff(columns.offsets)
    if new.all():
        np.multiply(source, np.repeat(rate, lengths), out=values)
    else:
        rows = np.repeat(new, lengths)
        values[rows] = source[rows] * np.repeat(rate[new], lengths[new])
    has |= new
    return values


def needed(columns: Columns, run: int, axis: str) -> str:
    """What would give a run the axis that it lacks, in words."""
    name = columns.names[run]
    present = [a for a in AXES if derive(columns, a)[1][run]]
    have = f"run {name!r} has no {axis} (it has {', '.join(present)})"
    if axis == "gpu_hours":
        return f"{have}: give gpu_hours=, the total of the run, or a column gpu_hours"
    lacks = []
    if np.isnan(columns.params[run]) and (axis == "flops" or "flops" in present):
        lacks.append("params= (model parameters)")
    if np.isnan(columns.tokens_per_step[run]) and not ("tokens" in present and axis == "flops"):
        lacks.append("tokens_per_step=")
    joiner = " and " if axis == "flops" else " or "
    return f"{have}: give {joiner.join(lacks) or 'another axis'}, or a column {axis}"
