"""Where a GPU's runs come from: their points are asked for as each chunk is filled."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..columns import Program
from ..driver import Batch, PriorTable

__all__ = ["Feed", "Whole", "as_feed", "orders_of"]

Floats = NDArray[np.float64]


class Feed(Protocol):
    """Runs whose points are written where they are copied to a GPU from.

    Attributes
    ----------
    offsets : int64, shape (n_runs + 1,)
        Where the points of each run begin, counting those of all runs.
    span : float64, shape (n_runs,)
        Last axis value over the first one.
    even : bool
        Whether all weights are 1.
    """

    offsets: NDArray[np.int64]
    span: Floats
    even: bool

    @property
    def last_loss(self) -> Floats:
        """Of each run."""

    def write(
        self, start: int, stop: int, x: Floats, y: Floats, weight: Floats | None
    ) -> PriorTable:
        """Write axis values, losses and weights of some runs; gives their priors.

        Without an array for them, weights are even and not written.  It does
        the same whenever it is called, and from whichever thread.
        """

    def rows(self, rows: NDArray[np.int64]) -> tuple[Batch, PriorTable]:
        """Points and priors of some runs, in any order."""


class Whole:
    """A `Feed` of runs that are prepared already."""

    def __init__(self, batch: Batch, table: PriorTable) -> None:
        self.batch, self.table = batch, table
        self.offsets = batch.offsets
        first, last = batch.offsets[:-1], batch.offsets[1:] - 1
        self.span = batch.x[last] / batch.x[first]
        self.even = bool((batch.weight == 1.0).all())

    @property
    def last_loss(self) -> Floats:
        """Of each run."""
        return self.batch.y[self.offsets[1:] - 1]

    def write(
        self, start: int, stop: int, x: Floats, y: Floats, weight: Floats | None
    ) -> PriorTable:
        """Copy them."""
        points = slice(self.offsets[start], self.offsets[stop])
        x[...] = self.batch.x[points]
        y[...] = self.batch.y[points]
        if weight is not None:
            weight[...] = self.batch.weight[points]
        return PriorTable(*(part[start:stop] for part in self.table))

    def rows(self, rows: NDArray[np.int64]) -> tuple[Batch, PriorTable]:
        """Copies."""
        batch = self.batch
        lengths = np.diff(batch.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        at = np.repeat(batch.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        some = Batch(batch.x[at], batch.y[at], batch.weight[at], offsets)
        return some, PriorTable(*(part[rows] for part in self.table))


def as_feed(batch: Batch | Feed, table: PriorTable | None) -> Feed:
    """The feed itself, or one of a batch and its priors."""
    if isinstance(batch, Batch):
        if table is None:
            raise ValueError("a batch needs its priors")
        return Whole(batch, table)
    return batch


def orders_of(program: Program, feed: Feed) -> NDArray[np.int64]:
    """Entry of the tables by which each run is compressed, or -1: `driver.compression_orders`."""
    orders: NDArray[np.int64] = program.orders(0.5 * np.log(feed.span))
    return orders
