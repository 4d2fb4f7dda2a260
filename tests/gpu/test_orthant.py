"""Coefficients under their constraints: compiled PTX, one candidate a thread, against the CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from numba import cuda, types, uint64

from lossfit.kernels import driver
from lossfit.kernels.compress import compress
from lossfit.kernels.gpu.port import Port
from lossfit.kernels.gpu.warp import SINGLE_TABLE, TABLE
from lossfit.kernels.marginal import BASE_SIZE, evaluate, row_of_q, set_up
from lossfit.kernels.maths import student_t_logsf
from lossfit.kernels.orthant import draw_coefficients, log_orthant
from lossfit.kernels.team import lane
from lossfit.kernels.work import LANES, RunPrior, make_work
from tests.gpu.ptx_compile import compile_ptx
from tests.gpu.ptx_emulator import PtxModule, numba_kernel_args
from tests.kernels.oracles import random_problem

N_FIXED = 2  # of power_linear
P = N_FIXED + 1
STREAM = uint64(64)


class Candidates(NamedTuple):
    """What `draw_coefficients` reads of a work."""

    rows: Any
    base: Any
    lower: Any
    joint_mean: Any
    joint_factor: Any


def random_candidates(count):
    """Conditional posteriors of random problems at 32 exponents each."""
    rows = np.zeros((count, row_of_q(1) + 1, LANES))
    base = np.zeros((count, BASE_SIZE))
    lower = np.zeros((count, P))
    for i in range(count):
        rng = np.random.default_rng([41, i])
        problem = random_problem(rng, "power_linear")
        _batch, program, _table = problem.arguments()
        model, tables = driver._model(program), driver.tables()
        work = make_work(problem.x.size, tables)
        order = program.order
        prior = RunPrior(
            np.ascontiguousarray(problem.nonlinear),
            problem.mean[order],
            (problem.sigma[1] / problem.sd[order]) ** 2,
            np.maximum(problem.lower[order], -1e300),
            *problem.sigma,
        )
        staged = compress(problem.x, problem.y, problem.weight, -1, tables, work)
        set_up(problem.x.size, *staged, model, prior, work)
        work.z[0] = rng.uniform(-2.5, 0.7, LANES)
        evaluate(LANES, staged[0], model, prior, work)
        rows[i], base[i], lower[i] = work.rows[: rows.shape[1]], work.base, work.lower[:P]
    return rows, base, lower


@numba.njit
def on_cpu(rows, base, lower, keys, guide, weight, drawn):
    mean, factor = np.empty((P, 1)), np.empty((P, P, 1))
    for r in range(rows.shape[0]):
        work = Candidates(rows[r], base[r], lower[r], mean, factor)
        for i in range(rows.shape[2]):
            guide[r, i] = log_orthant(i, N_FIXED, 1, rows[r], work)
            weight[r, i] = draw_coefficients(
                i, N_FIXED, 1, work, uint64(i), STREAM, keys[r], drawn[r]
            )


def kernel(single):
    """PTX of the same: a block for each problem."""
    number = np.float32 if single else np.float64

    def candidates(rows, base, lower, keys, guide, weight, drawn, z, nu, tail):
        r = cuda.blockIdx.x
        work = Candidates(
            rows[r],
            base[r],
            lower[r],
            cuda.shared.array((P, LANES), number),
            cuda.shared.array((P, P, LANES), number),
        )
        guide[r, lane()] = log_orthant(lane(), N_FIXED, 1, rows[r], work)
        weight[r, lane()] = draw_coefficients(
            lane(), N_FIXED, 1, work, uint64(lane()), STREAM, keys[r], drawn[r]
        )
        tail[r, lane()] = student_t_logsf(z[r, lane()], nu[r, lane()])

    body = Port(SINGLE_TABLE if single else TABLE, single).rebound(candidates)
    matrix = types.Array(numba.from_dtype(np.dtype(number)), 2, "C")
    cube = types.Array(matrix.dtype, 3, "C")
    keys = types.Array(types.uint64, 1, "C")
    signature = types.void(cube, matrix, matrix, keys, matrix, matrix, cube, matrix, matrix, matrix)
    return compile_ptx(body, signature, fastmath=single)


class Both(NamedTuple):
    """Guide, weight and draws of the CPU and of the emulated kernel."""

    guide: tuple[Any, Any]
    weight: tuple[Any, Any]
    drawn: tuple[Any, Any]
    tail: tuple[Any, Any]
    ptx: str


@pytest.fixture(scope="module", params=[False, True], ids=["float64", "float32"])
def both(request):
    single = request.param
    number = np.float32 if single else np.float64
    count = 24
    rows, base, lower = random_candidates(count)
    lower = np.maximum(lower, -3e38)  # minus infinity, to a kernel
    arrays = [a.astype(number) for a in (rows, base, lower)]
    keys = np.arange(count, dtype=np.uint64) + np.uint64(2**40)
    rng = np.random.default_rng(8)
    nu = np.exp(rng.uniform(np.log(3), np.log(5000), (count, LANES))).astype(number)
    z = rng.normal(0, 1, nu.shape) * rng.choice([0.01, 1, 5, 20], nu.shape)
    z = z.astype(number)

    def room(kind):
        shape = (count, LANES)
        return [np.zeros(shape, kind), np.zeros(shape, kind), np.zeros((count, P + 1, LANES), kind)]

    # The CPU takes the same numbers, so that only the arithmetic differs.
    cpu = room(np.float64)
    on_cpu(*(a.astype(np.float64) for a in arrays), keys, *cpu)
    gpu = room(number)
    tail = np.zeros((count, LANES), number)
    ptx = kernel(single)
    module = PtxModule(ptx)
    name = next(iter(module.entries))
    module.launch(name, count, LANES, numba_kernel_args(*arrays, keys, *gpu, z, nu, tail))
    exact = [student_t_logsf(a, b) for a, b in zip(*map(np.ravel, (z, nu)), strict=True)]
    exact = np.reshape(exact, z.shape)
    return single, Both(*zip(cpu, gpu, strict=True), (exact, tail), ptx)


def test_local_memory_and_calls_are_not_needed(both):
    single, found = both
    assert "__local_depot" not in found.ptx
    assert "call" not in found.ptx
    if single:
        assert ".f64" not in found.ptx


def test_tails_of_t(both):
    single, found = both
    exact, tail = found.tail
    np.testing.assert_allclose(tail, exact, rtol=1e-3 if single else 1e-11, atol=1e-6)


def test_guides_agree(both):
    single, found = both
    cpu, gpu = found.guide
    error = np.abs(gpu - cpu) / (1 + np.abs(cpu))
    if not single:
        assert error.max() < 1e-9
    else:
        assert np.quantile(error, 0.98) < 2e-3
        assert error.max() < 0.1


def test_draws_agree(both):
    """Apart from the few candidates whose rejection steps came out the other way."""
    single, found = both
    cpu, gpu = found.weight
    sigma = found.drawn[0][:, P]
    error = np.abs(found.drawn[1] - found.drawn[0]).max(axis=1) / sigma
    share = np.abs(gpu - cpu) / (1 + np.abs(cpu))
    tolerance = (0.02, 2e-3) if single else (1e-7, 1e-9)
    assert (error > tolerance[0]).mean() < (0.02 if single else 1e-3)
    assert (share > tolerance[1]).mean() < (0.02 if single else 1e-3)
    kept = cpu > -1e299
    assert (kept == (gpu > -1e37)).mean() > 0.999
    assert 0.2 < (cpu < -1e-3).mean() < 0.9  # the problems are of both kinds
