"""What a forecast takes and gives: runs, what is asked of them, draws, and the memory it needs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .curve_cells import A_ROW, FRAME_ROWS
from .curve_draws import BLOCK, CELL_ROWS, DRAW_ROWS, GIVEN_ROWS, N_KNOTS, TAIL_ROWS
from .curve_law import FEATURES
from .curve_window import SLOPE_BINS
from .paths import NODE_ROWS
from .ranks import RANK_BINS

__all__ = [
    "FIRST_FEATURE",
    "PARAMETERS",
    "RECORD",
    "Asked",
    "CurveForecast",
    "Observed",
    "Scratch",
    "make_scratch",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: What is kept of a draw where parameters are asked for, on the fitted scale.
PARAMETERS = (
    "level",
    "slope",
    "strength",
    "coming_strength",
    "alpha",
    "tau",
    "power",
    "discrepancy",
    "noise_factor",
    "hypothesis",
    "tail",
    "response",
)

#: What is found of a run.  Noise, trend, slope, the last level and the window's top are on the
#: fitted scale: logarithms where ``positive`` is 1, else in units of ``scale``.  The strength is
#: that of the response, in loss for a rate that goes from its peak to 0.  Of the features see
#: `curve_law.FEATURES`.
RECORD = (
    "bins",
    "positive",
    "points",
    "level",
    "scale",
    "noise",
    "trend",
    "trend_error",
    "own_error",
    "slope",
    "last",
    "top",
    "log_evidence",
    "effective_cells",
    "strength_mean",
    "strength_sd",
    *(f"feature_{name}" for name in FEATURES),
)
FIRST_FEATURE = RECORD.index(f"feature_{FEATURES[0]}")


class Observed(NamedTuple):
    """Points of ragged runs: run r owns ``offsets[r]:offsets[r + 1]``.

    Attributes
    ----------
    t, loss, weight : float64, shape (n_points,)
        Positive axis values, increasing within a run; finite losses; relative precisions.
    offsets : int64, shape (n_runs + 1,)
    warmup : float64, shape (n_runs,)
        Axis value where the warm-up ends, 0 for none.
    step_size : float64, shape (n_runs,)
        Axis units in an optimiser step.
    floor : float64, shape (n_runs,)
        Least noise of a point: that of rounding.
    noise, slope : float64, shape (n_runs,)
        Noise of a point and local slope per e-fold on the fitted scale; NaN to measure them.
    keys : uint64, shape (n_runs,)
        Random-number key of each run: draws depend on nothing else.
    """

    t: Floats
    loss: Floats
    weight: Floats
    offsets: Ints
    warmup: Floats
    step_size: Floats
    floor: Floats
    noise: Floats
    slope: Floats
    keys: NDArray[np.uint64]


class Asked(NamedTuple):
    """What is asked of the runs.

    Attributes
    ----------
    at : float64, shape (n_targets,)
        Axis values: run r owns ``targets[r]:targets[r + 1]``, in any order.
    targets : int64, shape (n_runs + 1,)
    hypotheses : int64, shape (n_runs + 1,)
        Run r owns ``hypotheses[r]:hypotheses[r + 1]`` of the next three.
    history : int64, shape (n_hypotheses,)
        Path of the learning rate up to the end of the data.
    kind : int64, shape (n_hypotheses,)
        Which of the hyper-prior's kinds a hypothesis is.
    log_weight : float64, shape (n_hypotheses,)
        Added to that kind's logit.
    futures : int64, shape (n_runs + 1,)
        Run r owns ``futures[r]:futures[r + 1]`` of `future`, targets by hypotheses.
    future : int64, shape (n_futures,)
        Path that leads to a target: the history's, or another one for a schedule that was not run.
    plan : float64, shape (n_runs,)
        Planned end of the run.
    knowledge : int64, shape (n_runs,)
        `curve_law.KNOWN`, ``TOTAL`` or ``NOTHING``.
    like : float64, shape (n_runs,)
        How much the run is said to be a language model's, 0 to 1; NaN to judge by its curve.
        Widths follow what is said; the hyper-prior takes it for no more than the curve shows.
    longer : int64, shape (n_targets,)
        1 where a finished run is asked for a longer plan, else 0.
    siblings : float64, shape (n_targets, 2)
        What the errors of reference runs at that horizon say: a shift of the draws, in distances
        from their median to the 5 % or 95 % quantile, and a factor on their width; (0, 1) for
        nothing.
    strengths : float64, shape (n_runs, n_strengths)
        How many reference runs showed each normal of the prior of B, over the number of runs that
        the hyper-prior counts as; zeros for nothing.
    """

    at: Floats
    targets: Ints
    hypotheses: Ints
    history: Ints
    kind: Ints
    log_weight: Floats
    futures: Ints
    future: Ints
    plan: Floats
    knowledge: Ints
    like: Floats
    longer: Ints
    siblings: Floats
    strengths: Floats


class CurveForecast(NamedTuple):
    """Draws and diagnostics.

    Attributes
    ----------
    draws : float64, shape (n_targets, n_draws)
        Smooth losses at the targets; a draw of a run is one curve.
    parameters : float64, shape (n_runs, len(PARAMETERS), n_draws) or (0, 0, 0)
    shares : float64, shape (n_hypotheses,)
        Posterior weights.
    marginals : float64, shape (n_runs, curve_law.n_marginals)
        Posterior probabilities of the grid's exponents, sizes of the discrepancy, noise factors and
        components of the strength.
    falls : float64, shape (n_targets,)
        Mean of what the response takes off the loss between the end of the data and the target.
    records : structured, shape (n_runs,)
        Fields of `RECORD`, float64.
    """

    draws: Floats
    parameters: Floats
    shares: Floats
    marginals: Floats
    falls: Floats
    records: NDArray[np.void]


class Scratch(NamedTuple):
    """Memory for one run at a time; shapes in `make_scratch`."""

    points: Floats
    work: Floats
    counts: Ints
    slopes: Floats
    bins: Floats
    feature: Floats
    theta: Floats
    units: Floats
    nodes: Floats
    taus: Floats
    memory: Floats
    times: Floats
    x: Floats
    response: Floats
    response_end: Floats
    columns: Floats
    gains: Floats
    scales: Floats
    log_dets: Floats
    moments: Floats
    white: Floats
    inner: Floats
    frame: Floats
    log_kinds: Floats
    cells: Floats
    phi_at: Floats
    response_at: Floats
    past: Floats
    log_ratio: Floats
    discrepancy: Floats
    slow: Floats
    tails: Floats
    frame_parts: Ints
    frames: Ints
    strengths: Ints
    tail: Ints
    order: Ints
    parts: Ints
    words: NDArray[np.uint64]
    z: Floats
    given: Floats
    of_cell: Floats
    of_draw: Floats
    cell: Ints
    flip: Floats
    sides: Floats
    gain: Floats
    drawn: Floats
    values: Floats


def make_scratch(n_points, n_paths, n_at, n_past, n_nodes, n_draws, grid, hyper):
    """Memory for runs of at most so many points, hypotheses, targets (and so many in the data)."""
    n_covariances = grid.noises.size * grid.sizes.size
    n_alpha = grid.alphas.size
    n_response = grid.responses.shape[0]
    n_bins = grid.n_bins
    n_times = n_bins + 1 + n_at
    n_columns = A_ROW + n_paths * (n_alpha + n_response) + n_past
    n_frames = n_covariances * n_paths * n_alpha * n_response
    return Scratch(
        np.empty((5, n_points)),
        np.empty((3, max(n_points, n_draws))),
        np.empty(RANK_BINS, np.int64),
        np.empty((6, max(SLOPE_BINS, n_bins))),
        np.empty((3, n_bins)),
        np.empty(2 * len(FEATURES)),
        np.empty(hyper.matrix.shape[0]),
        np.empty(grid.responses.shape),
        np.empty(NODE_ROWS * n_nodes),
        np.empty(n_response),
        np.empty(n_response),
        np.empty(n_times),
        np.empty(n_times),
        np.empty((n_times, n_response)),
        np.empty(n_response),
        np.empty((n_bins, n_columns)),
        np.empty((n_covariances, n_bins)),
        np.empty((n_covariances, n_bins)),
        np.empty(n_covariances),
        np.empty(n_columns),
        np.empty((n_columns, n_bins)),
        np.empty((3, n_columns)),
        np.empty((FRAME_ROWS, n_frames)),
        np.empty(n_paths),
        np.empty(n_frames * grid.strengths.shape[0]),
        np.empty((n_at, n_paths * n_alpha)),
        np.empty((n_at, n_paths * n_response)),
        np.empty((n_past, n_covariances, 1 + n_columns)),
        np.empty(n_at),
        np.empty((n_at, N_KNOTS, grid.sizes.size)),
        np.empty((n_at, grid.noises.size)),
        np.empty((TAIL_ROWS, hyper.n_tails)),
        np.empty((5, n_frames), np.int64),
        np.empty(n_draws, np.int64),
        np.empty(n_draws, np.int64),
        np.empty(n_draws, np.int64),
        np.empty(n_draws, np.int64),
        np.empty((5, n_draws), np.int64),
        np.empty((4, BLOCK), np.uint64),
        np.empty((8, BLOCK)),
        np.empty((GIVEN_ROWS, BLOCK)),
        np.empty((CELL_ROWS, BLOCK)),
        np.empty((CELL_ROWS, BLOCK)),
        np.empty(BLOCK, np.int64),
        np.empty(n_draws),
        np.empty((2, n_draws)),
        np.empty(n_draws),
        np.empty((DRAW_ROWS, n_draws)),
        np.empty(n_draws),
    )
