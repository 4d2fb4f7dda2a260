"""A run's own scales: its loss at the end of the window and its noise, from the data alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .entries import entry
from .order import median
from .records import writable

__all__ = ["MOST_DEVIATIONS", "NOISE_FLOOR", "TAIL_SHARE", "run_scales"]

TAIL_SHARE = 0.1
MOST_DEVIATIONS = 128  # as good as all for a prior scale (10 %), and a long curve costs no more
NOISE_FLOOR = 1e-5  # times the loss: a noise-free curve must not make the prior degenerate


@entry
def _run_scales(x, y, weight, offsets, work, out):
    """See `run_scales`; `work` holds a run."""
    n_runs = offsets.size - 1
    for r in range(n_runs):
        start, stop = offsets[r], offsets[r + 1]
        n = stop - start
        n_tail = min(n, max(3, int(np.ceil(TAIL_SHARE * n))))
        for i in range(n_tail):
            work[i] = y[stop - n_tail + i]
        loss = abs(median(n_tail, work))
        # A loss that ends at zero still needs a scale.
        if loss == 0.0:
            for i in range(start, stop):
                loss = max(loss, abs(y[i]))
        if loss == 0.0:
            loss = 1.0
        stride = max(1, -(-(n - 2) // MOST_DEVIATIONS))
        count = 0
        for i in range(start + 1, stop - 1, stride):
            # The line through the neighbours takes uneven spacing into account.
            left = (x[i + 1] - x[i]) / (x[i + 1] - x[i - 1])
            right = 1.0 - left
            gap = y[i] - left * y[i - 1] - right * y[i + 1]
            spread = 1.0 / weight[i] + left * left / weight[i - 1] + right * right / weight[i + 1]
            work[count] = abs(gap) / np.sqrt(spread)
            count += 1
        noise = 1.4826 * median(count, work)
        out[r, 0] = loss
        out[r, 1] = max(noise, NOISE_FLOOR * loss)


def run_scales(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    offsets: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Loss scale and noise scale of every run.

    Parameters
    ----------
    x, y, weight : ndarray, shape (n_points,)
        Axis values (strictly increasing in a run), losses and weights of all runs, one after the
        other.
    offsets : ndarray of int64, shape (n_runs + 1,)
        Where each run starts; every run has at least 3 points.

    Returns
    -------
    ndarray, shape (n_runs, 2)
        The median absolute loss over the last tenth of the points (at least 3), and a robust
        standard deviation of an observation of weight 1: 1.4826 times the median absolute deviation
        of each point from the line through its neighbours, standardised (of about `MOST_DEVIATIONS`
        points, evenly spread, when there are more); at least `NOISE_FLOOR` times the loss.
    """
    out = np.empty((offsets.size - 1, 2))
    work = np.empty(np.diff(offsets).max(initial=0))
    columns = [writable(values) for values in (x, y, weight)]
    _run_scales(*columns, writable(offsets, np.int64), work, out)
    return out
