"""Global and shared memory of a launch, and the checks of every access.

Both lie in one array of bytes, the arena: global memory first (its addresses are offsets into the
arena), then the shared memory of each block. What the checks need to know is kept per unit, which
is the width of the kernel's narrowest access.

Two accesses by different threads to one unit, at least one of them a write, are a race unless both
threads are of one block and a barrier lies between the accesses. Shuffles and votes order nothing.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numba
import numpy as np

from tests.gpu.emulator.parse import DTYPES, SHARED_GAP

__all__ = ["READ", "WARP", "WRITE", "Memory", "OutOfBoundsError", "PtxError"]

WARP = 32
READ, WRITE = 0, 1

_GLOBAL_START = 1 << 16  # address of the first array; everything below is unmapped
_GLOBAL_GAP = 4096
_UNINITIALISED = 0xCB  # fill of shared memory before the kernel writes it

# State of a unit.
_MAPPED, _INITIALISED, _READ_ONLY = 1, 2, 4

# Columns of the log of accesses: one row per unit. The epoch is the number of barriers that the
# block had passed, from 1; 0: never.
_W_THREAD, _W_EPOCH, _W_PLACE = 0, 1, 2  # the last write
_R_BLOCK, _R_EPOCH, _R_LANES, _R_THREAD, _R_PLACE = 3, 4, 5, 6, 7  # the last reads
_LOG_COLUMNS = 8
_NO_BLOCK, _SEVERAL_BLOCKS = 0, -1  # in _R_BLOCK, which else is a block + 1

# What the compiled function returns.
_OUT_OF_BOUNDS, _MISALIGNED, _UNREAD, _WRITES_READ_ONLY, _RACE = 1, 2, 3, 4, 5
_SAYS = {
    _OUT_OF_BOUNDS: "{} out of bounds", _MISALIGNED: "misaligned {} access",
    _UNREAD: "uninitialised {} memory", _WRITES_READ_ONLY: "read-only {} memory",
    _RACE: "{} memory race",
}  # fmt: skip


class PtxError(RuntimeError):
    """The kernel does something wrong."""


class OutOfBoundsError(PtxError, IndexError):
    """An access outside the arrays of its space."""


@numba.njit(cache=True, inline="always")
def _races(log, unit, writes, block, lane, epoch, failure):
    """Whether an access races with an earlier one, which `failure` then names."""
    thread = block * WARP + lane
    writer, earlier = log[unit, _W_THREAD], log[unit, _W_EPOCH]
    if earlier and writer != thread and (writer // WARP != block or earlier == epoch):
        failure[3], failure[4], failure[5] = WRITE, writer, log[unit, _W_PLACE]
        return True
    if not writes or log[unit, _R_BLOCK] == _NO_BLOCK:
        return False
    others = log[unit, _R_LANES] & ~(np.int64(1) << lane)
    if log[unit, _R_BLOCK] == block + 1 and (log[unit, _R_EPOCH] < epoch or not others):
        return False
    failure[3], failure[4], failure[5] = READ, log[unit, _R_THREAD], log[unit, _R_PLACE]
    return True


@numba.njit(cache=True, inline="always")
def _note(log, unit, writes, block, lane, epoch, place):
    """Note an access that does not race."""
    thread = block * WARP + lane
    if writes:  # all that was noted before comes before this
        log[unit, _W_THREAD], log[unit, _W_EPOCH], log[unit, _W_PLACE] = thread, epoch, place
        log[unit, _R_BLOCK] = _NO_BLOCK
        return
    known, bit = log[unit, _R_BLOCK], np.int64(1) << lane
    if known == block + 1 and log[unit, _R_EPOCH] == epoch:
        log[unit, _R_LANES] |= bit
    elif known in (_NO_BLOCK, block + 1):
        log[unit, _R_BLOCK], log[unit, _R_EPOCH], log[unit, _R_LANES] = block + 1, epoch, bit
    else:
        log[unit, _R_BLOCK] = _SEVERAL_BLOCKS
    log[unit, _R_THREAD], log[unit, _R_PLACE] = thread, place


@numba.njit(cache=True, nogil=True)
def _access(
    shared, writes, addresses, offset, width, align, place, threads, first_block, epochs,
    start, stride, shift, index, state, log, failure,
):  # fmt: skip
    """Check an access by some threads and find where it lies in the arena.

    `index` gets for each thread the element, of `align` bytes, in the arena. In case of an error,
    its kind is returned and `failure` is filled.
    """
    align_shift = 0
    while 1 << align_shift < align:
        align_shift += 1
    for i in range(len(threads)):
        local = threads[i]
        slot, lane = local // WARP, local % WARP
        block, epoch = first_block + slot, epochs[slot]
        address = np.int64(addresses[local]) + offset
        failure[0], failure[1] = local, address
        at, limit = (address + start + slot * stride, stride) if shared else (address, start)
        if address < 0 or address + width > limit:
            return _OUT_OF_BOUNDS
        low, high = at >> shift, (at + width - 1) >> shift
        for unit in range(low, high + 1):
            if not state[unit] & _MAPPED:
                return _OUT_OF_BOUNDS
        if address & (width - 1):
            return _MISALIGNED
        index[i] = at >> align_shift
        for unit in range(low, high + 1):
            if writes and state[unit] & _READ_ONLY:
                return _WRITES_READ_ONLY
            if writes:
                state[unit] |= _INITIALISED
            elif not state[unit] & _INITIALISED:
                return _UNREAD
            if state[unit] & _READ_ONLY:
                continue
            if _races(log, unit, writes, block, lane, epoch, failure):
                return _RACE
            _note(log, unit, writes, block, lane, epoch, place)
    return 0


@dataclass
class _Segment:
    """A stretch of the host's memory that global memory has a copy of."""

    start: int  # on the host
    end: int
    address: int = 0  # in the emulator


class Memory:
    """The memory of one launch.

    Parameters
    ----------
    program : Program
        The kernel; says how much shared memory there is.
    num_slots : int
        How many blocks run at a time.
    arrays : list of numpy.ndarray
        Global memory.
    """

    def __init__(self, program, num_slots, arrays):
        self.program, self.num_slots, self.arrays = program, num_slots, arrays
        self.index = np.zeros(num_slots * WARP, np.int64)
        self.failure = np.zeros(6, np.int64)
        self.epochs = np.ones(num_slots, np.int64)
        self.shift = {1: 0, 2: 1, 4: 2, 8: 3}[program.unit]
        self.segments = _segments(arrays)
        end = _GLOBAL_START
        for segment in self.segments:
            segment.address = end + segment.start % 16  # keeps the alignment
            end = -(-(segment.address + segment.end - segment.start) // 256) * 256 + _GLOBAL_GAP
        self.start = end
        self.stride = -(-(program.shared_end + SHARED_GAP) // 64) * 64
        total = end + self.stride * num_slots
        self.arena = np.zeros(total, np.uint8)
        self.state = np.zeros(total // program.unit, np.uint8)
        # Not touched, and hence not really there, where nothing is accessed.
        self.log = np.zeros((total // program.unit, _LOG_COLUMNS), np.int64)
        self.views = {
            name: self.arena.view(dtype) for name, dtype in DTYPES.items() if name != "pred"
        }
        for segment in self.segments:
            size = segment.end - segment.start
            self.arena[segment.address : segment.address + size] = _host_bytes(segment)
        for array in arrays:
            if array.size:
                state = _MAPPED | _INITIALISED | (0 if array.flags.writeable else _READ_ONLY)
                self._map(self.state, self.address_of(array), array.nbytes, state)
        self.fresh = np.zeros(self.stride // program.unit, np.uint8)
        for offset, size in program.shared.values():
            self._map(self.fresh, offset, size, _MAPPED)

    def _map(self, states, address, size, state):
        unit = self.program.unit
        states[-(-address // unit) : (address + size) // unit] |= state

    def begin(self, first_block):
        """Make shared memory fresh, for the blocks from `first_block` on."""
        self.first_block = first_block
        self.epochs[:] = 1
        self.arena[self.start :] = _UNINITIALISED
        self.state[self.start // self.program.unit :] = np.tile(self.fresh, self.num_slots)
        self.log[self.start // self.program.unit :] = 0

    def address_of(self, array):
        """Address of an array's first element."""
        if array.size == 0:
            return _GLOBAL_START - 256  # nothing is mapped there
        if not array.flags.c_contiguous:
            raise NotImplementedError("an array with gaps")
        pointer = array.__array_interface__["data"][0]
        segment = next(s for s in self.segments if s.start <= pointer < s.end)
        return segment.address + pointer - segment.start

    def copy_back(self):
        """Copy global memory back into the arrays."""
        for array in self.arrays:
            if array.flags.writeable and array.size:
                array[...] = np.ndarray(
                    array.shape, array.dtype, self.arena, self.address_of(array)
                )

    def locate(self, shared, kind, addresses, offset, width, align, place, threads):
        """Check an access; return the elements, of `align` bytes, that it means."""
        code = _access(
            shared, kind == WRITE, addresses, offset, width, align, place, threads,
            self.first_block, self.epochs, self.start, self.stride, self.shift, self.index,
            self.state, self.log, self.failure,
        )  # fmt: skip
        if code:
            self._fail(code, shared, kind, width, place)
        return self.index[: len(threads)]

    def _fail(self, code, shared, kind, width, place):
        local, address, _, earlier_kind, earlier, earlier_place = (int(x) for x in self.failure)
        verb = "writes" if kind == WRITE else "reads"
        who = _name(self.first_block * WARP + local)
        message = f"{_SAYS[code].format('shared' if shared else 'global')}: {who} {verb} {width} "
        message += f"bytes at {self._where(shared, address)}"
        line = f"\n    {self.program.describe(place)}"
        if code == _OUT_OF_BOUNDS:
            raise OutOfBoundsError(message + line)
        if code == _RACE:
            did = "wrote" if earlier_kind == WRITE else "read"
            message += f", which {_name(earlier)} {did}, and no barrier orders them"
            line += f"\n    {self.program.describe(earlier_place)}"
        raise PtxError(message + line)

    def _where(self, shared, address):
        """An address, with the variable or argument at or before it."""
        if shared:
            known = [(start, name) for name, (start, _) in self.program.shared.items()]
        else:
            known = [(self.address_of(a), f"array argument {i}") for i, a in enumerate(self.arrays)]
        before = [(start, name) for start, name in known if start <= address]
        if not before:
            return hex(address)
        start, name = max(before)
        return f"byte {address - start} of {name}"


def _name(thread):
    return f"thread {thread % WARP} of block {thread // WARP}"


def _segments(arrays):
    """Stretches of the host's memory in which the arrays lie; what overlaps is one stretch."""
    segments = []
    bounds = sorted(np.lib.array_utils.byte_bounds(array) for array in arrays if array.size)
    for low, high in bounds:
        if segments and low < segments[-1].end:
            segments[-1].end = max(segments[-1].end, high)
        else:
            segments.append(_Segment(low, high))
    return segments


def _host_bytes(segment):
    size = segment.end - segment.start
    return np.frombuffer((ctypes.c_uint8 * size).from_address(segment.start), np.uint8)
