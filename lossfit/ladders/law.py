"""The law of a ladder: one surface of sizes and cumulative rates, less what annealing wins.

    L(N, t) = E + R - c (N / N0)^eta Resp(t; tau, p)
    R       = [(A N^-alpha)^(1/gamma) + (B X^-beta)^(1/gamma)]^gamma

in units of the rows' median loss, with A and B the terms at the rows' centre.  Coordinates: log E,
log A, log B, log alpha, log beta, log gamma, log c, eta, and tau and p each by the logit of their
place in their range.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from .._base.ragged import Floats
from ..laws import coupled
from .clock import LOG_TAUS, POWERS

COORDINATES = 10
RANGES = ((LOG_TAUS[0], LOG_TAUS[-1]), (POWERS[0], POWERS[-1]))
#: Mean and sd of log alpha, log beta, log gamma, log c, eta, log tau, p.
PRIOR = np.array(
    [
        [np.log(0.35), 0.6],
        [np.log(0.35), 0.6],
        [-0.25, 0.3],
        [np.log(0.05), 0.6],
        [0.0, 0.15],
        [np.log(400.0), 1.2],
        [0.6, 0.25],
    ]
)
AMPLITUDE_SD = 1.0  # of the half-normal priors of E, A, B


class Terms(NamedTuple):
    """The law at k rows for any number of draws: arrays of shape (..., k), and what they need."""

    mean: Floats  # L
    above: coupled.Reducible  # R, and what its gradient needs
    won: Floats  # what annealing has won
    # slope_tau, slope_p: derivatives of the response over the response's scale
    slope_tau: Floats
    slope_p: Floats
    scale: Floats  # c (N / N0)^eta


def _response(theta: Floats, q: Floats) -> tuple[Floats, Floats, Floats]:
    """The response and its derivatives by the two logits, shape (..., k)."""
    out = []
    for column, nodes in ((8, len(LOG_TAUS)), (9, len(POWERS))):
        share = expit(theta[..., column])
        place = np.minimum(share * (nodes - 1), nodes - 1 - 1e-9)
        below = place.astype(np.int64)
        out.append(
            (below, (place - below)[..., None], (share * (1 - share) * (nodes - 1))[..., None])
        )
    (i, a, speed_tau), (j, b, speed_p) = out
    low, high = q[i, j], q[i + 1, j]
    low_up, high_up = q[i, j + 1], q[i + 1, j + 1]
    value = (1 - a) * ((1 - b) * low + b * low_up) + a * ((1 - b) * high + b * high_up)
    by_tau = ((1 - b) * (high - low) + b * (high_up - low_up)) * speed_tau
    by_p = ((1 - a) * (low_up - low) + a * (high_up - high)) * speed_p
    return value, by_tau, by_p


def terms(
    theta: Floats,  # shape (..., 10 or more)
    # n, x: shape (k,): centred log params and log cumulative rate
    n: Floats,
    x: Floats,
    q: Floats | None,  # shape (taus, powers, k) or None: responses; None where no row has any
) -> Terms:
    """The law at rows."""
    above = coupled.reducible(theta, n, x)
    if q is None:
        none = np.zeros(1)
        won = scale = slope_tau = slope_p = none
    else:
        response, slope_tau, slope_p = _response(theta, q)
        scale = np.exp(theta[..., 6:7] + theta[..., 7:8] * n)
        won = scale * response
    mean = np.exp(theta[..., 0:1]) + above.loss - won
    return Terms(mean, above, won, slope_tau, slope_p, scale)


def push(theta: Floats, n: Floats, x: Floats, at: Terms, weight: Floats) -> Floats:
    """Sum over rows of ``weight`` times the gradient of the mean, shape (..., 10).

    ``weight`` has shape (..., k).
    """
    out = np.zeros((*weight.shape[:-1], COORDINATES))
    out[..., :6] = coupled.push(theta, n, x, at.above, weight)
    if at.won.shape[-1] == len(n):
        won = weight * at.won
        out[..., 6] = -won.sum(axis=-1)
        out[..., 7] = -(won @ n)
        scaled = weight * at.scale
        out[..., 8] = -(scaled * at.slope_tau).sum(axis=-1)
        out[..., 9] = -(scaled * at.slope_p).sum(axis=-1)
    return out


def log_prior(theta: Floats) -> tuple[Floats, Floats]:
    """Log prior density of the law's coordinates, shape (...), and its gradient (..., 10)."""
    gradient = np.zeros((*theta.shape[:-1], COORDINATES))
    log_amplitude = theta[..., :3]
    square = np.exp(2 * log_amplitude) / AMPLITUDE_SD**2
    value = (log_amplitude - 0.5 * square).sum(axis=-1)
    gradient[..., :3] = 1 - square
    gap = (theta[..., 3:8] - PRIOR[:5, 0]) / PRIOR[:5, 1]
    value = value - 0.5 * (gap**2).sum(axis=-1)
    gradient[..., 3:8] = -gap / PRIOR[:5, 1]
    for k, (low, high) in enumerate(RANGES):
        share = expit(theta[..., 8 + k])
        centre, spread = PRIOR[5 + k]
        gap = (low + (high - low) * share - centre) / spread
        inner = share * (1 - share)
        value = value - 0.5 * gap**2 + np.log(inner)
        gradient[..., 8 + k] = -gap / spread * (high - low) * inner + 1 - 2 * share
    return value, gradient
