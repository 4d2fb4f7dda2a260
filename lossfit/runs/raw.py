"""Rows of logs, as they were read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .._base.ragged import Floats, Ints
from .cleaning import Flag


@dataclass(frozen=True)
class Raw:
    """Rows of logs, grouped by run, in log order."""

    names: tuple[str, ...]  # length R
    offsets: Ints  # shape (R + 1,)
    loss: Floats  # shape (N,): NaN where missing; so are the others
    axes: dict[str, Floats]  # shape (N,)
    # lr, params, precision, rank: shape (N,) or None: learning rate; model parameters; relative
    # precision of each point; the process that logged it
    lr: Floats | None = None
    params: Floats | None = None
    precision: Floats | None = None
    rank: Floats | None = None
    # the words for a row (by its number here), as the user knows it
    where: Callable[[int], str] = "row {}".format
    flags: list[Flag] = field(default_factory=list)  # flags found while reading
