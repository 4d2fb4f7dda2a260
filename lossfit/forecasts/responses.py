"""What a learning rate does to the loss: its paths in steps, LR time, and the responses to it.

The nonlinear part of a law is a grid of *shapes* (an exponent alpha and an offset x0 of the LR
time) and of *responses* to the learning rate (annealing with tau and p, multi-power with C, beta,
gamma and q); `lossfit.kernels.paths` has the formulas and computes them.  Joint fits, other
schedules (`what_if`, `best_tail`) and phases all take them from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats, Ints

if TYPE_CHECKING:
    from ..kernels.paths import Paths, Shapes

#: Annealing: time constants in steps, exponents of rho.
TAUS = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)
POWERS = (0.5, 0.65, 0.8, 1.0)
#: Multi-power: C per step at the peak rate, beta, gamma, and exponents of rho (1 in the source;
#: less than 1 suits cosines better, as it does for annealing).
RATES = tuple(np.geomspace(0.01, 0.4, 8).tolist())
BETAS = (0.4, 0.5, 0.6, 0.7)
GAMMAS = (0.5, 0.64, 0.8)
QS = (0.8, 1.0)
STUDIED = 24_000.0  # steps of the runs on which the grids of tau, C and x0 were chosen
FIRST = 0.09  # where those runs began, in units of their reference
PIECE = 0.02  # largest drop of rho that counts as one change, where it is gradual
NEAREST = 1e-3  # lowest (x + x0) / reference: the power law has a pole at 0


class Rate(NamedTuple):
    """A relative learning rate, straight between nodes and held beyond them."""

    step: Floats  # shape (n_nodes,): steps, not decreasing; two at one place are a jump
    # shape (n_nodes,): learning rate over its peak.  The warm-up counts at the peak: start with 1
    rho: Floats


class Grid(NamedTuple):
    """Shapes and responses."""

    shapes: Floats  # shape (n_shapes, 2): alpha and x0 / reference
    # shape (n_units, 5): kind, tau in steps (or C per step), p (or beta), gamma, and q of a multi-
    # power response
    units: Floats
    family: Ints  # shape (n_units,): which of the stacked families a response belongs to


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


def rate_along(shapes: Shapes, paths: Paths, path: int, step_size: float) -> Rate:
    """A path of the kernels in steps, with its jumps made over one step.

    That is what a log of the learning rate shows.  The multi-power response to a jump counts at the
    rate after it, that to a slope at the rates on the way: a schedule that is stated and one that
    was logged must not differ in that.
    """
    first, last = shapes.offsets[paths.shape[path]], shapes.offsets[paths.shape[path] + 1]
    t = paths.start[path] + shapes.z[first:last] * paths.stretch[path]
    step, rho = np.maximum(t / step_size, 0.0), shapes.rho[first:last]
    ramped = step.copy()
    jump = np.flatnonzero((np.diff(step) == 0) & (rho[1:] != rho[:-1]) & (step[1:] > 0))
    for k in jump:
        after = step[k + 2] if k + 2 < len(step) else np.inf
        ramped[k + 1] = min(step[k] + 1.0, 0.5 * (step[k] + after))
    return Rate(ramped, rho)


def lr_time(rate: Rate, step: Floats) -> Floats:
    """x: the integral of the rate from 0, shape of `step`."""
    at = np.ascontiguousarray(step, np.float64)
    return _features(rate, at, np.empty((0, 5)))[0]


def grid_of(
    reference: float,  # reference step
    first: float,  # LR time of the earliest point
    # alphas, offsets: exponents; offsets x0 in units of the reference, for curves that begin at
    # `FIRST` of it or later.  Where the data begin earlier they shrink in proportion, so that x +
    # x0 stays positive
    alphas: Sequence[float],
    offsets: Sequence[float],
    families: Sequence[Floats],  # shape (n_units, 4) or (n_units, 5)
) -> Grid:
    """The grid of a fit."""
    shrink = min(1.0, first / (FIRST * reference))
    pairs = [(alpha, shrink * x0) for alpha in alphas for x0 in offsets]
    family = np.repeat(np.arange(len(families)), [len(units) for units in families])
    padded = [np.pad(units, ((0, 0), (0, 5 - units.shape[1])), constant_values=1.0)
              for units in families]  # fmt: skip
    return Grid(np.array(pairs), np.concatenate(padded), family)


def annealing_units(reference: float, taus: Sequence[float], powers: Sequence[float]) -> Floats:
    """Annealing responses, shape (n_units, 4).

    Time constants are steps of the optimiser; runs longer than those studied get slower ones too,
    up to the same share of the reference.
    """
    from ..kernels.paths import ANNEALING

    slow = list(taus)
    while len(slow) > 1 and slow[-1] < max(taus) * reference / STUDIED * (1 - 1e-2):
        slow.append(slow[-1] * slow[-1] / slow[-2])
    return np.array([(ANNEALING, tau, p, 0.0) for p in powers for tau in slow])


def multi_power_units(
    reference: float,
    rates: Sequence[float],
    betas: Sequence[float],
    gammas: Sequence[float],
    powers: Sequence[float] = (1.0,),
) -> Floats:
    """Multi-power responses, shape (n_units, 5); C is per step, extended like tau."""
    from ..kernels.paths import MULTI_POWER

    slow = sorted(rates, reverse=True)
    while len(slow) > 1 and slow[-1] > min(rates) * STUDIED / reference * (1 + 1e-2):
        slow.append(slow[-1] * slow[-1] / slow[-2])
    return np.array(
        [
            (MULTI_POWER, c, beta, g, p)
            for p in powers
            for beta in betas
            for g in gammas
            for c in slow
        ]
    )


def basis(
    rate: Rate,
    step: Floats,  # shape (n,)
    reference: float,
    shapes: Floats,  # shape (n_shapes, 2)
    # shape (n_units, 4) or (n_units, 5): without a fifth column multi-power responses have q = 1
    units: Floats,
) -> tuple[Floats, Floats]:
    """Columns of the model at some steps under a rate.

    Returns
    -------
    phi : ndarray, shape (n, n_shapes)
        The power law in Box-Cox form, ``(1 - ((x + x0) / (reference + x0))^-alpha) / alpha`` times
        ``(reference + x0) / reference``: its slope in x / reference is 1 at the reference.
    response : ndarray, shape (n, n_units)
    """
    order = np.argsort(step, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    x, response = _features(rate, step[order], units)
    x, response = x[back], response[back]
    alpha, x0 = shapes.T
    whole = 1 + x0
    log_ratio = np.log(np.maximum(x[:, None] / reference + x0, NEAREST) / whole)
    return -np.expm1(-alpha * log_ratio) / alpha * whole, response


def refined(rate: Rate) -> Rate:
    """The same rate with more nodes, so that none of its gradual changes is large.

    A response to rho^p is straight in rho^p between nodes, and counts a slope at its middle.
    """
    drop = np.abs(np.diff(rate.rho))
    gradual = np.diff(rate.step) > 0
    pieces = np.maximum(np.where(gradual, np.ceil(drop / PIECE), 1), 1).astype(np.int64)
    if (pieces == 1).all():
        return rate
    k = np.repeat(np.arange(len(drop)), pieces)
    share = (np.arange(len(k)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[k]
    step = rate.step[k] + share * np.diff(rate.step)[k]
    rho = rate.rho[k] + share * np.diff(rate.rho)[k]
    return Rate(np.append(step, rate.step[-1]), np.append(rho, rate.rho[-1]))


def groups_of(units: Floats) -> Ints:
    """Bounds of stretches of units that differ in tau or C only."""
    if not len(units):
        return np.zeros(1, np.int64)
    new = (np.diff(np.delete(units, 1, axis=1), axis=0) != 0).any(axis=1)
    return np.concatenate([[0], np.flatnonzero(new) + 1, [len(units)]]).astype(np.int64)


def _features(rate: Rate, step: Floats, units: Floats) -> tuple[Floats, Floats]:
    """LR time, shape (n,), and responses, shape (n, n_units), at increasing steps."""
    from ..engine.serving import feature_table
    from ..kernels.paths import Paths, Shapes

    if len(units):
        rate = refined(rate)
    shapes = Shapes(rate.step, rate.rho, np.array([0, len(rate.step)], np.int64))
    paths = Paths(np.zeros(1, np.int64), np.zeros(1), np.ones(1))
    return feature_table(shapes, paths, step, groups_of(units), units)
