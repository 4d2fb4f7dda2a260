"""What every registered law declares: nothing here compiles a kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lossfit import DataError, laws, priors
from tests.kernels.oracles import random_nonlinear
from tests.laws import formulas


@pytest.mark.parametrize("name", laws.NAMES)
def test_it_is_declared_in_full(name):
    law = laws.get(name)
    assert law.name == name
    assert law.doc.endswith(".")
    assert set(law.typical) == set(law.parameters)
    for p in (*law.linear, *law.nonlinear):
        assert p.doc, p.name
        assert p.prior.relative or p not in law.linear, f"{p.name}: losses have a unit"


@pytest.mark.parametrize("name", laws.NAMES)
def test_its_example_is_its_formula_and_noise(name):
    law = laws.get(name)
    example = law.example(points=400, noise=0.01)
    values = dict(example.parameters)
    if law.to_axis_units is not None:
        values = law.to_axis_units(values, 1.0)
    error = (example.loss - formulas.curve(law, example.x, values)) / example.noise
    assert example.x[-1] == 1
    assert abs(error.mean()) < 4 / np.sqrt(400)
    assert error.std() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", laws.NAMES)
def test_its_columns_are_those_of_its_formula(name):
    law = laws.get(name)
    rng = np.random.default_rng(1)
    x = np.array([0.02, 0.3, 1.0])
    theta = random_nonlinear(rng, law, 5, x[0], 0.99)
    by_formula = formulas.columns(law, x, theta)
    for j, values in enumerate(theta.T):
        known = dict(zip((p.name for p in law.nonlinear), values.tolist(), strict=True))
        for i, at in enumerate(x.tolist()):
            known |= {"x": at, "log_x": float(np.log(at))}
            for k, column in enumerate(law.columns):
                plain = getattr(column, "py_func", column)
                value = plain(*(known[name] for name in law.arguments[k]))
                assert value == pytest.approx(by_formula[j, i, k], rel=1e-10), law.linear[k].name


@pytest.mark.parametrize("name", laws.NAMES)
def test_its_parameters_have_the_unit_of_the_axis(name):
    law = laws.get(name)
    convert = law.to_axis_units or (lambda values, x_ref: values)
    x = np.array([0.02, 0.3, 1.0])
    scaled, in_steps = (convert(dict(law.typical), x_ref) for x_ref in (1.0, 700.0))
    expected = formulas.curve(law, x, scaled)
    np.testing.assert_allclose(formulas.curve(law, 700.0 * x, in_steps), expected, rtol=1e-12)


def test_an_example_needs_typical_parameters():
    law = laws.Law(
        name="line",
        formula="A x^a",
        linear=(laws.Linear("A", "size", priors.normal(0, 1)),),
        columns=(lambda log_x, a: log_x * a,),
        nonlinear=(laws.Nonlinear("a", "slope", 0.1, 1.0, priors.uniform(0.1, 1.0)),),
    )
    with pytest.raises(DataError, match=r"typical=\{'a': \.\.\., 'A': \.\.\.\}"):
        law.example()


@pytest.mark.parametrize(
    ("typical", "message"),
    [({"alpha": 0.5}, "needs a value of each"), ({"alpha": 9.0, "E": 1, "A": 1}, "lies outside")],
)
def test_wrong_typical_parameters(typical, message):
    with pytest.raises(DataError, match=message):
        replace(laws.get("power"), typical=typical)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A x^-alpha", "A*x**-alpha"),
        ("2 A (x + x0)^-(a b)", "2*A*(x+x0)**-(a*b)"),
        ("E + A exp(-(x/tau)^gamma)", "E+A*exp(-(x/tau)**gamma)"),
    ],
)
def test_formulas_are_read(text, expected):
    assert formulas.python(text) == expected
