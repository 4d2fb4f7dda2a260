"""What finished runs of the project say of a run: of its errors, its response, its widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats

NEAR = 0.5  # |log of horizon ratios|: a backtest at so different a ratio does not count


class Moves(NamedTuple):
    """Of one run, at some horizons."""

    at: Floats = np.zeros(0)  # shape (n,): logarithms of horizon ratios, increasing
    # shape (n,): in half widths of the 90 % interval, on the side that it goes to
    shift: Floats = np.zeros(0)
    factor: Floats = np.zeros(0)  # shape (n,): on the distances of draws from their median
    # shape (n_strengths,): how many of them showed each normal of the prior of B; of length 0 for
    # nothing
    strengths: Floats = np.zeros(0)

    def nearest(self, log_ratio: Floats) -> tuple[Floats, Floats]:
        """Shift and factor at the horizons nearest to these."""
        if not len(self.at):
            return np.zeros(len(log_ratio)), np.ones(len(log_ratio))
        which = np.abs(log_ratio[:, None] - self.at).argmin(axis=1)
        return self.shift[which], self.factor[which]


def moves_at(
    moves: Mapping[str, Moves] | None,  # dict by run or None
    names: Sequence[str],  # length R
    log_ratio: Floats,  # shape (R, T): log of target over the end of the data
) -> Floats:
    """Shifts and factors of runs at targets, shape (R, T, 2); (0, 1) where nothing is said."""
    out = np.empty((*log_ratio.shape, 2))
    out[..., 0], out[..., 1] = 0.0, 1.0
    for r, name in enumerate(names):
        if moves and name in moves:
            beyond = log_ratio[r] > 0
            shift, factor = moves[name].nearest(log_ratio[r, beyond])
            out[r, beyond, 0], out[r, beyond, 1] = shift, factor
    return out


def strengths_of(moves: Mapping[str, Moves] | None, names: Sequence[str], n: int) -> Floats:
    """What was seen of the n normals of the prior of B, shape (R, n); 0 where nothing is said."""
    out = np.zeros((len(names), n))
    for r, name in enumerate(names):
        if moves and name in moves and len(moves[name].strengths):
            out[r] = moves[name].strengths
    return out


class Widths(NamedTuple):
    """Calibrated factors on the distances of a run's draws from their median, by horizon."""

    at: Floats  # shape (n,): logarithms of horizon ratios, increasing
    factor: Floats  # shape (n,): NaN where nothing was learned

    def at_ratio(self, log_ratio: Floats) -> Floats:
        """Factors between those of the horizons beside.

        NaN within the data, and where nothing was learned at the nearest horizon.
        """
        off = np.abs(log_ratio[:, None] - self.at)
        known = np.isfinite(self.factor)
        near = (off.min(axis=1) < NEAR) & known[off.argmin(axis=1)]
        factors = np.interp(log_ratio, self.at[known], self.factor[known])
        return np.where(near & (log_ratio > 0), factors, np.nan)


def stretched(
    curves: Floats,  # shape (R, T, D)
    widths: Mapping[str, Widths],  # dict by run
    names: Sequence[str],  # length R
    log_ratio: Floats,  # shape (R, T): log of target over the end of the data
    in_logs: Bools,  # shape (R,): whose distances are those of logarithms
) -> Floats:
    """Draws widened or narrowed about their medians."""
    out = curves.copy()
    for r, name in enumerate(names):
        if name not in widths:
            continue
        factor = widths[name].at_ratio(log_ratio[r])
        t = np.flatnonzero(np.isfinite(factor))
        values = np.log(out[r, t]) if in_logs[r] else out[r, t]
        middle = np.median(values, axis=-1, keepdims=True)
        values = middle + factor[t, None] * (values - middle)
        out[r, t] = np.exp(values) if in_logs[r] else values
    return out
