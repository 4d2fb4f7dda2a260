"""Curves of one, two and three phases, and of the schedule alone, with their evidence.

Losses are means of bins; t is the axis over the end of the run.  The models of the mean are

=============  =====================================================================================
power          E + a phi(t), phi = (t^-alpha - 1) / alpha: one phase
linear         the power law up to t1, then a straight line: its tangent there, with its slope
               changed by d1
tip            the power law up to t2, then a straight line flatter than its tangent: d2 > 0
linear, tip    the power law up to t1, a straight line up to t2, then a flatter one: d2 > 0
schedule       E + a phi(x) - B D: x is the cumulative learning rate and D the response to it, as in
               the law `annealing`, B > 0, no phases
=============  =====================================================================================

Errors are those of bins plus a model error that is correlated along the run (an Ornstein-Uhlenbeck
process on the clock of `lossfit.races.smoothing`: AR(1) for bins that are not evenly spaced), so
that a wiggle makes no phase. Its size and length are on a grid, like alpha, t1, t2 and the
response's constants; (E, a, d1, d2 or B) and the variance are integrated out in closed form
(normal-inverse-gamma), so that a model's evidence is a sum over its grid.

The schedule's model is no forecast of `lossfit.forecasts`: held-out scores compare it with the
phases, so that it has their bins, errors and prior of the variance, and its own evidence.  What it
shares with forecasts are the responses and the size of B.

Priors, in units of the local slope s per e-fold at the end: a ~ Normal(s, (3 s)^2); d1 ~ Normal(0,
(s/2)^2) per run length; d2 ~ half-normal(2 s) per run length; B ~ half-normal with the size of the
default law's prior; E flat; log t1 even from 0.06 to 0.85, t2 even from 0.5 to 0.97, t2 > 1.1 t1;
alpha even from 0 to 1.2.  Breaks before the third bin are left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, log_ndtr, logsumexp

from .._base.ragged import Bools, Floats, Ints
from ..forecasts.responses import Rate, basis, lr_time
from ..laws.annealing import LAW as ANNEALING

MODELS = ("power", "linear", "tip", "linear, tip")
ALPHAS = np.array([0.02, 0.1, 0.18, 0.26, 0.34, 0.42, 0.5, 0.6, 0.72, 0.86, 1.0, 1.2])
FIRST = np.geomspace(0.06, 0.85, 36)  # t1
SECOND = np.linspace(0.5, 0.97, 32)  # t2
APART = 1.1  # t2 over t1, at least
# Size of the model error's variance over that of a bin's noise, its length on the clock, weight.
ERRORS = (
    (0.0, 0.1, 2.0),
    (0.5, 0.05, 1.0),
    (0.5, 0.15, 1.0),
    (2.0, 0.05, 1.0),
    (2.0, 0.15, 1.0),
    (8.0, 0.15, 1.0),
    (30.0, 0.3, 1.0),
)
SLOPE_SD, CHANGE_SD, TIP_SD = 3.0, 0.5, 2.0
FLAT = 1e-8
NOISE_POINTS = 1.0  # shape of the prior of the variance
BLOCK = 40_000  # cells solved at a time


class Curve(NamedTuple):
    """One run, in bins."""

    t: Floats  # shape (K,): axis over the end of the run
    # y, weight: shape (K,): mean loss and weight (mean 1)
    y: Floats
    weight: Floats
    clock: Floats  # shape (K,)
    slope: float  # loss per e-fold at the end
    noise: float  # rough sd of a bin of weight 1, the scale of the variance's prior
    # shape (K,) or None: cumulative learning rate over that at the end; None where the schedule is
    # not known
    lr_time: Floats | None = None
    # shape (K, n_units) or None: to the learning rate: the annealing law's
    response: Floats | None = None
    strength: float = 0.19  # scale of B


class Weights(NamedTuple):
    """The grid of one model."""

    log_weight: Floats  # shape (C,): log of prior times marginal likelihood of every cell
    # error, alpha, first, second: shape (C,): which model error, exponent (or column of the
    # schedule), t1 and t2 a cell has; -1 for none
    error: Ints
    alpha: Ints
    first: Ints
    second: Ints

    @property
    def log_evidence(self) -> float:
        """Log marginal likelihood of the model."""
        return float(logsumexp(self.log_weight)) if self.log_weight.size else -math.inf


class Evidence(NamedTuple):
    """Grids of all models, and what it takes to draw from them."""

    by_model: dict[str, Weights]
    parts: Parts
    alphas: Floats = ALPHAS


class Parts(NamedTuple):
    """Columns and their whitened products."""

    # shape (K, C): not whitened: 1, phi of every alpha, tangents (alpha, change) and hinges, the
    # schedule's
    columns: Floats
    gram: Floats  # shape (n_errors, C + 1, C + 1): products of the whitened columns, the data last
    log_det: Floats  # shape (n_errors,)
    n: int  # bins used


CHANGES = np.concatenate([FIRST, SECOND])
N_ALPHA, N_FIRST, N_SECOND = len(ALPHAS), len(FIRST), len(SECOND)
N_CHANGES = len(CHANGES)
PHI = 1
TANGENT = PHI + N_ALPHA
HINGE = TANGENT + N_ALPHA * N_CHANGES
SCHEDULE = HINGE + N_CHANGES


def phi(t: Floats, alpha: Floats | float) -> Floats:
    """The power law, 0 and of slope -1 per e-fold at t = 1."""
    return np.asarray(np.expm1(-np.asarray(alpha) * np.log(t)) / alpha)


def columns_at(t: Floats) -> Floats:
    """All columns but the schedule's at places t, shape (K, SCHEDULE)."""
    out = np.empty((len(t), SCHEDULE))
    out[:, 0] = 1.0
    out[:, PHI:TANGENT] = phi(t[:, None], ALPHAS)
    for i, alpha in enumerate(ALPHAS):
        over = t[:, None] > CHANGES
        line = phi(CHANGES, alpha) - CHANGES ** (-alpha - 1) * (t[:, None] - CHANGES)
        block = slice(TANGENT + i * N_CHANGES, TANGENT + (i + 1) * N_CHANGES)
        out[:, block] = np.where(over, line, phi(t[:, None], alpha))
    out[:, HINGE:] = np.maximum(t[:, None] - CHANGES, 0.0)
    return out


def response_columns(
    # t, rho: shape (n,): learning rate over its peak at increasing axis values (the warm-up at the
    # peak)
    t: Floats,
    rho: Floats,
    at: Floats,  # shape (K,): axis values, increasing
    step: float,  # axis units in an optimiser step
) -> tuple[Floats, Floats]:
    """Cumulative learning rate over that at the last place, and the responses, at places."""
    rate, steps = Rate(t / step, rho), at / step
    lr_time_at = lr_time(rate, steps)
    no_shape = np.array([[1.0, 0.0]])
    response = basis(rate, steps, 1.0, no_shape, ANNEALING.grid.units)[1]
    return lr_time_at / lr_time_at[-1], response


def evidence(
    curve: Curve,
    rows: Bools | None = None,  # shape (K,): bins to use; all by default
) -> Evidence:
    """Marginal likelihoods of all cells of all models."""
    parts = _parts(curve, np.ones(len(curve.t), bool) if rows is None else rows)
    n_errors = len(ERRORS)
    alpha, second = np.arange(N_ALPHA), N_FIRST + np.arange(N_SECOND)
    by_model = {}
    earliest = curve.t[min(2, len(curve.t) - 1)]  # a break before the data is none
    none = np.array([-1])
    grids = {
        "power": (none, none),
        "linear": (np.arange(N_FIRST), none),
        "tip": (none, second),
        "linear, tip": (np.arange(N_FIRST), second),
    }
    for name, (ones, twos) in grids.items():
        e, a, i, j = (
            g.ravel() for g in np.meshgrid(np.arange(n_errors), alpha, ones, twos, indexing="ij")
        )
        good = (i < 0) | (j < 0) | (CHANGES[j] > APART * CHANGES[i])
        good &= (i < 0) | (CHANGES[i] > earliest)
        good &= (j < 0) | (CHANGES[j] > earliest)
        e, a, i, j = e[good], a[good], i[good], j[good]
        if not e.size:
            by_model[name] = Weights(np.empty(0), e, a, i, j)
            continue
        which, mean, sd, positive = terms(name, curve, a, i, j)
        weight = _marginal(curve, parts, e, which, mean, sd, positive)
        weight += np.log(np.array([w for *_, w in ERRORS]) / sum(w for *_, w in ERRORS))[e]
        weight -= math.log(len(e) / n_errors)
        by_model[name] = Weights(weight, e, a, i, j)
    if curve.response is not None:
        n_units = curve.response.shape[1]
        e, a, u = (
            g.ravel()
            for g in np.meshgrid(np.arange(n_errors), alpha, np.arange(n_units), indexing="ij")
        )
        which, mean, sd, positive = terms("schedule", curve, a, u, np.full(len(e), -1))
        weight = _marginal(curve, parts, e, which, mean, sd, positive)
        weight += np.log(np.array([w for *_, w in ERRORS]) / sum(w for *_, w in ERRORS))[e]
        weight -= math.log(N_ALPHA * n_units)
        minus = np.full(len(e), -1)
        by_model["schedule"] = Weights(weight, e, a, u, minus)
    return Evidence(by_model, parts)


def terms(
    name: str, curve: Curve, alpha: Ints, first: Ints, second: Ints
) -> tuple[Ints, Floats, Floats, bool]:
    """Columns of some cells, means and sds of their coefficients, and whether the last is positive.

    ``first`` is the column of the response for the schedule's model.  An sd of 0 stands for a flat
    prior.
    """
    s = curve.slope
    if name == "schedule":
        which = [np.zeros_like(alpha), SCHEDULE + alpha, SCHEDULE + N_ALPHA + first]
        sd = [0.0, SLOPE_SD * s, 1.5 * curve.strength]
        return np.stack(which, axis=1), np.array([0.0, s, 0.0]), np.array(sd), True
    with_line, with_tip = "linear" in name, "tip" in name
    change = first if with_line else second
    main = TANGENT + alpha * N_CHANGES + change if with_line or with_tip else PHI + alpha
    which, mean, sd = [np.zeros_like(main), main], [0.0, s], [0.0, SLOPE_SD * s]
    if with_line:
        which.append(HINGE + first)
        mean.append(0.0)
        sd.append(CHANGE_SD * s)
    if with_tip:
        which.append(HINGE + second)
        mean.append(0.0)
        sd.append(TIP_SD * s)
    return np.stack(which, axis=1), np.array(mean), np.array(sd), with_tip


def _parts(curve: Curve, rows: Bools) -> Parts:
    columns = columns_at(curve.t)
    if curve.response is not None and curve.lr_time is not None:
        own = phi(curve.lr_time[:, None], ALPHAS)
        columns = np.concatenate([columns, own, -curve.response], axis=1)
    n = int(rows.sum())
    every = np.concatenate([columns, curve.y[:, None]], axis=1)[rows]
    clock = curve.clock[rows]
    distance = np.abs(clock[:, None] - clock)
    gram, log_det = [], []
    for size, length, _ in ERRORS:
        covariance = np.diag(1 / curve.weight[rows]) + size * np.exp(-distance / length)
        lower = np.linalg.cholesky(covariance)
        white = np.linalg.solve(lower, every)
        gram.append(white.T @ white)
        log_det.append(np.log(np.diag(lower)).sum())
    return Parts(columns, np.stack(gram), np.array(log_det), n)


def posterior(
    curve: Curve, parts: Parts, e: Ints, which: Ints, mean: Floats, sd: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Normal-inverse-gamma posterior of some cells.

    Returns mean (C, p), the precision's Cholesky factor (C, p, p), the prior's precisions (p,), the
    shape of the variance, and its scale (C,).
    """
    noise = curve.noise**2
    with np.errstate(divide="ignore"):
        prior = np.where(sd > 0, noise / sd**2, FLAT)
    p = which.shape[1]
    gram = parts.gram[e[:, None, None], which[:, :, None], which[:, None, :]] + np.diag(prior)
    data = parts.gram[e[:, None], which, -1] + prior * mean
    square = parts.gram[e, -1, -1] + (prior * mean**2).sum()
    # Where a column says nothing that another does not, rounding must not make it negative.
    diagonal = np.arange(p)
    gram[:, diagonal, diagonal] *= 1 + 1e-11
    lower = np.linalg.cholesky(gram)
    # Solved by hand: LAPACK's loop over small systems is slower than p steps over all cells.
    forward = np.empty_like(data)
    for k in range(p):
        forward[:, k] = (data[:, k] - (lower[:, k, :k] * forward[:, :k]).sum(axis=1)) / lower[
            :, k, k
        ]
    shape = NOISE_POINTS + 0.5 * parts.n
    scale = NOISE_POINTS * noise + 0.5 * np.maximum(square - (forward**2).sum(axis=1), 0.0)
    beta = np.empty_like(data)
    for k in range(p - 1, -1, -1):
        beta[:, k] = (
            forward[:, k] - (lower[:, k + 1 :, k] * beta[:, k + 1 :]).sum(axis=1)
        ) / lower[:, k, k]
    return beta, lower, prior, np.asarray(shape), scale


def _marginal(
    curve: Curve, parts: Parts, e: Ints, which: Ints, mean: Floats, sd: Floats, positive: bool
) -> Floats:
    """Log marginal likelihood of cells; with `positive` the last coefficient is above 0."""
    out = np.empty(len(e))
    for first in range(0, len(e), BLOCK):
        block = slice(first, first + BLOCK)
        beta, lower, prior, shape, scale = posterior(curve, parts, e[block], which[block], mean, sd)
        log = -parts.log_det[e[block]] + 0.5 * np.log(prior).sum()
        log -= np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        log -= shape * np.log(scale)
        if positive:  # the marginal of the last coefficient, its t taken for a normal
            spread = np.sqrt(scale / shape) / lower[:, -1, -1]
            log += log_ndtr(beta[:, -1] / spread) + math.log(2.0)
        out[block] = log
    noise = curve.noise**2
    constant = -0.5 * parts.n * math.log(2 * math.pi)
    constant += NOISE_POINTS * math.log(NOISE_POINTS * noise)
    constant += float(gammaln(NOISE_POINTS + 0.5 * parts.n) - gammaln(NOISE_POINTS))
    return out + constant
