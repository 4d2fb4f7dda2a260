"""The kernels as plain Python give what the compiled ones give."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lossfit.kernels import curve_forecast, driver, forecast_driver, paths, warmup, windows
from lossfit.kernels.entries import Entry
from lossfit.kernels.uncompiled import driver as plain_driver
from lossfit.kernels.uncompiled import forecast_driver as plain_forecast
from lossfit.kernels.uncompiled import paths as plain_paths
from lossfit.kernels.uncompiled import windows as plain_windows
from tests.kernels.oracles import random_problem

RELATIVE = 1e-12
# Compiled sums are taken in another order, and a fit whose exponent is near 0 magnifies rounding a
# million times.
RELATIVE_OF_FITS = 1e-9


def close(plain, compiled, relative=RELATIVE):
    """Draws that differ by little of the size of the quantity."""
    assert plain.shape == compiled.shape
    np.testing.assert_array_equal(np.isnan(plain), np.isnan(compiled))
    size = np.nanmax(np.abs(compiled), axis=-1, keepdims=True)
    assert np.nanmax(np.abs(plain - compiled) / np.maximum(size, 1e-300)) < relative


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("law", ["power", "power_linear"])
def test_fits(law, seed):
    problem = random_problem(np.random.default_rng([5, seed]), law)
    arguments = (*problem.arguments(), np.array([11 + seed], np.uint64))
    compiled = driver.fit_batch(*arguments, draws=50)
    if compiled.info["status"][0] != 0:
        pytest.skip("the ensemble sampler drew: minutes in plain Python")
    plain = plain_driver.fit_batch(*arguments, draws=50)
    close(plain.draws, compiled.draws, RELATIVE_OF_FITS)
    at = np.array([[0.5, 1.0, 3.0]])
    program = arguments[1]
    close(
        plain_driver.predict_batch(program, plain.draws, at),
        driver.predict_batch(program, plain.draws, at),
    )


@pytest.mark.parametrize("seed", range(4))
def test_forecasts(seed):
    rng = np.random.default_rng([6, seed])
    n, n_at = int(rng.integers(12, 200)), 3
    t = np.cumsum(rng.exponential(1.0, n)) + 1
    y = 2 + (t / t[-1]) ** -rng.uniform(0.2, 0.8) + rng.normal(0, 0.01, n)
    law = _law(("annealing", "multi_power")[seed % 2])
    units = law.grid.units.shape[0]
    shapes = paths.Shapes(
        np.array([0.0, 0.02, 1.0]), np.array([0.0, 1.0, 0.1]), np.array([0, 3], np.int64)
    )
    nothing = np.full(1, np.nan)
    run = (np.array([0, n], np.int64), np.ones(1), nothing, np.zeros(1), nothing, nothing)
    arguments = (
        forecast_driver.Curves(t, y, rng.uniform(0.5, 2, n), *run),
        law.grid,
        forecast_driver.Hypotheses(
            np.zeros((1, 1), np.int64), np.zeros((1, n_at, 1), np.int64), np.zeros((1, 1))
        ),
        law.strength.components(np.array([y[-1]]), law.unit_weights),
        shapes,
        paths.Paths(np.zeros(1, np.int64), np.zeros(1), np.array([2 * t[-1]])),
        t[-1] * np.sort(rng.uniform(0.8, 2.0, (1, n_at))),
        np.array([3 + seed], np.uint64),
    )
    assert arguments[3].log_unit.shape == (1, units)
    plain = plain_forecast.forecast_batch(*arguments, draws=60, parameters=True)
    compiled = forecast_driver.forecast_batch(*arguments, draws=60, parameters=True)
    close(plain.draws, compiled.draws)
    close(plain.parameters, compiled.parameters)
    np.testing.assert_allclose(plain.shares, compiled.shares, rtol=1e-10)


def _law(name):
    from lossfit import laws

    return laws.find(name)


def test_scales_and_responses():
    rng = np.random.default_rng(8)
    x = np.sort(rng.uniform(0.1, 1, 60))
    run = (x, 2 + x**-0.5 + rng.normal(0, 0.01, 60), rng.uniform(0.5, 2, 60))
    offsets = np.array([0, 25, 60], np.int64)
    np.testing.assert_allclose(
        plain_windows.run_scales(*run, offsets), windows.run_scales(*run, offsets), rtol=RELATIVE
    )
    units = np.array([[paths.ANNEALING, 0.1, 0.7, 0.0], [paths.MULTI_POWER, 3.0, 0.5, 0.6]])
    table = (0, *warmup._shapes(), np.sort(x), np.array([0, 1, 2], np.int64), units, 1.0)
    for a, b in zip(plain_paths.feature_table(*table), paths.feature_table(*table), strict=True):
        np.testing.assert_allclose(a, b, rtol=RELATIVE, atol=1e-15)


def test_the_uncompiled_kernels_need_no_numba(root):
    code = (
        "import sys; from lossfit.kernels.uncompiled import warmup; "
        "[step() for step in warmup.STEPS.values()]; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=root, check=True)


def test_every_kernel_that_python_calls_is_warmed_up():
    entries = {
        value.name
        for module in (curve_forecast, driver, forecast_driver, paths, windows)
        for value in vars(module).values()
        if isinstance(value, Entry)
    }
    assert entries == set(warmup.STEPS)
