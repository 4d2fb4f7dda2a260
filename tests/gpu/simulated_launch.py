"""The launch layer with kernels, under Numba's CUDA simulator.

`test_launch` runs this file in a process of its own, because the simulator must be chosen before
Numba is imported: NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/gpu/simulated_launch.py
"""

from __future__ import annotations

import numpy as np
import pytest
from numba import cuda, types

from lossfit.kernels.gpu.chunks import Spec
from lossfit.kernels.gpu.launch import Job, Options, built, run
from lossfit.kernels.gpu.port import Port
from lossfit.kernels.gpu.spec import Kernel
from lossfit.kernels.gpu.warp import TABLE
from lossfit.kernels.maths import exp, inline, log
from lossfit.kernels.philox import normal_pair, philox
from lossfit.kernels.team import any_lane, lane, real, sync, team_argbest, team_max, team_sum, width
from tests.gpu import simulator
from tests.gpu.jobs import ragged
from tests.gpu.simulated_device import SimulatedDevice

simulator.install()
LENGTHS = (1, 2, 31, 32, 33, 64, 100)


@inline
def describe(values, found, out):
    """Largest value, its place, the sum of exp, and whether one is above 3; by a team."""
    best = -1e300
    place = 0
    total = real(0.0)
    above = False
    for i in range(lane(), values.size, width()):
        total += exp(values[i])
        above = above or values[i] > 3.0
        if values[i] > best:
            best = values[i]
            place = i
    total = team_sum(total)
    place = team_argbest(best, place)
    best = team_max(best)
    above = any_lane(above)
    if lane() == 0:
        found[0] = place
    sync()
    out[0] = best
    out[1] = real(found[0])
    out[2] = log(total)
    out[3] = real(1.0) if above else real(0.0)


@inline
def normals(key, out):
    """Normal numbers of a key, by a team."""
    for i in range(lane(), out.size, width()):
        w0, w1, _, _ = philox(np.uint64(i), np.uint64(0), np.uint64(1), np.uint64(0), key)
        out[i] = normal_pair(w0, w1)[0]


def build(single):
    """Describes each run, and draws for it."""

    def body(values, offsets, keys, scale, out, drawn):
        found = cuda.shared.array(1, np.int64)
        r = cuda.blockIdx.x
        describe(values[offsets[r] : offsets[r + 1]], found, out[r])
        normals(keys[r], drawn[r])
        sync()
        for i in range(lane(), drawn.shape[1], width()):
            drawn[r, i] = drawn[r, i] * scale

    number = types.float32 if single else types.float64
    matrix = types.Array(number, 2, "C")
    signature = (
        types.Array(number, 1, "C"), types.Array(types.uint32, 1, "C"),
        types.Array(types.uint64, 1, "C"), number, matrix, matrix,
    )  # fmt: skip
    return Kernel("describe", Port(TABLE, single).rebound(body), signature, 32, single)


class Described(Job):
    """Runs the kernel; `expected` has what the same functions give on the CPU."""

    def __init__(self, values, offsets, keys, n_draws, single=False):
        self.values, self.offsets, self.keys = values, offsets, keys
        self.n_runs, self.n_draws, self.single = len(keys), n_draws, single
        self.dtype = np.float32 if single else np.float64
        self.out = np.full((self.n_runs, 4), np.nan)
        self.drawn = np.full((self.n_runs, n_draws), np.nan)

    def points(self, start, stop):
        return int(self.offsets[stop] - self.offsets[start])

    def inputs(self, start, stop):
        return (
            Spec((self.points(start, stop),), self.dtype),
            Spec((stop - start + 1,), np.uint32),
            Spec((stop - start,), np.uint64),
        )

    def fill(self, start, stop, inputs):
        inputs[0][...] = self.values[self.offsets[start] : self.offsets[stop]]
        inputs[1][...] = self.offsets[start : stop + 1] - self.offsets[start]
        inputs[2][...] = self.keys[start:stop]

    def outputs(self, start, stop):
        runs = stop - start
        return Spec((runs, 4), self.dtype), Spec((runs, self.n_draws), self.dtype)

    def launch(self, chunk):
        chunk.launch(built(build, self.single), *chunk.inputs, 2, *chunk.outputs)

    def collect(self, start, stop, outputs):
        self.out[start:stop], self.drawn[start:stop] = outputs

    def expected(self):
        out, drawn = np.empty_like(self.out), np.empty_like(self.drawn)
        for r in range(self.n_runs):
            a, b = self.offsets[r], self.offsets[r + 1]
            describe(self.values[a:b], np.zeros(1, np.int64), out[r])
            normals(self.keys[r], drawn[r])
        return out, 2 * drawn


def described(lengths, n_draws=5, single=False):
    values, offsets = ragged(lengths)
    keys = np.random.default_rng(1).integers(0, 2**63, len(lengths), dtype=np.uint64)
    return Described(values, offsets, keys, n_draws, single)


@pytest.mark.parametrize(("single", "tolerance"), [(False, 1e-14), (True, 2e-6)])
def test_the_simulated_kernel_does_what_the_cpu_does(single, tolerance):
    job = described(LENGTHS, 70, single)
    device = SimulatedDevice()
    run(job, [device])
    assert device.launches == [("describe", len(LENGTHS), 32)]
    out, drawn = job.expected()
    np.testing.assert_allclose(job.out, out, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(job.drawn, drawn, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_chunks_change_no_bit(runs):
    whole, cut = described(LENGTHS), described(LENGTHS)
    run(whole, [SimulatedDevice()])
    device = SimulatedDevice()
    run(cut, [device], options=Options(runs=runs))
    assert max(grid for _, grid, _ in device.launches) == runs
    assert sum(grid for _, grid, _ in device.launches) == len(LENGTHS)
    np.testing.assert_array_equal(cut.out, whole.out)
    np.testing.assert_array_equal(cut.drawn, whole.drawn)


@pytest.mark.parametrize(("lengths", "n_draws"), [((7,), 1), ((1,), 33), ((2, 2), 0)])
def test_odd_sizes(lengths, n_draws):
    job = described(lengths, n_draws)
    run(job, [SimulatedDevice()])
    out, drawn = job.expected()
    np.testing.assert_allclose(job.out, out, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(job.drawn, drawn, rtol=1e-14, atol=1e-14)


def test_memory_that_runs_out_changes_no_bit():
    whole, short = described(LENGTHS), described(LENGTHS)
    run(whole, [SimulatedDevice()])
    device = SimulatedDevice(memory=2600, claimed=1 << 28)
    run(short, [device])
    assert device.refused > 0
    assert len(device.launches) > 1
    np.testing.assert_array_equal(short.out, whole.out)


def test_several_devices_share_the_runs():
    whole, shared = described(LENGTHS), described(LENGTHS)
    run(whole, [SimulatedDevice()])
    devices = [SimulatedDevice(i, multiprocessors=n) for i, n in enumerate((2, 1, 1))]
    run(shared, devices, options=Options(runs=2))
    assert all(device.launches for device in devices)
    assert sum(grid for d in devices for _, grid, _ in d.launches) == len(LENGTHS)
    np.testing.assert_array_equal(shared.out, whole.out)
    np.testing.assert_array_equal(shared.drawn, whole.drawn)


def test_a_kernel_is_built_and_compiled_once():
    from lossfit.kernels.gpu import device

    run(described((3, 4)), [SimulatedDevice()])
    before = len(device._compiled)
    run(described((5, 6)), [SimulatedDevice()])
    assert len(device._compiled) == before


def test_an_error_in_a_kernel_reaches_the_caller():
    def body(out):
        if lane() == 3:
            out[1000] = 1.0
        sync()

    signature = (types.Array(types.float64, 1, "C"),)

    class Faulty(Described):
        def launch(self, chunk):
            kernel = Kernel("faulty", Port(TABLE).rebound(body), signature, 32, False)
            chunk.launch(kernel, chunk.inputs[0])

    values, offsets = ragged((4,))
    job = Faulty(values, offsets, np.zeros(1, np.uint64), 1)
    with pytest.raises(IndexError):
        run(job, [SimulatedDevice()])


def test_arguments_of_another_type_are_refused():
    class Mistyped(Described):
        def launch(self, chunk):
            values, offsets, keys = chunk.inputs
            chunk.launch(built(build, True), values, offsets, keys, 2, *chunk.outputs)

    values, offsets = ragged((4,))
    job = Mistyped(values, offsets, np.zeros(1, np.uint64), 1)
    with pytest.raises(TypeError, match="argument 0: expected a 1-dimensional array of float32"):
        run(job, [SimulatedDevice()])
