"""Constants of the default forecast, as data: the grid of cells, the hyper-prior and the widths.

The hyper-prior depends on what a run looks like.  With f the features of a run (`FEATURES`) and
``like`` one of them (0 to 1: how much it looks like the loss of a language model), all of its
numbers are linear in (f, like f): one matrix, whose rows are, in this order,

* logits of alpha, of the discrepancy's size, of the noise factor, of the component of the
  response's strength, of the kind of hypothesis on the learning rate;
* `NUMBERS`;
* logits of the tail's components but the first, whose logit is 0;
* the logarithm of the standard deviation that nothing explains (`JITTER`);
* logarithms of the size of each component of the tail, and its lean: below the middle of a cell a
  draw is as much wider (a factor exp(lean)) as it is narrower above.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .maths import inline

__all__ = [
    "DRIFT",
    "ETA",
    "FEATURES",
    "FUTURE",
    "GROWTH",
    "KNOTS",
    "KNOWN",
    "LIKE",
    "NOTHING",
    "NUMBERS",
    "RESPONSE",
    "SLOW",
    "TOTAL",
    "CellGrid",
    "HyperPrior",
    "n_marginals",
    "rows_of_cells",
    "rows_of_draws",
]

FEATURES = (
    "constant",
    "slope",
    "noise",
    "like",
    "known",
    "roughness",
    "points",
    "rest",
    "nothing",
)
LIKE = 3  # which of the features

# What is known of the learning rate to come: its schedule, the planned end, or nothing.
KNOWN = 0
TOTAL = 1
NOTHING = 2

#: The logit of eta, then logarithms of the factor on the size of the future discrepancy, of the
#: growth of its variance, of the drift's size in local slopes, of the relative difference of the
#: coming response, and of slow noise's part in the noise of a bin.
NUMBERS = ("eta", "future", "growth", "drift", "response", "slow")
ETA = 0
FUTURE = 1
GROWTH = 2
DRIFT = 3
RESPONSE = 4
SLOW = 5

#: Horizons, as log ratios, between which the discrepancy of the future has normals of its own.
KNOTS = (0.0, 0.4054651081081644, 1.0986122886681098)  # 1.5 and 3 times the data


class CellGrid(NamedTuple):
    """The cells, and what is the same for all runs.

    Attributes
    ----------
    noises : float64, shape (n_noise,)
        Factors on the variance of a bin's noise; 1 is white noise.
    sizes : float64, shape (n_size,)
        Standard deviation of the discrepancy per square root of an e-fold, in local slopes.
    alphas : float64, shape (n_alpha,)
        Exponents of the power law; 0 (a straight line in the logarithm) and negative ones too.
    responses : float64, shape (n_response, 4) or (n_response, 5)
        As `paths.features` takes them: kind, tau in steps (C per step), p (beta), gamma, and q.
    most_tau : float64, shape (n_response,)
        The most that tau is, as a share of the plan; infinity where that does not apply.
    groups : int64, shape (n_groups + 1,)
        Responses of one group differ in tau only.
    strengths : float64, shape (n_strength, 3)
        Normal components of B's prior: unit (0 the size that is usual in text, 1 the local slope),
        mean and standard deviation in that unit.
    n_bins : int
    first : float
        Share of the data's end where the window begins.
    slope_sd : float
        a ~ Normal(b, (slope_sd b)^2), a > 0, with b the local slope.
    doubt : float
        The discrepancy of the past runs on the clock u (1 + doubt u), u = log(tc/t).
    text_nats, text_share, text_slopes : float
        The usual size of B in text: so many nats over the level, at most so much of the level, at
        most so many local slopes.
    """

    noises: NDArray[np.float64]
    sizes: NDArray[np.float64]
    alphas: NDArray[np.float64]
    responses: NDArray[np.float64]
    most_tau: NDArray[np.float64]
    groups: NDArray[np.int64]
    strengths: NDArray[np.float64]
    n_bins: int
    first: float
    slope_sd: float
    doubt: float
    text_nats: float
    text_share: float
    text_slopes: float


class HyperPrior(NamedTuple):
    """What was learned from other sources.

    Attributes
    ----------
    matrix : float64, shape (n_rows, 2 * len(FEATURES))
        Rows as in the module's docstring; columns for f and for like f.
    n_kinds : int
        Kinds of hypotheses on the learning rate.
    n_tails : int
        Components of the tail.
    longer : float64, shape (3,)
        Of a finished run under a longer plan: mean and standard deviation of the log of the factor
        on what the cells let it gain, and the share that is kept of what lies above its last bin.
    width_at : float64, shape (n_width,)
        Horizons, as log ratios, at which widths were learned.
    width : float64, shape (3, 2, n_width, 3)
        By what is known (`KNOWN`, `TOTAL`, `NOTHING`) and by like (0 or 1): the factor on the
        distances of draws below the median, the median's shift in distances to the 5 % or 95 %
        quantile, the factor for those above.
    """

    matrix: NDArray[np.float64]
    n_kinds: int
    n_tails: int
    longer: NDArray[np.float64]
    width_at: NDArray[np.float64]
    width: NDArray[np.float64]


@inline
def rows_of_cells(grid):
    """Rows where the logits of size, noise, strength and kind begin."""
    size = grid.alphas.size
    noise = size + grid.sizes.size
    strength = noise + grid.noises.size
    return size, noise, strength, strength + grid.strengths.shape[0]


def n_marginals(grid: CellGrid) -> int:
    """Values of alpha, of the discrepancy's size, of the noise factor and of the strength."""
    return grid.alphas.size + grid.sizes.size + grid.noises.size + len(grid.strengths)


@inline
def rows_of_draws(grid, hyper):
    """Rows where `NUMBERS`, the tail's logits, the jitter, the tail's sizes and leans begin."""
    _size, _noise, _strength, kind = rows_of_cells(grid)
    numbers = kind + hyper.n_kinds
    tail = numbers + len(NUMBERS)
    jitter = tail + hyper.n_tails - 1
    return numbers, tail, jitter, jitter + 1, jitter + 1 + hyper.n_tails
