"""Posteriors of many tables at once, with what the law misses.

    y_i = L(N_i, D_i) + S_i [ g_N(log N_i) + g_D(log D_i) ] + sigma e_i t_i

S is the reducible loss of a usual table (`lossfit.surfaces.missed.usual`), and the weights of rows
(Student-t noise with 4 degrees of freedom, by its weights) are taken at a robust pilot fit, so that
covariances do not depend on the parameters.  With K the covariance of the
discrepancy for kappa = 1 and e the noise for sigma = 1, one eigendecomposition of K over e, once a
table, makes every step of the sampler a product: kappa^2 K + sigma^2 e^2 is diagonal in its basis
for any kappa and sigma.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._base.blas import one_blas_thread
from .._base.ragged import Bools, Floats
from .forms import Form, jacobian, mean, starts
from .hamiltonian import Drawn, draw
from .missed import NU, kernel, usual
from .table import Table
from .target import middle

KAPPA = (np.log(0.08), 0.35)  # log-normal prior of kappa
SIGMA = (np.log(0.005), 1.2)  # of sigma, a share of the loss
SIGMA_GIVEN = 0.5  # log-sd of sigma where standard errors say how large it is
ROBUST = 0.01  # residual of log loss from which the pilot fit bends
PILOT_STEPS = 40
LEAST_SIGMA = 5e-4
STEPS = (3, 12)  # of a trajectory
CHAINS = 20
CELLS = 300_000  # of chains x rows x tables that are sampled at once


class Batch(NamedTuple):
    """B tables of at most k rows; rows that a table lacks, and copies, have ``valid`` false."""

    # n, d: shape (B, k): log params and log tokens less their centres
    n: Floats
    d: Floats
    y: Floats  # shape (B, k): loss over the level
    noise: Floats  # shape (B, k): noise for sigma = 1
    valid: Bools  # shape (B, k)
    centre: Floats  # shape (B, 2)
    level: Floats  # shape (B,)
    pilot: Floats  # shape (B, 6)
    size: Floats  # shape (B, k): S, by which g is multiplied
    turn: Floats  # shape (B, k, k): residuals times it are independent
    eigenvalues: Floats  # shape (B, k)
    sigma: Floats  # shape (B, 2): mean and sd of the prior of log sigma
    scale: Floats  # shape (B,): robust scale of the pilot fit's residuals
    # shape (B, p, p): root of the covariance of a normal approximation, in the form's coordinates
    root: Floats


class Posterior(NamedTuple):
    """Draws of one table."""

    theta: Floats  # shape (draws, 6)
    # sigma, kappa: shape (draws,)
    sigma: Floats
    kappa: Floats
    rhat: float
    acceptance: float


def batch_of(
    tables: Sequence[Table],
    form: Form,
    robust: bool = True,  # whether rows far from the pilot fit weigh less
    # unit of the losses in the priors; each table's median loss by default
    level: float | None = None,
) -> Batch:
    """Tables side by side, with their pilot fits."""
    most = max(len(table) for table in tables)
    shape = (len(tables), most)
    n, d, y = np.zeros(shape), np.zeros(shape), np.ones(shape)
    error, weight, valid = np.ones(shape), np.ones(shape), np.zeros(shape, bool)
    centre, unit = np.empty((shape[0], 2)), np.empty(shape[0])
    sigma = np.tile(SIGMA, (shape[0], 1))
    for b, table in enumerate(tables):
        k = len(table)
        valid[b, :k] = table.first
        logs = np.log(table.params), np.log(table.tokens)
        centre[b] = [v.mean() for v in logs]
        unit[b] = np.median(table.loss) if level is None else level
        n[b, :k], d[b, :k] = logs[0] - centre[b, 0], logs[1] - centre[b, 1]
        y[b, :k] = table.loss / unit[b]
        error[b, :k] = y[b, :k]
        if table.error is not None:
            common = float(np.median(table.error / table.loss))
            error[b, :k] = table.error / (unit[b] * common)
            sigma[b] = np.log(common), SIGMA_GIVEN
        if table.weight is not None:
            weight[b, :k] = table.weight / table.weight.mean()
    pilot = _pilot(form, n, d, y, weight * valid)
    fitted, above = mean(pilot, n, d)
    residual = np.log(y / fitted)
    scale = np.array([_spread(r[ok]) for r, ok in zip(residual, valid, strict=True)])
    if robust:
        relative = (y - fitted) / (error * scale[:, None])
        weight = weight * np.minimum(1.0, NU / (NU + relative**2) * (NU + 1) / NU)
    noise = error / np.sqrt(weight)
    top = np.where(valid, n, -np.inf).max(axis=1), np.where(valid, d, -np.inf).max(axis=1)
    covariance = sum(
        kernel(v - t[:, None], v - t[:, None]) for v, t in zip((n, d), top, strict=True)
    )
    size = usual(n, d)
    over = np.where(valid, size / noise, 0.0)
    values, vectors = np.linalg.eigh(over[:, :, None] * covariance * over[:, None, :])
    turn = vectors * np.where(valid, 1 / noise, 0.0)[:, :, None]
    eigenvalues = np.maximum(values, 0.0)
    root = _root(form, pilot, n, d, above, turn, eigenvalues, scale)
    return Batch(
        n, d, y, noise, valid, centre, unit, pilot, size, turn, eigenvalues, sigma, scale, root,
    )  # fmt: skip


def _spread(residual: Floats) -> float:
    middle_value = np.median(residual)
    return max(1.4826 * float(np.median(np.abs(residual - middle_value))), LEAST_SIGMA)


def _pilot(form: Form, n: Floats, d: Floats, y: Floats, weight: Floats) -> Floats:
    """Levenberg-Marquardt from several starts, on log loss with bounded influence: (B, 6)."""
    first = starts(form)
    count = len(first)
    phi = np.tile(form.phi(first), (len(n), 1, 1))
    n, d, y = (np.repeat(v[:, None], count, axis=1) for v in (n, d, y))
    log_y, weight = np.log(y), weight[:, None]
    centre, precision = _pilot_prior(form)
    damping = np.full(phi.shape[:2], 1e-2)

    def cost(phi: Floats) -> tuple[Floats, Floats, Floats]:
        theta = form.theta(phi)
        with np.errstate(all="ignore"):
            fitted, _ = mean(theta, n, d)
            gap = np.nan_to_num((log_y - np.log(fitted)) / ROBUST, nan=1e6, posinf=1e6, neginf=-1e6)
            value = 2.5 * (weight * np.log1p(gap**2 / 5)).sum(axis=-1)
            value = value + 0.5 * (precision * (theta - centre) ** 2).sum(axis=-1)
            value = value + 0.5 * np.exp(2 * np.minimum(theta[..., :3], 20.0)).sum(axis=-1)
        return np.where(np.isfinite(value), value, 1e300), gap, theta

    value, gap, theta = cost(phi)
    for _ in range(PILOT_STEPS):
        with np.errstate(all="ignore"):
            fitted, above = mean(theta, n, d)
            slopes = jacobian(form, phi, n, d, above) / (fitted[..., None] * ROBUST)
            slopes = np.nan_to_num(slopes, posinf=0.0, neginf=0.0)
            pull = weight / (1 + gap**2 / 5)
            gradient = (slopes * (pull * gap)[..., None]).sum(axis=-2)
            curvature = np.swapaxes(slopes * pull[..., None], -1, -2) @ slopes
            by_theta = -precision * (theta - centre)
            square = np.exp(2 * np.minimum(theta[..., :3], 20.0))
            by_theta[..., :3] -= square
            bend = np.broadcast_to(precision, theta.shape).copy()
            bend[..., :3] += 2 * square
            turn = _turn(form, phi)
            gradient = gradient + (np.swapaxes(turn, -1, -2) @ by_theta[..., None])[..., 0]
            curvature = curvature + np.swapaxes(turn, -1, -2) @ (bend[..., None] * turn)
        diagonal = np.einsum("...ii->...i", curvature)
        damped = curvature + np.eye(form.size) * (
            damping[..., None] * (diagonal + 1e-6)
        )[..., None, :]  # fmt: skip
        damped = np.where(np.isfinite(damped), damped, 0) + 1e-9 * np.eye(form.size)
        step = np.linalg.solve(damped, np.nan_to_num(gradient)[..., None])[..., 0]
        trial = phi + np.clip(step, -1.0, 1.0)
        new, new_gap, new_theta = cost(trial)
        better = new < value
        phi = np.where(better[..., None], trial, phi)
        theta = np.where(better[..., None], new_theta, theta)
        gap = np.where(better[..., None], new_gap, gap)
        value = np.where(better, new, value)
        damping = np.clip(np.where(better, damping / 4, damping * 6), 1e-8, 1e8)
    best = value.argmin(axis=1)
    return np.asarray(theta[np.arange(len(theta)), best])


def _pilot_prior(form: Form) -> tuple[Floats, Floats]:
    centre, precision = np.zeros(6), np.zeros(6)
    for name, prior in form.priors.items():
        k = 3 + ("alpha", "beta", "gamma").index(name)
        centre[k], spread = middle(prior)
        precision[k] = spread**-2
    return centre, precision


def _turn(form: Form, phi: Floats) -> Floats:
    """Derivatives of theta by phi, shape (..., 6, size)."""
    step = 1e-6
    columns = []
    for k in range(form.size):
        ahead, behind = phi.copy(), phi.copy()
        ahead[..., k] += step
        behind[..., k] -= step
        columns.append((form.theta(ahead) - form.theta(behind)) / (2 * step))
    return np.stack(columns, axis=-1)


def _root(
    form: Form, pilot: Floats, n: Floats, d: Floats, above: object, turn: Floats,
    eigenvalues: Floats, scale: Floats,
) -> Floats:  # fmt: skip
    """Roots of normal approximations at the pilot fits, with log sigma and log kappa: (B, p, p)."""
    phi = form.phi(pilot)
    slopes = jacobian(form, phi, n, d, above)  # type: ignore[arg-type]
    whitened = np.swapaxes(turn, 1, 2) @ slopes
    spread = scale[:, None] ** 2 + np.exp(2 * KAPPA[0]) * eigenvalues
    information = np.swapaxes(whitened / spread[:, :, None], 1, 2) @ whitened
    bend = np.broadcast_to(_pilot_prior(form)[1], pilot.shape).copy()
    bend[:, :3] += 2 * np.exp(2 * pilot[:, :3])
    by = _turn(form, phi)
    information = information + np.swapaxes(by, 1, 2) @ (bend[..., None] * by)
    information = information + 0.2 * np.eye(form.size)
    values, vectors = np.linalg.eigh(information)
    p = form.size + 2
    out = np.zeros((len(n), p, p))
    out[:, : p - 2, : p - 2] = vectors / np.sqrt(np.maximum(values, 1e-8))[:, None]
    out[:, p - 2, p - 2], out[:, p - 1, p - 1] = 0.2, 0.3
    return out


@one_blas_thread()
def posteriors(
    tables: Sequence[Table],
    form: Form,
    draws: int,
    rng: np.random.Generator,
    *,
    robust: bool = True,
    level: float | None = None,
    chains: int = CHAINS,
) -> list[tuple[Batch, int, Posterior]]:
    """Sample every table; for each its batch, its place there, and its draws.

    Tables of equal length are sampled together: rows of filling would change the rounding of sums,
    and a table's draws shall not depend on what is fitted beside it.
    """
    random = rng.bit_generator.state
    order = np.argsort([len(table) for table in tables], kind="stable")
    out: list[tuple[Batch, int, Posterior] | None] = [None] * len(tables)
    first = 0
    while first < len(order):
        last = first + 1
        rows = len(tables[order[first]])
        while (
            last < len(order)
            and len(tables[order[last]]) == rows
            and (last + 1 - first) * rows * chains <= CELLS
        ):
            last += 1
        some = order[first:last]
        rng.bit_generator.state = random
        batch = batch_of([tables[k] for k in some], form, robust, level)
        drawn = _sampled(batch, form, rng, chains, -(-draws // chains))
        for b, k in enumerate(some):
            out[k] = batch, b, _posterior(form, drawn, b, draws)
        first = last
    return [one for one in out if one is not None]


def _sampled(batch: Batch, form: Form, rng: np.random.Generator, chains: int, keep: int) -> Drawn:
    log_sigma = np.clip(np.log(batch.scale), batch.sigma[:, 0] - 3, batch.sigma[:, 0] + 3)
    start = np.column_stack([form.phi(batch.pilot), log_sigma, np.full(len(batch.n), KAPPA[0])])
    n, d, y = batch.n[:, None], batch.d[:, None], batch.y[:, None]
    blank = (~batch.valid).sum(axis=1)[:, None]
    sigma = batch.sigma[:, None]
    size = form.size
    back = np.swapaxes(batch.turn, 1, 2)

    def density(phi: Floats) -> tuple[Floats, Floats]:
        theta = form.theta(phi)
        fitted, above = mean(theta, n, d)
        u = np.where(batch.valid[:, None], y - fitted, 0.0) @ batch.turn
        s2, k2 = np.exp(2 * phi[..., size : size + 1]), np.exp(2 * phi[..., size + 1 :])
        v = s2 + k2 * batch.eigenvalues[:, None]
        ratio = u / v
        value = -0.5 * (u * ratio + np.log(v)).sum(axis=-1) + blank * phi[..., size]
        prior, slope = form.log_prior(theta)
        gap = (phi[..., size] - sigma[..., 0]) / sigma[..., 1]
        far = (phi[..., size + 1] - KAPPA[0]) / KAPPA[1]
        value = value + prior - 0.5 * (gap**2 + far**2) + form.log_jacobian(phi)
        weight = np.where(batch.valid[:, None], ratio @ back, 0.0)
        gradient = np.empty_like(phi)
        by_theta = _pushed(theta, n, d, above, weight) + slope
        gradient[..., :size] = form.chain(phi, by_theta)
        extra = ratio**2 - 1 / v
        gradient[..., size] = s2[..., 0] * extra.sum(axis=-1) + blank - gap / sigma[..., 1]
        curved = (extra * batch.eigenvalues[:, None]).sum(axis=-1)
        gradient[..., size + 1] = k2[..., 0] * curved - far / KAPPA[1]
        return value, gradient

    return draw(density, start, batch.root, rng, chains=chains, keep=max(keep, 40), steps=STEPS)


def _pushed(theta: Floats, n: Floats, d: Floats, above: object, weight: Floats) -> Floats:
    from ..laws.coupled import push

    return push(theta, n, d, above, weight)  # type: ignore[arg-type]


def _posterior(form: Form, drawn: Drawn, b: int, draws: int) -> Posterior:
    # In order of time, chains side by side: an even choice is spread over all.
    flat = np.swapaxes(drawn.draws[b], 0, 1)
    flat = flat.reshape(-1, flat.shape[-1])
    phi = flat[np.linspace(0, len(flat) - 1, draws).round().astype(int)]
    return Posterior(
        form.theta(phi), np.exp(phi[:, form.size]), np.exp(phi[:, form.size + 1]),
        float(drawn.rhat[b]), float(drawn.acceptance[b]),
    )  # fmt: skip
