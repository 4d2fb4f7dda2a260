"""Draws moved and stretched about their median, by what finished runs of the project say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .._base.ragged import Floats

__all__ = ["Moves", "moves_at"]


class Moves(NamedTuple):
    """Of one run, at some horizons.

    Attributes
    ----------
    at : ndarray, shape (n,)
        Logarithms of horizon ratios, increasing.
    shift : ndarray, shape (n,)
        In half widths of the 90 % interval, on the side that it goes to.
    factor : ndarray, shape (n,)
        On the distances of draws from their median.
    """

    at: Floats
    shift: Floats
    factor: Floats

    def nearest(self, log_ratio: Floats) -> tuple[Floats, Floats]:
        """Shift and factor at the horizons nearest to these."""
        which = np.abs(log_ratio[:, None] - self.at).argmin(axis=1)
        return self.shift[which], self.factor[which]


def moves_at(moves: Mapping[str, Moves] | None, names: Sequence[str], log_ratio: Floats) -> Floats:
    """Shifts and factors of runs at targets, shape (R, T, 2); (0, 1) where nothing is said.

    Parameters
    ----------
    moves : dict by run, or None
    names : sequence of str, length R
    log_ratio : ndarray, shape (R, T)
        Log of target over the end of the data.
    """
    out = np.empty((*log_ratio.shape, 2))
    out[..., 0], out[..., 1] = 0.0, 1.0
    for r, name in enumerate(names):
        if moves and name in moves:
            beyond = log_ratio[r] > 0
            shift, factor = moves[name].nearest(log_ratio[r, beyond])
            out[r, beyond, 0], out[r, beyond, 1] = shift, factor
    return out
