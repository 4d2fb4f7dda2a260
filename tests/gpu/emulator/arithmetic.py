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
    """Function for add or fma in a rounding mode other than rn."""

    def add(x, y):
        return _directed_fma(mode, x, np.ones_like(x), y)

    return {"add": add, "fma": lambda x, y, z: _directed_fma(mode, x, y, z)}[name]


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


def _float_minimum(x, y):
    # -0 counts as smaller than +0.
    zero = np.where(np.signbit(y), y, x)
    return np.where((x == 0) & (y == 0), zero, np.fmin(x, y))


def _float_maximum(x, y):
    return -_float_minimum(-x, -y)


def _saturate(x):
    """Clamp to [0, 1]; NaN gives 0."""
    return np.fmin(np.fmax(x, x.dtype.type(0)), x.dtype.type(1)) + x.dtype.type(0)


_APPROXIMATE = {
    "ex2": _in_float64(np.exp2), "lg2": _in_float64(np.log2),
    "rcp": _in_float64(lambda x: 1 / x), "sqrt": _in_float64(np.sqrt),
    "rsqrt": _in_float64(lambda x: 1 / np.sqrt(x)),
}  # fmt: skip

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


@_handles("add", "sub")
def _add(instruction):
    function = {"add": np.add, "sub": np.subtract}[instruction.name]
    if _is_real(instruction):
        _allow(instruction, *_FLOAT_MODIFIERS)
        if mode := _mode(instruction):
            return _same_types(instruction, _with_rounding(instruction.name, mode))
        return _same_types(instruction, function, True)
    _allow(instruction)
    return _same_types(instruction, function, True)


@_handles("mul", "mad", "fma")
def _multiply(instruction):
    name, kind = instruction.name, instruction.type
    if _is_real(instruction):
        _allow(instruction, *_FLOAT_MODIFIERS)
        name = "mul" if name == "mul" else "fma"
        if mode := _mode(instruction):
            return _same_types(instruction, _with_rounding(name, mode))
        return _same_types(instruction, np.multiply if name == "mul" else fma, True)
    _allow(instruction, "lo", "hi", "wide")
    parts = instruction.parts
    wide = kind[0] + str(2 * int(kind[1:])) if "wide" in parts else kind
    if "wide" in parts:
        dtype = DTYPES[wide]
        if name == "mul":
            target, x, y = instruction.operands
            inputs = [(x, kind), (y, kind)]
            return Operation(np.multiply, [(target, wide)], inputs, True, {"dtype": dtype})

        def product(x, y):
            return np.multiply(x, y, dtype=dtype)
    else:
        product = _high_product if "hi" in parts else np.multiply
    if name == "mul":
        return _same_types(instruction, product, product is np.multiply)
    target, x, y, z = instruction.operands
    inputs = [(x, kind), (y, kind), (z, wide)]
    return Operation(lambda x, y, z: product(x, y) + z, [(target, wide)], inputs)


@_handles("div")
def _division(instruction):
    if not _is_real(instruction):
        _allow(instruction)
        return _same_types(instruction, _divide_integers)
    _allow(instruction, "full", "rn", "ftz")
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
    _allow(instruction, "ftz")
    return _same_types(instruction, _float_minimum if is_minimum else _float_maximum)


@_handles("abs", "neg", "not")
def _sign(instruction):
    _allow(instruction, "ftz")
    function = {"abs": np.abs, "neg": np.negative, "not": np.invert}[instruction.name]
    return _same_types(instruction, function, True)


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


@_handles("sqrt", "rcp", "rsqrt", "ex2", "lg2")
def _special(instruction):
    _allow(instruction, "approx", "rn", "ftz")
    name, kind = instruction.name, instruction.type
    if kind == "f64" and "approx" in instruction.parts:
        exact = {"rcp": lambda x: 1 / x, "rsqrt": lambda x: 1 / np.sqrt(x)}[name]
        return _same_types(instruction, _gross(exact))
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


@_handles("popc")
def _count(instruction):
    _allow(instruction)
    target, x = instruction.operands
    return Operation(np.bitwise_count, [(target, "u32")], [(x, instruction.type)])


@_handles("bfi")
def _insert(instruction):
    kind = instruction.type
    target, *sources = instruction.operands
    kinds = [kind, kind, "u32", "u32"]
    return Operation(_insert_field, [(target, kind)], list(zip(sources, kinds, strict=True)))


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


@_handles("selp")
def _selp(instruction):
    kind = instruction.type
    target, x, y, predicate = instruction.operands
    inputs = [(predicate, "pred"), (x, kind), (y, kind)]
    return Operation(np.where, [(target, kind)], inputs)


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
