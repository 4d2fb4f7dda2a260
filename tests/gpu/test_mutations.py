"""Deliberate faults in the kernels, each of which executing the compiled PTX must notice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("numba.cuda.compiler", reason="needs numba-cuda: the extra cuda-check")

from lossfit import laws
from lossfit.kernels import driver
from lossfit.kernels.gpu import fit
from lossfit.kernels.gpu.batch import FitJob
from lossfit.kernels.gpu.device import checked
from lossfit.kernels.gpu.launch import Options, run
from tests.gpu.emulated import EmulatedDevice, module_of
from tests.gpu.mutants import planted, sharing
from tests.gpu.ptx_emulator import PtxError, numba_kernel_args
from tests.gpu.test_fit import problem

PROGRAM = laws.get("power").program
MOST_STEPS = 60_000  # basic blocks; several times what a check takes
DRAWS = 33  # one more than a warp


class Device(EmulatedDevice):
    """`EmulatedDevice` that gives a kernel up that does not end."""

    def launch(self, kernel, grid, arguments, stream):
        module = module_of(kernel, self.compute_capability)
        arguments = numba_kernel_args(*checked(kernel, arguments))
        name = next(iter(module.entries))
        module.launch(name, grid, kernel.block, arguments, max_steps=MOST_STEPS)


@cache
def fit_problem(single):
    """A curve of one point more than a tile, a short one that constraints cut, and their fits."""
    batch, program, table, keys = problem("power", [129, 5, 40], seed=6)
    return batch, table, keys, driver.fit_batch(batch, program, table, keys, draws=DRAWS)


@cache
def built_fit(single):
    return fit.build(PROGRAM, single)


def fit_is_that_of_the_cpu(single=False, anew=True, **options):
    """What `test_fit` asks of draws and diagnostics."""
    batch, table, keys, expected = fit_problem(single)
    job = FitJob(batch, PROGRAM, table, keys, DRAWS, single)
    job.kernel = fit.build(PROGRAM, single) if anew else built_fit(single)
    run(job, [Device()], options=Options(**options))
    assert (job.info[:, fit.STATUS] == 0).all()
    np.testing.assert_allclose(job.draws, expected.draws, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(job.info[:, :4], expected.info[:, :4], rtol=1e-6, atol=1e-9)


class Fault(NamedTuple):
    """One text of a function's source replaced by another; what notices it, and how it says so."""

    where: str
    old: str
    new: str
    check: Callable[[], None]
    says: str


RACE = "race"
BOUNDS = "out"
NUMBERS = "Not equal to tolerance"
ANY = "."

FAULTS = {
    "no barrier before what eliminated fixed columns are read": Fault(
        "marginal:set_up",
        "_eliminate(n_data, q, p, total, prior, work)\n    sync()",
        "_eliminate(n_data, q, p, total, prior, work)",
        fit_is_that_of_the_cpu,
        RACE,
    ),
    "no barrier before a scan is read": Fault(
        "quadrature:_scan",
        "    sync()\n    return team_max(top)",
        "    return team_max(top)",
        fit_is_that_of_the_cpu,
        RACE,
    ),
    "no barrier after draws": Fault(
        "gpu.fit:build",
        "        sync()\n        written",
        "        written",
        fit_is_that_of_the_cpu,
        RACE,
    ),
    "no barrier before moments are summed": Fault(
        "gpu.moments:compress",
        "        sync()  # the sums of the last tile are in\n",
        "",
        fit_is_that_of_the_cpu,
        RACE,
    ),
    "last tile of one point left out": Fault(
        "gpu.moments:compress",
        "range(0, n, TILE_POINTS)",
        "range(0, n - 1, TILE_POINTS)",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "a point too many in a partial warp": Fault(
        "gpu.moments:tile_moments", "while i < stop", "while i <= stop", fit_is_that_of_the_cpu, ANY
    ),
    "binary search ends a cell early": Fault(
        "gpu.fit:make_draw_fast",
        "high = np.int32(middle)",
        "high = np.int32(middle - 1)",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "runs as if of equal length": Fault(
        "gpu.fit:build",
        "b = offsets[r + 1]\n        if held(b - a, orders[r], tables, points):\n            run(\n                r, x[a:b], y[a:b], weight[a:b], orders[r], shifts[r], priors, keys, out[r], info,\n                table, work,\n            )  # fmt: skip\n        elif lane() == 0:\n            info[r, STATUS] = 3.0\n\n    def fit_single",
        "b = a + offsets[1]\n        if held(b - a, orders[r], tables, points):\n            run(\n                r, x[a:b], y[a:b], weight[a:b], orders[r], shifts[r], priors, keys, out[r], info,\n                table, work,\n            )  # fmt: skip\n        elif lane() == 0:\n            info[r, STATUS] = 3.0\n\n    def fit_single",
        fit_is_that_of_the_cpu,
        ANY,
    ),
    "draws transposed": Fault(
        "gpu.fit:make_draw_fast",
        "out[p + 1, place] = sigma",
        "out[place, p + 1] = sigma",
        fit_is_that_of_the_cpu,
        ANY,
    ),
    "prior precision and mean swapped": Fault(
        "gpu.fit:build",
        "mean[r], precision[r], lower[r]",
        "precision[r], mean[r], lower[r]",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "sine and cosine swapped": Fault(
        "philox:normal_pair",
        "radius * sine, radius * cosine",
        "radius * cosine, radius * sine",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "candidates beyond the block kept": Fault(
        "gpu.fit:make_draw_fast",
        "i < count and excess < 0.0",
        "excess < 0.0",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "draws beyond those that are wanted": Fault(
        "gpu.fit:make_draw_fast",
        "if kept and place < n_draws",
        "if kept",
        fit_is_that_of_the_cpu,
        ANY,
    ),
    "last step of a sum over lanes missing": Fault(
        "gpu.warp:team_sum",
        "    value += cuda.shfl_xor_sync(FULL, value, 1)\n",
        "",
        fit_is_that_of_the_cpu,
        ANY,
    ),
    "wrong distance in a reduction": Fault(
        "gpu.moments:sixteen_sums",
        "a0 = fold((j & 2) != 0, a0, a1, 2)",
        "a0 = fold((j & 2) != 0, a0, a1, 4)",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "a block of random words used twice": Fault(
        "gpu.fit:make_draw_fast",
        "draw & MASK32, uint64(1)",
        "draw & MASK32, uint64(0)",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "log 2 cut short": Fault(
        "maths:log",
        "np.float64(e) * LN2",
        "np.float64(e) * 0.693147",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "wrong total of a distribution function": Fault(
        "gpu.nodes:distribution",
        "broadcast(before, 31)",
        "broadcast(before, 30)",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
    "neighbours of another warp forgotten": Fault(
        "gpu.nodes:node_table",
        "before = last",
        "before = e - e",
        fit_is_that_of_the_cpu,
        NUMBERS,
    ),
}


@pytest.fixture(scope="module", autouse=True)
def shared_functions():
    with sharing({}):
        yield


def test_control():
    fit_is_that_of_the_cpu(anew=False)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_noticed(name):
    where, old, new, check, says = FAULTS[name]
    with planted(where, old, new), pytest.raises((PtxError, AssertionError), match=says) as caught:
        check()
    print(repr(caught.value)[:300])
