from __future__ import annotations

import numpy as np
import pytest

from lossfit import laws
from lossfit.kernels.driver import fit_batch
from tests.kernels.oracles import LOGNORMAL, Problem

DOF = 4.0


def problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    n = 50
    x = np.geomspace(0.1, 1, n)
    weight = rng.uniform(0.5, 2, n)
    y = 1.5 + 0.2 * x**-0.5 + 0.01 * rng.standard_t(3, n) / np.sqrt(weight)
    y[10] += 0.3
    return Problem(
        "power",
        x,
        y,
        weight,
        np.array([[0.02, 3.0, LOGNORMAL, 0.5, 0.8]]),
        np.array([1.0, 0.2]),
        np.array([1.0, 0.5]),
        np.zeros(2),
        np.array([1.5, 0.012]),
    )


def log_posterior(p: Problem, v: np.ndarray) -> np.ndarray:
    """Of rows (alpha, E, A, log sigma), with Student-t noise; the slow, direct formula."""
    alpha, e, a, log_sigma = v.T
    sigma = np.exp(log_sigma)
    inside = (alpha > 0.02) & (alpha < 3) & (e >= 0) & (a >= 0)
    safe = np.clip(alpha, 0.02, 3)
    curve = e + a * p.x[:, None] ** -safe
    z2 = p.weight[:, None] * ((p.y[:, None] - curve) / sigma) ** 2
    out = -0.5 * (DOF + 1) * np.log1p(z2 / DOF).sum(axis=0) - p.x.size * log_sigma
    for value, mean, sd in ((e, p.mean[0], p.sd[0]), (a, p.mean[1], p.sd[1])):
        scale = sd * sigma / p.sigma[1]
        out -= 0.5 * ((value - mean) / scale) ** 2 + np.log(scale)
    out += -2 * p.sigma[0] * log_sigma - p.sigma[0] * (p.sigma[1] / sigma) ** 2
    out -= 0.5 * (np.log(safe / 0.5) / 0.8) ** 2 + np.log(safe)
    return np.where(inside, out, -np.inf)


@pytest.mark.parametrize("seed", [1, 2])
def test_agrees_with_importance_sampling(seed):
    p = problem(seed)
    key = np.array([seed], np.uint64)
    options = {"noise": "student_t", "chains": 4, "draws": 20_000}
    result = fit_batch(*p.arguments(), key, **options)
    assert result.info["status"][0] == 0
    found = result.draws[0].copy()
    found[-1] = np.log(found[-1])
    # A wide t around the draws, in which log alpha is close to normal.
    rng = np.random.default_rng(0)
    shape = found.copy()
    shape[0] = np.log(shape[0])
    centre, factor = shape.mean(axis=1), np.linalg.cholesky(np.cov(shape))
    n = 250_000  # whose means are off by 1.4 % of a standard deviation at the most
    g = rng.gamma(3.0, size=n) / 3.0
    step = 1.3 * rng.normal(size=(4, n)) / np.sqrt(g)
    sample = centre[:, None] + factor @ step
    log_q = -5.0 * np.log1p((step**2).sum(axis=0) / (1.3**2 * 6.0))
    jacobian = sample[0].copy()
    sample[0] = np.exp(sample[0])
    log_w = log_posterior(p, sample.T) + jacobian - log_q
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    assert 1 / (w**2).sum() > 5_000
    mean = sample @ w
    sd = np.sqrt(((sample - mean[:, None]) ** 2) @ w)
    np.testing.assert_allclose((found.mean(axis=1) - mean) / sd, 0, atol=0.05)
    np.testing.assert_allclose(found.std(axis=1) / sd, 1, atol=0.05)


def test_an_outlier_does_not_move_the_curve():
    p = problem(3)
    clean = p.y.copy()
    clean[10] -= 0.3
    key = np.array([1], np.uint64)
    program = laws.get("power").program
    curves = {}
    for noise in ("gaussian", "student_t"):
        for name, y in (("dirty", p.y), ("clean", clean)):
            b, _program, table = p.arguments()
            d = fit_batch(
                b._replace(y=y), program, table, key, draws=500, chains=1, noise=noise
            ).draws[0]
            curves[noise, name] = (d[1] + d[2] * p.x[:, None] ** -d[0]).mean(axis=1)
    moved = {
        noise: np.abs(curves[noise, "dirty"] - curves[noise, "clean"]).max()
        for noise in ("gaussian", "student_t")
    }
    assert moved["student_t"] < 0.25 * moved["gaussian"]
