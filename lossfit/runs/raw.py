"""Rows of logs, as they were read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .._base.ragged import Floats, Ints
from .cleaning import Flag

__all__ = ["Raw"]


@dataclass(frozen=True)
class Raw:
    """Rows of logs, grouped by run, in log order.

    Attributes
    ----------
    names : tuple of str, length R
    offsets : ndarray of int, shape (R + 1,)
    loss : ndarray, shape (N,)
        NaN where missing; so are the others.
    axes : dict of str to ndarray, shape (N,)
    lr, params, precision, rank : ndarray, shape (N,), or None
        Learning rate; model parameters; relative precision of each point; the process that
        logged it.
    where : callable
        The words for a row (by its number here), as the user knows it.
    flags : list of Flag
        Flags found while reading.
    """

    names: tuple[str, ...]
    offsets: Ints
    loss: Floats
    axes: dict[str, Floats]
    lr: Floats | None = None
    params: Floats | None = None
    precision: Floats | None = None
    rank: Floats | None = None
    where: Callable[[int], str] = "row {}".format
    flags: list[Flag] = field(default_factory=list)
