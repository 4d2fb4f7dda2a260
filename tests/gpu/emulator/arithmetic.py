"""What the instructions that only compute do: arithmetic, logic, comparisons, conversions.

`operation` turns an instruction into an `Operation`: a numpy ufunc, or a function of arrays, with
the types of its inputs and outputs. Real numbers are rounded as PTX says, in all rounding modes.
The approximate instructions are rounded correctly, where the hardware is off by a unit or two in
the last place, but rcp and rsqrt of float64, of which the hardware gives only the first 20 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba.extending import intrinsic

from tests.gpu.emulator.parse import DTYPES, width_of

__all__ = ["Operation", "operation"]

_CARRY = "%CC"  # the register of carries, which has no name in PTX


class Operation(NamedTuple):
    """What an instruction computes."""

    function: object  # of the inputs; gives one output, or a tuple of several
    outputs: list  # (operand, PTX type)
    inputs: list  # (operand, PTX type)
    is_ufunc: bool = False  # whether the function takes the output as a further argument
    options: dict = {}  # noqa: RUF012  further arguments of the ufunc


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


# ---------------------------------------------------------------------------------------------
# Rounding
# ---------------------------------------------------------------------------------------------


def _directed(mode, nearest, error, finite):
    """Round towards zero, down or up.

    Parameters
    ----------
    mode : str
        'rz', 'rm' or 'rp'.
    nearest : numpy.ndarray
        One of the two numbers of the type that are nearest to the exact result.
    error : numpy.ndarray
        Something with the sign of the exact result minus `nearest`.
    finite : numpy.ndarray
        Where the exact result is finite.
    """
    error = np.where(np.isinf(nearest) & finite, -np.sign(nearest), error)
    down = (error < 0) & ((mode == "rm") | ((mode == "rz") & (nearest > 0)))
    up = (error > 0) & ((mode == "rp") | ((mode == "rz") & (nearest < 0)))
    infinity = nearest.dtype.type(np.inf)
    result = np.where(down, np.nextafter(nearest, -infinity), nearest)
    return np.where(up, np.nextafter(nearest, infinity), result)


def _finite(*values):
    result = np.isfinite(values[0])
    for value in values[1:]:
        result = result & np.isfinite(value)
    return result


def _two_sum(x, y):
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _exact_fma(x, y, z):
    """x * y + z of float64, as a float64 and what it is short of."""
    product = x * y
    low = fma(x, y, -product)
    total, rest = _two_sum(product, z)
    nearest = fma(x, y, z)
    return nearest, (total - nearest) + (rest + low)


def _directed_fma(mode, x, y, z):
    finite = _finite(x, y, z)
    if x.dtype == np.float64:
        nearest, error = _exact_fma(x, y, z)
        return _directed(mode, nearest, error, finite)
    # The product of two float32 is a float64.
    total, rest = _two_sum(x.astype(np.float64) * y, z.astype(np.float64))
    nearest = total.astype(np.float32)
    error = total - nearest
    return _directed(mode, nearest, np.where(error == 0, rest, error), finite)


def _with_rounding(name, mode):
    """Function for add, sub, mul, fma, div, rcp or sqrt in a rounding mode other than rn."""

    def add(x, y):
        return _directed_fma(mode, x, np.ones_like(x), y)

    def subtract(x, y):
        return add(x, -y)

    def multiply(x, y):
        # The zero added has the sign that leaves a product of zero as it is.
        return _directed_fma(mode, x, y, np.copysign(x.dtype.type(0), x * y))

    def divide(x, y):
        nearest = x / y
        residual = fma(*(v.astype(np.float64) for v in (-nearest, y, x)))
        return _directed(mode, nearest, residual * np.sign(y), _finite(x, y) & (y != 0))

    def square_root(x):
        nearest = np.sqrt(x)
        residual = fma(*(v.astype(np.float64) for v in (-nearest, nearest, x)))
        return _directed(mode, nearest, residual, _finite(x))

    return {
        "add": add, "sub": subtract, "mul": multiply, "div": divide, "sqrt": square_root,
        "fma": lambda x, y, z: _directed_fma(mode, x, y, z),
        "rcp": lambda x: divide(np.ones_like(x), x),
    }[name]  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Floating point
# ---------------------------------------------------------------------------------------------


def _in_float64(function):
    """The function evaluated in float64 and rounded to the type of the argument."""

    def apply(x):
        return function(x.astype(np.float64)).astype(x.dtype)

    return apply


def _gross(function):
    """Approximations of float64 by the hardware look at and give the upper 32 bits only."""
    upper = np.uint64(0xFFFFFFFF00000000)
    tiny = np.finfo(np.float64).tiny

    def apply(x):
        x = (x.view(np.uint64) & upper).view(np.float64)
        x = np.where(np.abs(x) < tiny, np.copysign(0.0, x), x)
        result = function(x)
        result = np.where(np.abs(result) < tiny, np.copysign(0.0, result), result)
        rounded = result.view(np.uint64) & upper
        return np.where(np.isnan(result), result, rounded.view(np.float64))

    return apply


def _divide_approx(x, y):
    """div.approx, which gives zero (or NaN for infinite x) where 1/y is subnormal."""
    tiny_reciprocal = (np.abs(y) > np.float32(2.0**126)) & np.isfinite(y)
    quotient = (x.astype(np.float64) / y).astype(np.float32)
    return np.where(tiny_reciprocal, x * np.copysign(np.float32(0), y), quotient)


def _float_minimum(*values, nan=False):
    result = values[0]
    for value in values[1:]:
        smaller = np.minimum(result, value) if nan else np.fmin(result, value)
        # -0 counts as smaller than +0.
        zero = np.where(np.signbit(value), value, result)
        result = np.where((result == 0) & (value == 0), zero, smaller)
    return result


def _float_maximum(*values, nan=False):
    return -_float_minimum(*(-value for value in values), nan=nan)


def _saturate(x):
    """Clamp to [0, 1]; NaN gives 0."""
    return np.fmin(np.fmax(x, x.dtype.type(0)), x.dtype.type(1)) + x.dtype.type(0)


_APPROXIMATE = {
    "ex2": _in_float64(np.exp2), "lg2": _in_float64(np.log2), "sin": _in_float64(np.sin),
    "cos": _in_float64(np.cos), "tanh": _in_float64(np.tanh),
    "rcp": _in_float64(lambda x: 1 / x), "sqrt": _in_float64(np.sqrt),
    "rsqrt": _in_float64(lambda x: 1 / np.sqrt(x)),
}  # fmt: skip

_TESTS = {
    "finite": np.isfinite,
    "infinite": np.isinf,
    "number": lambda x: ~np.isnan(x),
    "notanumber": np.isnan,
    "normal": lambda x: np.isfinite(x) & (np.abs(x) >= np.finfo(x.dtype).tiny),
    "subnormal": lambda x: np.abs(x) < np.finfo(x.dtype).tiny,
}


# ---------------------------------------------------------------------------------------------
# Integers
# ---------------------------------------------------------------------------------------------


def _divide_integers(x, y):
    """Division towards zero; division by zero gives all ones."""
    safe = np.where(y == 0, y.dtype.type(1), y)
    if x.dtype.kind == "u":
        quotient = x // safe
    else:
        quotient = x // safe
        quotient = quotient + ((x % safe != 0) & ((x < 0) != (safe < 0)))
    return np.where(y == 0, ~y, quotient).astype(x.dtype)


def _remainder(x, y):
    safe = np.where(y == 0, y.dtype.type(1), y)
    return np.where(y == 0, x, np.fmod(x, safe)).astype(x.dtype)


def _high_product(x, y):
    """Upper half of the product of two integers."""
    bits = 8 * x.dtype.itemsize
    if bits < 64:
        wide = np.int64 if x.dtype.kind == "i" else np.uint64
        return ((x.astype(wide) * y.astype(wide)) >> wide(bits)).astype(x.dtype)
    ux, uy = x.view(np.uint64), y.view(np.uint64)
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    x0, x1, y0, y1 = ux & low, ux >> shift, uy & low, uy >> shift
    middle = x1 * y0 + ((x0 * y0) >> shift)
    other = x0 * y1 + (middle & low)
    high = x1 * y1 + (middle >> shift) + (other >> shift)
    if x.dtype.kind == "i":
        high = high - np.where(x < 0, uy, np.uint64(0)) - np.where(y < 0, ux, np.uint64(0))
    return high.view(x.dtype)


def _bit_length(x):
    """Number of bits up to the highest one, of unsigned integers."""
    if x.dtype.itemsize < 8:
        return np.frexp(x.astype(np.float64))[1].astype(np.uint32)
    high, low = x >> np.uint64(32), x & np.uint64(0xFFFFFFFF)
    lengths = [np.frexp(part.astype(np.float64))[1] for part in (high, low)]
    return np.where(high != 0, lengths[0] + 32, lengths[1]).astype(np.uint32)


def _find_leading(x, shift_amount=False):
    """bfind: place of the highest bit that differs from the sign."""
    bits = 8 * x.dtype.itemsize
    if x.dtype.kind == "i":
        x = np.where(x < 0, ~x, x)
    length = _bit_length(x.view(f"u{x.dtype.itemsize}"))
    place = bits - length if shift_amount else length - np.uint32(1)
    return np.where(length == 0, np.uint32(0xFFFFFFFF), place.astype(np.uint32))


def _reverse_bits(x):
    bits = 8 * x.dtype.itemsize
    digits = np.unpackbits(x.reshape(-1, 1).view(np.uint8), axis=1, bitorder="little")
    packed = np.packbits(digits[:, ::-1], axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view(f"u{bits // 8}")[:, 0]


def _extract_field(x, start, length):
    """bfe: bits of a field, extended by its highest bit if the type is signed."""
    kind, bits = x.dtype.kind, 8 * x.dtype.itemsize
    start = (start & 0xFF).astype(np.int64)
    length = (length & 0xFF).astype(np.int64)
    end = np.minimum(start + length, bits)
    kept = np.maximum(end - start, 0)
    raw = x.view(f"u{bits // 8}").astype(np.uint64)
    field = np.where(start < bits, raw >> np.minimum(start, 63).astype(np.uint64), np.uint64(0))
    field &= _low_mask(kept)
    if kind == "i":
        sign_at = np.minimum(start + length - 1, bits - 1)
        sign = ((raw >> np.maximum(sign_at, 0).astype(np.uint64)) & np.uint64(1)) != 0
        field = np.where(sign & (length > 0), field | ~_low_mask(kept), field)
    return field.astype(f"u{bits // 8}").view(x.dtype)


def _low_mask(count):
    """`count` ones, as uint64."""
    shifted = np.left_shift(np.uint64(1), np.minimum(count, 63).astype(np.uint64))
    return np.where(count >= 64, ~np.uint64(0), shifted - np.uint64(1))


def _insert_field(x, y, start, length):
    """bfi: y with a field replaced by the low bits of x."""
    bits = 8 * x.dtype.itemsize
    start = (start & 0xFF).astype(np.int64)
    length = (length & 0xFF).astype(np.int64)
    shift = np.minimum(start, 63).astype(np.uint64)
    mask = np.where(start < bits, _low_mask(length) << shift, np.uint64(0))
    wide = (y.astype(np.uint64) & ~mask) | ((x.astype(np.uint64) << shift) & mask)
    return wide.astype(x.dtype)


def _permute(x, y, selector):
    """prmt: each nibble of the selector picks a byte, or (bit 3) its sign eight times."""
    sources = (x.astype(np.uint64) | (y.astype(np.uint64) << np.uint64(32))).astype(np.uint64)
    result = np.zeros(len(x), np.uint32)
    for place in range(4):
        nibble = (selector >> np.uint32(4 * place)) & np.uint32(15)
        byte = (sources >> (np.uint64(8) * (nibble & 7).astype(np.uint64))) & np.uint64(0xFF)
        sign = np.where(byte >= 0x80, np.uint64(0xFF), np.uint64(0))
        byte = np.where(nibble & 8, sign, byte).astype(np.uint32)
        result |= byte << np.uint32(8 * place)
    return result


def _permute_mode(mode):
    """The selectors of the special modes of prmt, by the low bits of its third operand."""
    selectors = {
        "f4e": [0x3210, 0x4321, 0x5432, 0x6543],
        "b4e": [0x5670, 0x6701, 0x7012, 0x0123],
        "rc8": [0x0000, 0x1111, 0x2222, 0x3333],
        "ecl": [0x3210, 0x3211, 0x3222, 0x3333],
        "ecr": [0x0000, 0x1110, 0x2210, 0x3210],
        "rc16": [0x1010, 0x3232, 0x1010, 0x3232],
    }[mode]
    table = np.array(selectors, np.uint32)
    return lambda x, y, amount: _permute(x, y, table[amount & 3])


def _logic3(table):
    def apply(x, y, z):
        result = np.zeros_like(x)
        for i in range(8):
            if table >> i & 1:
                result |= (x if i & 4 else ~x) & (y if i & 2 else ~y) & (z if i & 1 else ~z)
        return result

    return apply


def _funnel_shift(direction, wraps):
    def apply(low, high, amount):
        amount = amount & 31 if wraps else np.minimum(amount, 32)
        amount = amount.astype(np.uint64)
        joined = low | (high.astype(np.uint64) << np.uint64(32))
        if direction == "l":
            return ((joined << amount) >> np.uint64(32)).astype(np.uint32)
        return (joined >> amount).astype(np.uint32)

    return apply


# ---------------------------------------------------------------------------------------------
# Comparisons and conversions
# ---------------------------------------------------------------------------------------------

_COMPARE = {
    "eq": np.equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip
_COMPARE_REALS = {
    "ne": lambda x, y: (x < y) | (x > y),
    "equ": lambda x, y: ~((x < y) | (x > y)),
    "ltu": lambda x, y: ~(x >= y),
    "leu": lambda x, y: ~(x > y),
    "gtu": lambda x, y: ~(x <= y),
    "geu": lambda x, y: ~(x < y),
    "num": lambda x, y: ~(np.isnan(x) | np.isnan(y)),
    "nan": lambda x, y: np.isnan(x) | np.isnan(y),
}
_LOGIC = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
_INTEGER_ROUNDINGS = {"rni": np.rint, "rmi": np.floor, "rpi": np.ceil, "rzi": np.trunc}


def _comparison(name, ptx_type):
    """The function of a comparison, and whether it is a ufunc."""
    if ptx_type[0] == "f":
        if name == "neu":
            return np.not_equal, True
        if name in _COMPARE_REALS:
            return _COMPARE_REALS[name], False
    elif name == "ne":
        return np.not_equal, True
    return _COMPARE[name], True


def _to_integer(target, source, rounding):
    """Function that rounds floats and clamps them to the range of an integer type."""
    limits = np.iinfo(target)
    # What NaN gives: 0, or for 64 bits on either side the highest bit alone.
    wide = source == np.float64 or limits.bits == 64
    nan = np.array([wide << (limits.bits - 1)], f"u{limits.bits // 8}").view(target)[0]
    above = 2.0 ** (limits.bits - (limits.min < 0))  # the first float that is too large

    def convert(x):
        whole = rounding(x.astype(np.float64))
        inside = (whole >= limits.min) & (whole < above)
        result = np.where(inside, whole, 0).astype(target)
        result[whole >= above] = limits.max
        result[whole < limits.min] = limits.min
        result[np.isnan(whole)] = nan
        return result

    return convert


def _conversion(target_type, source_type, parts):
    """The function of cvt."""
    target, source = DTYPES[target_type], DTYPES[source_type]
    if source_type[0] == "f" and target_type[0] != "f":
        modes = [_INTEGER_ROUNDINGS[part] for part in parts if part in _INTEGER_ROUNDINGS]
        return _to_integer(target, source, modes[0] if modes else np.trunc)
    if target_type[0] != "f":
        if "sat" not in parts:
            return lambda x: x.astype(target)
        low = max(np.iinfo(target).min, np.iinfo(source).min)
        high = min(np.iinfo(target).max, np.iinfo(source).max)
        return lambda x: np.clip(x, source(low), source(high)).astype(target)
    for part in parts:
        if part in _INTEGER_ROUNDINGS:
            rounding = _INTEGER_ROUNDINGS[part]
            return lambda x: rounding(x).astype(target)
    mode = next((part for part in parts if part in ("rz", "rm", "rp")), None)
    if mode is None:
        return lambda x: x.astype(target)

    def directed(x):
        exact = x.astype(np.longdouble)  # holds every integer and float64
        nearest = exact.astype(target)
        return _directed(mode, nearest, exact - nearest, np.isfinite(exact))

    return directed


# ---------------------------------------------------------------------------------------------
# The table of instructions
# ---------------------------------------------------------------------------------------------

_ROUNDINGS = {"rn", "rz", "rm", "rp"}
_FLOAT_MODIFIERS = {"ftz", "sat", *_ROUNDINGS}
_NAMES = {}  # name -> function(instruction) that gives an Operation


def _handles(*names):
    def register(function):
        _NAMES.update(dict.fromkeys(names, function))
        return function

    return register


def operation(instruction):
    """What an instruction computes, or None if it does more than to compute.

    Raises
    ------
    NotImplementedError
        For a form of the instruction that is not known.
    """
    handler = _NAMES.get(instruction.name)
    if handler is None:
        return None
    try:
        result = handler(instruction)
    except (KeyError, IndexError, ValueError):
        raise NotImplementedError(instruction.text) from None
    parts = instruction.parts
    if "ftz" in parts or ("sat" in parts and instruction.type[0] == "f"):
        result = _with_modifiers(result, "ftz" in parts, "sat" in parts)
    return result


def _with_modifiers(operation, ftz, sat):
    """The operation on float32 with subnormals flushed to zero, or its result clamped."""
    inner = operation.function
    flushed_in = [ptx_type == "f32" for _, ptx_type in operation.inputs]
    is_real = operation.outputs[0][1] in ("f16", "f32", "f64")
    flushed_out = operation.outputs[0][1] == "f32"

    def apply(*inputs):
        if ftz:
            inputs = [flush(x) if f else x for x, f in zip(inputs, flushed_in, strict=True)]
        result = inner(*inputs, **operation.options)
        if ftz and flushed_out:
            result = flush(result)
        return _saturate(result) if sat and is_real else result

    return Operation(apply, operation.outputs, operation.inputs)


def _allow(instruction, *modifiers):
    """Refuse modifiers other than these and the types."""
    for part in instruction.parts[1:]:
        if part not in modifiers and part not in DTYPES:
            raise NotImplementedError(instruction.text)


def _same_types(instruction, function, is_ufunc=False, **options):
    """Operation whose operands all are of the type of the instruction."""
    kind = instruction.type
    target, *sources = instruction.operands
    inputs = [(source, kind) for source in sources]
    return Operation(function, [(target, kind)], inputs, is_ufunc, options)


def _is_real(instruction):
    return instruction.type[0] == "f"


def _mode(instruction):
    """The rounding mode if it is not to the nearest, else None."""
    return next((part for part in instruction.parts if part in ("rz", "rm", "rp")), None)


def _clamped(function, kind):
    """add.sat.s32 or sub.sat.s32."""
    limits = np.iinfo(DTYPES[kind])

    def apply(x, y):
        exact = function(x.astype(np.int64), y.astype(np.int64))
        return np.clip(exact, limits.min, limits.max).astype(x.dtype)

    return apply


@_handles("add", "sub")
def _add(instruction):
    function = {"add": np.add, "sub": np.subtract}[instruction.name]
    if _is_real(instruction):
        _allow(instruction, *_FLOAT_MODIFIERS)
        if mode := _mode(instruction):
            return _same_types(instruction, _with_rounding(instruction.name, mode))
        return _same_types(instruction, function, True)
    if "cc" in instruction.parts:
        return _carrying(instruction)
    _allow(instruction, "sat")
    if "sat" in instruction.parts:
        return _same_types(instruction, _clamped(function, instruction.type))
    return _same_types(instruction, function, True)


@_handles("addc", "subc")
def _carrying(instruction):
    """add.cc, addc, addc.cc, sub.cc, subc, subc.cc."""
    _allow(instruction, "cc")
    kind = "u" + instruction.type[1:]
    target, x, y = instruction.operands
    subtracts = instruction.name.startswith("sub")
    return _with_carry(instruction, kind, target, lambda x, y: (x, y), [x, y], subtracts)


@_handles("madc")
def _multiply_carrying(instruction):
    """mad.cc, madc, madc.cc."""
    _allow(instruction, "lo", "hi", "cc")
    kind = "u" + instruction.type[1:]
    product = _high_product if "hi" in instruction.parts else np.multiply
    if "hi" in instruction.parts and instruction.type[0] == "s":
        raise NotImplementedError(instruction.text)
    target, *sources = instruction.operands
    return _with_carry(instruction, kind, target, lambda x, y, z: (product(x, y), z), sources)


def _with_carry(instruction, kind, target, terms, sources, subtracts=False):
    """Sum or difference of two terms, which are a function of the inputs, and of the carry."""
    takes = instruction.name in ("addc", "subc", "madc")
    gives = "cc" in instruction.parts

    def apply(*inputs):
        carry = None
        if takes:
            *inputs, carry = inputs
        x, y = terms(*inputs)
        if subtracts:
            # x - y - borrow is x + ~y + 1 - borrow; the carry register holds the borrow.
            y = ~y
            carry = np.ones_like(x) if carry is None else 1 - carry
        total = x + y
        carried = total < x
        if carry is not None:
            partial, total = total, total + carry.astype(x.dtype)
            carried = carried | (total < partial)
        if subtracts:
            carried = ~carried
        return (total, carried) if gives else total

    outputs = [(target, kind)] + [(_CARRY, "u8")] * gives
    inputs = [(source, kind) for source in sources] + [(_CARRY, "u8")] * takes
    return Operation(apply, outputs, inputs)


@_handles("mul", "mad", "fma", "mul24", "mad24")
def _multiply(instruction):
    name, kind = instruction.name, instruction.type
    if _is_real(instruction):
        _allow(instruction, *_FLOAT_MODIFIERS)
        name = "mul" if name == "mul" else "fma"
        if mode := _mode(instruction):
            return _same_types(instruction, _with_rounding(name, mode))
        if kind == "f16" and name == "fma":
            raise NotImplementedError(instruction.text)
        return _same_types(instruction, np.multiply if name == "mul" else fma, True)
    if "cc" in instruction.parts:
        return _multiply_carrying(instruction)
    _allow(instruction, "lo", "hi", "wide")
    parts = instruction.parts
    wide = kind[0] + str(2 * int(kind[1:])) if "wide" in parts else kind
    if name in ("mul24", "mad24"):
        product = _product24("hi" in parts)
    elif "wide" in parts:
        dtype = DTYPES[wide]
        if name == "mul":
            target, x, y = instruction.operands
            inputs = [(x, kind), (y, kind)]
            return Operation(np.multiply, [(target, wide)], inputs, True, {"dtype": dtype})

        def product(x, y):
            return np.multiply(x, y, dtype=dtype)
    else:
        product = _high_product if "hi" in parts else np.multiply
    if name.startswith("mul"):
        return _same_types(instruction, product, product is np.multiply)
    target, x, y, z = instruction.operands
    inputs = [(x, kind), (y, kind), (z, wide)]
    return Operation(lambda x, y, z: product(x, y) + z, [(target, wide)], inputs)


def _product24(high):
    """Product of the low 24 bits of two integers: bits 0-31 or 16-47 of it."""

    def apply(x, y):
        shift = x.dtype.type(8)
        x, y = ((value << shift) >> shift for value in (x, y))
        wide = x.astype(np.int64) * y.astype(np.int64)
        return (wide >> (16 if high else 0)).astype(x.dtype)

    return apply


@_handles("div")
def _division(instruction):
    if not _is_real(instruction):
        _allow(instruction)
        return _same_types(instruction, _divide_integers)
    _allow(instruction, "approx", "full", *_FLOAT_MODIFIERS)
    if "approx" in instruction.parts:
        return _same_types(instruction, _divide_approx)
    if mode := _mode(instruction):
        return _same_types(instruction, _with_rounding("div", mode))
    return _same_types(instruction, np.divide, True)


@_handles("rem")
def _rem(instruction):
    _allow(instruction)
    return _same_types(instruction, _remainder)


@_handles("min", "max")
def _extreme(instruction):
    is_minimum = instruction.name == "min"
    if not _is_real(instruction):
        _allow(instruction)
        return _same_types(instruction, np.minimum if is_minimum else np.maximum, True)
    _allow(instruction, "ftz", "NaN")
    function = _float_minimum if is_minimum else _float_maximum
    nan = "NaN" in instruction.parts
    return _same_types(instruction, lambda *values: function(*values, nan=nan))


@_handles("abs", "neg", "not", "cnot")
def _sign(instruction):
    _allow(instruction, "ftz")
    function = {
        "abs": np.abs, "neg": np.negative, "not": np.invert,
        "cnot": lambda x: (x == 0).astype(x.dtype),
    }[instruction.name]  # fmt: skip
    return _same_types(instruction, function, instruction.name != "cnot")


@_handles("and", "or", "xor")
def _logic(instruction):
    _allow(instruction)
    function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
    return _same_types(instruction, function[instruction.name], True)


@_handles("shl", "shr")
def _shift(instruction):
    _allow(instruction)
    kind = instruction.type
    target, x, amount = instruction.operands
    function = np.left_shift if instruction.name == "shl" else np.right_shift
    # numpy, like PTX, shifts all bits out if the amount is too large. A negative one counts as
    # large, so that the amount may be read as an integer of the same signedness.
    amount_type = ("s" if kind[0] == "s" else "u") + "32"
    inputs = [(x, kind), (amount, amount_type)]
    if width_of(kind) >= 4:
        return Operation(function, [(target, kind)], inputs, True)
    wider = np.int32 if kind[0] == "s" else np.uint32

    def apply(x, amount):
        return function(x.astype(wider), amount).astype(x.dtype)

    return Operation(apply, [(target, kind)], inputs)


@_handles("shf")
def _shf(instruction):
    _allow(instruction, "l", "r", "wrap", "clamp")
    function = _funnel_shift(instruction.parts[1], "wrap" in instruction.parts)
    target, *sources = instruction.operands
    return Operation(function, [(target, "u32")], [(source, "u32") for source in sources])


@_handles("sqrt", "rcp", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh")
def _special(instruction):
    _allow(instruction, "approx", *_FLOAT_MODIFIERS)
    name, kind = instruction.name, instruction.type
    if kind == "f64" and "approx" in instruction.parts:
        exact = {"rcp": lambda x: 1 / x, "rsqrt": lambda x: 1 / np.sqrt(x)}[name]
        return _same_types(instruction, _gross(exact))
    if mode := _mode(instruction):
        return _same_types(instruction, _with_rounding(name, mode))
    if name == "sqrt":
        return _same_types(instruction, np.sqrt, True)
    if name == "rcp" and kind == "f64":
        return _same_types(instruction, np.reciprocal, True)
    return _same_types(instruction, _APPROXIMATE[name])


@_handles("copysign")
def _copysign(instruction):
    target, sign, magnitude = instruction.operands
    kind = instruction.type
    inputs = [(magnitude, kind), (sign, kind)]
    return Operation(np.copysign, [(target, kind)], inputs, True)


@_handles("testp")
def _testp(instruction):
    target, x = instruction.operands
    function = _TESTS[instruction.parts[1]]
    return Operation(function, [(target, "pred")], [(x, instruction.type)])


@_handles("popc", "clz", "brev", "bfind")
def _bits(instruction):
    _allow(instruction, "shiftamt")
    name, kind = instruction.name, instruction.type
    target, x = instruction.operands
    function = {
        "popc": np.bitwise_count,
        "clz": lambda x: np.uint32(8 * x.dtype.itemsize) - _bit_length(x),
        "brev": _reverse_bits,
        "bfind": lambda x: _find_leading(x, "shiftamt" in instruction.parts),
    }[name]
    return Operation(function, [(target, kind if name == "brev" else "u32")], [(x, kind)])


@_handles("bfe", "bfi", "bmsk", "prmt", "lop3", "sad")
def _fields(instruction):
    name, kind = instruction.name, instruction.type
    target, *sources = instruction.operands
    if name == "bfe":
        inputs = [(sources[0], kind), (sources[1], "u32"), (sources[2], "u32")]
        return Operation(_extract_field, [(target, kind)], inputs)
    if name == "bfi":
        kinds = [kind, kind, "u32", "u32"]
        return Operation(_insert_field, [(target, kind)], list(zip(sources, kinds, strict=True)))
    if name == "prmt":
        mode = instruction.parts[2] if len(instruction.parts) > 2 else None
        inputs = [(source, "u32") for source in sources]
        return Operation(_permute_mode(mode) if mode else _permute, [(target, "u32")], inputs)
    if name == "lop3":
        _allow(instruction)
        *sources, table = sources
        inputs = [(source, kind) for source in sources]
        return Operation(_logic3(int(table, 0)), [(target, kind)], inputs)
    if name == "sad":
        return _same_types(instruction, lambda x, y, z: np.where(x > y, x - y, y - x) + z)
    raise NotImplementedError(instruction.text)


@_handles("setp")
def _setp(instruction):
    kind = instruction.type
    target, x, y, *combined = instruction.operands
    function, is_ufunc = _comparison(instruction.parts[1], kind)
    inputs = [(x, kind), (y, kind)]
    targets = [(name, "pred") for name in target.split("|")]
    logic = _LOGIC.get(instruction.parts[2])
    if len(targets) == 1 and not logic:
        return Operation(function, targets, inputs, is_ufunc)
    if combined:
        inputs.append((combined[0], "pred"))

    def apply(x, y, other=None):
        holds = function(x, y)
        if len(targets) == 1:
            return logic(holds, other)
        return tuple(logic(h, other) if logic else h for h in (holds, ~holds))

    return Operation(apply, targets, inputs)


@_handles("set")
def _set(instruction):
    target_type, kind = [part for part in instruction.parts if part in DTYPES]
    target, x, y, *combined = instruction.operands
    function, _ = _comparison(instruction.parts[1], kind)
    if combined:
        raise NotImplementedError(instruction.text)
    one = DTYPES[target_type](1) if target_type[0] == "f" else ~DTYPES[target_type](0)

    def apply(x, y):
        return np.where(function(x, y), one, one.dtype.type(0))

    return Operation(apply, [(target, target_type)], [(x, kind), (y, kind)])


@_handles("selp")
def _selp(instruction):
    kind = instruction.type
    target, x, y, predicate = instruction.operands
    inputs = [(predicate, "pred"), (x, kind), (y, kind)]
    return Operation(np.where, [(target, kind)], inputs)


@_handles("slct")
def _slct(instruction):
    _allow(instruction, "ftz")
    kind, sign_type = instruction.parts[-2:]
    target, x, y, sign = instruction.operands
    inputs = [(x, kind), (y, kind), (sign, sign_type)]
    return Operation(lambda x, y, s: np.where(s >= 0, x, y), [(target, kind)], inputs)


@_handles("cvt")
def _cvt(instruction):
    _allow(instruction, "sat", "ftz", *_ROUNDINGS, *_INTEGER_ROUNDINGS)
    target_type, source_type = [part for part in instruction.parts if part in DTYPES]
    function = _conversion(target_type, source_type, instruction.parts)
    target, source = instruction.operands
    saturates = "sat" in instruction.parts and target_type[0] == "f"
    if saturates and instruction.type[0] != "f":
        inner = function
        function = lambda x: _saturate(inner(x))  # noqa: E731
    return Operation(function, [(target, target_type)], [(source, source_type)])
