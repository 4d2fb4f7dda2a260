"""A run's own scales: its loss at the end of the window and its noise, from the data alone."""

from __future__ import annotations

import numpy as np

from .maths import kernel
from .ranks import middle

__all__ = ["MOST_DEVIATIONS", "NOISE_FLOOR", "TAIL_SHARE", "scales_of"]

TAIL_SHARE = 0.1
MOST_DEVIATIONS = 128  # as good as all for a prior scale (10 %), and a long curve costs no more
NOISE_FLOOR = 1e-5  # times the loss: a noise-free curve must not make the prior degenerate


@kernel
def _off_line(before_x, x, after_x, before_y, y, after_y, gap, left):
    """Distances of points from the lines through their neighbours, and the lines' left shares."""
    for k in range(x.size):
        # The line through the neighbours takes uneven spacing into account.
        share = (after_x[k] - x[k]) / (after_x[k] - before_x[k])
        gap[k] = y[k] - share * before_y[k] - (1.0 - share) * after_y[k]
        left[k] = share


@kernel
def _standardised(count, gap, left):
    """Distances over what noise of 1 makes of them, where all weights are 1."""
    for k in range(count):
        right = 1.0 - left[k]
        ratio = abs(gap[k]) / np.sqrt(1.0 + left[k] * left[k] + right * right)
        gap[k] = ratio if ratio == ratio else 0.0  # no number where axis values are equal


@kernel
def _standardised_by(count, before, here, after, gap, left):
    """The same for any weights."""
    for k in range(count):
        right = 1.0 - left[k]
        spread = 1.0 / here[k] + left[k] * left[k] / before[k] + right * right / after[k]
        ratio = abs(gap[k]) / np.sqrt(spread)
        gap[k] = ratio if ratio == ratio else 0.0


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
    here = x[1 : n - 1 : step]
    gap = work[0]
    left = work[1]
    _off_line(
        x[0 : n - 2 : step], here, x[2:n:step],
        y[0 : n - 2 : step], y[1 : n - 1 : step], y[2:n:step], gap, left,
    )  # fmt: skip
    count = here.size
    if ones:
        _standardised(count, gap, left)
    else:
        _standardised_by(
            count, weight[0 : n - 2 : step], weight[1 : n - 1 : step], weight[2:n:step], gap, left
        )
    noise = 1.4826 * middle(count, gap, left, counts)
    return loss, max(noise, NOISE_FLOOR * loss)
