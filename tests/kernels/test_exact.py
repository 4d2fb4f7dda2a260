"""Draws against the exact posterior.

Means within 0.02 posterior sd, standard deviations within 2 %, 5, 50 and 95 % quantiles within
0.03 sd.  `benches/exactness.py` does the same for many more curves.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lossfit.kernels.driver import fit_batch
from tests.kernels.exact_record import known_posterior
from tests.kernels.oracles import (
    EXACT,
    LOGNORMAL,
    Problem,
    deviation,
    random_problem,
)


def curve(law, n, asymptote, amplitude, alpha, slope, noise, start=0.05, seed=3):
    x = np.geomspace(start, 1, n)
    y = asymptote + amplitude * x**-alpha - slope * x
    y = y + np.random.default_rng(seed).normal(0, noise, n)
    p = 3 if "linear" in law else 2
    return Problem(
        law,
        x,
        y,
        np.ones(n),
        np.array([[0.02, 3.0, LOGNORMAL, 0.5, 1.0]]),
        np.zeros(p),
        np.array([3.0, 3.0, 1.5])[:p],
        np.zeros(p),
        np.array([1.0, noise]),
    )


# The share of the unconstrained posterior that meets the constraints falls down the list.
CURVES = {
    "long": curve("power_linear", 863, 1.75, 0.02, 0.6, 0.06, 0.004),
    "five points": curve("power_linear", 5, 1.8, 0.3, 0.4, 0.05, 0.02, start=0.3),
    "E near 0": curve("power_linear", 200, 0.05, 1.0, 0.2, 0.05, 0.01),
    "B piled up at 0": curve("power_linear", 200, 1.8, 0.3, 0.4, 0.0, 0.01),
    "20 points, broad alpha": curve("power_linear", 20, 1.8, 0.3, 0.4, 0.05, 0.02),
    "true B below 0": curve("power_linear", 200, 1.8, 0.3, 0.4, -0.08, 0.02),
    "true B far below 0": curve("power_linear", 200, 1.8, 0.3, 0.4, -0.12, 0.01),
    "E and B at 0": curve("power_linear", 200, -0.3, 1.0, 0.2, -0.1, 0.01),
}


def check(problem: Problem, draws: int = 150_000) -> None:
    key = np.array([7], np.uint64)
    result = fit_batch(*problem.arguments(), key, draws=draws)
    assert result.info["status"][0] == 0
    found = deviation(result.draws[0], known_posterior(problem))
    assert found.within(), str(found)


@pytest.mark.parametrize("name", CURVES)
def test_curves(name):
    check(CURVES[name])


# Two samples of the oracle, with seeds 0 and 5, differ by 18 and by .4 standard deviations there:
# its box misses a part of a posterior that reaches far in the offset.
UNJUDGED = (("power_offset", 7), ("power_linear_offset", 7))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("law", EXACT)
def test_random_curves_and_priors(law, seed):
    if (law, seed) in UNJUDGED:
        pytest.skip("the oracle does not agree with itself on this problem")
    problem = random_problem(np.random.default_rng([21, seed]), law)
    share = fit_batch(*problem.arguments(), np.array([7], np.uint64), draws=100).info["acceptance"][
        0
    ]
    if share < 1e-3:
        pytest.skip("the constraints cut off too much for the oracle's importance sample")
    check(problem)


# Hit upon among many random problems; each was off by more than the bars, the first and third by 6
# to 20 standard deviations.
HARD = json.loads(Path(__file__).with_name("hard_runs.json").read_text())


@pytest.mark.parametrize("name", HARD)
def test_hard_runs_of_few_points(name):
    parts = HARD[name]
    law = parts.pop("law")
    check(Problem(law, **{key: np.array(values) for key, values in parts.items()}))


def test_where_the_constraints_exclude_nearly_everything_the_ensemble_draws():
    # Losses below 0, which E and A >= 0 cannot reach.
    problem = random_problem(np.random.default_rng([9, 68]), "power_offset", 300)
    problem = replace(problem, y=problem.y - problem.y.max() - 0.2)
    key = np.array([7], np.uint64)
    result = fit_batch(*problem.arguments(), key, draws=4000)
    assert result.info["status"][0] == 1
    assert result.info["acceptance"][0] < 1e-6
    draws = result.draws[0]
    assert (draws[2:] >= 0).all()
    exact = known_posterior(problem)
    assert np.abs((draws.mean(axis=1) - exact.mean()) / exact.sd()).max() < 0.3


def test_priors_of_every_kind_and_coefficients_of_any_sign():
    free = replace(CURVES["true B below 0"], lower=np.full(3, -np.inf))
    for kind, first, second in ((0.0, 0.02, 3.0), (1.0, 0.4, 0.2)):
        check(replace(free, nonlinear=np.array([[0.02, 3.0, kind, first, second]])))


def test_the_oracle_can_tell():
    problem = CURVES["E near 0"]
    other = replace(problem, nonlinear=np.array([[0.02, 3.0, LOGNORMAL, 0.6, 0.8]]))
    draws = fit_batch(*problem.arguments(), np.array([7], np.uint64), draws=400_000).draws[0]
    assert not deviation(draws, known_posterior(other)).within()


LATER = pytest.mark.nightly(only="long chains, like the case of E and B at 0")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("five points", marks=LATER),
        pytest.param("B piled up at 0", marks=LATER),
        pytest.param("20 points, broad alpha", marks=LATER),
        "E and B at 0",
    ],
)
def test_ensemble_agrees_with_quadrature(name):
    problem = CURVES[name]
    key = np.array([7], np.uint64)
    exact = fit_batch(*problem.arguments(), key, draws=100_000).draws[0]
    options = {"method": "ensemble", "chains": 4, "draws": 10_000}
    found = fit_batch(*problem.arguments(), key, **options).draws[0]
    sd = exact.std(axis=1)
    assert np.abs((found.mean(axis=1) - exact.mean(axis=1)) / sd).max() < 0.06
    assert np.abs(found.std(axis=1) / sd - 1).max() < 0.06


def test_ensemble_agrees_in_two_dimensions():
    problem = random_problem(np.random.default_rng([21, 0]), "power_linear_offset")
    key = np.array([7], np.uint64)
    exact = fit_batch(*problem.arguments(), key, draws=10_000).draws[0]  # of which few are kept
    options = {"method": "ensemble", "chains": 4, "draws": 10_000}
    found = fit_batch(*problem.arguments(), key, **options).draws[0]
    sd = exact.std(axis=1)
    assert np.abs((found.mean(axis=1) - exact.mean(axis=1)) / sd).max() < 0.1
    assert np.abs(found.std(axis=1) / sd - 1).max() < 0.1
