"""Machine code of a kernel, instruction by instruction, and how often each is executed.

ptxas keeps a table of lines: every machine instruction (SASS) says from which line of its source it
was made.  Here that source is the PTX itself (a ``.loc`` before each instruction), so the counts
that the tests' emulator takes of PTX instructions become counts of machine instructions: no guess
of what a division or a 64-bit addition costs is needed.

A block of PTX may have several copies in the machine code (unrolled loops, duplicated tails).  Its
executions are shared evenly among them: a copy is seen by instructions that are made from one PTX
instruction one for one (`ONE_FOR_ONE`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.gpu import compiled

NAME = "kernel.ptx"
# A PTX instruction and the machine instruction that stands for it and for it only.
ONE_FOR_ONE = {
    "fma.rn.f64": "DFMA", "add.f64": "DADD", "sub.f64": "DADD", "mul.f64": "DMUL",
    "fma.rn.f32": "FFMA", "fma.rn.ftz.f32": "FFMA", "add.f32": "FADD", "add.ftz.f32": "FADD",
    "sub.f32": "FADD", "sub.ftz.f32": "FADD", "mul.f32": "FMUL", "mul.ftz.f32": "FMUL",
    "ex2.approx.ftz.f32": "MUFU", "lg2.approx.ftz.f32": "MUFU", "rcp.approx.ftz.f32": "MUFU",
    "shfl.sync.bfly.b32": "SHFL", "shfl.sync.idx.b32": "SHFL", "shfl.sync.up.b32": "SHFL",
    "st.shared.f64": "STS", "st.shared.f32": "STS", "st.global.f64": "STG", "st.global.f32": "STG",
    "ld.global.f64": "LDG", "ld.global.f32": "LDG", "mul.hi.u32": "IMAD",
}  # fmt: skip

_INSTRUCTION = re.compile(
    r"\s+/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*);\s*(?:/\* (0x\w+) \*/)?"
)
_SECOND = re.compile(r"\s+/\* (0x[0-9a-f]{16}) \*/\s*$")
_LINE = re.compile(rf'\s*//## File "{re.escape(NAME)}", line (\d+)')
_LABEL = re.compile(r"(\.L_x_\d+):")
_TARGET = re.compile(r"`\(([^)]+)\)")


@dataclass
class Instruction:
    """A machine instruction."""

    opcode: str  # DFMA, MUFU.EX2, LDS.64
    guard: str
    operands: str
    line: int  # of the PTX
    high: int  # upper half of the encoding, with the scheduling
    labels: list[str] = field(default_factory=list)  # that stand before it

    @property
    def name(self) -> str:
        return self.opcode.split(".")[0]

    @property
    def stall(self) -> int:
        """Cycles until the next instruction of the warp may be issued."""
        return max(self.high >> 41 & 0xF, 1)

    @property
    def sets(self) -> int:
        """The barrier that is free when the result is there; 7: none."""
        return self.high >> 46 & 7

    @property
    def waits(self) -> int:
        """Mask of barriers that are waited for."""
        return self.high >> 52 & 0x3F


@dataclass
class Block:
    """Instructions that are executed one after the other."""

    instructions: list[Instruction]
    follows: list[int] = field(default_factory=list)  # numbers of blocks
    main: bool = False  # no slow path
    count: float = 0.0  # executions by warps


def with_lines(ptx: str) -> str:
    """The PTX with a line table that names its own lines."""
    out, open_statement, in_body = [], False, False
    for number, line in enumerate(ptx.split("\n"), 1):
        text = line.split("//")[0].strip()
        in_body = in_body or text.startswith("{")
        starts = bool(text) and not open_statement and text[0] not in ".${}"
        if in_body and starts:
            out.append(f".loc 1 {number} 0")
        out.append(line)
        if text:
            open_statement = in_body and text[-1] not in ";{}:"
    whole = "\n".join(out)
    return whole.replace(".address_size 64", f'.address_size 64\n.file 1 "{NAME}"', 1)


def blocks_of(ptx: str, cc: tuple[int, int]) -> list[Block]:
    """Basic blocks of the kernel's machine code, with those that are not slow paths marked."""
    cubin, _ = compiled.link(with_lines(ptx), cc, "-lineinfo")
    instructions = _parse(compiled.disassemble(cubin, "-c", "-g", "-hex"))
    return _blocks(instructions)


def _parse(text: str) -> list[Instruction]:
    """Instructions of the kernel; those of the subroutines for slow paths are left out."""
    found: list[Instruction] = []
    line, labels, inside = 0, [], False
    for row in text.splitlines():
        if row.startswith("//------"):
            inside = ".text." in row and ".text.__cuda_sm" not in row
            line = 0
        elif not inside:
            continue
        elif match := _LINE.match(row):
            line = int(match[1])
        elif match := _LABEL.match(row):
            labels.append(match[1])
        elif match := _INSTRUCTION.match(row):
            _, guard, opcode, operands, _ = match.groups()
            found.append(Instruction(opcode, guard or "", operands.strip(), line, 0, labels))
            labels = []
        elif found and (match := _SECOND.match(row)):
            found[-1].high = int(match[1], 16)
    return found


_ENDS = {"BRA", "EXIT", "RET", "CALL", "BRX", "JMP", "BREAK"}


def _blocks(instructions: list[Instruction]) -> list[Block]:
    starts = [0]
    for i, one in enumerate(instructions):
        if i and (one.labels or instructions[i - 1].name in _ENDS):
            starts.append(i)
    ends = [*starts[1:], len(instructions)]
    blocks = [Block(instructions[a:b]) for a, b in zip(starts, ends, strict=True)]
    at = {label: n for n, block in enumerate(blocks) for label in block.instructions[0].labels}
    for n, block in enumerate(blocks):
        last = block.instructions[-1]
        target = _TARGET.search(last.operands)
        kind = last.opcode.split(".")[1] if "." in last.opcode else ""
        jumps = last.name == "BRA" or (last.name == "CALL" and target and target[1] in at)
        # Where a warp's threads came apart (DIV), shuffles and votes are done one by one; where
        # they are together (CONV), nothing need be done to bring them so.
        if jumps and target and kind != "DIV":
            block.follows.append(at[target[1]])
        always = last.name in ("EXIT", "RET", "JMP", "CALL", "BRA") and not _conditional(last)
        if not always and kind != "CONV" and n + 1 < len(blocks):
            block.follows.append(n + 1)
    todo = [0]
    while todo:
        block = blocks[todo.pop()]
        last = block.instructions[-1]
        if not block.main:
            # What calls a subroutine (of a division's rare cases, say) is a slow path.
            block.main = not (last.name == "CALL" and not block.follows)
            todo += block.follows if block.main else []
    return blocks


def _conditional(branch: Instruction) -> bool:
    """Whether what follows a branch may be executed too."""
    before = branch.operands.split("`")[0].strip(" ,")
    return bool(branch.guard) or ".DIV" in branch.opcode or "P" in before


def count(blocks: list[Block], report: Any) -> list[Block]:
    """Set how often warps execute each block, from the emulator's report; the main blocks.

    Parameters
    ----------
    blocks : list of Block
    report : tests.gpu.emulator.report.Report
        Of the same PTX.
    """
    program = report.program
    executed: dict[int, int] = {}
    block_of: dict[int, int] = {}
    opcode: dict[int, str] = {}
    for start, ptx_block in program.blocks.items():
        for place in range(start, ptx_block.end):
            line = program.instructions[place].line
            executed[line] = report.warp_counts[place]
            block_of[line] = start
            opcode[line] = program.instructions[place].opcode
    main = [block for block in blocks if block.main]
    seen: dict[int, Counter[str]] = defaultdict(Counter)
    for block in main:
        for one in block.instructions:
            seen[one.line][one.name] += 1
    copies: dict[int, list[int]] = defaultdict(list)
    for line, names in seen.items():
        name = ONE_FOR_ONE.get(opcode.get(line, ""))
        if name and names[name]:
            copies[block_of[line]].append(names[name])
    for block in main:
        good, rest = [], []
        for one in block.instructions:
            if one.line not in executed:
                continue
            times = executed[one.line]
            if ONE_FOR_ONE.get(opcode[one.line]) == one.name:
                good.append(times / median(copies[block_of[one.line]]))
            else:
                here = seen[one.line][one.name]
                known = copies.get(block_of[one.line])
                rest.append(times / (median(known) if known else here))
        block.count = median(good) if good else (median(rest) if rest else 0.0)
    return main


def by_opcode(main: list[Block]) -> Counter[str]:
    """Executed machine instructions by opcode."""
    found: Counter[str] = Counter()
    for block in main:
        for one in block.instructions:
            found[one.opcode] += block.count
    return found


def check(executed: Counter[str], report: Any) -> None:
    """Compare with PTX where one instruction becomes one: nothing was overlooked or counted twice.

    Raises
    ------
    ValueError
        Shuffles or accesses to shared memory differ by more than a tenth (a few are merged).
    """
    ptx = report.warp_counts_by_opcode()
    for name, prefix in (("SHFL", "shfl."), ("STS", "st.shared."), ("LDS", "ld.shared.")):
        expected = sum(n for opcode, n in ptx.items() if opcode.startswith(prefix))
        found = sum(n for opcode, n in executed.items() if opcode.split(".")[0] == name)
        few = 1e-3 * sum(executed.values())
        if abs(found - expected) > 0.1 * expected + few:
            raise ValueError(f"{name}: {found:,.0f} machine instructions, {expected:,} of PTX")


# Cycles until a result is there, of instructions whose latency is not fixed.  Loads from global
# memory find what they need in the caches: a run's points are read in order, tables by all runs.
LATENCY = {
    "LDS": 30, "STS": 20, "SHFL": 25, "LDG": 250, "LD": 250, "STG": 30, "ST": 30, "MUFU": 25,
    "F2F": 25, "F2I": 25, "I2F": 25, "FRND": 25, "S2R": 30, "VOTE": 12, "POPC": 15, "S2UR": 30,
    "LDC": 40,
}  # fmt: skip
OTHER = 15
BARRIER = 20  # of the block, which is one warp
DOUBLE = ("DFMA", "DADD", "DMUL", "DSETP", "DMNMX")


def alone(main: list[Block], double_latency: float) -> float:
    """Cycles that a warp would take with a multiprocessor for itself, by the code's scheduling.

    Parameters
    ----------
    main : list of Block
        With their counts.
    double_latency : float
        Cycles until a float64 result is there, where the code waits for it by a barrier.


    Notes
    -----
    Instructions are issued in the order of the code, each after the stall that ptxas wrote into the
    one before, and when the barriers that it waits for are free.  What a block leaves under way is
    still so in the next one; the body of a loop finds what it left itself.
    """
    total = 0.0
    ready = [0.0] * 6  # cycles from now until a barrier is free
    for block in main:
        again = block.instructions[-1].operands.endswith(f"`({_label(block)})")
        for _ in range(2 if again else 1):
            clock = 0.0
            for one in block.instructions:
                waited = [ready[b] for b in range(6) if one.waits >> b & 1]
                clock = max([clock, *waited])
                if one.sets != 7:
                    usual = double_latency if one.name in DOUBLE else OTHER
                    ready[one.sets] = clock + LATENCY.get(one.name, usual)
                clock += BARRIER if one.name == "BAR" else one.stall
            ready = [max(time - clock, 0.0) for time in ready]
        total += block.count * clock
    return total


def _label(block: Block) -> str:
    return block.instructions[0].labels[-1] if block.instructions[0].labels else "-"
