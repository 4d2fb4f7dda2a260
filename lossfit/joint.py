"""Several runs of one model under different learning-rate schedules, fitted together.

The runs share the curve: with x the LR time from an offset x0 (negative where the warm-up is counted
at its real area), and D a response to the learning rate,

    L_r(t) = L0 - a phi_alpha(x_r(t) + x0) - B D_r(t) + g(t) + g_r(t) + noise

g and g_r are Brownian motions in log(t / reference), half of the variance common to all runs and half
of each run alone.  (L0, a, B) have flat priors and are integrated out; alpha, x0 and the response are
on a grid.  Two families of responses, annealing (Tissue et al. 2024, arXiv 2408.11029, on rho^p) and
multi-power (Luo et al. 2025, arXiv 2503.12811), have equal weights: they err with opposite signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from ._ragged import Floats, Ints
from .errors import DataError

if TYPE_CHECKING:
    from .kernels.paths import Paths, Shapes

__all__ = ["Curve", "Joint", "fit_jointly"]

ALPHAS = np.linspace(0.2, 1.0, 33)
OFFSETS = np.array([-0.075, -0.06, -0.05, -0.04, -0.03, -0.015, 0.0, 0.03])  # of the reference
TAUS = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)  # steps
POWERS = (0.5, 0.65, 0.8, 1.0)
RATES = tuple(np.geomspace(0.01, 0.4, 8))
BETAS = (0.4, 0.5, 0.6, 0.7)
GAMMAS = (0.5, 0.64, 0.8)
KB = 0.06  # Brownian discrepancy, in measured slopes per square root of an e-fold
OWN = 0.5  # share of its variance that each run has for itself
TEMPER = 2.0
MOST_BINS = 140  # points of a curve after binning
LEAST_BIN = 2  # points in a bin
LEAST_POINTS = 20
LIGHTEST = 1e-4  # cells with less weight are dropped
MOST_JOINT = 1500  # targets drawn together; more are drawn in blocks


class Curve(NamedTuple):
    """One run of the model.

    Attributes
    ----------
    step, loss : ndarray, shape (n,)
    path : int
        Its learning rate, among the paths (in steps).
    """

    step: Floats
    loss: Floats
    path: int


@dataclass(frozen=True, eq=False)
class Joint:
    """Posterior of the shared curve; made by `fit_jointly`.

    Attributes
    ----------
    weight : ndarray, shape (n_cells,)
    phi_cell, unit_cell : ndarray of int, shape (n_cells,)
        Which exponent and offset, which response.
    mean, cov : ndarray, shape (n_cells, 3) and (n_cells, 3, 3)
        Of (L0, a, B).
    sigma : float
        Noise of a point.
    centre, reference, size : float
        Loss that was taken off; reference step; sd of the discrepancy per square root of an e-fold.
    """

    weight: Floats
    phi_cell: Ints
    unit_cell: Ints
    mean: Floats
    cov: Floats
    sigma: float
    centre: float
    reference: float
    size: float
    log_t: Floats
    chol: Floats
    white: Floats

    def moments(
        self, shapes: Shapes, paths: Paths, path: int, step: Floats
    ) -> tuple[Floats, Floats]:
        """Mean and sd of the curve at some steps under a path, each of shape (n,)."""
        rows, gain, var = self._at(shapes, paths, path, step)
        mean, left = self._conditional(rows, gain)
        value = np.einsum("kmi,ki->km", left, self.mean) + mean
        spread = np.einsum("kmi,kij,kmj->km", left, self.cov, left)
        centre = self.weight @ value
        total = self.weight @ (spread + (value - centre) ** 2) + var
        return self.centre + centre, np.sqrt(total)

    def draws(
        self, shapes: Shapes, paths: Paths, path: int, step: Floats, n: int, rng: np.random.Generator
    ) -> Floats:
        """Draws of the curve without noise, shape (n_steps, n); the same draw at all steps."""
        cell = rng.choice(len(self.weight), n, p=self.weight / self.weight.sum())
        factor = np.linalg.cholesky(self.cov)
        beta = self.mean[cell] + np.einsum("nij,nj->ni", factor[cell], rng.standard_normal((n, 3)))
        out = np.empty((len(step), n))
        for first in range(0, len(step), MOST_JOINT):
            some = slice(first, first + MOST_JOINT)
            rows, gain, _ = self._at(shapes, paths, path, step[some])
            for k in np.unique(cell):
                mine = cell == k
                mean, left = self._conditional(rows, gain, np.array([k]))
                out[some, mine] = mean[0][:, None] + left[0] @ beta[mine].T
            cov = self._prior(step[some]) - gain @ gain.T
            cov[np.diag_indices_from(cov)] += 1e-12 + 1e-9 * self.size**2
            out[some] += np.linalg.cholesky(cov) @ rng.standard_normal((len(cov), n))
        return self.centre + out

    def _prior(self, step: Floats) -> Floats:
        u = np.log(step / self.reference)
        return self.size**2 * _brownian(u, u)

    def _at(
        self, shapes: Shapes, paths: Paths, path: int, step: Floats
    ) -> tuple[tuple[Floats, Floats], Floats, Floats]:
        """Basis at the steps, the gain on the whitened data, and what is left of g's variance."""
        phi, response = _basis(shapes, paths, path, step, self.reference)
        u = np.log(step / self.reference)
        cross = self.size**2 * (1 - OWN) * _brownian(u, self.log_t)
        gain = solve_triangular(self.chol, cross.T, lower=True).T
        var = np.maximum(self.size**2 * np.abs(u) - (gain**2).sum(1), 0.0)
        return (phi, response), gain, var

    def _conditional(
        self, rows: tuple[Floats, Floats], gain: Floats, cells: Ints | None = None
    ) -> tuple[Floats, Floats]:
        """Curve = first + second @ (L0, a, B), shapes (K, m) and (K, m, 3)."""
        phi, response = rows
        cells = np.arange(len(self.weight)) if cells is None else cells
        carried = gain @ self.white  # (m, columns)
        n_phi = len(phi)
        a, u = self.phi_cell[cells], self.unit_cell[cells]
        left = np.stack(
            [
                np.broadcast_to(1 - carried[:, 0], (len(cells), len(carried))),
                -phi[a] - carried[:, 2 + a].T,
                -response[u] - carried[:, 2 + n_phi + u].T,
            ],
            axis=-1,
        )
        return np.broadcast_to(carried[:, 1], left.shape[:2]), left


def _units() -> tuple[Floats, Ints, int]:
    """Units, their groups, and how many belong to the first family."""
    from .kernels.paths import ANNEALING, MULTI_POWER

    units = [(ANNEALING, tau, p, 0.0) for p in POWERS for tau in TAUS]
    first = len(units)
    units += [(MULTI_POWER, c, b, g) for b in BETAS for g in GAMMAS for c in RATES]
    groups = np.append(
        np.arange(0, first + 1, len(TAUS)), np.arange(first + len(RATES), len(units) + 1, len(RATES))
    )
    return np.array(units, float), groups.astype(np.int64), first


def _basis(
    shapes: Shapes, paths: Paths, path: int, step: Floats, reference: float
) -> tuple[Floats, Floats]:
    """phi, shape (n_alpha * n_offset, n), and responses, shape (n_units, n)."""
    from .kernels.paths import feature_table

    units, groups, _ = _units()
    order = np.argsort(step, kind="stable")
    x, response = feature_table(path, shapes, paths, step[order], groups, units, 1.0)
    back = np.argsort(order, kind="stable")
    x, response = x[back], response[back]
    ratio = np.maximum(x / reference + OFFSETS[:, None], 1e-6) / (1 + OFFSETS[:, None])
    phi = (1 - ratio ** -ALPHAS[:, None, None]) / ALPHAS[:, None, None]
    phi = phi * (1 + OFFSETS[:, None])
    return phi.reshape(-1, len(step)), np.ascontiguousarray(response.T)


def _brownian(a: Floats, b: Floats) -> Floats:
    """Covariance of two Brownian motions that leave 0 to either side, of variance 1."""
    same = np.sign(a)[:, None] * np.sign(b) > 0
    return np.where(same, np.minimum(np.abs(a)[:, None], np.abs(b)), 0.0)


def _binned(curve: Curve) -> tuple[Floats, Floats, int]:
    """Means of neighbouring points, and how many are in each."""
    n = len(curve.step)
    size = max(LEAST_BIN, -(-n // MOST_BINS))
    m = n // size
    first = n - m * size  # the oldest few are left over
    cut = slice(first, None)
    return (
        curve.step[cut].reshape(m, size).mean(1),
        curve.loss[cut].reshape(m, size).mean(1),
        size,
    )


def fit_jointly(
    curves: Sequence[Curve], shapes: Shapes, paths: Paths, names: Sequence[str] | None = None
) -> Joint:
    """Fit one curve to several runs of a model.

    Parameters
    ----------
    curves : sequence of Curve
    shapes, paths : Shapes, Paths
        What `Curve.path` refers to, in steps.
    names : sequence of str, optional
        Names of the runs, for messages.

    Raises
    ------
    DataError
        A run with fewer than 20 points.
    """
    for i, curve in enumerate(curves):
        if len(curve.step) < LEAST_POINTS:
            name = names[i] if names else str(i)
            raise DataError(
                f"run {name!r} has {len(curve.step)} points in its window; a joint fit needs "
                f"{LEAST_POINTS}: log more points, or leave the run out"
            )
    binned = [_binned(curve) for curve in curves]
    t = np.concatenate([one[0] for one in binned])
    y = np.concatenate([one[1] for one in binned])
    which = np.repeat(np.arange(len(binned)), [len(one[0]) for one in binned])
    bin_size = np.repeat([one[2] for one in binned], [len(one[0]) for one in binned])
    reference = float(np.median([curve.step[-1] for curve in curves]))
    log_t = np.log(t / reference)
    centre = float(y.mean())
    sigma = _noise(binned)
    size = KB * _slope(binned)
    kernel = size**2 * _brownian(log_t, log_t)
    cov = kernel * (1 - OWN + OWN * (which[:, None] == which))
    cov[np.diag_indices_from(cov)] += TEMPER * sigma**2 / bin_size
    chol = np.linalg.cholesky(cov)
    pieces = [
        _basis(shapes, paths, curve.path, one[0], reference)
        for curve, one in zip(curves, binned, strict=True)
    ]
    phi = np.concatenate([p for p, _ in pieces], axis=1)
    response = np.concatenate([d for _, d in pieces], axis=1)
    columns = np.column_stack([np.ones(len(y)), y - centre, -phi.T, -response.T])
    white = solve_triangular(chol, columns, lower=True)
    weight, a, u, mean, inverse = _cells(white, len(phi), len(response))
    return Joint(
        weight, a, u, mean, inverse, sigma, centre, reference, size, log_t, chol, white
    )


def _cells(
    white: Floats, n_phi: int, n_units: int
) -> tuple[Floats, Ints, Ints, Floats, Floats]:
    """Weights and normal posteriors of (L0, a, B) of the cells worth keeping.

    A response that never varies in the data says nothing of B: such cells are left out where
    others are informative.
    """
    gram = white.T @ white
    a, u = 2 + np.arange(n_phi)[:, None], 2 + n_phi + np.arange(n_units)
    index = np.empty((n_phi, n_units, 3), np.int64)
    index[..., 0], index[..., 1], index[..., 2] = 0, a, u
    precision = gram[index[..., :, None], index[..., None, :]]
    scale = 1 / np.sqrt(np.maximum(np.einsum("...ii->...i", precision), 1e-300))
    scaled = precision * scale[..., :, None] * scale[..., None, :]
    scaled[..., range(3), range(3)] += 1e-10
    right = gram[index, 1] * scale
    inverse = np.linalg.inv(scaled)
    beta = np.einsum("...ij,...j->...i", inverse, right)
    rest = gram[1, 1] - np.einsum("...i,...i->...", beta, right)
    log_det = np.linalg.slogdet(scaled)[1] - 2 * np.log(scale).sum(-1)
    log_weight = -0.5 * rest - 0.5 * log_det
    _, _, first = _units()
    family = np.exp(log_weight - log_weight.max())
    for some in (slice(None, first), slice(first, None)):
        part = np.exp(log_weight[:, some] - log_weight[:, some].max())
        family[:, some] = 0.5 * part / part.sum()
    keep = np.nonzero(family > LIGHTEST * 0.5)
    weight = family[keep] / family[keep].sum()
    s = scale[keep]
    return (
        weight,
        keep[0],
        keep[1],
        beta[keep] * s,
        inverse[keep] * s[:, :, None] * s[:, None, :],
    )


def _noise(binned: Sequence[tuple[Floats, Floats, int]]) -> float:
    """Noise of a single point: scaled MAD of second differences of all curves' bins."""
    parts = [
        (y[1:-1] - 0.5 * (y[:-2] + y[2:])) * np.sqrt(size / 1.5) for _, y, size in binned
    ]
    d = np.concatenate(parts)
    level = np.mean([abs(y[-1]) for _, y, _ in binned])
    return float(max(1.4826 * np.median(np.abs(d - np.median(d))), 5e-5 * level))


def _slope(binned: Sequence[tuple[Floats, Floats, int]]) -> float:
    """Loss per e-fold over the last factor of 4 of each curve: the median."""
    found = []
    for t, y, _ in binned:
        late = t > t[-1] / 4
        late = late if late.sum() >= 6 else np.ones(len(t), bool)
        found.append(max(-np.polyfit(np.log(t[late]), y[late], 1)[0], 0.004 * abs(y[-1])))
    return float(np.median(found))
