"""Executes a program for some blocks, each of one warp, at a time.

Every register is one numpy array over all running threads. The threads at the lowest place run
next, together, whatever their block: the group. They run until they reach others, part, or have to
wait. The instructions of a basic block are decoded when it is first reached, into functions
without arguments that are called one after the other: `full` if the group is all threads that are
alive (what is then computed for the others does no harm), `part` otherwise.
"""

from __future__ import annotations

import re
from functools import partial

import numba
import numpy as np

from tests.gpu.emulator.arithmetic import operation
from tests.gpu.emulator.memory import READ, WARP, WRITE, PtxError
from tests.gpu.emulator.parse import DTYPES, is_collective, width_of

__all__ = ["Machine"]

_RUNS, _WAITS, _DONE = 0, 1, 2
_NOWHERE = 1 << 62

_ADDRESS = re.compile(r"\[\s*([%\w$#]+)\s*(?:\+\s*(-?\w+))?\s*\]")
_SUM = re.compile(r"([\w$]+)\+(-?\d+)")
_MODES = ("up", "down", "bfly", "idx")
_SPACES = ("global", "shared", "param")


@numba.njit(cache=True, nogil=True)
def _pick(pc, state, mask, threads):
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
            if t // WARP != last:
                last = t // WARP
                warps += 1
    return count, lowest, warps, other


class _Code:
    """A decoded basic block."""

    __slots__ = ("block", "full", "jump", "part", "threads", "warps")

    def __init__(self, block, jump):
        self.block, self.jump = block, jump
        self.full = self.part = None
        self.threads = self.warps = 0


class Machine:
    """The registers and places of the threads of some blocks, and the decoded program.

    Parameters
    ----------
    program : Program
        What to run.
    num_slots : int
        How many blocks run at a time.
    """

    def __init__(self, program, num_slots):
        self.program, self.num_slots = program, num_slots
        self.num_threads = n = num_slots * WARP
        self.pc = np.zeros(n, np.int64)
        self.state = np.zeros(n, np.uint8)
        self.registers, self.literals = {}, {}
        self.scratch = {name: np.zeros(n, dtype) for name, dtype in DTYPES.items()}
        thread = np.arange(n, dtype=np.uint32)
        self.special = {
            f"%{kind}.{axis}": np.full(n, kind.startswith("n"), np.uint32)
            for kind in ("tid", "ntid", "ctaid") for axis in "xyz"
        }  # fmt: skip
        self.special |= {"%tid.x": thread % WARP, "%laneid": thread % WARP}
        self.special["%ntid.x"][:] = WARP
        self.code = {}
        # The group.
        self.mask = self.all_mask = np.zeros(n, np.bool_)
        self.buffer = self.threads = np.zeros(n, np.int64)
        self.everyone = False
        self.alive = 0

    # -- launching ----------------------------------------------------------------------------

    def prepare(self, memory, parameters):
        """Get ready for a launch with these values of the parameters."""
        self.memory = memory
        for name, value in parameters.items():
            self._parameter(name)[:] = value
        for code in self.code.values():
            code.threads = code.warps = 0

    def run(self, first_block, num_blocks, budget):
        """Run blocks to their end; return what is left of a budget of basic blocks."""
        self.memory.begin(first_block)
        self.special["%ctaid.x"][:] = first_block + np.arange(self.num_threads) // WARP
        self.alive = self.started = num_blocks * WARP
        self.state[:] = _DONE
        self.state[: self.alive] = _RUNS
        self.pc[:] = 0
        code_at = self.code
        while True:
            count, place, warps, other = _pick(self.pc, self.state, self.all_mask, self.buffer)
            if count == 0:
                if self.alive == 0:
                    return budget
                self._release()
                continue
            self.mask, self.threads = self.all_mask, self.buffer[:count]
            self.everyone = everyone = count == self.alive
            while True:
                code = code_at.get(place)
                if code is None:
                    code = code_at[place] = self._decode(place)
                budget -= 1
                if budget < 0:
                    raise PtxError(f"does not end: {self.program.describe(place)}")
                if is_collective(self.program.instructions[place]) and count < self.started:
                    self.state[self.threads] = _WAITS  # for the others of its block
                    self.pc[self.threads] = place
                    break
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
                    self.pc[self.threads] = place
                    break
                if place < 0:
                    break

    def _release(self):
        """Let whole blocks pass the collective instruction at which all their threads wait."""
        waiting = self.state == _WAITS
        for place in np.unique(self.pc[waiting]):
            here = waiting & (self.pc == place)
            whole = np.repeat(here.reshape(-1, WARP).all(axis=1), WARP)
            if whole.any():
                self.mask = self.all_mask
                self.mask[:] = whole
                self.threads = np.flatnonzero(whole)
                self.state[whole] = _RUNS
                code = self.code[place]
                code.threads += len(self.threads)
                code.warps += len(self.threads) // WARP
                if code.part is None:
                    code.part = self._steps(code.block, full=False)
                for step in code.part:
                    step()
                self.pc[whole] = place + 1
                return
        thread = int(np.flatnonzero(waiting)[0])
        block, lanes = thread // WARP, slice(thread // WARP * WARP, thread // WARP * WARP + WARP)
        apart = (self.state[lanes] == _DONE) | (self.pc[lanes] != self.pc[thread])
        other = lanes.start + int(np.flatnonzero(apart)[0])
        ended = self.state[other] == _DONE
        there = "has ended" if ended else f"waits at\n    {self._describe(other)}"
        raise PtxError(
            f"divergent barrier in block {self.memory.first_block + block}: thread "
            f"{thread % WARP} waits at\n    {self._describe(thread)}\n"
            f"but thread {other % WARP} {there}"
        )

    def _describe(self, thread):
        return self.program.describe(int(self.pc[thread]))

    # -- operands -----------------------------------------------------------------------------

    def _unknown(self, place):
        return NotImplementedError(self.program.describe(place))

    def _register(self, name):
        """Raw values of a register, or None if there is none of that name."""
        if name not in self.registers:
            kind = self.program.registers.get(name)
            if kind is None:
                return None
            dtype = np.bool_ if kind == "pred" else DTYPES[f"u{8 * width_of(kind)}"]
            self.registers[name] = np.zeros(self.num_threads, dtype)
        return self.registers[name]

    def _read(self, place, operand, kind):
        """Array of the values of a register, symbol or literal, as values of a type."""
        dtype = np.dtype(DTYPES[kind])
        values = self._register(operand)
        if values is None:
            values = self.special.get(operand)
        if values is None:
            return self._constant(operand, kind)
        if (kind == "pred") != (values.dtype == np.bool_) or dtype.itemsize > values.itemsize:
            raise self._unknown(place)
        if dtype.itemsize < values.itemsize:  # the low bytes of a wider register
            return values.view(dtype)[:: values.itemsize // dtype.itemsize]
        return values if dtype == values.dtype else values.view(dtype)

    def _constant(self, operand, kind):
        """Array of a literal or the address of a symbol."""
        key = operand, kind
        if key not in self.literals:
            sum_ = _SUM.fullmatch(operand)
            name, offset = (sum_[1], int(sum_[2])) if sum_ else (operand, 0)
            shared = self.program.shared.get(name)
            value = shared[0] + offset if shared else _literal(operand, kind)
            self.literals[key] = np.full(self.num_threads, value, DTYPES[kind])
        return self.literals[key]

    def _target(self, place, operand, kind):
        """Array to assign values of a type to, so that they are extended as PTX wants."""
        if operand == "_":  # a sink
            return np.empty(self.num_threads, DTYPES[kind])
        values = self._register(operand)
        if values is None or (kind == "pred") != (values.dtype == np.bool_):
            raise self._unknown(place)
        dtype = np.dtype(DTYPES[kind])
        if dtype.itemsize == values.itemsize:
            return values.view(dtype)
        if dtype.kind == "f" or dtype.itemsize > values.itemsize:
            raise self._unknown(place)
        return values.view(f"{dtype.kind}{values.itemsize}")

    def _parameter(self, name):
        """Array of the value of a parameter."""
        kind = self.program.parameters[name]
        key = f"[{name}]"
        if key not in self.literals:
            self.literals[key] = np.zeros(self.num_threads, DTYPES[kind])
        return self.literals[key]

    # -- decoding -----------------------------------------------------------------------------

    def _decode(self, place):
        block = self.program.blocks[place]
        last = self.program.instructions[block.end - 1]
        if last.name == "bra":
            return _Code(block, self._bra(block.end - 1, last))
        if last.name == "ret":
            return _Code(block, self._ret)
        return _Code(block, lambda: block.end)

    def _steps(self, block, full):
        """Functions for the instructions of a block but the jump at its end."""
        steps = []
        for place in range(block.start, block.end):
            instruction = self.program.instructions[place]
            if instruction.name not in ("bra", "ret"):
                steps += self._instruction(place, instruction, full)
        return steps

    def _instruction(self, place, instruction, full):
        """Functions that execute an instruction for the group."""
        special = {
            "mov": self._mov, "cvta": self._cvta, "ld": self._load, "st": self._store,
            "bar": self._barrier, "shfl": self._shfl, "vote": self._vote,
        }  # fmt: skip
        if instruction.name in special:
            return special[instruction.name](place, instruction, full)
        computed = operation(instruction)
        if computed is None:
            raise self._unknown(place)
        inputs = [self._read(place, *source) for source in computed.inputs]
        kind = computed.target[1]
        target = self._target(place, *computed.target)
        function, options = computed.function, computed.options
        if isinstance(function, np.ufunc) and target.dtype == DTYPES[kind]:
            if full:
                return [partial(function, *inputs, out=target, **options)]
            result = self.scratch[kind]
            compute = partial(function, *inputs, out=result, **options)

            def assign():
                compute()
                np.copyto(target, result, where=self.mask)

            return [assign]

        def compute_some():
            result = function(*inputs, **options)
            np.copyto(target, result, where=True if full else self.mask, casting="unsafe")

        return [compute_some]

    def _copying(self, target, source, full):
        """Function that copies between arrays of equal or different types."""
        if full:
            return partial(np.copyto, target, source, casting="unsafe")
        return lambda: np.copyto(target, source, where=self.mask, casting="unsafe")

    def _mov(self, place, instruction, full):
        kind = instruction.type
        target, source = instruction.operands
        if "{" not in (target[0], source[0]):
            into, values = self._target(place, target, kind), self._read(place, source, kind)
            return [self._copying(into, values, full)]
        split = target[0] == "{"
        whole, parts = (source, target) if split else (target, source)
        halves = [half.strip() for half in parts[1:-1].split(",")]
        pieces = self._read(place, whole, kind).view(f"u{width_of(kind) // 2}")
        part = f"u{4 * width_of(kind)}"
        if split:
            return [
                self._copying(self._target(place, half, part), pieces[i::2], full)
                for i, half in enumerate(halves)
            ]
        return [
            self._copying(pieces[i::2], self._read(place, half, part), full)
            for i, half in enumerate(halves)
        ]

    def _cvta(self, place, instruction, full):
        if instruction.parts[1:3] != ["to", "global"]:  # generic addresses are global ones
            raise self._unknown(place)
        target, source = instruction.operands
        return [self._copying(self._target(place, target, "u64"), self._read(place, source, "u64"),
                              full)]  # fmt: skip

    # -- memory -------------------------------------------------------------------------------

    def _place_of(self, place, instruction, operand):
        """Space of an access, the name or array of its base address, and the offset."""
        for part in instruction.parts[1:]:
            if part not in _SPACES and part not in DTYPES:
                raise self._unknown(place)
        match = _ADDRESS.fullmatch(operand)
        if match is None:
            raise self._unknown(place)
        offset = int(match[2] or "0", 0)
        space = next((part for part in instruction.parts if part in _SPACES), "global")
        if space == "param":
            return space, match[1], offset
        return space, self._read(place, match[1], "u64"), offset

    def _load(self, place, instruction, full):
        kind = instruction.type
        width = width_of(kind)
        target = self._target(place, instruction.operands[0], kind)
        space, base, offset = self._place_of(place, instruction, instruction.operands[1])
        if space == "param":
            values = self._parameter(base)
            if offset or values.itemsize != width:
                raise self._unknown(place)
            return [self._copying(target, values.view(DTYPES[kind]), full)]
        shared = space == "shared"

        def load():
            memory, threads = self.memory, self.threads
            index = memory.locate(shared, READ, base, offset, width, width, place, threads)
            target[threads] = memory.views[kind][index]

        return [load]

    def _store(self, place, instruction, full):
        kind = instruction.type
        width = width_of(kind)
        space, base, offset = self._place_of(place, instruction, instruction.operands[0])
        values = self._read(place, instruction.operands[1], kind)
        if space == "param":
            raise self._unknown(place)
        shared = space == "shared"

        def store():
            memory, threads = self.memory, self.threads
            index = memory.locate(shared, WRITE, base, offset, width, width, place, threads)
            memory.views[kind][index] = values[threads]

        return [store]

    # -- jumps --------------------------------------------------------------------------------
    #
    # Each is a function that returns the place where the whole group goes on, or -1 if it does not
    # stay together, having set where each thread is.

    def _bra(self, place, instruction):
        target, following = self.program.labels[instruction.operands[0]], place + 1
        if not instruction.guard:
            return lambda: target
        predicate = self._register(instruction.guard.lstrip("!"))
        if_true, if_false = target, following
        if instruction.guard[0] == "!":
            if_true, if_false = following, target

        def branch():
            threads = self.threads
            holds = predicate[threads]
            count = np.count_nonzero(holds)
            if count == 0:
                return if_false
            if count == len(threads):
                return if_true
            self.pc[threads] = np.where(holds, if_true, if_false)
            return -1

        return branch

    def _ret(self):
        self.state[self.threads] = _DONE
        self.alive -= len(self.threads)
        return -1

    # -- collective instructions: whole blocks execute them -------------------------------------

    def _all_lanes(self, place, operand):
        """Function that refuses a mask which leaves lanes out."""
        masks = self._read(place, operand, "u32")

        def check():
            if (masks[self.threads] != 0xFFFFFFFF).any():
                raise PtxError(f"a mask leaves lanes out: {self.program.describe(place)}")

        return check

    def _barrier(self, place, instruction, full):
        operands = instruction.operands

        def run():
            self.memory.epochs[self.threads[::WARP] // WARP] += 1

        if instruction.parts[1:] == ["warp", "sync"]:
            return [self._all_lanes(place, operands[0]), run]
        if instruction.parts[1:] != ["sync"] or operands != ["0"]:
            raise self._unknown(place)
        return [run]

    def _shfl(self, place, instruction, full):
        parts, operands = instruction.parts, instruction.operands
        if parts[1] != "sync":
            raise self._unknown(place)
        mode = _MODES.index(parts[2])
        target, *in_range = operands[0].split("|")
        target = self._target(place, target, "u32")
        in_range = [self._target(place, name, "pred") for name in in_range]
        values, shift, clamp = (self._read(place, operand, "u32") for operand in operands[1:4])

        def run():
            threads = self.threads
            lane = threads % WARP
            ends, by = (array[threads].astype(np.int64) for array in (clamp, shift))
            segment, by = ends >> 8 & 31, by & 31
            bound = (lane & segment) | (ends & 31 & ~segment)
            source = (lane - by, lane + by, lane ^ by, (lane & segment) | (by & ~segment))[mode]
            inside = source >= bound if mode == 0 else source <= bound
            target[threads] = values[threads - lane + np.where(inside, source, lane)]
            for predicate in in_range:
                predicate[threads] = inside

        return [self._all_lanes(place, operands[4]), run]

    def _vote(self, place, instruction, full):
        kind, (target, vote, mask) = instruction.parts[2], instruction.operands
        combine = {
            "ballot": lambda yes: (yes * bits).sum(axis=1, dtype=np.uint32),
            "any": lambda yes: yes.any(axis=1),
            "all": lambda yes: yes.all(axis=1),
        }.get(kind)  # fmt: skip
        if instruction.parts[1] != "sync" or combine is None:
            raise self._unknown(place)
        predicate = self._read(place, vote.lstrip("!"), "pred")
        target = self._target(place, target, "u32" if kind == "ballot" else "pred")
        bits = np.uint32(1) << np.arange(WARP, dtype=np.uint32)

        def run():
            yes = predicate[self.threads] ^ vote.startswith("!")
            target[self.threads] = np.repeat(combine(yes.reshape(-1, WARP)), WARP)

        return [self._all_lanes(place, mask), run]


def _literal(text, kind):
    dtype = np.dtype(DTYPES[kind])
    prefix = text[:2].lower()
    if prefix in ("0f", "0d"):
        bits = np.array([int(text[2:], 16)], np.uint32 if prefix == "0f" else np.uint64)
        value = bits.view(np.float32 if prefix == "0f" else np.float64)[0]
        return value if dtype.kind == "f" else bits[0]
    if dtype == np.bool_:
        return bool(int(text, 0))
    if dtype.kind == "f" or not re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", text):
        raise NotImplementedError(f"operand {text!r}")
    bits = int(text.rstrip("U"), 0) & ((1 << 8 * dtype.itemsize) - 1)
    return np.array([bits], f"u{dtype.itemsize}").view(dtype)[0]
