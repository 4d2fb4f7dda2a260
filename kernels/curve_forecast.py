"""CPU driver of the default forecast: batches of ragged runs, spread over threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .curve_data import PARAMETERS, RECORD, Asked, CurveForecast, Observed, make_scratch
from .curve_law import CellGrid, HyperPrior, n_marginals
from .curve_run import forecast_run
from .entries import entry
from .paths import Paths, Shapes
from .records import as_records, contiguous
from .spreading import spread

__all__ = ["Most", "forecast_curves", "most"]


class Most(NamedTuple):
    """The most points, hypotheses, targets, and targets within the data, of a run."""

    points: int
    paths: int
    at: int
    past: int


def most(observed: Observed, asked: Asked, start: int, stop: int) -> Most:
    """`Most` of the runs ``start`` to ``stop`` (exclusive)."""
    runs = slice(start, stop + 1)
    targets = asked.targets[runs]
    ends = observed.t[observed.offsets[start + 1 : stop + 1] - 1]
    within = asked.at[targets[0] : targets[-1]] <= np.repeat(ends, np.diff(targets))
    counted = np.concatenate([[0], np.cumsum(within)])
    n_past = np.diff(counted[targets - targets[0]]).max(initial=0)

    def longest(offsets: Any) -> int:
        return int(np.diff(offsets[runs]).max(initial=1))

    return Most(
        longest(observed.offsets), longest(asked.hypotheses), longest(asked.targets), int(n_past)
    )


@entry
def _forecast_range(
    start, stop, observed, asked, grid, hyper, shapes, paths, w, draws, parameters, shares,
    marginals, falls, records,
):  # fmt: skip
    """Forecast some runs; `w` is scratch."""
    for r in range(start, stop):
        forecast_run(
            r, observed, asked, grid, hyper, shapes, paths, w, draws, parameters, shares,
            marginals[r], falls, records[r],
        )  # fmt: skip


def _scratch(
    start: int, stop: int, observed: Observed, asked: Asked, grid: CellGrid, hyper: HyperPrior,
    n_nodes: int, n_draws: int,
) -> Any:  # fmt: skip
    """For the most points, hypotheses, targets, and targets within the data, of some runs."""
    largest = most(observed, asked, start, stop)
    return make_scratch(*largest, n_nodes, n_draws, grid, hyper)


def forecast_curves(
    observed: Observed,
    asked: Asked,
    grid: CellGrid,
    hyper: HyperPrior,
    shapes: Shapes,
    paths: Paths,
    *,
    draws: int,
    parameters: bool = False,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> CurveForecast:
    """Draws of the loss curves of many runs at their targets.

    Parameters
    ----------
    observed : Observed
        Data.
    asked : Asked
        Targets, and hypotheses on the learning rate.
    grid : CellGrid
        The cells of the law.
    hyper : HyperPrior
        What was learned of them.
    shapes, paths : Shapes, Paths
        What the hypotheses refer to.
    draws : int
        Draws for each run.
    parameters : bool
        Whether to keep the parameters of the draws.
    threads : int, optional
        By default one for each processor that this process may use.
    progress : callable, optional
        Called with the number of runs that were finished.

    Returns
    -------
    CurveForecast
    """
    observed, asked, grid = contiguous(observed), contiguous(asked), contiguous(grid)
    hyper, shapes, paths = contiguous(hyper), contiguous(shapes), contiguous(paths)
    n_runs = len(observed.keys)
    drawn = np.empty((len(asked.at), draws))
    kept = np.empty((n_runs, len(PARAMETERS), draws) if parameters else (0, 0, 0))
    shares = np.empty(len(asked.history))
    marginals = np.empty((n_runs, n_marginals(grid)))
    falls = np.empty(len(asked.at))
    records = np.empty((n_runs, len(RECORD)))
    n_nodes = int(np.diff(shapes.offsets).max())

    def task(start: int, stop: int) -> None:
        _forecast_range(
            start, stop, observed, asked, grid, hyper, shapes, paths,
            _scratch(start, stop, observed, asked, grid, hyper, n_nodes, draws), drawn, kept,
            shares, marginals, falls, records,
        )  # fmt: skip

    spread(task, n_runs, threads, progress)
    return CurveForecast(drawn, kept, shares, marginals, falls, as_records(records, RECORD))
