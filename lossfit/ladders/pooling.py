"""Several forecasts of one curve as one: by rank, in proportion to their precision.

The draws of each forecast are put in order by the loss at the last place.  The pooled end is the
average of what they have at each rank (of quantiles, not of densities: two forecasts that disagree
give one between them, as wide as they are on average).
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from .._base.ragged import Floats

ONE_SD = (0.16, 0.84)
# Learned with whole sources left out (benches/ladder_pool.py), which scores them so too.
OF_SIZES = 3.0  # sizes at which the ends of the runs count half of what their precision says
MIDDLE = 0.69  # of the way from the median at which a quartile is put, up to `NEAR`
NEAR, AS_DRAWN = 6.0, 12.0  # times the largest size: narrower up to one, as drawn from the other
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def half_width(draws: Floats) -> Floats:
    """Half of the central 68 % of draws along the last axis."""
    low, high = np.quantile(draws, ONE_SD, axis=-1)
    return np.asarray((high - low) / (ndtri(ONE_SD[1]) - ndtri(ONE_SD[0])))


def precision_share(first: Floats, second: Floats) -> float:
    """Share of the second of two sets of draws (D,), in proportion to their precision."""
    a, b = float(half_width(first)) ** 2, float(half_width(second)) ** 2
    return a / (a + b) if a + b > 0 else 0.5


def ends_share(curves: Floats, ends: Floats, sizes: int) -> float:
    """Share of the ends of a ladder of some sizes in the forecast of an end.

    In proportion to precision, and less the fewer sizes there are: the ends of two or three tell
    little of a law of size that the prior does not say.
    """
    return precision_share(curves, ends) * sizes / (sizes + OF_SIZES)


def sharpened(
    draws: Floats,  # shape (k, D)
    ratio: float,  # size over the largest of the ladder
) -> Floats:
    """Draws (k, D) with their middle half narrower, in the same order; outer quantiles stay.

    Notes
    -----
    Forecasts of left-out sizes held the truth within their quartiles far more often than in half of
    the cases, and within their 5 and 95 % quantiles about as often as they should.
    """
    far = np.log(max(ratio, NEAR) / NEAR) / np.log(AS_DRAWN / NEAR)
    share = MIDDLE + (1 - MIDDLE) * min(far, 1.0)
    out = np.empty_like(draws)
    for k, values in enumerate(draws):
        nodes = np.quantile(values, QUANTILES)
        target = nodes.copy()
        target[[1, 3]] = nodes[2] + share * (nodes[[1, 3]] - nodes[2])
        inside = (values >= nodes[0]) & (values <= nodes[-1])
        out[k] = np.where(inside, np.interp(values, nodes, target), values)
    return out


def ranks(values: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Place of each value in their order."""
    order = np.argsort(values, kind="stable")
    out = np.empty(len(values), np.int64)
    out[order] = np.arange(len(values))
    return out


def pooled(
    curves: Floats,  # shape (k, D)
    end: Floats,  # shape (D,): draws of the last place
    share: float,  # of the other forecast, 0 to 1
) -> Floats:
    """Curves (k, D) moved so that their last place is pooled with another forecast of it."""
    last = curves[-1]
    own, other = np.sort(last), np.sort(end)
    target = (1 - share) * own + share * other
    return np.asarray(curves + (target[ranks(last)] - last))
