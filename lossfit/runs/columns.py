"""Flat columns cut, joined and described again; each function gives new columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._base.ragged import Bools, Floats, Ints, gather
from .axes import AXES, Columns
from .cleaning import DESCRIBED, inspect


def cut(table: Columns, runs: Ints, starts: Ints, stops: Ints) -> Columns:
    """The rows ``starts[i]:stops[i]`` of the given runs."""
    rows, offsets = gather(starts, stops)
    names = tuple(table.names[i] for i in runs)
    has = {axis: present[runs] for axis, present in table.has.items() if present[runs].any()}
    lr = None if table.lr is None else table.lr[rows]
    flags = {name: table.flags[name] for name in (None, *names) if name in table.flags}
    return Columns(
        names=names,
        offsets=offsets,
        loss=table.loss[rows],
        weight=table.weight[rows],
        lr=None if lr is None or np.isnan(lr).all() else lr,
        logged={axis: table.logged[axis][rows] for axis in has},
        has=has,
        base=table.base[runs],
        params=table.params[runs],
        tokens_per_step=table.tokens_per_step[runs],
        gpu_rate=table.gpu_rate[runs],
        spike=table.spike[rows],
        decimals=table.decimals[runs],
        schedules={n: table.schedules[n] for n in names if n in table.schedules},
        meta={n: table.meta[n] for n in names if n in table.meta},
        flags=flags,
    )


def described(table: Columns) -> Columns:
    """The same rows, inspected again, with weights of mean 1."""
    x = np.empty(len(table.loss))
    row_base = np.repeat(table.base, np.diff(table.offsets))
    for axis, values in table.logged.items():
        of_axis = row_base == AXES.index(axis)
        x[of_axis] = values[of_axis]
    seen = inspect(table.names, x, table.loss, table.offsets)
    flags = {
        name: tuple(flag for flag in group if flag.flag not in DESCRIBED)
        for name, group in table.flags.items()
    }
    for flag in seen.flags:
        flags[flag.run] = (*flags.get(flag.run, ()), flag)
    flags = {name: group for name, group in flags.items() if group}
    lengths = np.diff(table.offsets)
    mean = np.add.reduceat(table.weight, table.offsets[:-1]) / lengths
    weight = table.weight / np.repeat(mean, lengths)
    return replace(table, spike=seen.spike, decimals=seen.decimals, flags=flags, weight=weight)


def joined(a: Columns, b: Columns) -> Columns:
    """Two collections end to end."""

    def rows(first: Floats | None, second: Floats | None) -> Floats:
        parts = ((first, a), (second, b))
        return np.concatenate(
            [np.full(len(t.loss), np.nan) if part is None else part for part, t in parts]
        )

    def runs(axis: str) -> Bools:
        return np.concatenate([t.has.get(axis, np.zeros(len(t.names), dtype=bool)) for t in (a, b)])

    axes = [axis for axis in AXES if axis in a.logged or axis in b.logged]
    shared = (*a.flags.get(None, ()), *b.flags.get(None, ()))
    return Columns(
        names=(*a.names, *b.names),
        offsets=np.concatenate([a.offsets, a.offsets[-1] + b.offsets[1:]]),
        loss=np.concatenate([a.loss, b.loss]),
        weight=np.concatenate([a.weight, b.weight]),
        lr=None if a.lr is None and b.lr is None else rows(a.lr, b.lr),
        logged={axis: rows(a.logged.get(axis), b.logged.get(axis)) for axis in axes},
        has={axis: runs(axis) for axis in axes},
        base=np.concatenate([a.base, b.base]),
        params=np.concatenate([a.params, b.params]),
        tokens_per_step=np.concatenate([a.tokens_per_step, b.tokens_per_step]),
        gpu_rate=np.concatenate([a.gpu_rate, b.gpu_rate]),
        spike=np.concatenate([a.spike, b.spike]),
        decimals=np.concatenate([a.decimals, b.decimals]),
        schedules={**a.schedules, **b.schedules},
        meta={**a.meta, **b.meta},
        flags={**a.flags, **b.flags, **({None: shared} if shared else {})},
    )
