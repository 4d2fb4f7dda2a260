"""The form that logged learning rates follow: cosine, straight line or cooldown, many at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._base.ragged import Bools, Floats, Ints
from ..schedules import kinds
from ..schedules.shapes import Schedule
from .rate_cosines import cosines
from .rate_falls import CONSTANT, Falls, LoggedRate, falls_of, judged

OFF_END = 0.02  # of the peak: how far below 0 a line may be at its planned end
FELL = 0.2  # of the peak: what shows a cooldown
SHORT = 0.05  # of a log: a fall that begins so soon after the warm-up is no cooldown
CLOSER = 2.0  # times: a form to another end than the planned one must be so much closer
NEAR = 0.02  # of a planned end: an end so near is the same


class Followed(NamedTuple):
    """What a logged rate has followed."""

    form: Schedule | None = None  # None: no form, or one that ends before the planned end
    elsewhere: bool = False  # a form to another end than the planned one


def forms_of(
    logs: Sequence[LoggedRate],
    totals: Floats | None = None,  # shape (n,): planned ends, NaN where none is known
) -> list[Followed]:
    """The cosine, straight line or cooldown that each logged rate has followed, if it has.

    Some schedulers count a cosine from the end of the warm-up, which lies between the last point
    that surely warms and the first that falls; others from step 0, with the warm-up laid over it.
    Its height is that of the logged peak or free (the form's ``peak``), its last rate 0 or free:
    what is free has its price.  A line without a planned end is taken to go to 0.  A run may stop
    before its schedule ends: where a form to a later end is far closer than those to the planned
    one, it is that.
    """
    out = [Followed()] * len(logs)
    for block in falls_of(logs):
        planned = np.full(len(block.n), np.nan) if totals is None else totals[block.which]
        told = np.flatnonzero(planned > block.high * block.end)
        there = _closest(block, told, planned[told] / block.end[told])
        # Where noise alone is left, another end has nothing to explain.
        sure = [r for r, closest in there.items() if closest.noise]
        rest = np.setdiff1d(np.arange(len(planned)), sure)
        alone = _closest(block, rest, np.full(len(rest), np.nan))
        for r, i in enumerate(block.which.tolist()):
            out[i] = _chosen(float(planned[r]), there.get(r), alone.get(r))
    return out


class _Closest(NamedTuple):
    """The form that is closest to a log, its price, and whether what is left is noise."""

    form: Schedule
    price: float
    noise: bool


def _closest(falls: Falls, rows: Ints, total: Floats) -> dict[int, _Closest]:
    """The closest form of some logs, with these planned ends, where one is followed."""
    if not len(rows):
        return {}
    falls = falls.of(rows, total)
    tried = [_lines(falls, power) for power in (1, 2)] + [cosines(falls)]
    prices = np.stack([price for price, _, _ in tried])
    out = {}
    for k, best in enumerate(prices.argmin(0).tolist()):
        price, noise, form = tried[best]
        if np.isfinite(price[k]):
            out[int(rows[k])] = _Closest(form(k), float(price[k]), bool(noise[k]))
    return out


def _chosen(total: float, there: _Closest | None, alone: _Closest | None) -> Followed:
    """The form to the planned end, unless one to another end is far closer."""
    if alone is None or (there is not None and there.price <= CLOSER * alone.price):
        return Followed(None if there is None else there.form)
    assert alone.form.total is not None
    near = math.isnan(total) or abs(alone.form.total / total - 1) <= NEAR
    if there is not None and (near or alone.form.total < total):
        return Followed(there.form)
    return Followed(alone.form if near or alone.form.total > total else None, not near)


def _lines(falls: Falls, power: int) -> tuple[Floats, Bools, Any]:
    """Straight lines: of the rate, or of the square of how far it fell (1 - sqrt)."""
    t, w = falls.t, falls.weight
    fall = np.maximum(1 - falls.rho, 0) ** power if power > 1 else 1 - falls.rho
    mean_t, mean = (t * w).sum(1), (fall * w).sum(1)
    off = t - mean_t[:, None]
    slope = (off * fall * w).sum(1) / np.maximum((off**2 * w).sum(1), 1e-300)
    falling = slope > 0
    slope = np.where(falling, slope, 1.0)
    start = mean_t - mean / slope
    line = slope[:, None] * (t - start[:, None])
    residual = (line if power == 1 else np.sqrt(np.maximum(line, 0))) - (1 - falls.rho)
    alone, end = np.isnan(falls.total), start + 1 / slope
    reach = np.maximum(slope * (falls.total - start), 0) ** (1 / power)
    last = np.where(alone, 0.0, 1 - reach)
    end = np.where(alone, end, falls.total)
    late = start > falls.held + SHORT
    # A warm-up laid over a line from 0 ends a little below it: such a line begins above the peak.
    fine = falling & (start < falls.high) & (end > 0.999) & (last > -OFF_END)
    fine &= np.where(late, falls.rho.min(1, where=w > 0, initial=1.0) <= 1 - FELL, power == 1)
    fine &= late | (slope * (falls.low - start) < CONSTANT)
    price, noise = judged(falls, residual, 2, fine)

    def form(r: int) -> Schedule:
        scale, final = float(falls.end[r]), float(np.clip(last[r], 0.0, 1.0))
        stop = max(float(end[r]), 1.0)
        if late[r]:
            warmup = min(float(falls.low[r]), float(start[r]))
            return kinds.wsd(
                1.0, stop * scale, warmup * scale, decay=1 - float(start[r]) / stop,
                final_ratio=final, shape="linear" if power == 1 else "sqrt", axis="tokens",
            )  # fmt: skip
        begin = float(falls.low[r])
        peak = 1 + float(slope[r]) * (float(start[r]) - begin)
        return kinds.linear(peak, stop * scale, begin * scale, min(final / peak, 1), axis="tokens")

    return price, noise, form
