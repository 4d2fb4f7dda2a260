"""What the instructions that only compute do: arithmetic, logic, comparisons, conversions.

`operation` turns an instruction into an `Operation`. Real numbers are rounded as PTX says. The
approximate instructions are rounded correctly, where the hardware is off by a unit or two in the
last place, but rcp of float64, of which the hardware gives only the first 20 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba.extending import intrinsic

from tests.gpu.emulator.parse import DTYPES, width_of

__all__ = ["Operation", "operation"]


class Operation(NamedTuple):
    """What an instruction computes."""

    function: object  # of the inputs
    target: tuple  # (operand, PTX type)
    inputs: list  # (operand, PTX type)
    options: dict = {}  # noqa: RUF012  further arguments of a ufunc


@intrinsic
def _fma_intrinsic(_, x, y, z):
    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return x(x, y, z), generate


@numba.vectorize(["float32(float32,float32,float32)", "float64(float64,float64,float64)"])
def _fma(x, y, z):
    return _fma_intrinsic(x, y, z)


@numba.vectorize(["float32(float32)"])
def _flush(x):
    return x * np.float32(0) if abs(x) < np.float32(2**-126) else x


fma = _fma.ufunc  # the plain ufunc is three times faster to call
flush = _flush.ufunc


def _directed_fma(mode):
    """x * y + z of float32, rounded down (rm) or towards zero (rz)."""

    def apply(x, y, z):
        product = x.astype(np.float64) * y  # exact, as a float64
        total = product + z
        part = total - product
        rest = (product - (total - part)) + (z - part)  # what the sum is short of
        nearest = total.astype(np.float32)
        error = total - nearest
        error = np.where(error == 0, rest, error)
        finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
        error = np.where(np.isinf(nearest) & finite, -np.sign(nearest), error)
        down = (error < 0) & ((nearest > 0) | (mode == "rm"))
        up = (error > 0) & (nearest < 0) & (mode == "rz")
        towards = np.where(down, np.float32(-np.inf), np.float32(np.inf))
        return np.where(down | up, np.nextafter(nearest, towards), nearest)

    return apply


def _in_float64(function):
    """The function evaluated in float64 and rounded to the type of the argument."""
    return lambda x: function(x.astype(np.float64)).astype(x.dtype)


def _gross_reciprocal(x):
    """The hardware looks at and gives the upper 32 bits of a float64 only."""
    upper, tiny = np.uint64(0xFFFFFFFF00000000), np.finfo(np.float64).tiny
    x = (x.view(np.uint64) & upper).view(np.float64)
    result = 1 / np.where(np.abs(x) < tiny, np.copysign(0.0, x), x)
    result = np.where(np.abs(result) < tiny, np.copysign(0.0, result), result)
    return np.where(np.isnan(result), result, (result.view(np.uint64) & upper).view(np.float64))


def _float_minimum(x, y):
    # -0 counts as smaller than +0.
    zero = np.where(np.signbit(y), y, x)
    return np.where((x == 0) & (y == 0), zero, np.fmin(x, y))


def _saturate(x):
    """Clamp to [0, 1]; NaN gives 0."""
    return np.fmin(np.fmax(x, x.dtype.type(0)), x.dtype.type(1)) + x.dtype.type(0)


def _divide_integers(x, y):
    """Division towards zero; division by zero gives all ones."""
    safe = np.where(y == 0, y.dtype.type(1), y)
    quotient = x // safe
    if x.dtype.kind == "i":
        quotient = quotient + ((x % safe != 0) & ((x < 0) != (safe < 0)))
    return np.where(y == 0, ~y, quotient).astype(x.dtype)


def _remainder(x, y):
    safe = np.where(y == 0, y.dtype.type(1), y)
    return np.where(y == 0, x, np.fmod(x, safe)).astype(x.dtype)


def _high_product(x, y):
    """Upper half of the product of two integers."""
    exact = x.astype(object) * y.astype(object)
    return (exact >> 8 * x.dtype.itemsize).astype(x.dtype)


def _insert_field(x, y, start, length):
    """bfi: y with a field replaced by the low bits of x."""
    bits = 8 * x.dtype.itemsize
    start, length = (part.astype(np.uint64) & np.uint64(0xFF) for part in (start, length))
    one = np.uint64(1)
    ones = np.where(length >= 64, ~np.uint64(0), (one << (length & np.uint64(63))) - one)
    shift = np.minimum(start, np.uint64(63))
    mask = np.where(start < bits, ones << shift, np.uint64(0))
    return ((y & ~mask) | ((x.astype(np.uint64) << shift) & mask)).astype(x.dtype)


def _to_integer(target):
    """Function that cuts off the fractions of floats and clamps them to an integer type."""
    limits = np.iinfo(target)
    above = 2.0 ** (limits.bits - (limits.min < 0))  # the first float that is too large

    def convert(x):
        whole = np.trunc(x.astype(np.float64))
        inside = (whole >= limits.min) & (whole < above)
        result = np.where(inside, whole, 0).astype(target)
        result[whole >= above] = limits.max
        result[whole < limits.min] = limits.min
        result[np.isnan(whole)] = limits.min if limits.min else limits.max // 2 + 1
        return result

    return convert


_COMPARE = {
    "eq": np.equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "ne": np.not_equal,
}  # fmt: skip
_COMPARE_REALS = {
    **_COMPARE, "neu": np.not_equal,
    "ne": lambda x, y: (x < y) | (x > y),
    "equ": lambda x, y: ~((x < y) | (x > y)),
    "ltu": lambda x, y: ~(x >= y), "leu": lambda x, y: ~(x > y),
    "gtu": lambda x, y: ~(x <= y), "geu": lambda x, y: ~(x < y),
    "num": lambda x, y: ~(np.isnan(x) | np.isnan(y)),
    "nan": lambda x, y: np.isnan(x) | np.isnan(y),
}  # fmt: skip
_APPROXIMATE = {
    "ex2": _in_float64(np.exp2), "lg2": _in_float64(np.log2), "rcp": _in_float64(np.reciprocal),
    "sqrt": _in_float64(np.sqrt), "rsqrt": _in_float64(lambda x: 1 / np.sqrt(x)),
}  # fmt: skip
_REALS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "fma": fma,
    "min": _float_minimum, "max": lambda x, y: -_float_minimum(-x, -y), "abs": np.abs,
    "neg": np.negative, "sqrt": np.sqrt, "rcp": np.reciprocal,
}  # fmt: skip
_INTEGERS = {
    "add": np.add, "sub": np.subtract, "div": _divide_integers, "rem": _remainder,
    "min": np.minimum, "max": np.maximum, "abs": np.abs, "neg": np.negative, "not": np.invert,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip
_REAL_MODIFIERS = {"rn", "rz", "rm", "ftz", "sat", "approx", "full"}
_ROUNDINGS = {"rmi": np.floor, "rzi": np.trunc}


def operation(instruction):
    """What an instruction computes, or None if it does more than to compute.

    Raises
    ------
    NotImplementedError
        For a form of the instruction that is not known.
    """
    special = {
        "setp": _setp, "selp": _selp, "cvt": _cvt, "copysign": _copysign, "popc": _popc,
        "bfi": _bfi, "shl": _shift, "shr": _shift, "mul": _product, "mad": _product,
    }  # fmt: skip
    real = instruction.type[0] == "f"
    name = instruction.name
    try:
        if name in special and not (name == "mul" and real):
            result = special[name](instruction)
        elif name in _REALS or name in _INTEGERS or name in _APPROXIMATE:
            result = _plain(instruction, real)
        else:
            return None
    except (KeyError, IndexError, ValueError):
        raise NotImplementedError(instruction.text) from None
    if {"ftz", "sat"} & set(instruction.parts):
        return _modified(result, "ftz" in instruction.parts, "sat" in instruction.parts)
    return result


def _modified(known, ftz, sat):
    """The operation on float32 with subnormals flushed to zero, or its result clamped."""

    def apply(*inputs):
        if ftz:
            pairs = zip(inputs, known.inputs, strict=True)
            inputs = [flush(x) if kind == "f32" else x for x, (_, kind) in pairs]
        result = known.function(*inputs, **known.options)
        if ftz and known.target[1] == "f32":
            result = flush(result)
        return _saturate(result) if sat else result

    return Operation(apply, known.target, known.inputs)


def _allow(instruction, *modifiers):
    """Refuse modifiers other than these and the types."""
    for part in instruction.parts[1:]:
        if part not in modifiers and part not in DTYPES:
            raise NotImplementedError(instruction.text)


def _plain(instruction, real):
    """Operation whose operands all are of the type of the instruction."""
    name, kind = instruction.name, instruction.type
    _allow(instruction, *(_REAL_MODIFIERS if real else ()))
    directed = {"rz", "rm"} & set(instruction.parts)
    if real and "approx" in instruction.parts and kind == "f64":
        function = {"rcp": _gross_reciprocal}[name]
    elif directed:
        fused = _directed_fma(*directed)
        if kind != "f32" or name not in ("fma", "add"):
            raise NotImplementedError(instruction.text)
        function = fused if name == "fma" else lambda x, y: fused(x, np.ones_like(x), y)
    elif real and name in _APPROXIMATE and (kind == "f32" or name not in _REALS):
        function = _APPROXIMATE[name]
    else:
        function = (_REALS if real else _INTEGERS)[name]
    target, *sources = instruction.operands
    return Operation(function, (target, kind), [(source, kind) for source in sources])


def _product(instruction):
    """mul and mad of integers."""
    _allow(instruction, "lo", "hi", "wide")
    kind, parts = instruction.type, instruction.parts
    wide = kind[0] + str(2 * int(kind[1:])) if "wide" in parts else kind
    target, x, y, *added = instruction.operands
    inputs = [(x, kind), (y, kind)]
    if instruction.name == "mul":
        if "hi" in parts:
            return Operation(_high_product, (target, wide), inputs)
        return Operation(np.multiply, (target, wide), inputs, {"dtype": DTYPES[wide]})
    if "hi" in parts:
        raise NotImplementedError(instruction.text)
    product = lambda x, y, z: np.multiply(x, y, dtype=z.dtype) + z  # noqa: E731
    return Operation(product, (target, wide), [*inputs, (added[0], wide)])


def _shift(instruction):
    _allow(instruction)
    kind = instruction.type
    target, x, amount = instruction.operands
    if width_of(kind) < 4:
        raise NotImplementedError(instruction.text)
    function = np.left_shift if instruction.name == "shl" else np.right_shift
    # numpy, like PTX, shifts all bits out if the amount is too large. A negative one counts as
    # large, so that the amount may be read as an integer of the same signedness.
    return Operation(
        function, (target, kind), [(x, kind), (amount, ("s" if kind[0] == "s" else "u") + "32")]
    )


def _copysign(instruction):
    target, sign, magnitude = instruction.operands
    kind = instruction.type
    return Operation(np.copysign, (target, kind), [(magnitude, kind), (sign, kind)])


def _popc(instruction):
    target, x = instruction.operands
    return Operation(np.bitwise_count, (target, "u32"), [(x, instruction.type)])


def _bfi(instruction):
    kind = instruction.type
    target, *sources = instruction.operands
    inputs = list(zip(sources, (kind, kind, "u32", "u32"), strict=True))
    return Operation(_insert_field, (target, kind), inputs)


def _setp(instruction):
    _allow(instruction, instruction.parts[1], "ftz")
    kind = instruction.type
    compare = _COMPARE_REALS if kind[0] == "f" else _COMPARE
    target, x, y = instruction.operands
    return Operation(compare[instruction.parts[1]], (target, "pred"), [(x, kind), (y, kind)])


def _selp(instruction):
    kind = instruction.type
    target, x, y, predicate = instruction.operands
    return Operation(np.where, (target, kind), [(predicate, "pred"), (x, kind), (y, kind)])


def _cvt(instruction):
    _allow(instruction, "sat", "ftz", "rn", *_ROUNDINGS)
    target_type, source_type = [part for part in instruction.parts if part in DTYPES]
    dtype, parts = DTYPES[target_type], set(instruction.parts)
    function = lambda x: x.astype(dtype)  # noqa: E731
    if target_type[0] != "f" and source_type[0] == "f":
        if "rzi" not in parts:
            raise NotImplementedError(instruction.text)
        function = _to_integer(dtype)
    elif target_type[0] != "f" and "sat" in parts:
        raise NotImplementedError(instruction.text)
    elif rounding := parts & set(_ROUNDINGS):
        function = _ROUNDINGS[rounding.pop()]
    target, source = instruction.operands
    return Operation(function, (target, target_type), [(source, source_type)])
