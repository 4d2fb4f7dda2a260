"""Which of many curves may have broken: what no rule of `breaks` can hold for is left out.

`lossfit.runs.breaks.recognise` looks at a curve in a fraction of a millisecond.  Most curves of a
batch are healthy, and for most of these a few passes over all points at once tell that no rule can
hold: each rule below is a condition without which that of the same name in `breaks` gives nothing.
What is left is looked at in full, so that a batch is told the same as each of its curves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._base.errors import DataError
from .._base.ragged import BLOCK, Bools, Floats, Ints, blocks
from . import breaks as rules
from .breaks import Break, recognise

ROUNDING = 1e-9  # of a threshold: the same sums in another order


def recognise_all(
    t: Floats,  # shape (N,): the points of all curves, curve after curve
    loss: Floats,  # shape (N,)
    offsets: Ints,  # shape (R + 1,): curve i owns offsets[i]:offsets[i + 1]
    is_validation: Sequence[bool] | None = None,  # whether of held-out data; none by default
) -> list[Break | None]:
    """What broke in each of many curves: `lossfit.runs.breaks.recognise`, at once.

    Raises `DataError`: if `t` does not increase within a curve.
    """
    n_curves = len(offsets) - 1
    rises = np.diff(t) > 0
    rises[offsets[1:-1][offsets[1:-1] > 0] - 1] = True
    if not rises.all():
        row = int(np.argmin(rises)) + 1
        curve = int(np.searchsorted(offsets, row, side="right")) - 1
        raise DataError(
            f"t must increase, but row {row - offsets[curve]} of curve {curve} is not above the "
            f"one before: sort the run"
        )
    out: list[Break | None] = [None] * n_curves
    for r in np.flatnonzero(suspects(t, loss, offsets)).tolist():
        part = slice(int(offsets[r]), int(offsets[r + 1]))
        out[r] = recognise(t[part], loss[part], bool(is_validation[r]) if is_validation else False)
    return out


def suspects(t: Floats, loss: Floats, offsets: Ints) -> Bools:
    """Which curves may have broken, shape (R,): all that did, and a few more."""
    out = np.zeros(len(offsets) - 1, bool)
    first = 0
    while first < len(out):  # so many points at a time that the temporaries stay in the cache
        last = int(np.searchsorted(offsets, offsets[first] + BLOCK, side="right")) - 1
        last = min(max(last, first + 1), len(out))
        part = slice(int(offsets[first]), int(offsets[last]))
        own = offsets[first : last + 1] - offsets[first]
        out[first:last] = _of_block(t[part], loss[part], own)
        first = last
    return out


def _of_block(t: Floats, loss: Floats, offsets: Ints) -> Bools:
    lengths = np.diff(offsets)
    out = _tails(loss, offsets)
    judged = np.flatnonzero((lengths >= rules.LEAST_POINTS) & ~out)
    if len(judged) < len(lengths):
        rows = np.repeat(np.isin(np.arange(len(lengths)), judged), lengths)
        t, loss, lengths = t[rows], loss[rows], lengths[judged]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
    if len(judged):
        curves = _Curves(t, loss, offsets)
        out[judged] = (
            curves.jump_up() | curves.jump_down() | curves.rise() | curves.sudden_fall()
        )  # fmt: skip
        out[judged] |= curves.counter()
    return out


def _tails(loss: Floats, offsets: Ints) -> Bools:
    """A point that is not finite, zeros or equal losses at the end."""
    lengths = np.diff(offsets)
    out = np.zeros(len(lengths), bool)
    bad = np.flatnonzero(~np.isfinite(loss))
    out[np.searchsorted(offsets, bad, side="right") - 1] = True
    for least, zero in ((rules.LEAST_TAIL, True), (rules.LEAST_FROZEN, False)):
        long = np.flatnonzero(lengths >= least)
        ends = loss[offsets[1:][long, None] - 1 - np.arange(least)]
        out[long] |= (ends == (0 if zero else ends[:, :1])).all(axis=1)
    return out


class _Curves:
    """Finite curves of 20 points or more, end to end, as the rules look at them."""

    def __init__(self, t: Floats, loss: Floats, offsets: Ints) -> None:
        self.t, self.offsets = t, offsets
        self.first, self.stop = offsets[:-1], offsets[1:]
        self.lengths = lengths = np.diff(offsets)
        self.window = np.clip(lengths // 20, 5, 50)
        self.z = self._scaled(loss)
        self.scatter = np.empty(len(lengths))
        self.end = np.empty(len(lengths))
        for curves, rows in blocks(offsets):
            z = self.z[rows].reshape(len(curves), -1)
            bend = z[:, 1:-1] - (z[:, :-2] + z[:, 2:]) / 2
            middle = _medians(bend)
            self.scatter[curves] = 1.4826 * _medians(np.abs(bend - middle[:, None])) / 1.5**0.5
            self.end[curves] = _medians(z[:, -self.window[curves[0]] :])
        # At least so far, in scatters of a running median, is what is no wave or noise.
        smoothed = rules.MEDIAN * self.scatter / np.sqrt(self.window)
        self.clear = rules.SCATTERS * smoothed * (1 - ROUNDING)

    def _scaled(self, loss: Floats) -> Floats:
        lowest = np.minimum.reduceat(loss, self.first)
        if (lowest > 0).all():
            return np.log(loss)
        span = np.maximum(np.maximum.reduceat(loss, self.first) - lowest, 1e-300)
        linear = (loss - self._each(lowest)) / self._each(span)
        is_log = self._each(lowest > 0)
        return np.where(is_log, np.log(np.where(is_log, loss, 1.0)), linear)

    def _each(self, values: np.ndarray) -> np.ndarray:
        """Values of the curves, at each of their points."""
        return np.repeat(values, self.lengths)

    def _curves_of(self, rows: Ints) -> Bools:
        out = np.zeros(len(self.lengths), bool)
        out[np.searchsorted(self.offsets, rows, side="right") - 1] = True
        return out

    def _windows(self, points: Bools, curves: Bools, least: Ints) -> tuple[Ints, Ints]:
        """First rows, and curves, of windows that have so many of some points in them."""
        runs = np.flatnonzero(curves)
        length = self.lengths[runs]
        offsets = np.concatenate([[0], np.cumsum(length)])
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], length)
        row = np.repeat(self.first[runs], length) + place
        width = np.repeat(self.window[runs], length)
        total = np.concatenate([[0], np.cumsum(points[row])])
        inside = np.flatnonzero(place + width <= np.repeat(length, length))
        count = total[inside + width[inside]] - total[inside]
        enough = inside[count >= np.repeat(least[runs], length)[inside]]
        return row[enough], np.repeat(runs, length)[enough]

    def _edges(self, sign: int, least: float) -> Bools:
        """Curves with a step of two points, and of the medians of three, that stands out."""
        z, n = sign * self.z, len(self.z)
        rows = np.flatnonzero(z[1:] - z[:-1] >= rules.SHARP * least * (1 - ROUNDING)) + 1
        curve = np.searchsorted(self.offsets, rows, side="right") - 1
        side = np.minimum(rules.SIDE, self.lengths[curve] // 4)
        place = rows - self.first[curve]
        inside = place >= side - side // 2
        inside &= rows <= self.stop[curve] - np.maximum(side // 2, 3)
        rows, curve, side, place = (v[inside] for v in (rows, curve, side, place))
        size = _of_three(z, rows) - _of_three(z, rows - 3)
        step = z[rows] - z[rows - 1]
        steep = (size >= least * (1 - ROUNDING)) & (step >= rules.SHARP * size * (1 - ROUNDING))
        rows, side, place, size = (v[steep] for v in (rows, side, place, size))
        # The points before it, about their line.
        window = rows[:, None] - 1 - np.arange(rules.SIDE)
        used = np.arange(rules.SIDE) < np.minimum(side, place)[:, None]
        values = np.where(used, z[np.clip(window, 0, n - 1)], 0.0)
        count = used.sum(axis=1)
        u = np.where(used, np.arange(rules.SIDE) - (count[:, None] - 1) / 2, 0.0)
        values -= np.where(used, (values.sum(axis=1) / count)[:, None], 0.0)
        slope = (u * values).sum(axis=1) / (u**2).sum(axis=1)
        spread = np.sqrt(((values - slope[:, None] * u) ** 2).sum(axis=1) / count)
        clear = size >= rules.SCATTERS * np.maximum(spread, 1e-4) * (1 - 1e-6)
        return self._curves_of(rows[clear])

    def jump_up(self) -> Bools:
        """A step up."""
        return self._edges(1, rules.JUMP)

    def jump_down(self) -> Bools:
        """A step down by a factor that a change of unit may be."""
        return self._edges(-1, 1.5 * rules.FACTOR)

    def rise(self) -> Bools:
        """A running median so far below the end."""
        need = np.maximum(self.clear, rules.CLEAR_RISE * (1 - ROUNDING))
        below = self.end - need
        low = np.minimum.reduceat(self.z, self.first) <= below
        _, curve = self._windows(self.z <= self._each(below), low, (self.window - 1) // 2 + 1)
        out = np.zeros(len(low), bool)
        out[curve] = True
        return out

    def sudden_fall(self) -> Bools:
        """A running median far above the end, late on the axis; then also near the plateau's."""
        above = self.end + rules.FALL * (1 - ROUNDING)
        middle = self.window // 2
        since = self.t[self.stop - self.window + middle] / rules.REACH
        fell = self._late(np.maximum.reduceat(self.z, self.first) >= above, above, since)
        for r in np.flatnonzero(fell):
            a, b, half = self.first[r], self.stop[r] - self.window[r] + 1, middle[r]
            start = np.searchsorted(self.t[a + half : b + half], since[r] * (1 - ROUNDING))
            # A point at that very place may be rounded to either side of it.
            level = min(
                self._median(first, self.window[r])
                for first in {int(a + start), int(min(a + start + 1, b - 1))}
            )
            still = self.end[r] + rules.STILL * (level - self.end[r])
            above[r] = max(above[r], still - ROUNDING)
        return self._late(fell, above, since)

    def _late(self, curves: Bools, above: Floats, since: Floats) -> Bools:
        """Which curves have a running median so high where the fall of a plateau may begin."""
        least = self.window - self.window // 2
        row, curve = self._windows(self.z >= self._each(above), curves, least)
        place = self.t[row + self.window[curve] // 2]
        late = place >= since[curve] * np.exp(rules.PLATEAU) * 0.999
        out = np.zeros(len(curves), bool)
        out[curve[late]] = True
        return out

    def _median(self, first: int, count: int) -> float:
        return float(_medians(self.z[None, first : first + count])[0])

    def counter(self) -> Bools:
        """A fall on an axis that begins late."""
        first, last = self.t[self.first], self.t[self.stop - 1]
        out = np.zeros(len(first), bool)
        for r in np.flatnonzero((first > 0) & (last < rules.EARLIER * first)):
            start = self._median(self.first[r], self.window[r])
            out[r] = start - self.end[r] >= max(rules.BENDS * (1 - ROUNDING), self.clear[r])
        return out


def _of_three(z: Floats, rows: Ints) -> Floats:
    """Medians of the points ``rows``, and of the two after each."""
    a, b, c = z[rows], z[rows + 1], z[rows + 2]
    return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))


def _medians(z: Floats) -> Floats:
    """Medians of rows; as NumPy's, which takes longer for short ones."""
    middle = z.shape[1] // 2
    if z.shape[1] % 2:
        return np.asarray(np.partition(z, middle, axis=1)[:, middle])
    part = np.partition(z, (middle - 1, middle), axis=1)
    return np.asarray((part[:, middle - 1] + part[:, middle]) / 2)
