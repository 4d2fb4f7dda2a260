"""A run's own scales: its loss at the end of the window and its noise, from the data alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .maths import kernel

__all__ = ["MOST_DEVIATIONS", "NOISE_FLOOR", "TAIL_SHARE", "run_scales"]

TAIL_SHARE = 0.1
MOST_DEVIATIONS = 128  # as good as all for a prior scale (10 %), and a long curve costs no more
NOISE_FLOOR = 1e-5  # times the loss: a noise-free curve must not make the prior degenerate


@kernel
def _select(values: NDArray[np.float64], n: int, k: int) -> float:
    """The k-th smallest of the first n values (Hoare's quickselect; reorders them)."""
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                swap = values[i]
                values[i] = values[j]
                values[j] = swap
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return float(values[k])


@kernel
def _median(values: NDArray[np.float64], n: int) -> float:
    """Median of the first n values (reorders them)."""
    upper = _select(values, n, n // 2)
    if n % 2 == 1:
        return float(upper)
    # After the selection everything below the middle is on its left.
    lower = values[0]
    for i in range(1, n // 2):
        lower = max(lower, values[i])
    return float(0.5 * (lower + upper))


@kernel
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
    n_runs = offsets.size - 1
    out = np.empty((n_runs, 2))
    longest = 0
    for r in range(n_runs):
        longest = max(longest, offsets[r + 1] - offsets[r])
    work = np.empty(longest)
    for r in range(n_runs):
        start, stop = offsets[r], offsets[r + 1]
        n = stop - start
        n_tail = min(n, max(3, int(np.ceil(TAIL_SHARE * n))))
        for i in range(n_tail):
            work[i] = y[stop - n_tail + i]
        loss = abs(_median(work, n_tail))
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
        noise = 1.4826 * _median(work, count)
        out[r, 0] = loss
        out[r, 1] = max(noise, NOISE_FLOOR * loss)
    return out
