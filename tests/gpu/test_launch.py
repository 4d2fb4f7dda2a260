from __future__ import annotations

import gc
import os
import subprocess
import sys
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
from lossfit.kernels.gpu.launch import DeviceMemoryError, Options, run
from tests.gpu import compiled
from tests.gpu.jobs import KeptSums, Sums, ragged
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


def test_kernels_run_under_the_simulator(root):
    """The other half of these tests, where Numba has its simulator."""
    if (reason := compiled.missing()) is not None:
        pytest.skip(reason)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "tests/gpu/simulated_launch.py",
        ],
        cwd=root,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "passed" in done.stdout
