"""The ensemble sampler's PTX, executed, against the CPU."""

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit import laws
from lossfit.kernels import driver
from lossfit.kernels.gpu.batch import EnsembleJob, fit_batch_on
from lossfit.kernels.gpu.launch import Options, run
from lossfit.kernels.records import as_table
from tests.gpu.emulated import EmulatedDevice
from tests.gpu.test_exact import Saying

KEYS = np.arange(2**40, 2**40 + 99, dtype=np.uint64)
NONLINEAR = {
    "power": [[0.02, 3.0, 2.0, 0.5, 0.8]],
    "broken_power": [
        [0.02, 3.0, 2.0, 0.5, 0.8],
        [0.01, 3.0, 2.0, 0.4, 1.0],
        [0.1, 10.0, 2.0, 1.0, 0.7],
    ],
}


def problem(law, lengths, seed):
    """Random ragged curves with a bend, and priors; the constraints cut some of them."""
    rng = np.random.default_rng([10, seed])
    program = laws.get(law).program
    xs, ys = [], []
    for n in lengths:
        x = np.sort(rng.uniform(0.03, 1.0, n))
        x /= x[-1]
        y = 0.4 * x ** -rng.uniform(0.2, 0.4) * (1 + (x / 0.3) ** 4) ** -0.05
        xs.append(x)
        ys.append(rng.uniform(-0.1, 1.5) + y + 0.02 * rng.normal(size=n))
    n_runs, p = len(lengths), program.n_linear
    return (
        driver.Batch(
            np.concatenate(xs),
            np.concatenate(ys),
            rng.uniform(0.5, 2.0, sum(lengths)),
            np.concatenate([[0], np.cumsum(lengths)]),
        ),
        program,
        driver.PriorTable(
            np.tile(NONLINEAR[law], (n_runs, 1, 1)),
            np.zeros((n_runs, p)),
            np.full((n_runs, p), 3.0),
            np.zeros((n_runs, p)),
            np.tile([1.0, 0.02], (n_runs, 1)),
        ),
        KEYS[:n_runs],
    )


def agree(found, expected):
    np.testing.assert_allclose(
        as_table(found.info)[:, :5], as_table(expected.info), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("law", "lengths", "draws", "chains"),
    [("broken_power", [150, 20, 2], 3, 1), ("power", [129], 70, 2)],
)
def test_draws_are_those_of_the_cpu(law, lengths, draws, chains):
    """A curve that is not compressed, more draws than there are walkers, walkers that are lost."""
    arguments = problem(law, lengths, seed=len(lengths))
    if law == "broken_power":
        arguments[0].x[:150] = np.geomspace(1e-4, 1.0, 150)
    how = {"draws": draws, "tune": 8, "chains": chains, "method": "ensemble"}
    expected = driver.fit_batch(*arguments, **how)
    device = EmulatedDevice()
    found, _ = fit_batch_on([device], *arguments, **how, single=True)
    agree(found, expected)
    assert device.launches == [("ensemble", len(lengths), 32)]
    report = device.reports[0]
    assert report.local_loads == report.local_stores == 0


def test_one_draw_and_no_discarded_sweep():
    arguments = problem("power", [3, 300], seed=5)
    expected = driver.fit_batch(*arguments, draws=1, tune=0, method="ensemble")
    job = EnsembleJob(*arguments, 1, 0, 1)
    run(job, [EmulatedDevice()], options=Options(runs=1))
    agree(job, expected)


def test_runs_that_have_no_room_are_done_by_the_cpu():
    arguments = problem("power", [9], seed=6)
    how = {"draws": 2, "tune": 1, "method": "ensemble"}
    expected = driver.fit_batch(*arguments, **how)
    found, _ = fit_batch_on([Saying(3.0)], *arguments, **how, single=False)
    np.testing.assert_array_equal(found.draws, expected.draws)
