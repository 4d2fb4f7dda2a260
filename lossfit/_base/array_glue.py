"""Summaries of draws, over the last axis, on whatever device the draws are.

Written once against the Python array API standard (https://data-apis.org/array-api): the same code
runs on NumPy's arrays and on CuPy's.  Results have the type, and the device, of the draws.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# Typed as Any: arrays of several libraries have no common type.
Array = Any


def array_namespace(*arrays: Array) -> Any:
    """The module whose functions take these arrays.

    Raises `TypeError`: arrays of different libraries, or no array.
    """
    namespaces = {_namespace(array).__name__: _namespace(array) for array in arrays}
    if len(namespaces) != 1:
        raise TypeError(f"arrays of one library are needed, got {', '.join(namespaces) or 'none'}")
    return next(iter(namespaces.values()))


def _namespace(array: Array) -> Any:
    if isinstance(array, np.ndarray):
        return np
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    # CuPy has the functions of the standard; its arrays do not say so (up to version 14 at least).
    root = type(array).__module__.partition(".")[0]
    module = sys.modules.get(root)
    if module is None or not hasattr(module, "astype"):
        raise TypeError(f"{type(array).__name__} is no array of a library that is known")
    return module


def mean(draws: Array) -> Array:
    """Mean over the last axis."""
    return array_namespace(draws).mean(draws, axis=-1)


def sd(draws: Array) -> Array:
    """Standard deviation over the last axis (n - 1 in the denominator; 0 for one draw)."""
    xp = array_namespace(draws)
    gap = draws - xp.mean(draws, axis=-1, keepdims=True)
    return xp.sqrt(xp.sum(gap * gap, axis=-1) / max(draws.shape[-1] - 1, 1))


def sorted_quantile(ordered: Array, q: float) -> Array:
    """One quantile over the last axis of rows that are sorted already, by linear interpolation."""
    last = ordered.shape[-1] - 1
    position = q * last
    below = math.floor(position)
    above = min(below + 1, last)
    part = position - below
    return ordered[..., below] + part * (ordered[..., above] - ordered[..., below])


def quantiles(draws: Array, q: Sequence[float]) -> Array:
    """Quantiles over the last axis, put first: shape (len(q), ...).

    As `numpy.quantile` with linear interpolation, from one sort (which NumPy has vectorised, so
    that a million short rows take seconds).  Rows with NaN give NaN.
    """
    xp = array_namespace(draws)
    ordered = xp.sort(draws, axis=-1)
    out = xp.stack([sorted_quantile(ordered, float(share)) for share in q])
    last = ordered[..., -1]  # NaN is sorted to the end
    return xp.where(xp.isnan(last), last, out)


def covariance(draws: Array) -> Array:
    """Covariances of the rows: (..., p, n) gives (..., p, p)."""
    xp = array_namespace(draws)
    gap = draws - xp.mean(draws, axis=-1, keepdims=True)
    return xp.matmul(gap, xp.matrix_transpose(gap)) / max(draws.shape[-1] - 1, 1)


def share_below(
    draws: Array,  # shape (..., n)
    level: Array | float,  # shape (...): one for all rows, or one for each
) -> Array:
    """Share of the draws, over the last axis, that lie below a level: P(draw < level)."""
    xp = array_namespace(draws)
    if not isinstance(level, (int, float)):
        level = level[..., None]
    return xp.mean(xp.astype(draws < level, draws.dtype), axis=-1)


def describe(draws: Array, prob: float) -> Array:
    """Mean, sd, lower, median and upper over the last axis: shape (5, ...)."""
    xp = array_namespace(draws)
    tail = (1 - prob) / 2
    middle = quantiles(draws, (tail, 0.5, 1 - tail))
    return xp.concat([xp.stack([mean(draws), sd(draws)]), middle])
