"""Runs that broke: what happened to a loss curve, and where.

A forecast assumes that a run goes on as it went.  `recognise` says of one curve when that is wrong:

==================  ===============================================================================
kind                what the curve shows
==================  ===============================================================================
``not_finite``      its last losses are NaN or infinite
``zeros``           its last losses are exactly 0 (a half-precision run that broke)
``frozen``          its last losses are one value to the last digit (a logger that stopped)
``scale_jump``      from one point on every loss is multiplied by a factor
``diverged``        the loss rose far above its best level and stayed there
``restarted``       the loss jumped up and is falling back from there
``began_again``     the loss jumped up to where it began and has fallen as low again
``overfitting``     a validation loss that rises slowly from its minimum
``rising``          a training loss that rises slowly from its minimum
``sudden_fall``     a long plateau, then a steep fall that still goes on
``counter``         the fall of a start, on an axis that began long before
==================  ===============================================================================

Everything is measured on running medians against the scatter about them, so that single spikes,
noise and slow waves are no breaks.  A value at or below 0 is read on the linear scale.  Many curves
at once: `lossfit.runs.suspects` leaves out those that none of the rules can hold for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError
from .._base.ragged import Floats

__all__ = ["Break", "Kind", "recognise"]

Kind = Literal[
    "not_finite",
    "zeros",
    "frozen",
    "scale_jump",
    "diverged",
    "restarted",
    "began_again",
    "overfitting",
    "rising",
    "sudden_fall",
    "counter",
]

LEAST_TAIL = 3  # points that are not finite, or 0, at the end
LEAST_FROZEN = 10  # equal points at the end
ROUNDED = 2.0  # units of the last digit: less scatter than this, and rounding makes losses equal
DIGITS = 20  # units of the last digit: what falls to 0 from below that is rounded
LEAST_POINTS = 20  # below which nothing but the tails is judged
SIDE = 12  # points either side of a jump
SHORT = 100_000  # points up to which NumPy sorts the windows, as quickly as SciPy
JUMP = 0.15  # of the log loss: the least jump (a factor of 1.16)
LASTING_JUMP = 0.25  # of one that does not fall back: smaller ones may be other data
SCATTERS = 6.0  # a jump, or a rise, in units of the scatter
SAME_SCATTER = 3.0  # a factor multiplies the scatter too: its log scatter stays within this ratio
FACTOR = 0.6  # of the log loss: the least factor taken for a change of unit
WHOLE = 0.05  # of such a factor: how near to a whole number
SHARP = 0.6  # of a jump: so much of it between two points
BACK = 0.3  # of the least jump: ending no higher over the level before, a jump was a spike
RECOVERED = 0.25  # of a jump: so much fallen back is a restart
TO_FIRST = 0.7  # of the way back to the first losses: a jump to there is a new beginning
AS_SLOWLY = 0.4  # of what it stood above the level, over as many points of the first beginning
RISE, SLOW_RISE = 0.35, 0.10  # of the log loss above the best level: diverged, slowly rising
SURE = 0.25  # of the log loss: a rise that needs no comparison with the fall
CLEAR_RISE, CLEAR = 0.05, 10.0  # of the log loss, and in scatters: a small rise beyond doubt
MEDIAN = (np.pi / 2) ** 0.5  # sd of a median over that of a mean
SHARE = 0.25  # of the run's own fall, that a rise must reach too
REACH = 10.0  # the end over the first axis value that a plateau is looked for at
STILL = 0.9  # of the way from the end up to it: so high it still lasts
PLATEAU = 1.2  # e-folds of the axis without a fall, before a sudden one
EARLIER = 2.0  # times the first axis value: where a log ends that may have begun before
LATE = 10.0  # spacings of the points: the least first axis value of such a log
BEGUN, AT_ONCE = 0.06, 3.0  # of the fall of a start: its size in log loss, and its slope
FRONT = 0.5  # of it, within the first third of the log
NEVER = 10.0  # of a slope: so steep falls no curve whose axis began where it is 0
BENDS, LIKELY = 0.03, 8.0  # least fall, and log likelihood ratio, of a curve bent as at a start
BENT_BINS, MOST_EACH = 32, 25
BENT = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5)  # exponents of a curve from its start
FALL, STEEP = 0.75, 8.0  # of a sudden fall: its size in log loss, its slope over that before


@dataclass(frozen=True)
class Break:
    """What broke in a run, and where.

    Attributes
    ----------
    kind : str
        One of the kinds of the module's table.
    at : float
        Axis value of the first point of it.
    row : int
        That point's place among the points given.
    size : float
        Factor of the loss there: after over before (``scale_jump``, ``restarted``,
        ``began_again``), the end over the best level (``diverged``, ``overfitting``, ``rising``),
        the end over the plateau (``sudden_fall``); 1 for ``frozen``; NaN for tails that are no
        losses.
    origin : float
        Where the run's own axis seems to begin (``counter``); else 0.
    """

    kind: Kind
    at: float
    row: int
    size: float
    origin: float = 0.0

    def __str__(self) -> str:
        where = f"{self.at:,.6g}"
        return {
            "not_finite": f"the loss is not finite from {where} on",
            "zeros": f"the loss is logged as 0 from {where} on",
            "frozen": f"the loss is the same to the last digit from {where} on",
            "scale_jump": f"the loss is multiplied by {self.size:.3g} from {where} on",
            "diverged": f"diverged at {where}",
            "restarted": f"jumped up by a factor of {self.size:.3g} at {where} and is recovering",
            "began_again": f"began again at {where}: the loss jumped up by a factor of "
            f"{self.size:.3g}, to its first level",
            "overfitting": f"over-fitting: the validation loss rises since {where}",
            "rising": f"the loss rises since {where}",
            "sudden_fall": f"fell suddenly after a plateau, at {where}",
            "counter": f"falls as at a start, but the log begins at {where}: if the counter began "
            f"before this run, count from its own start (subtract {self.origin:,.10g})",
        }[self.kind]


def recognise(t: ArrayLike, loss: ArrayLike, is_validation: bool = False) -> Break | None:
    """The break of one curve that matters for its forecast, or None.

    Parameters
    ----------
    t, loss : array_like, shape (n,)
        The logged points, in order; losses may be NaN or infinite.
    is_validation : bool
        Whether the loss is one of held-out data: a slow rise is then over-fitting.

    Returns
    -------
    Break or None
        None for a healthy run, and for one of too few points to tell.

    Raises
    ------
    DataError
        If the two differ in length, or `t` does not increase.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(1.0, 201.0)
    >>> loss = 3 + 2 * t**-0.5
    >>> recognise(t, loss) is None
    True
    >>> loss[150:] *= 8
    >>> print(recognise(t, loss))
    the loss is multiplied by 8 from 151 on
    """
    x, y = np.asarray(t, float), np.asarray(loss, float)
    if x.shape != y.shape or x.ndim != 1:
        raise DataError(f"t and loss must be of one length, got {x.shape} and {y.shape}")
    if np.any(np.diff(x) <= 0):
        row = int(np.argmax(np.diff(x) <= 0)) + 1
        raise DataError(f"t must increase, but row {row} is not above the one before: sort the run")
    rows = np.flatnonzero(np.isfinite(y))
    tail = _tail(x, y, rows)
    if tail is not None:
        return tail
    x, y = x[rows], y[rows]
    if len(y) < LEAST_POINTS:
        return None
    first = _frozen(y)
    if first is not None:
        return Break("frozen", float(x[first]), int(rows[first]), 1.0)
    z = np.log(y) if (y > 0).all() else (y - y.min()) / max(float(np.ptp(y)), 1e-300)
    smooth = _smooth(z)
    broken = (
        _counter(x, z, smooth, bool((y > 0).all()))
        or _jump(z)
        or _rise(z, smooth, is_validation)
        or _sudden_fall(x, z, smooth)
    )
    if broken is None:
        return None
    name, row, size = broken
    origin = float(x[0]) - _spacing(x) if name == "counter" else 0.0
    return Break(name, float(x[row]), int(rows[row]), float(np.exp(size)), origin)


Broken = tuple[Kind, int, float] | None  # kind, row, difference of the (log) loss


def _tail(x: Floats, y: Floats, rows: np.ndarray) -> Break | None:
    """A block of NaN, infinities or zeros at the end."""
    first = int(rows[-1]) + 1 if len(rows) else 0
    if len(y) - first >= LEAST_TAIL:
        return Break("not_finite", float(x[first]), first, float("nan"))
    finite = y[rows]
    other = np.flatnonzero(finite != 0)
    zeros = len(finite) - 1 - other[-1] if len(other) else 0
    if zeros >= LEAST_TAIL and len(other) >= LEAST_TAIL:
        # Losses that reach 0 by rounding come within a few units of the last digit first.
        before = np.abs(finite[other][-50:])
        digits = np.diff(np.unique(before))
        unit = float(digits.min()) if len(digits) else 0.0
        if _median(before[-5:]) > DIGITS * unit:
            row = int(rows[other[-1] + 1])
            return Break("zeros", float(x[row]), row, float("nan"))
    return None


def _frozen(y: Floats) -> int | None:
    """Where losses begin to repeat one value until the end, though the ones before scatter."""
    other = np.flatnonzero(y != y[-1])
    if not len(other) or len(y) - 1 - other[-1] < LEAST_FROZEN:
        return None
    before = y[: other[-1] + 1]
    steps = np.diff(np.unique(before))
    if len(before) < LEAST_FROZEN or not len(steps):
        return None
    return int(other[-1]) + 1 if _scatter(before) > ROUNDED * float(steps.min()) else None


def _scatter(z: Floats) -> float:
    """Robust sd of one point about its neighbours."""
    bend = z[1:-1] - (z[:-2] + z[2:]) / 2
    return 1.4826 * _median(np.abs(bend - _median(bend))) / 1.5**0.5 if len(bend) else 0.0


def _median(z: Floats) -> float:
    """As NumPy's, which takes several times as long for a few hundred points."""
    middle = len(z) // 2
    if len(z) % 2:
        return float(np.partition(z, middle)[middle])
    part = np.partition(z, (middle - 1, middle))
    return float(part[middle - 1] + part[middle]) / 2


def _running_medians(z: Floats, side: int) -> Floats:
    """Medians of every ``side`` successive points."""
    if len(z) <= SHORT:  # sooner done than SciPy is imported
        windows = np.sort(np.lib.stride_tricks.sliding_window_view(z, side), axis=1)
        return np.asarray((windows[:, (side - 1) // 2] + windows[:, side // 2]) / 2)
    from scipy.ndimage import rank_filter

    inner = slice(side // 2, len(z) - side + 1 + side // 2)
    upper = rank_filter(z, side // 2, size=side)[inner]
    lower = upper if side % 2 else rank_filter(z, side // 2 - 1, size=side)[inner]
    return np.asarray((lower + upper) / 2)


def _side(z: Floats) -> int:
    return min(SIDE, len(z) // 4)


def _medians(z: Floats, side: int) -> tuple[Floats, Floats]:
    """Medians of the ``side`` points before, and from, each point that has so many."""
    m = _running_medians(z, side)
    return m[:-side], m[side:]


def _edge(
    z: Floats, medians: tuple[Floats, Floats], sign: int
) -> tuple[int, Floats, Floats, float] | None:
    """The largest abrupt step up (or down): its row, what is around it and its size."""
    side = _side(z)
    before, after = medians
    row = int(np.argmax(sign * (after - before))) + side
    near = np.arange(max(row - side // 2, 1), min(row + side // 2 + 1, len(z)))
    row = int(near[np.argmax(sign * (z[near] - z[near - 1]))])
    left, right = z[max(row - side, 0) : row], z[row : row + side]
    if len(right) < max(side // 2, 3):
        return None
    size = _median(right[:3]) - _median(left[-3:])
    if sign * size < JUMP:
        return None
    scatter = max(float(np.std(left - _line(left))), _scatter(left), 1e-4)
    if sign * size < SCATTERS * scatter or sign * (z[row] - z[row - 1]) < SHARP * sign * size:
        return None
    return row, left, right, size


def _jump(z: Floats) -> Broken:
    """An abrupt step that lasts: a factor on all losses, or a restart from a worse state."""
    medians = _medians(z, _side(z))
    edge = _edge(z, medians, 1)
    if edge is None:
        edge = _edge(z, medians, -1)
        if edge is not None and edge[3] < -1.5 * FACTOR and _same_curve(z, edge):
            return "scale_jump", edge[0], _median(edge[2]) - _median(edge[1])
        return None
    row, left, right, size = edge
    level = _median(left[-3:])
    over = _median(z[-max(3, len(z) // 40) :]) - level
    if over < BACK * JUMP:  # back where it was: a spike, or a second beginning
        return ("began_again", row, size) if _is_beginning(z, row, level, size) else None
    if over < (1 - RECOVERED) * size:
        return "restarted", row, size
    if size > FACTOR and _same_curve(z, edge):
        return "scale_jump", row, _median(right) - _median(left)
    return ("diverged", row, over) if size > LASTING_JUMP else None


def _is_beginning(z: Floats, row: int, level: float, size: float) -> bool:
    """Whether a jump led to the first losses, and the loss fell from there as from a start."""
    first = _median(z[:3])
    if first - level < JUMP or size < TO_FIRST * (first - level):
        return False
    if _median(z[row : row + 2 * LEAST_TAIL]) < level + BACK * size:  # a spike of a few points
        return False
    points = min(row, len(z) - row)
    above = np.maximum(z - level, 0.0)
    return bool(above[row : row + points].sum() > AS_SLOWLY * above[:points].sum())


def _same_curve(z: Floats, edge: tuple[int, Floats, Floats, float]) -> bool:
    """Whether the curve goes on as before, times a whole number (accumulated steps, devices)."""
    row, left, right, _ = edge
    factor = float(np.exp(abs(_median(right) - _median(left))))
    if abs(factor - round(factor)) > WHOLE * factor:
        return False
    ratio = max(_scatter(right), 1e-4) / max(_scatter(left), 1e-4)
    return 1 / SAME_SCATTER < ratio < SAME_SCATTER and not _rises_on(z[row:])


def _line(z: Floats) -> Floats:
    u = np.arange(len(z)) - (len(z) - 1) / 2
    return np.asarray(z.mean() + u * (u @ z) / max(float(u @ u), 1.0))


def _rises_on(z: Floats) -> bool:
    third = max(len(z) // 3, 1)
    return bool(_median(z[-third:]) > _median(z[:third]) + 2 * _scatter(z))


Smooth = tuple[Floats, int, float]


def _smooth(z: Floats) -> Smooth:
    """Running medians, their window, and the scatter of one of them."""
    side = int(np.clip(len(z) // 20, 5, 50))
    m = _running_medians(z, side)
    # Of a median of independent points, and of slow waves: the fall of a start adds to neither.
    return m, side, max(MEDIAN * _scatter(z) / side**0.5, _scatter(m[::side]))


def _rise(z: Floats, smooth: Smooth, is_validation: bool) -> Broken:
    """The end far above the best level, and not because of waves."""
    m, side, scatter = smooth
    low = int(np.argmin(m))
    if len(m) - low < side:  # the last points are among the best ones
        return None
    best, start, end = float(m[low]), float(m[: low + 1].max()), _median(z[-side:])
    rise = end - best
    least = max(SLOW_RISE, min(SHARE * (start - best), SURE))
    if rise < SCATTERS * scatter or (rise < least and rise < max(CLEAR_RISE, CLEAR * scatter)):
        return None
    # where: the last point at the best level
    above = np.flatnonzero(m[low:] > best + max(0.25 * rise, 2 * scatter))
    row = low + side // 2 + (int(above[0]) if len(above) else 0)
    if m[low + above[0] :].min() < best + 0.1 * rise:  # came back: waves
        return None
    if rise > RISE and not is_validation:
        return "diverged", row, rise
    return ("overfitting" if is_validation else "rising"), row, rise


def _spacing(x: Floats) -> float:
    return _median(np.diff(x))


def _counter(x: Floats, z: Floats, smooth: Smooth, is_log: bool) -> Broken:
    """A fall that only a start shows, at axis values that differ by little.

    It is steep as no curve is so late, most of it at once; or the curve is bent as one that began
    with the log, and not as a smooth one in the log of the axis.
    """
    m, _, scatter = smooth
    gap = _spacing(x)
    if not LATE * gap < x[0] < x[-1] < EARLIER * x[0]:
        return None
    fall = float(m[0] - m[-1])
    if fall < max(BENDS, SCATTERS * scatter):
        return None
    slope = fall / float(np.log(x[-1] / x[0]))
    if is_log and fall >= BEGUN and slope > AT_ONCE:
        at_once = m[0] - m[len(m) // 3] > FRONT * fall
        if at_once or slope > NEVER:
            return "counter", 0, -fall
    return ("counter", 0, -fall) if _bent_as_from(x, z, gap) > LIKELY else None


def _bent_as_from(x: Floats, z: Floats, gap: float) -> float:
    """Log likelihood ratio of a power law from the log's own start to a parabola in log x."""
    since = np.log(x - x[0] + gap)
    share = (since - since[0]) / (since[-1] - since[0])
    bins = np.minimum((share * BENT_BINS).astype(int), BENT_BINS - 1)
    used, which, count = np.unique(bins, return_inverse=True, return_counts=True)
    middle = np.array([_median(z[which == k]) for k in range(len(used))])
    places = np.bincount(which, x) / count
    weight = np.sqrt(np.minimum(count, MOST_EACH))

    def squares(columns: Floats) -> tuple[float, Floats]:
        table = columns.T * weight[:, None]
        coefficients = np.linalg.lstsq(table, middle * weight, rcond=None)[0]
        return float(((middle * weight - table @ coefficients) ** 2).sum()), coefficients

    late = np.log(places / x[-1])
    late /= -late[0]
    smooth, _ = squares(np.stack([np.ones_like(late), late, late**2]))
    own, best = places - x[0] + gap, np.inf
    for alpha in BENT:
        column = -np.log(own) if alpha == 0 else own**-alpha
        column = (column - column.mean()) / column.std()
        miss, (_, slope) = squares(np.stack([np.ones_like(column), column]))
        if slope > 0:
            best = min(best, miss)
    noise = 0.5 * len(used) * _scatter(z) ** 2 + 1e-12
    return 0.5 * len(used) * float(np.log((smooth + noise) / (best + noise)))


def _sudden_fall(x: Floats, z: Floats, smooth: Smooth) -> Broken:
    """A plateau over most of log time, then a steep fall that reaches the end."""
    m, side, scatter = smooth
    at = np.log(x[side // 2 : side // 2 + len(m)])
    end = _median(z[-side:])
    # plateau: the medians from a tenth of the run on until the fall begins
    first = int(np.searchsorted(at, at[-1] - np.log(REACH)))
    level = m[first:]
    begun = np.flatnonzero(level > end + STILL * (level[0] - end))
    if not len(begun):
        return None
    last = first + int(begun[-1])
    fall = float(m[last] - end)
    before, during = at[last] - at[first], at[-1] - at[last]
    if last - first < side or during <= 0 or before < PLATEAU:
        return None
    slope, earlier = fall / during, max(float(level[0] - m[last]), scatter) / before
    if fall < FALL or fall < 2 * SCATTERS * scatter or slope < STEEP * earlier:
        return None
    if level[0] - m[last] > 0.15 * fall:
        return None
    return "sudden_fall", last + side // 2, -fall
