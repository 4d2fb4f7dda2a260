"""Several forecasts of one curve as one: by rank, in proportion to their precision.

The draws of each forecast are put in order by the loss at the last place.  The pooled end is the
average of what they have at each rank (of quantiles, not of densities: two forecasts that disagree
give one between them, as wide as they are on average).
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from .._base.ragged import Floats

__all__ = ["half_width", "pooled", "precision_share", "ranks"]

ONE_SD = (0.16, 0.84)


def half_width(draws: Floats) -> Floats:
    """Half of the central 68 % of draws along the last axis."""
    low, high = np.quantile(draws, ONE_SD, axis=-1)
    return np.asarray((high - low) / (ndtri(ONE_SD[1]) - ndtri(ONE_SD[0])))


def precision_share(first: Floats, second: Floats) -> float:
    """Share of the second of two sets of draws (D,), in proportion to their precision."""
    a, b = float(half_width(first)) ** 2, float(half_width(second)) ** 2
    return a / (a + b) if a + b > 0 else 0.5


def ranks(values: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Place of each value in their order."""
    order = np.argsort(values, kind="stable")
    out = np.empty(len(values), np.int64)
    out[order] = np.arange(len(values))
    return out


def pooled(curves: Floats, end: Floats, share: float) -> Floats:
    """Curves (k, D) moved so that their last place is pooled with another forecast of it.

    Parameters
    ----------
    curves : ndarray, shape (k, D)
    end : ndarray, shape (D,)
        Draws of the last place.
    share : float
        Of the other forecast, 0 to 1.
    """
    last = curves[-1]
    own, other = np.sort(last), np.sort(end)
    target = (1 - share) * own + share * other
    return np.asarray(curves + (target[ranks(last)] - last))
