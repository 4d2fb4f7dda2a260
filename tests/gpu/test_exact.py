"""The exact draws' PTX, executed, against the CPU."""

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit.kernels import driver
from lossfit.kernels.gpu.batch import ExactJob, fit_batch_on
from lossfit.kernels.gpu.launch import Options, run
from lossfit.kernels.records import STATUS, as_table
from tests.kernels.oracles import LOGNORMAL, Problem, arguments, random_problem

KEYS = np.arange(2**40, 2**40 + 99, dtype=np.uint64)


def cut(seed, n, slope=-1.0, law="power_linear"):
    """A curve whose constraints leave a small part of its posterior."""
    rng = np.random.default_rng([9, seed])
    x = np.sort(rng.uniform(0.05, 1.0, n))
    x /= x[-1]
    y = rng.uniform(0.0, 2.0) + rng.uniform(0.2, 1.0) * x ** -rng.uniform(0.2, 0.6)
    if law == "power":
        y -= 1.9  # below what E and A >= 0 reach
    p = 2 + ("linear" in law)
    return Problem(
        law,
        x,
        y - slope * x * (p == 3) + rng.normal(0.0, 0.02, n),
        rng.uniform(0.5, 2.0, n),
        np.array([[0.02, 3.0, LOGNORMAL, 0.5, 1.0]]),
        np.zeros(p),
        np.array([3.0, 3.0, 1.5])[:p],
        np.zeros(p),
        np.array([1.0, 0.02]),
    )


def agree(found, expected):
    """Draws to rounding, but where a rejection step came out the other way."""
    np.testing.assert_allclose(
        as_table(found.info)[:, :5], as_table(expected.info), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(found.draws, expected.draws, rtol=1e-6, atol=1e-8)


def test_constraints_that_cut_off_much(new_device):
    """Ragged runs, one of them longer than a tile, from the fit kernel to exact draws."""
    batch, program, table = arguments([cut(k, n) for k, n in enumerate((129, 5, 20, 40))])
    keys = KEYS[:4]
    expected = driver.fit_batch(batch, program, table, keys, draws=33)
    assert (expected.info["acceptance"] < 0.05).sum() >= 3
    device = new_device()
    found, _ = fit_batch_on([device], batch, program, table, keys, draws=33, single=False)
    agree(found, expected)
    assert [name for name, _, _ in device.launches] == ["fit", "exact"]
    assert device.launches[1][1] >= 3


def test_peaks_that_the_nodes_do_not_resolve(new_device):
    """Two runs of five points go to exact draws, in a narrower window; a long one does not."""
    problems = [random_problem(np.random.default_rng([7, k]), "power_linear") for k in (1129, 1167)]
    problems.append(random_problem(np.random.default_rng([21, 8]), "power_linear", n=40))
    batch, program, table = arguments(problems)
    expected = driver.fit_batch(batch, program, table, KEYS[:3], draws=40)
    assert (expected.info["acceptance"] > 0.9).all()  # no constraint is why
    device = new_device()
    found, _ = fit_batch_on([device], batch, program, table, KEYS[:3], draws=40, single=False)
    agree(found, expected)
    assert [(name, runs) for name, runs, _ in device.launches] == [("fit", 3), ("exact", 2)]


@pytest.mark.parametrize(("n", "draws"), [(2, 1), (3, 65)])
def test_odd_sizes(n, draws, new_device):
    """One run, of few points."""
    batch, program, table = arguments([cut(n, n)])
    expected = driver.fit_batch(batch, program, table, KEYS[:1], draws=draws)
    job = ExactJob(batch, program, table, KEYS[:1], draws)
    run(job, [new_device()])
    if expected.info["acceptance"][0] < 0.05:  # or the CPU drew them otherwise
        agree(job, expected)
    assert job.info[0, STATUS] == 0


def test_points_that_have_no_room_in_shared_memory(new_device):
    """Axis values over 15 powers of ten are not compressed."""
    batch, program, table = arguments([cut(3, 150), cut(4, 6)])
    batch.x[:150] = np.geomspace(1e-15, 1.0, 150)
    expected = driver.fit_batch(batch, program, table, KEYS[:2], draws=10)
    assert (expected.info["acceptance"] < 0.05).all()
    job = ExactJob(batch, program, table, KEYS[:2], 10)
    run(job, [new_device()])
    agree(job, expected)


def test_two_nonlinear_parameters(new_device):
    """With and without the constraints in the proposals, and draws that stay on the GPU."""
    problems = [
        random_problem(np.random.default_rng([22, k]), "power_linear_offset") for k in (4, 18)
    ]
    batch, program, table = arguments(problems)
    expected = driver.fit_batch(batch, program, table, KEYS[:2], draws=40)
    assert expected.info["acceptance"][0] > 0.05 > expected.info["acceptance"][1]
    device = new_device()
    found, parts = fit_batch_on(
        [device], batch, program, table, KEYS[:2], draws=40, single=True, on_gpu=True,
        options=Options(runs=1),
    )  # fmt: skip
    agree(driver.Result(np.concatenate([part for _, part in parts]), found.info), expected)
    assert device.launches == [("exact", 1, 32)] * 2


def saying(new_device, status):
    """A device whose first launch gives all runs that status."""

    class Saying(new_device):
        def launch(self, kernel, grid, arguments, stream):
            super().launch(kernel, grid, arguments, stream)
            if len(self.launches) == 1:
                info = next(a for a in arguments if getattr(a, "ndim", 0) == 2)
                info[:, STATUS] = status

    return Saying()


@pytest.mark.parametrize(
    ("status", "kernels"), [(2.0, ["fit", "fit"]), (1.0, ["fit", "exact"]), (3.0, ["fit"])]
)
def test_runs_that_are_not_served_are_done_once_more(status, kernels, new_device):
    """Those that float32 does not suffice for, in float64; those that have no room, by the CPU."""
    batch, program, table = arguments([cut(7, 60), cut(8, 9)])
    expected = driver.fit_batch(batch, program, table, KEYS[:2], draws=20)
    if status == 1.0:
        assert (expected.info["acceptance"] < 0.05).all()
    device = saying(new_device, status)
    found, _ = fit_batch_on([device], batch, program, table, KEYS[:2], draws=20, single=False)
    agree(found, expected)
    assert [name for name, _, _ in device.launches][: len(kernels)] == kernels
