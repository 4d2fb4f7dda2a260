"""The ensemble sampler's PTX, executed, against the CPU."""

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit.diagnostics.random_batches import bent_curves as problem
from lossfit.kernels import driver
from lossfit.kernels.gpu.batch import EnsembleJob, fit_batch_on
from lossfit.kernels.gpu.launch import Options, run
from lossfit.kernels.records import as_table
from tests.gpu.test_exact import saying


def agree(found, expected):
    np.testing.assert_allclose(
        as_table(found.info)[:, :5], as_table(expected.info), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("law", "lengths", "draws", "chains"),
    [("broken_power", [150, 20, 2], 3, 1), ("power", [129], 70, 2)],
)
def test_draws_are_those_of_the_cpu(law, lengths, draws, chains, new_device):
    """A curve that is not compressed, more draws than there are walkers, walkers that are lost."""
    arguments = problem(law, lengths, seed=len(lengths))
    if law == "broken_power":
        arguments[0].x[:150] = np.geomspace(1e-4, 1.0, 150)
    how = {"draws": draws, "tune": 8, "chains": chains, "method": "ensemble"}
    expected = driver.fit_batch(*arguments, **how)
    device = new_device()
    found, _ = fit_batch_on([device], *arguments, **how, single=True)
    agree(found, expected)
    assert device.launches == [("ensemble", len(lengths), 32)]


def test_one_draw_and_no_discarded_sweep(new_device):
    arguments = problem("power", [3, 300], seed=5)
    expected = driver.fit_batch(*arguments, draws=1, tune=0, method="ensemble")
    job = EnsembleJob(*arguments, 1, 0, 1)
    run(job, [new_device()], options=Options(runs=1))
    agree(job, expected)


def test_runs_that_have_no_room_are_done_by_the_cpu(new_device):
    arguments = problem("power", [9], seed=6)
    how = {"draws": 2, "tune": 1, "method": "ensemble"}
    expected = driver.fit_batch(*arguments, **how)
    found, _ = fit_batch_on([saying(new_device, 3.0)], *arguments, **how, single=False)
    np.testing.assert_array_equal(found.draws, expected.draws)
