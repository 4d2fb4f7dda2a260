"""Several runs of one model under different learning-rate schedules, fitted together.

The runs share one curve.  With x_r the LR time of run r (the integral of its relative rate) and D_r
its response to the changes of the rate,

    L_r(t) = L0 - a phi_alpha(x_r(t) + x0) - B D_r(t) + g(t) + g_r(t) + noise

phi is the power law in Box-Cox form about a reference step, so a is its slope per e-fold there and
``L0 - a phi`` is ``(L0 - a/alpha) + A (x + x0)^-alpha``.  The offset x0 may be negative: it then
gives a warm-up, which counts at the peak, its real area back.  g and g_r are Brownian motions in
log(t / reference), what no law explains: most of their variance is common to all runs (and so
carries over to new schedules), the rest belongs to each run alone.

(L0, a, B) are linear and are integrated out, with a > 0; alpha, x0 and the response are on a grid.
Two families of responses, annealing (Tissue et al. 2024, arXiv 2408.11029, on rho^p) and
multi-power (Luo et al. 2025, arXiv 2503.12811), have equal weights: their errors on schedules that
were not fitted have opposite signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats, Ints
from .joint_data import Binned, Curve, binned, check_curves
from .joint_posterior import JointPosterior, brownian
from .responses import (
    BETAS,
    GAMMAS,
    POWERS,
    QS,
    RATES,
    TAUS,
    Grid,
    annealing_units,
    basis,
    grid_of,
    lr_time,
    multi_power_units,
)

FAMILIES = ("annealing", "multi_power")


@dataclass(frozen=True)
class JointConstants:
    """The constants of a joint fit."""

    # tuple of {"annealing", "multi_power"}: responses that are stacked with equal weights
    families: tuple[str, ...] = FAMILIES
    # alphas, offsets: grid of exponents, and of x0 in units of the reference (`responses.grid_of`)
    alphas: tuple[float, ...] = tuple(np.linspace(0.2, 1.0, 33).tolist())
    offsets: tuple[float, ...] = (-0.075, -0.06, -0.05, -0.04, -0.03, -0.015, 0.0, 0.03)
    # taus, powers, rates, betas, gammas, multi_powers: constants of the responses (`responses`)
    taus: tuple[float, ...] = TAUS
    powers: tuple[float, ...] = POWERS
    rates: tuple[float, ...] = RATES
    betas: tuple[float, ...] = BETAS
    gammas: tuple[float, ...] = GAMMAS
    multi_powers: tuple[float, ...] = QS
    # step where g is 0 and a is the slope; by default the median of the curves' last steps
    reference: float | None = None
    # size of g, in measured slopes per square root of an e-fold (`joint_data.Binned`): the prior
    # median of a single run.  Evidence would choose less, but a fit sees only how its own schedules
    # differ, and new ones differ more
    kb: float = 0.045
    size: float | None = None  # the size in nats; by default ``kb`` times the measured slope
    own: float = 0.3  # share of g's variance that each run has for itself, 0 to 1
    # inflates the noise variance of a bin: the noise of neighbours is correlated, and second
    # differences, which measure it, miss the slow part
    temper: float = 12.0
    slope_sd: float = 3.0  # a is N(s, (slope_sd s)^2) with the measured slope s, cut to a > 0
    # b_mean, b_sd, b_low_loss: B is N(b, (b_sd b)^2) with b = ``b_mean`` nats, less in proportion
    # for losses below ``b_low_loss``: moments of the prior for a single run.  It matters only where
    # the fitted schedules say little of B
    b_mean: float = 0.21
    b_sd: float = 0.5
    b_low_loss: float = 1.5
    # cells of a family that weigh less than this share of its heaviest are dropped
    lightest: float = 0.01
    most: int = 3000  # cells of a family that are kept, at most: the heaviest


class _Cells(NamedTuple):
    """Cells of all shapes and responses, with the normal posterior of (L0, a, B) before a > 0."""

    log_weight: Floats  # (n_shapes, n_units)
    mean: Floats  # (n_shapes, n_units, 3)
    cov: Floats  # (n_shapes, n_units, 3, 3)


def fit_jointly(
    # the runs, from the end of their warm-up or later; 5 points or more of each
    curves: Sequence[Curve],
    constants: JointConstants | None = None,
    names: Sequence[str] | None = None,  # names of the runs, for messages
) -> JointPosterior:
    """Fit one curve to several runs of a model.

    Raises `DataError`: a curve or a rate that cannot be used; the message names the run.

    Notes
    -----
    Cost: one Cholesky factor of the bins' covariance (at most about 1,700 bins), one triangular
    solve for all columns of the grid, and a 3 x 3 solve a cell.
    """
    from scipy.linalg import solve_triangular

    constants = constants or JointConstants()
    for family in constants.families:
        if family not in FAMILIES:
            raise DataError(f"no response is called {family!r}; there are {', '.join(FAMILIES)}")
    curves = check_curves(curves, names)
    data = binned(curves)
    ends = [curve.step[-1] for curve in curves]
    reference = float(np.median(ends)) if constants.reference is None else constants.reference
    first = min(float(lr_time(curve.rate, curve.step[:1])[0]) for curve in curves)
    grid = _grid(constants, reference, first)
    size = constants.kb * data.slope if constants.size is None else constants.size
    noise = data.sigma * np.sqrt(constants.temper / data.points)
    centre = float(data.loss.mean())
    pieces = [
        basis(curve.rate, data.step[data.curve == i], reference, grid.shapes, grid.units)
        for i, curve in enumerate(curves)
    ]
    phi, response = (np.concatenate(part) for part in zip(*pieces, strict=True))
    ones = np.ones((len(phi), 1))
    columns = np.concatenate([ones, data.loss[:, None] - centre, -phi, -response], axis=1)
    chol = _factor(data, reference, size, constants.own, noise)
    white = solve_triangular(chol, columns, lower=True)
    cells = _cells(white, len(grid.shapes), len(grid.units), data, constants)
    weight, evidence = _stacked(cells.log_weight, grid.family, constants)
    shape, unit = np.nonzero(weight)
    # Only what the cells use is kept.
    shapes, shape_of = np.unique(shape, return_inverse=True)
    units, unit_of = np.unique(unit, return_inverse=True)
    kept = np.concatenate([[0, 1], 2 + shapes, 2 + len(grid.shapes) + units])
    white[:, 1] += centre * white[:, 0]  # the loss itself again
    alpha, offset = grid.shapes[shape].T
    return JointPosterior(
        weight=weight[shape, unit],
        alpha=alpha,
        offset=offset * reference,
        unit=grid.units[unit],
        mean=cells.mean[shape, unit] + [centre, 0.0, 0.0],
        cov=cells.cov[shape, unit],
        sigma=data.sigma,
        size=size,
        reference=reference,
        log_evidence=evidence - float(np.log(np.diag(chol)).sum()),
        data=data,
        _own=constants.own,
        _noise=noise,
        _grid=Grid(grid.shapes[shapes], grid.units[units], grid.family[units]),
        _shape_of=shape_of,
        _unit_of=unit_of,
        _chol=chol,
        _white=np.ascontiguousarray(white[:, kept]),
    )


def _stacked(log_weight: Floats, family: Ints, constants: JointConstants) -> tuple[Floats, Floats]:
    """Weights of all cells, of the same shape, and the log evidence of each family.

    Within a family a cell weighs what its evidence says; the families weigh the same.
    """
    weight, evidence = np.zeros_like(log_weight), []
    for i in range(len(constants.families)):
        mine = family == i
        top = log_weight[:, mine].max()
        part = np.exp(log_weight[:, mine] - top)
        evidence.append(top + np.log(part.mean()))
        least = constants.lightest
        if part.size > constants.most:
            least = max(
                least, float(np.partition(part, -constants.most, axis=None)[-constants.most])
            )
        part[part < least] = 0.0
        weight[:, mine] = part / part.sum() / len(constants.families)
    return weight, np.array(evidence)


def _grid(constants: JointConstants, reference: float, first: float) -> Grid:
    """The grid of the chosen families."""
    units = {
        "annealing": lambda: annealing_units(reference, constants.taus, constants.powers),
        "multi_power": lambda: multi_power_units(
            reference, constants.rates, constants.betas, constants.gammas, constants.multi_powers
        ),
    }
    families = [units[name]() for name in constants.families]
    return grid_of(reference, first, constants.alphas, constants.offsets, families)


def _factor(data: Binned, reference: float, size: float, own: float, noise: Floats) -> Floats:
    """Cholesky factor of the covariance of the bins, shape (n_bins, n_bins)."""
    u = np.log(data.step / reference)
    cov = size**2 * brownian(u, u)
    cov *= np.where(data.curve[:, None] == data.curve, 1.0, 1 - own)
    cov[np.diag_indices_from(cov)] += noise**2
    return np.asarray(np.linalg.cholesky(cov))


def _cells(
    white: Floats, n_shapes: int, n_units: int, data: Binned, constants: JointConstants
) -> _Cells:
    """Evidence and normal posterior of (L0, a, B) of all cells."""
    from scipy.special import log_ndtr

    b_mean = constants.b_mean * min(1.0, abs(data.level) / constants.b_low_loss)
    mean = np.array([0.0, data.slope, b_mean])
    sd = np.array([np.inf, constants.slope_sd * data.slope, constants.b_sd * b_mean])
    gram = white.T @ white
    index = np.zeros((n_shapes, n_units, 3), np.int64)
    index[..., 1] = 2 + np.arange(n_shapes)[:, None]
    index[..., 2] = 2 + n_shapes + np.arange(n_units)
    precision = gram[index[..., :, None], index[..., None, :]]
    precision[..., range(3), range(3)] += 1 / sd**2
    right = gram[index, 1] + mean / sd**2
    # Scaled to a unit diagonal, where 1, phi and D are of very different sizes.
    scale = 1 / np.sqrt(np.einsum("...ii->...i", precision))
    inverse = np.linalg.inv(precision * scale[..., :, None] * scale[..., None, :])
    cov = inverse * scale[..., :, None] * scale[..., None, :]
    beta = np.einsum("...ij,...j->...i", cov, right)
    rest = gram[1, 1] + (mean[1:] ** 2 / sd[1:] ** 2).sum()
    log_weight = -0.5 * (rest - np.einsum("...i,...i->...", beta, right))
    log_weight += 0.5 * np.linalg.slogdet(inverse)[1] + np.log(scale).sum(axis=-1)
    log_weight -= np.log(sd[1:]).sum()
    log_weight += log_ndtr(beta[..., 1] / np.sqrt(cov[..., 1, 1]))
    return _Cells(log_weight, beta, cov)
