"""Run a job on GPUs: chunks, streams, pinned buffers, memory that runs out, several GPUs.

A `Job` says what its runs need and what to launch for some of them; `run` does the rest.  A chunk
goes through a slot: a stream with buffers of its own.  While one slot computes, the next is filled
and copied to the GPU and the one before is copied back, so that copies overlap the computation.

Results do not depend on the chunks, because a run is computed by itself, by a block of its own.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chunks import MOST_POINTS, Limits, Need, Spec, plan, size, split, views
from .device import Device
from .spec import Kernel

__all__ = ["Chunk", "DeviceMemoryError", "Job", "Options", "built", "run"]

log = logging.getLogger("lossfit")

BLOCKS_PER_MULTIPROCESSOR = 32  # blocks of a warp that one holds at a time
RUN_COST = 500.0  # of a run whatever its length (draws, summaries), in points


class DeviceMemoryError(MemoryError):
    """One run, or the results that stay on the GPU, exceed its memory."""


@dataclass(frozen=True)
class Options:
    """How a job is run.

    Attributes
    ----------
    slots : int
        Chunks in flight: one is filled, one computed, one copied back.
    share : float
        Of the free memory, for all slots together.
    transfer : int
        Most bytes of a chunk that are copied in one direction: what takes the bus much longer
        than a launch is enough, pinned memory is dear, and a batch of 10,000 runs shall have
        chunks enough that filling, copies and kernels overlap.
    waves : int
        Most runs of a chunk, in multiples of what the GPU computes at a time.
    runs : int, optional
        Most runs of a chunk, whatever the GPU.
    """

    slots: int = 3
    share: float = 0.5
    transfer: int = 40 << 20
    waves: int = 16
    runs: int | None = None


@dataclass(eq=False)
class Chunk:
    """Some runs on a GPU.

    Attributes
    ----------
    start, stop : int
        The runs.
    device : Device
    stream : object
        Of the device.
    constants, inputs, scratch, outputs, kept : list of device arrays
        As the job specified them.
    """

    start: int
    stop: int
    device: Device
    stream: Any
    constants: Sequence[Any]
    inputs: list[Any]
    scratch: list[Any]
    outputs: list[Any]
    kept: list[Any]

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def xp(self) -> Any:
        """The array module of the device; its operations run on the chunk's stream."""
        return self.device.xp

    def launch(self, kernel: Kernel, *arguments: Any, grid: int | None = None) -> None:
        """Launch a kernel with a block for each run."""
        blocks = len(self) if grid is None else grid
        self.device.launch(kernel, blocks, arguments, self.stream)


class Job(ABC):
    """A batch of runs to compute; all methods but `launch` see host arrays.

    With several GPUs, methods are called from several threads, for different runs.  All must be
    pure but `collect` and `keep`: a chunk that did not fit is asked for again in parts.

    Attributes
    ----------
    n_runs : int
    """

    n_runs: int

    def label(self, run: int) -> str:
        """What to call a run in messages."""
        return f"run {run}"

    @abstractmethod
    def points(self, start: int, stop: int) -> int:
        """Points of some runs."""

    def constants(self) -> Sequence[NDArray[Any]]:
        """Arrays that all runs use, such as tables; copied to each GPU once."""
        return ()

    @abstractmethod
    def inputs(self, start: int, stop: int) -> Sequence[Spec]:
        """Arrays that some runs need on the GPU."""

    @abstractmethod
    def fill(self, start: int, stop: int, inputs: Sequence[NDArray[Any]]) -> None:
        """Write the inputs of some runs; the arrays are pinned memory full of old values."""

    def scratch(self, start: int, stop: int) -> Sequence[Spec]:
        """Arrays that the kernels of some runs need for themselves, not set to anything."""
        return ()

    @abstractmethod
    def outputs(self, start: int, stop: int) -> Sequence[Spec]:
        """Arrays of results that come back."""

    def kept(self, start: int, stop: int) -> Sequence[Spec]:
        """Arrays of results that stay on the GPU."""
        return ()

    @abstractmethod
    def launch(self, chunk: Chunk) -> None:
        """Launch kernels (and array operations) that fill the outputs from the inputs.

        Nothing here may wait for the GPU.
        """

    @abstractmethod
    def collect(self, start: int, stop: int, outputs: Sequence[NDArray[Any]]) -> None:
        """Take the results of some runs, which are overwritten afterwards; copy them.

        Called once for each run; in order, on each GPU.
        """

    def keep(self, start: int, stop: int, device: Device, kept: Sequence[Any]) -> None:
        """Take the results of some runs that stay on the GPU; called before their `collect`."""
        raise NotImplementedError  # where `kept` asks for any

    def cost(self, start: int, stop: int) -> float:
        """Work of some runs, by which they are split over several GPUs."""
        return self.points(start, stop) + RUN_COST * (stop - start)


@cache
def built(build: Callable[..., Kernel], *choices: Any) -> Kernel:
    """A kernel of a module's ``build``, made once a process for the same choices.

    Compiled code is found by the kernel's function, so that a kernel built anew is compiled anew.
    """
    return build(*choices)


def run(
    job: Job,
    devices: Sequence[Device],
    *,
    progress: Callable[[int], None] | None = None,
    options: Options | None = None,
) -> None:
    """Run a job on one or several GPUs.

    Parameters
    ----------
    job : Job
        Gets its results by `Job.collect` and `Job.keep`.
    devices : sequence of Device
        Different GPUs share the runs by their numbers of multiprocessors.
    progress : callable, optional
        Called with the number of runs that were finished.
    options : Options, optional

    Raises
    ------
    DeviceMemoryError
        A single run, or what stays on a GPU, exceeds its memory; the message names the run and
        the bytes.
    """
    if job.n_runs == 0:
        return
    options = options or Options()
    told = threading.Lock()
    stop = threading.Event()

    def done(count: int) -> None:
        if progress is not None:
            with told:
                progress(count)

    if len(devices) == 1:
        _run_on(job, devices[0], 0, job.n_runs, options, done, stop)
        return
    weights = [float(device.multiprocessors) for device in devices]
    parts = split(job.cost, job.n_runs, weights)
    with ThreadPoolExecutor(len(devices), thread_name_prefix="lossfit-gpu") as pool:
        futures = [
            pool.submit(_run_on, job, device, first, last, options, done, stop)
            for device, (first, last) in zip(devices, parts, strict=True)
            if first < last
        ]
        try:
            for future in futures:
                future.result()
        finally:
            stop.set()  # where one failed, the others need not go on


class _Slot:
    """A stream with the buffers of the chunk that it works on."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.stream = device.stream()
        self.up = np.empty(0, np.uint8)
        self.down = np.empty(0, np.uint8)
        self.block: Any = None
        self.chunk: Chunk | None = None

    def make_room(self, n_up: int, n_block: int, n_down: int) -> None:
        """Buffers of at least these sizes, the old ones where they do."""
        if self.up.size < n_up:
            self.up = self.device.pinned(n_up)
        if self.down.size < n_down:
            self.down = self.device.pinned(n_down)
        if self.block is None or self.block.size < n_block:
            self.block = None  # freed first
            self.block = self.device.allocate(n_block, self.stream)

    def drop(self) -> None:
        """Free the memory on the GPU."""
        self.block = None


class _Gpu:
    """One GPU at work on a range of runs."""

    def __init__(
        self, job: Job, device: Device, options: Options, done: Callable[[int], None]
    ) -> None:
        self.job = job
        self.device = device
        self.options = options
        self.done = done
        self.free: list[_Slot] = []
        self.busy: deque[_Slot] = deque()
        self.constants: list[Any] = []

    def need(self, start: int, stop: int) -> Need:
        """What a chunk takes."""
        job = self.job
        up, down = size(job.inputs(start, stop)), size(job.outputs(start, stop))
        scratch = size(job.scratch(start, stop))
        return Need(up + scratch + down, max(up, down), job.points(start, stop))

    def limits(self, first: int, last: int) -> Limits:
        """What a chunk may take, from the memory that is free now."""
        free = self.device.memory().free
        staying = size(self.job.kept(first, last))
        if staying > free:
            raise DeviceMemoryError(
                f"what stays on {self.device.name} for {last - first:,} runs needs "
                f"{_gib(staying)}, {_gib(free)} are free"
            )
        room = int((free - staying) * self.options.share) // self.options.slots
        runs = self.options.waves * BLOCKS_PER_MULTIPROCESSOR * self.device.multiprocessors
        if self.options.runs is not None:
            runs = min(runs, self.options.runs)
        return Limits(room, self.options.transfer, runs)

    def run(self, first: int, last: int, stop: threading.Event) -> None:
        """Compute the runs ``first`` to ``last`` (exclusive)."""
        self.upload_constants()
        limits = self.limits(first, last)
        queue = deque(plan(self.need, first, last, limits))
        log.debug("%s: %d runs in %d chunks", self.device.name, last - first, len(queue))
        self.free = [_Slot(self.device) for _ in range(min(self.options.slots, len(queue)))]
        while queue and not stop.is_set():
            start, end = queue[0]
            # A run that is large for a chunk has the GPU for itself.
            alone = not limits.allow(self.need(start, end), end - start)
            if alone:
                self.finish_all()
            elif not self.free:
                self.finish_one()
            try:
                if alone:
                    self.clear()
                    self.check_fits(start)
                self.start(start, end)
            except Exception as error:
                if not self.device.out_of_memory(error):
                    raise
                shortage = error.with_traceback(None)  # which holds on to buffers
            else:
                queue.popleft()
                continue
            alone = len(self.busy) == 1  # nothing but the chunk itself
            self.finish_all()
            self.clear()
            if end - start == 1:
                if alone:
                    raise self.too_large(start) from shortage
                # Next time it has the GPU for itself.
                limits = limits._replace(device=self.need(start, end).device - 1)
            else:
                half = self.need(start, end).device // 2
                limits = limits._replace(device=half, runs=-(-(end - start) // 2))
            log.debug("%s: out of memory at %d runs", self.device.name, end - start)
            queue = deque(plan(self.need, start, last, limits))
        self.finish_all()

    def upload_constants(self) -> None:
        """Copy what all runs use."""
        arrays = [np.ascontiguousarray(array) for array in self.job.constants()]
        specs = [Spec(array.shape, array.dtype) for array in arrays]
        if not specs:
            return
        stream = self.device.stream()
        host = self.device.pinned(size(specs))
        for view, array in zip(views(host, specs), arrays, strict=True):
            view[...] = array
        block = self.device.allocate(size(specs), stream)
        if host.size:
            self.device.upload(host, block, stream)
        self.device.mark(stream).wait()  # before other streams read them
        self.constants = views(block, specs)

    def start(self, start: int, stop: int) -> None:
        """Put a chunk on its way, in a free slot."""
        job, device = self.job, self.device
        slot = self.free.pop()
        self.busy.append(slot)  # whatever happens: its stream may have work
        inputs, scratch = job.inputs(start, stop), job.scratch(start, stop)
        outputs, kept = job.outputs(start, stop), job.kept(start, stop)
        n_in, n_out = size(inputs), size(outputs)
        # Inputs, outputs, scratch: one allocation and one copy each way.
        n_block = n_in + n_out + size(scratch)
        slot.make_room(n_in, n_block, n_out)
        staying = device.allocate(size(kept), None) if kept else None
        job.fill(start, stop, views(slot.up[:n_in], inputs))
        if n_in:
            device.upload(slot.up[:n_in], slot.block[:n_in], slot.stream)
        chunk = Chunk(
            start=start,
            stop=stop,
            device=device,
            stream=slot.stream,
            constants=self.constants,
            inputs=views(slot.block[:n_in], inputs),
            outputs=views(slot.block[n_in : n_in + n_out], outputs),
            scratch=views(slot.block[n_in + n_out : n_block], scratch),
            kept=views(staying, kept) if kept else [],
        )
        device.work(slot.stream, lambda: job.launch(chunk))
        if n_out:
            device.download(slot.block[n_in : n_in + n_out], slot.down[:n_out], slot.stream)
        slot.chunk = chunk

    def finish_one(self) -> None:
        """Wait for the oldest chunk and hand its results over."""
        slot = self.busy.popleft()
        self.free.append(slot)
        self.device.mark(slot.stream).wait()
        chunk, slot.chunk = slot.chunk, None
        if chunk is None:  # it did not get as far
            return
        if chunk.kept:
            self.job.keep(chunk.start, chunk.stop, self.device, chunk.kept)
        outputs = self.job.outputs(chunk.start, chunk.stop)
        down = slot.down[: size(outputs)]
        self.job.collect(chunk.start, chunk.stop, views(down, outputs))
        self.done(len(chunk))

    def finish_all(self) -> None:
        """Wait for all chunks."""
        while self.busy:
            self.finish_one()

    def clear(self) -> None:
        """Free the buffers of all slots, which are idle."""
        for slot in self.free:
            slot.drop()
        self.device.release()

    def check_fits(self, run: int) -> None:
        """Whether a run fits, with nothing else on the GPU."""
        need = self.need(run, run + 1)
        staying = size(self.job.kept(run, run + 1))
        if need.points > MOST_POINTS:
            raise DeviceMemoryError(
                f"{self.job.label(run)} has {need.points:,} points, more than {MOST_POINTS:,}"
            )
        if need.device + staying > self.device.memory().free:
            raise self.too_large(run)

    def too_large(self, run: int) -> DeviceMemoryError:
        """The error for a run that no memory is found for."""
        need = self.need(run, run + 1).device + size(self.job.kept(run, run + 1))
        free = self.device.memory().free
        return DeviceMemoryError(
            f"{self.job.label(run)} needs {_gib(need)} on {self.device.name}, where "
            f"{_gib(free)} are free"
        )


def _run_on(
    job: Job,
    device: Device,
    first: int,
    last: int,
    options: Options,
    done: Callable[[int], None],
    stop: threading.Event,
) -> None:
    with device.active():
        device.synchronize()  # what was freed before may be in use until then
        try:
            _Gpu(job, device, options, done).run(first, last, stop)
            device.trim()
        except BaseException:
            stop.set()
            with suppress(Exception):  # the first error is the one to tell
                device.synchronize()  # no buffer may be freed while a copy runs
            raise


def _gib(n_bytes: int) -> str:
    """Bytes in words."""
    if n_bytes < 1 << 20:
        return f"{n_bytes:,} bytes"
    if n_bytes < 1 << 30:
        return f"{n_bytes / (1 << 20):,.0f} MiB"
    return f"{n_bytes / (1 << 30):,.1f} GiB"
