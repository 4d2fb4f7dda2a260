"""Means, standard deviations and intervals of many runs' draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import array_glue
from .errors import DataError
from .ragged import Floats

BLOCK = 1 << 17  # draws sorted at a time: they stay in the processor's cache

MOMENTS = ("mean", "sd", "lower", "median", "upper")  # what `describe` gives


def check_prob(prob: Any) -> float:
    """A probability between 0 and 1."""
    try:
        good = 0 < float(prob) < 1
    except (TypeError, ValueError):
        good = False
    if not good:
        raise DataError(f"prob must be a probability between 0 and 1 such as 0.9, got {prob!r}")
    return float(prob)


def sorted_quantile(ordered: Floats, q: float) -> Floats:
    """One quantile over the last axis of rows that are sorted already, by linear interpolation."""
    return np.asarray(array_glue.sorted_quantile(ordered, q))


def quantiles(draws: Floats, q: Sequence[float]) -> Floats:
    """Quantiles over the last axis, put first; see `lossfit._base.array_glue.quantiles`."""
    return np.asarray(array_glue.quantiles(draws, q))


def central(draws: Floats, prob: float) -> Floats:
    """Lower end, median and upper end of the central interval over the last axis: (3, ...)."""
    tail = (1 - prob) / 2
    return quantiles(draws, (tail, 0.5, 1 - tail))


def _mean_and_sd(rows: Floats) -> tuple[Floats, Floats]:
    # An amplitude in units of the axis may be huge; its sd is then infinite, and no surprise.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows.mean(axis=-1)
        gap = rows - mean[:, None]
        squares = np.einsum("ij,ij->i", gap, gap)
        return mean, np.sqrt(squares / max(rows.shape[-1] - 1, 1))


def _blocks(draws: Floats) -> Iterator[tuple[slice, Floats]]:
    flat = draws.reshape(-1, draws.shape[-1])
    step = max(1, BLOCK // draws.shape[-1])
    for first in range(0, len(flat), step):
        yield slice(first, first + step), flat[first : first + step]


def deviations(draws: Floats) -> Floats:
    """Standard deviations over the last axis, as `describe` has them; in blocks."""
    out = np.empty(int(np.prod(draws.shape[:-1])))
    for where, rows in _blocks(draws):
        out[where] = _mean_and_sd(rows)[1]
    return out.reshape(draws.shape[:-1])


def describe(draws: Floats, prob: float) -> Floats:
    """Mean, sd, lower, median and upper over the last axis: shape (5, ...); in blocks."""
    out = np.empty((5, int(np.prod(draws.shape[:-1]))))
    for where, rows in _blocks(draws):
        out[0, where], out[1, where] = _mean_and_sd(rows)
        out[2:, where] = central(rows, prob)
    return out.reshape(5, *draws.shape[:-1])


@dataclass(frozen=True, eq=False)
class Moments:
    """What a summary-only fit keeps of its draws, in units of the axis: 6 bytes a number.

    An amplitude in FLOP to the power of its exponent can exceed what float32 holds, so numbers are
    kept as mantissa and exponent of 2.
    """

    mantissa: NDArray[np.float32]  # shape (n_runs, n_parameters, 4)
    # of the same shape: mean, sd, lower and upper of each parameter, sigma last
    exponent: NDArray[np.int16]

    @classmethod
    def empty(cls, n_runs: int, n_parameters: int) -> Moments:
        """Room for so many runs."""
        shape = (n_runs, n_parameters, 4)
        return cls(np.empty(shape, np.float32), np.empty(shape, np.int16))

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """From plain numbers."""
        out = cls.empty(*values.shape[:2])
        out._set(slice(None), values)
        return out

    @property
    def values(self) -> Floats:
        """The numbers as float64, shape (n_runs, n_parameters, 4)."""
        return np.ldexp(self.mantissa.astype(np.float64), self.exponent)

    def fill(self, rows: slice, draws: Sequence[Floats], prob: float) -> None:
        """Describe some runs' draws: one array (n_runs, n_draws) for each parameter."""
        self.take(rows, np.stack([describe(parameter, prob) for parameter in draws], axis=-1))

    def take(self, rows: slice, described: Floats) -> None:
        """Take what `describe` found of some runs: shape (5, n_runs, n_parameters)."""
        self._set(rows, described[[0, 1, 2, 4]].transpose(1, 2, 0))

    def select(self, rows: NDArray[np.int64]) -> Moments:
        """Those of some runs."""
        return Moments(self.mantissa[rows], self.exponent[rows])

    def _set(self, rows: slice, values: Floats) -> None:
        mantissa, exponent = np.frexp(values)
        self.mantissa[rows], self.exponent[rows] = mantissa, exponent


def prob_less(draws: Floats, other: Floats) -> Floats:
    """Probability that a draw, over the last axis, is less than one of independent others.

    All pairs are compared.
    """
    above = other.size - np.searchsorted(np.sort(other), draws, side="right")
    return np.asarray(above.mean(axis=-1) / other.size)
