"""The data of a joint fit: curves, their learning rates, and bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats, Ints
from .responses import Rate, check_rate

LEAST_POINTS = 5  # of a curve
LEAST_TOTAL = 20  # of all curves
FEW = 40  # points below which a curve is not binned
MOST_BINS = 280  # of a curve
MOST_TOTAL = 1680  # of all curves: bounds the covariance (23 MB) and its Cholesky factor (0.1 s)


class Curve(NamedTuple):
    """One run of the model: what was observed, and its learning rate."""

    # step, loss: shape (n,): increasing steps, and the loss there in nats
    step: Floats
    loss: Floats
    rate: Rate


class Binned(NamedTuple):
    """Bins of all curves end to end, and what is measured on them."""

    # step, loss, points: shape (n_bins,): mean step and loss of each bin, and how many points it
    # has
    step: Floats
    loss: Floats
    points: Floats
    curve: Ints  # shape (n_bins,): which curve each bin belongs to
    sigma: float  # noise sd of one point, in nats
    # loss per e-fold of steps, in nats: over the last factor 4 of each curve, the median
    slope: float
    level: float  # median of the curves' last losses


def check_curves(curves: Sequence[Curve], names: Sequence[str] | None) -> list[Curve]:
    """The curves as float64 arrays; `DataError` names the one that cannot be used."""
    if not len(curves):
        raise DataError("a joint fit needs at least one curve")
    checked = []
    for i, curve in enumerate(curves):
        whose = f"run {names[i]!r}" if names is not None else f"curve {i}"
        step, loss = (np.ascontiguousarray(v, np.float64) for v in curve[:2])
        if step.ndim != 1 or step.shape != loss.shape:
            raise DataError(
                f"{whose}: step and loss must be flat and of one length, got shapes {step.shape} "
                f"and {loss.shape}"
            )
        if len(step) < LEAST_POINTS:
            raise DataError(
                f"{whose} has {len(step)} points; a joint fit needs {LEAST_POINTS} of each run: "
                f"log more points, or leave the run out"
            )
        if not (np.isfinite(step).all() and np.isfinite(loss).all()):
            raise DataError(f"{whose}: steps and losses must be finite")
        if step[0] <= 0 or (np.diff(step) <= 0).any():
            raise DataError(f"{whose}: steps must be above 0 and increase")
        checked.append(Curve(step, loss, check_rate(curve.rate, whose)))
    total = sum(len(curve.step) for curve in checked)
    if total < LEAST_TOTAL:
        raise DataError(
            f"the runs have {total} points together; a joint fit needs {LEAST_TOTAL}: log more"
        )
    return checked


def binned(curves: Sequence[Curve]) -> Binned:
    """Bins of all curves, at most `MOST_BINS` of a curve and about `MOST_TOTAL` in all.

    A short curve keeps its points, a longer one goes in pairs, and where the pairs are too many the
    bins hold equal shares of (points + e-folds): wide where points are dense, but never so wide
    that the curve bends within a bin.
    """
    most = max(min(MOST_BINS, MOST_TOTAL // len(curves)), 20)
    steps, losses, counts, curve_of, rough, slopes = [], [], [], [], [], []
    for i, curve in enumerate(curves):
        which = _bin_of(curve.step, most)
        count = np.bincount(which).astype(np.float64)
        step = np.bincount(which, curve.step) / count
        loss = np.bincount(which, curve.loss) / count
        steps.append(step)
        losses.append(loss)
        counts.append(count)
        curve_of.append(np.full(len(count), i))
        rough.append(_roughness(step, loss, count))
        slopes.append(_slope(step, loss))
    level = float(np.median([loss[-1] for loss in losses]))
    d = np.concatenate(rough)
    sigma = 1.4826 * float(np.median(np.abs(d - np.median(d))))
    return Binned(
        np.concatenate(steps),
        np.concatenate(losses),
        np.concatenate(counts),
        np.concatenate(curve_of),
        max(sigma, 5e-5 * abs(level)),
        float(np.median(slopes)),
        level,
    )


def _bin_of(step: Floats, most: int) -> Ints:
    """The bin of each point, counted from 0 without gaps."""
    n = len(step)
    if n < FEW:
        return np.arange(n)
    if n // 2 <= most:
        return np.minimum(np.arange(n) // 2, n // 2 - 1)  # an odd last point joins the last pair
    log_t = np.log(step / step[0])
    place = 0.5 * np.arange(n) / (n - 1) + 0.5 * log_t / log_t[-1]
    which = np.minimum((place * most).astype(np.int64), most - 1)
    return np.concatenate([[0], np.cumsum(np.diff(which) > 0)])


def _roughness(step: Floats, loss: Floats, points: Floats) -> Floats:
    """Second differences in units of one point's noise: a smooth trend drops out.

    A bin is compared with the straight line between its neighbours in step^-1/2, in which curves
    hardly bend: in steps, sparse early points would pass their bend for noise.
    """
    s = step**-0.5
    w = (s[1:-1] - s[2:]) / (s[:-2] - s[2:])
    d = loss[1:-1] - w * loss[:-2] - (1 - w) * loss[2:]
    return np.asarray(
        d / np.sqrt(1 / points[1:-1] + w**2 / points[:-2] + (1 - w) ** 2 / points[2:])
    )


def _slope(step: Floats, loss: Floats) -> float:
    """Loss per e-fold over the last factor 4 of a curve, at least 0.4 % of its loss."""
    late = step > step[-1] / 4
    if late.sum() < 6:
        late[:] = True
    fall = -np.polyfit(np.log(step[late] / step[-1]), loss[late], 1)[0]
    return float(max(fall, 0.004 * abs(loss[-1])))
