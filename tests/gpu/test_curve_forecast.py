"""The kernels of the default law: executed, against the CPU.

Most numbers of a run are the CPU's to the last bits.  What differs is the order in which sums over
bins, cells and draws are taken; where large squares cancel in a cell's evidence, that is 1e-9 nats,
and so 1e-9 of its weight.  A draw is in another cell than the CPU's where that moves the edge
between two cells over it: one of 1e9 or so, none in these tests.
"""

from functools import cache, partial

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit.diagnostics.random_curves import curve_problem
from lossfit.kernels.curve_forecast import forecast_curves
from lossfit.kernels.curve_law import KNOWN, NOTHING, TOTAL
from lossfit.kernels.gpu import curve_forecast, order
from lossfit.kernels.gpu.chunks import Spec
from lossfit.kernels.gpu.curve_batch import CurveJob, forecast_curves_on
from lossfit.kernels.gpu.launch import DeviceMemoryError, Options, run
from lossfit.kernels.gpu.port import Port
from lossfit.kernels.gpu.spec import Kernel
from lossfit.kernels.gpu.warp import TABLE
from lossfit.kernels.ranks import RANK_BINS, neighbours
from lossfit.kernels.records import as_table
from tests.gpu.tested import launched
from tests.kernels.curve_problems import problem, solve

NEAR = {"rtol": 1e-8, "atol": 1e-9}


def same(found, expected, **near):
    for name, mine, theirs in zip(expected._fields, found, expected, strict=True):
        np.testing.assert_allclose(as_table(mine), as_table(theirs), **(near or NEAR), err_msg=name)


def agree(devices, given, draws, runs=2, **options):
    """The kernels give what the CPU gives."""
    expected = forecast_curves(*given, draws=draws, threads=1, **options)
    assert np.isfinite(expected.draws).all()
    chunks = Options(runs=runs)
    same(forecast_curves_on(devices, *given, draws=draws, options=chunks, **options), expected)


@pytest.mark.parametrize("seed", range(6))
def test_random_runs(seed, new_device):
    """Lengths from 2 points on, none to five targets, one to three hypotheses."""
    lengths = np.random.default_rng(seed).integers(2, 300, 5)
    given = curve_problem(seed, lengths, n_at=5, multi_power=seed % 2 == 0)
    agree([new_device(seed=seed)], given, 100, parameters=True)


def test_the_problems_have_everything():
    """Every kind of knowledge, targets within the data and beyond, losses below 0, spikes."""
    seen = set()
    for seed in range(6):
        lengths = np.random.default_rng(seed).integers(2, 300, 5)
        observed, asked, *_ = given = curve_problem(seed, lengths, n_at=5)
        records = forecast_curves(*given, draws=10, threads=1).records
        ends = np.repeat(observed.t[observed.offsets[1:] - 1], np.diff(asked.targets))
        spikes = records["points"] < lengths
        longer = asked.longer[asked.at > ends]
        for name, values in {
            "knowledge": asked.knowledge, "past": asked.at <= ends, "spikes": spikes,
            "positive": records["positive"], "longer": longer, "paths": np.diff(asked.hypotheses),
            "targets": np.diff(asked.targets), "few": lengths < 9, "weights": observed.weight < 1,
            "seen": asked.strengths[:, 0] > 0, "measured": np.isnan(observed.noise),
        }.items():  # fmt: skip
            seen |= {(name, float(value)) for value in values}
    for name in ("past", "spikes", "positive", "longer", "few", "weights", "seen", "measured"):
        assert {(name, 0.0), (name, 1.0)} <= seen, name
    assert {("knowledge", float(k)) for k in (KNOWN, TOTAL, NOTHING)} <= seen
    assert {("paths", 1.0), ("paths", 3.0), ("targets", 0.0), ("targets", 5.0)} <= seen


@pytest.mark.parametrize("seed", range(20, 24))
@pytest.mark.parametrize("past", [False, True])
def test_problems_of_the_cpu(seed, past, new_device):
    """Those of tests/kernels, whose cells, numbers of responses and paths are random too."""
    some = [problem(seed, n_at=4, past=past, lean=0.3, positive=seed % 3 > 0)]
    on_gpu = partial(forecast_curves_on, [new_device(seed=seed)])
    answers = [solve(some, 70, parameters=True, forecast=f) for f in (on_gpu, forecast_curves)]
    same(*answers)


@pytest.mark.parametrize(("lengths", "draws"), [([40], 1), ([2, 3], 2), ([33, 1100], 257)])
def test_odd_sizes(lengths, draws, new_device):
    agree([new_device()], curve_problem(sum(lengths), lengths, n_at=2), draws, runs=1)


def test_many_targets(new_device):
    agree([new_device()], curve_problem(3, [80, 20, 50], n_at=70), 20, parameters=True)


def test_smooth_logs_and_equal_losses(new_device):
    """Order statistics of equal numbers; no noise."""
    observed, *rest = curve_problem(8, [60, 80, 100], n_at=2)
    loss = observed.loss.copy()
    loss[:60] = 2.0
    loss[60:140] = np.round(np.abs(loss[60:140]) + 1, 1)
    loss[140:] = 3 * observed.t[140:] ** -0.1
    agree([new_device()], (observed._replace(loss=loss), *rest), 40)


def test_chunks_and_devices_make_no_difference(new_device):
    given = curve_problem(11, [90, 2, 40, 130, 25, 60, 33])
    whole = forecast_curves_on([new_device()], *given, draws=64, parameters=True)
    told = []
    for seed, devices in enumerate((1, 2, 3)):
        some = [new_device(number, seed=seed, multiprocessors=number + 1)
                for number in range(devices)]  # fmt: skip
        for order_ in (some, some[::-1]):
            parts = forecast_curves_on(
                order_, *given, draws=64, parameters=True, options=Options(runs=2),
                progress=told.append,
            )  # fmt: skip
            for mine, theirs in zip(parts, whole, strict=True):
                np.testing.assert_array_equal(mine, theirs)
    assert sum(told) == 6 * 7


def test_memory_that_runs_out(new_device):
    """Chunks are halved; a run that is too large is named."""
    given = curve_problem(12, [90, 70, 60, 50])
    whole = forecast_curves_on([new_device()], *given, draws=64)
    small = new_device(memory=200_000, claimed=1 << 28)
    same(forecast_curves_on([small], *given, draws=64), whole, rtol=0, atol=0)
    assert small.refused > 0
    smaller, names = new_device(memory=40_000), ["b", "c", "d", "e"]
    with pytest.raises(DeviceMemoryError, match="run 'b'"):
        forecast_curves_on([smaller], *given, draws=64, names=names)


def test_no_scratch_is_read_before_it_is_written(new_device):
    """Memory is full of bytes that make no number; of a second chunk, of the first one's."""
    given = curve_problem(13, [90, 30, 60, 50])
    job = CurveJob(*given, draws=40)
    for options in (Options(runs=4), Options(runs=1, slots=1)):
        device = new_device()
        run(job, [device], options=options)
        found = [np.copy(part) for part in job.result]
        assert all(np.isfinite(part).all() for part in found)
    same(found, forecast_curves(*given, draws=40, threads=1))


def test_what_a_chunk_takes_is_what_its_kernels_are_compiled_for():
    job = CurveJob(*curve_problem(14, [20, 30]), draws=8)
    assert [kernel.name for kernel in job.kernels] == [
        f"curve_{stage}" for stage in curve_forecast.ARGUMENTS
    ]
    for specs in (job.inputs(0, 1), job.scratch(0, 2), job.outputs(1, 2)):
        assert all(isinstance(spec, Spec) for spec in specs)


@cache
def kernel_of_neighbours():
    """A kernel of `order.team_neighbours` alone."""
    port = Port(TABLE)
    both = port.device(order.team_neighbours)

    def kernel(values, ranks, out):
        for i in range(ranks.size):
            low, high = both(values.size, values, ranks[i], values, values)
            out[i, 0] = low
            out[i, 1] = high

    numbers = np.empty(1)
    kinds = tuple(
        curve_forecast.typeof(one) for one in (numbers, np.empty(1, np.int64), np.empty((1, 1)))
    )
    return Kernel("neighbours", kernel, kinds, 32, False)


@pytest.mark.parametrize("n", [1, 2, 3, 31, 32, 33, 200])
def test_order_statistics(n, new_device):
    rng = np.random.default_rng(n)
    for values in (
        rng.normal(size=n), rng.integers(0, 4, n) * 1.5, np.full(n, -2.0),
        10.0 ** rng.uniform(-290, 290, n) * rng.choice([-1.0, 1.0], n),
    ):  # fmt: skip
        ranks = np.unique([0, n // 3, (n - 1) // 2, n // 2, n - 1])
        found = np.full((len(ranks), 2), np.nan)
        launched(new_device(), kernel_of_neighbours(), 1, (values, ranks, found))
        ordered = np.sort(values)
        np.testing.assert_array_equal(found[:, 0], ordered[ranks])
        np.testing.assert_array_equal(found[:, 1], ordered[np.minimum(ranks + 1, n - 1)])
        work, counts = np.empty(n), np.empty(RANK_BINS, np.int64)
        for k, row in zip(ranks, found, strict=True):
            np.testing.assert_array_equal(neighbours(n, values, k, work, counts), row)
