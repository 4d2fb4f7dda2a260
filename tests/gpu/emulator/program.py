"""A kernel with the functions it calls, laid out for execution, and cut into basic blocks.

The instructions of all functions lie in one row. A function lies before those that call it, so
that the threads at the lowest place, which run first, are those deepest in calls: the threads of a
warp meet again after a call that only some of them made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.gpu.emulator.parse import Instruction, Variable, width_of

__all__ = ["Block", "Program", "is_collective"]

_JUMPS = {"bra", "ret", "exit", "trap", "call"}
_SHARED_GAP = 64  # unmapped bytes after each shared or local array, to notice overruns


@dataclass
class Block:
    """Instructions that are executed one after the other: from `start` up to `end`.

    The last one alone may be a jump. A collective instruction is a block of its own.
    """

    start: int
    end: int
    next: tuple = ()  # starts of the blocks that may follow


def is_collective(instruction):
    """Whether threads wait for one another at an instruction: a barrier, shuffle, vote..."""
    name = instruction.name
    if name in ("bar", "barrier"):
        return True
    return name in ("shfl", "vote")


class Program:
    """An entry and all that it calls.

    Parameters
    ----------
    functions : dict
        The functions of the module.
    variables : list
        The module's variables.
    entry : str
        Name of the kernel.

    Attributes
    ----------
    functions : list
        The functions, each before those that call it.
    start : list
        Place of the first instruction of each function.
    instructions : list
        The instructions of all functions.
    function_of : list
        For each instruction, the number of its function.
    is_pseudo : set
        Places of instructions that are not in the PTX.
    variables : list
        Variables in global and constant memory, and parameters whose address is taken.
    labels : dict
        (number of the function, label) -> place.
    shared, local, shared_end, local_end
        Name of a variable -> (offset, size), and the first free byte, in shared and local memory.
    dynamic : list
        Names of the shared arrays without a size.
    unit : int
        Bytes of the narrowest access to memory.
    """

    def __init__(self, functions, variables, entry):
        self.functions = []
        self._collect(functions, functions[entry], [])
        self.variables = [v for v in variables if v.space in ("global", "const")]
        self.variables += self._addressed_parameters()
        self._lay_out_instructions()
        self._lay_out_memory(variables)
        self.unit = min([8, *self._access_widths()])
        self._blocks = None

    def _collect(self, functions, function, callers):
        if function in callers:
            raise NotImplementedError(f"recursion in {function.name}")
        for name in function.called():
            if name in functions and functions[name] not in self.functions:
                self._collect(functions, functions[name], [*callers, function])
        self.functions.append(function)

    def _addressed_parameters(self):
        """The kernel's parameters whose address is taken, as constant variables."""
        used = {operand for i in self.functions[-1].instructions for operand in i.operands}
        return [
            Variable(parameter.name, "const", 16, parameter.size)
            for parameter in self.functions[-1].parameters
            if parameter.name in used
        ]

    def _lay_out_instructions(self):
        self.instructions, self.function_of, self.start = [], [], []
        self.is_pseudo, self.labels = set(), {}
        for number, function in enumerate(self.functions):
            self.start.append(len(self.instructions))
            place_of = []
            for instruction in function.instructions:
                place_of.append(len(self.instructions))
                conditional = instruction.name in _JUMPS - {"bra"} or is_collective(instruction)
                if instruction.guard and conditional:
                    self._skip_if_not(instruction, number)
                    instruction = Instruction(
                        "", instruction.opcode, instruction.parts, instruction.operands,
                        instruction.line, instruction.text,
                    )  # fmt: skip
                self.instructions.append(instruction)
                self.function_of.append(number)
            place_of.append(len(self.instructions))
            # A function may end without `ret`.
            self.is_pseudo.add(len(self.instructions))
            line = function.instructions[-1].line if function.instructions else 0
            self.instructions.append(Instruction("", "ret", ["ret"], [], line, "end"))
            self.function_of.append(number)
            for label, index in function.labels.items():
                self.labels[number, label] = place_of[index]
        self.entry_start = self.start[-1]

    def _skip_if_not(self, instruction, number):
        """Put a branch around an instruction in place of its guard."""
        guard = instruction.guard
        opposite = guard[1:] if guard[0] == "!" else "!" + guard
        place = len(self.instructions)
        label = f"after {place}"
        self.is_pseudo.add(place)
        self.labels[number, label] = place + 2
        self.instructions.append(
            Instruction(opposite, "bra", ["bra"], [label], instruction.line, instruction.text)
        )
        self.function_of.append(number)

    def _lay_out_memory(self, variables):
        self.shared, self.local, self.dynamic = {}, {}, []
        ends = {"shared": 0, "local": 0}
        inside = [v for function in self.functions for v in function.variables]
        for variable in [*variables, *inside]:
            if variable.space not in ends:
                continue
            if variable.size == 0:
                self.dynamic.append(variable.name)
                continue
            places = self.shared if variable.space == "shared" else self.local
            if variable.name in places:
                continue
            multiple = max(variable.alignment, 16)
            offset = -(-ends[variable.space] // multiple) * multiple
            places[variable.name] = (offset, variable.size)
            ends[variable.space] = offset + variable.size + _SHARED_GAP
        self.shared_end = -(-ends["shared"] // 128) * 128
        self.local_end = ends["local"]
        self.static_shared = sum(size for _, size in self.shared.values())

    def _access_widths(self):
        for instruction in self.instructions:
            if instruction.name in ("ld", "st", "atom", "red"):
                if "param" in instruction.parts:
                    continue
                if re.fullmatch(r"[busf]\d+", instruction.type):
                    yield width_of(instruction.type)

    def describe(self, place):
        """An instruction for an error message."""
        instruction = self.instructions[place]
        function = self.functions[self.function_of[place]]
        where = "" if function.is_entry else f" in {function.name}"
        return f"line {instruction.line}{where}: {instruction.text}"

    # -- control flow -------------------------------------------------------------------------

    def target(self, place, label):
        """Place that a label means in the function of an instruction."""
        return self.labels[self.function_of[place], label]

    def following(self, place):
        """Places that may be executed after an instruction, in the same function."""
        instruction = self.instructions[place]
        name = instruction.name
        if name == "bra":
            target = self.target(place, instruction.operands[0])
            return (target, place + 1) if instruction.guard else (target,)
        if name in ("ret", "exit", "trap"):
            return ()
        return (place + 1,)

    def starts_block(self):
        """For each place, whether a basic block starts there."""
        starts = [False] * (len(self.instructions) + 1)
        for place in [*self.start, *self.labels.values()]:
            starts[place] = True
        for place, instruction in enumerate(self.instructions):
            collective = is_collective(instruction)
            if collective:
                starts[place] = True
            if collective or instruction.name in _JUMPS:
                starts[place + 1] = True
        return starts

    @property
    def blocks(self):
        """The basic blocks, by where they start."""
        if self._blocks is None:
            starts = self.starts_block()
            places = [place for place in range(len(self.instructions)) if starts[place]]
            ends = [*places[1:], len(self.instructions)]
            self._blocks = {
                start: Block(start, end, self.following(end - 1))
                for start, end in zip(places, ends, strict=True)
            }
        return self._blocks
