"""The seam to CuPy and the driver, on stand-ins whose streams run late."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lossfit.kernels.cache import place
from lossfit.kernels.gpu import backend, device
from lossfit.kernels.gpu.backend import types
from lossfit.kernels.gpu.device import CupyDevice, on_host
from lossfit.kernels.gpu.launch import Options, run
from lossfit.kernels.gpu.spec import Kernel
from tests.gpu import fake_cupy
from tests.gpu.jobs import KeptSums, Sums, ragged
from tests.gpu.mutants import planted

VECTOR = types.Array(types.float64, 1, "C")


def total(values, offsets, parameters, out):
    """A kernel for the stand-in, which calls it once for the whole grid."""
    for r in range(out.size):
        out[r] = parameters[0][0] * values[offsets[r] : offsets[r + 1]].sum()


def twice(values, offsets, parameters, out):
    """Another kernel of the same name, signature and precision."""
    total(values, offsets, parameters, out)
    out *= 2


SIGNATURE = (VECTOR, types.Array(types.uint32, 1, "C"), types.Tuple((VECTOR,)), VECTOR)
TOTAL = Kernel("total", total, SIGNATURE, 32, False)
LENGTHS = (3, 1, 40, 7, 100, 2, 5)


class Launched(Sums):
    kernel = TOTAL

    def launch(self, chunk):
        chunk.launch(self.kernel, *chunk.inputs, (chunk.constants[0],), chunk.outputs[0])


class LaunchedTwice(Launched):
    kernel = TOTAL._replace(function=twice)


class LaunchedAndKept(KeptSums):
    def launch(self, chunk):
        chunk.launch(TOTAL, *chunk.inputs, (chunk.constants[0],), chunk.outputs[0])


@pytest.fixture
def gpu(monkeypatch):
    def make(number=0, **options):
        cupy, numba_cuda, machine = fake_cupy.make(**options)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setattr(backend, "cuda", numba_cuda)
        monkeypatch.setattr(device, "_compiled", {})
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        return CupyDevice(number), machine

    return make


def test_a_gpu_says_what_it_is(gpu):
    one, _ = gpu(1, capability=(8, 6))
    assert one.name == "NVIDIA Fake"
    assert one.number == 1
    assert one.compute_capability == (8, 6)
    assert one.multiprocessors == 2
    assert not one.full_rate_double
    assert one.memory().free == one.memory().total == 1 << 30
    assert one.versions() == {"driver": 13010, "runtime": 13000, "cupy": "14.2.0"}
    assert one.resources(TOTAL) == {"registers": 130, "local": 0, "shared": 16384}


def every_call_is_for_its_gpu(gpu):
    one, machine = gpu(1)
    run(Launched(*ragged(LENGTHS)), [one], options=Options(runs=2))
    named = [call for call in machine.calls if call[0] in ("use", "numba use", "properties")]
    assert {call[0] for call in named} == {"use", "numba use", "properties"}
    assert {call[1] for call in named} == {1}


def results_are_right(gpu):
    for kind in (Launched, LaunchedTwice):
        one, _ = gpu()
        job = kind(*ragged(LENGTHS))
        run(job, [one], options=Options(runs=2))
        expected = job.expected * (2 if kind is LaunchedTwice else 1)
        np.testing.assert_allclose(job.sums, expected)


def kernels_are_kept_apart(gpu):
    """Two of the same name and signature in one process; each has a folder of its own."""
    one, machine = gpu()
    for kind, factor in ((Launched, 1), (LaunchedTwice, 2)):
        job = kind(*ragged(LENGTHS))
        run(job, [one])
        np.testing.assert_allclose(job.sums, factor * job.expected)
    folders = [Path(options["folder"]) for options in machine.options]
    assert len(set(folders)) == 2
    assert {place.parent for place in folders} == {Path(place("cuda", "x")).parent}


def options_are_those_that_were_checked(gpu):
    one, machine = gpu()
    for fastmath in (False, True):
        one_more = type("Job", (Launched,), {"kernel": TOTAL._replace(fastmath=fastmath)})
        run(one_more(*ragged(LENGTHS)), [one])
        options = machine.options[-1]
        assert options["fastmath"] is fastmath
        assert options["signature"] == SIGNATURE
        assert options["cache"] is True
        assert {name: options.get(name) for name in backend.OPTIONS} == backend.OPTIONS
    assert len(machine.options) == 2


def what_stays_belongs_to_no_stream(gpu):
    """Its memory may be used on any stream when the job is done."""
    one, machine = gpu()
    run(LaunchedAndKept(*ragged((5,) * 40)), [one], options=Options(runs=40))
    sizes = [call for call in machine.calls if call[0] == "empty"]
    assert ("empty", 512, None) in sizes  # 40 sums, aligned
    assert sum(stream is None for _, _, stream in sizes) == 1


def memory_is_counted_once(gpu):
    one, _ = gpu(memory=10_000, free=5_000, pool_holds=3_000, pool_frees=1_000)
    assert one.memory() == (6_000, 10_000)


def an_error_waits_for_the_copies(gpu):
    """No buffer is freed while a copy from or to it is under way."""

    class Faulty(Launched):
        def fill(self, start, stop, inputs):
            super().fill(start, stop, inputs)
            if start:
                raise ValueError("a chunk that cannot be filled")

    one, machine = gpu()
    with pytest.raises(ValueError, match="cannot be filled"):
        run(Faulty(*ragged(LENGTHS)), [one], options=Options(runs=2))
    assert machine.calls[-1][0] == "synchronize"
    assert not any(stream.waiting for stream in machine.streams)


CHECKS = (
    every_call_is_for_its_gpu,
    results_are_right,
    kernels_are_kept_apart,
    options_are_those_that_were_checked,
    what_stays_belongs_to_no_stream,
    memory_is_counted_once,
    an_error_waits_for_the_copies,
)

# Faults of the host that a GPU would show; each must be noticed here.
FAULTS = {
    "always the first GPU": (
        "gpu.device:CupyDevice.__init__", "cupy.cuda.Device(number)", "cupy.cuda.Device(0)",
        every_call_is_for_its_gpu,
    ),
    "properties of the first GPU": (
        "gpu.device:CupyDevice.__init__", "getDeviceProperties(number)", "getDeviceProperties(0)",
        every_call_is_for_its_gpu,
    ),
    "fastmath is ignored": (
        "gpu.backend:kernel_for_gpu", '"fastmath": kernel.fastmath', '"fastmath": False',
        options_are_those_that_were_checked,
    ),
    "fastmath is forced": (
        "gpu.backend:kernel_for_gpu", '"fastmath": kernel.fastmath', '"fastmath": True',
        options_are_those_that_were_checked,
    ),
    "options that were not checked": (
        "gpu.backend:kernel_for_gpu", "**OPTIONS", '"lto": True',
        options_are_those_that_were_checked,
    ),
    "kernels of one name are one": (
        "gpu.device:dispatcher", "kernel.name, kernel.function", "kernel.name, None",
        kernels_are_kept_apart,
    ),
    "kernels share a folder": (
        "gpu.device:_jitted", 'place("cuda", made_of)', 'place("cuda", "all")',
        kernels_are_kept_apart,
    ),
    "no folder for compiled kernels": (
        "gpu.backend:kernel_for_gpu", "_settings.CACHE_DIR = str(cache)", "pass",
        kernels_are_kept_apart,
    ),
    "an upload from memory that is freed": (
        "gpu.device:CupyDevice.upload", "target.set(source,", "target.set(source.copy(),",
        results_are_right,
    ),
    "what stays belongs to a stream": (
        "gpu.launch:_Gpu.start", "device.allocate(size(kept), None)",
        "device.allocate(size(kept), slot.stream)", what_stays_belongs_to_no_stream,
    ),
    "the pool's memory counts twice": (
        "gpu.device:CupyDevice.memory", "free += self.xp.get_default_memory_pool().free_bytes()",
        "free += 2 * self.xp.get_default_memory_pool().free_bytes()", memory_is_counted_once,
    ),
    "buffers are freed under a copy": (
        "gpu.launch:_run_on", "device.synchronize()  # no buffer", "None  # no buffer",
        an_error_waits_for_the_copies,
    ),
    "results are taken before they are there": (
        "gpu.launch:_Gpu.finish_one", "self.device.mark(slot.stream).wait()", "None",
        results_are_right,
    ),
    "scratch lies over the outputs": (
        "gpu.launch:_Gpu.start", "outputs=views(slot.block[n_in : n_in + n_out], outputs)",
        "outputs=views(slot.block[n_in + 256 :], outputs)", results_are_right,
    ),
}  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_without_a_fault(gpu, check):
    check(gpu)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_noticed(gpu, name):
    where, old, new, check = FAULTS[name]
    with planted(where, old, new), pytest.raises((AssertionError, ValueError, TypeError)):
        check(gpu)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pinned", [True, False])
def test_a_job_on_a_gpu(gpu, pinned):
    one, machine = gpu(pinned=pinned)
    calls = machine.calls
    job = Launched(*ragged(LENGTHS))
    run(job, [one], options=Options(runs=2))
    np.testing.assert_allclose(job.sums, job.expected)
    first = next(i for i, call in enumerate(calls) if call[0] == "synchronize")
    assert not any(call[0] in ("set", "get", "launch", "empty") for call in calls[:first])
    launches = [call for call in calls if call[0] == "launch"]
    assert [call[1:3] for call in launches] == [(2, 32), (2, 32), (2, 32), (1, 32)]
    assert len({call[3] for call in launches}) == 3  # streams
    assert all(call[2] is False for call in calls if call[0] == "get")  # none waits
    assert ("pinned" in {call[0] for call in calls}) is pinned
    # Each chunk: up, launch, down on one stream, before it is waited for.
    stream_of = {"set": 1, "get": 1, "wait": 1, "launch": 3}
    for stream in {call[3] for call in launches}:
        mine = [c[0] for c in calls if c[0] in stream_of and c[stream_of[c[0]]] == stream]
        assert mine[:4] == ["set", "launch", "get", "wait"]


def test_memory_that_runs_out(gpu):
    one, machine = gpu(memory=2_800)
    one.memory = lambda: device.Memory(1 << 30, 1 << 30)
    job = Launched(*ragged(LENGTHS))
    run(job, [one])
    np.testing.assert_allclose(job.sums, job.expected)
    assert ("free",) in machine.calls


def test_a_stream_follows_what_the_caller_gave(gpu):
    """Data that the caller's stream is still writing are read when they are there."""
    one, machine = gpu()
    there, copy = np.zeros(4), np.zeros(4)
    machine.default.give(lambda: there.fill(7.0))
    stream = one.stream()
    one.follow(stream)
    one.work(stream, lambda: stream.cupy.give(lambda: copy.__setitem__(slice(None), there)))
    one.mark(stream).wait()
    assert (copy == 7).all()
    with planted("gpu.device:CupyDevice.follow", "stream.cupy.wait_event(event)", "pass"):
        machine.default.give(lambda: there.fill(8.0))
        one.follow(stream)
        one.work(stream, lambda: stream.cupy.give(lambda: copy.__setitem__(slice(None), there)))
        one.mark(stream).wait()
        assert (copy == 7).all()  # what a GPU might give without


@pytest.mark.parametrize("module", ["predict", "batch", "quantiles"])
def test_whoever_reads_the_callers_arrays_follows(module, root):
    """`predict_on`, `fit_arrays` and `describe_on` work on streams of their own."""
    text = (root / "kernels" / "gpu" / f"{module}.py").read_text()
    made = text.count("stream = device.stream()")
    assert made == text.count("device.follow(stream)") == 1


def test_page_locked_memory_is_given_back(gpu, monkeypatch):
    monkeypatch.setattr(device, "PINNED_KEPT", 1_000)
    one, machine = gpu()
    run(Launched(*ragged(LENGTHS)), [one])
    assert machine.calls.count(("free pinned",)) == 1
    monkeypatch.setattr(device, "PINNED_KEPT", 1 << 20)
    one, machine = gpu()
    run(Launched(*ragged(LENGTHS)), [one])
    assert ("free pinned",) not in machine.calls


def test_other_pools_leave_something_to_try_for(gpu, monkeypatch):
    one, machine = gpu(memory=80_000, free=100)
    assert one.memory().free == 100
    machine.allocator = lambda size: None  # RMM's
    assert one.memory().free == 10_000
    machine.allocator = one.xp.get_default_memory_pool().malloc

    class Torch:
        class cuda:
            emptied = 0

            @staticmethod
            def is_initialized():
                return True

            @staticmethod
            def memory_reserved(number):
                return 5_000

            @staticmethod
            def memory_allocated(number):
                return 3_000

            @classmethod
            def empty_cache(cls):
                cls.emptied += 1

    monkeypatch.setitem(sys.modules, "torch", Torch)
    assert one.memory().free == 2_100
    one.release()
    assert Torch.cuda.emptied == 1


def test_small_grids_warn_nobody(gpu, recwarn):
    one, _ = gpu()
    run(Launched(*ragged((3,))), [one])
    assert not recwarn.list


def test_arrays_come_to_the_host(gpu):
    one, machine = gpu()
    array = one.xp.empty((2, 3), np.float64)
    array[...] = 4.0
    found = on_host(array)
    assert type(found) is np.ndarray
    assert (found == 4).all()
    assert machine.calls[-1] == ("get", None, True)
