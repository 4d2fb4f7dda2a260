"""A bounded log of one run: every point as it was, then means of 2, 4, 8, ... neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats, Ints

COLUMNS = ("step", "loss", "lr", "tokens")
LEAST_ROWS = 64


class Points:
    """Points of a run in at most so many rows.

    As long as they fit, a row is a logged point.  When the rows are full, neighbours are averaged
    in pairs, and from then on every row is the mean of ``stride`` successive points, the last row
    of those that came since.

    Parameters
    ----------
    most : int
        Rows; an even number of at least 64.
    """

    def __init__(self, most: int) -> None:
        if most < LEAST_ROWS or most % 2:
            raise DataError(f"rows must be an even number of at least {LEAST_ROWS}, got {most}")
        self.most = most
        self.stride = 1
        self.rows = 0
        self.logged = 0
        self._sums = np.zeros((most, len(COLUMNS)))
        self._counts = np.zeros((most, len(COLUMNS)), np.int64)
        self._points = np.zeros(most, np.int64)  # in each row, with a loss that counts or without
        self._last = np.full(most, -np.inf)  # step of each row's last point

    @property
    def last_step(self) -> float:
        """Step of the last point, -inf without one."""
        return float(self._last[self.rows - 1]) if self.rows else -math.inf

    def add(self, step: float, loss: float, lr: float, tokens: float) -> None:
        """One more point; NaN where something was not logged.

        A step that is not above the last one takes back the rows from there on, as a run does that
        starts again from a checkpoint.
        """
        if step <= self.last_step:
            self._take_back(step)
        if not self.rows or self._points[self.rows - 1] >= self.stride:
            if self.rows == self.most:
                self._halve()
            row = self.rows
            self._sums[row], self._counts[row], self._points[row] = 0.0, 0, 0
            self.rows += 1
        row = self.rows - 1
        sums, counts = self._sums[row], self._counts[row]
        for k, value in enumerate((step, loss, lr, tokens)):
            if math.isfinite(value):
                sums[k] += value
                counts[k] += 1
        self._points[row] += 1
        self._last[row] = step
        self.logged += 1

    def table(self) -> tuple[Floats, Ints]:
        """The rows, shape (n, 4), NaN where nothing was logged, and the points in each, shape (n,).

        The columns are `COLUMNS`.
        """
        sums, counts = self._sums[: self.rows], self._counts[: self.rows]
        with np.errstate(invalid="ignore"):
            return sums / np.where(counts, counts, np.nan), self._points[: self.rows].copy()

    def newest(self, column: str) -> float:
        """A column of the last row; NaN where it was not logged."""
        k = COLUMNS.index(column)
        if not self.rows or not self._counts[self.rows - 1, k]:
            return math.nan
        return float(self._sums[self.rows - 1, k] / self._counts[self.rows - 1, k])

    def state(self) -> dict[str, Any]:
        """What `restore` takes: numbers and lists only."""
        kept = slice(self.rows)
        return {
            "stride": self.stride,
            "logged": self.logged,
            "sums": self._sums[kept].tolist(),
            "counts": self._counts[kept].tolist(),
            "points": self._points[kept].tolist(),
            "last": self._last[kept].tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The rows of a `state`, in the place of these."""
        rows = len(state["last"])
        if rows > self.most:
            raise DataError(f"the state has {rows} rows, and at most {self.most} are kept here")
        self.rows, self.stride, self.logged = rows, int(state["stride"]), int(state["logged"])
        kept = slice(rows)
        self._sums[kept] = np.reshape(state["sums"], (rows, len(COLUMNS)))
        self._counts[kept] = np.reshape(state["counts"], (rows, len(COLUMNS)))
        self._points[kept] = state["points"]
        self._last[kept] = state["last"]

    def _take_back(self, step: float) -> None:
        self.rows = int(np.searchsorted(self._last[: self.rows], step))

    def _halve(self) -> None:
        half = self.most // 2
        for values in (self._sums, self._counts, self._points):
            values[:half] = values[0::2] + values[1::2]
        self._last[:half] = self._last[1::2]
        self.rows = half
        self.stride *= 2
