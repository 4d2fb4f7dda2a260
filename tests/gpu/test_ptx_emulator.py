"""Checks of the PTX emulator.

Kernels compiled by numba-cuda run in it and are compared with numpy, instructions written by hand
with exact arithmetic in Python. Needs numba-cuda with its compiler wheels (numba-cuda[cu13]), but
neither a GPU nor a driver.
"""

from __future__ import annotations

import math
from collections import namedtuple
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import special

from tests.gpu.ptx_compile import compile_ptx, missing_compiler
from tests.gpu.ptx_emulator import OutOfBoundsError, PtxError, PtxModule, numba_kernel_args

if (reason := missing_compiler()) is not None:
    pytest.skip(reason, allow_module_level=True)

from numba import cuda, float32, float64, int32, njit, uint32, uint64

CCS = [(8, 0), (9, 0), (12, 0)]
BLOCK = 128
WARPS = BLOCK // 32
FULL = 0xFFFFFFFF


def load(function, *args, cc=(9, 0), fastmath=False, **options):
    """Compile a kernel for arguments of these types; return a function that launches it."""
    module = PtxModule(compile_ptx(function, args, cc=cc, fastmath=fastmath, **options))
    name = next(iter(module.entries))

    def launch(grid, block, *args, **options):
        module.launch(name, grid, block, numba_kernel_args(*args), **options)
        return module.report

    return launch


def run(function, grid, block, *args, cc=(9, 0), fastmath=False, **options):
    """Compile a kernel and launch it."""
    return load(function, *args, cc=cc, fastmath=fastmath)(grid, block, *args, **options)


# ---------------------------------------------------------------------------------------------
# Single instructions, written by hand
# ---------------------------------------------------------------------------------------------

PTX_TYPES = {
    np.dtype(t): name
    for t, name in [
        (np.int8, "s8"), (np.uint8, "u8"), (np.int16, "s16"), (np.uint16, "u16"),
        (np.int32, "s32"), (np.uint32, "u32"), (np.int64, "s64"), (np.uint64, "u64"),
        (np.float32, "f32"), (np.float64, "f64"),
    ]
}  # fmt: skip


def ptx_kernel(body, num_parameters=0, declarations="", outside=""):
    """A module with one kernel k, whose parameters p0, p1... are addresses."""
    parameters = ", ".join(f".param .u64 p{i}" for i in range(num_parameters))
    return f"""
.version 8.0
.target sm_90
.address_size 64
{outside}
.visible .entry k({parameters})
{{
    .reg .pred %p<9>;
    .reg .b32 %r<20>;
    .reg .f32 %f<9>;
    .reg .b64 %rd<20>;
    .reg .f64 %fd<9>;
    {declarations}
    mov.u32 %r0, %tid.x;
{body}
    ret;
}}
"""


def evaluate(code, result_type, *operands):
    """Execute instructions on arrays of operands %x0, %x1...; return the values of %y.

    They are executed twice: by all threads, and by every other one, which must change nothing for
    the rest.
    """
    operands = [np.atleast_1d(operand) for operand in np.broadcast_arrays(*operands)]
    operands = [np.ascontiguousarray(operand) for operand in operands]
    out = np.zeros(operands[0].shape, result_type)
    half = np.zeros_like(out)
    names = [f"%x{i}" for i in range(len(operands))] + ["%y", "%half"]
    arrays = [*operands, out, half]
    declarations, loads = "", ""
    for i, (name, array) in enumerate(zip(names, arrays, strict=True)):
        width, kind = array.itemsize, PTX_TYPES[array.dtype]
        declarations += f".reg .b{max(16, 8 * width)} {name}; .reg .b64 %a{i};\n"
        loads += f"ld.param.u64 %a{i}, [p{i}]; mul.wide.u32 %rd0, %r0, {width};\n"
        loads += f"add.s64 %a{i}, %a{i}, %rd0;\n"
        if i < len(operands):
            loads += f"ld.global.{kind} {name}, [%a{i}];\n"
    store = f"st.global.{PTX_TYPES[out.dtype]} [%a{{}}], %y;\n"
    body = f"""
    {loads}
    and.b32 %r1, %r0, 1; setp.eq.u32 %p0, %r1, 0; @%p0 bra SKIP;
    {code}
SKIP: {store.format(len(operands) + 1)} {loads}
    {code}
    {store.format(len(operands))}
    """
    module = PtxModule(ptx_kernel(body, len(arrays), declarations))
    module.launch("k", 1, out.size, [("ptr", array) for array in arrays], threads_at_once=out.size)
    np.testing.assert_array_equal(half[1::2], out[1::2], err_msg=code)
    np.testing.assert_array_equal(half[::2], 0, err_msg=code)
    return out


def integers(dtype, count=40, seed=0):
    """Random integers of all sizes, and those at the edges."""
    info = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    values = [int(rng.integers(0, 1 << 63)) >> int(rng.integers(0, 63)) for _ in range(count)]
    values = [v * int(rng.choice([-1, 1])) for v in values]
    values += [0, 1, -1, 2, info.min, info.min + 1, info.max, info.max - 1]
    mask = (1 << info.bits) - 1
    raw = np.array([v & mask for v in values], np.uint64).astype(f"u{info.bits // 8}")
    return rng.permutation(raw.view(dtype))


def reals(dtype, count=40, seed=0):
    """Random floats of all sizes, and special ones."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    values = list(rng.normal(size=count // 2) * 2.0 ** rng.integers(-40, 40, count // 2))
    values += list(rng.integers(-9, 9, count // 2) / 4)
    values += [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, info.max, info.tiny, info.tiny / 8]
    return rng.permutation(np.array(values).astype(dtype))


def wrap(value, dtype):
    """A Python integer cut to the width of a type."""
    bits = np.iinfo(dtype).bits
    raw = np.array([value & ((1 << bits) - 1)], np.uint64).astype(f"u{bits // 8}")
    return int(raw.view(dtype)[0])


def pairs(values):
    """All pairs of some values, as two arrays."""
    return np.repeat(values, len(values)), np.tile(values, len(values))


def truncated(x, y):
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


INTEGER_OPERATIONS = {
    "add.{}": lambda x, y: x + y,
    "sub.{}": lambda x, y: x - y,
    "mul.lo.{}": lambda x, y: x * y,
    "min.{}": min,
    "max.{}": max,
    "div.{}": lambda x, y: truncated(x, y) if y else -1,
    "rem.{}": lambda x, y: x - y * truncated(x, y) if y else x,
}


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integer_arithmetic(dtype):
    x, y = pairs(integers(dtype, 16))
    kind = PTX_TYPES[np.dtype(dtype)]
    bits = np.iinfo(dtype).bits
    operations = dict(INTEGER_OPERATIONS)
    operations["mul.hi.{}"] = lambda x, y: (x * y) >> bits
    names = [name.format(kind) for name in operations]
    for name, function in zip(names, operations.values(), strict=True):
        expected = [wrap(function(int(a), int(b)), dtype) for a, b in zip(x, y, strict=True)]
        got = evaluate(f"{name} %y, %x0, %x1;", dtype, x, y)
        np.testing.assert_array_equal(got, np.array(expected, dtype), err_msg=name)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32])
def test_wide_products(dtype):
    x, y = pairs(integers(dtype, 16))
    z = integers(dtype, len(x) - 8)
    kind, wide = PTX_TYPES[np.dtype(dtype)], f"{np.dtype(dtype).kind}{2 * x.itemsize}"
    exact = np.array([int(a) * int(b) for a, b in zip(x, y, strict=True)], wide)
    np.testing.assert_array_equal(evaluate(f"mul.wide.{kind} %y, %x0, %x1;", wide, x, y), exact)
    got = evaluate(f"mad.wide.{kind} %y, %x0, %x1, %x2;", wide, x, y, z.astype(wide))
    np.testing.assert_array_equal(got, exact + z.astype(wide))
    for part, shift in (("lo", 0), ("hi", 8 * x.itemsize)):
        if x.itemsize == 4:
            got = evaluate(f"mad.{part}.{kind} %y, %x0, %x1, %x2;", dtype, x, y, z)
            np.testing.assert_array_equal(got, (exact >> shift).astype(dtype) + z)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_shifts(dtype):
    bits = np.iinfo(dtype).bits
    amounts = np.array([0, 1, 5, bits - 1, bits, bits + 1, 200, FULL], np.uint32)
    x = np.repeat(integers(dtype), len(amounts))
    y = np.tile(amounts, len(x) // len(amounts))
    name = PTX_TYPES[np.dtype(dtype)]
    left = [wrap(int(a) << min(int(b), bits), dtype) for a, b in zip(x, y, strict=True)]
    right = [wrap(int(a) >> min(int(b), bits), dtype) for a, b in zip(x, y, strict=True)]
    got = evaluate(f"shl.b{bits} %y, %x0, %x1;", dtype, x, y)
    np.testing.assert_array_equal(got, np.array(left, dtype))
    got = evaluate(f"shr.{name} %y, %x0, %x1;", dtype, x, y)
    np.testing.assert_array_equal(got, np.array(right, dtype))


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_bits(dtype):
    x, bits = integers(dtype), np.iinfo(dtype).bits
    ones = [format(int(v), "b").count("1") for v in x]
    np.testing.assert_array_equal(evaluate(f"popc.b{bits} %y, %x0;", np.uint32, x), ones)
    y = integers(dtype, seed=1)
    for name, expected in [("and", x & y), ("or", x | y), ("xor", x ^ y)]:
        got = evaluate(f"{name}.b{bits} %y, %x0, %x1;", dtype, x, y)
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(evaluate(f"not.b{bits} %y, %x0;", dtype, x), ~x)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_bit_fields(dtype):
    bits = np.iinfo(dtype).bits
    places = [0, 1, 7, 31, bits - 1, bits, bits + 3, 255]
    start, length = (np.array(v, np.uint32) for v in zip(*product(places, places), strict=True))
    x, y = integers(dtype, len(start) - 8), integers(dtype, len(start) - 8, seed=1)

    def insert(value, into, start, length):
        mask = ((1 << length) - 1) << start
        return wrap((int(into) & ~mask) | ((int(value) << start) & mask), dtype)

    fields = [(int(a), int(b)) for a, b in zip(start, length, strict=True)]
    expected = [insert(v, w, *f) for v, w, f in zip(x, y, fields, strict=True)]
    got = evaluate(f"bfi.b{bits} %y, %x0, %x1, %x2, %x3;", dtype, x, y, start, length)
    np.testing.assert_array_equal(got, np.array(expected, dtype))


def neighbours(value, dtype):
    """Floats around an exact value."""
    with np.errstate(over="ignore"):
        near = dtype(float(value)) if abs(value) < 2**1024 else dtype(np.finfo(dtype).max)
    near = np.clip(near, -np.finfo(dtype).max, np.finfo(dtype).max)
    infinity = dtype(np.inf)
    with np.errstate(all="ignore"):
        return [np.nextafter(near, -infinity), near, np.nextafter(near, infinity)]


def rounded(value, dtype, mode):
    """An exact value rounded to a float of a type in a mode of PTX."""
    below = max((v for v in neighbours(value, dtype) if v <= value), default=None)
    above = min((v for v in neighbours(value, dtype) if v >= value), default=None)
    if mode == "rm" or (mode == "rz" and value > 0):
        return below
    if mode == "rp" or mode == "rz":
        return above
    if below == above or np.isinf(above):
        return below if below == above or value - Fraction(float(below)) < 0 else above
    middle = (Fraction(float(below)) + Fraction(float(above))) / 2
    if value == middle:
        return below if int(below.view(f"u{below.itemsize}")) % 2 == 0 else above
    return below if value < middle else above


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding(dtype, mode):
    rng = np.random.default_rng(3)
    n = 60
    x, y, z = (rng.normal(size=(3, n)) * 2.0 ** rng.integers(-9, 9, (3, n))).astype(dtype)
    # Sums that nearly cancel, that lie between two floats, and that differ much in size.
    z[:20] = -(x * y)[:20]
    z[20:24] *= dtype(2.0**-60)
    x[24:28] = 1 + np.finfo(dtype).eps * np.arange(1, 5)
    y[24:28] = 1 + np.finfo(dtype).eps
    x[28], y[28], z[28] = 1, 1, np.finfo(dtype).eps / 2
    x[29], y[29], z[29] = 1, 1 + np.finfo(dtype).eps, np.finfo(dtype).eps / 2
    kind = PTX_TYPES[np.dtype(dtype)]
    exact = [[Fraction(float(v)) for v in row] for row in (x, y, z)]
    operations = {
        f"fma.{mode}.{kind} %y, %x0, %x1, %x2;": lambda x, y, z: x * y + z,
        f"add.{mode}.{kind} %y, %x0, %x2;": lambda x, y, z: x + z,
    }
    if mode == "rn":
        operations |= {
            f"mul.rn.{kind} %y, %x0, %x1;": lambda x, y, z: x * y,
            f"sub.rn.{kind} %y, %x0, %x2;": lambda x, y, z: x - z,
            f"div.rn.{kind} %y, %x0, %x1;": lambda x, y, z: x / y,
            f"rcp.rn.{kind} %y, %x0;": lambda x, y, z: 1 / x,
        }
    for code, function in operations.items():
        expected = [rounded(function(*values), dtype, mode) for values in zip(*exact, strict=True)]
        got = evaluate(code, dtype, x, y, z)
        np.testing.assert_array_equal(got, np.array(expected, dtype), err_msg=code)
    if mode == "rn":
        got = evaluate(f"sqrt.rn.{kind} %y, %x0;", dtype, abs(x))
        np.testing.assert_array_equal(got, np.sqrt(abs(x)))


def test_overflow_in_rounding_modes():
    largest = np.finfo(np.float32).max
    x = np.array([largest, -largest], np.float32)
    for mode, expected in [
        ("rn", [np.inf, -np.inf]), ("rz", [largest, -largest]), ("rm", [largest, -np.inf]),
        ("rp", [np.inf, -largest]),
    ]:  # fmt: skip
        got = evaluate(f"fma.{mode}.f32 %y, %x0, 0f40000000, 0f00000000;", np.float32, x)
        np.testing.assert_array_equal(got, np.array(expected, np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_real_arithmetic(dtype):
    kind = PTX_TYPES[np.dtype(dtype)]
    x, y = pairs(reals(dtype, 14))

    def check(code, expected, signs=True):
        got = evaluate(f"{code};", dtype, x, y)
        np.testing.assert_array_equal(got, expected, err_msg=code)
        if signs:
            number = ~np.isnan(got)
            signs = np.signbit(got)[number], np.signbit(expected)[number]
            np.testing.assert_array_equal(*signs, err_msg=code)

    with np.errstate(all="ignore"):
        check(f"add.{kind} %y, %x0, %x1", x + y)
        check(f"sub.{kind} %y, %x0, %x1", x - y)
        check(f"mul.{kind} %y, %x0, %x1", x * y)
        check(f"div.rn.{kind} %y, %x0, %x1", x / y)
        check(f"neg.{kind} %y, %x0", -x)
        check(f"abs.{kind} %y, %x0", abs(x))
        check(f"copysign.{kind} %y, %x0, %x1", np.copysign(y, x))
        smaller = np.where(x < y, x, np.where(y < x, y, np.where(np.signbit(x), x, y)))
        larger = np.where(x > y, x, np.where(y > x, y, np.where(np.signbit(x), y, x)))
        nan = np.isnan(x) | np.isnan(y)
        number = np.where(np.isnan(x), y, x)
        check(f"min.{kind} %y, %x0, %x1", np.where(nan, number, smaller))
        check(f"max.{kind} %y, %x0, %x1", np.where(nan, number, larger))
        if dtype == np.float32:
            clamped = np.clip(np.nan_to_num(x + y, nan=0), 0, 1)
            check("add.sat.f32 %y, %x0, %x1", clamped, signs=False)
            total = x.astype(np.float64) * y + x
            total = np.clip(np.nan_to_num(total, nan=0), 0, 1)
            check("fma.rn.sat.f32 %y, %x0, %x1, %x0", total.astype(dtype), signs=False)
            check("cvt.sat.f32.f32 %y, %x0", np.clip(np.nan_to_num(x, nan=0), 0, 1), signs=False)


def test_flush_to_zero():
    tiny = np.finfo(np.float32).tiny
    x = np.array([tiny / 2, -tiny / 2, tiny, 1.5 * tiny, 3.0], np.float32)
    flushed = np.array([0, -0.0, tiny, 1.5 * tiny, 3], np.float32)
    got = evaluate("add.ftz.f32 %y, %x0, 0f80000000;", np.float32, x)
    np.testing.assert_array_equal(got, flushed)
    got = evaluate("fma.rn.ftz.f32 %y, %x0, 0f3F000000, 0f00000000;", np.float32, x)
    np.testing.assert_array_equal(got, [0, 0, 0, 0, 1.5])
    got = evaluate("lg2.approx.ftz.f32 %y, %x0;", np.float32, x[[0, 2, 4]])
    np.testing.assert_allclose(got, [-np.inf, -126, np.log2(3)], rtol=1e-6)
    got = evaluate("lg2.approx.f32 %y, %x0;", np.float32, x[[0, 2]])
    np.testing.assert_allclose(got, [-127, -126], rtol=1e-6)


def test_gross_approximations_of_float64():
    x = np.array([1.0, 3.0, -7.0, 1e300, np.inf, 0.0, np.nan, 2e-308])
    got = evaluate("rcp.approx.ftz.f64 %y, %x0;", np.float64, x)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got[:-1], (1 / x)[:-1], rtol=2e-6)
    assert got[-1] == np.inf
    np.testing.assert_array_equal(got.view(np.uint64)[:-2] & np.uint64(FULL), 0)
    got = evaluate("rsqrt.approx.ftz.f64 %y, %x0;", np.float64, np.array([4.0, 3.0]))
    np.testing.assert_allclose(got, [0.5, 1 / np.sqrt(3)], rtol=2e-6)


def test_comparisons():
    x, y = pairs(reals(np.float64, 10))
    unordered = np.isnan(x) | np.isnan(y)
    ordered = {"eq": x == y, "ne": (x != y) & ~unordered, "lt": x < y, "le": x <= y, "gt": x > y,
               "ge": x >= y, "num": ~unordered, "nan": unordered}  # fmt: skip
    cases = dict(ordered)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        cases[name + "u"] = ordered[name] | unordered
    select = "selp.u32 %y, 1, 0, %p1;"
    for name, expected in cases.items():
        got = evaluate(f"setp.{name}.f64 %p1, %x0, %x1; {select}", np.uint32, x, y)
        np.testing.assert_array_equal(got, expected, err_msg=name)
    for dtype, names in ((np.int64, "eq ne lt le gt ge"), (np.uint32, "eq ne lo ls hi hs")):
        x, y = pairs(integers(dtype, 10))
        expected = [x == y, x != y, x < y, x <= y, x > y, x >= y]
        for name, holds in zip(names.split(), expected, strict=True):
            code = f"setp.{name}.{PTX_TYPES[np.dtype(dtype)]} %p1, %x0, %x1; {select}"
            np.testing.assert_array_equal(evaluate(code, np.uint32, x, y), holds)
    code = "setp.ne.u32 %p0, %x0, 0; setp.lt.{}.u32 %p1|%p2, %x0, %x1, %p0;"
    for name, join in [("and", np.logical_and), ("or", np.logical_or), ("xor", np.logical_xor)]:
        first = evaluate(code.format(name) + select, np.uint32, x, y)
        np.testing.assert_array_equal(first, join(x < y, x != 0))
        second = evaluate(code.format(name) + "selp.u32 %y, 1, 0, %p2;", np.uint32, x, y)
        np.testing.assert_array_equal(second, join(x >= y, x != 0))


def test_selections():
    x = reals(np.float64)
    y = x[::-1].copy()
    sign = integers(np.int32, len(x) - 8)
    # The target of a selection may be one of its operands.
    for operands in ("%x0, %x1", "%x1, %x0"):
        code = f"setp.ge.s32 %p1, %x2, 0; selp.f64 %x0, {operands}, %p1; mov.f64 %y, %x0;"
        got = evaluate(code, np.float64, x, y, sign)
        first, second = (x, y) if operands == "%x0, %x1" else (y, x)
        np.testing.assert_array_equal(got, np.where(sign >= 0, first, second))


INTEGER_TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@pytest.mark.parametrize("source", INTEGER_TYPES)
def test_conversions_between_integers(source):
    x = integers(source)
    for target in INTEGER_TYPES:
        names = PTX_TYPES[np.dtype(target)], PTX_TYPES[np.dtype(source)]
        got = evaluate("cvt.{}.{} %y, %x0;".format(*names), target, x)
        np.testing.assert_array_equal(got, np.array([wrap(int(v), target) for v in x], target))
        info = np.iinfo(target)
        got = evaluate("cvt.sat.{}.{} %y, %x0;".format(*names), target, x)
        expected = [min(max(int(v), info.min), info.max) for v in x]
        np.testing.assert_array_equal(got, np.array(expected, target))


def test_conversions_extend_to_the_register():
    x = integers(np.int32)
    got = evaluate("cvt.s8.s32 %y, %x0;", np.int32, x)
    np.testing.assert_array_equal(got, x.astype(np.int8))
    got = evaluate("cvt.u8.s32 %y, %x0;", np.int32, x)
    np.testing.assert_array_equal(got, x.astype(np.uint8))


@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_conversions_to_integers(source):
    x = np.concatenate([reals(source), integers(np.int64).astype(source), [0.5, 1.5, 2.5, -0.5]])
    x = x.astype(source)
    functions = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}
    for target in INTEGER_TYPES[2:]:
        info = np.iinfo(target)
        names = PTX_TYPES[np.dtype(target)], PTX_TYPES[np.dtype(source)]
        for mode, function in functions.items():

            def convert(value, function=function, info=info):
                if np.isnan(value):
                    wide = source == np.float64 or info.bits == 64
                    return wrap(wide << (info.bits - 1), info.dtype)
                if np.isinf(value):
                    return info.max if value > 0 else info.min
                return min(max(int(function(float(value))), info.min), info.max)

            got = evaluate("cvt.{}.{}.{} %y, %x0;".format(mode, *names), target, x)
            expected = np.array([convert(v) for v in x], target)
            np.testing.assert_array_equal(got, expected, err_msg=f"{mode} {names}")
    finite = x[np.isfinite(x)]
    functions = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
    for mode, function in functions.items():
        kind = PTX_TYPES[np.dtype(source)]
        got = evaluate(f"cvt.{mode}.{kind}.{kind} %y, %x0;", source, finite)
        np.testing.assert_array_equal(got, function(finite))


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_conversions_to_reals(mode):
    for source, target in product([*INTEGER_TYPES, np.float64], [np.float32, np.float64]):
        if source == np.float64:
            x = np.random.default_rng(0).normal(size=40)
            x = np.concatenate([x, [1 + 2**-24, 1 + 2**-24 + 2**-50, -1 - 2**-24, 1e-40, 3e38]])
        else:
            x = integers(source)
        if source == target:
            continue
        names = PTX_TYPES[np.dtype(target)], PTX_TYPES[np.dtype(source)]
        got = evaluate("cvt.{}.{}.{} %y, %x0;".format(mode, *names), target, x)
        exact = [Fraction(float(v)) if source == np.float64 else Fraction(int(v)) for v in x]
        expected = [rounded(v, target, mode) for v in exact]
        np.testing.assert_array_equal(got, np.array(expected, target), err_msg=f"{names}")
    single = reals(np.float32)
    np.testing.assert_array_equal(evaluate("cvt.f64.f32 %y, %x0;", np.float64, single), single)


def test_registers_of_inner_scopes_are_others():
    x = np.arange(4, dtype=np.uint32)
    code = """
        mov.u32 %y, %x0;
        { .reg .b32 %y; mov.u32 %y, 77; { .reg .b32 %y; mov.u32 %y, 78; } }
        { .reg .f64 %y; mov.f64 %y, 0d3FF0000000000000; }
    """
    np.testing.assert_array_equal(evaluate(code, np.uint32, x), x)


def test_unknown_instructions_and_modifiers():
    x = np.zeros(2, np.uint32)
    for code in ("frobnicate.u32 %y, %x0;", "add.odd.u32 %y, %x0, %x0;",
                 "cvt.rn.bf16.f32 %y, %x0;", "ld.global.strange.u32 %y, [%a0];",
                 "bar.sync 0, 32;", "bar.arrive 0, 64;", "wgmma.fence;"):  # fmt: skip
        with pytest.raises(NotImplementedError):
            evaluate(code + " mov.u32 %y, 0;", np.uint32, x)


# ---------------------------------------------------------------------------------------------
# Functions, branches and parameters, written by hand
# ---------------------------------------------------------------------------------------------

FUNCTIONS = """
.func (.param .b32 status) divide(.param .b64 result, .param .b64 x, .param .b64 y)
{
    .reg .pred %p<2>; .reg .b32 %r<3>; .reg .b64 %rd<3>; .reg .f64 %fd<4>;
    ld.param.u64 %rd1, [result];
    ld.param.f64 %fd1, [x];
    ld.param.f64 %fd2, [y];
    setp.neu.f64 %p1, %fd2, 0d0000000000000000;
    @%p1 bra GO;
    st.param.b32 [status+0], 1;
    ret;
GO: div.rn.f64 %fd3, %fd1, %fd2;
    st.f64 [%rd1], %fd3;
    st.param.b32 [status+0], 0;
    ret;
}
.func (.param .align 8 .b8 both[16]) twice(.param .align 8 .b8 pair[16])
{
    .reg .b32 %r<3>; .reg .b64 %rd<3>; .reg .f64 %fd<4>;
    .local .align 8 .b8 depot[8];
    ld.param.v2.f64 {%fd1, %fd2}, [pair];
    mov.u64 %rd1, depot;
    cvta.local.u64 %rd1, %rd1;
    { .param .b64 a0; .param .b64 a1; .param .b64 a2; .param .b32 r0;
      st.param.b64 [a0], %rd1; st.param.f64 [a1], %fd1; st.param.f64 [a2], %fd2;
      call.uni (r0), divide, (a0, a1, a2);
      ld.param.b32 %r1, [r0]; }
    ld.f64 %fd3, [%rd1];
    st.param.f64 [both], %fd3;
    add.f64 %fd3, %fd3, %fd3;
    st.param.f64 [both+8], %fd3;
    ret;
}
"""


def test_functions_with_pointers_structs_and_divergent_callers():
    n = 40
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, n))
    out = np.zeros((2, n))
    load_xy = """
    mul.wide.u32 %rd0, %r0, 8;
    ld.param.u64 %rd1, [p0]; add.s64 %rd1, %rd1, %rd0; ld.global.f64 %fd0, [%rd1];
    ld.param.u64 %rd2, [p1]; add.s64 %rd2, %rd2, %rd0; ld.global.f64 %fd1, [%rd2];
    ld.param.u64 %rd3, [p2]; add.s64 %rd3, %rd3, %rd0;
    """
    call = """
    { .param .align 8 .b8 q[16]; .param .align 8 .b8 r[16];
      st.param.f64 [q], %fd0; st.param.f64 [q+8], %fd1;
      call (r), twice, (q);
      ld.param.f64 %fd2, [r]; ld.param.f64 %fd3, [r+8]; }
    """
    body = f"""{load_xy}
    mov.f64 %fd2, %fd0; mov.f64 %fd3, %fd1;
    and.b32 %r1, %r0, 3;
    setp.eq.u32 %p1, %r1, 0; @%p1 bra SKIP;
    setp.eq.u32 %p1, %r1, 1; @%p1 bra OTHER;
    {call}
    bra SKIP;
OTHER:
    {call} neg.f64 %fd3, %fd3;
SKIP:
    bar.warp.sync 0xffffffff;
    st.global.f64 [%rd3], %fd2; st.global.f64 [%rd3+{8 * n}], %fd3;
    """
    module = PtxModule(ptx_kernel(body, 3, outside=FUNCTIONS))
    module.launch("k", 1, n, [("ptr", x), ("ptr", y), ("ptr", out)])
    lane = np.arange(n) % 4
    np.testing.assert_array_equal(out[0], np.where(lane == 0, x, x / y))
    expected = np.where(lane == 0, y, 2 * x / y * np.where(lane == 1, -1, 1))
    np.testing.assert_array_equal(out[1], expected)
    # All threads pass the barrier together, although they called from two places or not at all.
    barrier = module.report.warp_counts_by_opcode()["bar.warp.sync"]
    assert barrier == 2


def test_shuffle_waits_for_the_lanes_of_its_mask():
    # The detour lies behind the shuffle and jumps back: its threads come later.
    body = """
    setp.lt.u32 %p1, %r0, 7; mov.u32 %r2, %r0;
    @%p1 bra DETOUR;
MEET:
    shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1;
    ld.param.u64 %rd1, [p0]; mul.wide.u32 %rd2, %r0, 4; add.s64 %rd1, %rd1, %rd2;
    st.global.u32 [%rd1], %r3;
    ret;
DETOUR:
    add.u32 %r2, %r2, 100;
    bra MEET;
    """
    out = np.zeros(32, np.uint32)
    module = PtxModule(ptx_kernel(body, 1))
    module.launch("k", 1, 32, [("ptr", out)])
    lane = np.arange(32)
    np.testing.assert_array_equal(out, (lane + np.where(lane < 7, 100, 0))[lane ^ 1])
    assert module.report.warp_counts_by_opcode()["shfl.sync.bfly.b32"] == 1
    assert module.report.thread_counts_by_opcode()["shfl.sync.bfly.b32"] == 32


def test_kernel_parameters_of_all_kinds():
    ptx = """
.const .align 4 .b8 table[8] = {1, 2, 3, 4, 5, 6, 7, 8};
.global .align 8 .f64 scale = 0d4000000000000000;
.visible .entry k(.param .align 8 .b8 pair[16], .param .f32 x, .param .u8 flag, .param .u64 out)
{
    .reg .b16 %rs<2>; .reg .b32 %r<3>; .reg .b64 %rd<4>; .reg .f32 %f<2>; .reg .f64 %fd<9>;
    mov.b64 %rd0, pair;
    ld.param.f64 %fd0, [pair]; ld.param.u64 %rd1, [%rd0+8];
    ld.param.f32 %f1, [x]; cvt.f64.f32 %fd1, %f1;
    ld.param.u8 %rs1, [flag]; cvt.rn.f64.u16 %fd2, %rs1;
    ld.const.u32 %r1, [table+4]; cvt.rn.f64.u32 %fd3, %r1;
    mov.u64 %rd2, scale; ld.global.f64 %fd4, [%rd2];
    cvt.rn.f64.u64 %fd5, %rd1;
    ld.param.u64 %rd3, [out];
    st.global.v2.f64 [%rd3], {%fd0, %fd1}; st.global.v2.f64 [%rd3+16], {%fd2, %fd3};
    st.global.v2.f64 [%rd3+32], {%fd4, %fd5};
    ret;
}"""
    out = np.zeros(6)
    pair = np.array([2.5]).tobytes() + np.array([7], np.uint64).tobytes()
    args = [pair, np.float32(0.5), np.uint8(3), ("ptr", out)]
    module = PtxModule(ptx)
    module.launch("k", 1, 1, args)
    np.testing.assert_array_equal(out, [2.5, 0.5, 3, 0x08070605, 2, 7])
    with pytest.raises(TypeError, match="flag has 1 bytes"):
        module.launch("k", 1, 1, [pair, np.float32(0.5), np.uint32(3), ("ptr", out)])
    with pytest.raises(TypeError, match="x is f32"):
        module.launch("k", 1, 1, [pair, np.uint32(5), np.uint8(3), ("ptr", out)])
    with pytest.raises(TypeError, match="4 parameters"):
        module.launch("k", 1, 1, args[:3])


def collective(code, grid=1, block=64, count=1):
    """Run code that leaves a 32-bit result in %r1; return it for each thread."""
    out = np.zeros((grid, block), np.uint32)
    body = f"""{code}
    ld.param.u64 %rd1, [p0]; mov.u32 %r5, %ctaid.x; mov.u32 %r6, %ntid.x;
    mad.lo.u32 %r5, %r5, %r6, %r0; mul.wide.u32 %rd2, %r5, 4; add.s64 %rd1, %rd1, %rd2;
    st.global.u32 [%rd1], %r1;
    """
    PtxModule(ptx_kernel(body, 1)).launch("k", grid, block, [("ptr", out)])
    return out


def test_votes():
    lane = np.arange(64) % 32
    warp = np.arange(64) // 32
    value = (np.arange(64) * 7 + 3) % 5
    prepare = "mad.lo.u32 %r2, %r0, 7, 3; rem.u32 %r2, %r2, 5; setp.eq.u32 %p1, %r2, 2;"
    by_warp = value.reshape(2, 32)

    def each(values):
        return np.asarray(values)[warp]

    ballots = [sum(1 << i for i in range(32) if row[i] == 2) for row in by_warp]
    cases = {
        "vote.sync.ballot.b32 %r1, %p1, -1;": each(ballots),
        "vote.sync.any.pred %p2, %p1, -1; selp.u32 %r1, 1, 0, %p2;": each([1, 1]),
        "mov.u32 %r1, %lanemask_lt;": (1 << lane) - 1,
        "mov.u32 %r1, %laneid;": lane,
        "mov.u32 %r1, %warpid;": warp,
    }  # fmt: skip
    for code, expected in cases.items():
        np.testing.assert_array_equal(collective(prepare + code)[0], expected, err_msg=code)
    # Half a warp votes; the others do not take part.
    code = """
    mov.u32 %r1, 0; and.b32 %r3, %r0, 31; setp.lt.u32 %p2, %r3, 16; @!%p2 bra OUT;
    setp.lt.u32 %p1, %r3, 3; vote.sync.ballot.b32 %r1, %p1, 0xffff;
OUT:
    """
    np.testing.assert_array_equal(collective(code)[0], np.where(lane < 16, 7, 0))


@pytest.mark.parametrize("width", [32, 16, 8])
def test_shuffles(width):
    lane = np.arange(32)
    base = lane - lane % width
    clamp = (32 - width) << 8
    cases = {
        f"shfl.sync.up.b32 %r1, %r2, 3, {clamp:#x}, -1;":
            np.where(lane % width >= 3, lane - 3, lane),
        f"shfl.sync.down.b32 %r1, %r2, 3, {clamp | 31:#x}, -1;":
            np.where(lane % width + 3 < width, lane + 3, lane),
        f"shfl.sync.bfly.b32 %r1, %r2, 5, {clamp | 31:#x}, -1;": lane ^ 5,
        f"shfl.sync.idx.b32 %r1, %r2, 6, {clamp | 31:#x}, -1;": base + 6,
    }  # fmt: skip
    for code, source in cases.items():
        got = collective("mul.lo.u32 %r2, %r0, 11;" + code, block=32)[0]
        np.testing.assert_array_equal(got, 11 * source, err_msg=code)
    code = f"shfl.sync.up.b32 %r2|%p1, %r0, 3, {clamp:#x}, -1; selp.u32 %r1, 1, 0, %p1;"
    np.testing.assert_array_equal(collective(code, block=32)[0], lane % width >= 3)


# ---------------------------------------------------------------------------------------------
# Kernels compiled by numba-cuda
# ---------------------------------------------------------------------------------------------

PER_BLOCK = 300  # values per block of block_sum; not a multiple of BLOCK


def block_sum(x, out):
    """Sum PER_BLOCK values per block: strided sums, shuffles in the warps, then shared memory."""
    warp_sums = cuda.shared.array(WARPS, float64)
    tid = cuda.threadIdx.x
    start = cuda.blockIdx.x * PER_BLOCK
    total = 0.0
    i = tid
    while i < PER_BLOCK:
        total += x[start + i]
        i += BLOCK
    offset = 16
    while offset > 0:
        total += cuda.shfl_down_sync(FULL, total, offset)
        offset >>= 1
    if tid % 32 == 0:
        warp_sums[tid // 32] = total
    cuda.syncthreads()
    if tid == 0:
        total = 0.0
        for warp in range(WARPS):
            total += warp_sums[warp]
        out[cuda.blockIdx.x] = total


@pytest.mark.parametrize("cc", CCS)
def test_reduction_with_shuffles_and_shared_memory(cc):
    blocks = 5
    x = np.random.default_rng(0).uniform(0.5, 1.5, blocks * PER_BLOCK)
    out = np.zeros(blocks)
    report = run(block_sum, blocks, BLOCK, x, out, cc=cc)
    np.testing.assert_allclose(out, x.reshape(blocks, PER_BLOCK).sum(1), rtol=1e-14)
    assert report.global_load_bytes == x.nbytes
    assert report.global_store_bytes == out.nbytes
    assert report.shared_stores == report.shared_loads == blocks * WARPS


def warp_lanes(x, y, out):
    """The lanes exchange values through shared memory and shuffles."""
    shared = cuda.shared.array(32, float64)
    lane = cuda.threadIdx.x
    for i in range(3):
        shared[lane] = x[i * 32 + lane]
        cuda.syncwarp()
        total = 0.0
        for j in range(lane):
            total += shared[j]
        cuda.syncwarp()
        total += cuda.shfl_up_sync(FULL, x[i * 32 + lane], 1)
        total += cuda.shfl_xor_sync(FULL, y[lane], 3)
        total += cuda.shfl_sync(FULL, y[lane], i)
        votes = cuda.ballot_sync(FULL, x[i * 32 + lane] > 0.0)
        out[i, lane] = total + cuda.popc(votes)


@pytest.mark.parametrize("cc", CCS)
def test_exchange_in_a_warp(cc):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=96), rng.normal(size=32).astype(np.float32)
    out = np.zeros((3, 32))
    run(warp_lanes, 1, 32, x, y, out, cc=cc)
    lane = np.arange(32)
    for i in range(3):
        part = x[32 * i : 32 * i + 32]
        expected = np.concatenate([[0], np.cumsum(part)[:-1]]) + part[np.maximum(lane - 1, 0)]
        expected += y[lane ^ 3] + y[i].astype(float) + (part > 0).sum()
        np.testing.assert_allclose(out[i], expected, rtol=1e-12, atol=1e-12)


PHILOX = [0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85]


@njit
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10, of Python integers too: the masks keep 32 bits."""
    mask = uint64(0xFFFFFFFF)
    for _ in range(10):
        p0 = uint64(c0) * uint64(0xD2511F53)
        p1 = uint64(c2) * uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> uint64(32)) ^ uint64(c1) ^ uint64(k0),
            p1 & mask,
            (p0 >> uint64(32)) ^ uint64(c3) ^ uint64(k1),
            p0 & mask,
        )
        k0 = (uint64(k0) + uint64(0x9E3779B9)) & mask
        k1 = (uint64(k1) + uint64(0xBB67AE85)) & mask
    return c0, c1, c2, c3


def philox_kernel(out):
    i = cuda.grid(1)
    one = uint64(i)
    a, b, c, d = philox(one, uint64(0), one * one, uint64(7), one ^ uint64(5), uint64(3))
    out[i, 0], out[i, 1], out[i, 2], out[i, 3] = uint32(a), uint32(b), uint32(c), uint32(d)


def philox_reference(counter, key):
    counter, key = list(counter), list(key)
    for _ in range(10):
        p0, p1 = counter[0] * PHILOX[0], counter[2] * PHILOX[1]
        counter = [p1 >> 32 ^ counter[1] ^ key[0], p1 & FULL, p0 >> 32 ^ counter[3] ^ key[1],
                   p0 & FULL]  # fmt: skip
        key = [(k + w) & FULL for k, w in zip(key, PHILOX[2:], strict=True)]
    return counter


def test_integer_generator():
    assert philox_reference([0] * 4, [0] * 2)[0] == 0x6627E8D5
    out = np.zeros((64, 4), np.uint32)
    run(philox_kernel, 2, 32, out)
    expected = [philox_reference([i, 0, i * i, 7], [i ^ 5, 3]) for i in range(64)]
    np.testing.assert_array_equal(out, expected)


MATHS = {
    "exp": np.exp, "log": np.log, "expm1": np.expm1, "log1p": np.log1p, "erf": special.erf,
    "erfc": special.erfc, "sqrt": np.sqrt, "exp2": np.exp2, "log2": np.log2, "log10": np.log10,
    "floor": np.floor, "ceil": np.ceil, "fabs": np.abs, "pow": lambda x: np.abs(x) ** 1.7,
}  # fmt: skip

POINTS = np.array([
    -np.inf, -1000, -150.4, -90, -20.5, -3, -1.25, -0.7, -1e-3, -0.0, 0.0, 1e-5, 0.3, 0.5, 1, 1.75,
    2, 6.5, 33, 88.6, 170.2, 1000, np.inf, np.nan,
])  # fmt: skip


def all_maths(x, out, power):
    i = cuda.grid(1)
    v = x[i]
    w = math.fabs(v)
    out[0, i] = math.exp(v)
    out[1, i] = math.log(v)
    out[2, i] = math.expm1(v)
    out[3, i] = math.log1p(v)
    out[4, i] = math.erf(v)
    out[5, i] = math.erfc(v)
    out[6, i] = math.sqrt(v)
    out[7, i] = math.exp2(v)
    out[8, i] = math.log2(v)
    out[9, i] = math.log10(v)
    out[10, i] = math.floor(v)
    out[11, i] = math.ceil(v)
    out[12, i] = w
    out[13, i] = math.pow(w, power[0])


@pytest.mark.parametrize("fastmath", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_maths(dtype, fastmath):
    x = POINTS.astype(dtype)
    out = np.zeros((len(MATHS), len(x)), dtype)
    run(all_maths, 1, len(x), x, out, np.array([1.7], dtype), fastmath=fastmath)
    tolerance = {np.float32: 3e-6, np.float64: 2e-14}[dtype]
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        exact = x.astype(np.float64)
        for row, (name, function) in zip(out, MATHS.items(), strict=True):
            expected = function(exact)
            if name == "pow" and dtype == np.float32:
                expected = np.abs(exact) ** float(np.float32(1.7))
            expected = expected.astype(dtype).astype(float)
            where = np.ones(len(x), bool)
            tiny = info.tiny if fastmath else info.smallest_subnormal
            relative = 1e-4 if fastmath and dtype == np.float32 else tolerance
            np.testing.assert_allclose(
                row[where], expected[where], rtol=relative, atol=4 * tiny, err_msg=name
            )


def exponential(x, out):
    i = cuda.grid(1)
    out[i] = math.exp(x[i])


@pytest.mark.parametrize("fastmath", [False, True])
def test_exp_far_below_zero(fastmath):
    x = np.concatenate([np.linspace(-200, 10, 62), [-np.inf, np.inf]]).astype(np.float32)
    out = np.zeros_like(x)
    run(exponential, 2, 32, x, out, fastmath=fastmath)
    np.testing.assert_allclose(out, np.exp(x.astype(np.float64)), rtol=1e-5, atol=2e-38)


@njit
def several(x, coefficients, k):
    """A function with several results, a loop and library functions."""
    total = 0.0
    for i in range(coefficients.size):
        total += math.lgamma(x + i + 0.5) * coefficients[i] + math.pow(x + 1.0, coefficients[i])
    return total, k + 1, (total * x, math.erfc(total))


def calls_several(coefficients, out):
    i = cuda.grid(1)
    total, k, rest = several(float(i), coefficients, i)
    if i % 3 == 1:
        more, k, rest = several(rest[1], coefficients, k)
        total += more
    out[i, 0], out[i, 1], out[i, 2], out[i, 3] = total, k, rest[0], rest[1]


@pytest.mark.parametrize("opt", [True, False])
def test_device_functions(opt):
    coefficients = np.array([-0.3, 0.2, 0.7])
    out, expected = np.zeros((32, 4)), np.zeros((32, 4))
    launch = load(calls_several, coefficients, out, opt=opt)
    report = launch(1, 32, coefficients, out)
    # Without optimisation, functions are not inlined: they return through pointers.
    assert ("several" in " ".join(f.name for f in report.program.functions[:-1])) == (not opt)
    for i in range(32):
        total, k, rest = several.py_func(float(i), coefficients, i)
        if i % 3 == 1:
            more, k, rest = several.py_func(rest[1], coefficients, k)
            total += more
        expected[i] = total, k, *rest
    np.testing.assert_allclose(out, expected, rtol=1e-12)


Inner = namedtuple("Inner", ["matrix", "flag", "count"])
Outer = namedtuple("Outer", ["x", "inner", "scale", "pair"])


def reads_tuples(data, small, big, byte, out):
    i = cuda.grid(1)
    value = data.x[i] * data.scale + data.inner.matrix[i, 1]
    if data.inner.flag:
        value += data.inner.count
    out[i] = value + data.pair[0] + data.pair[1] + small + big + byte


def test_arguments_of_all_kinds():
    n = 8
    base = np.arange(4 * n, dtype=np.float32)
    strided = base[::-2][:n]  # a negative stride
    matrix = np.asfortranarray(np.arange(3.0 * n).reshape(n, 3))[:, ::-1]
    inner = Inner(matrix, True, np.int32(-3))
    data = Outer(strided, inner, 0.5, (1, 2.5))
    out = np.zeros(2 * n)[::2]
    args = data, np.float32(0.25), np.uint64(1 << 40), np.int8(-5), out
    run(reads_tuples, 1, n, *args)
    expected = strided * 0.5 + matrix[:, 1] - 3 + 1 + 2.5 + 0.25 + (1 << 40) - 5
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    flat = numba_kernel_args(*args)
    scalars = [arg.dtype for arg in flat[-11:-7]]
    assert scalars[1:] == [np.float32, np.uint64, np.int8]
    assert [type(arg) for arg in numba_kernel_args(2, 2.5, True, np.bool_(False))] == [
        np.int64, np.float64, np.uint8, np.uint8,
    ]  # fmt: skip


def odd_arrays(zero, empty, writes, cube):
    i = cuda.grid(1)
    zero[()] += empty.size + empty.shape[1] + cube[1, i, 2]
    writes[i] = cube[0, 1, 1] > 4


def test_arrays_of_odd_shapes():
    zero, empty, writes = np.array(1.5), np.zeros((0, 3)), np.zeros(1, np.bool_)
    cube = np.arange(24, dtype=np.int32).reshape(2, 3, 4).transpose(0, 2, 1)
    cube.flags.writeable = False
    run(odd_arrays, 1, 1, zero, empty, writes, cube)
    assert zero == 1.5 + 3 + cube[1, 0, 2]
    assert writes[0] == (cube[0, 1, 1] > 4)


def shifts_overlapping(x, y):
    i = cuda.grid(1)
    if i % 2 == 0:
        y[i] = x[i] + 1


def test_overlapping_views_are_one_memory():
    base = np.arange(10.0)
    run(shifts_overlapping, 1, 8, base[:8], base[1:9])
    expected = np.arange(10.0)
    expected[1:9:2] = expected[0:8:2] + 1
    np.testing.assert_array_equal(base, expected)


def dynamic(x, out):
    shared = cuda.shared.array(0, float64)
    fixed = cuda.shared.array(4, int32)
    local = cuda.local.array(6, float64)
    i = cuda.threadIdx.x
    for j in range(6):
        local[j] = x[i] * j
    if i < 4:
        fixed[i] = 10 * i
    shared[i] = local[i % 6] + shared.size
    cuda.syncthreads()
    out[i] = shared[cuda.blockDim.x - 1 - i] + fixed[i % 4]


def test_dynamic_shared_and_local_memory():
    n = 40
    x, out = np.random.default_rng(3).normal(size=n), np.zeros(n)
    run(dynamic, 1, n, x, out, dynamic_shared=8 * n)
    i = np.arange(n)
    np.testing.assert_allclose(out, (x * (i % 6) + n)[::-1] + 10 * (i % 4), rtol=1e-14)
    with pytest.raises(OutOfBoundsError, match="shared out of bounds"):
        run(dynamic, 1, n, x, out, dynamic_shared=8 * n - 8)


def collatz(start, steps):
    """Loops of very different lengths in the lanes."""
    i = cuda.grid(1)
    n = start[i]
    count = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
        if count % 7 == 3:
            continue
        for _ in range(n % 3):
            count += 10
    cuda.syncwarp()
    steps[i] = count


@pytest.mark.parametrize("threads_at_once", [32, 64, 512])
def test_divergent_loops(threads_at_once):
    start = np.arange(1, 97)
    steps = np.zeros_like(start)
    expected = []
    for n in start:
        count = 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            count += 1
            count += 0 if count % 7 == 3 else 10 * (n % 3)
        expected.append(count)
    report = run(collatz, 3, 32, start, steps, threads_at_once=threads_at_once)
    np.testing.assert_array_equal(steps, expected)
    loops = report.loops()
    assert sorted(loop.depth for loop in loops)[0] == 1
    assert 0 < sum(report.warp_counts) < sum(report.thread_counts) < 32 * sum(report.warp_counts)
    # Batches change how threads are grouped, but not what the threads execute.
    other = run(collatz, 3, 32, start, steps.copy(), threads_at_once=96)
    assert report.thread_counts_by_opcode() == other.thread_counts_by_opcode()
    assert report.warp_counts_by_opcode() == other.warp_counts_by_opcode()


BINS = 10


def histogram(values, counts, extremes, total, largest, swapped):
    """Count values modulo BINS with shared and global atomics, and find the extremes."""
    block_counts = cuda.shared.array(BINS, int32)
    tid = cuda.threadIdx.x
    if tid < BINS:
        block_counts[tid] = 0
    cuda.syncthreads()
    i = cuda.grid(1)
    if i < values.size:
        cuda.atomic.add(block_counts, values[i] % BINS, 1)
        cuda.atomic.min(extremes, 0, values[i])
        cuda.atomic.max(extremes, 1, values[i])
        cuda.atomic.add(total, 0, float64(values[i]))
        cuda.atomic.max(largest, 0, math.sqrt(values[i]))
        cuda.atomic.cas(swapped, 0, 0, values[i])
    cuda.syncthreads()
    if tid < BINS:
        cuda.atomic.add(counts, tid, block_counts[tid])


@pytest.mark.parametrize("cc", CCS)
def test_atomics(cc):
    values = np.random.default_rng(1).integers(1, 10_000, 700).astype(np.int32)
    counts, extremes = np.zeros(BINS, np.int32), np.array([10_000, -1], np.int32)
    total, largest, swapped = np.zeros(1), np.zeros(1), np.zeros(1, np.int32)
    blocks = -(-values.size // BLOCK)
    run(histogram, blocks, BLOCK, values, counts, extremes, total, largest, swapped, cc=cc)
    np.testing.assert_array_equal(counts, np.bincount(values % BINS, minlength=BINS))
    np.testing.assert_array_equal(extremes, [values.min(), values.max()])
    assert total[0] == values.sum()
    assert largest[0] == np.sqrt(values.max())
    assert swapped[0] in values


def test_atomics_by_hand():
    body = """
    ld.param.u64 %rd1, [p0];
    and.b32 %r2, %r0, 7; add.u32 %r2, %r2, 1;
    red.global.add.u32 [%rd1], %r2;
    atom.global.xor.b32 %r3, [%rd1+4], %r2;
    atom.global.inc.u32 %r3, [%rd1+8], 4;
    atom.global.dec.u32 %r3, [%rd1+12], 4;
    atom.global.or.b32 %r3, [%rd1+16], %r2;
    atom.global.and.b32 %r3, [%rd1+20], %r2;
    atom.global.exch.b32 %r3, [%rd1+24], 9;
    """
    out = np.array([0, 0, 0, 0, 0, FULL, 1], np.uint32)
    PtxModule(ptx_kernel(body, 1)).launch("k", 1, 31, [("ptr", out)])
    values = np.arange(31) % 8 + 1
    dec = 0
    for _ in range(31):
        dec = 4 if dec == 0 else dec - 1
    expected = [values.sum(), np.bitwise_xor.reduce(values), 31 % 5, dec, 15, 0, 9]
    np.testing.assert_array_equal(out, expected)


def three_dimensions(out):
    x, y, z = cuda.grid(3)
    out[z, y, x] = (
        cuda.threadIdx.x
        + 10 * cuda.threadIdx.y
        + 100 * cuda.threadIdx.z
        + (1000 * cuda.blockIdx.x + 10000 * cuda.blockIdx.y + 100000 * cuda.blockIdx.z)
    )


def test_three_dimensions():
    out = np.zeros((6, 4, 6), np.int64)
    run(three_dimensions, (2, 2, 3), (3, 2, 2), out)
    z, y, x = np.indices(out.shape)
    expected = x % 3 + 10 * (y % 2) + 100 * (z % 2) + 1000 * (x // 3) + 10000 * (y // 2)
    np.testing.assert_array_equal(out, expected + 100000 * (z // 2))


def test_report():
    body = """
    mov.u32 %r1, 0; mov.u32 %r3, 0;
OUTER:
    mov.u32 %r2, 0;
INNER:
    add.u32 %r3, %r3, 1;
    add.u32 %r2, %r2, 1;
    setp.lt.u32 %p1, %r2, 5;
    @%p1 bra INNER;
    add.u32 %r1, %r1, 1;
    setp.le.u32 %p1, %r1, %r0;
    @%p1 bra OUTER;
    setp.eq.u32 %p1, %r0, 3;
    @%p1 mov.u32 %r4, 1;
    """
    module = PtxModule(ptx_kernel(body))
    module.launch("k", 2, 4, [])
    report = module.report
    inner, outer = report.loops() if report.loops()[0].depth == 2 else report.loops()[::-1]
    rounds = 2 * (1 + 2 + 3 + 4)
    assert (inner.depth, outer.depth) == (2, 1)
    assert inner.iterations == 5 * rounds
    assert inner.threads == 4 * 5 * rounds
    assert inner.warps == 2 * 4 * 5 * 4  # the longest lane goes round four times
    assert outer.iterations == rounds
    assert outer.threads == inner.threads + 4 * rounds
    assert inner.threads_by_opcode == {
        "add.u32": 10 * rounds, "setp.lt.u32": 5 * rounds, "bra": 5 * rounds,
    }  # fmt: skip
    assert report.warp_counts_by_opcode()["ret"] == 2
    assert report.thread_counts_by_opcode()["ret"] == 8
    assert "thread-instructions" in str(report)
    assert module.instruction_counts == report.thread_counts_by_opcode()


# ---------------------------------------------------------------------------------------------
# Errors that it finds
# ---------------------------------------------------------------------------------------------


def reverse(x, out):
    shared = cuda.shared.array(BLOCK, float32)
    tid = cuda.threadIdx.x
    shared[tid] = x[tid]
    cuda.syncthreads()
    out[tid] = shared[BLOCK - 1 - tid]


def reverse_without_barrier(x, out):
    shared = cuda.shared.array(BLOCK, float32)
    tid = cuda.threadIdx.x
    shared[tid] = x[tid]
    out[tid] = shared[BLOCK - 1 - tid]


def reverse_with_warp_barrier(x, out):
    shared = cuda.shared.array(BLOCK, float32)
    tid = cuda.threadIdx.x
    shared[tid] = x[tid]
    cuda.syncwarp()
    out[tid] = shared[BLOCK - 1 - tid]


def reverse_warp(x, out):
    shared = cuda.shared.array(BLOCK, float32)
    tid = cuda.threadIdx.x
    shared[tid] = x[tid]
    cuda.syncwarp()
    out[tid] = shared[tid // 32 * 32 + 31 - tid % 32]


def reverse_warp_with_shuffle(x, out):
    shared = cuda.shared.array(BLOCK, float32)
    tid = cuda.threadIdx.x
    shared[tid] = x[tid]
    other = cuda.shfl_xor_sync(FULL, x[tid], 1)
    out[tid] = shared[tid // 32 * 32 + 31 - tid % 32] + other


def test_missing_barriers_are_races():
    x = np.arange(BLOCK, dtype=np.float32)
    out = np.zeros_like(x)
    run(reverse, 1, BLOCK, x, out)
    np.testing.assert_array_equal(out, x[::-1])
    run(reverse_warp, 1, BLOCK, x, out)
    np.testing.assert_array_equal(out, x.reshape(-1, 32)[:, ::-1].ravel())
    for kernel in (reverse_without_barrier, reverse_with_warp_barrier, reverse_warp_with_shuffle):
        launch = load(kernel, x, out)
        with pytest.raises(PtxError, match=r"shared memory race.*reads 4 bytes at byte \d+") as e:
            launch(1, BLOCK, x, out)
        assert "ld.shared.f32" in str(e.value)
        assert "st.shared.f32" in str(e.value)
        assert "of block 0" in str(e.value)
        launch(1, BLOCK, x, out, check_races=False)


def shared_code(code, block=32, grid=1, **options):
    """Run code with the address in shared memory of the thread's word in %rd1."""
    declarations = ".shared .align 4 .b8 buffer[4096];"
    prepare = "mov.u64 %rd3, buffer; mul.wide.u32 %rd2, %r0, 4; add.s64 %rd1, %rd3, %rd2;"
    module = PtxModule(ptx_kernel(prepare + code, 0, declarations))
    module.launch("k", grid, block, [], **options)


@pytest.mark.parametrize(
    ("code", "block"),
    [
        ("st.shared.u32 [buffer], 5;", 2),  # the same value, but two writers
        ("st.shared.u32 [%rd1], 1; bar.warp.sync -1; st.shared.u32 [%rd1+4], 1;", 33),
        # A read and then a write by another thread.
        ("st.shared.u32 [%rd1], 1; bar.sync 0; ld.shared.u32 %r1, [buffer];"
         "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [buffer], 2;", 32),
        # The reads of two warps, of which only one is behind a barrier with the writer.
        ("st.shared.u32 [%rd1], 1; bar.sync 0; ld.shared.u32 %r1, [buffer]; bar.warp.sync -1;"
         "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [buffer], 2;", 64),
        # A barrier of some lanes does not order the others.
        ("st.shared.u32 [%rd1], 1; setp.lt.u32 %p1, %r0, 16; @%p1 bar.warp.sync 0xffff;"
         "@!%p1 bar.warp.sync 0xffff0000; ld.shared.u32 %r1, [buffer+40];", 32),
        # An atomic and a plain access.
        ("setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [buffer], 0;"
         "red.shared.add.u32 [buffer], 1;", 32),
        ("setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [buffer], 0; bar.sync 0;"
         "red.shared.add.u32 [buffer], 1; ld.shared.u32 %r1, [buffer];", 32),
        # A fence is no barrier.
        ("st.shared.u32 [%rd1], 1; membar.cta; ld.shared.u32 %r1, [buffer];", 32),
    ],
)  # fmt: skip
def test_races(code, block):
    with pytest.raises(PtxError, match="shared memory race"):
        shared_code(code, block)
    shared_code(code, block, check_races=False)


@pytest.mark.parametrize(
    "code",
    [
        "st.shared.u32 [%rd1], 1; bar.warp.sync -1; ld.shared.u32 %r1, [buffer];"
        "bar.warp.sync -1; st.shared.u32 [%rd1], 2; bar.warp.sync -1; ld.shared.u32 %r1, [buffer];",
        "st.shared.u32 [%rd1], 1; bar.sync 0; ld.shared.u32 %r1, [buffer]; bar.sync 0;"
        "st.shared.u32 [%rd1], 2;",
        # Lanes 0-15 and 16-31 pass barriers of their own; then all are ordered through lane 8.
        "st.shared.u32 [%rd1], 1; setp.lt.u32 %p1, %r0, 16; @%p1 bar.warp.sync 0xffff;"
        "setp.eq.u32 %p2, %r0, 8; setp.ge.or.u32 %p2, %r0, 16, %p2;"
        "@%p2 bar.warp.sync 0xffff0100; @%p2 ld.shared.u32 %r1, [buffer+40];",
        "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [buffer], 0; bar.sync 0;"
        "red.shared.add.u32 [buffer], 1; bar.sync 0; ld.shared.u32 %r1, [buffer];",
    ],
)
def test_no_races(code):
    shared_code(code)
    shared_code(code, grid=3)


def barrier_in_half_a_block(x, out):
    tid = cuda.threadIdx.x
    if tid < BLOCK // 2:
        cuda.syncthreads()
    out[tid] = x[tid]


def warp_barrier_in_half_a_warp(x, out):
    tid = cuda.threadIdx.x
    if tid < 16:
        cuda.syncwarp()
    else:
        cuda.syncthreads()
    out[tid] = x[tid]


def test_divergent_barriers():
    x = np.arange(BLOCK, dtype=np.float32)
    with pytest.raises(PtxError, match=r"divergent barrier in block 0.*\n.*bar\.sync"):
        run(barrier_in_half_a_block, 1, BLOCK, x, np.zeros_like(x))
    with pytest.raises(PtxError, match=r"divergent warp barrier in block 0.*\n.*bar\.warp"):
        run(warp_barrier_in_half_a_warp, 1, BLOCK, x, np.zeros_like(x))
    with pytest.raises(PtxError, match="divergent barrier in block 0"):
        shared_code("setp.eq.u32 %p1, %r0, 3; @%p1 exit; bar.sync 0;")
    with pytest.raises(PtxError, match="divergent warp barrier"):  # two different instructions
        shared_code("setp.eq.u32 %p1, %r0, 3; @%p1 bar.warp.sync -1; @!%p1 bar.warp.sync -1;")
    shared_code("setp.eq.u32 %p1, %r0, 3; @%p1 exit; bar.warp.sync -1;")  # only live ones count


def test_shuffles_of_absent_lanes():
    for code in (
        "setp.lt.u32 %p1, %r0, 16; @!%p1 exit; shfl.sync.bfly.b32 %r1, %r0, 16, 31, -1;",
        "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.bfly.b32 %r1, %r0, 16, 31, 0xffff;",
        "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.bfly.b32 %r1, %r0, 16, 31;",
    ):
        with pytest.raises(PtxError, match="shuffle reads a lane that is not here"):
            shared_code(code)
    with pytest.raises(PtxError, match="divergent warp barrier"):
        shared_code("setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;"
                    "bar.sync 0;")  # fmt: skip
    with pytest.raises(PtxError, match="leaves it out"):
        shared_code("shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffff;")


def double_unchecked(x, out):
    i = cuda.grid(1)
    out[i] = 2 * x[i]


def overruns_shared(x, out):
    first = cuda.shared.array(8, float32)
    second = cuda.shared.array(8, float32)
    i = cuda.threadIdx.x
    second[i] = x[i]
    first[i] = second[i]
    out[i] = first[i]


def overruns_local(x, out):
    local = cuda.local.array(4, float32)
    i = cuda.threadIdx.x
    for j in range(out.size):
        local[j] = x[i] + j
    out[i] = local[out[i] % 4]


def test_out_of_bounds():
    x = np.arange(64, dtype=np.float32)
    out = np.zeros_like(x)
    run(double_unchecked, 2, 32, x, out)
    np.testing.assert_array_equal(out, 2 * x)
    match = r"global out of bounds: thread 0 of block 2 .*\(byte 256 of array argument 0\)"
    with pytest.raises(IndexError, match=match):
        run(double_unchecked, 3, 32, x, out)
    x = np.arange(9, dtype=np.float32)
    with pytest.raises(OutOfBoundsError, match="shared out of bounds: thread 8 of block 0"):
        run(overruns_shared, 1, 9, x, x.copy())
    run(overruns_shared, 1, 8, x, x.copy())
    out = np.zeros(5, np.int32)
    with pytest.raises(OutOfBoundsError, match="local out of bounds"):
        run(overruns_local, 1, 1, x, out)
    run(overruns_local, 1, 1, x, out[:4])
    # A view with gaps: the elements between are not its own.
    base = np.zeros(8, np.float32)
    body = "ld.param.u64 %rd1, [p0]; ld.global.f32 %f1, [%rd1+{}];"
    PtxModule(ptx_kernel(body.format(8), 1)).launch("k", 1, 1, [("ptr", base[::2])])
    for offset in (4, -4, 28, 32):
        with pytest.raises(OutOfBoundsError):
            PtxModule(ptx_kernel(body.format(offset), 1)).launch("k", 1, 1, [("ptr", base[::2])])


def test_misaligned_and_read_only():
    x = np.zeros(8, np.float32)
    reads = PtxModule(ptx_kernel("ld.param.u64 %rd1, [p0]; ld.global.f64 %fd1, [%rd1+4];", 1))
    with pytest.raises(PtxError, match="misaligned global"):
        reads.launch("k", 1, 1, [("ptr", x)])
    with pytest.raises(PtxError, match="misaligned shared"):
        shared_code("ld.shared.v2.u32 {%r1, %r2}, [buffer+4];")
    writes = PtxModule(ptx_kernel("ld.param.u64 %rd1, [p0]; st.global.u32 [%rd1], 5;", 1))
    writes.launch("k", 1, 1, [("ptr", x)])
    assert x[:1].view(np.uint32)[0] == 5
    x.flags.writeable = False
    with pytest.raises(PtxError, match="read-only global"):
        writes.launch("k", 1, 1, [("ptr", x)])


def reads_unwritten_shared(x, out):
    shared = cuda.shared.array(BLOCK, float32)
    tid = cuda.threadIdx.x
    if tid != 5:
        shared[tid] = x[tid]
    cuda.syncthreads()
    out[tid] = shared[tid]


def test_uninitialised_memory():
    x = np.arange(BLOCK, dtype=np.float32)
    launch = load(reads_unwritten_shared, x, x)
    with pytest.raises(PtxError, match="uninitialised shared memory: thread 5 of block 0") as error:
        launch(1, BLOCK, x, x.copy())
    assert "byte 20 of" in str(error.value)
    launch(1, BLOCK, x, x.copy(), check_uninitialised=False)
    with pytest.raises(PtxError, match="uninitialised shared"):  # not left from the first block
        shared_code("mov.u32 %r1, %ctaid.x; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [%rd1], 1;"
                    "ld.shared.u32 %r2, [%rd1];", grid=2, threads_at_once=32)  # fmt: skip
    local = ".local .align 8 .b8 depot[16];"
    module = PtxModule(ptx_kernel("ld.local.u32 %r1, [depot+8];", 0, local))
    with pytest.raises(PtxError, match="uninitialised local memory"):
        module.launch("k", 1, 1, [])


def global_code(code, grid=2, block=32, size=4096, **options):
    """Run code with the address of a global array in %rd1 and the block in %r1."""
    prepare = "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %ctaid.x;"
    x = np.zeros(size, np.uint32)
    PtxModule(ptx_kernel(prepare + code, 1)).launch("k", grid, block, [("ptr", x)], **options)


@pytest.mark.parametrize("threads_at_once", [32, 512])
@pytest.mark.parametrize(
    "code",
    [
        "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.u32 [%rd1], %r1;",  # two blocks write
        "st.global.u32 [%rd1], 7;",  # two threads write
        # One block reads what the other wrote, or the other way round.
        "setp.eq.u32 %p1, %r1, 0; setp.eq.and.u32 %p1, %r0, 0, %p1;"
        "@%p1 st.global.u32 [%rd1+4], 1; @!%p1 ld.global.u32 %r2, [%rd1+4];",
        "setp.eq.u32 %p1, %r1, 0; @%p1 ld.global.u32 %r2, [%rd1+4];"
        "setp.eq.u32 %p1, %r1, 1; setp.eq.and.u32 %p1, %r0, 0, %p1;"
        "@%p1 st.global.u32 [%rd1+4], 1;",
        # A barrier orders a block, not the grid.
        "setp.eq.u32 %p1, %r1, 0; setp.eq.and.u32 %p1, %r0, 0, %p1;"
        "@%p1 st.global.u32 [%rd1+4], 1; bar.sync 0; ld.global.u32 %r2, [%rd1+4];",
    ],
)
def test_races_in_global_memory(code, threads_at_once):
    with pytest.raises(PtxError, match=r"global memory race.*of array argument 0"):
        global_code(code, threads_at_once=threads_at_once)
    global_code(code, threads_at_once=threads_at_once, check_global=False)


def test_no_races_in_global_memory():
    one_block = (
        "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.u32 [%rd1], 1; bar.sync 0;"
        "setp.eq.u32 %p1, %r0, 5; @%p1 st.global.u32 [%rd1], 2;"
    )
    global_code(one_block, grid=1)
    with pytest.raises(PtxError, match="global memory race"):
        global_code(one_block, grid=1, check_global="strict")
    global_code("red.global.add.u32 [%rd1], 1; ld.global.u32 %r2, [%rd1+8];", grid=3)
    write_twice = """
    mad.lo.u32 %r2, %r1, 32, %r0; mul.wide.u32 %rd2, %r2, 4; add.s64 %rd1, %rd1, %rd2;
    st.global.u32 [%rd1], 1; st.global.u32 [%rd1], 2;
    """
    global_code(write_twice, check_global="strict")


def test_trap_and_endless_loop():
    with pytest.raises(PtxError, match="trap: thread 7 of block 0"):
        shared_code("setp.eq.u32 %p1, %r0, 7; @%p1 trap;")
    with pytest.raises(PtxError, match="does not end"):
        shared_code("AGAIN: setp.eq.u32 %p1, %r0, 0; @%p1 bra AGAIN; bar.sync 0;", max_steps=1000)
    with pytest.raises(NotImplementedError):
        PtxModule(ptx_kernel("call f;")).launch("k", 1, 1, [])
