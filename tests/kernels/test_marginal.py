"""The collapsed posterior and the compression of curves, against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit import laws, priors
from lossfit.kernels import driver
from lossfit.kernels.compress import compress
from lossfit.kernels.marginal import (
    BASE_B,
    BASE_CENTRE,
    evaluate,
    row_of_h,
    row_of_q,
    row_of_u,
    set_up,
)
from lossfit.kernels.work import LANES, RunPrior, make_work
from tests.kernels.oracles import EXACT, Problem, conditional, random_nonlinear, random_problem


def evaluated(problem: Problem, program, z, order=-1):
    """Log posterior, and mean and covariance / sigma^2 of the coefficients, from the kernels."""
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
    n_points, centre, total, mass = compress(
        problem.x, problem.y, problem.weight, order, tables, work
    )
    set_up(problem.x.size, n_points, centre, total, mass, model, prior, work)
    m, q = program.n_varying, program.n_fixed
    logp, means, covariances, squares = [], [], [], []
    for first in range(0, z.shape[1], LANES):
        some = z[:, first : first + LANES]
        lanes = some.shape[1]
        work.z[: len(z), :lanes] = some
        evaluate(lanes, n_points, model, prior, work)
        for j in range(lanes):
            rows = work.rows[:, j]
            factor = np.zeros((q + m, q + m))
            mean = np.zeros(q + m)
            mean[q:] = rows[:m]
            h = np.array([[rows[row_of_h(m, a, k)] for a in range(m)] for k in range(q)])
            h = h.reshape(q, m)
            for a in range(m):
                for b in range(a, m):
                    factor[q + a, b] = rows[row_of_u(m, a, b)]
            factor[:q, :m] = -h @ factor[q:, :m]
            for k in range(q):
                factor[k, m : m + q] = work.base[12 + 3 * k : 12 + 3 * k + q]
            mean[:q] = work.base[BASE_B : BASE_B + q] - h @ rows[:m]
            back = np.argsort(where)
            if program.constant >= 0:
                mean[program.constant] += work.base[BASE_CENTRE]
            means.append(mean[back])
            covariances.append((factor @ factor.T)[np.ix_(back, back)])
            squares.append(rows[row_of_q(m)] ** 2)
        logp.extend(work.logp[:lanes])
    return np.array(logp), np.array(means), np.array(covariances), np.array(squares)


def made_law(columns, d):
    return lossfit.Law(
        name="made",
        formula="made",
        linear=tuple(lossfit.Linear(f"b{k}", "", priors.normal(0, 1)) for k in range(len(columns))),
        columns=columns,
        nonlinear=tuple(
            lossfit.Nonlinear(f"t{k}", "", 0.1, 3.0, priors.lognormal(1, 1)) for k in range(d)
        ),
    )


def one(log_x, t0):
    return np.exp(-t0 * log_x)


def two(x, t1):
    return np.exp(-t1 * x)


def three(x, t0, t1):
    return x / (t0 + t1 * x)


CASES = {
    "one varying": ((laws.constant, one, lambda x: -x), 1),
    "no constant": ((lambda log_x: log_x, one), 1),
    "no fixed": ((one,), 1),
    "two varying": ((one, laws.constant, two), 2),
    "three varying": ((one, two, lambda x: x, three, laws.constant, lambda log_x: log_x), 2),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_dense_linear_algebra(case, seed):
    columns, d = CASES[case]
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(8, 60)), len(columns)
    x = np.sort(rng.uniform(0.05, 1, n))
    x /= x[-1]

    def design(points, theta):
        t = {f"t{k}": theta[k][:, None] for k in range(d)}
        out = []
        for column in columns:
            names = column.__code__.co_varnames[: column.__code__.co_argcount]
            given = {"x": points, "log_x": np.log(points), **t}
            value = column(**{name: given[name] for name in names})
            out.append(np.broadcast_to(value, (theta.shape[1], points.size)))
        return np.stack(out, axis=-1)

    rows = [
        [0.1, 3.0, 2.0, 0.7, 0.8],
        [0.1, 3.0, *([1.0, 0.5, 0.4] if seed % 2 else [0.0, 0.1, 3.0])],
    ]
    problem = Problem(
        "made",
        x,
        rng.normal(2, 0.3, n),
        rng.uniform(0.2, 4, n),
        np.array(rows[:d]),
        rng.normal(0, 1, p),
        np.exp(rng.normal(0, 1, p)),
        np.zeros(p),
        np.array([rng.uniform(0.3, 3), rng.uniform(0.05, 1)]),
        log=(True, True),
        columns=design,
    )
    z = np.log(rng.uniform(0.15, 2.9, (d, 45)))
    logp, mean, covariance, square = evaluated(problem, made_law(columns, d).program, z)
    wanted_logp, wanted_mean, inverse, wanted_square = conditional(problem, z)
    np.testing.assert_allclose(logp - logp[0], wanted_logp - wanted_logp[0], atol=1e-6)
    np.testing.assert_allclose(mean, wanted_mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        covariance, inverse @ np.swapaxes(inverse, 1, 2), rtol=1e-5, atol=1e-9
    )
    # 1e-10 of the losses' spread is added: the stated limit of float64 sums.
    np.testing.assert_allclose(square, wanted_square, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("law", EXACT)
def test_pseudo_points_leave_the_posterior_unchanged(law, seed):
    rng = np.random.default_rng([4, seed])
    problem = random_problem(rng, law, int(rng.choice([150, 400, 900])))
    program = laws.get(law).program
    order = program.pseudo_points(0.5 * np.log(problem.x[-1] / problem.x[0]))
    if order < 0:
        pytest.skip("over so long a window this law keeps all its points")
    z = random_nonlinear(rng, laws.get(law), 64, problem.x[0], 0.9)
    z = np.where(np.array(problem.log)[:, None], np.log(np.abs(z)), z)
    exact, mean, _c, _q = evaluated(problem, program, z)
    short, short_mean, _c, _q = evaluated(problem, program, z, order)
    near = exact > exact.max() - 30
    np.testing.assert_allclose(short[near] - short.max(), exact[near] - exact.max(), atol=1e-3)
    np.testing.assert_allclose(short_mean[near], mean[near], rtol=1e-4, atol=1e-4)
