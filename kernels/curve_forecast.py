"""CPU driver of the default forecast: batches of ragged runs, spread over threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .curve_data import PARAMETERS, RECORD, Asked, CurveForecast, Observed, make_scratch
from .curve_law import CellGrid, HyperPrior, n_marginals
from .curve_run import forecast_run
from .entries import entry
from .maths import kernel
from .paths import Paths, Shapes
from .records import as_records, writable
from .spreading import spread

__all__ = ["forecast_curves"]


@kernel
def _sizes(start, stop, observed, asked):
    """Most points, hypotheses, targets, and targets within the data, of a run."""
    n_points = np.int64(1)
    n_paths = np.int64(1)
    n_at = np.int64(1)
    n_past = np.int64(0)
    for r in range(start, stop):
        n_points = max(n_points, observed.offsets[r + 1] - observed.offsets[r])
        n_paths = max(n_paths, asked.hypotheses[r + 1] - asked.hypotheses[r])
        n_at = max(n_at, asked.targets[r + 1] - asked.targets[r])
        end = observed.t[observed.offsets[r + 1] - 1]
        within = np.int64(0)
        for j in range(asked.targets[r], asked.targets[r + 1]):
            within += 1 if asked.at[j] <= end else 0
        n_past = max(n_past, within)
    return n_points, n_paths, n_at, n_past


@entry
def _forecast_range(
    start, stop, observed, asked, grid, hyper, shapes, paths, n_nodes, draws, parameters, shares,
    marginals, falls, records,
):  # fmt: skip
    n_points, n_paths, n_at, n_past = _sizes(start, stop, observed, asked)
    w = make_scratch(n_points, n_paths, n_at, n_past, n_nodes, draws.shape[1], grid, hyper)
    for r in range(start, stop):
        forecast_run(
            r, observed, asked, grid, hyper, shapes, paths, w, draws, parameters, shares,
            marginals[r], falls, records[r],
        )  # fmt: skip


def _plain(values: Any) -> Any:
    """A named tuple whose arrays are contiguous and writable: kernels are compiled for these."""
    return type(values)(*(writable(v, v.dtype) if isinstance(v, np.ndarray) else v for v in values))


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
    observed, asked, grid, hyper = _plain(observed), _plain(asked), _plain(grid), _plain(hyper)
    shapes, paths = _plain(shapes), _plain(paths)
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
            start, stop, observed, asked, grid, hyper, shapes, paths, n_nodes, drawn, kept, shares,
            marginals, falls, records,
        )  # fmt: skip

    spread(task, n_runs, threads, progress)
    return CurveForecast(drawn, kept, shares, marginals, falls, as_records(records, RECORD))
