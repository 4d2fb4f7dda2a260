"""The seam to CuPy and the driver: all that the launch layer asks of a GPU.

Nothing else imports CuPy.  `CupyDevice` is a GPU; whatever has the methods of `Device` may stand in
its place, as the simulated device of the tests does.

Numba and CuPy share memory and streams: CuPy allocates, kernels compiled by Numba are launched on
CuPy's arrays (by ``__cuda_array_interface__``) and on CuPy's streams (by their pointer).

Importing this module imports neither numba.cuda nor CuPy.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..cache import place
from ..fingerprint import fingerprint
from .spec import Kernel

__all__ = [
    "FULL_RATE_DOUBLE",
    "CupyDevice",
    "Device",
    "Memory",
    "checked",
    "dispatcher",
    "full_rate_double",
    "incompatible_numpy",
    "older_numpy",
    "on_host",
    "out_of_memory",
]

# Compute capabilities of GPUs whose float64 runs at half the rate of float32, not at 1/64 of it:
# P100, V100, A100 and A30, H100 and H200, B100 and B200 (not B300, 10.3).
FULL_RATE_DOUBLE = frozenset({(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)})

# numba-cuda registers np.row_stack, which NumPy 2.5 does not have, and will not be changed any more
# (https://github.com/NVIDIA/numba-cuda/issues/907).  The extras in pyproject.toml say the same.
FIRST_NUMPY_TOO_NEW = (2, 5)

# What the driver and the runtime call it; it is in the text of whatever error is raised for it.
OUT_OF_MEMORY = ("CUDA_ERROR_OUT_OF_MEMORY", "cudaErrorMemoryAllocation")
PINNED_KEPT = 1 << 28  # bytes of page-locked memory that are kept for the next job
OTHERS_SHARE = 8  # part of a GPU, one in so many, that is tried for where another pool allocates
FEW_BLOCKS = 128  # below so many Numba warns of an idle GPU

Bytes = NDArray[np.uint8]

log = logging.getLogger("lossfit")


class Memory(NamedTuple):
    """Memory of a GPU, in bytes: what can be had now, and all of it."""

    free: int
    total: int


class Event(Protocol):
    """A mark in a stream."""

    def wait(self) -> None:
        """Block this thread until all work before the mark is done."""


class Device(Protocol):
    """What the launch layer asks of a GPU.

    Uploads, downloads, work and kernels of one stream run in the order in which they were given;
    none of them waits, and buffers must be left alone until an event after them was waited for.
    Use a device from one thread at a time, inside `active`.

    Attributes
    ----------
    number : int
        Among the visible GPUs.
    name : str
    compute_capability : tuple of int
    multiprocessors : int
    full_rate_double : bool
        Whether float64 arithmetic is fast.
    clock : float
        Highest clock of the multiprocessors in Hz; 0 where it is not known.
    xp : module
        The array module: cupy, or numpy.
    """

    number: int
    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    full_rate_double: bool
    clock: float
    xp: Any

    def active(self) -> AbstractContextManager[Any]:
        """Make this the current GPU of the thread."""

    def memory(self) -> Memory:
        """Free and total memory; what is cached for reuse counts as free."""

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that the GPU's memory is exhausted."""

    def stream(self) -> Any:
        """A new stream."""

    def allocate(self, n_bytes: int, stream: Any) -> Any:
        """Device memory as a flat uint8 array; for a stream, or for all (None)."""

    def pinned(self, n_bytes: int) -> Bytes:
        """Host memory from which copies run beside the computation."""

    def upload(self, source: Bytes, target: Any, stream: Any) -> None:
        """Copy host memory to the device."""

    def download(self, source: Any, target: Bytes, stream: Any) -> None:
        """Copy device memory to the host."""

    def work(self, stream: Any, task: Callable[[], None]) -> None:
        """Run host code that launches kernels or array operations, with that stream current."""

    def launch(self, kernel: Kernel, grid: int, arguments: Sequence[Any], stream: Any) -> None:
        """Launch a kernel with so many blocks; inside `work`."""

    def mark(self, stream: Any) -> Event:
        """An event after all that the stream was given."""

    def follow(self, stream: Any) -> None:
        """Let a stream go on when what the caller gave to the current one is done."""

    def synchronize(self) -> None:
        """Wait for all work of the device."""

    def release(self) -> None:
        """Give memory that is cached for reuse back."""

    def trim(self) -> None:
        """Give page-locked memory back, unless it is little."""

    def resources(self, kernel: Kernel) -> dict[str, int]:
        """What a kernel needs: registers and local bytes of a thread, shared ones of a block."""

    def versions(self) -> dict[str, Any]:
        """Versions of the driver and of what stands between it and this package."""


def incompatible_numpy() -> str | None:
    """Why numba-cuda does not work with the NumPy that is installed; None if it does."""
    if tuple(map(int, np.__version__.split(".")[:2])) < FIRST_NUMPY_TOO_NEW:
        return None
    return f"numba-cuda does not work with NumPy {np.__version__}"


def older_numpy() -> str:
    """What fixes `incompatible_numpy`, as pip understands it."""
    return "numpy<" + ".".join(map(str, FIRST_NUMPY_TOO_NEW))


def full_rate_double(capability: tuple[int, int]) -> bool:
    """Whether a GPU of this compute capability computes float64 at half the rate of float32."""
    return tuple(capability) in FULL_RATE_DOUBLE


def out_of_memory(error: BaseException) -> bool:
    """Whether an error names the driver's or the runtime's code for exhausted memory."""
    if not isinstance(error, Exception):
        return False
    named = type(error).__name__ == "OutOfMemoryError"  # of CuPy
    return named or any(name in str(error) for name in OUT_OF_MEMORY)


def checked(kernel: Kernel, arguments: Sequence[Any]) -> list[Any]:
    """The arguments of a kernel, compared with its signature; scalars get their type.

    A kernel compiled for a signature takes what it is given for what the signature says: an array
    of another type would be read as garbage.

    Raises
    ------
    TypeError
        Another number of arguments (or of parts of a tuple), or an array of another type, dimension
        or layout.
    """
    if len(arguments) != len(kernel.signature):
        raise TypeError(
            f"kernel {kernel.name} takes {len(kernel.signature)} arguments, got {len(arguments)}"
        )
    return [
        _checked(kernel.name, place, kind, value)
        for place, (kind, value) in enumerate(zip(kernel.signature, arguments, strict=True))
    ]


def _checked(name: str, place: int, kind: Any, value: Any) -> Any:
    from .backend import as_dtype, types

    if isinstance(kind, types.BaseTuple):
        parts_of: Any = kind
        kinds: tuple[Any, ...] = tuple(parts_of)
        if len(kinds) != len(value):
            raise TypeError(
                f"kernel {name}, argument {place}: expected {len(kinds)} parts, got {len(value)}"
            )
        parts = [_checked(name, place, k, v) for k, v in zip(kinds, value, strict=True)]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if not isinstance(kind, types.Array):
        return as_dtype(kind).type(value)
    expected = (as_dtype(kind.dtype), kind.ndim)
    found = (np.dtype(value.dtype), value.ndim)
    ordered = kind.layout != "C" or value.flags.c_contiguous
    if found != expected or not ordered:
        raise TypeError(
            f"kernel {name}, argument {place}: expected a {expected[1]}-dimensional array of "
            f"{expected[0]}, got {found[1]} dimensions of {found[0]}"
            + ("" if ordered else ", not contiguous")
        )
    return value


_compiled: dict[tuple[Any, ...], Any] = {}
_compiling = threading.RLock()


def dispatcher(kernel: Kernel, capability: tuple[int, int]) -> Any:
    """The compiled kernel; it is compiled, or read from disk, at its first use in the process."""
    key = (kernel.name, kernel.function, kernel.signature, kernel.fastmath, capability)
    with _compiling:
        if key not in _compiled:
            _compiled[key] = _jitted(kernel)
        return _compiled[key]


def _jitted(kernel: Kernel) -> Any:
    """Compile a kernel for the current GPU, or read what was compiled before."""
    from .backend import kernel_for_gpu

    made_of = fingerprint(kernel.function, kernel.signature, kernel.fastmath)
    # Numba would find code of another kernel with the same file and bytecode.
    return kernel_for_gpu(kernel, None if made_of is None else place("cuda", made_of))


def on_host(array: Any) -> NDArray[Any]:
    """An array of a device (CuPy, or anything with its interfaces) as a NumPy array.

    Raises
    ------
    ImportError
        CuPy is needed for it and not installed.
    """
    interface = hasattr(array, "__cuda_array_interface__")
    if not interface and not _dlpack_of_a_gpu(array):
        return np.asarray(array)
    import cupy

    if not isinstance(array, cupy.ndarray):
        array = cupy.asarray(array) if interface else cupy.from_dlpack(array)
    found: NDArray[Any] = cupy.asnumpy(array)
    return found


def _dlpack_of_a_gpu(array: Any) -> bool:
    if not hasattr(array, "__dlpack_device__"):
        return False
    return int(array.__dlpack_device__()[0]) in (2, 13)  # kDLCUDA, kDLCUDAManaged


class _CupyStream:
    """A stream, as CuPy and as Numba know it."""

    def __init__(self, cupy: Any) -> None:
        from .backend import cuda

        # Of the others' making: it does not wait for the default stream.
        self.cupy = cupy.cuda.Stream(non_blocking=True)
        self.numba = cuda.external_stream(self.cupy.ptr)


class _CupyEvent:
    def __init__(self, event: Any) -> None:
        self._event = event

    def wait(self) -> None:
        self._event.synchronize()


class CupyDevice:
    """A GPU, through CuPy and numba-cuda; see `Device`.

    Raises
    ------
    ImportError
        CuPy or numba-cuda is not installed.
    """

    def __init__(self, number: int = 0) -> None:
        import cupy

        from .backend import cuda

        self.xp = cupy
        self._cuda = cuda
        self.number = number
        self._gpu = cupy.cuda.Device(number)
        properties = cupy.cuda.runtime.getDeviceProperties(number)
        name = properties["name"]
        self.name = name.decode() if isinstance(name, bytes) else str(name)
        self.compute_capability = (int(properties["major"]), int(properties["minor"]))
        self.multiprocessors = int(properties["multiProcessorCount"])
        self.full_rate_double = full_rate_double(self.compute_capability)
        self._pinned = 0  # bytes of page-locked memory since it was given back
        self.clock = 1e3 * float(getattr(self._gpu, "attributes", {}).get("ClockRate", 0.0))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the current GPU of the thread, for CuPy and for Numba."""
        # Both use the primary context of the GPU.
        with self._gpu, self._cuda.gpus[self.number]:
            yield

    def memory(self) -> Memory:
        """Free and total memory; what CuPy's pool holds for reuse counts as free.

        So does what PyTorch's pool holds and does not use: `release` gives it back.  Where another
        pool (RMM) stands in the place of CuPy's, nobody says what it has left: a share of the GPU
        is tried for, and chunks are halved where there is less.
        """
        free, total = self._gpu.mem_info
        free += self.xp.get_default_memory_pool().free_bytes()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            free += torch.cuda.memory_reserved(self.number)
            free -= torch.cuda.memory_allocated(self.number)
        if self._other_pool():
            free = max(free, total // OTHERS_SHARE)
        return Memory(int(free), int(total))

    def _other_pool(self) -> bool:
        """Whether another library allocates for CuPy."""
        owner = getattr(self.xp.cuda.get_allocator(), "__self__", None)
        return owner is not self.xp.get_default_memory_pool()

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether an error of CuPy, of Numba or of the driver says so."""
        return isinstance(error, self.xp.cuda.memory.OutOfMemoryError) or out_of_memory(error)

    def stream(self) -> _CupyStream:
        """A new stream that runs beside the default one."""
        return _CupyStream(self.xp)

    def allocate(self, n_bytes: int, stream: _CupyStream | None) -> Any:
        """Memory from CuPy's pool, which keeps the blocks of each stream apart."""
        with self._current(stream):
            return self.xp.empty(n_bytes, np.uint8)

    def pinned(self, n_bytes: int) -> Bytes:
        """Page-locked memory; plain memory, slower to copy, where the system gives no more."""
        if n_bytes == 0:
            return np.empty(0, np.uint8)
        try:
            block = self.xp.cuda.alloc_pinned_memory(n_bytes)
        except (MemoryError, RuntimeError) as error:
            if not self.out_of_memory(error):
                raise
            return np.empty(n_bytes, np.uint8)
        self._pinned += n_bytes
        return np.frombuffer(block, np.uint8, n_bytes)

    def upload(self, source: Bytes, target: Any, stream: _CupyStream) -> None:
        """Copy host memory to the device."""
        target.set(source, stream=stream.cupy)

    def download(self, source: Any, target: Bytes, stream: _CupyStream) -> None:
        """Copy device memory to the host."""
        source.get(stream=stream.cupy, out=target, blocking=False)

    def work(self, stream: _CupyStream, task: Callable[[], None]) -> None:
        """Run host code with that stream current."""
        with stream.cupy:
            task()

    def launch(
        self, kernel: Kernel, grid: int, arguments: Sequence[Any], stream: _CupyStream
    ) -> None:
        """Launch a kernel with so many blocks."""
        if grid == 0:
            return
        compiled = dispatcher(kernel, self.compute_capability)
        passed = [self._wrapped(value) for value in checked(kernel, arguments)]
        if grid >= FEW_BLOCKS:
            compiled[grid, kernel.block, stream.numba](*passed)
            return
        with _compiling, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Grid size")  # a small batch is no mistake
            compiled[grid, kernel.block, stream.numba](*passed)

    def _wrapped(self, value: Any) -> Any:
        """CuPy's arrays as Numba's, without the wait for a stream that Numba makes by itself."""
        if isinstance(value, tuple):
            parts = [self._wrapped(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if hasattr(value, "__cuda_array_interface__"):
            return self._cuda.as_cuda_array(value, sync=False)
        return value

    def mark(self, stream: _CupyStream) -> Event:
        """An event after all that the stream was given."""
        # Waiting in the driver, not in a loop: other threads may need the processor.
        event = self.xp.cuda.Event(block=True, disable_timing=True)
        event.record(stream.cupy)
        return _CupyEvent(event)

    def follow(self, stream: _CupyStream) -> None:
        """Let a stream go on when what the caller gave to CuPy's current one is done.

        Streams made here do not wait for the default one by themselves.
        """
        event = self.xp.cuda.Event(disable_timing=True)
        event.record(self.xp.cuda.get_current_stream())
        stream.cupy.wait_event(event)

    def synchronize(self) -> None:
        """Wait for all work of the device."""
        self._gpu.synchronize()

    def release(self) -> None:
        """Give what CuPy's pools hold for reuse back to the system, and what PyTorch's does."""
        self.xp.get_default_memory_pool().free_all_blocks()
        self.xp.get_default_pinned_memory_pool().free_all_blocks()
        self._pinned = 0
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def trim(self) -> None:
        """Give page-locked memory back, which other programs need, unless it is little."""
        if self._pinned > PINNED_KEPT:
            self.xp.get_default_pinned_memory_pool().free_all_blocks()
            self._pinned = 0

    def resources(self, kernel: Kernel) -> dict[str, int]:
        """What the driver says of the compiled kernel."""
        with self.active():
            compiled = dispatcher(kernel, self.compute_capability)
            asked = {
                "registers": compiled.get_regs_per_thread(),
                "local": compiled.get_local_mem_per_thread(),
                "shared": compiled.get_shared_mem_per_block(),
            }
        return {
            name: int(max(value.values()) if isinstance(value, dict) else value)
            for name, value in asked.items()
        }

    def versions(self) -> dict[str, Any]:
        """The driver's, the runtime's and CuPy's."""
        runtime = self.xp.cuda.runtime
        return {
            "driver": int(runtime.driverGetVersion()),
            "runtime": int(runtime.runtimeGetVersion()),
            "cupy": str(self.xp.__version__),
        }

    @contextmanager
    def _current(self, stream: _CupyStream | None) -> Iterator[None]:
        with nullcontext() if stream is None else stream.cupy:
            yield
