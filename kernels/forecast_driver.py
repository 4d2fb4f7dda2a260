"""CPU driver of the default forecast: batches of ragged runs, spread over threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bins import log_bins, memory, noise, slope, without_spikes
from .cells import PHI, Grid, RunInput, Scratch
from .driver import spread
from .forecast import PARAMETERS, forecast
from .maths import kernel
from .paths import Paths, Shapes

__all__ = ["INFO", "Curves", "Forecast", "Hypotheses", "ResponsePrior", "forecast_batch"]

INFO = (
    "sigma",
    "slope",
    "effective_cells",
    "log_evidence",
    "b_mean",
    "b_sd",
    "memory",
)

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
    info : float64, shape (n_runs, len(INFO))
    """

    draws: Floats
    parameters: Floats
    shares: Floats
    falls: Floats
    spreads: Floats
    info: Floats


@kernel
def _scratch(n_points, n_paths, n_at, n_nodes, n_b, grid):
    n_alpha = grid.alphas.size
    n_units = grid.units.shape[0]
    n_kb = grid.kbs.size
    rows = grid.n_bins + n_at + 2
    columns = 2 + n_alpha + n_units
    size = PHI + 3 * n_alpha + 3 * n_units + n_alpha * n_units
    return Scratch(
        np.empty(max(2 * n_points, 4 * (rows + 1))),
        np.empty(rows),
        np.empty(rows),
        np.empty(rows),
        np.empty((n_paths, rows)),
        np.empty((n_paths, n_at)),
        np.empty(rows),
        np.empty(rows),
        np.empty((rows, n_units)),
        np.empty((n_paths, rows, columns)),
        np.empty((rows, columns)),
        np.empty((n_paths, n_units)),
        np.empty((n_paths * n_kb, size)),
        np.empty(n_paths * n_kb * n_alpha * n_units * n_b),
        np.empty((n_paths, n_alpha, n_at)),
        np.empty((n_paths, n_units, n_at)),
        np.empty(n_nodes),
        np.empty(n_units),
        np.empty(n_units),
        np.empty(columns),
    )


@kernel
def _insert_past(n, n_at, at, w, past_rows):
    """Put targets within the data among the bins; gives how many there are.

    Rows 1 to n hold the bins, the latest first; the targets do not decrease.
    """
    n_past = 0
    while n_past < n_at and np.log(at[n_past]) <= w.log_t[0]:
        n_past += 1
    row = n  # merge from the far end, the oldest
    out = n + n_past
    j = 0
    while j < n_past:
        x = np.log(at[j])
        if row >= 1 and w.log_t[row] < x:
            w.log_t[out] = w.log_t[row]
            w.mean[out] = w.mean[row]
            w.points[out] = w.points[row]
            row -= 1
        else:
            w.log_t[out] = x
            w.mean[out] = 0.0
            w.points[out] = 0.0
            past_rows[j] = out
            j += 1
        out -= 1
    return n_past


@kernel
def _forecast_range(
    start, stop, curves, grid, hypotheses, prior, at, keys, shapes, paths, n_nodes, draws,
    parameters, shares, falls, spreads, info,
):  # fmt: skip
    n_at = at.shape[1]
    n_paths = hypotheses.history.shape[1]
    most = np.int64(0)
    for r in range(start, stop):
        most = max(most, curves.offsets[r + 1] - curves.offsets[r])
    w = _scratch(most, n_paths, n_at, n_nodes, prior.mean.shape[1], grid)
    past_rows = np.empty(n_at, np.int64)
    x_ends = np.empty(n_paths)
    t = np.empty(most)
    y = np.empty(most)
    weight = np.empty(most)
    for r in range(start, stop):
        a = curves.offsets[r]
        b = curves.offsets[r + 1]
        m = without_spikes(
            b - a, curves.t[a:b], curves.y[a:b], curves.weight[a:b], w.values, t, y, weight
        )
        phi = curves.memory[r]
        if np.isnan(phi):
            phi = memory(m, y)
        sigma = curves.sigma[r]
        if np.isnan(sigma):
            sigma = max(noise(m, y, weight, phi, w.values), curves.floor[r])
        w.log_t[0] = np.log(curves.t[b - 1])
        n = log_bins(m, t, y, weight, grid.n_bins, w.log_t[1:], w.mean[1:], w.points[1:])
        s = curves.slope[r]
        if np.isnan(s):
            s = slope(n, w.log_t[1:], w.mean[1:], w.points[1:], w.log_t[0])
        run = RunInput(
            hypotheses.history[r], hypotheses.future[r], hypotheses.log_weight[r], at[r],
            prior.mean[r], prior.sd[r], prior.log_weight[r],
            min(1.0, prior.most_slopes[r] * s / prior.centre[r]), prior.log_unit[r],
            curves.step_size[r], phi,
        )  # fmt: skip
        centre = w.mean[1]
        for i in range(1, n + 1):
            w.mean[i] -= centre
        here = 0
        while here < n_at and not np.isnan(at[r, here]):
            here += 1
        n_past = _insert_past(n, here, at[r], w, past_rows)
        forecast(
            n, n_past, past_rows, here, keys[r], sigma, s, grid, run, shapes, paths, w, x_ends,
            draws[r], parameters[r], shares[r], falls[r], spreads[r], info[r, 2:],
        )  # fmt: skip
        draws[r, :here] += centre
        draws[r, here:] = np.nan
        if parameters.shape[1] > 0:
            parameters[r, 0] += centre
        info[r, 0] = sigma
        info[r, 1] = s
        info[r, 6] = phi


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
    n_paths = hypotheses.history.shape[1]
    out = np.empty((n_runs, n_at, draws))
    shape = (n_runs, len(PARAMETERS), draws) if parameters else (n_runs, 0, 0)
    drawn = np.empty(shape)
    shares = np.empty((n_runs, n_paths))
    falls = np.full((n_runs, n_at), np.nan)
    spreads = np.full((n_runs, n_at), np.nan)
    info = np.empty((n_runs, len(INFO)))
    n_nodes = int(np.diff(shapes.offsets).max())

    def task(start: int, stop: int) -> None:
        _forecast_range(
            start, stop, curves, grid, hypotheses, prior, at, keys, shapes, paths, n_nodes,
            out, drawn, shares, falls, spreads, info,
        )  # fmt: skip

    spread(task, n_runs, threads, progress)
    return Forecast(out, drawn, shares, falls, spreads, info)
