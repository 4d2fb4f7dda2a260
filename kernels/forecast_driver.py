"""CPU driver of the default forecast: batches of ragged runs, spread over threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import Grid, RunInput, Scratch, gram_size
from .entries import entry
from .forecast import PARAMETERS, STATE, forecast_run
from .maths import inline
from .paths import NODE_ROWS, Paths, Shapes
from .records import FORECAST, as_records, contiguous, writable
from .spreading import spread

__all__ = ["Curves", "Forecast", "Hypotheses", "ResponsePrior", "forecast_batch"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Curves(NamedTuple):
    """The fitted points of ragged runs: run r owns ``offsets[r]:offsets[r + 1]``.

    Attributes
    ----------
    t : float64, shape (n_points,)
        Axis values, increasing within a run; spikes are left out by the kernel.
    y, weight : float64, shape (n_points,)
        Losses and relative precisions.
    offsets : int64, shape (n_runs + 1,)
    step_size : float64, shape (n_runs,)
        Axis units in an optimiser step.
    memory : float64, shape (n_runs,)
        Autocorrelation of smoothed noise, 0 for none; NaN to measure it.
    floor : float64, shape (n_runs,)
        Least noise of a point: that of rounding.
    sigma, slope : float64, shape (n_runs,)
        Noise of a point and local slope per e-fold; NaN to measure them.
    """

    t: Floats
    y: Floats
    weight: Floats
    offsets: Ints
    step_size: Floats
    memory: Floats
    floor: Floats
    sigma: Floats
    slope: Floats


class Hypotheses(NamedTuple):
    """What the learning rate may have been and may become.

    Attributes
    ----------
    history : int64, shape (n_runs, n_paths)
        Path of each hypothesis up to the end of the data; -1 ends a run's list.
    future : int64, shape (n_runs, n_at, n_paths)
        Path that leads to each target.
    log_weight : float64, shape (n_runs, n_paths)
    """

    history: Ints
    future: Ints
    log_weight: Floats


class ResponsePrior(NamedTuple):
    """Mixture of normals for B, in nats, and weights of the responses, by run.

    Attributes
    ----------
    mean, sd, log_weight : float64, shape (n_runs, n_components)
    centre : float64, shape (n_runs,)
        The prior's own size of B.
    most_slopes : float64, shape (n_runs,)
        Means and sds are scaled down where `centre` exceeds so many local slopes; infinity for
        never.
    log_unit : float64, shape (n_runs, n_units)
        Log prior weights of the grid's responses.
    """

    mean: Floats
    sd: Floats
    log_weight: Floats
    centre: Floats
    most_slopes: Floats
    log_unit: Floats


class Forecast(NamedTuple):
    """Draws and diagnostics.

    Attributes
    ----------
    draws : float64, shape (n_runs, n_at, n_draws)
        Loss curves without noise at the targets, NaN where the target is NaN.
    parameters : float64, shape (n_runs, len(PARAMETERS), n_draws) or (n_runs, 0, 0)
    shares : float64, shape (n_runs, n_paths)
        Posterior weights of the hypotheses.
    falls : float64, shape (n_runs, n_at)
        Mean of what the schedule takes off the loss between the end of the data and the target.
    spreads : float64, shape (n_runs, n_at)
        Standard deviation of the draws beyond the data.
    info : structured array, shape (n_runs,)
        Fields of `records.FORECAST`.
    """

    draws: Floats
    parameters: Floats
    shares: Floats
    falls: Floats
    spreads: Floats
    info: NDArray[np.void]


def _scratch(n_points, n_paths, n_at, n_nodes, n_b, grid):
    n_alpha = grid.alphas.size
    n_units = grid.units.shape[0]
    n_kb = grid.kbs.size
    rows = grid.n_bins + n_at + 2
    columns = 2 + n_alpha + n_units
    return Scratch(
        np.empty(2 * n_points),
        np.empty(n_points),
        np.empty(n_points),
        np.empty(n_points),
        np.empty(STATE),
        np.empty(grid.n_bins, np.int64),
        np.empty(n_at, np.int64),
        np.empty(rows),
        np.empty(rows),
        np.empty(rows),
        np.empty(n_paths),
        np.empty((n_paths, rows)),
        np.empty((n_paths, n_at)),
        np.empty(rows),
        np.empty(rows),
        np.empty((rows, n_units)),
        np.empty((n_paths, rows, columns)),
        np.empty((rows, columns)),
        np.empty(n_units),
        np.empty(n_units),
        np.empty(n_units),
        np.empty(columns),
        np.empty((n_paths * n_kb, gram_size(n_alpha, n_units))),
        np.empty((2, n_b)),
        np.empty(n_paths * n_kb * n_alpha * n_units * n_b),
        np.empty((n_paths, n_alpha + n_units, n_at)),
        np.empty(NODE_ROWS * n_nodes),
        np.empty((n_paths * n_kb, 3, rows)),
        np.empty((rows, 1)),
        np.empty((n_at, 1)),
    )


@inline
def _measured(value):
    """What is given, or negative where it is to be measured."""
    return -1.0 if np.isnan(value) else value


@entry
def _forecast_range(
    start, stop, curves, grid, hypotheses, prior, at, keys, shapes, paths, w, x, log_at, draws,
    parameters, shares, falls, spreads, info,
):  # fmt: skip
    """Forecast some runs; `w`, `x` and `log_at` are scratch."""
    n_at = at.shape[1]
    for r in range(start, stop):
        a = curves.offsets[r]
        b = curves.offsets[r + 1]
        for i in range(a, b):
            x[i - a] = math.log(curves.t[i])
        here = 0
        while here < n_at and not np.isnan(at[r, here]):
            log_at[here] = math.log(at[r, here])
            here += 1
        run = RunInput(
            hypotheses.history[r], hypotheses.future[r], hypotheses.log_weight[r], at[r], log_at,
            here, prior.mean[r], prior.sd[r], prior.log_weight[r], prior.centre[r],
            prior.most_slopes[r], prior.log_unit[r], curves.step_size[r],
            _measured(curves.memory[r]), curves.floor[r], _measured(curves.sigma[r]),
            _measured(curves.slope[r]), 1.0, 0.0, keys[r : r + 1],
        )  # fmt: skip
        forecast_run(
            x[: b - a], curves.y[a:b], curves.weight[a:b], grid, run, shapes, paths, w, draws[r],
            parameters[r], shares[r], falls[r], spreads[r], info[r],
        )  # fmt: skip
        draws[r, here:] = np.nan


def forecast_batch(
    curves: Curves,
    grid: Grid,
    hypotheses: Hypotheses,
    prior: ResponsePrior,
    shapes: Shapes,
    paths: Paths,
    at: Floats,
    keys: NDArray[np.uint64],
    *,
    draws: int,
    parameters: bool = False,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Forecast:
    """Draws of the loss curves of many runs at their targets.

    Parameters
    ----------
    curves : Curves
        Data; every run with at least 3 points.
    grid : Grid
        Constants of the law.
    hypotheses : Hypotheses
        Paths of the learning rate.
    prior : ResponsePrior
        Of the strength of the response.
    shapes, paths : Shapes, Paths
        What the hypotheses refer to.
    at : float64, shape (n_runs, n_at)
        Targets, not decreasing within a run, NaN last.
    keys : uint64, shape (n_runs,)
        Random-number key of each run: draws depend on nothing else.
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
    Forecast
    """
    n_runs, n_at = at.shape
    curves, hypotheses, prior = contiguous(curves), contiguous(hypotheses), contiguous(prior)
    at, keys = writable(at), writable(keys, np.uint64)
    n_paths = hypotheses.history.shape[1]
    out = np.empty((n_runs, n_at, draws))
    shape = (n_runs, len(PARAMETERS), draws) if parameters else (n_runs, 0, 0)
    drawn = np.empty(shape)
    shares = np.empty((n_runs, n_paths))
    falls = np.full((n_runs, n_at), np.nan)
    spreads = np.full((n_runs, n_at), np.nan)
    info = np.empty((n_runs, len(FORECAST)))
    n_nodes = int(np.diff(shapes.offsets).max())
    grid, shapes, paths = contiguous(grid), contiguous(shapes), contiguous(paths)

    def task(start: int, stop: int) -> None:
        most = int(np.diff(curves.offsets[start : stop + 1]).max())
        _forecast_range(
            start, stop, curves, grid, hypotheses, prior, at, keys, shapes, paths,
            _scratch(most, n_paths, n_at, n_nodes, prior.mean.shape[1], grid), np.empty(most),
            np.empty(n_at), out, drawn, shares, falls, spreads, info,
        )  # fmt: skip

    spread(task, n_runs, threads, progress)
    return Forecast(out, drawn, shares, falls, spreads, as_records(info, FORECAST))
