"""Covariances of Brownian motions from a place outwards: what laws of losses miss."""

from __future__ import annotations

import numpy as np

from .._base.ragged import Floats


def _lengths(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Shorter and longer distance of pairs on one side of 0; 0 and 0 across it."""
    same = u[..., :, None] * v[..., None, :] > 0
    a, b = np.abs(u)[..., :, None], np.abs(v)[..., None, :]
    return np.where(same, np.minimum(a, b), 0.0), np.where(same, np.maximum(a, b), 0.0)


def brownian(u: Floats, v: Floats, smooth: float = 0.0) -> Floats:
    """Covariance of a Brownian motion that is 0 at 0, with independent sides.

    Parameters
    ----------
    u, v : ndarray, shape (..., m) and (..., n)
        Places.
    smooth : float
        Variance of an integrated Brownian motion that is added.

    Returns
    -------
    ndarray, shape (..., m, n)
    """
    low, high = _lengths(u, v)
    return np.asarray(low + smooth * low**2 * (3 * high - low) / 6)


def integrated(u: Floats, v: Floats, rough: float = 0.0) -> Floats:
    """Covariance of an integrated Brownian motion with value and slope 0 at 0.

    ``rough`` is the standard deviation of a plain one that is added.
    """
    low, high = _lengths(u, v)
    return np.asarray(rough**2 * low + low**2 * (3 * high - low) / 6)
