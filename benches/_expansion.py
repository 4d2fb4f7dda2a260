"""What one PTX instruction becomes in machine code, measured on kernels that contain little else.

An independent check of `_sass`: executed PTX instructions, times what each becomes, must give about
the number of executed machine instructions that the line table gives.
"""

from __future__ import annotations

from functools import cache

from benches._sass import _blocks, _parse
from tests.gpu import compiled

COPIES = 8
# opcode -> types of the result and of the operands
FORMS = {
    "add.s64": ("b64", "b64 b64"), "sub.s64": ("b64", "b64 b64"), "and.b64": ("b64", "b64 b64"),
    "or.b64": ("b64", "b64 b64"), "xor.b64": ("b64", "b64 b64"), "shl.b64": ("b64", "b64 b32"),
    "shr.u64": ("b64", "b64 b32"), "shr.s64": ("b64", "b64 b32"), "mul.lo.s64": ("b64", "b64 b64"),
    "selp.b64": ("b64", "b64 b64 pred"), "selp.f64": ("f64", "f64 f64 pred"),
    "setp.lt.s64": ("pred", "b64 b64"), "setp.eq.s64": ("pred", "b64 b64"),
    "setp.gt.s64": ("pred", "b64 b64"), "max.s64": ("b64", "b64 b64"),
    "add.s32": ("b32", "b32 b32"), "mul.lo.s32": ("b32", "b32 b32"),
    "mul.wide.u32": ("b64", "b32 b32"), "selp.b32": ("b32", "b32 b32 pred"),
    "setp.lt.u32": ("pred", "b32 b32"), "cvt.s64.s32": ("b64", "b32"),
    "bfi.b64": ("b64", "b64 b64 b32 b32"),
    "add.f64": ("f64", "f64 f64"), "mul.f64": ("f64", "f64 f64"),
    "fma.rn.f64": ("f64", "f64 f64 f64"), "neg.f64": ("f64", "f64"), "abs.f64": ("f64", "f64"),
    "max.f64": ("f64", "f64 f64"), "min.f64": ("f64", "f64 f64"),
    "setp.lt.f64": ("pred", "f64 f64"), "div.rn.f64": ("f64", "f64 f64"),
    "rcp.rn.f64": ("f64", "f64"), "sqrt.rn.f64": ("f64", "f64"),
    "cvt.rn.f64.s64": ("f64", "b64"), "cvt.rn.f64.s32": ("f64", "b32"),
    "cvt.rni.s64.f64": ("b64", "f64"), "cvt.rmi.f64.f64": ("f64", "f64"),
    "cvt.rmi.s64.f64": ("b64", "f64"), "cvt.f64.f32": ("f64", "f32"),
    "cvt.rn.ftz.f32.f64": ("f32", "f64"), "add.ftz.f32": ("f32", "f32 f32"),
    "mul.ftz.f32": ("f32", "f32 f32"), "fma.rn.ftz.f32": ("f32", "f32 f32 f32"),
    "selp.f32": ("f32", "f32 f32 pred"), "setp.lt.ftz.f32": ("pred", "f32 f32"),
    "ex2.approx.ftz.f32": ("f32", "f32"), "lg2.approx.ftz.f32": ("f32", "f32"),
    "rcp.approx.ftz.f32": ("f32", "f32"), "sqrt.approx.ftz.f32": ("f32", "f32"),
    "div.approx.ftz.f32": ("f32", "f32 f32"), "div.full.ftz.f32": ("f32", "f32 f32"),
    "neg.ftz.f32": ("f32", "f32"), "abs.ftz.f32": ("f32", "f32"),
    "cvt.rn.f32.s32": ("f32", "b32"), "shfl.sync.bfly.b32": ("b32", "b32"),
}  # fmt: skip
SAME = {  # others of which there are many, as one of these
    "sub.f64": "add.f64", "sub.ftz.f32": "add.ftz.f32", "setp.lt.u64": "setp.lt.s64",
    "setp.gt.f64": "setp.lt.f64", "setp.gtu.f64": "setp.lt.f64", "setp.leu.f64": "setp.lt.f64",
    "setp.ge.s64": "setp.lt.s64", "setp.ne.s64": "setp.eq.s64", "setp.ne.s32": "setp.lt.u32",
    "sub.s32": "add.s32", "shl.b32": "add.s32", "and.b32": "add.s32", "or.b32": "add.s32",
    "xor.b32": "add.s32", "shr.u32": "add.s32", "shr.s32": "add.s32", "min.s64": "max.s64",
}  # fmt: skip
# These become nothing (names of registers), or are counted one for one.
NOTHING = ("mov.", "cvt.u64.u32", "cvt.u32.u64", "cvta.", "bar.warp.sync", "cvt.u32.u16")
_REGISTERS = {"b64": "%rd", "b32": "%r", "f64": "%fd", "f32": "%f", "pred": "%p"}
_HEAD = """.version 9.0
.target sm_{arch}
.address_size 64
.visible .entry k(.param .u64 a)
{{
.reg .b64 %rd<400>; .reg .b32 %r<400>; .reg .f64 %fd<400>; .reg .f32 %f<400>; .reg .pred %p<200>;
.reg .b64 %at; .reg .b32 %lane; .reg .b64 %wide;
ld.param.u64 %at, [a]; cvta.to.global.u64 %at, %at;
mov.u32 %lane, %tid.x; mul.wide.u32 %wide, %lane, 8192; add.s64 %at, %at, %wide;
"""


@cache
def expansion(opcode: str, cc: tuple[int, int]) -> float:
    """Machine instructions of a PTX instruction, without slow paths."""
    storing = 2 if FORMS[opcode][0] == "pred" else 1  # its result, which the other kernel lacks
    return (_size(opcode, cc, COPIES) - _size(opcode, cc, 0)) / COPIES - storing


def _size(opcode: str, cc: tuple[int, int], copies: int) -> int:
    result, operands = FORMS[opcode]
    kinds = operands.split()
    rows = [_HEAD.format(arch=f"{cc[0]}{cc[1]}")]
    number = 0
    names = []
    for _ in range(COPIES):
        mine = []
        for kind in kinds:
            name = f"{_REGISTERS[kind]}{number + 1}"
            number += 1
            if kind == "pred":
                rows.append(f"ld.global.u32 %r{300 + number}, [%at+{8 * number}];")
                rows.append(f"setp.ne.s32 {name}, %r{300 + number}, 0;")
            else:
                rows.append(f"ld.global.{kind} {name}, [%at+{8 * number}];")
            mine.append(name)
        names.append(mine)
    for copy, mine in enumerate(names):
        target = f"{_REGISTERS[result]}{100 + copy}"
        if copy >= copies:  # the operands are used all the same
            result_now = mine
        else:
            extra = ", 16, 31, -1" if opcode.startswith("shfl") else ""
            rows.append(f"{opcode} {target}, {', '.join(mine)}{extra};")
            result_now = [target, *mine]
        for name in result_now:
            kind = next(k for k, r in _REGISTERS.items() if name.rstrip("0123456789") == r)
            number += 1
            if kind == "pred":
                rows.append(f"selp.b32 %r{300 + number}, 1, 0, {name};")
                rows.append(f"st.global.u32 [%at+{4096 + 8 * number}], %r{300 + number};")
            else:
                rows.append(f"st.global.{kind} [%at+{4096 + 8 * number}], {name};")
    rows.append("ret;\n}")
    cubin, _ = compiled.link("\n".join(rows), cc)
    found = [b for b in _blocks(_parse(compiled.disassemble(cubin, "-c", "-hex"))) if b.main]
    return sum(i.name != "NOP" for block in found for i in block.instructions)


def estimate(executed: dict[str, float], cc: tuple[int, int]) -> tuple[float, float]:
    """Machine instructions of executed PTX ones, and the share of the latter that was measured."""
    total, known = 0.0, 0
    for opcode, times in executed.items():
        form = SAME.get(opcode, opcode)
        nothing = opcode.startswith(NOTHING)
        known += times if nothing or form in FORMS else 0
        if not nothing:
            total += times * (expansion(form, cc) if form in FORMS else 1.0)
    return total, known / sum(executed.values())
