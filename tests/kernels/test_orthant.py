"""Coefficients under their constraints, for one value of the nonlinear parameters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import uint64
from scipy import stats

from lossfit.kernels import driver
from lossfit.kernels.compress import compress
from lossfit.kernels.entries import entry
from lossfit.kernels.marginal import evaluate, set_up
from lossfit.kernels.orthant import draw_coefficients, log_orthant
from lossfit.kernels.work import LANES, RunPrior, make_work
from tests.kernels.oracles import Problem, conditional, random_problem


@entry
def draw_many(count, q, m, work, key, out, weight):
    for i in range(count):
        weight[i] = draw_coefficients(0, q, m, work, uint64(i), uint64(64), uint64(key), work.drawn)
        for k in range(8):
            out[i, k] = work.drawn[k, 0]


def drawn(problem: Problem, alpha: float, count: int):
    """Weighted draws at an exponent: coefficients in the law's order and sigma, and log weights.

    Also the approximate log probability that guides proposals.
    """
    _batch, program, _table = problem.arguments()
    model, tables = driver._model(program), driver.tables()
    work = make_work(problem.x.size, tables)
    where = program.order
    prior = RunPrior(
        np.ascontiguousarray(problem.nonlinear),
        problem.mean[where],
        (problem.sigma[1] / problem.sd[where]) ** 2,
        np.maximum(problem.lower[where], -1e300),
        *problem.sigma,
    )
    n_points, centre, total, mass = compress(problem.x, problem.y, problem.weight, -1, tables, work)
    set_up(problem.x.size, n_points, centre, total, mass, model, prior, work)
    work.z[0] = np.log(alpha)
    evaluate(LANES, n_points, model, prior, work)
    q, m = program.n_fixed, program.n_varying
    guide = log_orthant(0, q, m, work.rows, work)
    out, weight = np.zeros((count, 8)), np.empty(count)
    draw_many(count, q, m, work, 11, out, weight)
    linear = np.empty((count, q + m))
    linear[:, where] = out[:, : q + m]
    linear[:, program.constant if program.constant >= 0 else 0] += (
        centre if program.constant >= 0 else 0.0
    )
    return linear, out[:, q + m], weight, guide


def unconstrained(problem: Problem, alpha: float):
    """Mean, covariance / sigma^2, q and degrees of freedom, by QR."""
    _logp, mean, inverse, square = conditional(problem, np.array([[np.log(alpha)]]))
    nu = problem.x.size + 2 * problem.sigma[0]
    return mean[0], inverse[0] @ inverse[0].T, square[0], nu


def cases(law: str, low: float, high: float, count: int):
    """Random problems whose constraints hold with a probability between two numbers."""
    found = []
    for seed in range(1000):
        rng = np.random.default_rng([31, seed])
        problem, alpha = random_problem(rng, law), float(np.exp(rng.uniform(-2.5, 0.7)))
        mean, covariance, square, nu = unconstrained(problem, alpha)
        if not np.linalg.eigvalsh(covariance)[0] > 1e-9 * np.trace(covariance):
            continue  # scipy's distribution calls this singular
        t = stats.multivariate_t(-mean, covariance * square / nu, nu, seed=seed)
        probability = float(t.cdf(np.zeros(mean.size)))
        if low < probability < high:
            # Once more, accurately: its default number of points leaves errors of 2 %.
            probability = float(t.cdf(np.zeros(mean.size), maxpts=400_000))
            found.append((problem, alpha, probability))
            if len(found) == count:
                return found
    raise AssertionError("too few cases")


@pytest.mark.parametrize("law", ["power", "power_linear"])
def test_weights_are_unbiased_estimates_of_the_probability(law):
    for problem, alpha, probability in cases(law, 1e-3, 0.97, 12):
        _linear, _sigma, log_weight, guide = drawn(problem, alpha, 40_000)
        weight = np.exp(log_weight)
        error = weight.std() / np.sqrt(weight.size) + 2e-3 * probability
        assert abs(weight.mean() - probability) < 4 * error
        # The guide may be off: it decides how fast draws are made, not what they are.
        assert abs(guide - np.log(probability)) < 1.2


@pytest.mark.parametrize("law", ["power", "power_linear"])
def test_draws_agree_with_rejection(law):
    for problem, alpha, _probability in cases(law, 0.02, 0.9, 4):
        linear, sigma, log_weight, _guide = drawn(problem, alpha, 60_000)
        weight = np.exp(log_weight)
        weight /= weight.sum()
        assert (linear[weight > 0] >= -1e-12).all()
        mean, covariance, square, nu = unconstrained(problem, alpha)
        rng = np.random.default_rng(1)
        n = 800_000
        scale = np.sqrt(square / rng.chisquare(nu, n))
        beta = mean + scale[:, None] * (
            rng.normal(size=(n, mean.size)) @ np.linalg.cholesky(covariance).T
        )
        kept = (beta >= 0).all(axis=1)
        exact = np.column_stack([beta, np.log(scale)])[kept]
        found = np.column_stack([linear, np.log(sigma)])
        sd = exact.std(axis=0)
        effective = 1 / (weight**2).sum()
        tolerance = 4 * np.sqrt(1 / effective + 1 / kept.sum())
        assert np.abs((weight @ found - exact.mean(axis=0)) / sd).max() < tolerance
        second = weight @ (found - exact.mean(axis=0)) ** 2
        assert np.abs(np.sqrt(second) / sd - 1).max() < 2.5 * tolerance
        for k in range(found.shape[1]):
            middle = np.median(exact[:, k])
            assert abs(weight @ (found[:, k] <= middle) - 0.5) < tolerance


def test_an_unconstrained_coefficient_stays_so():
    rng = np.random.default_rng(5)
    problem = random_problem(rng, "power_linear", 40)
    free = Problem(**{**problem.__dict__, "lower": np.full(3, -np.inf)})
    linear, sigma, log_weight, guide = drawn(free, 0.5, 40_000)
    assert guide == 0
    assert not log_weight.any()
    mean, covariance, square, nu = unconstrained(free, 0.5)
    z = (linear - mean) / np.sqrt(np.diag(covariance))
    for k in range(3):
        scaled = z[:, k] / np.sqrt(square / nu)
        assert stats.kstest(scaled, stats.t(nu).cdf).pvalue > 1e-3
    assert stats.kstest(square / sigma**2, stats.chi2(nu).cdf).pvalue > 1e-3


def test_a_guide_sees_a_sliver():
    # At a small exponent E and A are almost opposite: together they leave little of each other.
    rng = np.random.default_rng(17)
    x = np.geomspace(0.05, 1, 12)
    problem = Problem(
        "power_linear",
        x,
        0.01 + 0.004 * x**-0.3 - 0.03 * x + 0.02 * rng.normal(size=12),
        np.ones(12),
        np.array([[0.02, 3.0, 2.0, 0.5, 0.6]]),
        np.zeros(3),
        np.array([0.3, 0.1, 0.04]),
        np.zeros(3),
        np.array([3.0, 0.02]),
    )
    for alpha in (0.05, 0.1, 0.2, 0.5):
        _linear, _sigma, log_weight, guide = drawn(problem, alpha, 40_000)
        assert abs(guide - np.log(np.exp(log_weight).mean())) < 0.7
