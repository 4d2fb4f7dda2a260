"""A device on NumPy arrays, for tests where there is no GPU: the methods of `device.Device`.

Its streams run late and its memory runs out.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossfit.kernels.gpu.device import Event, Memory, full_rate_double
from lossfit.kernels.gpu.spec import Kernel

Bytes = NDArray[np.uint8]


class SimulatedOutOfMemory(MemoryError):
    """The memory of a simulated device is exhausted."""


class _SimulatedStream:
    """Work that was given and not done yet."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def run(self, count: int | None = None) -> None:
        while self.waiting and count != 0:
            self.waiting.popleft()()
            count = None if count is None else count - 1


class _SimulatedEvent:
    def __init__(self, stream: _SimulatedStream) -> None:
        self._stream = stream
        self._reached = False
        stream.waiting.append(self._reach)

    def _reach(self) -> None:
        self._reached = True

    def wait(self) -> None:
        while not self._reached:
            self._stream.run(1)


class SimulatedDevice:
    """A device on NumPy arrays; see `Device`.

    Streams run as late as they may: only when an event in them is waited for, so that host memory
    that is touched too early spoils the results.  Kernels are launched by the classes that inherit
    from it.

    Parameters
    ----------
    number, name, compute_capability, multiprocessors
        What it says of itself.
    memory : int
        Bytes that can be allocated.
    claimed : int, optional
        Bytes that it says are free when nothing is allocated, if not `memory`: others may take
        memory between the planning and the allocation.
    """

    def __init__(
        self,
        number: int = 0,
        *,
        name: str = "simulated",
        compute_capability: tuple[int, int] = (9, 0),
        multiprocessors: int = 4,
        memory: int = 1 << 28,
        claimed: int | None = None,
    ) -> None:
        self.number = number
        self.name = name
        self.compute_capability = compute_capability
        self.multiprocessors = multiprocessors
        self.full_rate_double = full_rate_double(compute_capability)
        self.clock = 1e9
        self.xp = np
        self._memory = memory
        self._claimed = memory if claimed is None else claimed
        self.used = 0
        self.refused = 0  # allocations that did not fit
        self.most_streams = 0  # streams that had work at the same time
        self.launches: list[tuple[str, int, int]] = []  # name, grid, block
        self._streams: list[_SimulatedStream] = []
        self._lock = threading.Lock()

    def active(self) -> AbstractContextManager[Any]:
        """Nothing to do."""
        return nullcontext()

    def memory(self) -> Memory:
        """What it claims."""
        return Memory(max(0, self._claimed - self.used), self._claimed)

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether the error is its own."""
        return isinstance(error, SimulatedOutOfMemory)

    def stream(self) -> _SimulatedStream:
        """A stream that runs late."""
        self._streams.append(_SimulatedStream())
        return self._streams[-1]

    def allocate(self, n_bytes: int, stream: _SimulatedStream | None) -> Any:
        """Memory filled with bytes that make no sensible number."""
        with self._lock:
            if self.used + n_bytes > self._memory:
                self.refused += 1
                raise SimulatedOutOfMemory(f"{n_bytes} bytes of {self._memory - self.used}")
            self.used += n_bytes
        array = np.full(n_bytes, 0xFF, np.uint8)
        weakref.finalize(array, self._freed, n_bytes)
        return array

    def _freed(self, n_bytes: int) -> None:
        self.used -= n_bytes

    def pinned(self, n_bytes: int) -> Bytes:
        """Plain memory."""
        return np.full(n_bytes, 0xFF, np.uint8)

    def upload(self, source: Bytes, target: Any, stream: _SimulatedStream) -> None:
        """Copy, when the stream gets there."""
        self._give(stream, lambda: np.copyto(target, source))

    def download(self, source: Any, target: Bytes, stream: _SimulatedStream) -> None:
        """Copy, when the stream gets there."""
        self._give(stream, lambda: np.copyto(target, source))

    def work(self, stream: _SimulatedStream, task: Callable[[], None]) -> None:
        """Run host code, when the stream gets there."""
        self._give(stream, task)

    def _give(self, stream: _SimulatedStream, task: Callable[[], None]) -> None:
        stream.waiting.append(task)
        busy = sum(bool(s.waiting) for s in self._streams)
        self.most_streams = max(self.most_streams, busy)

    def mark(self, stream: _SimulatedStream) -> Event:
        """An event after all that the stream was given."""
        return _SimulatedEvent(stream)

    def follow(self, stream: _SimulatedStream) -> None:
        """Nothing to do: what is not in a stream is done at once."""

    def synchronize(self) -> None:
        """Run all that waits."""
        for stream in self._streams:
            stream.run()

    def release(self) -> None:
        """Nothing is cached."""

    def trim(self) -> None:
        """Nothing is cached."""

    def resources(self, kernel: Kernel) -> dict[str, int]:
        """It has no registers."""
        raise NotImplementedError("a simulated device does not say what kernels need")

    def versions(self) -> dict[str, Any]:
        """There is no driver."""
        return {}
