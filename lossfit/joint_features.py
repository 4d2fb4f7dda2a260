"""What enters a joint fit: curves in bins, the grid of its shapes, and its features.

Curves of one model under several learning-rate schedules are cut to a bounded number of bins.  The
nonlinear part of the model is a grid of *shapes* (an exponent alpha and an offset x0 of the LR
time) and of *responses* to the learning rate (annealing with tau and p, multi-power with C, beta
and gamma); `lossfit.kernels.paths` has the formulas of x and of the responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._ragged import Floats, Ints
from .errors import DataError

__all__ = ["Binned", "Curve", "Grid", "Rate", "basis", "binned", "grid_of", "lr_time"]

LEAST_POINTS = 5  # of a curve
LEAST_TOTAL = 20  # of all curves
FEW = 40  # points below which a curve is not binned
MOST_BINS = 280  # of a curve
MOST_TOTAL = 1680  # of all curves: bounds the covariance (23 MB) and its Cholesky factor (0.1 s)
STUDIED = 24_000.0  # steps of the runs on which the grids of tau, C and x0 were chosen
FIRST = 0.09  # where those runs began, in units of their reference
PIECE = 0.02  # largest drop of rho that counts as one change, where it is gradual
LOWEST_RATE = 0.003  # the multi-power response has a pole where rho is 0
MOST_ELEMENTS = 1 << 18  # of a temporary: 2 MB
NEAREST = 1e-3  # lowest (x + x0) / reference: the power law has a pole at 0


class Rate(NamedTuple):
    """A relative learning rate, straight between nodes and held beyond them.

    Attributes
    ----------
    step : ndarray, shape (n_nodes,)
        Steps, not decreasing; two at one place are a jump.
    rho : ndarray, shape (n_nodes,)
        Learning rate over its peak.  The warm-up counts at the peak: start with 1.
    """

    step: Floats
    rho: Floats


class Curve(NamedTuple):
    """One run of the model: what was observed, and its learning rate.

    Attributes
    ----------
    step, loss : ndarray, shape (n,)
        Increasing steps, and the loss there in nats.
    rate : Rate
    """

    step: Floats
    loss: Floats
    rate: Rate


class Binned(NamedTuple):
    """Bins of all curves end to end, and what is measured on them.

    Attributes
    ----------
    step, loss, points : ndarray, shape (n_bins,)
        Mean step and loss of each bin, and how many points it has.
    curve : ndarray of int, shape (n_bins,)
        Which curve each bin belongs to.
    sigma : float
        Noise sd of one point, in nats.
    slope : float
        Loss per e-fold of steps, in nats: over the last factor 4 of each curve, the median.
    level : float
        Median of the curves' last losses.
    """

    step: Floats
    loss: Floats
    points: Floats
    curve: Ints
    sigma: float
    slope: float
    level: float


class Grid(NamedTuple):
    """Shapes and responses.

    Attributes
    ----------
    shapes : ndarray, shape (n_shapes, 2)
        alpha and x0 / reference.
    units : ndarray, shape (n_units, 4)
        Kind, tau in steps (or C per step), p (or beta), gamma.
    family : ndarray of int, shape (n_units,)
        Which of the stacked families a response belongs to.
    """

    shapes: Floats
    units: Floats
    family: Ints


def check_rate(rate: Rate, whose: str) -> Rate:
    """The rate as float64 arrays; `DataError` where it is not one."""
    step, rho = (np.ascontiguousarray(v, np.float64) for v in rate)
    if step.ndim != 1 or step.shape != rho.shape or not len(step):
        raise DataError(f"{whose}: a rate needs as many steps as values, at least one")
    if not (np.isfinite(step).all() and np.isfinite(rho).all()):
        raise DataError(f"{whose}: the learning rate has values that are not finite")
    if (np.diff(step) < 0).any() or (rho < 0).any():
        raise DataError(f"{whose}: a rate's steps must not decrease, and its values be 0 or more")
    return Rate(step, rho)


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


def lr_time(rate: Rate, step: Floats) -> Floats:
    """x: the integral of the rate from 0, shape of `step`."""
    at, units, groups = np.array([1.0]), np.empty((0, 4)), np.zeros(1, np.int64)
    at = np.ascontiguousarray(step, np.float64)
    return _features(rate, at, units, groups)[0]


def grid_of(
    reference: float,
    first: float,
    alphas: Sequence[float],
    offsets: Sequence[float],
    families: Sequence[Floats],
) -> Grid:
    """The grid of a fit.

    Parameters
    ----------
    reference : float
        Reference step.
    first : float
        LR time of the earliest point.
    alphas, offsets : sequence of float
        Exponents; offsets x0 in units of the reference, for curves that begin at `FIRST` of it or
        later.  Where the data begin earlier they shrink in proportion, so that x + x0 stays
        positive.
    families : sequence of ndarray, shape (n_units, 4)
    """
    shrink = min(1.0, first / (FIRST * reference))
    pairs = [(alpha, shrink * x0) for alpha in alphas for x0 in offsets]
    family = np.repeat(np.arange(len(families)), [len(units) for units in families])
    return Grid(np.array(pairs), np.concatenate(list(families)), family)


def annealing_units(reference: float, taus: Sequence[float], powers: Sequence[float]) -> Floats:
    """Annealing responses, shape (n_units, 4).

    Time constants are steps of the optimiser; runs longer than those studied get slower ones too,
    up to the same share of the reference.
    """
    from .kernels.paths import ANNEALING

    slow = list(taus)
    while len(slow) > 1 and slow[-1] < max(taus) * reference / STUDIED * (1 - 1e-2):
        slow.append(slow[-1] * slow[-1] / slow[-2])
    return np.array([(ANNEALING, tau, p, 0.0) for p in powers for tau in slow])


def multi_power_units(
    reference: float, rates: Sequence[float], betas: Sequence[float], gammas: Sequence[float]
) -> Floats:
    """Multi-power responses, shape (n_units, 4); C is per step, extended like tau."""
    from .kernels.paths import MULTI_POWER

    slow = sorted(rates, reverse=True)
    while len(slow) > 1 and slow[-1] > min(rates) * STUDIED / reference * (1 + 1e-2):
        slow.append(slow[-1] * slow[-1] / slow[-2])
    return np.array([(MULTI_POWER, c, beta, g) for beta in betas for g in gammas for c in slow])


def basis(
    rate: Rate, step: Floats, reference: float, shapes: Floats, units: Floats
) -> tuple[Floats, Floats]:
    """Columns of the model at some steps under a rate.

    Parameters
    ----------
    rate : Rate
    step : ndarray, shape (n,)
    reference : float
    shapes, units : ndarray, shape (n_shapes, 2) and (n_units, 4)

    Returns
    -------
    phi : ndarray, shape (n, n_shapes)
        The power law in Box-Cox form, ``(1 - ((x + x0) / (reference + x0))^-alpha) / alpha`` times
        ``(reference + x0) / reference``: its slope in x / reference is 1 at the reference.
    response : ndarray, shape (n, n_units)
    """
    from .kernels.paths import MULTI_POWER

    order = np.argsort(step, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    powers = units[:, 0] == MULTI_POWER
    response = np.empty((len(step), len(units)))
    slow = units[~powers]
    x, annealing = _features(rate, step[order], slow, _groups(slow))
    x = x[back]
    response[:, ~powers] = annealing[back]
    response[:, powers] = _multi_power(rate, x, units[powers, 1:])
    alpha, x0 = shapes.T
    whole = 1 + x0
    log_ratio = np.log(np.maximum(x[:, None] / reference + x0, NEAREST) / whole)
    return -np.expm1(-alpha * log_ratio) / alpha * whole, response


def _multi_power(rate: Rate, x: Floats, units: Floats) -> Floats:
    """The multi-power response, shape (n, n_units), at LR times x; units are C, beta, gamma.

    ``sum_k (rho_{k-1} - rho_k) (1 - (1 + C rho_k^-gamma (x - x_k))^-beta)``: a jump counts at the
    rate after it, as in the source; a slope counts in pieces, each at its middle.
    """
    level, drop, at = _changes(rate)
    out = np.zeros((len(x), len(units)))
    if not len(drop) or not len(units):
        return out
    pairs, which = np.unique(units[:, [0, 2]], axis=0, return_inverse=True)
    rows = max(1, MOST_ELEMENTS // len(drop))
    for first in range(0, len(x), rows):
        some = slice(first, first + rows)
        since = np.maximum(x[some, None] - at, 0.0)
        for i, (c, gamma) in enumerate(pairs):
            log_grown = np.log1p(since * (c * level**-gamma))
            for unit in np.flatnonzero(which == i):
                out[some, unit] = -np.expm1(-units[unit, 1] * log_grown) @ drop
    return out


def _changes(rate: Rate) -> tuple[Floats, Floats, Floats]:
    """Changes of the rate: its level, the drop, and the LR time of each, shape (n_changes,)."""
    gap, drop = np.diff(rate.step), -np.diff(rate.rho)
    moved = np.abs(drop) > 1e-9
    area = lr_time(rate, rate.step)[:-1]
    pieces = np.where(gap > 0, np.ceil(np.abs(drop) / PIECE), 1).astype(np.int64)[moved]
    k = np.repeat(np.flatnonzero(moved), pieces)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    middle = (np.arange(len(k)) - first + 0.5) / np.repeat(pieces, pieces)
    level = rate.rho[k] - drop[k] * middle
    at = area[k] + 0.5 * (rate.rho[k] + level) * gap[k] * middle
    level = np.where(gap[k] > 0, level, rate.rho[k + 1])
    return np.maximum(level, LOWEST_RATE), drop[k] / np.repeat(pieces, pieces), at


def _groups(units: Floats) -> Ints:
    """Bounds of stretches of units that differ in tau or C only."""
    if not len(units):
        return np.zeros(1, np.int64)
    new = (np.diff(units[:, [0, 2, 3]], axis=0) != 0).any(axis=1)
    return np.concatenate([[0], np.flatnonzero(new) + 1, [len(units)]]).astype(np.int64)


def _features(rate: Rate, step: Floats, units: Floats, groups: Ints) -> tuple[Floats, Floats]:
    """LR time, shape (n,), and responses, shape (n, n_units), at increasing steps."""
    from .kernels.paths import Paths, Shapes, features

    n_nodes, n_units = len(rate.step), len(units)
    shapes = Shapes(rate.step, rate.rho, np.array([0, n_nodes], np.int64))
    paths = Paths(np.zeros(1, np.int64), np.zeros(1), np.ones(1))
    work = (np.empty(n_nodes), np.empty(n_units), np.empty(n_units))
    x, out = np.empty(len(step)), np.empty((len(step), n_units))
    features(0, shapes, paths, len(step), step, groups, units, 1.0, work, x, out, 0)
    return x, out
