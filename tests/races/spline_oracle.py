"""The smoother of `lossfit.races.smoothing` by dense algebra, a curve at a time.

Written from its documented model: flat priors of four columns, an integrated Wiener process times
the local slope, noise; q over its grid by the restricted likelihood, sigma^2 integrated out.
"""

from __future__ import annotations

import numpy as np

LOG_Q = [-1 + 0.5 * k for k in range(21)]


def clock(t, start, end):
    """Half log t and half t, from 0 to 1."""
    return 0.5 * np.log(t / start) / np.log(end / start) + 0.5 * (t - start) / (end - start)


def bins(t, y, count=80):
    """Means of place and loss in equal bins of the clock, and how many points each has."""
    if len(t) <= count:
        return t, y, np.ones(len(t))
    which = np.minimum((clock(t, t[0], t[-1]) * count).astype(int), count - 1)
    places = np.unique(which)
    return (
        np.array([t[which == k].mean() for k in places]),
        np.array([y[which == k].mean() for k in places]),
        np.array([float((which == k).sum()) for k in places]),
    )


def local_slope(t, y, w, start, end):
    """The local slope per unit of the clock, by the best of twenty power laws."""
    best, size, exponent = np.inf, 0.0, 0.0
    for alpha in np.arange(1, 21) * 0.05:
        root = np.sqrt(w)
        X = np.stack([np.ones_like(t), (t / end) ** -alpha], axis=1)
        beta, *_ = np.linalg.lstsq(root[:, None] * X, root * y, rcond=None)
        error = (w * (y - X @ beta) ** 2).sum()
        if error < best:
            best, size, exponent = error, abs(alpha * beta[1]), alpha
    size = max(size, 1e-3 * (y.max() - y.min()))

    def steep(t):
        share = t / end
        speed = 0.5 / np.log(end / start) + 0.5 * share / (1 - start / end)
        return size * share**-exponent / speed

    low = 0.2 * np.median(steep(np.maximum(np.geomspace(1e-3, 1, 40), start / end) * end))
    return lambda t: np.maximum(steep(t), low)


def columns(t, end):
    return np.stack([np.ones_like(t), np.log(t / end), (end / t) ** 0.5, t / end], axis=1)


def kernel(u, v):
    """Covariance of the integrated Wiener process."""
    low, high = np.minimum(u[:, None], v), np.maximum(u[:, None], v)
    return low**2 * (3 * high - low) / 6


def posterior(t, y, at, least):
    """By value of q: its weight, the mean at places, their variance over sigma^2, and E sigma^2.

    ``least``: what losses were rounded by, the prior of the noise.
    """
    t, y = t[t > 0], y[t > 0]
    start, end = t[0], t[-1]
    t, y, w = bins(t, y)
    slope = local_slope(t, y, w, start, end)
    X, X_at = columns(t, end), columns(at, end)
    v, v_at = clock(t, start, end), clock(at, start, end)
    K = slope(t)[:, None] * kernel(v, v) * slope(t)
    K_at = slope(at)[:, None] * kernel(v_at, v) * slope(t)
    own = slope(at) ** 2 * v_at**3 / 3
    freedom = max(len(t) - 4, 1) + 2.0
    log_p, means, variances, scales = [], [], [], []
    for q in 10.0 ** np.array(LOG_Q):
        S = np.diag(1 / w) + q * K
        inverse = np.linalg.inv(S)
        information = X.T @ inverse @ X
        beta = np.linalg.solve(information, X.T @ inverse @ y)
        rest = y - X @ beta
        squares = rest @ inverse @ rest + 2 * least**2
        _, log_det = np.linalg.slogdet(S)
        _, log_information = np.linalg.slogdet(information)
        log_p.append(-0.5 * (log_det + log_information + freedom * np.log(squares)))
        gain = q * K_at @ inverse
        missing = X_at - gain @ X
        means.append(X_at @ beta + gain @ rest)
        variances.append(
            q * own
            - (gain * (q * K_at)).sum(1)
            + (missing * np.linalg.solve(information, missing.T).T).sum(1)
        )
        scales.append(squares / (freedom - 2))
    p = np.exp(np.array(log_p) - max(log_p))
    return p / p.sum(), np.array(means), np.array(variances), np.array(scales)
