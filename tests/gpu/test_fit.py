"""The fit kernel, executed, against the CPU."""

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit.diagnostics.random_batches import fit_problem as problem
from lossfit.kernels import driver
from lossfit.kernels.gpu import fit
from lossfit.kernels.gpu.batch import FitJob, fit_arrays, fit_batch_on
from lossfit.kernels.gpu.launch import Options, run
from lossfit.kernels.records import STATUS, as_table

LENGTHS = [3, 2, 1500, 20, 60, 512, 64, 129]


@pytest.mark.parametrize("law", ["power_linear", "power"])
def test_draws_are_those_of_the_cpu(law, new_device):
    batch, program, table, keys = problem(law, LENGTHS, seed=3)
    expected = driver.fit_batch(batch, program, table, keys, draws=70)
    device = new_device()
    found, _ = fit_batch_on([device], batch, program, table, keys, draws=70, single=False)
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(as_table(found.info), as_table(expected.info), rtol=1e-6, atol=1e-9)
    assert device.launches == [("fit", len(LENGTHS), 32)]


@pytest.mark.parametrize(("lengths", "draws"), [([5], 1), ([300, 3], 33), ([70], 257)])
def test_odd_sizes(lengths, draws, new_device):
    batch, program, table, keys = problem("power_linear", lengths, seed=len(lengths) + draws)
    expected = driver.fit_batch(batch, program, table, keys, draws=draws)
    job = FitJob(batch, program, table, keys, draws, single=False)
    run(job, [new_device()], options=Options(runs=1))
    served = job.info[:, STATUS] == 0
    assert served.any()
    np.testing.assert_allclose(job.draws[served], expected.draws[served], rtol=1e-7, atol=1e-9)


def test_a_coefficient_that_is_cut(new_device):
    """Bounds that leave little: more draws than candidates that are made before one is cut."""
    batch, program, table, keys = problem("power_linear", [300] * 4, seed=2)
    free = driver.fit_batch(batch, program, table, keys, draws=1000).draws[:, 1:4]
    for run_, coefficient in enumerate((0, 1, 2)):
        table.lower[run_, coefficient] = np.quantile(free[run_, coefficient], 0.7)
    expected = driver.fit_batch(batch, program, table, keys, draws=500)
    assert ((expected.info["acceptance"] < 0.4) == [True, True, True, False]).all()
    job = FitJob(batch, program, table, keys, 500, single=False)
    run(job, [new_device()])
    assert (job.info[:, STATUS] == 0).all()
    np.testing.assert_allclose(job.draws, expected.draws, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(job.info[:, :3], as_table(expected.info)[:, :3], rtol=1e-6)


def test_more_room_for_pseudo_points_changes_nothing(new_device):
    """Curves of many points, or that span much: the larger of the two kernels."""
    batch, program, table, keys = problem("power_linear", [140, 40, 700], seed=8)
    expected = driver.fit_batch(batch, program, table, keys, draws=20)
    job = FitJob(batch, program, table, keys, 20, single=False, points=fit.POINTS[1])
    run(job, [new_device()])
    served = job.info[:, STATUS] == 0
    np.testing.assert_allclose(job.draws[served], expected.draws[served], rtol=1e-7, atol=1e-9)


def test_single_precision(new_device):
    batch, program, table, keys = problem("power_linear", LENGTHS, seed=5)
    expected = driver.fit_batch(batch, program, table, keys, draws=200)
    job = FitJob(batch, program, table, keys, 200, single=True)
    run(job, [new_device()])
    served = job.info[:, STATUS] == 0
    assert served[[2, 5]].all()  # the long ones are served
    off = np.abs(job.info[served, fit.INFO.index("rounding")])
    assert off.max() <= fit.LEAST_PRECISE
    # An acceptance that rounding turns over moves all later draws up by one: curves whose
    # constraints cut nothing are compared draw by draw.
    whole = served & (expected.info["acceptance"] == 1.0) & (job.info[:, 2] == 1.0)
    assert whole.sum() >= 2
    sd = expected.draws.std(axis=-1, keepdims=True)
    error = np.abs(job.draws - expected.draws) / sd
    assert (error[whole] < 0.05).all()
    assert (np.abs(job.draws.mean(-1) - expected.draws.mean(-1)) < 0.3 * sd[..., 0])[served].all()


def test_runs_that_the_kernels_do_not_serve_are_done_all_the_same(new_device):
    """Priors that cut nearly everything, and single precision that does not suffice."""
    batch, program, table, keys = problem("power_linear", [40, 512, 6], seed=11)
    free = driver.fit_batch(batch, program, table, keys, draws=200).draws[0, 1:3]
    table.lower[0, :2] = free.mean(axis=1) + 1.5 * free.std(axis=1)  # one alone would be cut
    expected = driver.fit_batch(batch, program, table, keys, draws=30)
    for single in (False, True):
        found, _ = fit_batch_on([new_device()], batch, program, table, keys, draws=30,
                                single=single)  # fmt: skip
        np.testing.assert_allclose(found.draws[[0]], expected.draws[[0]], rtol=1e-6)
        assert np.isfinite(found.draws).all()


def test_draws_may_stay_on_the_gpu(new_device):
    batch, program, table, keys = problem("power_linear", LENGTHS, seed=3)
    expected = driver.fit_batch(batch, program, table, keys, draws=40)
    found, parts = fit_batch_on(
        [new_device(), new_device(number=1)], batch, program, table, keys, draws=40,
        single=False, on_gpu=True, options=Options(runs=3),
    )  # fmt: skip
    assert found.draws.shape[-1] == 0
    draws = np.concatenate([part for _device, part in parts])
    np.testing.assert_allclose(draws, expected.draws, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("single", [False, True])
def test_data_may_lie_on_the_gpu(single, new_device):
    batch, program, table, keys = problem("power_linear", LENGTHS, seed=5)
    job = FitJob(batch, program, table, keys, 20, single=single)
    run(job, [new_device()])
    draws, info = fit_arrays(new_device(), batch, program, table, keys, draws=20, single=single)
    np.testing.assert_array_equal(draws, job.draws.astype(draws.dtype))
    np.testing.assert_array_equal(info, job.info.astype(info.dtype))
