from __future__ import annotations

import gc
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossfit.kernels.gpu.chunks import (
    ALIGNMENT,
    MOST_POINTS,
    Limits,
    Need,
    Spec,
    plan,
    size,
    split,
    views,
)
from lossfit.kernels.gpu.device import full_rate_double, on_host, out_of_memory
from lossfit.kernels.gpu.launch import DeviceMemoryError, Job, Options, built, run
from lossfit.kernels.gpu.spec import Kernel
from lossfit.kernels.maths import exp, inline, log
from lossfit.kernels.philox import normal_pair, philox
from lossfit.kernels.team import any_lane, lane, real, sync, team_argbest, team_max, team_sum, width
from tests.gpu.jobs import KeptSums, Sums, ragged
from tests.gpu.native import NativeError
from tests.gpu.simulated_device import SimulatedDevice

LENGTHS = (3, 1, 40, 7, 100, 2, 5, 64, 33, 9, 1)


def sums(lengths=LENGTHS):
    return Sums(*ragged(lengths))


def test_arrays_lie_in_a_block_aligned():
    specs = [Spec((3,), np.float32), Spec((0, 4), np.float64), Spec((2, 5), np.uint64)]
    assert size(specs) == 2 * ALIGNMENT
    block = np.zeros(size(specs), np.uint8)
    a, b, c = views(block, specs)
    a[...], c[...] = 1.5, 7
    assert (a.shape, b.shape, c.shape) == ((3,), (0, 4), (2, 5))
    assert (a.dtype, c.dtype) == (np.float32, np.uint64)
    assert block[:12].view(np.float32).tolist() == [1.5] * 3
    assert (block[ALIGNMENT : ALIGNMENT + 80].view(np.uint64) == 7).all()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 20),
    st.integers(1, 200),
)
def test_chunks_cover_the_runs_in_order_within_the_limits(lengths, device, host, runs, points):
    total = np.concatenate([[0], np.cumsum(lengths)])

    def need(a, b):
        n = int(total[b] - total[a])
        return Need(n + 3, n, n)

    limits = Limits(device, host, runs, points)
    chunks = plan(need, 0, len(lengths), limits)
    assert [a for a, _ in chunks] == [0, *(b for _, b in chunks[:-1])]
    assert chunks[-1][1] == len(lengths)
    for a, b in chunks:
        assert b > a
        assert b - a == 1 or limits.allow(need(a, b), b - a)
    for (a, b), (_, c) in pairwise(chunks):  # no two could have been one
        assert not limits.allow(need(a, c), c - a) or b - a == -(-len(lengths) // len(chunks))


def test_chunks_are_about_equal():
    chunks = plan(lambda a, b: Need(b - a, b - a, b - a), 0, 101, Limits(50, 1000, 1000))
    assert [b - a for a, b in chunks] == [34, 34, 33]


def test_offsets_of_a_chunk_fit_uint32():
    many = 3 * 2**30
    chunks = plan(lambda a, b: Need(0, 0, many * (b - a)), 0, 5, Limits(1, 1, 100))
    assert chunks == [(i, i + 1) for i in range(5)]
    few = 2**20
    chunks = plan(lambda a, b: Need(0, 0, few * (b - a)), 0, 5000, Limits(1, 1, 10**6))
    assert len(chunks) == 2
    assert max(few * (b - a) for a, b in chunks) <= MOST_POINTS


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (132, 108, 84), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("n_runs", [1, 2, 7, 1000])
def test_runs_are_split_by_weight(weights, n_runs):
    parts = split(lambda a, b: float(b - a), n_runs, weights)
    assert parts[0][0] == 0
    assert parts[-1][1] == n_runs
    assert all(b == c for (_, b), (c, _) in pairwise(parts))
    for (a, b), weight in zip(parts, weights, strict=True):
        assert abs((b - a) - n_runs * weight / sum(weights)) <= 1


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 11, None])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_results_are_in_order_whatever_the_chunks(runs, slots):
    job = sums()
    device = SimulatedDevice()
    run(job, [device], options=Options(runs=runs, slots=slots))
    np.testing.assert_array_equal(job.sums, job.expected)
    assert job.order == sorted(job.order)
    if runs is not None:
        assert max(b - a for a, b in job.order) <= runs
    assert device.most_streams == min(slots, len(job.order))


@pytest.mark.parametrize("lengths", [(1,), (1, 1), (1000,)])
def test_few_runs(lengths):
    job = sums(lengths)
    run(job, [SimulatedDevice()])
    np.testing.assert_array_equal(job.sums, job.expected)


def test_no_runs():
    job = sums(())
    run(job, [SimulatedDevice()])
    assert job.order == []


def test_all_memory_is_given_back():
    device = SimulatedDevice()
    run(sums(), [device], options=Options(runs=2))
    gc.collect()
    assert device.used == 0


def test_progress_counts_every_run_once():
    told = []
    run(sums(), [SimulatedDevice(0), SimulatedDevice(1)], progress=told.append)
    assert sum(told) == len(LENGTHS)


@pytest.mark.parametrize("memory", [5_200, 4_500, 3_500])
def test_out_of_memory_halves_the_chunk_and_goes_on(memory):
    job = sums()
    device = SimulatedDevice(memory=memory, claimed=1 << 30)
    run(job, [device])
    assert device.refused > 0
    assert len(job.order) > 1
    assert job.order == sorted(job.order)
    np.testing.assert_array_equal(job.sums, job.expected)


def test_a_chunk_is_planned_by_the_memory_that_is_free():
    job = sums((10,) * 200)
    device = SimulatedDevice(memory=60_000)
    run(job, [device])
    assert device.refused == 0
    assert len(job.order) > 3
    np.testing.assert_array_equal(job.sums, job.expected)


def test_a_run_that_is_large_for_a_chunk_has_the_gpu_for_itself():
    job = sums((5, 5, 2000, 5, 5))
    device = SimulatedDevice(memory=40_000)  # the long run takes 32,768
    run(job, [device])
    assert (2, 3) in job.order
    assert device.refused == 0
    np.testing.assert_array_equal(job.sums, job.expected)


@pytest.mark.parametrize("claimed", [20_000, 1 << 30])
def test_a_run_that_does_not_fit_is_named_with_the_bytes_it_needs(claimed):
    job = sums((5, 5, 2000, 5, 5))
    device = SimulatedDevice(name="tiny", memory=20_000, claimed=claimed)
    with pytest.raises(DeviceMemoryError, match="run 2 needs 32,768 bytes on tiny, where "):
        run(job, [device])
    assert job.order[:1] != []  # those before it are done
    gc.collect()
    assert device.used == 0


def test_a_run_of_too_many_points_is_named():
    class Long(Sums):
        def points(self, start, stop):
            return 2**31 * (stop - start) if stop - start > 1 else 2**32

        def inputs(self, start, stop):
            return (Spec((0,), np.float64),) * 2

        def scratch(self, start, stop):
            return ()

    with pytest.raises(DeviceMemoryError, match="run 0 has 4,294,967,296 points"):
        run(Long(*ragged((1, 1))), [SimulatedDevice()])


def test_results_can_stay_on_the_gpu():
    values, offsets = ragged(LENGTHS)
    job = KeptSums(values, offsets)
    device = SimulatedDevice()
    run(job, [device], options=Options(runs=4))
    assert [(a, b) for a, b, _, _ in job.parts] == job.order
    np.testing.assert_array_equal(
        np.concatenate([array[:, 0] for *_, array in job.parts]), job.expected
    )
    gc.collect()
    assert device.used == len(job.parts) * ALIGNMENT
    del job
    gc.collect()
    assert device.used == 0


def test_what_stays_must_fit():
    values, offsets = ragged((1,) * 1000)
    job = KeptSums(values, offsets)
    with pytest.raises(DeviceMemoryError, match="what stays on simulated for 1,000 runs needs"):
        run(job, [SimulatedDevice(memory=5_000)])


@pytest.mark.parametrize("weights", [(1, 1), (1, 3), (2, 1, 1), (1,) * 6])
def test_several_gpus(weights):
    job = sums((20,) * 60)
    devices = [SimulatedDevice(i, multiprocessors=w) for i, w in enumerate(weights)]
    run(job, devices, options=Options(runs=4))
    np.testing.assert_array_equal(job.sums, job.expected)
    for first, last in split(job.cost, 60, weights):
        mine = [chunk for chunk in job.order if first <= chunk[0] < last]
        assert mine == sorted(mine)
        assert sum(b - a for a, b in mine) == last - first


def test_more_gpus_than_runs():
    job = sums((3, 4))
    run(job, [SimulatedDevice(i) for i in range(5)])
    np.testing.assert_array_equal(job.sums, job.expected)


def test_gpus_work_at_the_same_time():
    met = threading.Barrier(2, timeout=20)

    class Watched(Sums):
        def fill(self, start, stop, inputs):
            met.wait()  # fails where one GPU waits for the other to finish
            super().fill(start, stop, inputs)

    job = Watched(*ragged((20,) * 40))
    run(job, [SimulatedDevice(0), SimulatedDevice(1)])
    np.testing.assert_array_equal(job.sums, job.expected)


def test_an_error_on_one_gpu_stops_the_others():
    failed = threading.Event()

    class Faulty(Sums):
        def fill(self, start, stop, inputs):
            if start >= 500:
                failed.set()
                raise ValueError(f"no run {start}")
            if start == 10:
                failed.wait(timeout=20)
            time.sleep(0.01)
            super().fill(start, stop, inputs)

    job = Faulty(*ragged((2,) * 1000))
    with pytest.raises(ValueError, match="no run 500"):
        run(job, [SimulatedDevice(0), SimulatedDevice(1)], options=Options(runs=1))
    assert len(job.order) < 400


def test_which_gpus_have_full_rate_double():
    assert all(map(full_rate_double, [(8, 0), (9, 0), (10, 0)]))
    assert not any(map(full_rate_double, [(7, 5), (8, 6), (8, 9), (10, 3), (12, 0)]))


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY", True),
        ("cudaErrorMemoryAllocation: out of memory", True),
        ("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered", False),
    ],
)
def test_what_says_out_of_memory(text, short):
    assert out_of_memory(RuntimeError(text)) is short


def test_host_arrays_stay_what_they_are():
    array = np.arange(3.0)
    assert on_host(array) is array
    assert on_host([1, 2]).tolist() == [1, 2]


# -- with a kernel -------------------------------------------------------------------------------


@inline
def describe(values, place, out):
    """Largest value, its place, the sum of exp, and whether one is above 3; by a team."""
    best = -1e300
    at = 0
    total = real(0.0)
    above = False
    for i in range(lane(), values.size, width()):
        total += exp(values[i])
        above = above or values[i] > 3.0
        if values[i] > best:
            best = values[i]
            at = i
    total = team_sum(total)
    at = team_argbest(best, at)
    best = team_max(best)
    above = any_lane(above)
    if lane() == 0:
        place[0] = at
    sync()
    out[0] = best
    out[1] = real(place[0])
    out[2] = log(total)
    out[3] = real(1.0) if above else real(0.0)


@inline
def normals(key, out):
    """Normal numbers of a key, by a team."""
    for i in range(lane(), out.size, width()):
        w0, w1, _, _ = philox(np.uint64(i), np.uint64(0), np.uint64(1), np.uint64(0), key)
        out[i] = normal_pair(w0, w1)[0]


def build(single, beyond=False):
    """Describes each run, and draws for it; perhaps with a write out of bounds."""
    from numba import cuda, types

    from lossfit.kernels.gpu.port import Port
    from lossfit.kernels.gpu.warp import TABLE

    def body(values, offsets, keys, scale, out, drawn):
        place = cuda.shared.array(1, np.int64)
        r = cuda.blockIdx.x
        describe(values[offsets[r] : offsets[r + 1]], place, out[r])
        normals(keys[r], drawn[r])
        sync()
        for i in range(lane(), drawn.shape[1], width()):
            drawn[r, i] = drawn[r, i] * scale
        if beyond and lane() == 3:
            out[out.shape[0], 3] = scale

    number = types.float32 if single else types.float64
    matrix = types.Array(number, 2, "C")
    signature = (
        types.Array(number, 1, "C"), types.Array(types.uint32, 1, "C"),
        types.Array(types.uint64, 1, "C"), number, matrix, matrix,
    )  # fmt: skip
    return Kernel("describe", Port(TABLE, single).rebound(body), signature, 32, single)


class Described(Job):
    """Runs the kernel; `expected` has what the same functions give on the CPU."""

    def __init__(self, lengths=LENGTHS, n_draws=5, single=False, kernel=None):
        self.values, self.offsets = ragged(lengths)
        self.n_runs, self.n_draws = len(lengths), n_draws
        self.keys = np.random.default_rng(1).integers(0, 2**63, self.n_runs, dtype=np.uint64)
        self.dtype = np.float32 if single else np.float64
        self.kernel = kernel or built(build, single)
        self.out = np.full((self.n_runs, 4), np.nan)
        self.drawn = np.full((self.n_runs, n_draws), np.nan)

    def points(self, start, stop):
        return int(self.offsets[stop] - self.offsets[start])

    def inputs(self, start, stop):
        runs = stop - start
        n_points = self.points(start, stop)
        return tuple(map(Spec, ((n_points,), (runs + 1,), (runs,)), (self.dtype, "u4", "u8")))

    def fill(self, start, stop, inputs):
        inputs[0][...] = self.values[self.offsets[start] : self.offsets[stop]]
        inputs[1][...] = self.offsets[start : stop + 1] - self.offsets[start]
        inputs[2][...] = self.keys[start:stop]

    def outputs(self, start, stop):
        runs = stop - start
        return Spec((runs, 4), self.dtype), Spec((runs, self.n_draws), self.dtype)

    def launch(self, chunk):
        chunk.launch(self.kernel, *chunk.inputs, 2, *chunk.outputs)

    def collect(self, start, stop, outputs):
        self.out[start:stop], self.drawn[start:stop] = outputs

    def expected(self):
        out, drawn = np.empty_like(self.out), np.empty_like(self.drawn)
        for r in range(self.n_runs):
            a, b = self.offsets[r], self.offsets[r + 1]
            describe(self.values[a:b], np.zeros(1, np.int64), out[r])
            normals(self.keys[r], drawn[r])
        return out, 2 * drawn


@pytest.mark.parametrize(
    ("lengths", "n_draws", "single"),
    [((1, 2, 31, 32, 33, 64, 100), 70, False), ((1, 2, 31, 32, 33, 64, 100), 70, True),
     ((7,), 1, False), ((1,), 33, False), ((2, 2), 0, False)],
)  # fmt: skip
def test_a_kernel_does_what_the_cpu_does(lengths, n_draws, single, new_device):
    job, device = Described(lengths, n_draws, single), new_device()
    run(job, [device])
    assert device.launches == [("describe", len(lengths), 32)]
    tolerance = 2e-6 if single else 1e-14
    for actual, expected in zip((job.out, job.drawn), job.expected(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("how", ["chunks of 2", "little memory", "several devices"])
def test_chunks_and_devices_change_no_bit(how, new_device):
    whole, cut = Described(), Described()
    run(whole, [new_device()])
    devices = [new_device()]
    if how == "little memory":
        devices = [new_device(memory=2600, claimed=1 << 28)]
    elif how == "several devices":
        devices = [new_device(i, multiprocessors=n) for i, n in enumerate((2, 1, 1))]
    run(cut, devices, options=Options(runs=None if how == "little memory" else 2))
    assert all(len(device.launches) > 1 for device in devices)
    assert (devices[0].refused > 0) == (how == "little memory")
    grids = [grid for device in devices for _, grid, _ in device.launches]
    assert sum(grids) == len(LENGTHS)
    np.testing.assert_array_equal(cut.out, whole.out)
    np.testing.assert_array_equal(cut.drawn, whole.drawn)


def test_an_error_in_a_kernel_reaches_the_caller(new_device):
    with pytest.raises((NativeError, IndexError), match="out of bounds"):
        run(Described(kernel=build(False, beyond=True)), [new_device()])


def test_arguments_of_another_type_are_refused(new_device):
    with pytest.raises(TypeError, match="argument 0: expected a 1-dimensional array of float32"):
        run(Described(kernel=built(build, True)), [new_device()])
