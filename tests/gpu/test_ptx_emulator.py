"""Checks of the PTX emulator: instructions written by hand, against exact arithmetic in Python."""

from __future__ import annotations

import math
import operator
from fractions import Fraction

import numpy as np
import pytest

from tests.gpu.ptx_emulator import OutOfBoundsError, PtxError, PtxModule, numba_kernel_args

WARP = 32
FULL = 0xFFFFFFFF
NAMES = {"i": "s", "u": "u", "f": "f"}
DTYPES = {
    f"{NAMES[np.dtype(t).kind]}{8 * np.dtype(t).itemsize}": t
    for t in (np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64)
}


def kernel(body, parameters=(), buffer=0):
    """A kernel k, whose parameters p0, p1... are of these types, with a shared buffer."""
    given = ", ".join(f".param .{kind} p{i}" for i, kind in enumerate(parameters))
    shared = f".shared .align 4 .b8 buffer[{buffer}];" if buffer else ""
    return PtxModule(f"""
.version 8.0
.target sm_90
.address_size 64
{shared}
.visible .entry k({given})
{{
    .reg .pred %p<9>;
    .reg .b32 %r<20>;
    .reg .f32 %f<9>;
    .reg .b64 %rd<20>;
    .reg .f64 %fd<9>;
    mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x;
{body}
    ret;
}}
""")


def evaluate(code, result_type, *operands):
    """Execute instructions on arrays of operands %x0, %x1...; return the values of %y.

    They are executed twice: by all threads, and by every other one, which must change nothing for
    the rest.
    """
    operands = [np.atleast_1d(operand) for operand in np.broadcast_arrays(*operands)]
    size = operands[0].size
    n_blocks = -(-size // WARP)
    operands = [np.resize(operand, n_blocks * WARP) for operand in operands]
    out = np.zeros(n_blocks * WARP, result_type)
    half = np.zeros_like(out)
    names = [f"%x{i}" for i in range(len(operands))] + ["%y", "%half"]
    arrays = [*operands, out, half]
    loads = "mad.lo.s32 %r2, %r1, 32, %r0;\n"
    for i, (name, array) in enumerate(zip(names, arrays, strict=True)):
        width = array.itemsize
        kind = f"{NAMES[array.dtype.kind]}{8 * width}"
        loads += f".reg .b{8 * width} {name}; .reg .b64 %a{i};\n"
        loads += f"ld.param.u64 %a{i}, [p{i}]; mul.wide.u32 %rd0, %r2, {width};\n"
        loads += f"add.s64 %a{i}, %a{i}, %rd0;\n"
        if i < len(operands):
            loads += f"ld.global.{kind} {name}, [%a{i}];\n"
    store = f"st.global.{kind} [%a{{}}], %y;\n"
    body = f"""
    {loads}
    and.b32 %r3, %r0, 1; setp.eq.u32 %p8, %r3, 0; @%p8 bra SKIP;
    {code}
SKIP: {store.format(len(operands) + 1)} {loads.split(";", 1)[1]}
    {code}
    {store.format(len(operands))}
    """
    kernel(body, ["u64"] * len(arrays)).launch("k", n_blocks, WARP, [("ptr", a) for a in arrays])
    np.testing.assert_array_equal(half[1::2], out[1::2], err_msg=code)
    np.testing.assert_array_equal(half[::2], 0, err_msg=code)
    return out[:size]


def integers(dtype, count=9, seed=0):
    """Random integers of all sizes, and those at the edges."""
    info = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    values = [int(rng.integers(0, 1 << 63)) >> int(rng.integers(0, 63)) for _ in range(count)]
    values = [v * int(rng.choice([-1, 1])) for v in values]
    return np.array([wrap(v, dtype) for v in [*values, 0, 1, -1, 2, info.min, info.max]], dtype)


def reals(dtype, count=8, seed=0):
    """Random floats of all sizes, and special ones."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    values = [*(rng.normal(size=count) * 2.0 ** rng.integers(-40, 40, count)), 1.0, -1.0, 0.25]
    values += [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, info.tiny, info.tiny / 8]
    return np.array(values).astype(dtype)


def wrap(value, dtype):
    """A Python integer cut to the width of a type."""
    info = np.iinfo(dtype)
    return (int(value) - info.min) % (1 << info.bits) + info.min


def pairs(values):
    """All pairs of some values, as two arrays."""
    return np.repeat(values, len(values)), np.tile(values, len(values))


def truncated(x, y):
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def insert(value, into, start, length, bits):
    mask = ((1 << (length & 255)) - 1) << (start & 255)
    return (into & ~mask) | ((value << (start & 255)) & mask) if start & 255 < bits else into


INTEGER_OPERATIONS = {
    "add.{}": operator.add,
    "sub.{}": operator.sub,
    "mul.lo.{}": operator.mul,
    "mul.hi.{}": lambda x, y, bits: x * y >> bits,
    "min.{}": min,
    "max.{}": max,
    "div.{}": lambda x, y: truncated(x, y) if y else -1,
    "rem.{}": lambda x, y: x - y * truncated(x, y) if y else x,
    "and.b{}": operator.and_,
    "or.b{}": operator.or_,
    "xor.b{}": operator.xor,
    "not.b{}": lambda x, y: ~x,
    "neg.{}": lambda x, y: -x,
    "mad.lo.{}": lambda x, y: x * y + y,
    "mul.wide.{}": operator.mul,
}


@pytest.mark.parametrize("name", INTEGER_OPERATIONS)
def test_integers(name):
    function = INTEGER_OPERATIONS[name]
    for kind, dtype in list(DTYPES.items())[:4]:
        wide = dtype
        if "wide" in name:
            if np.dtype(dtype).itemsize == 8:
                continue
            wide = DTYPES[kind[0] + "64"]
        bits = np.iinfo(dtype).bits
        x, y = pairs(integers(dtype))
        more = (bits,) if "hi" in name else ()
        expected = [wrap(function(int(a), int(b), *more), wide) for a, b in zip(x, y, strict=True)]
        rest = {"not.b{}": "", "neg.{}": "", "mad.lo.{}": ", %x1, %x1"}.get(name, ", %x1")
        code = f"{name.format(bits if '.b' in name else kind)} %y, %x0{rest};"
        np.testing.assert_array_equal(evaluate(code, wide, x, y), np.array(expected, wide), code)


@pytest.mark.parametrize("dtype", list(DTYPES.values())[:4])
def test_bits(dtype):
    kind, bits = list(DTYPES)[list(DTYPES.values()).index(dtype)], np.iinfo(dtype).bits
    amounts = np.array([0, 1, 5, bits - 1, bits, bits + 1, 200, FULL], np.uint32)
    x = np.repeat(integers(dtype), len(amounts))
    by = np.resize(amounts, len(x))
    for code, shift in ((f"shl.b{bits}", operator.lshift), (f"shr.{kind}", operator.rshift)):
        got = evaluate(f"{code} %y, %x0, %x1;", dtype, x, by)
        expected = [
            wrap(shift(int(a), min(int(b), bits)), dtype) for a, b in zip(x, by, strict=True)
        ]
        np.testing.assert_array_equal(got, np.array(expected, dtype), code)
    ones = [format(int(v) & ((1 << bits) - 1), "b").count("1") for v in x]
    np.testing.assert_array_equal(evaluate(f"popc.b{bits} %y, %x0;", np.uint32, x), ones)
    places = np.array([0, 1, 7, 31, bits - 1, bits, bits + 3, 255], np.uint32)
    start, length = pairs(places)
    value, into = (np.resize(integers(dtype, 50, seed), len(start)) for seed in (0, 1))
    got = evaluate(f"bfi.b{bits} %y, %x0, %x1, %x2, %x3;", dtype, value, into, start, length)
    columns = zip(value, into, start, length, strict=True)
    expected = [wrap(insert(*map(int, row), bits), dtype) for row in columns]
    np.testing.assert_array_equal(got, np.array(expected, dtype))


def rounded(value, dtype, mode):
    """An exact value rounded to a float of a type, to the nearest, down or towards zero."""
    if mode == "rn" and abs(value) > np.finfo(dtype).max:
        return dtype(float(value))
    near = np.clip(dtype(float(value)), np.finfo(dtype).min, np.finfo(dtype).max)
    around = [np.nextafter(near, dtype(-np.inf)), near, np.nextafter(near, dtype(np.inf))]
    below = max((v for v in around if v <= value), default=None)
    above = min((v for v in around if v >= value), default=None)
    if below == above or mode == "rm" or (mode == "rz" and value > 0):
        return below
    if mode == "rz":
        return above
    gaps = value - Fraction(float(below)), Fraction(float(above)) - value
    if gaps[0] == gaps[1]:
        return below if int(below.view(f"u{below.itemsize}")) % 2 == 0 else above
    return below if gaps[0] < gaps[1] else above


ROUNDED = {
    "fma.rn.{} %y, %x0, %x1, %x2;": lambda x, y, z: x * y + z,
    "add.rn.{} %y, %x0, %x2;": lambda x, y, z: x + z,
    "sub.{} %y, %x0, %x2;": lambda x, y, z: x - z,
    "mul.rn.{} %y, %x0, %x1;": lambda x, y, z: x * y,
    "div.rn.{} %y, %x0, %x1;": lambda x, y, z: x / y,
    "rcp.rn.{} %y, %x0;": lambda x, y, z: 1 / x,
    "fma.rm.f32 %y, %x0, %x1, %x2;": lambda x, y, z: x * y + z,
    "fma.rz.f32 %y, %x0, %x1, %x2;": lambda x, y, z: x * y + z,
    "add.rz.f32 %y, %x0, %x2;": lambda x, y, z: x + z,
}


@pytest.mark.parametrize("code", ROUNDED)
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_rounding(code, kind):
    if kind == "f64" and "f32" in code:
        pytest.skip("kernels round float64 to the nearest only")
    dtype = DTYPES[kind]
    rng = np.random.default_rng(3)
    x, y, z = (rng.normal(size=(3, 60)) * 2.0 ** rng.integers(-9, 9, (3, 60))).astype(dtype)
    # Sums that nearly cancel, that lie between two floats, and that differ much in size.
    eps = np.finfo(dtype).eps
    z[:20] = -(x * y)[:20]
    z[20:24] *= dtype(2.0**-60)
    x[24:28], y[24:28] = 1 + eps * np.arange(1, 5), 1 + eps
    x[28:30], y[28:30], z[28:30] = 1, [1, 1 + eps], eps / 2
    exact = zip(*([Fraction(float(v)) for v in row] for row in (x, y, z)), strict=True)
    expected = [rounded(ROUNDED[code](*row), dtype, code.split(".")[1]) for row in exact]
    got = evaluate(code.format(kind), dtype, x, y, z)
    np.testing.assert_array_equal(got, np.array(expected, dtype))
    np.testing.assert_array_equal(
        evaluate(f"sqrt.rn.{kind} %y, %x0;", dtype, abs(x)), np.sqrt(abs(x))
    )


def test_overflow_in_rounding_modes():
    largest = np.finfo(np.float32).max
    x = np.array([largest, -largest], np.float32)
    for mode, expected in (("rn", [np.inf, -np.inf]), ("rz", x), ("rm", [largest, -np.inf])):
        got = evaluate(f"fma.{mode}.f32 %y, %x0, 0f40000000, 0f00000000;", np.float32, x)
        np.testing.assert_array_equal(got, np.array(expected, np.float32))


def smallest(x, y):
    return np.where(np.signbit(x) & (x == y), x, np.where((x < y) | np.isnan(y), x, y))


SPECIAL = {
    "add.{} %y, %x0, %x1;": np.add,
    "sub.{} %y, %x0, %x1;": np.subtract,
    "mul.{} %y, %x0, %x1;": np.multiply,
    "div.rn.{} %y, %x0, %x1;": np.divide,
    "neg.{} %y, %x0;": lambda x, y: -x,
    "abs.{} %y, %x0;": lambda x, y: abs(x),
    "copysign.{} %y, %x0, %x1;": lambda x, y: np.copysign(y, x),
    "min.{} %y, %x0, %x1;": smallest,
    "max.{} %y, %x0, %x1;": lambda x, y: -smallest(-x, -y),
    "cvt.sat.{0}.{0} %y, %x0;": lambda x, y: np.clip(np.nan_to_num(x, nan=0) + 0.0, 0, 1),
    "add.sat.{} %y, %x0, %x1;": lambda x, y: np.clip(np.nan_to_num(x + y, nan=0) + 0.0, 0, 1),
    "cvt.rmi.{0}.{0} %y, %x0;": lambda x, y: np.floor(x),
    "cvt.rzi.{0}.{0} %y, %x0;": lambda x, y: np.trunc(x),
}


@pytest.mark.parametrize("code", SPECIAL)
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_special_values(code, kind):
    x, y = pairs(reals(DTYPES[kind]))
    got = evaluate(code.format(kind), DTYPES[kind], x, y)
    with np.errstate(all="ignore"):
        expected = SPECIAL[code](x, y)
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(got)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(expected)[number])


def test_flush_to_zero_and_approximations():
    tiny = np.finfo(np.float32).tiny
    x = np.array([tiny / 2, -tiny / 2, tiny, 1.5 * tiny, 3.0], np.float32)
    root = np.sqrt([0, -0.0, tiny, 1.5 * tiny, 3])
    logarithm = [-np.inf, -np.inf, -126, -126 + math.log2(1.5), math.log2(3)]
    for code, expected in (
        ("add.ftz.f32 %y, %x0, 0f80000000;", [0, -0.0, tiny, 1.5 * tiny, 3]),
        ("fma.rn.ftz.f32 %y, %x0, 0f3F000000, 0f00000000;", [0, 0, 0, 0, 1.5]),
        ("ex2.approx.ftz.f32 %y, %x0;", np.float32([1, 1, 1, 1, 8])),
        ("lg2.approx.ftz.f32 %y, %x0;", logarithm),
        ("sqrt.approx.ftz.f32 %y, %x0;", root),
        ("rsqrt.approx.f32 %y, %x0;", [2**63.5, np.nan, 2.0**63, (1.5 * tiny) ** -0.5, 3**-0.5]),
        ("rcp.approx.f32 %y, %x0;", 1 / x.astype(float)),
    ):
        got = evaluate(code, np.float32, x)
        np.testing.assert_allclose(got, np.float64(expected), 1e-6, err_msg=code)
    x = np.array([1.0, 3.0, -7.0, 1e300, np.inf, 0.0, np.nan, 2e-308])
    got = evaluate("rcp.approx.ftz.f64 %y, %x0;", np.float64, x)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got[:-1], (1 / x)[:-1], rtol=2e-6)
    assert got[-1] == np.inf
    np.testing.assert_array_equal(got.view(np.uint64)[:-2] & np.uint64(FULL), 0)


COMPARE = {"eq": operator.eq, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
           "ge": operator.ge}  # fmt: skip


@pytest.mark.parametrize("kind", ["f32", "f64", "s64", "u32"])
def test_comparisons_and_selections(kind):
    dtype = DTYPES[kind]
    x, y = pairs(reals(dtype) if kind[0] == "f" else integers(dtype))
    unordered = np.isnan(x) | np.isnan(y)
    cases = {name: compare(x, y) for name, compare in COMPARE.items()}
    cases["ne"] = (x != y) & ~unordered
    if kind[0] == "f":
        cases |= {name + "u": holds | unordered for name, holds in cases.items()}
        cases |= {"num": ~unordered, "nan": unordered}
    for name, holds in cases.items():
        test = f"setp.{name}.{kind} %p1, %x0, %x1;"
        got = evaluate(test + "selp.u32 %y, 1, 0, %p1;", np.uint32, x, y)
        np.testing.assert_array_equal(got, holds, err_msg=name)
        # The target of a selection may be one of its operands.
        got = evaluate(test + f"selp.{kind} %x0, %x1, %x0, %p1; mov.{kind} %y, %x0;", dtype, x, y)
        np.testing.assert_array_equal(got, np.where(holds, y, x), err_msg=name)
    both = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
    for name, join in both.items():
        code = f"setp.lt.{kind} %p1, %x0, %x1; setp.eq.{kind} %p2, %x0, %x0; not.pred %p3, %p2;"
        code += f"{name}.pred %p4, %p1, %p3; selp.u32 %y, 1, 0, %p4;"
        expected = join(cases["lt"], x != x)
        np.testing.assert_array_equal(evaluate(code, np.uint32, x, y), expected, err_msg=name)


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_conversions(source, target):
    info = np.iinfo(DTYPES[target]) if target[0] != "f" else None
    if source[0] == "f":
        x = np.concatenate([reals(np.float64), integers(np.int64), [0.5, 1.5, -0.5, 1 + 2**-24]])
        x = np.concatenate([x, [1 + 2**-24 + 2**-50, 3e38]])
        with np.errstate(over="ignore"):
            x = x.astype(DTYPES[source])
    else:
        x = integers(DTYPES[source], 40)
    if info is not None and source[0] == "f":

        def convert(value):
            if np.isnan(value):
                return info.min if info.min else 1 << (info.bits - 1)
            if np.isinf(value):
                return info.max if value > 0 else info.min
            return min(max(math.trunc(float(value)), info.min), info.max)

        mode = ".rzi"
        if info.bits == 32 and source == "f32":
            x = x[~np.isnan(x)]  # which would give 0
    elif info is not None:
        mode, convert = "", lambda value: wrap(value, info.dtype)
    else:
        mode = ".rn" if source[0] != "f" or (source, target) == ("f64", "f32") else ""

        def convert(value):
            if not mode or not np.isfinite(value):
                return value
            exact = Fraction(float(value) if source[0] == "f" else int(value))
            return rounded(exact, DTYPES[target], "rn")

    got = evaluate(f"cvt{mode}.{target}.{source} %y, %x0;", DTYPES[target], x)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(got, np.array([convert(v) for v in x], DTYPES[target]))


def test_registers_of_inner_scopes_and_halves_of_registers():
    x = np.arange(4, dtype=np.uint32)
    code = """
        mov.u32 %y, %x0;
        { .reg .b32 %y; mov.u32 %y, 77; { .reg .b32 %y; mov.u32 %y, 78; } }
        { .reg .f64 %y; mov.f64 %y, 0d3FF0000000000000; }
        mov.b64 %rd9, {%r0, %y}; mov.b64 {_, %y}, %rd9;
    """
    np.testing.assert_array_equal(evaluate(code, np.uint32, x), x)


UNKNOWN = (
    "frobnicate.u32 %y, %x0;", "add.odd.u32 %y, %x0, %x0;", "cvt.rn.bf16.f32 %y, %x0;",
    "ld.global.strange.u32 %y, [%rd1];", "ld.local.u32 %y, [%rd1];", "bar.sync 0, 32;",
    "bar.arrive 0, 64;", "wgmma.fence;", "atom.global.add.u32 %y, [%rd1], 1;", "call f;",
    "@%p1 add.u32 %y, %x0, 1;", "cvta.shared.u64 %rd1, %rd1;", "membar.cta;", "fma.rp.f32 %f1, %f1,"
    " %f1, %f1;", "vote.sync.uni.pred %p1, %p1, -1;", "mad.hi.u32 %y, %x0, %x0, %x0;",
)  # fmt: skip


@pytest.mark.parametrize("code", UNKNOWN)
def test_unknown_instructions_and_modifiers(code):
    with pytest.raises(NotImplementedError):
        kernel(code.replace("%y", "%r2").replace("%x0", "%r3")).launch("k", 1, WARP, [])


def test_parameters():
    body = """
    ld.param.u64 %rd1, [p0]; ld.param.f64 %fd1, [p1]; ld.param.f32 %f1, [p2]; cvt.f64.f32 %fd2, %f1;
    ld.param.u32 %r2, [p3]; cvt.rn.f64.u32 %fd3, %r2; add.f64 %fd1, %fd1, %fd2;
    cvta.to.global.u64 %rd2, %rd1; mul.wide.u32 %rd3, %r0, 8; add.s64 %rd2, %rd2, %rd3;
    add.f64 %fd1, %fd1, %fd3; st.global.f64 [%rd2], %fd1;
    """
    module, out = kernel(body, ["u64", "f64", "f32", "u32"]), np.zeros(WARP)
    args = [("ptr", out), np.float64(2.5), np.float32(0.5), np.uint32(3)]
    module.launch("k", 1, WARP, args)
    assert (out == 6.0).all()
    for i, wrong, says in ((2, np.uint32(5), "p2 is f32"), (3, np.uint64(3), "p3 is u32")):
        with pytest.raises(TypeError, match=says):
            module.launch("k", 1, WARP, [*args[:i], wrong, *args[i + 1 :]])
    with pytest.raises(TypeError, match="4 parameters"):
        module.launch("k", 1, WARP, args[:3])
    with pytest.raises(NotImplementedError, match="blocks of 64"):
        module.launch("k", 1, 64, args)
    flat = numba_kernel_args((np.zeros((2, 3)), 2.5), True, 1 << 63, np.float32(1))
    kinds = [getattr(value, "dtype", "ptr") for value in flat[2:]]
    assert kinds == ["i8", "i8", "ptr", *["i8"] * 4, "f8", "u1", "u8", "f4"]
    assert flat[5:9] == [2, 3, 24, 8]


def collective(code, grid=1):
    """Run code that leaves a 32-bit result in %r2; return it for each thread, and the report."""
    out = np.zeros((grid, WARP), np.uint32)
    body = f"""{code}
    ld.param.u64 %rd1, [p0];
    mad.lo.s32 %r5, %r1, 32, %r0; mul.wide.u32 %rd2, %r5, 4; add.s64 %rd1, %rd1, %rd2;
    st.global.u32 [%rd1], %r2;
    """
    module = kernel(body, ["u64"], 128)
    module.launch("k", grid, WARP, [("ptr", out)])
    return out, module.report


LANE = np.arange(WARP)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("vote.sync.ballot.b32 %r2, %p1, -1;", 0b10011),
        ("vote.sync.ballot.b32 %r2, !%p1, -1;", FULL - 0b10011),
        ("vote.sync.any.pred %p2, %p1, -1; selp.u32 %r2, 1, 0, %p2;", 1),
        ("vote.sync.all.pred %p2, %p1, -1; selp.u32 %r2, 1, 0, %p2;", 0),
        ("st.shared.u32 [%rd4], %r0; bar.sync 0; ld.shared.u32 %r2, [buffer+12];", 3),
        ("st.shared.u32 [%rd4], %r0; bar.warp.sync -1; ld.shared.u32 %r2, [buffer+12];", 3),
    ],
)
def test_votes_and_barriers(code, expected):
    prepare = "mov.u32 %r3, 19; shr.u32 %r3, %r3, %r0; and.b32 %r3, %r3, 1; setp.eq.u32 %p1, %r3, "
    prepare += "1; mov.u64 %rd4, buffer; mul.wide.u32 %rd5, %r0, 4; add.s64 %rd4, %rd4, %rd5;"
    assert (collective(prepare + code, 3)[0] == expected).all()


@pytest.mark.parametrize("width", [32, 16, 8])
def test_shuffles(width):
    clamp = (32 - width) << 8
    within = LANE % width
    cases = {
        f"up.b32 %r2|%p1, %r3, 3, {clamp:#x}": (np.where(within >= 3, LANE - 3, LANE), within >= 3),
        f"down.b32 %r2|%p1, %r3, 3, {clamp | 31:#x}":
            (np.where(within + 3 < width, LANE + 3, LANE), within + 3 < width),
        f"bfly.b32 %r2|%p1, %r3, 5, {clamp | 31:#x}": (LANE ^ 5, LANE >= 0),
        f"idx.b32 %r2|%p1, %r3, 6, {clamp | 31:#x}": (LANE - within + 6, LANE >= 0),
    }  # fmt: skip
    for code, (source, inside) in cases.items():
        code = f"mul.lo.u32 %r3, %r0, 11; shfl.sync.{code}, -1;"
        np.testing.assert_array_equal(collective(code)[0][0], 11 * source, err_msg=code)
        got = collective(code + "selp.u32 %r2, 1, 0, %p1;")[0][0]
        np.testing.assert_array_equal(got, inside, err_msg=code)


def test_threads_that_part_meet_again_and_are_counted():
    # The detour of some lies behind the shuffle and jumps back; the loop is of as many rounds as
    # the lane has; block 1 takes no detour.
    body = """
    setp.lt.u32 %p1, %r0, 7; mov.u32 %r4, %r0; setp.eq.u32 %p2, %r1, 0; and.pred %p1, %p1, %p2;
    @%p1 bra DETOUR;
MEET:
    shfl.sync.bfly.b32 %r2, %r4, 1, 31, -1;
    mov.u32 %r6, 0;
LOOP:
    add.u32 %r6, %r6, 1; setp.le.u32 %p3, %r6, %r0;
    @%p3 bra LOOP;
    add.u32 %r2, %r2, %r6;
    bra.uni OUT;
DETOUR:
    add.u32 %r4, %r4, 100;
    bra MEET;
OUT:
    """
    out, report = collective(body, 2)
    detour = np.where(LANE < 7, 100, 0)
    np.testing.assert_array_equal(out[0], (LANE + detour)[LANE ^ 1] + LANE + 1)
    np.testing.assert_array_equal(out[1], (LANE ^ 1) + LANE + 1)
    warps, threads = report.warp_counts_by_opcode(), report.thread_counts_by_opcode()
    assert (warps["shfl.sync.bfly.b32"], threads["shfl.sync.bfly.b32"]) == (2, 64)
    rounds = int((LANE + 1).sum())
    assert threads["setp.le.u32"] == 2 * rounds
    assert warps["setp.le.u32"] == 2 * 32  # the longest lane goes round 32 times
    assert (warps["bra"], threads["bra"]) == (2 * 33 + 1, 2 * rounds + 64 + 7)
    assert (warps["ret"], threads["ret"]) == (2, 64)


# -- errors that it finds ------------------------------------------------------------------------


def run(code, grid=2, size=64, arrays=None, **options):
    """Run code with the address in shared memory of the thread's word in %rd1, %rd3 in global."""
    prepare = """
    mov.u64 %rd1, buffer; mul.wide.u32 %rd2, %r0, 4; add.s64 %rd1, %rd1, %rd2;
    ld.param.u64 %rd3, [p0]; setp.eq.u32 %p1, %r0, 0; setp.eq.u32 %p2, %r1, 0;
    and.pred %p3, %p1, %p2;
    """
    x = np.zeros(size, np.uint32) if arrays is None else arrays
    kernel(prepare + code, ["u64"], 4096).launch("k", grid, WARP, [("ptr", x)], **options)


STORE = "st.shared.u32 [%rd1], 1;"
READ = "ld.shared.u32 %r2, [buffer];"
BARRIER = "bar.sync 0;"
FIRST = "@!%p1 bra N1; {} N1:"  # by thread 0 only
VERY_FIRST = "@!%p3 bra N3; {} N3:"  # and of block 0 only
OTHERS = "@%p3 bra N4; {} N4:"

ERRORS = {
    # races in shared memory
    "st.shared.u32 [buffer], 5;": "shared memory race",  # the same value, but two writers
    STORE + READ: r"shared memory race: thread 1 of block 0 reads 4 bytes at byte 0 of buffer, "
    r"which thread 0 of block 0 wrote(.|\n)*ld\.shared(.|\n)*st\.shared",
    STORE + "shfl.sync.bfly.b32 %r2, %r0, 1, 31, -1;" + READ: "shared memory race",
    STORE + "vote.sync.any.pred %p4, %p1, -1;" + READ: "shared memory race",
    STORE + BARRIER + READ + FIRST.format("st.shared.u32 [buffer], 2;"): "shared memory race",
    STORE + BARRIER + READ + BARRIER + FIRST.format("st.shared.u32 [buffer], 2;")
    + READ: "shared memory race",
    # in global memory
    "st.global.u32 [%rd3], 7;": "global memory race.*",
    FIRST.format("st.global.u32 [%rd3], %r1;"): "global memory race.*byte 0 of array argument 0",
    VERY_FIRST.format("st.global.u32 [%rd3+4], 1;")
    + OTHERS.format("ld.global.u32 %r2, [%rd3+4];"): "global memory race.*reads.*wrote",
    OTHERS.format("ld.global.u32 %r2, [%rd3+4];")
    + VERY_FIRST.format("st.global.u32 [%rd3+4], 1;"): "global memory race",
    # a barrier orders a block, not the grid
    VERY_FIRST.format("st.global.u32 [%rd3+4], 1;") + BARRIER
    + "ld.global.u32 %r2, [%rd3+4];": "global memory race",
    "ld.global.u32 %r2, [%rd3];" + BARRIER + "@%p2 bra N2;"
    + FIRST.format("st.global.u32 [%rd3], 1;") + "N2:": "global memory race",
    # bounds
    "ld.global.u32 %r2, [%rd3+256];": r"global out of bounds: .*byte 256 of array argument 0",
    "ld.global.u32 %r2, [%rd3+-4];": "global out of bounds",
    "st.shared.u32 [%rd1+4000], 1;": "shared out of bounds: thread 24 of block 0",
    "st.shared.u32 [%rd1+4288], 1;": "shared out of bounds: thread 0 of block 0",  # of block 1
    "ld.global.u32 %r2, [%rd3+1000000];": "global out of bounds",
    "ld.global.u64 %rd9, [%rd3+4];": "misaligned global",
    # what nothing wrote
    FIRST.format(STORE) + BARRIER + "ld.shared.u32 %r2, [%rd1];": "uninitialised shared memory: "
    "thread 1 of block 0 reads 4 bytes at byte 4 of buffer",
    # not left from the block before
    "@!%p2 bra N2; " + STORE + "N2: ld.shared.u32 %r2, [%rd1];": "uninitialised shared memory: "
    "thread 0 of block 1",
    # threads that wait for others
    "@%p1 bra END; bar.sync 0; END:": r"divergent barrier in block 0.*\n.*bar\.sync.*\n.*has ended",
    "@!%p1 bra GO; ret; GO: bar.sync 0;": "divergent barrier(.|\n)*has ended",
    "@%p1 bra END; bar.warp.sync -1; bra OUT; END: bar.sync 0; OUT:": "divergent barrier",
    "@%p1 bra END; shfl.sync.bfly.b32 %r2, %r0, 1, 31, -1; END:": "divergent barrier",
    "shfl.sync.bfly.b32 %r2, %r0, 1, 31, 0xffff;": "mask leaves lanes out",
    "mov.u32 %r4, 1; vote.sync.any.pred %p4, %p1, %r4;": "mask leaves lanes out",
    "AGAIN: bra AGAIN;": "does not end",
}  # fmt: skip


@pytest.mark.parametrize("threads_at_once", [32, 512])
@pytest.mark.parametrize("code", ERRORS)
def test_errors(code, threads_at_once):
    bounds = "out of bounds" in ERRORS[code]
    with pytest.raises(OutOfBoundsError if bounds else PtxError, match=ERRORS[code]):
        run(code, threads_at_once=threads_at_once, max_steps=1000)


@pytest.mark.parametrize(
    "code",
    [
        STORE + BARRIER + READ + BARRIER + "st.shared.u32 [%rd1], 2;" + BARRIER + READ,
        STORE + "bar.warp.sync -1;" + READ + "bar.warp.sync -1;" + STORE,
        "mad.lo.s32 %r4, %r1, 32, %r0; mul.wide.u32 %rd4, %r4, 4; add.s64 %rd4, %rd3, %rd4;"
        "st.global.u32 [%rd4], 1; ld.global.u32 %r5, [%rd4]; st.global.u32 [%rd4], %r5;",
        "ld.global.u32 %r4, [%rd3]; ld.u32 %r4, [%rd3+252];",  # read by all
        "@!%p2 bra N2; " + FIRST.format("st.global.u32 [%rd3], 1;") + BARRIER
        + "ld.global.u32 %r4, [%rd3]; N2:",  # by one block
    ],
)  # fmt: skip
def test_no_errors(code):
    run(code, grid=2)


def test_arrays():
    read_only = np.zeros(64, np.uint32)
    read_only.flags.writeable = False
    run("ld.global.u32 %r4, [%rd3];", arrays=read_only)
    with pytest.raises(PtxError, match="read-only global"):
        run(VERY_FIRST.format("st.global.u32 [%rd3], 1;"), arrays=read_only)
    with pytest.raises(NotImplementedError, match="gaps"):
        run("", arrays=np.zeros(64, np.uint32)[::2])
    with pytest.raises(OutOfBoundsError):
        run("ld.global.u32 %r4, [%rd3];", arrays=np.zeros(0, np.uint32))
    # Overlapping views are one memory, and there is nothing between others.
    base = np.arange(10, dtype=np.uint32)
    module = kernel(
        "ld.param.u64 %rd1, [p0]; ld.param.u64 %rd2, [p1]; setp.eq.u32 %p1, %r0, 0; @!%p1 bra END;"
        "ld.global.u32 %r2, [%rd1+4]; add.u32 %r2, %r2, 9; st.global.u32 [%rd2], %r2; END:",
        ["u64", "u64"],
    )
    module.launch("k", 1, WARP, [("ptr", base[:8]), ("ptr", base[1:9])])
    assert base.tolist() == [0, 10, 2, 3, 4, 5, 6, 7, 8, 9]
