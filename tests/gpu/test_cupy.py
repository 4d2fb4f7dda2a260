from __future__ import annotations

import sys

import numba
import numpy as np
import pytest
from numba import types

from lossfit.kernels.gpu import device
from lossfit.kernels.gpu.device import CupyDevice, on_host
from lossfit.kernels.gpu.launch import Options, run
from lossfit.kernels.gpu.spec import Kernel
from tests.gpu import fake_cupy
from tests.gpu.jobs import Sums, ragged

VECTOR = types.Array(types.float64, 1, "C")


def total(values, offsets, parameters, out):
    """A kernel for the stand-in, which calls it once for the whole grid."""
    for r in range(out.size):
        out[r] = parameters[0][0] * values[offsets[r] : offsets[r + 1]].sum()


SIGNATURE = (VECTOR, types.Array(types.uint32, 1, "C"), types.Tuple((VECTOR,)), VECTOR)
TOTAL = Kernel("total", total, SIGNATURE, 32, False)


class Launched(Sums):
    def launch(self, chunk):
        chunk.launch(TOTAL, *chunk.inputs, (chunk.constants[0],), chunk.outputs[0])


@pytest.fixture
def card(monkeypatch):
    def make(number=0, **options):
        cupy, numba_cuda, calls = fake_cupy.make(**options)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setattr(numba, "cuda", numba_cuda, raising=False)
        monkeypatch.setattr(device, "_compiled", {})
        return CupyDevice(number), calls

    return make


def test_a_card_says_what_it_is(card):
    one, _ = card(1, capability=(8, 6))
    assert one.name == "NVIDIA Fake"
    assert one.number == 1
    assert one.compute_capability == (8, 6)
    assert one.multiprocessors == 2
    assert not one.full_rate_double
    assert one.memory().free == one.memory().total == 1 << 30


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pinned", [True, False])
def test_a_job_on_a_card(card, pinned):
    one, calls = card(pinned=pinned)
    job = Launched(*ragged((3, 1, 40, 7, 100, 2, 5)))
    run(job, [one], options=Options(runs=2))
    np.testing.assert_allclose(job.sums, job.expected)
    assert ("use", 0) in calls
    assert ("numba use", 0) in calls
    assert calls[2] == ("synchronize", 0)  # before anything else
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


def test_memory_that_runs_out(card):
    one, calls = card(memory=2_800)
    one.memory = lambda: type(CupyDevice.memory(one))(1 << 30, 1 << 30)
    job = Launched(*ragged((3, 1, 40, 7, 100, 2, 5)))
    run(job, [one])
    np.testing.assert_allclose(job.sums, job.expected)
    assert ("free",) in calls


def test_small_grids_warn_nobody(card, recwarn):
    one, _ = card()
    run(Launched(*ragged((3,))), [one])
    assert not recwarn.list


def test_arrays_come_to_the_host(card):
    one, calls = card()
    array = one.xp.empty((2, 3), np.float64)
    array[...] = 4.0
    found = on_host(array)
    assert type(found) is np.ndarray
    assert (found == 4).all()
    assert calls[-1] == ("get", None, True)
