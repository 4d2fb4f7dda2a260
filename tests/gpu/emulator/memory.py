"""Global, shared and local memory of a launch, and the checks of every access.

All three lie in one array of bytes, the arena: global memory first (its addresses are offsets into
the arena), then the shared memory of each block, then the local memory of each thread. What the
checks need to know is kept per unit, which is the width of the kernel's narrowest access.

Two accesses by different threads to one unit, at least one of them a write, are a race unless one
is known to come before the other: both threads are of one block and a block barrier lies between
the accesses, or both are of one warp and a chain of warp barriers leads from one thread to the
other. Shuffles and fences order nothing. Atomics race with plain accesses, not with one another;
volatile and relaxed reads race with plain writes only.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numba
import numpy as np

from tests.gpu.emulator.parse import DTYPES

__all__ = ["Memory", "OutOfBoundsError", "PtxError"]

WARP = 32
SHARED_BASE = 1 << 44  # generic addresses from here on are shared memory ...
LOCAL_BASE = 1 << 45  # ... and from here on local memory
SPACES = {"generic": 0, "global": 1, "shared": 2, "local": 3, "const": 1}
READ, WRITE, ATOMIC, STRONG_READ = 0, 1, 2, 3  # a strong read: volatile, relaxed or acquire

_GLOBAL_START = 1 << 16  # address of the first global array; everything below is unmapped
_GLOBAL_GAP = 4096
_SHARED_GAP = 64  # unmapped bytes between the arrays in shared and in local memory
_UNINITIALISED = 0xCB  # fill of shared and local memory before the kernel writes it

# State of a unit.
_MAPPED, _INITIALISED, _READ_ONLY = 1, 2, 4

# Columns of the log of accesses: one row per unit of global and shared memory. 0: never. The epoch
# is the number of block barriers that the block had passed, the time that of the warp's barriers.
_W_THREAD, _W_EPOCH, _W_TIME, _W_PC = 0, 1, 2, 3  # the last write: thread + 1, ...
_A_THREAD, _A_EPOCH, _A_TIME, _A_PC = 4, 5, 6, 7  # the last atomic access
_R_WARP, _R_LANES, _R_EPOCH, _R_TIME, _R_THREAD, _R_PC = 8, 9, 10, 11, 12, 13  # the last reads
_LOG_COLUMNS = 14
_NONE, _SEVERAL_WARPS, _SEVERAL_BLOCKS = 0, -1, -2  # in _R_WARP, which else is a warp

# Entries of the layout, which tells the compiled functions below where things lie.
_END, _SHARED_START, _SHARED_STRIDE, _LOCAL_START, _LOCAL_STRIDE = 0, 1, 2, 3, 4
_SHIFT, _FIRST_THREAD, _CHECKS = 5, 6, 7
_CHECK_SHARED, _CHECK_GLOBAL, _CHECK_STRICT, _CHECK_UNINITIALISED = 1, 2, 4, 8

# Columns of the table of running threads: place of the block among those that run; numbers of the
# block and (from 1) of the warp in the grid; lane; epoch and time of now; and, for each lane of the
# warp, the time up to which this thread is known to come after that lane.
_SLOT, _BLOCK, _WARP, _LANE, _EPOCH, _TIME, _CLOCKS = 0, 1, 2, 3, 4, 5, 6

# What the compiled function returns.
_OK, _OUT_OF_BOUNDS, _MISALIGNED, _UNREAD, _WRITES_READ_ONLY, _RACE = 0, 1, 2, 3, 4, 5


class PtxError(RuntimeError):
    """The kernel does something wrong."""


class OutOfBoundsError(PtxError, IndexError):
    """An access outside the arrays of its space."""


@numba.njit(cache=True, inline="always")
def _before(thread, epoch, time, local, first, table):
    """Whether an earlier access by `thread` is known to come before one by thread `local` now."""
    other = thread - first
    if other < 0 or table[other, _BLOCK] != table[local, _BLOCK]:
        return False
    if table[local, _EPOCH] > epoch:
        return True
    if table[other, _WARP] != table[local, _WARP]:
        return False
    return other == local or table[local, _CLOCKS + table[other, _LANE]] > time


@numba.njit(cache=True, inline="always")
def _reads_before(log, unit, local, first, table):
    """Whether all reads of a unit are known to come before an access by thread `local` now."""
    if log[unit, _R_WARP] == _NONE:
        return True
    reader = log[unit, _R_THREAD] - 1 - first
    if log[unit, _R_WARP] == _SEVERAL_BLOCKS or reader < 0:
        return False
    if table[reader, _BLOCK] != table[local, _BLOCK]:
        return False
    if table[local, _EPOCH] > log[unit, _R_EPOCH]:
        return True
    if log[unit, _R_WARP] != table[local, _WARP]:
        return False
    for lane in range(WARP):
        reads = log[unit, _R_LANES] >> lane & 1 and lane != table[local, _LANE]
        if reads and table[local, _CLOCKS + lane] <= log[unit, _R_TIME]:
            return False
    return True


@numba.njit(cache=True, inline="always")
def _log_read(log, unit, local, pc, first, table):
    """Note a read of a unit."""
    warp, epoch, time = table[local, _WARP], table[local, _EPOCH], table[local, _TIME]
    bit = np.int32(1) << table[local, _LANE]
    known = log[unit, _R_WARP]
    if known == warp and log[unit, _R_EPOCH] == epoch and log[unit, _R_TIME] == time:
        log[unit, _R_LANES] |= bit  # the common case: lanes of one warp read one unit
    elif _reads_before(log, unit, local, first, table):
        log[unit, _R_WARP] = warp
        log[unit, _R_LANES] = bit
    else:
        reader = log[unit, _R_THREAD] - 1 - first
        if known == _SEVERAL_BLOCKS or reader < 0 or table[reader, _BLOCK] != table[local, _BLOCK]:
            log[unit, _R_WARP] = _SEVERAL_BLOCKS
        elif known != warp:
            log[unit, _R_WARP] = _SEVERAL_WARPS
        else:
            log[unit, _R_LANES] |= bit
    log[unit, _R_EPOCH] = epoch
    log[unit, _R_TIME] = time
    log[unit, _R_THREAD] = first + local + 1
    log[unit, _R_PC] = pc


@numba.njit(cache=True, nogil=True)
def _access(
    space, kind, addresses, offset, width, align, pc, threads,
    index, state, log, layout, table, traffic, failure,
):  # fmt: skip
    """Check an access by some threads and find where it lies in the arena.

    `index` gets for each thread the element, of `align` bytes, in the arena. In case of an error,
    its kind is returned and `failure` is filled.
    """
    shift, checks, first = layout[_SHIFT], layout[_CHECKS], layout[_FIRST_THREAD]
    writes = kind in (WRITE, ATOMIC)
    strong = kind in (ATOMIC, STRONG_READ)
    align_shift = 0
    while 1 << align_shift < align:
        align_shift += 1
    for i in range(len(threads)):
        local = threads[i]
        address = np.int64(addresses[local]) + offset
        where = space
        if space == 0:
            if address >= LOCAL_BASE:
                where = 3
                address -= LOCAL_BASE
            elif address >= SHARED_BASE:
                where = 2
                address -= SHARED_BASE
            else:
                where = 1
        failure[0], failure[1], failure[2] = local, address, where
        if where == 1:
            at, limit = address, layout[_END]
        elif where == 2:
            limit = layout[_SHARED_STRIDE]
            at = address + layout[_SHARED_START] + table[local, _SLOT] * limit
        else:
            limit = layout[_LOCAL_STRIDE]
            at = address + layout[_LOCAL_START] + local * limit
        if address < 0 or address + width > limit:
            return _OUT_OF_BOUNDS
        low, high = at >> shift, (at + width - 1) >> shift
        for unit in range(low, high + 1):
            if not state[unit] & _MAPPED:
                return _OUT_OF_BOUNDS
        if address & (width - 1):
            return _MISALIGNED
        index[i] = at >> align_shift
        traffic[where, kind, 0] += 1
        traffic[where, kind, 1] += width
        for unit in range(low, high + 1):
            if kind != WRITE and not state[unit] & _INITIALISED and checks & _CHECK_UNINITIALISED:
                return _UNREAD
            if writes:
                if state[unit] & _READ_ONLY:
                    return _WRITES_READ_ONLY
                state[unit] |= _INITIALISED
        if where == 3 or (where == 2 and not checks & _CHECK_SHARED):
            continue
        if where == 1 and (not checks & _CHECK_GLOBAL or state[low] & _READ_ONLY):
            continue
        for unit in range(low, high + 1):
            for column in (_W_THREAD, _A_THREAD):
                if strong and column == _A_THREAD:
                    continue
                writer = log[unit, column] - 1
                if writer < 0 or writer == first + local:
                    continue
                epoch, time = log[unit, column + _W_EPOCH], log[unit, column + _W_TIME]
                strict = where == 1 and writes and checks & _CHECK_STRICT
                if strict or not _before(writer, epoch, time, local, first, table):
                    failure[3], failure[4] = WRITE, writer
                    failure[5] = log[unit, column + _W_PC]
                    return _RACE
            if kind == READ:
                _log_read(log, unit, local, pc, first, table)
                continue
            if kind == STRONG_READ:
                continue
            if not _reads_before(log, unit, local, first, table):
                failure[3], failure[4] = READ, log[unit, _R_THREAD] - 1
                failure[5] = log[unit, _R_PC]
                return _RACE
            if kind == WRITE:  # all that was noted before comes before this
                log[unit, _A_THREAD] = 0
                log[unit, _R_WARP] = _NONE
            column = _A_THREAD if kind == ATOMIC else _W_THREAD
            log[unit, column] = first + local + 1
            log[unit, column + _W_EPOCH] = table[local, _EPOCH]
            log[unit, column + _W_TIME] = table[local, _TIME]
            log[unit, column + _W_PC] = pc
    return _OK


@numba.njit(cache=True, nogil=True)
def _pass_warp_barrier(threads, masks, table):
    """Let threads (in ascending order) pass a warp barrier with those of their warp and mask."""
    passed = np.zeros(len(threads), np.bool_)
    team = np.zeros(WARP, np.int64)
    latest = np.zeros(WARP, np.int32)
    for i in range(len(threads)):
        if passed[i]:
            continue
        warp, mask = table[threads[i], _WARP], masks[threads[i]]
        size = 0
        for j in range(i, min(i + WARP, len(threads))):
            if table[threads[j], _WARP] == warp and masks[threads[j]] == mask:
                passed[j] = True
                team[size] = threads[j]
                size += 1
        time = table[team[0], _TIME] + 1
        for lane in range(WARP):
            latest[lane] = 0
            for k in range(size):
                clock = table[team[k], _CLOCKS + lane]
                if clock > latest[lane]:
                    latest[lane] = clock
        for k in range(size):
            latest[table[team[k], _LANE]] = time
        for k in range(size):
            for lane in range(WARP):
                table[team[k], _CLOCKS + lane] = latest[lane]
        # The time is that of the warp, for all of its threads.
        start = team[0] - table[team[0], _LANE]
        for t in range(start, min(start + WARP, len(table))):
            if table[t, _WARP] == warp:
                table[t, _TIME] = time


@dataclass
class _Segment:
    """A stretch of the host's memory, or of initial values, that global memory has a copy of."""

    start: int  # on the host
    end: int
    address: int = 0  # in the emulator


class Memory:
    """The memory of one launch.

    Parameters
    ----------
    program : Program
        The kernel; says how much shared and local memory there is.
    num_slots : int
        How many blocks run at a time.
    block_size : int
        Threads of a block.
    dynamic_shared : int
        Bytes of dynamic shared memory of a block.
    checks : dict
        'shared', 'global', 'strict' and 'uninitialised': which checks are on.
    """

    def __init__(self, program, num_slots, block_size, dynamic_shared, checks):
        self.program = program
        self.num_slots = num_slots
        self.num_threads = num_slots * block_size
        self.block_size = block_size
        self.dynamic_shared = dynamic_shared
        self.layout = np.zeros(8, np.int64)
        self.layout[_SHIFT] = {1: 0, 2: 1, 4: 2, 8: 3}[program.unit]
        self.layout[_CHECKS] = (
            _CHECK_SHARED * checks["shared"]
            | _CHECK_GLOBAL * checks["global"]
            | _CHECK_STRICT * checks["strict"]
            | _CHECK_UNINITIALISED * checks["uninitialised"]
        )
        self.warps_per_block = -(-block_size // WARP)
        self.table = np.zeros((self.num_threads, _CLOCKS + WARP), np.int32)
        self.index = np.zeros(self.num_threads, np.int64)
        self.failure = np.zeros(6, np.int64)
        # Accesses and bytes, by space (1 global, 2 shared, 3 local) and kind.
        self.traffic = np.zeros((4, 4, 2), np.int64)
        self.addresses = {}  # of the module's variables in global and constant memory

    # -- setting up ---------------------------------------------------------------------------

    def fill(self, arrays):
        """Give the arrays and the module's variables their places, and copy them there."""
        self.arrays = arrays
        self.segments = _segments(arrays)
        end = _GLOBAL_START
        for segment in self.segments:
            segment.address = end + segment.start % 16  # keeps the alignment
            end = -(-(segment.address + segment.end - segment.start) // 256) * 256 + _GLOBAL_GAP
        for variable in self.program.variables:
            self.addresses[variable.name] = end
            end = -(-(end + variable.size) // 256) * 256 + _GLOBAL_GAP
        shared_stride = _round_up(self.program.shared_end + self.dynamic_shared + _SHARED_GAP, 64)
        local_stride = _round_up(self.program.local_end + _SHARED_GAP, 64)
        local_start = end + shared_stride * self.num_slots
        total = local_start + local_stride * self.num_threads
        self.layout[_END] = end
        self.layout[_SHARED_START] = end
        self.layout[_SHARED_STRIDE] = shared_stride
        self.layout[_LOCAL_START] = local_start
        self.layout[_LOCAL_STRIDE] = local_stride
        self.arena = np.zeros(total, np.uint8)
        self.state = np.zeros(total // self.program.unit, np.uint8)
        # Not touched, and hence not really there, where nothing is accessed.
        self.log = np.zeros((local_start // self.program.unit, _LOG_COLUMNS), np.int32)
        self.views = {
            name: self.arena.view(dtype) for name, dtype in DTYPES.items() if name != "pred"
        }
        for segment in self.segments:
            size = segment.end - segment.start
            self.arena[segment.address : segment.address + size] = _host_bytes(segment)
        for array in arrays:
            self._map_array(array)
        for variable in self.program.variables:
            address = self.addresses[variable.name]
            read_only = _READ_ONLY if variable.space == "const" else 0
            self._map(address, variable.size, _MAPPED | _INITIALISED | read_only)
            if variable.initial:
                self.set_bytes(address, variable.initial)
        self._fresh_state = self._shared_and_local_state()

    def set_bytes(self, address, value):
        """Set what lies at an address of global memory."""
        self.arena[address : address + len(value)] = np.frombuffer(value, np.uint8)

    def start(self, first_block):
        """Make shared and local memory fresh, for the blocks from `first_block` on."""
        self.first_block = first_block
        self.layout[_FIRST_THREAD] = first_block * self.block_size
        slot, in_block = np.divmod(np.arange(self.num_threads), self.block_size)
        self.table[:] = 0
        self.table[:, _SLOT] = slot
        self.table[:, _BLOCK] = first_block + slot
        self.table[:, _LANE] = in_block % WARP
        warp = self.table[:, _BLOCK] * self.warps_per_block + in_block // WARP
        self.table[:, _WARP] = warp + 1
        start, unit = int(self.layout[_SHARED_START]), self.program.unit
        self.arena[start:] = _UNINITIALISED
        self.state[start // unit :] = self._fresh_state
        self.log[start // unit :] = 0

    def _shared_and_local_state(self):
        unit, layout = self.program.unit, self.layout

        def stretch(stride, variables):
            state = np.zeros(stride // unit, np.uint8)
            for offset, size in variables:
                state[-(-offset // unit) : (offset + size) // unit] = _MAPPED
            return state

        shared = stretch(
            int(layout[_SHARED_STRIDE]),
            [*self.program.shared.values(), (self.program.shared_end, self.dynamic_shared)],
        )
        local = stretch(int(layout[_LOCAL_STRIDE]), self.program.local.values())
        return np.concatenate([np.tile(shared, self.num_slots), np.tile(local, self.num_threads)])

    def _map(self, address, size, state):
        unit = self.program.unit
        self.state[-(-address // unit) : (address + size) // unit] |= state

    def _map_array(self, array):
        """Map the bytes of the array's elements; between those of a strided one lie others."""
        state = _MAPPED | _INITIALISED | (0 if array.flags.writeable else _READ_ONLY)
        if array.size == 0:
            return
        address = self.address_of(array)
        if array.flags.c_contiguous or array.flags.f_contiguous:
            self._map(address, array.nbytes, state)
            return
        starts = np.full((1,) * array.ndim, address)
        for axis, (count, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
            shape = [1] * array.ndim
            shape[axis] = count
            starts = starts + (np.arange(count) * stride).reshape(shape)
        unit = self.program.unit
        for byte in range(0, array.itemsize, unit):
            self.state[(starts.ravel() + byte) // unit] |= state

    def address_of(self, array):
        """Address of an array's first element."""
        if array.size == 0:
            return _GLOBAL_START - 256  # nothing is mapped there
        pointer = array.__array_interface__["data"][0]
        segment = next(s for s in self.segments if s.start <= pointer < s.end)
        return segment.address + pointer - segment.start

    def copy_back(self):
        """Copy global memory back into the arrays."""
        for array in self.arrays:
            if not array.flags.writeable or array.size == 0:
                continue
            address = self.address_of(array)
            array[...] = np.ndarray(array.shape, array.dtype, self.arena, address, array.strides)

    # -- accesses -----------------------------------------------------------------------------

    def locate(self, space, kind, addresses, offset, width, align, pc, threads):
        """Check an access; return the elements, of `align` bytes, that it means."""
        index = self.index
        code = _access(
            space, kind, addresses, offset, width, align, pc, threads, index, self.state, self.log,
            self.layout, self.table, self.traffic, self.failure,
        )  # fmt: skip
        if code:
            self._fail(code, kind, width, pc)
        return index[: len(threads)]

    def _fail(self, code, kind, width, pc):
        local, address, where, earlier_kind, earlier, earlier_pc = (int(x) for x in self.failure)
        thread = self.first_block * self.block_size + local
        space = {1: "global", 2: "shared", 3: "local"}[where]
        shown = hex(address) if where == 1 else f"byte {address}"
        verb = ("reads", "writes", "updates", "reads")[kind]
        who = f"{self._who(thread)} {verb} {width} bytes at {shown}{self._array_at(where, address)}"
        line = f"\n    {self.program.describe(pc)}"
        if code == _OUT_OF_BOUNDS:
            raise OutOfBoundsError(f"{space} out of bounds: {who}{line}")
        if code == _MISALIGNED:
            raise PtxError(f"misaligned {space} access: {who}{line}")
        if code == _UNREAD:
            raise PtxError(f"uninitialised {space} memory: {who}{line}")
        if code == _WRITES_READ_ONLY:
            raise PtxError(f"read-only {space} memory: {who}{line}")
        did = "wrote" if earlier_kind == WRITE else "read"
        raise PtxError(
            f"{space} memory race: {who}, which {self._who(earlier)} {did}, and no barrier orders"
            f" them{line}\n    {self.program.describe(earlier_pc)}"
        )

    def _who(self, thread):
        return f"thread {thread % self.block_size} of block {thread // self.block_size}"

    def _array_at(self, where, address):
        """Name of the variable or argument at or before an address."""
        if where == 1:
            inside = [
                (self.address_of(array), f"byte {{}} of array argument {i}")
                for i, array in enumerate(self.arrays)
                if array.size and self.address_of(array) <= address
            ]
        else:
            variables = self.program.shared if where == 2 else self.program.local
            inside = [
                (start, f"byte {{}} of {name}")
                for name, (start, _) in variables.items()
                if start <= address
            ]
        if not inside:
            return ""
        start, name = max(inside)
        return f" ({name.format(address - start)})"

    def warp_barrier(self, threads, masks):
        """Order the memory of the threads (ascending) of one warp that have the same mask."""
        _pass_warp_barrier(threads, masks, self.table)

    def block_barrier(self, threads):
        """Order the memory of whole blocks."""
        self.table[threads, _EPOCH] += 1


def _round_up(value, multiple):
    return -(-value // multiple) * multiple


def _bounds(array):
    return np.lib.array_utils.byte_bounds(array)


def _segments(arrays):
    """Stretches of the host's memory in which the arrays lie; what overlaps is one stretch."""
    segments = []
    for low, high in sorted(_bounds(array) for array in arrays if array.size):
        if segments and low < segments[-1].end:
            segments[-1].end = max(segments[-1].end, high)
        else:
            segments.append(_Segment(low, high))
    return segments


def _host_bytes(segment):
    size = segment.end - segment.start
    return np.frombuffer((ctypes.c_uint8 * size).from_address(segment.start), np.uint8)
