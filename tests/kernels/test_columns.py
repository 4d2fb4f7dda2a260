from __future__ import annotations

import math

import numpy as np
import pytest

import lossfit
from lossfit import DataError, laws, priors
from lossfit.kernels import columns
from lossfit.kernels.columns import ORDERS, chebyshev
from tests.kernels.oracles import EXACT, random_nonlinear
from tests.kernels.oracles import columns as columns_by_formula


def make(*columns, nonlinear=("a",), low=0.1, high=2.0):
    return lossfit.Law(
        name="made",
        formula="made",
        linear=tuple(
            lossfit.Linear(f"b{k}", "", priors.normal(0, 1), positive=False)
            for k in range(len(columns))
        ),
        columns=columns,
        nonlinear=tuple(
            lossfit.Nonlinear(name, "", low, high, priors.uniform(low, high)) for name in nonlinear
        ),
    )


@pytest.mark.parametrize("law", laws.NAMES)
def test_columns_are_those_of_the_formula(law):
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(0.01, 1, 50))
    theta = random_nonlinear(rng, laws.get(law), 30, x[0], 0.99)
    program = laws.get(law).program
    expected = columns_by_formula(law, x, theta)
    for k in range(expected.shape[2]):
        np.testing.assert_allclose(program.column(k, x, theta), expected[:, :, k].T, rtol=1e-11)


def test_arguments_are_matched_by_name():
    def backwards(b, log_x, a, x):
        return 1000 * b + 100 * log_x + 10 * a + x

    law = make(laws.constant, backwards, lambda x: x * x, nonlinear=("a", "b"))
    x, theta = np.array([0.5, 2.0]), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    wanted = 1000 * theta[1] + 100 * np.log(x[:, None]) + 10 * theta[0] + x[:, None]
    np.testing.assert_allclose(law.program.column(1, x, theta), wanted)
    np.testing.assert_allclose(law.program.column(2, x, theta), (x**2)[:, None] * np.ones(3))
    assert law.fixed == (True, False, True)
    assert law.program.order.tolist() == [0, 2, 1]
    assert law.program.constant == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((lambda x, c: x * c,), "takes 'c'"),
        ((lambda x: x,), "no column takes the nonlinear parameter 'a'"),
        ((lambda a: a,) * 4, "at most 3 columns"),
    ],
)
def test_wrong_declarations(columns, message):
    with pytest.raises(DataError, match=message):
        make(*columns)


@pytest.mark.parametrize("half", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("law", EXACT)
def test_pseudo_points_reproduce_columns_and_their_products(law, half):
    program = laws.get(law).program
    order = program.pseudo_points(half)
    if order < 0:
        pytest.skip("over so long a window this law keeps all its points")
    u, matrix = chebyshev(ORDERS[order])
    rng = np.random.default_rng(2)
    at = rng.uniform(-1, 1, 200)
    theta = random_nonlinear(rng, laws.get(law), 40, np.exp(-2 * half))
    spread = np.cos(np.arange(u.size)[:, None] * np.arccos(at)).T @ matrix
    at_nodes, wanted = (columns_by_formula(law, np.exp(half * (v - 1)), theta) for v in (u, at))
    for i in range(wanted.shape[2]):
        for j in range(i + 1):
            exact = (wanted[..., i] * wanted[..., j]).T
            found = spread @ (at_nodes[..., i] * at_nodes[..., j]).T
            assert np.abs(found - exact).max() < 1e-10 * np.abs(exact).max()


@pytest.mark.parametrize("law", ["power", "power_linear", "power_offset", "power_linear_offset"])
def test_windows_of_power_laws_are_compressed(law):
    assert laws.get(law).program.pseudo_points(3.0) >= 0


def test_a_kink_keeps_its_points():
    def kinked(log_x, a):
        return abs(log_x + a)

    assert make(laws.constant, kinked).program.pseudo_points(1.0) == -1
    assert make(laws.constant, lambda log_x, a: log_x * a).program.pseudo_points(1.0) >= 0


def test_laws_and_kernels_have_the_same_limits():
    # Declaring a law must not import Numba, so the limits stand in both places.
    for name in ("MAX_FIXED", "MAX_VARYING", "MAX_NONLINEAR"):
        assert getattr(laws._law, name) == getattr(columns, name)


def test_evaluate_sums_columns():
    def decay(x, a):
        return math.exp(-a * x)

    law = make(laws.constant, decay)
    x = np.linspace(0.1, 1, 5)
    found = law.evaluate(x, [[0.5, 1.5]], [[2.0, 3.0], [0.4, 0.5]])
    np.testing.assert_allclose(found[:, 1], 3 + 0.5 * np.exp(-1.5 * x))
