"""The posterior of one reading of a ladder (its curves, or their ends): draws and curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from .._base.ragged import Floats
from ..laws.coupled import fold, pull, unfold
from ..surfaces.hamiltonian import draw
from .discrepancy import PRIORS, Placed, centred_features, covariances, noise, pieces
from .law import COORDINATES, log_prior, push, terms
from .pilot import gradients, normal_root, pilot_at, pilot_fit, scales_of, strange_runs, strangeness
from .rows import Rows, Rung, joined, target_rows, thinned

SCALE_SD = 0.3  # prior of the logarithm of s, the factor on all that empirical Bayes scaled
LAST = 0.002  # exp(LAST rho t4): rho are e-folds of compute beyond the ladder
JITTER = 1e-12
STEPS = (3, 12)  # of a trajectory
ROUNDS, ROUNDS_BEGUN = 3, 8  # a run that has begun makes the posterior narrower and more bent
RESPONDS = 0.02  # response below which a ladder has none
KNOTS = 40  # places of a curve at which the discrepancy is drawn; lines between them
PRIOR_SD = np.array([1, 1, 1, 0.6, 0.6, 0.3, 0.6, 0.15, 1.8, 1.8])


@dataclass(frozen=True, eq=False)
class Reading:
    """Posterior draws of the law and of the scales, and what conditions a new curve."""

    placed: Placed  # the rows, centred
    y: Floats  # shape (k,): losses over ``level``
    centre: tuple[float, float]  # of log params and log X
    top: tuple[float, float]  # largest log params and log X, less the centre
    level: float  # median loss
    whiten: Floats  # shape (k, k): P with P K2 P' = 1 and P K1 P' = diag(values)
    values: Floats  # shape (k,)
    scales: Floats  # shape (6,)
    theta: Floats  # shape (draws, 12)
    pilot: Floats  # shape (10,)
    off: Floats  # shape (runs,): how far each run lies from what the others say, in sds
    log_compute: float  # largest log params + log tokens
    rhat: float
    acceptance: float

    def place(self, rows: Rows, anchor: Floats, begun: bool = False, weight: float = 1.0) -> Placed:
        """Targets with what their covariances need; ``anchor`` is where a run's own shape is 0."""
        n, x = rows.n - self.centre[0], rows.x - self.centre[1]
        at = terms(self.pilot[None], n, x, _some(rows.q))
        won = np.broadcast_to(at.won, at.mean.shape)[0]
        return Placed(
            rows, n - self.top[0], x - self.top[1], at.above.loss[0], np.array(won), at.mean[0],
            np.full(len(rows), weight), np.broadcast_to(anchor, len(rows)),
            np.full(len(rows), begun), centred_features(rows, self.placed.rows),
        )  # fmt: skip

    def curves(
        self,
        # its data do not matter; where it is ``begun`` its rows are among the reading's
        rung: Rung,
        tokens: Floats,  # shape (k,): increasing
        rng: np.random.Generator,
        draws: int,
        noisy: bool = False,  # add a row's noise
        begun: bool = False,
    ) -> Floats:
        """Joint draws of the loss of a run at some tokens, shape (k, draws)."""
        run, weight = int(self.placed.rows.run.max()) + 1, 1.0
        if begun:
            run -= 1  # the last of the rungs
            own = self.placed.rows.run == run
            anchor = np.array(self.placed.rows.x[own].max())
            weight = float(self.placed.weight[own][0])
        rows = target_rows(rung, tokens, run)
        if not begun:
            anchor = np.array(rows.x.max())
        knots = np.arange(len(rows))
        log_t = np.log(tokens)
        if len(rows) > KNOTS:
            even = np.linspace(log_t[0], log_t[-1], KNOTS)
            knots = np.unique(np.searchsorted(log_t, even).clip(0, len(rows) - 1))
        theta = self._chosen(draws)
        placed = self.place(rows.take(knots), anchor, begun, weight)
        missed = self._missed(placed, theta, rng)
        if len(knots) < len(rows):
            missed = np.stack([np.interp(log_t, log_t[knots], one) for one in missed])
        out = self._law(rows, theta) + missed
        if noisy:
            level = self.place(rows, anchor, begun, weight).level
            spread = np.exp(theta[:, 10:11] + self.scales[3])
            out = out + spread * level * rng.standard_normal(out.shape)
        beyond = np.maximum(0.0, rows.n[-1] + rows.x.max() - self.log_compute)
        return self._finished(out, beyond, rng)

    def ends_of(self, rungs: list[Rung], rng: np.random.Generator, draws: int) -> Floats:
        """Joint draws of the last losses of several runs, shape (len(rungs), draws)."""
        first = int(self.placed.rows.run.max()) + 1
        rows = joined(
            [target_rows(rung, rung.tokens[-1:], first + k) for k, rung in enumerate(rungs)]
        )
        theta = self._chosen(draws)
        missed = self._missed(self.place(rows, rows.x), theta, rng)
        beyond = np.maximum(0.0, rows.n + rows.x - self.log_compute)
        return self._finished(self._law(rows, theta) + missed, beyond, rng)

    def _chosen(self, draws: int) -> Floats:
        """An even choice of the posterior draws."""
        places = np.linspace(0, len(self.theta) - 1, draws).round().astype(int)
        return np.asarray(self.theta[places])

    def _law(self, rows: Rows, theta: Floats) -> Floats:
        n, x = rows.n - self.centre[0], rows.x - self.centre[1]
        return terms(theta, n, x, _some(rows.q)).mean

    def _finished(self, loss: Floats, beyond: Any, rng: np.random.Generator) -> Floats:
        """Losses (draws, k) with the last factor, in the unit of the log: (k, draws)."""
        last = np.exp(LAST * beyond * rng.standard_t(4, (len(loss), 1)))
        return np.asarray((loss * last).T * self.level)

    def _missed(self, target: Placed, theta: Floats, rng: np.random.Generator) -> Floats:
        """Draws of the discrepancy given the rows, shape (draws, k)."""
        across = covariances(pieces(target, self.placed), self.scales)
        inside = covariances(pieces(target, target), self.scales)
        a1, a2 = (block @ self.whiten.T for block in across)
        rows = self.placed.rows
        n, x = rows.n - self.centre[0], rows.x - self.centre[1]
        out = np.empty((len(theta), len(target.n)))
        normal = rng.standard_normal(out.shape)
        for first in range(0, len(theta), 64):
            part = slice(first, first + 64)
            some = theta[part]
            u = (self.y - terms(some, n, x, _some(rows.q)).mean) @ self.whiten.T
            k2 = np.exp(2 * some[:, 11])[:, None, None]
            s2 = np.exp(2 * some[:, 10])[:, None, None]
            d = 1 / (s2[:, :, 0] + k2[:, :, 0] * self.values)
            a = k2 * a1 + s2 * a2
            scaled = a * d[:, None, :]
            covariance = k2 * inside[0] + s2 * inside[1] - scaled @ np.swapaxes(a, 1, 2)
            values, vectors = np.linalg.eigh(covariance)
            random = np.sqrt(np.maximum(values, 0)) * normal[part]
            centre = (scaled @ u[:, :, None])[:, :, 0]
            out[part] = centre + (vectors @ random[:, :, None])[:, :, 0]
        return out


def _some(q: Floats) -> Floats | None:
    """Responses, where there are any."""
    return q if np.abs(q).max(initial=0.0) > 0 else None


def read(
    rungs: list[Rung],  # where ``begun``, the last of them is the run that has begun
    rng: np.random.Generator,
    *,
    ends: bool = False,  # only the last row of every run
    begun: bool = False,
    # chains, keep: see `lossfit.surfaces.hamiltonian.draw`
    chains: int = 24,
    keep: int = 60,
    # shape (6,): scales to use in place of empirical Bayes (for simulation-based calibration)
    scales: Floats | None = None,
    # shape (10,): the law of whose R and c q misses are shares, in place of the pilot fit (for the
    # same)
    reference: Floats | None = None,
    # unit of the losses in the priors, in place of the median loss (for the same)
    level: float | None = None,
) -> Reading:
    """Fit a reading of a ladder."""
    rows = thinned(rungs)
    if ends:
        rows = rows.last_of_each()
    centre = float(rows.n.mean()), float(rows.x.mean())
    level = float(np.median(rows.loss)) if level is None else level
    y, n, x = rows.loss / level, rows.n - centre[0], rows.x - centre[1]
    q = rows.q if np.abs(rows.q).max() > RESPONDS else None
    pilot = pilot_fit(n, x, q, y, rows.run)
    residual = y - pilot.mean
    weight = strange_runs(residual / pilot.reducible, rows.run)
    shares = pilot if reference is None else pilot_at(reference, n, x, q)
    anchor = np.array([rows.x[rows.run == i].max() for i in range(len(rungs))])
    top = float(n.max()), float(x.max())
    is_begun = (rows.run == len(rungs) - 1) & begun
    placed = Placed(
        rows, n - top[0], x - top[1], shares.reducible, shares.won, y, weight[rows.run],
        anchor[rows.run], is_begun, centred_features(rows, rows),
    )  # fmt: skip
    slopes = gradients(pilot.theta, n, x, q)
    free = slopes * PRIOR_SD
    if scales is None:
        scales = scales_of(placed, residual, free)
    off = strangeness(placed, scales, residual, free)
    k1, k2 = covariances(pieces(placed, placed), scales)
    k2 = k2 + noise(placed, scales) + JITTER * np.eye(len(y))
    inverse = solve_triangular(cholesky(k2, lower=True), np.eye(len(y)), lower=True)
    values, vectors = np.linalg.eigh(inverse @ k1 @ inverse.T)
    values = np.maximum(values, 0.0)
    whiten = vectors.T @ inverse
    density = _density(y, n, x, q, whiten, values)
    start = fold(np.concatenate([pilot.theta, [0.0, scales[0]]]))
    precision = 1 / (1 + np.exp(2 * scales[0]) * values)
    root = normal_root(whiten @ slopes, precision, pilot.theta, np.array([0.02, 0.1]))
    rounds = ROUNDS_BEGUN if begun else ROUNDS
    drawn = draw(
        density, start[None], root[None], rng, chains=chains, rounds=rounds, keep=keep, steps=STEPS
    )
    # Neighbours in time lie apart, so that any even choice of draws is spread over all.
    theta = unfold(np.swapaxes(drawn.draws[0], 0, 1).reshape(-1, COORDINATES + 2))
    compute = max(np.log(rung.params) + np.log(rung.end) for rung in rungs)
    return Reading(
        placed, y, centre, top, level, whiten, values, scales, theta, shares.theta, off,
        float(compute), float(drawn.rhat[0]), float(drawn.acceptance[0]),
    )  # fmt: skip


def _density(
    y: Floats, n: Floats, x: Floats, q: Floats | None, whiten: Floats, values: Floats
) -> Any:
    """Log posterior and gradient of (law, log s, log kappa)."""

    def density(phi: Floats) -> tuple[Floats, Floats]:
        theta = unfold(phi)
        at = terms(theta, n, x, q)
        u = (y - at.mean) @ whiten.T
        s2, k2 = np.exp(2 * theta[..., 10:11]), np.exp(2 * theta[..., 11:12])
        v = s2 + k2 * values
        ratio = u / v
        value = -0.5 * (u * ratio + np.log(v)).sum(axis=-1)
        prior, slope = log_prior(theta)
        gradient = np.empty_like(theta)
        gradient[..., :COORDINATES] = push(theta, n, x, at, ratio @ whiten) + slope
        extra = ratio**2 - 1 / v
        gap = theta[..., 10] / SCALE_SD
        far = (theta[..., 11] - PRIORS[0, 0]) / PRIORS[0, 1]
        gradient[..., 10] = s2[..., 0] * extra.sum(axis=-1) - gap / SCALE_SD
        gradient[..., 11] = k2[..., 0] * (extra * values).sum(axis=-1) - far / PRIORS[0, 1]
        return value + prior - 0.5 * (gap**2 + far**2) + phi[..., 5], pull(phi, gradient)

    return density
