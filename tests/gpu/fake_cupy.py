"""A stand-in for CuPy and for Numba's calls of the driver, on NumPy arrays.

It has what `CupyDevice` uses, with CuPy's signatures (version 14), and does at once what CuPy would
do later; `calls` says what was asked.  It shows that the device calls what is there and in which
order, not that a card does the right thing.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np


class OutOfMemoryError(MemoryError):
    pass


class CUDARuntimeError(RuntimeError):
    pass


class Array(np.ndarray):
    """cupy.ndarray: no implicit way to the host."""

    calls: list

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "data": (0, False), "typestr": "", "version": 3}

    def set(self, arr, stream=None):
        assert isinstance(arr, np.ndarray)
        assert arr.dtype == self.dtype
        assert arr.shape == self.shape
        self.calls.append(("set", stream.ptr))
        np.copyto(self.view(np.ndarray), arr)

    def get(self, stream=None, order="C", out=None, blocking=True):
        self.calls.append(("get", stream.ptr if stream else None, blocking))
        if out is None:
            return np.array(self.view(np.ndarray))
        assert out.dtype == self.dtype
        assert out.shape == self.shape
        np.copyto(out, self.view(np.ndarray))
        return out


def make(memory=1 << 30, capability=(9, 0), pinned=True):
    """The modules ``cupy`` and ``numba.cuda``, and the list of their calls."""
    calls = []
    current = []
    pools = SimpleNamespace(used=0)

    class Stream:
        made = 0

        def __init__(self, null=False, non_blocking=False, ptds=False):
            assert non_blocking
            Stream.made += 1
            self.ptr = Stream.made

        def __enter__(self):
            current.append(self)
            return self

        def __exit__(self, *error):
            assert current.pop() is self

    class Event:
        def __init__(self, block=False, disable_timing=False, interprocess=False):
            assert block
            assert disable_timing

        def record(self, stream=None):
            self.stream = stream

        def synchronize(self):
            calls.append(("wait", self.stream.ptr))

    class Device:
        def __init__(self, device=None):
            self.id = device
            self.mem_info = (memory - pools.used, memory)

        def __enter__(self):
            calls.append(("use", self.id))
            return self

        def __exit__(self, *error):
            pass

        def synchronize(self):
            calls.append(("synchronize", self.id))

    def empty(shape, dtype=float, order="C"):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > memory:
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")
        calls.append(("empty", size, current[-1].ptr if current else None))
        array = np.full(shape, 0xFF, dtype).view(Array)
        Array.calls = calls
        return array

    def alloc_pinned_memory(size):
        if not pinned:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        calls.append(("pinned", size))
        return memoryview(bytearray(size + 512))  # rounded up, as CuPy does

    pool = SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=lambda: calls.append(("free",)))
    pinned_pool = SimpleNamespace(free_all_blocks=lambda: None)
    properties = {
        "name": b"NVIDIA Fake", "major": capability[0], "minor": capability[1],
        "multiProcessorCount": 2,
    }  # fmt: skip
    cupy = ModuleType("cupy")
    cupy.ndarray = Array
    cupy.empty = empty
    cupy.asnumpy = lambda a, stream=None, order="C", out=None, *, blocking=True: a.get()
    cupy.asarray = lambda a: np.asarray(a).view(Array)
    cupy.get_default_memory_pool = lambda: pool
    cupy.get_default_pinned_memory_pool = lambda: pinned_pool
    cupy.cuda = SimpleNamespace(
        Stream=Stream,
        Event=Event,
        Device=Device,
        alloc_pinned_memory=alloc_pinned_memory,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=SimpleNamespace(getDeviceProperties=lambda number: properties),
    )

    def external_stream(ptr):
        return ("numba stream", ptr)

    def as_cuda_array(obj, sync=True):
        assert not sync  # it would wait for the card at every argument
        return obj

    class Gpus:
        @contextmanager
        def _use(self, number):
            calls.append(("numba use", number))
            yield

        def __getitem__(self, number):
            return self._use(number)

    class Jitted:
        def __init__(self, function):
            self.function = function

        def __getitem__(self, configuration):
            grid, block, stream = configuration

            def launch(*arguments):
                assert current
                assert stream == ("numba stream", current[-1].ptr)  # CuPy's current stream
                calls.append(("launch", grid, block, stream[1]))
                self.function(*arguments)

            return launch

    numba_cuda = SimpleNamespace(
        external_stream=external_stream,
        as_cuda_array=as_cuda_array,
        gpus=Gpus(),
        jit=lambda func_or_sig=None, **options: Jitted,
    )
    return cupy, numba_cuda, calls
