"""From runs to what the kernels take: windows, scaled axes, priors as numbers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._base.ragged import Floats, Ints, spans
from .prior_table import prior_table
from .window import log_of, windows_of

if TYPE_CHECKING:
    from ..kernels.driver import Batch, PriorTable
    from ..laws import Law
    from ..runs.collection import Flat
    from .window import Rule

SECONDS = 5e-6  # of a point, in plain Python


class Prepared(NamedTuple):
    """Some runs, ready for the kernels."""

    batch: Batch  # scaled data in the windows
    table: PriorTable
    # start, end: shape (n_runs,): first and last axis value used; ``end`` is what the axis is
    # divided by
    start: Floats
    end: Floats
    n_points: Ints  # shape (n_runs,): points used
    scales: Floats  # shape (n_runs, 2): loss and noise scales


class Source:
    """Runs whose windows are known; their points are taken from the log when they are asked for.

    A GPU asks for them chunk by chunk, and has them written where they are copied from: see
    `lossfit.kernels.gpu.feed.Feed`, which this is.

    Parameters
    ----------
    flat, names, law, rule, first, last, keep_spikes, same_bits, threads
        Which runs, and how their points are chosen; with ``same_bits`` only compiled kernels serve.

    Attributes
    ----------
    offsets : ndarray of int, shape (n_runs + 1,)
        Where the points of each run begin, counting those of all runs.
    span : ndarray, shape (n_runs,)
        Last scaled axis value over the first one.
    even : bool
        Whether all weights are 1.
    start, end, n_points, scales
        As in `Prepared`; the scales are known when a run's points were asked for.
    """

    def __init__(
        self,
        flat: Flat,
        names: tuple[str, ...],
        law: Law,
        rule: Rule,
        first: int,
        last: int,
        *,
        keep_spikes: bool = False,
        same_bits: bool = False,
        threads: int | None = None,
    ) -> None:
        from ..engine.serving import serve

        windows = windows_of(
            flat, names, rule, first, last, keep_spikes=keep_spikes, same_bits=same_bits,
            threads=threads,
        )  # fmt: skip
        self._windows = windows
        self._log = log_of(flat)
        self._law = law
        self._threads = threads
        self.even = flat.even
        self.start, self.end, self.n_points = windows.start, windows.end, windows.count
        self.offsets = spans(windows.count)
        self.span = 1.0 / (windows.start / windows.end)  # to the last bit that of scaled values
        self.scales = np.empty((windows.count.size, 2))
        seconds = SECONDS * float(self.offsets[-1])
        self._kernels: Any = serve("windows", "_take_range", seconds, same_bits=same_bits)

    @cached_property
    def last_loss(self) -> Floats:
        """Of each window."""
        return self._log.y[self._windows.last - 1]

    def write(
        self, start: int, stop: int, x: Floats, y: Floats, weight: Floats | None
    ) -> PriorTable:
        """Write the points of some runs (no weights where these are even); gives their priors."""
        out = (x, y, np.empty(0) if weight is None else weight)
        self._kernels.take_windows(
            self._log, self._windows, self.offsets, out, self.scales, start, stop, self.even,
            self._threads,
        )  # fmt: skip
        runs = slice(start, stop)
        loss, noise = self.scales[runs, 0], self.scales[runs, 1]
        return prior_table(self._law, loss, noise, self.start[runs], self.end[runs])

    def rows(self, rows: Ints) -> tuple[Batch, PriorTable]:
        """Points and priors of some runs, in any order."""
        from ..kernels.driver import Batch

        windows = type(self._windows)._make(part[rows] for part in self._windows)
        offsets = spans(windows.count)
        x, y, weight = (np.empty(int(offsets[-1])) for _ in range(3))
        scales = np.empty((len(rows), 2))
        out = (x, y, weight)
        self._kernels.take_windows(self._log, windows, offsets, out, scales, even=self.even)
        table = prior_table(self._law, scales[:, 0], scales[:, 1], windows.start, windows.end)
        return Batch(x, y, weight, offsets), table

    def all(self) -> Prepared:
        """All runs at once."""
        from ..kernels.driver import Batch

        x, y, weight = (np.empty(int(self.offsets[-1])) for _ in range(3))
        table = self.write(0, self.n_points.size, x, y, weight)
        batch = Batch(x, y, weight, self.offsets)
        return Prepared(batch, table, self.start, self.end, self.n_points, self.scales)
