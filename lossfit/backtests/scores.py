"""Scores of forecasts that are given by draws.

Smaller is better for CRPS, width and error, greater for the log score.  Gneiting & Raftery 2007,
"Strictly proper scoring rules, prediction, and estimation".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._base.ragged import Bools, Floats
from .._base.summaries import sorted_quantile

LEVELS = (0.5, 0.8, 0.9, 0.95)
LEAST_DENSITY = 1e-3  # relative to the loss: one outcome far off must not decide a mean


class Scores(NamedTuple):
    """Scores of m forecasts."""

    crps: Floats  # shape (m,): in units of the loss
    # shape (m,): log density of the outcome relative to it (a density of ``loss / outcome``)
    log_score: Floats
    pit: Floats  # shape (m,): share of draws at most the outcome
    # shape (len(LEVELS), m): whether the central interval of each level held the outcome
    cover: Bools
    # lower, median, upper: shape (m,): interval of the asked probability
    lower: Floats
    median: Floats
    upper: Floats
    width: Floats  # shape (m,): of the 90 % interval, whatever was asked


def crps(
    ordered: Floats,  # shape (..., n): draws, sorted
    observed: ArrayLike,  # shape (...)
) -> Floats:
    """Continuous ranked probability score of equally weighted draws.

    ``mean |x_i - y| - sum_i (2 i - n + 1) x_i / n^2`` with i from 0 (the energy form, exact for the
    empirical distribution).

    Returns
    -------
    ndarray, shape (...)
    """
    n = ordered.shape[-1]
    y = np.asarray(observed, np.float64)
    rank = (2 * np.arange(n) - n + 1) / n**2
    return np.asarray(np.abs(ordered - y[..., None]).mean(-1) - ordered @ rank)


def score(
    draws: Floats,  # shape (m, n)
    observed: Floats,  # shape (m,)
    prob: float,  # probability of ``lower`` to ``upper``
) -> Scores:
    """Scores of m forecasts of n draws each."""
    x = np.sort(draws, axis=-1)
    n = x.shape[1]

    def quantile(q: float) -> Floats:
        return sorted_quantile(x, q)

    cover = np.stack(
        [
            (quantile(0.5 - level / 2) <= observed) & (observed <= quantile(0.5 + level / 2))
            for level in LEVELS
        ]
    )
    # A Gaussian kernel of Silverman's width over the draws.
    sd = x.std(axis=1)
    width = 0.9 * np.minimum(sd, (quantile(0.75) - quantile(0.25)) / 1.349) * n**-0.2
    width = np.maximum(width, 1e-12 * np.abs(observed) + 1e-300)
    z = (observed[:, None] - x) / width[:, None]
    density = np.exp(-0.5 * z * z).mean(1) / (width * np.sqrt(2 * np.pi))
    return Scores(
        crps(x, observed),
        np.log(np.maximum(density * np.abs(observed), LEAST_DENSITY)),
        (x <= observed[:, None]).mean(1),
        cover,
        quantile((1 - prob) / 2),
        quantile(0.5),
        quantile((1 + prob) / 2),
        quantile(0.95) - quantile(0.05),
    )
