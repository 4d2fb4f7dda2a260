"""A run's own scales: its loss at the end of the window and its noise, from the data alone."""

from __future__ import annotations

import numpy as np
from numpy import uint64

from .maths import kernel
from .ranks import middle

__all__ = ["MOST_DEVIATIONS", "NOISE_FLOOR", "TAIL_SHARE", "scales_of"]

TAIL_SHARE = 0.1
MOST_DEVIATIONS = 128  # as good as all for a prior scale (10 %), and a long curve costs no more
ONE, TWO = uint64(1), uint64(2)
NOISE_FLOOR = 1e-5  # times the loss: a noise-free curve must not make the prior degenerate


@kernel
def _off_line(step, x, y, gap, left):
    """Distances of every `step`-th point from the line through its neighbours, and their shares.

    Loops with ``while``, and unsigned numbers of points: of others a compiler makes vectors that it
    gathers, which takes five times as long.
    """
    i = uint64(0)
    by = uint64(step)
    end = uint64(x.size - 2)
    k = uint64(0)
    while i < end:
        before, after = x[i], x[i + TWO]
        # The line through the neighbours takes uneven spacing into account.
        share = (after - x[i + ONE]) / (after - before)
        gap[k] = y[i + ONE] - share * y[i] - (1.0 - share) * y[i + TWO]
        left[k] = share
        i += by
        k += ONE


@kernel
def _standardised(count, gap, left):
    """Distances over what noise of 1 makes of them, where all weights are 1."""
    for k in range(count):
        right = 1.0 - left[k]
        ratio = abs(gap[k]) / np.sqrt(1.0 + left[k] * left[k] + right * right)
        gap[k] = ratio if ratio == ratio else 0.0  # no number where axis values are equal


@kernel
def _standardised_by(step, weight, gap, left):
    """The same for any weights."""
    i = uint64(0)
    by = uint64(step)
    end = uint64(weight.size - 2)
    k = uint64(0)
    while i < end:
        right = 1.0 - left[k]
        spread = 1.0 / weight[i + ONE] + left[k] * left[k] / weight[i]
        spread += right * right / weight[i + TWO]
        ratio = abs(gap[k]) / np.sqrt(spread)
        gap[k] = ratio if ratio == ratio else 0.0
        i += by
        k += ONE


@kernel
def scales_of(x, y, weight, ones, work, counts):
    """Loss scale and noise scale of a run of at least 3 points.

    The median absolute loss over the last tenth of the points (at least 3), and a robust standard
    deviation of an observation of weight 1: 1.4826 times the median absolute deviation of each
    point from the line through its neighbours, standardised (of about `MOST_DEVIATIONS` points,
    evenly spread, when there are more); at least `NOISE_FLOOR` times the loss.

    `ones` says that all weights are 1.  `work` has two rows for a run (and for `MOST_DEVIATIONS`),
    `counts` room for `ranks.RANK_BINS`.
    """
    n = y.size
    n_tail = min(n, max(3, int(np.ceil(TAIL_SHARE * n))))
    last = y[n - n_tail :]
    for i in range(n_tail):
        work[0, i] = last[i]
    loss = abs(middle(n_tail, work[0], work[1], counts))
    # A loss that ends at zero still needs a scale.
    if loss == 0.0:
        for i in range(n):
            loss = max(loss, abs(y[i]))
    if loss == 0.0:
        loss = 1.0
    step = max(1, -(-(n - 2) // MOST_DEVIATIONS))
    count = -(-(n - 2) // step)
    gap = work[0]
    left = work[1]
    _off_line(step, x, y, gap, left)
    if ones:
        _standardised(count, gap, left)
    else:
        _standardised_by(step, weight, gap, left)
    noise = 1.4826 * middle(count, gap, left, counts)
    return loss, max(noise, NOISE_FLOOR * loss)
