"""The grid of a joint fit, and what its cells say of a learning rate.

The nonlinear part of the model is a grid of *shapes* (an exponent alpha and an offset x0 of the LR
time) and of *responses* to the learning rate (annealing with tau and p, multi-power with C, beta
and gamma); `lossfit.kernels.paths` has the formulas of x and of the responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._base.ragged import Floats, Ints
from .joint_data import Rate

__all__ = ["Grid", "annealing_units", "basis", "grid_of", "lr_time", "multi_power_units"]

STUDIED = 24_000.0  # steps of the runs on which the grids of tau, C and x0 were chosen
FIRST = 0.09  # where those runs began, in units of their reference
PIECE = 0.02  # largest drop of rho that counts as one change, where it is gradual
MOST_ELEMENTS = 1 << 18  # of a temporary: 2 MB
NEAREST = 1e-3  # lowest (x + x0) / reference: the power law has a pole at 0


class Grid(NamedTuple):
    """Shapes and responses.

    Attributes
    ----------
    shapes : ndarray, shape (n_shapes, 2)
        alpha and x0 / reference.
    units : ndarray, shape (n_units, 5)
        Kind, tau in steps (or C per step), p (or beta), gamma, and the p of a multi-power response.
    family : ndarray of int, shape (n_units,)
        Which of the stacked families a response belongs to.
    """

    shapes: Floats
    units: Floats
    family: Ints


def lr_time(rate: Rate, step: Floats) -> Floats:
    """x: the integral of the rate from 0, shape of `step`."""
    at = np.ascontiguousarray(step, np.float64)
    return _features(rate, at, np.empty((0, 4)), np.zeros(1, np.int64))[0]


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
    families : sequence of ndarray, shape (n_units, 4) or (n_units, 5)
    """
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
    rate: Rate, step: Floats, reference: float, shapes: Floats, units: Floats
) -> tuple[Floats, Floats]:
    """Columns of the model at some steps under a rate.

    Parameters
    ----------
    rate : Rate
    step : ndarray, shape (n,)
    reference : float
    shapes : ndarray, shape (n_shapes, 2)
    units : ndarray, shape (n_units, 4) or (n_units, 5)
        Without a fifth column multi-power responses have p = 1.

    Returns
    -------
    phi : ndarray, shape (n, n_shapes)
        The power law in Box-Cox form, ``(1 - ((x + x0) / (reference + x0))^-alpha) / alpha`` times
        ``(reference + x0) / reference``: its slope in x / reference is 1 at the reference.
    response : ndarray, shape (n, n_units)
    """
    from ..kernels.paths import MULTI_POWER

    order = np.argsort(step, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    powers = units[:, 0] == MULTI_POWER
    response = np.empty((len(step), len(units)))
    slow = units[~powers, :4]
    x, annealing = _features(rate, step[order], slow, _groups(slow))
    x = x[back]
    response[:, ~powers] = annealing[back]
    fast = units[powers, 1:]
    power = fast[:, 3] if fast.shape[1] > 3 else np.ones(len(fast))
    found = np.empty((len(x), len(fast)))
    for p in np.unique(power):
        found[:, power == p] = _multi_power(rate, x, fast[power == p, :3], float(p))
    response[:, powers] = found
    alpha, x0 = shapes.T
    whole = 1 + x0
    log_ratio = np.log(np.maximum(x[:, None] / reference + x0, NEAREST) / whole)
    return -np.expm1(-alpha * log_ratio) / alpha * whole, response


def _multi_power(rate: Rate, x: Floats, units: Floats, power: float) -> Floats:
    """The multi-power response, shape (n, n_units), at LR times x; units are C, beta, gamma.

    ``sum_k (rho_{k-1}^p - rho_k^p) (1 - (1 + C rho_k^-gamma (x - x_k))^-beta)``, with p = 1 in the
    source: a jump counts at the rate after it, as there; a slope counts in pieces, each at its
    middle.
    """
    level, drop, at = _changes(rate, power)
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


def _changes(rate: Rate, power: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Changes of the rate: its level, the drop of rho^p, and the LR time of each, (n_changes,)."""
    from ..kernels.paths import LOWEST_RATE

    gap, drop = np.diff(rate.step), -np.diff(rate.rho)
    moved = np.abs(drop) > 1e-9
    area = lr_time(rate, rate.step)[:-1]
    pieces = np.where(gap > 0, np.ceil(np.abs(drop) / PIECE), 1).astype(np.int64)[moved]
    k = np.repeat(np.flatnonzero(moved), pieces)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = 1 / np.repeat(pieces, pieces)
    middle = (np.arange(len(k)) - first + 0.5) * share
    level = rate.rho[k] - drop[k] * middle
    at = area[k] + 0.5 * (rate.rho[k] + level) * gap[k] * middle
    if power == 1.0:
        fallen = drop[k] * share
    else:
        before = np.maximum(level + 0.5 * drop[k] * share, 0.0)
        fallen = before**power - np.maximum(level - 0.5 * drop[k] * share, 0.0) ** power
    level = np.where(gap[k] > 0, level, rate.rho[k + 1])
    return np.maximum(level, LOWEST_RATE), fallen, at


def _groups(units: Floats) -> Ints:
    """Bounds of stretches of units that differ in tau or C only."""
    if not len(units):
        return np.zeros(1, np.int64)
    new = (np.diff(units[:, [0, 2, 3]], axis=0) != 0).any(axis=1)
    return np.concatenate([[0], np.flatnonzero(new) + 1, [len(units)]]).astype(np.int64)


def _features(rate: Rate, step: Floats, units: Floats, groups: Ints) -> tuple[Floats, Floats]:
    """LR time, shape (n,), and responses, shape (n, n_units), at increasing steps."""
    from ..engine.serving import feature_table
    from ..kernels.paths import Paths, Shapes

    shapes = Shapes(rate.step, rate.rho, np.array([0, len(rate.step)], np.int64))
    paths = Paths(np.zeros(1, np.int64), np.zeros(1), np.ones(1))
    return feature_table(shapes, paths, step, groups, units)
