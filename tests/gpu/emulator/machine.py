"""Executes a program for some blocks at a time.

Every register is one numpy array over all running threads. The threads at the lowest place run
next, together, whatever their block or warp: the group. They run until they reach others, part, or
have to wait. The instructions of a basic block are decoded when it is first reached, into functions
without arguments that are called one after the other: `full` if the group is all threads that are
alive (what is then computed for the others does no harm), `part` otherwise.
"""

from __future__ import annotations

import re
from functools import partial

import numba
import numpy as np

from tests.gpu.emulator.arithmetic import operation
from tests.gpu.emulator.memory import (
    ATOMIC,
    LOCAL_BASE,
    READ,
    SHARED_BASE,
    SPACES,
    STRONG_READ,
    WARP,
    WRITE,
    PtxError,
)
from tests.gpu.emulator.parse import DTYPES, width_of
from tests.gpu.emulator.program import is_collective

__all__ = ["Machine"]

_RUNS, _AT_BLOCK_BARRIER, _AT_WARP_BARRIER, _DONE = 0, 1, 2, 3
_NOWHERE = 1 << 62

_ADDRESS = re.compile(r"\[\s*([%\w$#.]+)\s*(?:\+\s*(-?\w+))?\s*\]")
_SUM = re.compile(r"([\w$#]+)\+(-?\d+)$")
_MEMORY_MODIFIERS = {
    "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "volatile", "weak", "relaxed", "acquire",
    "release", "sys", "gpu", "cta", "cluster", "unified", "v2", "v4", "L1::evict_normal",
    "L1::evict_last", "L1::evict_first", "L1::evict_unchanged", "L1::no_allocate", "L2::64B",
    "L2::128B", "L2::256B", "L2::evict_first", "L2::evict_last", "acq_rel", "noftz", "entry",
    "func", *SPACES, "param",
}  # fmt: skip
_ATOMICS = {
    "add": lambda old, x, _: old + x,
    "min": lambda old, x, _: min(old, x),
    "max": lambda old, x, _: max(old, x),
    "inc": lambda old, x, _: 0 if old >= x else old + 1,
    "dec": lambda old, x, _: x if old == 0 or old > x else old - 1,
    "and": lambda old, x, _: old & x,
    "or": lambda old, x, _: old | x,
    "xor": lambda old, x, _: old ^ x,
    "exch": lambda old, x, _: x,
    "cas": lambda old, x, new: new if old == x else old,
}
_NO_EFFECT = {"membar", "fence", "nanosleep", "prefetch", "prefetchu", "pmevent"}


@numba.njit(cache=True, nogil=True)
def _pick(pc, state, warp_of, mask, threads):
    """Find the runnable threads at the lowest place: their number, place and number of warps.

    The last value is the lowest place of the other runnable threads.
    """
    lowest, other = _NOWHERE, _NOWHERE
    for t in range(len(pc)):
        if state[t] == _RUNS and pc[t] != lowest:
            if pc[t] < lowest:
                other = lowest
                lowest = pc[t]
            elif pc[t] < other:
                other = pc[t]
    count, warps, last = 0, 0, -1
    for t in range(len(pc)):
        here = state[t] == _RUNS and pc[t] == lowest
        mask[t] = here
        if here:
            threads[count] = t
            count += 1
            if warp_of[t] != last:
                last = warp_of[t]
                warps += 1
    return count, lowest, warps, other


@numba.njit(cache=True, nogil=True)
def _ready(threads, members, state, pc, place, block_size, here, ready):
    """For each thread at a collective instruction, whether all it must wait for are there.

    `here` marks the threads that are there. Returns a thread that its own mask leaves out, or one
    whose partner has another mask, or -1.
    """
    for i in range(len(threads)):
        t = threads[i]
        in_block = t % block_size
        first = t - in_block % WARP
        lanes = members[t]
        if not lanes >> np.uint32(in_block % WARP) & np.uint32(1):
            return t
        ready[i] = True
        for lane in range(min(WARP, block_size - (in_block - in_block % WARP))):
            if not lanes >> np.uint32(lane) & np.uint32(1):
                continue
            other = first + lane
            if state[other] == _DONE:
                continue
            if not here[other]:
                ready[i] = False
                break
            if members[other] != lanes:
                return t
    return -1


@numba.njit(cache=True, nogil=True)
def _shuffle(mode, threads, values, shift, clamp, members, here, block_size, out, in_range):
    """shfl: `clamp` is a bound for the source lane and, from bit 8 on, the mask of segments.

    Returns a thread whose source is not there, or -1.
    """
    for i in range(len(threads)):
        t = threads[i]
        lane = t % block_size % WARP
        segment = np.int64(clamp[t] >> np.uint32(8)) & 31
        bound = (lane & segment) | (np.int64(clamp[t]) & 31 & ~segment)
        b = np.int64(shift[t]) & 31
        if mode == 0:  # up
            source = lane - b
            inside = source >= bound
        elif mode == 1:  # down
            source = lane + b
            inside = source <= bound
        elif mode == 2:  # bfly
            source = lane ^ b
            inside = source <= bound
        else:  # idx
            source = (lane & segment) | (b & ~segment)
            inside = source <= bound
        if not inside:
            source = lane
        at = t - lane + source
        if t % block_size - lane + source >= block_size or not here[at]:
            return t
        if not members[t] >> np.uint32(source) & np.uint32(1):
            return t
        out[i] = values[at]
        in_range[i] = inside
    return -1


@numba.njit(cache=True, nogil=True)
def _ballot(threads, votes, members, warp_of, block_size, out):
    """For each thread, the lanes of the threads of its warp and mask that vote yes."""
    for i in range(len(threads)):
        t = threads[i]
        bits = np.uint32(0)
        for j in range(max(0, i - WARP + 1), min(i + WARP, len(threads))):
            other = threads[j]
            if warp_of[other] == warp_of[t] and members[other] == members[t] and votes[other]:
                bits |= np.uint32(1) << np.uint32(other % block_size % WARP)
        out[i] = bits


class _Code:
    """A decoded basic block."""

    __slots__ = ("block", "full", "jump", "part", "threads", "visits", "warps")

    def __init__(self, block, jump):
        self.block = block
        self.full = None
        self.part = None
        self.jump = jump
        self.visits = 0
        self.threads = 0
        self.warps = 0


class Machine:
    """The registers and places of the threads of some blocks, and the decoded program.

    Parameters
    ----------
    program : Program
        What to run.
    num_slots : int
        How many blocks run at a time.
    block_size : int
        Threads of a block.
    """

    def __init__(self, program, num_slots, block_size):
        self.program = program
        self.block_size = block_size
        self.num_slots = num_slots
        self.num_threads = n = num_slots * block_size
        self.in_block = np.tile(np.arange(block_size), num_slots)
        self.slot_of = np.repeat(np.arange(num_slots), block_size)
        self.warp_of = self.slot_of * -(-block_size // WARP) + self.in_block // WARP
        self.pc = np.zeros(n, np.int64)
        self.state = np.zeros(n, np.uint8)
        self.members = np.zeros(n, np.uint32)  # masks of the threads that wait for their warp
        self.return_to = [np.zeros(n, np.int64) for _ in program.functions]
        self.registers = [{} for _ in program.functions]
        self.parameters = {}
        self.special = {}
        self.symbols = {}
        self.literals = {}
        self.scratch = {name: np.zeros(n, dtype) for name, dtype in DTYPES.items()}
        self.code = {}
        # The group.
        self._mask_buffer = np.zeros(n, np.bool_)
        self._threads_buffer = np.zeros(n, np.int64)
        self._ready_buffer = np.zeros(n, np.bool_)
        self.mask = self._mask_buffer
        self.threads = self._threads_buffer
        self.everyone = False
        self.waited = False
        self.alive = 0

    # -- launching ----------------------------------------------------------------------------

    def prepare(self, memory, grid, block, parameters):
        """Get ready for a launch."""
        self.memory = memory
        self.grid, self.block = grid, block
        for name, value in parameters.items():
            buffer = self._parameter_buffer(len(self.program.functions) - 1, name)
            buffer[0, : len(value)] = np.frombuffer(value, np.uint8)
            if name in memory.addresses:
                memory.set_bytes(memory.addresses[name], value)
        for (name, offset), array in self.symbols.items():
            array[:] = self._symbol_address(name) + offset
        for code in self.code.values():
            code.visits = code.threads = code.warps = 0

    def run(self, first_block, num_blocks, budget):
        """Run blocks to their end; return what is left of a budget of basic blocks."""
        self.memory.start(first_block)
        self._fill_special_registers(first_block)
        self.alive = num_blocks * self.block_size
        self.num_blocks = num_blocks
        self.state[:] = _DONE
        self.state[: self.alive] = _RUNS
        self.pc[:] = self.program.entry_start
        code_at = self.code
        while True:
            count, place, warps, other = _pick(
                self.pc, self.state, self.warp_of, self._mask_buffer, self._threads_buffer
            )
            if count == 0:
                if self.alive == 0:
                    return budget
                self._release()
                continue
            self.mask = self._mask_buffer
            self.threads = threads = self._threads_buffer[:count]
            self.everyone = everyone = count == self.alive
            while True:
                code = code_at.get(place)
                if code is None:
                    code = code_at[place] = self._decode(place)
                budget -= 1
                if budget < 0:
                    raise PtxError(f"does not end: {self.program.describe(place)}")
                code.visits += 1
                code.threads += count
                code.warps += warps
                if everyone:
                    steps = code.full
                    if steps is None:
                        steps = code.full = self._steps(code.block, full=True)
                else:
                    steps = code.part
                    if steps is None:
                        steps = code.part = self._steps(code.block, full=False)
                for step in steps:
                    step()
                place = code.jump()
                if place >= other:
                    self.pc[threads] = place
                    break
                if place < 0:
                    if self.waited:  # the instruction will be executed, and counted, later
                        self.waited = False
                        code.visits -= 1
                        code.threads -= count
                        code.warps -= warps
                    break

    def _fill_special_registers(self, first_block):
        bx, by, bz = self.block
        gx, gy, gz = self.grid
        tid = self.in_block
        ctaid = self.slot_of + first_block
        lane = tid % WARP
        one = np.uint64(1)
        bit = one << lane.astype(np.uint64)
        values = {
            "%tid.x": tid % bx, "%tid.y": tid // bx % by, "%tid.z": tid // (bx * by),
            "%ntid.x": bx, "%ntid.y": by, "%ntid.z": bz,
            "%ctaid.x": ctaid % gx, "%ctaid.y": ctaid // gx % gy, "%ctaid.z": ctaid // (gx * gy),
            "%nctaid.x": gx, "%nctaid.y": gy, "%nctaid.z": gz,
            "%laneid": lane, "%warpid": tid // WARP, "%nwarpid": -(-self.block_size // WARP),
            "%lanemask_eq": bit, "%lanemask_lt": bit - one, "%lanemask_le": 2 * bit - one,
            "%lanemask_gt": ~(2 * bit - one) & np.uint64(0xFFFFFFFF),
            "%lanemask_ge": ~(bit - one) & np.uint64(0xFFFFFFFF),
            "%smid": 0, "%nsmid": 1, "%gridid": 0,
            "%dynamic_smem_size": self.memory.dynamic_shared,
            "%total_smem_size": self.memory.dynamic_shared + self.program.static_shared,
        }  # fmt: skip
        for name, value in values.items():
            if name not in self.special:
                self.special[name] = np.zeros(self.num_threads, np.uint32)
            self.special[name][:] = value

    def _symbol_address(self, name):
        program = self.program
        if name in program.shared:
            return program.shared[name][0]
        if name in program.dynamic:
            return program.shared_end
        if name in program.local:
            return program.local[name][0]
        return self.memory.addresses[name]

    # -- waiting ------------------------------------------------------------------------------

    def _set_group(self, threads):
        self.threads = threads
        self.mask = self._mask_buffer
        self.mask[:] = False
        self.mask[threads] = True
        self.everyone = len(threads) == self.alive

    def _wait(self, place, state):
        """Let the group wait at a collective instruction."""
        self.waited = True
        self.state[self.threads] = state
        self.pc[self.threads] = place
        return -1

    def _release(self):
        """Let those pass a collective instruction that wait there and are complete."""
        waiting = self.state[: self.num_blocks * self.block_size] != _DONE
        for place in np.unique(self.pc[: len(waiting)][waiting]):
            at = np.flatnonzero(waiting & (self.pc[: len(waiting)] == place))
            if self.state[at[0]] == _AT_BLOCK_BARRIER:
                counts = np.bincount(self.slot_of[at], minlength=self.num_slots)
                threads = at[counts[self.slot_of[at]] == self.block_size]
            else:
                self._set_group(at)
                threads = at[self._ready_threads(place)]
            if len(threads):
                self._set_group(threads)
                self.state[threads] = _RUNS
                code = self.code[place]
                code.visits += 1
                code.threads += len(threads)
                code.warps += len(np.unique(self.warp_of[threads]))
                self.pc[threads] = code.jump(True)
                return
        self._fail_to_release(np.flatnonzero(waiting))

    def _fail_to_release(self, waiting):
        """Say who waits for whom."""
        warp_waits = waiting[self.state[waiting] == _AT_WARP_BARRIER]
        thread = int(warp_waits[0]) if len(warp_waits) else int(waiting[0])
        block = self.memory.first_block + thread // self.block_size
        slot = self.slot_of[thread]
        others = [
            t
            for t in np.flatnonzero(self.slot_of == slot)
            if self.state[t] == _DONE or self.pc[t] != self.pc[thread]
        ]
        kind = "barrier"
        if len(warp_waits):
            lanes = int(self.members[thread])
            others = [
                t
                for t in others
                if self.warp_of[t] == self.warp_of[thread]
                and lanes >> (self.in_block[t] % WARP) & 1
                and self.state[t] != _DONE
            ]
            kind = "warp barrier"
        here = self.program.describe(int(self.pc[thread]))
        message = f"divergent {kind} in block {block}: thread {thread % self.block_size} waits at"
        message += f"\n    {here}"
        if others:
            other = int(others[0])
            done = self.state[other] == _DONE
            where = "has ended" if done else f"waits at\n    {self._where(other)}"
            message += f"\nbut thread {other % self.block_size} {where}"
        raise PtxError(message)

    def _where(self, thread):
        return self.program.describe(int(self.pc[thread]))

    def _ready_threads(self, place):
        """Which threads of the group need not wait at a collective instruction of warps."""
        ready = self._ready_buffer[: len(self.threads)]
        bad = _ready(
            self.threads, self.members, self.state, self.pc, place, self.block_size, self.mask,
            ready,
        )  # fmt: skip
        if bad >= 0:
            raise PtxError(
                f"mask {int(self.members[bad]):#x} of thread {bad % self.block_size} of block "
                f"{self.memory.first_block + bad // self.block_size} leaves it out, or is not"
                f" that of another thread in it\n    {self.program.describe(place)}"
            )
        return ready

    # -- operands -----------------------------------------------------------------------------

    def _register(self, function, name):
        """Raw values of a register, or None if there is none of that name."""
        registers = self.registers[function]
        if name not in registers:
            ptx_type = self.program.functions[function].registers.get(name)
            if ptx_type is None:
                return None
            dtype = np.bool_ if ptx_type == "pred" else DTYPES[f"u{8 * width_of(ptx_type)}"]
            registers[name] = np.zeros(self.num_threads, dtype)
        return registers[name]

    def _read(self, place, operand, ptx_type):
        """Array of the values of a register, symbol or literal, as values of a type."""
        dtype = np.dtype(DTYPES[ptx_type])
        values = self._register(self.program.function_of[place], operand)
        if values is None:
            values = self.special.get(operand)
        if values is None:
            return self._constant(operand, ptx_type)
        if (ptx_type == "pred") != (values.dtype == np.bool_):
            raise NotImplementedError(self.program.describe(place))
        if dtype.itemsize > values.itemsize:
            raise NotImplementedError(self.program.describe(place))
        if dtype.itemsize < values.itemsize:  # the low bytes of a wider register
            return values.view(dtype)[:: values.itemsize // dtype.itemsize]
        return values if dtype == values.dtype else values.view(dtype)

    def _constant(self, operand, ptx_type):
        """Array of a literal or the address of a symbol."""
        key = operand, ptx_type
        if key in self.literals:
            return self.literals[key]
        name, offset = operand, 0
        if match := re.fullmatch(r"generic\(([\w$]+)\)", operand):
            name = match[1]
            offset = SHARED_BASE if name in (*self.program.shared, *self.program.dynamic) else 0
        elif match := _SUM.match(operand):
            name, offset = match[1], int(match[2])
        program = self.program
        if (
            name in program.shared
            or name in program.dynamic
            or name in program.local
            or name in self.memory.addresses
        ):
            if (name, offset) not in self.symbols:
                address = self._symbol_address(name) + offset
                self.symbols[name, offset] = np.full(self.num_threads, address, np.uint64)
            values = self.symbols[name, offset].view(DTYPES[ptx_type])
            return values[:: 8 // width_of(ptx_type)]
        array = np.full(self.num_threads, _literal(operand, ptx_type), DTYPES[ptx_type])
        self.literals[key] = array
        return array

    def _target(self, place, operand, ptx_type):
        """Array to assign values of a type to, so that they are extended as PTX wants."""
        if operand == "_":
            return self.scratch[ptx_type]
        values = self._register(self.program.function_of[place], operand)
        if values is None:
            raise NotImplementedError(self.program.describe(place))
        if ptx_type == "pred" or values.dtype == np.bool_:
            if (ptx_type == "pred") != (values.dtype == np.bool_):
                raise NotImplementedError(self.program.describe(place))
            return values
        dtype = np.dtype(DTYPES[ptx_type])
        if dtype.itemsize == values.itemsize:
            return values.view(dtype)
        if dtype.kind == "f" or dtype.itemsize > values.itemsize:
            raise NotImplementedError(self.program.describe(place))
        return values.view(f"{dtype.kind}{values.itemsize}")

    def _split_address(self, place, operand):
        match = _ADDRESS.fullmatch(operand)
        if match is None:
            raise NotImplementedError(self.program.describe(place))
        return match[1], int(match[2] or "0", 0)

    def _parameter_buffer(self, function, name):
        """Bytes of a parameter: one row per thread, or a single one for the kernel's own."""
        key = function, name
        if key not in self.parameters:
            declared = self.program.functions[function]
            known = {p.name: p for p in [*declared.parameters, *declared.returns]}
            known |= declared.call_parameters
            own = declared.is_entry and name not in declared.call_parameters
            size = -(-known[name].size // 16) * 16
            self.parameters[key] = np.zeros((1 if own else self.num_threads, size), np.uint8)
        return self.parameters[key]

    def _parameter(self, place, operand, ptx_type, index):
        """View of a parameter, or None if it is accessed through a register."""
        name, offset = self._split_address(place, operand)
        if self._register(self.program.function_of[place], name) is not None:
            return None
        dtype = np.dtype(DTYPES[ptx_type])
        buffer = self._parameter_buffer(self.program.function_of[place], name)
        offset += index * dtype.itemsize
        column = buffer.view(dtype)[:, offset // dtype.itemsize]
        return column if len(buffer) > 1 else np.broadcast_to(column, self.num_threads)

    # -- decoding -----------------------------------------------------------------------------

    def _decode(self, place):
        block = self.program.blocks[place]
        last = block.end - 1
        instruction = self.program.instructions[last]
        name = instruction.name
        if is_collective(instruction):
            return _Code(block, self._collective(last, instruction))
        jumps = {
            "bra": self._bra, "ret": self._ret, "exit": self._exit,
            "trap": self._trap, "call": self._call,
        }  # fmt: skip
        if name in jumps:
            return _Code(block, jumps[name](last, instruction))
        following = block.end
        return _Code(block, lambda: following)

    def _steps(self, block, full):
        """Functions for the instructions of a block but the jump at its end."""
        steps = []
        start = block.start
        if start and self.program.instructions[start - 1].name == "call":
            steps += self._returned_values(start - 1, full)
        for place in range(start, block.end):
            instruction = self.program.instructions[place]
            if is_collective(instruction) or instruction.name in (
                "bra", "ret", "exit", "trap", "call",
            ):  # fmt: skip
                break
            if instruction.guard:
                steps.append(self._guarded(place, instruction))
            else:
                steps += self._instruction(place, instruction, full)
        return steps

    def _instruction(self, place, instruction, full):
        """Functions that execute an instruction for the group."""
        name = instruction.name
        special = {
            "mov": self._mov, "cvta": self._cvta, "ld": self._load,
            "st": self._store, "atom": self._atomic, "red": self._atomic,
        }  # fmt: skip
        if name in special:
            return special[name](place, instruction, full)
        if name in _NO_EFFECT:
            return []
        computed = operation(instruction)
        if computed is None:
            raise NotImplementedError(self.program.describe(place))
        inputs = [self._read(place, *source) for source in computed.inputs]
        targets = [self._target(place, *target) for target in computed.outputs]
        if len(targets) == 1:
            return [
                self._computing(
                    computed.function, inputs, targets[0], full, computed.outputs[0][1],
                    computed.is_ufunc, computed.options,
                )
            ]  # fmt: skip

        def several():
            results = computed.function(*inputs)
            for target, result in zip(targets, results, strict=True):
                np.copyto(target, result, where=True if full else self.mask, casting="unsafe")

        return [several]

    def _computing(self, function, inputs, target, full, kind, is_ufunc=False, options=None):
        """Function that assigns function(*inputs) to the target."""
        copy = np.copyto
        if is_ufunc and target.dtype == DTYPES[kind]:
            options = options or {}
            if full:
                return partial(function, *inputs, out=target, **options)
            result = self.scratch[kind]
            compute = partial(function, *inputs, out=result, **options)

            def assign():
                compute()
                copy(target, result, where=self.mask)

            return assign
        if full:

            def compute_all():
                target[...] = function(*inputs)

            return compute_all

        def compute_part():
            copy(target, function(*inputs), where=self.mask, casting="unsafe")

        return compute_part

    def _copying(self, target, source, full):
        """Function that copies between arrays of equal or different types."""
        if full:
            return partial(np.copyto, target, source, casting="unsafe")

        def copy():
            np.copyto(target, source, where=self.mask, casting="unsafe")

        return copy

    def _guarded(self, place, instruction):
        """Function that executes an instruction for those of the group whose guard holds."""
        negated = instruction.guard[0] == "!"
        predicate = self._register(self.program.function_of[place], instruction.guard.lstrip("!"))
        steps = self._instruction(place, instruction, full=False)

        def run():
            mask, threads = self.mask, self.threads
            holds = (mask & ~predicate) if negated else (mask & predicate)
            chosen = holds.nonzero()[0]
            if len(chosen):
                self.mask, self.threads = holds, chosen
                for step in steps:
                    step()
                self.mask, self.threads = mask, threads

        return run

    def _mov(self, place, instruction, full):
        kind = instruction.type
        target, source = instruction.operands
        if target.startswith("{"):  # split
            parts = _elements(target)
            width = width_of(kind) // len(parts)
            whole = self._read(place, source, kind)
            pieces = whole.view(f"u{width}")
            copies = []
            for i, part in enumerate(parts):
                if part != "_":
                    into = self._target(place, part, f"u{8 * width}")
                    piece = pieces[i :: len(parts)]
                    copies.append(self._copying(into, piece, full))
            return copies
        if source.startswith("{"):  # join
            parts = _elements(source)
            width = width_of(kind) // len(parts)
            whole = self._target(place, target, "u" + kind[1:])
            pieces = whole.view(f"u{width}")
            return [
                self._copying(pieces[i :: len(parts)], self._read(place, part, f"u{8 * width}"),
                              full)
                for i, part in enumerate(parts)
            ]  # fmt: skip
        return [
            self._copying(self._target(place, target, kind), self._read(place, source, kind), full)
        ]

    def _cvta(self, place, instruction, full):
        target, source = instruction.operands
        kind = instruction.type
        base = {"shared": SHARED_BASE, "local": LOCAL_BASE}
        base = next((base[part] for part in instruction.parts if part in base), 0)
        source = self._read(place, source, kind)
        target = self._target(place, target, kind)
        if base == 0:
            return [self._copying(target, source, full)]
        change = np.add if "to" not in instruction.parts else np.subtract
        amount = np.full(self.num_threads, base, np.uint64)
        return [self._computing(change, [source, amount], target, full, kind, True)]

    # -- memory -------------------------------------------------------------------------------

    def _space(self, place, instruction):
        for part in instruction.parts[1:]:
            if part not in _MEMORY_MODIFIERS and part not in DTYPES:
                part_of_atomic = instruction.name in ("atom", "red") and part in _ATOMICS
                if not part_of_atomic:
                    raise NotImplementedError(self.program.describe(place))
        return next((part for part in instruction.parts if part in (*SPACES, "param")), "generic")

    def _address(self, place, operand):
        """Array of base addresses, and the offset."""
        base, offset = self._split_address(place, operand)
        function = self.program.function_of[place]
        values = self._register(function, base)
        if values is None:
            values = self._constant(base, "u64")
        if values.dtype != np.uint64:
            narrow = values
            return lambda: narrow.astype(np.uint64), offset
        values = np.ascontiguousarray(values)
        return lambda: values, offset

    def _load(self, place, instruction, full):
        kind = instruction.type
        width = width_of(kind)
        registers = _elements(instruction.operands[0])
        space = self._space(place, instruction)
        if space == "param":
            sources = [
                self._parameter(place, instruction.operands[1], kind, i)
                for i in range(len(registers))
            ]
            if sources[0] is not None:
                return [
                    self._copying(self._target(place, register, kind), source, full)
                    for register, source in zip(registers, sources, strict=True)
                ]
            space = "global"
        space = SPACES[space]
        bases, offset = self._address(place, instruction.operands[1])
        targets = [self._target(place, register, kind) for register in registers]
        total = width * len(registers)
        strong = {"volatile", "relaxed", "acquire"} & set(instruction.parts)
        read = STRONG_READ if strong else READ

        def load():
            memory, threads = self.memory, self.threads
            index = memory.locate(space, read, bases(), offset, total, width, place, threads)
            view = memory.views[kind]
            for i, target in enumerate(targets):
                target[threads] = view[index + i] if i else view[index]

        return [load]

    def _store(self, place, instruction, full):
        kind = instruction.type
        width = width_of(kind)
        elements = _elements(instruction.operands[1])
        values = [self._read(place, element, kind) for element in elements]
        space = self._space(place, instruction)
        if space == "param":
            return [
                self._copying(self._parameter(place, instruction.operands[0], kind, i), value, full)
                for i, value in enumerate(values)
            ]
        space = SPACES[space]
        bases, offset = self._address(place, instruction.operands[0])
        total = width * len(elements)

        def store():
            memory, threads = self.memory, self.threads
            index = memory.locate(space, WRITE, bases(), offset, total, width, place, threads)
            view = memory.views[kind]
            for i, value in enumerate(values):
                view[index + i] = value[threads]

        return [store]

    def _atomic(self, place, instruction, full):
        kind = instruction.type
        width = width_of(kind)
        space = SPACES[self._space(place, instruction)]
        named = [part for part in instruction.parts[1:] if part in _ATOMICS]
        if len(named) != 1 or "v2" in instruction.parts or "v4" in instruction.parts:
            raise NotImplementedError(self.program.describe(place))
        combine = _ATOMICS[named[0]]
        operands = instruction.operands
        target = None
        if instruction.name == "atom":
            target = self._target(place, operands[0], kind)
            operands = operands[1:]
        bases, offset = self._address(place, operands[0])
        values = [self._read(place, operand, kind) for operand in operands[1:]]
        new_values = values[-1]
        values = values[0]

        def update():
            memory, threads = self.memory, self.threads
            index = memory.locate(space, ATOMIC, bases(), offset, width, width, place, threads)
            view = memory.views[kind]
            for thread, at in zip(threads, index, strict=True):
                old = view[at]
                view[at] = combine(old, values[thread], new_values[thread])
                if target is not None:
                    target[thread] = old

        return [update]

    # -- jumps --------------------------------------------------------------------------------
    #
    # Each is a function that returns the place where the whole group goes on, or -1 if it does not
    # stay together, having set where each thread is.

    def _bra(self, place, instruction):
        target = self.program.target(place, instruction.operands[0])
        following = place + 1
        if not instruction.guard:
            return lambda: target
        name = instruction.guard.lstrip("!")
        predicate = self._register(self.program.function_of[place], name)
        if instruction.guard[0] == "!":
            if_true, if_false = following, target
        else:
            if_true, if_false = target, following
        count_nonzero = np.count_nonzero

        def branch():
            threads = self.threads
            holds = predicate[threads]
            count = count_nonzero(holds)
            if count == 0:
                return if_false
            if count == len(threads):
                return if_true
            self.pc[threads] = np.where(holds, if_true, if_false)
            return -1

        return branch

    def _exit(self, place, instruction):
        def end():
            self.state[self.threads] = _DONE
            self.alive -= len(self.threads)
            return -1

        return end

    def _ret(self, place, instruction):
        number = self.program.function_of[place]
        if self.program.functions[number].is_entry:
            return self._exit(place, instruction)
        return_to = self.return_to[number]

        def give_back():
            self.pc[self.threads] = return_to[self.threads]
            return -1

        return give_back

    def _trap(self, place, instruction):
        def trap():
            thread = int(self.threads[0])
            block = self.memory.first_block + thread // self.block_size
            raise PtxError(
                f"trap: thread {thread % self.block_size} of block {block}"
                f"\n    {self.program.describe(place)}"
            )

        return trap

    def _callee(self, place):
        """Number of the function called, and the names of the call's results and arguments."""
        operands = self.program.instructions[place].operands
        results, arguments = [], []
        at = 0
        if operands[0].startswith("("):
            results = _elements(operands[0])
            at = 1
        name = operands[at]
        if len(operands) > at + 1:
            arguments = _elements(operands[at + 1])
        names = [function.name for function in self.program.functions]
        if name not in names:
            raise NotImplementedError(self.program.describe(place))
        return names.index(name), results, arguments

    def _call(self, place, instruction):
        number, _, arguments = self._callee(place)
        caller = self.program.function_of[place]
        callee = self.program.functions[number]
        pairs = [
            (self._parameter_buffer(number, formal.name), self._parameter_buffer(caller, actual))
            for formal, actual in zip(callee.parameters, arguments, strict=True)
        ]
        start = self.program.start[number]
        return_to = self.return_to[number]

        def call():
            for formal, actual in pairs:
                formal[self.threads] = actual[self.threads]
            return_to[self.threads] = place + 1
            return start

        return call

    def _returned_values(self, place, full):
        number, results, _ = self._callee(place)
        caller = self.program.function_of[place]
        callee = self.program.functions[number]
        pairs = [
            (self._parameter_buffer(caller, actual), self._parameter_buffer(number, formal.name))
            for formal, actual in zip(callee.returns, results, strict=True)
        ]

        def take():
            for actual, formal in pairs:
                actual[self.threads] = formal[self.threads]

        return [take]

    # -- collective instructions --------------------------------------------------------------

    def _collective(self, place, instruction):
        """Function for a barrier, shuffle or vote; called with True it does not wait."""
        name, parts = instruction.name, instruction.parts
        if name in ("bar", "barrier") and "warp" not in parts:
            return self._block_barrier(place, instruction)
        execute = {
            "bar": self._warp_barrier, "shfl": self._shfl, "vote": self._vote,
        }[name](place, instruction)  # fmt: skip
        following = place + 1
        if "sync" not in parts:  # those that happen to be there

            def run_group(released=False):
                self.members[self.threads] = 0xFFFFFFFF
                execute()
                return following

            return run_group
        mask_operand = instruction.operands[-1]
        masks = self._read(place, mask_operand, "u32")
        is_literal = re.fullmatch(r"-?\d\w*", mask_operand) is not None
        all_lanes = is_literal and int(masks[0]) == 0xFFFFFFFF

        def run(released=False):
            if not released:
                self.members[self.threads] = masks[self.threads]
                if not (all_lanes and self.everyone) and not self._ready_threads(place).all():
                    return self._wait(place, _AT_WARP_BARRIER)
            execute()
            return following

        return run

    def _block_barrier(self, place, instruction):
        if "sync" not in instruction.parts or len(instruction.operands) > 1:  # a part of the block
            raise NotImplementedError(self.program.describe(place))
        following = place + 1

        def run(released=False):
            everyone = self.everyone and self.alive == self.num_blocks * self.block_size
            if not released and not everyone:
                return self._wait(place, _AT_BLOCK_BARRIER)
            self.memory.block_barrier(self.threads)
            return following

        return run

    def _warp_barrier(self, place, instruction):
        return lambda: self.memory.warp_barrier(self.threads, self.members)

    def _shfl(self, place, instruction):
        parts, operands = instruction.parts, instruction.operands
        mode = ["up", "down", "bfly", "idx"].index(parts[2] if "sync" in parts else parts[1])
        target, *in_range_target = operands[0].split("|")
        target = self._target(place, target, "u32")
        in_range_target = [self._target(place, name, "pred") for name in in_range_target]
        values, shift, clamp = (
            np.ascontiguousarray(self._read(place, x, "u32")) for x in operands[1:4]
        )
        out, in_range = np.zeros(self.num_threads, np.uint32), np.zeros(self.num_threads, np.bool_)

        def run():
            threads = self.threads
            bad = _shuffle(
                mode, threads, values, shift, clamp, self.members, self.mask, self.block_size,
                out, in_range,
            )  # fmt: skip
            if bad >= 0:
                block = self.memory.first_block + bad // self.block_size
                raise PtxError(
                    "shuffle reads a lane that is not here or not in the mask (divergence): thread "
                    f"{bad % self.block_size} of block {block}\n    {self.program.describe(place)}"
                )
            target[threads] = out[: len(threads)]
            for extra in in_range_target:
                extra[threads] = in_range[: len(threads)]

        return run

    def _lanes(self, votes):
        """For each thread of the group, the lanes of its warp and mask that vote yes."""
        out = np.zeros(len(self.threads), np.uint32)
        _ballot(self.threads, votes, self.members, self.warp_of, self.block_size, out)
        return out

    def _vote(self, place, instruction):
        parts = instruction.parts
        name = instruction.operands[1]
        negated = name.startswith("!")
        predicate = self._read(place, name.lstrip("!"), "pred")
        ballot = "ballot" in parts
        if not ballot and "any" not in parts:
            raise NotImplementedError(self.program.describe(place))
        target = self._target(place, instruction.operands[0], "u32" if ballot else "pred")

        def run():
            yes = self._lanes(~predicate if negated else predicate)
            target[self.threads] = yes if ballot else yes != 0

        return run


def _elements(operand):
    """Elements of '{a, b}' or '(a, b)'; a plain operand gives a list of one."""
    inner = operand.strip("{}()").strip()
    return [element.strip() for element in inner.split(",")] if inner else []


def _literal(text, ptx_type):
    dtype = np.dtype(DTYPES[ptx_type])
    if text == "WARP_SZ":
        return WARP
    prefix = text[:2].lower()
    if prefix in ("0f", "0d"):
        bits = np.array([int(text[2:], 16)], np.uint32 if prefix == "0f" else np.uint64)
        value = bits.view(np.float32 if prefix == "0f" else np.float64)[0]
        return value if dtype.kind == "f" else bits[0]
    if dtype.kind == "f":
        if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
            return np.array([int(text, 16)], f"u{dtype.itemsize}").view(dtype)[0]
        return float(text)
    if dtype == np.bool_:
        return bool(int(text, 0))
    if not re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", text):
        raise NotImplementedError(f"operand {text!r}")
    bits = int(text.rstrip("U"), 0) & ((1 << 8 * dtype.itemsize) - 1)
    return np.array([bits], f"u{dtype.itemsize}").view(dtype)[0]
