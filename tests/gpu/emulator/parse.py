"""PTX text into kernels: registers, instructions, shared memory and basic blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

__all__ = ["DTYPES", "Block", "Instruction", "Program", "is_collective", "parse", "width_of"]

DTYPES = {
    **{f"{kind}{8 * width}": np.dtype(f"{number}{width}").type
       for kind, number in (("u", "u"), ("s", "i"), ("b", "u")) for width in (1, 2, 4, 8)},
    "f32": np.float32, "f64": np.float64, "pred": np.bool_,
}  # fmt: skip
SHARED_GAP = 64  # unmapped bytes after each shared array, to notice overruns

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|^[ \t]*\.(?:loc|file)\b[^\n]*", re.S | re.M)
_ENTRY = re.compile(r"\.entry\s+([\w$]+)\s*\(([^)]*)\)[^{]*\{")
_PARAMETER = re.compile(r"\.param\s+\.(\w+)\s+(?:\.ptr\s[^,]*?)?([\w$]+)\s*(?:,|$)")
_SHARED = re.compile(r"\.shared\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)\s*\[(\d+)\]")
_STATEMENT = re.compile(r"\s*(?:([{}])|([$\w]+)\s*:(?!:)|([^;{}]+(?:\{[^}]*\}[^;{}]*)*);)")
_INSTRUCTION = re.compile(r"(?:@(!?%\w+)\s+)?([a-z][\w.:]*)\s*(.*)", re.S)
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|generic\([^)]*\)|[^,\s]+")
_TOKEN = re.compile(r"[%$\w]+")


@dataclass(slots=True)
class Instruction:
    """One instruction, e.g. '@%p1 bra LOOP'."""

    guard: str  # '', '%p1' or '!%p1'
    opcode: str  # 'ld.global.f32'
    parts: list  # ['ld', 'global', 'f32']
    operands: list  # ['%f1', '[%rd1+4]']
    line: int  # in the PTX text, from 1
    text: str

    @property
    def name(self):
        """First part of the opcode: 'ld'."""
        return self.parts[0]

    @property
    def type(self):
        """Last part of the opcode: 'f32'."""
        return self.parts[-1]


@dataclass
class Block:
    """Instructions that are executed one after the other: from `start` up to `end`.

    The last one alone may be a jump. A collective instruction is a block of its own.
    """

    start: int
    end: int
    next: tuple  # starts of the blocks that may follow


@dataclass
class Program:
    """A kernel.

    Attributes
    ----------
    parameters, registers : dict
        Name -> PTX type.
    shared : dict
        Name -> (offset, size) in shared memory, of `shared_end` bytes.
    instructions : list of Instruction
    labels : dict
        Label -> place of the instruction after it.
    blocks : dict
        The basic blocks, by where they start.
    unit : int
        Bytes of the narrowest access to memory.
    """

    name: str
    parameters: dict
    shared: dict
    shared_end: int
    registers: dict = field(default_factory=dict)
    instructions: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)
    blocks: dict = field(default_factory=dict)
    unit: int = 8

    def describe(self, place):
        """An instruction for an error message."""
        instruction = self.instructions[place]
        return f"line {instruction.line}: {instruction.text}"


def width_of(ptx_type):
    """Bytes of a type."""
    return np.dtype(DTYPES[ptx_type]).itemsize


def is_collective(instruction):
    """Whether the threads of a block wait for one another at an instruction."""
    return instruction.name in ("bar", "barrier", "shfl", "vote")


def parse(ptx):
    """The kernels of a PTX text, by name.

    Raises
    ------
    NotImplementedError
        It has what no kernel of the library needs: functions, or memory other than global and
        shared.
    """
    ptx = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), ptx)
    if match := re.search(r"\.(func|local|const|extern)\b", ptx):
        raise NotImplementedError(f"PTX with {match[0]}")
    shared, end = {}, 0
    for alignment, kind, name, count in _SHARED.findall(ptx):
        multiple = max(int(alignment or 0), 16)
        start = -(-end // multiple) * multiple
        size = width_of(kind) * int(count)
        shared[name], end = (start, size), start + size + SHARED_GAP
    programs = {}
    for match in _ENTRY.finditer(ptx):
        kinds = {name: kind for kind, name in _PARAMETER.findall(match[2])}
        program = Program(match[1], kinds, shared, -(-end // 128) * 128)
        _parse_body(program, ptx, match.end())
        _find_blocks(program)
        programs[program.name] = program
    return programs


def _parse_body(program, text, position):
    """Read statements up to the brace that closes the kernel.

    Braces inside open a scope, whose registers may have the names of others outside (inline
    assembly does so); here they get names of their own.
    """
    scopes, n_scopes = [{}], 0
    line = text.count("\n", 0, position) + 1
    while scopes:
        match = _STATEMENT.match(text, position)
        start = match.start(match.lastindex)
        line += text.count("\n", position, start)
        brace, label, statement = match.groups()
        if brace == "{":
            n_scopes += 1
            scopes.append({})
        elif brace == "}":
            scopes.pop()
        elif label:
            program.labels[label] = len(program.instructions)
        elif statement.startswith(".reg"):
            kind, names = re.match(r"\.reg\s+\.(\w+)\s+(.*)", statement, re.S).groups()
            for name in map(str.strip, names.split(",")):
                span = re.match(r"(%\w+?)<(\d+)>", name)
                for single in [f"{span[1]}{i}" for i in range(int(span[2]))] if span else [name]:
                    scopes[-1][single] = single + (f"#{n_scopes}" if len(scopes) > 1 else "")
                    program.registers[scopes[-1][single]] = kind
        elif not statement.startswith((".shared", ".visible", ".pragma")):
            program.instructions.append(_instruction(statement, line, scopes))
        line += text.count("\n", start, match.end())
        position = match.end()


def _instruction(statement, line, scopes):
    def resolve(match):
        return next((s[match[0]] for s in reversed(scopes) if match[0] in s), match[0])

    shown = " ".join(statement.split())
    match = _INSTRUCTION.fullmatch(_TOKEN.sub(resolve, statement) if len(scopes) > 1 else statement)
    if match is None:
        raise SyntaxError(f"line {line}: {shown}")
    guard, opcode, operands = match.groups()
    operands = [operand.strip() for operand in _OPERAND.findall(operands)]
    if guard and opcode.split(".")[0] != "bra":
        raise NotImplementedError(f"line {line}: {shown}")
    return Instruction(guard or "", opcode, opcode.split("."), operands, line, shown)


def _find_blocks(program):
    instructions = program.instructions
    starts = {0, *program.labels.values()}
    for place, instruction in enumerate(instructions):
        if is_collective(instruction):
            starts |= {place, place + 1}
        elif instruction.name in ("bra", "ret"):
            starts.add(place + 1)
        elif instruction.name in ("ld", "st") and "param" not in instruction.parts:
            program.unit = min(program.unit, width_of(instruction.type))
    places = sorted(starts - {len(instructions)})
    for start, end in zip(places, [*places[1:], len(instructions)], strict=True):
        last = instructions[end - 1]
        following = () if last.name == "ret" or (last.name == "bra" and not last.guard) else (end,)
        if last.name == "bra":
            following = (program.labels[last.operands[0]], *following)
        program.blocks[start] = Block(start, end, following)
