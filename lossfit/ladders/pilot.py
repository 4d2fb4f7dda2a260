"""A robust point fit of a ladder's law, and the scales of what it misses by empirical Bayes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._base.ragged import Floats
from ..laws.coupled import fold, unfold
from .discrepancy import PRIORS, Placed, covariances, noise, overlap, pieces
from .law import COORDINATES, log_prior, push, terms

ROBUST = 0.006  # residual of log loss from which the pilot fit bends
STARTS = (  # E, exponents, tau in steps
    (0.3, 0.3, 400.0),
    (0.7, 0.3, 400.0),
    (0.5, 0.5, 1600.0),
    (0.5, 0.2, 100.0),
)
JITTER = 1e-12
MOST_STEPS = 25  # of the empirical Bayes fit
OFF = 3.0  # sds from which a run lies off the others
SUSPECT = 0.6  # share of the most that one of k runs can show
FEWEST_JUDGES = 3


class Pilot(NamedTuple):
    """The point fit at the rows."""

    theta: Floats  # shape (10,)
    # mean, reducible, won: shape (k,)
    mean: Floats
    reducible: Floats
    won: Floats


def gradients(theta: Floats, n: Floats, x: Floats, q: Floats | None) -> Floats:
    """Derivatives of the mean at the rows, shape (k, 10)."""
    each = np.tile(theta, (len(n), 1))
    return push(each, n, x, terms(each, n, x, q), np.eye(len(n)))


def pilot_fit(n: Floats, x: Floats, q: Floats | None, y: Floats, run: np.ndarray) -> Pilot:
    """Least squares of log loss with bounded influence and the law's priors.

    Parameters
    ----------
    n, x, y : ndarray, shape (k,)
        Centred, and in units of the median loss.
    q : ndarray or None
    run : ndarray of int, shape (k,)
        Runs count alike, however many rows they have.
    """
    from scipy.optimize import least_squares
    from scipy.special import logit

    from .clock import LOG_TAUS

    counts = np.bincount(run)
    weight = np.sqrt(counts[counts > 0].mean() / counts[run])
    log_y = np.log(y)

    def residuals(theta: Floats) -> Floats:
        with np.errstate(all="ignore"):
            mean = terms(theta[None], n, x, q).mean[0]
        mean = np.maximum(np.nan_to_num(mean, nan=1e3, posinf=1e3), 1e-6)
        r = (np.log(mean) - log_y) / ROBUST
        r = np.sign(r) * np.sqrt(5 * np.log1p(r * r / 5))
        return np.concatenate([r * weight, _prior_residuals(theta)])

    best = None
    for floor, exponent, tau in STARTS:
        half = np.log((1 - floor) / 2)
        place = (np.log(tau) - LOG_TAUS[0]) / (LOG_TAUS[-1] - LOG_TAUS[0])
        start = [np.log(floor), half, half, np.log(exponent), np.log(exponent), -0.3,
                 np.log(0.05), 0.0, logit(place), -0.7]  # fmt: skip
        fit = least_squares(residuals, start, max_nfev=60, x_scale="jac", loss="linear")
        if best is None or fit.cost < best.cost:
            best = fit
    assert best is not None
    return pilot_at(best.x, n, x, q)


def pilot_at(theta: Floats, n: Floats, x: Floats, q: Floats | None) -> Pilot:
    """A point at the rows."""
    at = terms(theta[None], n, x, q)
    won = np.broadcast_to(at.won, at.mean.shape)[0]
    return Pilot(theta, at.mean[0], at.above.loss[0], np.array(won))


def _prior_residuals(theta: Floats) -> Floats:
    from .law import PRIOR

    gap = (theta[3:8] - PRIOR[:5, 0]) / PRIOR[:5, 1]
    return np.concatenate([gap, np.exp(np.minimum(theta[:3], 5.0)), theta[8:] / 1.8])


def strange_runs(residual: Floats, run: np.ndarray) -> Floats:
    """Weights of runs, shape (runs,): below 1 for one far off the others, where there are 8."""
    runs = int(run.max()) + 1
    out = np.ones(runs)
    if runs < 8:
        return out
    level = np.bincount(run, residual) / np.bincount(run)
    gap = level - np.median(level)
    spread = max(1.4826 * float(np.median(np.abs(gap))), 2e-3)
    return np.minimum(1.0, 5 / (4 + (gap / spread) ** 2))


def scales_of(placed: Placed, residual: Floats, slopes: Floats) -> Floats:
    """Scales at the mode of their marginal posterior, shape (6,).

    The mean's own freedom (``slopes``, shape (k, 10)) is part of the covariance, so that what the
    pilot fit took up is not missing from the discrepancy.
    """
    from scipy.linalg import cho_solve, cholesky
    from scipy.optimize import minimize

    part = pieces(placed, placed)
    freedom = slopes @ slopes.T
    shared = overlap(placed.rows)
    np.fill_diagonal(shared, 0.0)
    level = placed.level[:, None] * placed.level
    alone, together = np.diag(placed.level**2), level * shared

    def objective(scales: Floats) -> tuple[float, Floats]:
        v = np.exp(2 * scales)
        share = 1 / (1 + np.exp(-scales[5]))
        white = v[3] * (alone + share * together)
        total = part["fixed"] + freedom + v[0] * part["kappa"] + v[1] * part["offset"]
        total = total + v[2] * part["shape"] + v[4] * part["bend"] + white
        total[np.diag_indices_from(total)] += JITTER
        gap = (scales - PRIORS[:, 0]) / PRIORS[:, 1]
        try:
            root = cholesky(total, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros(6)
        inverse = cho_solve((root, True), np.eye(len(total)), check_finite=False)
        fitted = inverse @ residual
        value = 0.5 * residual @ fitted + np.log(np.diag(root)).sum() + 0.5 * gap @ gap
        inner = inverse - np.outer(fitted, fitted)
        names = ("kappa", "offset", "shape", None, "bend")
        slope = np.array(
            [v[k] * (inner * (part[name] if name else white / v[3])).sum()
             for k, name in enumerate(names)]
        )  # fmt: skip
        by_share = 0.5 * v[3] * share * (1 - share) * (inner * together).sum()
        return float(value), np.append(slope, by_share) + gap / PRIORS[:, 1]

    # From three starts of the noise: the surface has ridges between noise, shape and bend.
    bounds = [(m - 5 * s, m + 5 * s) for m, s in PRIORS]
    fit = minimize(
        objective, PRIORS[:, 0], jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": MOST_STEPS},
    )  # fmt: skip
    return np.asarray(fit.x)


def strangeness(placed: Placed, scales: Floats, residual: Floats, slopes: Floats) -> Floats:
    """How far each run lies off the others, in sds, by scales of the others: shape (runs,).

    A run that lies far off widens the scale of levels by which it is judged, so that one of k runs
    can't show more than (k - 1) / sqrt(k).  The farthest is judged by scales found without it; if
    it is strange, it is left out, and the next one is looked at.
    """
    run = placed.rows.run
    out, rest = np.zeros(int(run.max()) + 1), np.ones(len(run), bool)
    while True:
        left = np.unique(run[rest])
        found = off_by(placed.take(rest), scales, residual[rest], slopes[rest])
        out[left] = found[left]
        worst = left[np.abs(found[left]).argmax()]
        most = (len(left) - 1) / np.sqrt(len(left))
        if abs(out[worst]) < min(SUSPECT * most, OFF) or len(left) <= FEWEST_JUDGES:
            return out
        others = rest & (run != worst)
        scales = scales_of(placed.take(others), residual[others], slopes[others])
        out[worst] = off_by(placed.take(rest), scales, residual[rest], slopes[rest])[worst]
        if abs(out[worst]) < OFF:
            return out
        rest = others


def off_by(placed: Placed, scales: Floats, residual: Floats, slopes: Floats) -> Floats:
    """How far each run's level lies from what all the other runs say, in sds: shape (runs,).

    The run's own level and shape are not in that spread but for the noise: a run that these two
    have to explain is what is looked for.
    """
    part = pieces(placed, placed)
    k1, k2 = covariances(part, scales)
    total = np.exp(2 * scales[0]) * k1 + k2 + noise(placed, scales) + slopes @ slopes.T
    inverse = np.linalg.inv(total + JITTER * np.eye(len(total)))
    fitted = inverse @ residual
    runs = np.unique(placed.rows.run)
    out = np.zeros(int(runs.max()) + 1)
    for run in runs:
        own = placed.rows.run == run
        inner = inverse[np.ix_(own, own)]
        spread = np.linalg.inv(inner)
        gap = spread @ fitted[own]
        mean = np.full(own.sum(), 1 / own.sum())
        out[run] = mean @ gap / np.sqrt(mean @ spread @ mean)
    return out


def normal_root(
    slopes: Floats,  # shape (k, 10): derivatives of the whitened mean
    precision: Floats,  # shape (k,): of the whitened rows
    theta: Floats,  # shape (10,)
    extra: Floats,  # variances of further coordinates
) -> Floats:
    """Root of the covariance of a normal approximation in the coordinates of `fold`: (p, p)."""
    information = (slopes.T * precision) @ slopes
    step = 1e-4
    for k in range(COORDINATES):
        ahead, behind = theta.copy(), theta.copy()
        ahead[k] += step
        behind[k] -= step
        bend = (log_prior(behind)[1][k] - log_prior(ahead)[1][k]) / (2 * step)
        information[k, k] += max(bend, 0.25)
    turn = _turn(fold(theta))
    information = turn.T @ information @ turn
    values, vectors = np.linalg.eigh(information)
    root = np.zeros((COORDINATES + len(extra),) * 2)
    root[:COORDINATES, :COORDINATES] = vectors / np.sqrt(np.maximum(values, 1e-8))
    root[COORDINATES:, COORDINATES:] = np.diag(np.sqrt(extra))
    return root


def _turn(phi: Floats) -> Floats:
    """Derivatives of `unfold`, shape (10, 10)."""
    step = 1e-6 * np.eye(COORDINATES)
    return np.asarray((unfold(phi + step) - unfold(phi - step)).T / 2e-6)
