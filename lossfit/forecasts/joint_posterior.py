"""The posterior of a joint fit: moments and draws of the curve under any schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError
from .._base.ragged import Floats, Ints
from .joint_data import Binned
from .law_draws import LawDraws
from .responses import Grid, Rate, basis, check_rate

BLOCK = 256  # draws, or targets, handled at a time: bounds the memory
#: Places, in e-folds from the reference, at which paths of g are drawn whatever is asked.
ANCHORS = np.append(-np.arange(0.05, 10, 0.05), np.arange(0.05, 10, 0.05))


@dataclass(frozen=True, eq=False)
class JointPosterior:
    """Posterior of the shared curve; made by `fit_jointly`."""

    weight: Floats  # shape (n_cells,): weights of the grid cells, they sum to 1
    # alpha, offset: shape (n_cells,): exponent, and x0 in steps
    alpha: Floats
    offset: Floats
    # shape (n_cells, 5): the response: kind (`lossfit.kernels.paths`), tau or C, p or beta, gamma,
    # q
    unit: Floats
    # mean, cov: shape (n_cells, 3) and (n_cells, 3, 3): normal posterior of (level at the
    # reference, a, B), to be cut to a > 0
    mean: Floats
    cov: Floats
    sigma: float  # noise sd of one point, in nats
    size: float  # sd of the discrepancy per square root of an e-fold, in nats
    reference: float  # reference step
    log_evidence: Floats  # shape (n_families,): of each family, up to a constant that they share
    data: Binned  # what was fitted
    _own: float = field(repr=False)
    _noise: Floats = field(repr=False)  # sd of each bin
    _grid: Grid = field(repr=False)  # only what the cells use
    _shape_of: Ints = field(repr=False)
    _unit_of: Ints = field(repr=False)
    _chol: Floats = field(repr=False)  # of the covariance of the bins
    _white: Floats = field(repr=False)  # chol^-1 (1, loss, -phi, -D)

    def moments(
        self,
        rate: Rate,  # the schedule; it may differ from those that were fitted
        at: ArrayLike,  # shape (n_at,): steps, in any order, inside or beyond the data
        # the fitted curve that this run is: its own discrepancy is then known where it was
        # observed.  By default a new run of the model
        curve: int | None = None,
    ) -> tuple[Floats, Floats]:
        """Mean and sd of the curve, without noise, each of shape (n_at,).

        Raises `DataError`: steps that are not positive numbers, a rate that is none, no such curve.
        """
        rate, steps = self._asked(rate, at, curve)
        of = np.full(len(steps), -1 if curve is None else curve)
        lift, lost = truncation(self.mean[:, 1] / np.sqrt(self.cov[:, 1, 1]))
        per_sd = self.cov[:, :, 1] / np.sqrt(self.cov[:, 1, 1])[:, None]
        mean = self.mean + per_sd * lift[:, None]
        cov = self.cov - per_sd[:, :, None] * per_sd[:, None, :] * lost[:, None, None]
        out = np.empty((2, len(steps)))
        for first in range(0, len(steps), BLOCK):
            some = slice(first, first + BLOCK)
            gain = self._gain(steps[some], of[some])
            left = self._columns(rate, steps[some]) - gain @ self._white
            law, response = left[:, 2 + self._shape_of], left[:, self._first_unit + self._unit_of]
            full = np.stack([np.broadcast_to(left[:, :1], law.shape), law, response], axis=-1)
            value = -left[:, 1:2] + np.einsum("mki,ki->mk", full, mean)
            centre = value @ self.weight
            # (full cov) . full in two steps: einsum of three factors is slow.
            var = (np.einsum("mki,kij->mkj", full, cov) * full).sum(axis=-1)
            g_var = self.size**2 * np.abs(np.log(steps[some] / self.reference))
            g_var = np.maximum(g_var - (gain**2).sum(axis=1), 0.0)
            spread = (var + (value - centre[:, None]) ** 2) @ self.weight
            out[:, some] = centre, np.sqrt(spread + g_var)
        return out[0], out[1]

    def forecast(
        self,
        # rate, at, curve: as in `moments`
        rate: Rate,
        at: ArrayLike,
        # key of the random numbers, 0 to 2^64 - 1: the same draws for the same key.  The grid cell
        # and (L0, a, B) of a draw depend on the key and on ``draws`` alone, so that draws under
        # several schedules belong together as far as the law goes
        key: int = 0,
        draws: int = 1000,  # how many, equally weighted
        curve: int | None = None,
    ) -> Floats:
        """Draws of the curve without noise, shape (n_at, n_draws): one draw is one whole curve.

        Raises `DataError`: as `moments`.

        Notes
        -----
        A cell is drawn, then (L0, a, B) given the cell, then g given these and the data by
        Matheron's rule: a path of the prior, moved by what the data say of it.  No matrix of
        targets by targets is made, and targets may coincide.
        """
        return self.forecast_all([(rate, at, curve)], key, draws)[0]

    def forecast_all(
        self,
        # sequence of (rate, at, curve): each as of `forecast`.  Those without a curve are one new
        # run of the model under several schedules: they share its own discrepancy
        asked: Sequence[tuple[Rate, ArrayLike, int | None]],
        # key, draws: as of `forecast`
        key: int = 0,
        draws: int = 1000,
    ) -> list[Floats]:
        """Draws of several curves that belong together: the same draw is the same model.

        Returns
        -------
        list of ndarray, each of shape (n_at, n_draws)
        """
        from scipy.linalg import solve_triangular

        each = [self._asked(*one) for one in asked]
        at = np.concatenate([steps for _, steps in each])
        counts = [len(steps) for _, steps in each]
        of = np.repeat([-1 if curve is None else curve for _, _, curve in asked], counts)
        law, path = (np.random.Generator(np.random.Philox(key=[key, i])) for i in range(2))
        cell, beta = self._law_draws(law, draws)
        rows = np.concatenate([self._columns(rate, steps) for rate, steps in each])
        gain = self._gain(at, of)
        z = np.stack([_normals_of(key, float(step), draws) for step in at])
        out = np.empty((len(at), draws))
        for first in range(0, draws, BLOCK):
            some = slice(first, min(first + BLOCK, draws))
            b, a, u = beta[some], self._shape_of[cell[some]], self._unit_of[cell[some]]
            here, there = self._prior_paths(path, at, len(b), of, z[:, :, some])
            there += self._noise[:, None] * path.standard_normal(there.shape)
            rest = self._white[:, 1:2] - self._curve(self._white, b, a, u)
            rest -= solve_triangular(self._chol, there, lower=True)
            out[:, some] = self._curve(rows, b, a, u) + here + gain @ rest
        return np.split(out, np.cumsum(counts)[:-1])

    def laws(self, key: int = 0, draws: int = 1000) -> LawDraws:
        """Parameters of the draws that `forecast` makes with this key and number."""
        law = np.random.Generator(np.random.Philox(key=[key, 0]))
        cell, beta = self._law_draws(law, draws)
        return LawDraws(
            self.reference,
            self._grid.shapes,
            self._grid.units,
            self._shape_of[cell],
            self._unit_of[cell],
            beta,
        )

    def offsets(self) -> tuple[Floats, Floats]:
        """How far each curve lies above the one that it shares, and the sd of that, (n_curves,).

        By the heaviest cell, as if a curve might lie anywhere: what the others' curves and all
        that a learning rate may do leave of it.
        """
        from scipy.linalg import solve_triangular

        cell = int(np.argmax(self.weight))
        columns = [0, 2 + self._shape_of[cell], self._first_unit + self._unit_of[cell]]
        law = np.linalg.qr(self._white[:, columns])[0]
        n_curves = int(self.data.curve[-1]) + 1
        own = (self.data.curve[:, None] == np.arange(n_curves)).astype(np.float64)
        own = solve_triangular(self._chol, own, lower=True)
        own -= law @ (law.T @ own)
        precision = np.maximum((own**2).sum(axis=0), 1e-300)
        return own.T @ self._white[:, 1] / precision, 1 / np.sqrt(precision)

    @property
    def _first_unit(self) -> int:
        """The column of the first response."""
        return 2 + len(self._grid.shapes)

    def _asked(self, rate: Rate, at: ArrayLike, curve: int | None) -> tuple[Rate, Floats]:
        """Rate and steps, checked."""
        steps = np.ascontiguousarray(np.atleast_1d(at), np.float64)
        if steps.ndim != 1 or not (np.isfinite(steps) & (steps > 0)).all():
            raise DataError("a joint forecast needs a flat list of steps above 0")
        last = int(self.data.curve[-1])
        if curve is not None and not 0 <= curve <= last:
            raise DataError(f"there is no curve {curve}; they are 0 to {last}")
        return check_rate(rate, "the forecast"), steps

    def _columns(self, rate: Rate, steps: Floats) -> Floats:
        """Columns (1, 0, -phi, -D) at the steps, shape (m, 2 + n_shapes + n_units)."""
        phi, response = basis(rate, steps, self.reference, self._grid.shapes, self._grid.units)
        ones = np.ones((len(steps), 1))
        return np.concatenate([ones, 0 * ones, -phi, -response], axis=1)

    def _gain(self, steps: Floats, of: Ints) -> Floats:
        """What g at the steps of some curves (-1 for a new one) takes of the whitened data.

        Shape (m, n_bins).
        """
        from scipy.linalg import solve_triangular

        u, v = np.log(steps / self.reference), np.log(self.data.step / self.reference)
        share = np.where(of[:, None] == self.data.curve, 1.0, 1 - self._own)
        cross = self.size**2 * share * brownian(u, v)
        return np.asarray(solve_triangular(self._chol, cross.T, lower=True).T)

    def _curve(self, columns: Floats, beta: Floats, shape: Ints, unit: Ints) -> Floats:
        """Columns times the coefficients of draws, shape (m, n_draws)."""
        law, response = columns[:, 2 + shape], columns[:, self._first_unit + unit]
        return columns[:, :1] * beta[:, 0] + law * beta[:, 1] + response * beta[:, 2]

    def _law_draws(self, rng: np.random.Generator, draws: int) -> tuple[Ints, Floats]:
        """Cells, shape (n_draws,), and (L0, a, B), shape (n_draws, 3)."""
        from scipy.special import log_ndtr, ndtri_exp

        # One uniform number in each of n equal parts: the cells get their exact shares.
        level = (rng.permutation(draws) + rng.random(draws)) / draws
        total = np.cumsum(self.weight)
        cell = np.minimum(np.searchsorted(total, level * total[-1]), len(total) - 1)
        # a first, cut to be positive; the others given a.
        order = [1, 0, 2]
        factor = np.linalg.cholesky(self.cov[:, order][:, :, order])[cell]
        mean = self.mean[cell]
        tail = mean[:, 1] / factor[:, 0, 0]
        z = rng.standard_normal((draws, 3))
        # -z is normal below `tail`: P(-z <= v) = uniform * P(-z <= tail), in logarithms.
        z[:, 0] = -ndtri_exp(np.log1p(-rng.random(draws)) + log_ndtr(tail))
        beta = np.empty((draws, 3))
        beta[:, order] = mean[:, order] + np.einsum("nij,nj->ni", factor, z)
        return cell, beta

    def _prior_paths(
        self,
        rng: np.random.Generator,
        steps: Floats,
        n: int,
        of: Ints,
        z: Floats,  # shape (m, 2, n): normals of the steps
    ) -> tuple[Floats, Floats]:
        """Draws of g before the data: at the steps of some curves, (m, n), and at the bins.

        What `rng` gives does not depend on the steps, so a target's draws need no other target.
        """
        u, v = np.log(steps / self.reference), np.log(self.data.step / self.reference)
        places = np.append(v, ANCHORS)
        size, own = self.size * np.sqrt(1 - self._own), self.size * np.sqrt(self._own)
        path = size * _paths(places, n, rng)
        here, there = _between(u, places, path, size, z[:, 0]), path[: len(v)]
        for i in range(-1, int(self.data.curve[-1]) + 1):
            mine, asked = np.flatnonzero(self.data.curve == i), of == i
            places = np.append(v[mine], ANCHORS)
            path = own * _paths(places, n, rng)
            here[asked] += _between(u[asked], places, path, own, z[asked, 1])
            there[mine] += path[: len(mine)]
        return here, there


def _normals_of(key: int, step: float, draws: int) -> Floats:
    """Normals that belong to a step, shape (2, n_draws)."""
    bits = int(np.float64(step).view(np.uint64))
    return np.random.Generator(np.random.Philox(key=[key, bits])).standard_normal((2, draws))


def brownian(a: Floats, b: Floats) -> Floats:
    """Covariance, (n, m), of Brownian motions that leave 0 to either side, of unit variance."""
    same = np.sign(a)[:, None] * np.sign(b) > 0
    return np.where(same, np.minimum(np.abs(a)[:, None], np.abs(b)), 0.0)


def _paths(u: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Draws, (len(u), n), with the covariance `brownian` of u with itself."""
    out = np.empty((len(u), n))
    for side in (u >= 0, u < 0):
        far = np.abs(u[side])
        order = np.argsort(far, kind="stable")
        steps = np.sqrt(np.diff(far[order], prepend=0.0))
        part = np.empty((len(far), n))
        part[order] = np.cumsum(steps[:, None] * rng.standard_normal((len(far), n)), axis=0)
        out[side] = part
    return out


def _between(u: Floats, places: Floats, path: Floats, size: float, z: Floats) -> Floats:
    """Brownian motions at u, given what they are at some places: shape (len(u), n).

    ``z``, of that shape, are normals for what the places leave open.
    """
    out = np.empty((len(u), path.shape[1]))
    for side, some in ((u >= 0, np.flatnonzero(places >= 0)), (u < 0, np.flatnonzero(places < 0))):
        order = some[np.argsort(np.abs(places[some]), kind="stable")]
        far = np.append(0.0, np.abs(places[order]))
        known = np.concatenate([np.zeros((1, path.shape[1])), path[order]])
        for j in np.flatnonzero(side):
            at = abs(u[j])
            k = min(max(int(np.searchsorted(far, at)), 1), len(far) - 1)
            width = far[k] - far[k - 1]
            share = min((at - far[k - 1]) / width, 1.0) if width > 0 else 1.0
            out[j] = (1 - share) * known[k - 1] + share * known[k]
            # Beyond the last place a walk, between two a bridge.
            spread = max(at - far[k], share * (far[k] - at))
            out[j] += size * np.sqrt(spread) * z[j]
    return out


def truncation(tail: Floats) -> tuple[Floats, Floats]:
    """Normal(m, sd^2) cut to be positive, with tail = m / sd.

    Returns
    -------
    lift, lost : ndarray
        Its mean is ``m + sd lift``, its variance ``sd^2 (1 - lost)``.
    """
    from scipy.special import log_ndtr

    lift = np.exp(-0.5 * tail**2 - log_ndtr(tail)) / np.sqrt(2 * np.pi)
    return lift, np.clip(lift * (lift + tail), 0.0, 1.0)
