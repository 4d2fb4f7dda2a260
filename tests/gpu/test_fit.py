"""The fit kernel's PTX, executed, against the CPU."""

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit import laws
from lossfit.kernels import driver
from lossfit.kernels.gpu import fit
from lossfit.kernels.gpu.batch import FitJob, fit_arrays, fit_batch_on
from lossfit.kernels.gpu.launch import Options, run
from lossfit.kernels.records import STATUS, as_table
from tests.gpu.emulated import EmulatedDevice

LENGTHS = [3, 2, 1500, 20, 60, 512, 64, 129]


def problem(law, lengths, seed, sd=0.01, slope=0.1):
    """Random ragged curves with priors, all arguments random."""
    rng = np.random.default_rng(seed)
    program = laws.get(law).program
    xs, ys = [], []
    for n in lengths:
        x = np.sort(rng.uniform(0.02, 1.0, n))
        x /= x[-1]
        noise = rng.normal(0.0, sd * rng.uniform(0.5, 2.0), n)
        xs.append(x)
        ys.append(rng.uniform(1, 3) + rng.uniform(0.3, 1) * x ** -rng.uniform(0.15, 0.6) + noise)
        if "linear" in law:
            ys[-1] -= slope * x
    n_runs, p = len(lengths), program.n_linear
    batch = driver.Batch(
        np.concatenate(xs),
        np.concatenate(ys),
        rng.uniform(0.5, 2.0, sum(lengths)),
        np.concatenate([[0], np.cumsum(lengths)]),
    )
    kind = rng.integers(0, 3, n_runs)
    nonlinear = np.tile([[[0.02, 3.0, 0.0, 0.4, 0.6]]], (n_runs, 1, 1))
    nonlinear[:, 0, 2] = kind
    table = driver.PriorTable(
        nonlinear,
        rng.uniform(0.0, 1.0, (n_runs, p)),
        rng.uniform(2.0, 10.0, (n_runs, p)),
        np.where(rng.random((n_runs, p)) < 0.7, 0.0, -np.inf),
        np.column_stack([rng.uniform(0.5, 3.0, n_runs), rng.uniform(0.5, 2.0, n_runs) * sd]),
    )
    return batch, program, table, rng.integers(0, 2**63, n_runs).astype(np.uint64)


@pytest.mark.parametrize("law", ["power_linear", "power"])
def test_draws_are_those_of_the_cpu(law):
    batch, program, table, keys = problem(law, LENGTHS, seed=3)
    expected = driver.fit_batch(batch, program, table, keys, draws=70)
    device = EmulatedDevice()
    found, _ = fit_batch_on([device], batch, program, table, keys, draws=70, single=False)
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(as_table(found.info), as_table(expected.info), rtol=1e-6, atol=1e-9)
    assert device.launches == [("fit", len(LENGTHS), 32)]


@pytest.mark.parametrize(("lengths", "draws"), [([5], 1), ([300, 3], 33), ([70], 257)])
def test_odd_sizes(lengths, draws):
    batch, program, table, keys = problem("power_linear", lengths, seed=len(lengths) + draws)
    expected = driver.fit_batch(batch, program, table, keys, draws=draws)
    job = FitJob(batch, program, table, keys, draws, single=False)
    run(job, [EmulatedDevice()], options=Options(runs=1))
    served = job.info[:, STATUS] == 0
    assert served.any()
    np.testing.assert_allclose(job.draws[served], expected.draws[served], rtol=1e-7, atol=1e-9)


def test_more_room_for_pseudo_points_changes_nothing():
    """Curves of many points, or that span much: the larger of the two kernels."""
    batch, program, table, keys = problem("power_linear", [140, 40, 700], seed=8)
    expected = driver.fit_batch(batch, program, table, keys, draws=20)
    job = FitJob(batch, program, table, keys, 20, single=False, points=fit.POINTS[1])
    run(job, [EmulatedDevice()])
    served = job.info[:, STATUS] == 0
    np.testing.assert_allclose(job.draws[served], expected.draws[served], rtol=1e-7, atol=1e-9)


def test_single_precision():
    batch, program, table, keys = problem("power_linear", LENGTHS, seed=5)
    expected = driver.fit_batch(batch, program, table, keys, draws=200)
    job = FitJob(batch, program, table, keys, 200, single=True)
    run(job, [EmulatedDevice()])
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


def test_runs_that_the_kernels_do_not_serve_are_done_all_the_same():
    """Priors that cut nearly everything, and single precision that does not suffice."""
    batch, program, table, keys = problem("power_linear", [40, 512, 6], seed=11)
    table.mean[0] = [-1.0, 0.5, 0.1]
    table.sd[0] = 0.01
    table.lower[0] = 0.0
    expected = driver.fit_batch(batch, program, table, keys, draws=30)
    for single in (False, True):
        found, _ = fit_batch_on([EmulatedDevice()], batch, program, table, keys, draws=30,
                                single=single)  # fmt: skip
        np.testing.assert_allclose(found.draws[[0]], expected.draws[[0]], rtol=1e-6)
        assert np.isfinite(found.draws).all()


def test_draws_may_stay_on_the_card():
    batch, program, table, keys = problem("power_linear", LENGTHS, seed=3)
    expected = driver.fit_batch(batch, program, table, keys, draws=40)
    found, parts = fit_batch_on(
        [EmulatedDevice(), EmulatedDevice(number=1)], batch, program, table, keys, draws=40,
        single=False, on_card=True, options=Options(runs=3),
    )  # fmt: skip
    assert found.draws.shape[-1] == 0
    draws = np.concatenate([part for _device, part in parts])
    np.testing.assert_allclose(draws, expected.draws, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("single", [False, True])
def test_data_may_lie_on_the_card(single):
    batch, program, table, keys = problem("power_linear", LENGTHS, seed=5)
    job = FitJob(batch, program, table, keys, 20, single=single)
    run(job, [EmulatedDevice()])
    draws, info = fit_arrays(EmulatedDevice(), batch, program, table, keys, draws=20, single=single)
    np.testing.assert_array_equal(draws, job.draws.astype(draws.dtype))
    np.testing.assert_array_equal(info, job.info.astype(info.dtype))
