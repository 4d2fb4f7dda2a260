"""Warp operations for Numba's CUDA simulator, which has none, and a quicker block.

The simulator polls the threads of a block from a thread of its own, which costs about 10 ms a
barrier.  Here the threads meet at a `threading.Barrier`; a block must be one warp (or less), and
all of its threads must take part in every operation, as `kernels.team` demands.

Set NUMBA_ENABLE_CUDASIM=1 before numba is imported, and call `install` before a launch.
"""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import numpy as np

WARP = 32


class Thread(threading.Thread):
    """A thread of a block: what the simulator's `cuda` module asks of the current thread."""

    def __init__(self, block, target, block_index, thread_index):
        super().__init__(target=target, daemon=True)
        x, y, z = block_index
        self.blockIdx = SimpleNamespace(x=x, y=y, z=z)
        x, y, z = thread_index
        self.threadIdx = SimpleNamespace(x=x, y=y, z=z)
        self.thread_id = x
        self.block = block
        self.error = None

    def run(self):
        try:
            super().run()
        except BaseException as error:
            self.error = error
            self.block.barrier.abort()  # the others would wait for ever

    def syncthreads(self):
        self.block.barrier.wait(timeout=60)

    def exchange(self, value):
        """What all threads of the warp give, in their order."""
        self.block.values[self.thread_id] = value
        self.block.barrier.wait(timeout=60)
        given = list(self.block.values)
        self.block.barrier.wait(timeout=60)
        return given


class Block:
    """A block of up to 32 threads."""

    def __init__(self, function, grid, block, debug):
        if block[0] > WARP or block[1:] != (1, 1):
            raise NotImplementedError(f"blocks of one warp only, not of {block}")
        self.function = function
        self.size = block[0]
        self.barrier = threading.Barrier(self.size)
        self.values = [None] * self.size

    def run(self, block_index, *arguments):
        def target():
            self.function(*arguments)

        threads = [Thread(self, target, block_index, (i, 0, 0)) for i in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        errors = [t.error for t in threads if t.error is not None]
        first = [e for e in errors if not isinstance(e, threading.BrokenBarrierError)]
        if errors:
            raise (first or errors)[0]


def _here():
    return threading.current_thread()


def _of(given, lane):
    """The value of a lane of the block; the reader's own beyond its last."""
    return given[lane] if 0 <= lane < len(given) else given[_here().thread_id]


def shfl_sync(self, mask, value, lane):
    return _of(_here().exchange(value), int(lane) % WARP)


def shfl_xor_sync(self, mask, value, bits):
    return _of(_here().exchange(value), _here().thread_id ^ int(bits))


def shfl_up_sync(self, mask, value, distance):
    return _of(_here().exchange(value), _here().thread_id - int(distance))


def shfl_down_sync(self, mask, value, distance):
    return _of(_here().exchange(value), _here().thread_id + int(distance))


def ballot_sync(self, mask, condition):
    votes = _here().exchange(bool(condition))
    return np.uint32(sum(1 << i for i, vote in enumerate(votes) if vote))


def any_sync(self, mask, condition):
    return any(_here().exchange(bool(condition)))


def all_sync(self, mask, condition):
    return all(_here().exchange(bool(condition)))


def syncwarp(self, mask=0xFFFFFFFF):
    _here().syncthreads()


LIBDEVICE = SimpleNamespace(
    floor=np.floor,
    floorf=lambda x: np.float32(np.floor(x)),
    rsqrt=lambda x: 1.0 / np.sqrt(x),
    rsqrtf=lambda x: np.float32(1.0) / np.sqrt(np.float32(x)),
)


def install():
    """Give the simulator its warp operations."""
    from numba.cuda.simulator import kernel

    # The package of the running numba-cuda may go by another name: take what `kernel` uses.
    module = sys.modules[kernel.FakeCUDAModule.__module__]
    for operation in (
        shfl_sync, shfl_xor_sync, shfl_up_sync, shfl_down_sync, ballot_sync, any_sync, all_sync,
        syncwarp,
    ):  # fmt: skip
        setattr(module.FakeCUDAModule, operation.__name__, operation)
    module.FakeCUDAModule.libdevice = LIBDEVICE
    kernel.BlockManager = Block
