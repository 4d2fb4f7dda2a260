"""A stand-in for CuPy and for Numba's calls of the driver, on NumPy arrays.

It has what `CupyDevice` uses, with CuPy's signatures (version 14).  Streams run as late as they
may: when an event in them is waited for, by a stream or by the host, or when all is synchronized.
Copies from or to host memory that has been freed meanwhile give garbage, as they may on a GPU.
`calls` says what was asked.  It shows that the device asks for the right things in the right order,
not that a GPU does them.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np

GARBAGE = 0xAB


class OutOfMemoryError(MemoryError):
    pass


class CUDARuntimeError(RuntimeError):
    pass


class PinnedMemory(bytearray):
    """As a bytearray; can be referred to weakly."""


def owner_of(array):
    """What must live for the array's memory to be there, referred to weakly."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return weakref.ref(array.obj if isinstance(array, memoryview) else array)


class Array(np.ndarray):
    """cupy.ndarray: no implicit way to the host, and copies that happen later."""

    calls: list

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "data": (0, False), "typestr": "", "version": 3}

    def set(self, arr, stream=None):
        assert isinstance(arr, np.ndarray)
        assert arr.dtype == self.dtype
        assert arr.shape == self.shape
        self.calls.append(("set", stream.ptr))
        alive, target = owner_of(arr), self.view(np.ndarray)
        start, size = arr.ctypes.data, arr.nbytes

        def copy():
            if alive() is None:
                target.view(np.uint8)[...] = GARBAGE
                return
            memory = (np.ctypeslib.ctypes.c_uint8 * size).from_address(start)
            target.reshape(-1).view(np.uint8)[...] = np.frombuffer(memory, np.uint8, size)

        stream.give(copy)

    def get(self, stream=None, order="C", out=None, blocking=True):
        self.calls.append(("get", stream.ptr if stream else None, blocking))
        if out is None:
            return np.array(self.view(np.ndarray))
        assert out.dtype == self.dtype
        assert out.shape == self.shape
        alive, source = owner_of(out), self.view(np.ndarray)
        start, size = out.ctypes.data, out.nbytes

        def copy():
            assert alive() is not None, "a copy to host memory that has been freed"
            memory = (np.ctypeslib.ctypes.c_uint8 * size).from_address(start)
            np.frombuffer(memory, np.uint8, size)[...] = source.reshape(-1).view(np.uint8)

        stream.give(copy)
        if blocking:
            stream.run()
        return out


class Stream:
    """Work that is done late."""

    def __init__(self, machine, ptr):
        self.machine, self.ptr, self.waiting = machine, ptr, []

    def give(self, task):
        self.waiting.append(task)

    def run(self, until=None):
        """All that waits, or what was given before a mark."""
        while self.waiting:
            task = self.waiting.pop(0)
            task()
            if task is until:
                return

    def wait_event(self, event):
        self.machine.calls.append(("wait for", self.ptr, event.stream.ptr))
        self.give(event.synchronize_quietly)

    def __enter__(self):
        self.machine.current.append(self)
        return self

    def __exit__(self, *error):
        assert self.machine.current.pop() is self


def make(
    memory=1 << 30, capability=(9, 0), pinned=True, pool_holds=0, pool_frees=0, free=None, gpus=8
):
    """The modules ``cupy`` and ``numba.cuda``, and the machine that they do it with."""
    calls = []
    machine = SimpleNamespace(calls=calls, current=[], streams=[], options=[])
    default = Stream(machine, 0)
    machine.streams.append(default)
    machine.default = default

    def new_stream(null=False, non_blocking=False, ptds=False):
        assert non_blocking
        machine.streams.append(Stream(machine, len(machine.streams)))
        return machine.streams[-1]

    class Event:
        def __init__(self, block=False, disable_timing=False, interprocess=False):
            assert disable_timing
            self.block = block

        def record(self, stream=None):
            self.stream = stream
            self.mark = lambda: None
            stream.give(self.mark)

        def synchronize_quietly(self):
            if any(task is self.mark for task in self.stream.waiting):
                self.stream.run(self.mark)

        def synchronize(self):
            assert self.block  # in the driver, not in a loop
            calls.append(("wait", self.stream.ptr))
            self.synchronize_quietly()

    class Device:
        def __init__(self, device=None):
            assert device < gpus
            self.id = device

        @property
        def mem_info(self):
            return (memory - pool_holds if free is None else free, memory)

        def __enter__(self):
            calls.append(("use", self.id))
            return self

        def __exit__(self, *error):
            pass

        def synchronize(self):
            calls.append(("synchronize", self.id))
            for stream in machine.streams:
                stream.run()

    def empty(shape, dtype=float, order="C"):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > memory:
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")
        calls.append(("empty", size, machine.current[-1].ptr if machine.current else None))
        array = np.full(shape, 0xFF, dtype).view(Array)
        Array.calls = calls
        return array

    def alloc_pinned_memory(size):
        if not pinned:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        calls.append(("pinned", size))
        return memoryview(PinnedMemory(size + 512))  # rounded up, as CuPy does

    class Pool:
        def free_bytes(self):
            return pool_frees

        def malloc(self, size):
            raise NotImplementedError

        def free_all_blocks(self):
            calls.append(("free",))

    pool = Pool()
    pinned_pool = SimpleNamespace(free_all_blocks=lambda: calls.append(("free pinned",)))

    def properties(number):
        calls.append(("properties", number))
        return {
            "name": b"NVIDIA Fake", "major": capability[0], "minor": capability[1],
            "multiProcessorCount": 2,
        }  # fmt: skip

    cupy = ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.ndarray = Array
    cupy.empty = empty
    cupy.asnumpy = lambda a, stream=None, order="C", out=None, *, blocking=True: a.get()
    cupy.asarray = lambda a, dtype=None: np.asarray(a, dtype).view(Array)
    cupy.get_default_memory_pool = lambda: pool
    cupy.get_default_pinned_memory_pool = lambda: pinned_pool
    machine.allocator = pool.malloc
    cupy.cuda = SimpleNamespace(
        Stream=new_stream,
        Event=Event,
        Device=Device,
        alloc_pinned_memory=alloc_pinned_memory,
        get_allocator=lambda: machine.allocator,
        get_current_stream=lambda: machine.current[-1] if machine.current else default,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=SimpleNamespace(
            getDeviceProperties=properties,
            driverGetVersion=lambda: 13010,
            runtimeGetVersion=lambda: 13000,
        ),
    )

    def as_cuda_array(obj, sync=True):
        assert not sync  # it would wait for the GPU at every argument
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
                assert machine.current
                here = machine.current[-1]
                assert stream == ("numba stream", here.ptr)  # CuPy's current stream
                calls.append(("launch", grid, block, stream[1]))
                here.give(lambda: self.function(*arguments))

            return launch

        def get_regs_per_thread(self):
            return {(): 130}

        def get_local_mem_per_thread(self):
            return {(): 0}

        def get_shared_mem_per_block(self):
            return {(): 16384}

    def jit(func_or_sig=None, **options):
        from numba import config

        machine.options.append({**options, "signature": func_or_sig, "folder": config.CACHE_DIR})
        return Jitted

    numba_cuda = SimpleNamespace(
        external_stream=lambda ptr: ("numba stream", ptr),
        as_cuda_array=as_cuda_array,
        gpus=Gpus(),
        jit=jit,
    )
    return cupy, numba_cuda, machine
