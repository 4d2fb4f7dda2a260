"""A device whose kernels are the LLVM code that numba-cuda makes of them, run by the CPU itself.

Beside the PTX interpreter (`tests.gpu.emulated`) this is a second execution, independent of NVVM's
PTX and hundreds of times as fast.  Each of a warp's 32 threads is a fiber: it runs on a stack of
its own until it meets a barrier, a shuffle or a vote, and goes on when all 32 have come there.
Between two such meetings the threads run one after the other, in an order that is drawn for each,
so that what they should have waited for may not be there.

What it checks (NativeError)
    * A thread waits where another does something else, or has ended.
    * The mask of a shuffle or a vote leaves a thread out.
    * A write just outside an array: there are guards between them.
    * Shared memory is full of NaN when a block starts.

What it does not see: reads out of bounds, most races, what the PTX or the machine code add.  For
these every kernel is run by the interpreter too.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import re
import threading
from functools import cache
from pathlib import Path

import numpy as np

from lossfit.kernels.gpu.device import checked
from lossfit.kernels.gpu.spec import Kernel
from tests.gpu import compiled
from tests.gpu.emulated import linked_resources
from tests.gpu.ptx_emulator import numba_kernel_args
from tests.gpu.simulated_device import SimulatedDevice

__all__ = [
    "NativeDevice",
    "NativeError",
    "NativeKernel",
    "missing_native",
    "native_kernel",
    "object_code",
]

WARP = 32
STACK = 1 << 20  # bytes of a thread; only what is touched takes memory
GUARD = 4096  # bytes between the arrays of a launch
ORDERS = 251  # orders of the threads that are drawn for a launch, and used in turn
FAULTS = {1: "the mask of a shuffle or a vote leaves threads out",
          2: "some threads have ended, others wait",
          3: "threads wait for different things"}  # fmt: skip


class NativeError(Exception):
    """A kernel does something wrong."""


def missing_native() -> str | None:
    """Why kernels cannot be run natively here; None if they can."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
        return "the switch between threads is written for Linux on x86-64"
    return compiled.missing()


# Saves what a call must not change, and goes on where the other stack left off.
SWITCH = [
    ".text", ".globl native_switch", "native_switch:",
    *[f"pushq %{r}" for r in ("rbp", "rbx", "r12", "r13", "r14", "r15")],
    "movq %rsp, (%rdi)", "movq %rsi, %rsp",
    *[f"popq %{r}" for r in ("r15", "r14", "r13", "r12", "rbx", "rbp")],
    "retq",
]  # fmt: skip

# What the kernel asks of the machine, and the loop that lets its threads run in turn.
RUNTIME = """
@native_stacks = global [33 x i64] zeroinitializer
@native_lane = global i32 0
@native_block = global i32 0
@native_fault = global i32 0
@native_at = global [32 x i32] zeroinitializer
@native_done = global [32 x i8] zeroinitializer
@native_meetings = global [32 x i32] zeroinitializer
@native_given = global [64 x i32] zeroinitializer
@native_arguments = global [{n_arguments} x i64] zeroinitializer

declare void @native_switch(ptr, i64)

define void @native_wait(i32 %at) noinline {{
  %lane = load i32, ptr @native_lane
  %place = getelementptr [32 x i32], ptr @native_at, i32 0, i32 %lane
  store i32 %at, ptr %place
  %own = getelementptr [33 x i64], ptr @native_stacks, i32 0, i32 %lane
  %scheduler = load i64, ptr getelementptr ([33 x i64], ptr @native_stacks, i32 0, i32 32)
  call void @native_switch(ptr %own, i64 %scheduler)
  ret void
}}

define i32 @native_give(i32 %mask, i32 %at, i32 %value) noinline {{
  %lane = load i32, ptr @native_lane
  %whole = icmp eq i32 %mask, -1
  br i1 %whole, label %go, label %fault
fault:
  store i32 1, ptr @native_fault
  br label %go
go:
  %counter = getelementptr [32 x i32], ptr @native_meetings, i32 0, i32 %lane
  %count = load i32, ptr %counter
  %next = add i32 %count, 1
  store i32 %next, ptr %counter
  %parity = and i32 %count, 1
  %base = mul i32 %parity, 32
  %index = add i32 %base, %lane
  %slot = getelementptr [64 x i32], ptr @native_given, i32 0, i32 %index
  store i32 %value, ptr %slot
  call void @native_wait(i32 %at)
  ret i32 %base
}}

define {{i32, i1}} @"native.shfl.sync.i32"(i32 %m, i32 %mode, i32 %v, i32 %b0, i32 %c) noinline {{
  %at = add i32 %mode, 16
  %base = call i32 @native_give(i32 %m, i32 %at, i32 %v)
  %lane = load i32, ptr @native_lane
  %segment.high = lshr i32 %c, 8
  %segment = and i32 %segment.high, 31
  %clamp = and i32 %c, 31
  %unsegmented = xor i32 %segment, -1
  %least = and i32 %lane, %segment
  %clamped = and i32 %clamp, %unsegmented
  %most = or i32 %least, %clamped
  %b = and i32 %b0, 31
  %up = sub i32 %lane, %b
  %down = add i32 %lane, %b
  %butterfly = xor i32 %lane, %b
  %chosen = and i32 %b, %unsegmented
  %index = or i32 %least, %chosen
  %is.up = icmp eq i32 %mode, 1
  %is.down = icmp eq i32 %mode, 2
  %is.butterfly = icmp eq i32 %mode, 3
  %j1 = select i1 %is.butterfly, i32 %butterfly, i32 %index
  %j2 = select i1 %is.down, i32 %down, i32 %j1
  %j = select i1 %is.up, i32 %up, i32 %j2
  %p.up = icmp sge i32 %j, %most
  %p.else = icmp sle i32 %j, %most
  %p = select i1 %is.up, i1 %p.up, i1 %p.else
  %source = select i1 %p, i32 %j, i32 %lane
  %from = add i32 %base, %source
  %slot = getelementptr [64 x i32], ptr @native_given, i32 0, i32 %from
  %value = load i32, ptr %slot
  %r0 = insertvalue {{i32, i1}} undef, i32 %value, 0
  %r1 = insertvalue {{i32, i1}} %r0, i1 %p, 1
  ret {{i32, i1}} %r1
}}

define {{i32, i1}} @"native.vote.sync"(i32 %m, i32 %mode, i1 %vote) noinline {{
entry:
  %given = zext i1 %vote to i32
  %at = add i32 %mode, 32
  %base = call i32 @native_give(i32 %m, i32 %at, i32 %given)
  br label %loop
loop:
  %i = phi i32 [0, %entry], [%i.next, %loop]
  %votes = phi i32 [0, %entry], [%votes.next, %loop]
  %from = add i32 %base, %i
  %slot = getelementptr [64 x i32], ptr @native_given, i32 0, i32 %from
  %value = load i32, ptr %slot
  %bit = shl i32 %value, %i
  %votes.next = or i32 %votes, %bit
  %i.next = add i32 %i, 1
  %more = icmp ult i32 %i.next, 32
  br i1 %more, label %loop, label %end
end:
  %all = icmp eq i32 %votes.next, -1
  %any = icmp ne i32 %votes.next, 0
  %none = icmp eq i32 %votes.next, 0
  %same = or i1 %all, %none
  %is.all = icmp eq i32 %mode, 0
  %is.any = icmp eq i32 %mode, 1
  %is.ballot = icmp eq i32 %mode, 3
  %p1 = select i1 %is.any, i1 %any, i1 %same
  %p = select i1 %is.all, i1 %all, i1 %p1
  %ballot = select i1 %is.ballot, i32 %votes.next, i32 0
  %r0 = insertvalue {{i32, i1}} undef, i32 %ballot, 0
  %r1 = insertvalue {{i32, i1}} %r0, i1 %p, 1
  ret {{i32, i1}} %r1
}}

define void @"native.barrier0"() {{
  call void @native_wait(i32 1)
  ret void
}}
define i32 @"native.read.ptx.sreg.tid.x"() {{
  %lane = load i32, ptr @native_lane
  ret i32 %lane
}}
define i32 @"native.same"(i32 %number) noinline optnone {{
  ret i32 %number
}}
define i32 @"native.read.ptx.sreg.ctaid.x"() {{
  %block = load i32, ptr @native_block
  ret i32 %block
}}
{zeros}
{functions}

declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define void @native_clear() {{
{clears}
  ret void
}}

define void @native_entry() {{
{loads}
  call void @"{kernel}"({arguments})
  %lane = load i32, ptr @native_lane
  %flag = getelementptr [32 x i8], ptr @native_done, i32 0, i32 %lane
  store i8 1, ptr %flag
  call void @native_wait(i32 0)
  unreachable
}}

define i32 @native_run(ptr %orders, i32 %n_orders) {{
entry:
  br label %round
round:
  %k = phi i32 [0, %entry], [%k.next, %again]
  %start = mul i32 %k, 32
  br label %turn
turn:
  %q = phi i32 [0, %round], [%q.next, %turned]
  %alive = phi i32 [0, %round], [%alive.next, %turned]
  %place = add i32 %start, %q
  %order = getelementptr i32, ptr %orders, i32 %place
  %lane = load i32, ptr %order
  %flag = getelementptr [32 x i8], ptr @native_done, i32 0, i32 %lane
  %done = load i8, ptr %flag
  %runs = icmp eq i8 %done, 0
  br i1 %runs, label %run, label %turned
run:
  store i32 %lane, ptr @native_lane
  %stack = getelementptr [33 x i64], ptr @native_stacks, i32 0, i32 %lane
  %there = load i64, ptr %stack
  call void @native_switch(
    ptr getelementptr ([33 x i64], ptr @native_stacks, i32 0, i32 32), i64 %there)
  %done.now = load i8, ptr %flag
  %still = icmp eq i8 %done.now, 0
  %one = zext i1 %still to i32
  br label %turned
turned:
  %more.alive = phi i32 [0, %turn], [%one, %run]
  %alive.next = add i32 %alive, %more.alive
  %q.next = add i32 %q, 1
  %more = icmp ult i32 %q.next, 32
  br i1 %more, label %turn, label %met
met:
  %over = icmp eq i32 %alive.next, 0
  br i1 %over, label %end, label %waiting
waiting:
  %full = icmp eq i32 %alive.next, 32
  br i1 %full, label %compare, label %ended
compare:
  %i = phi i32 [1, %waiting], [%i.next, %compared]
  %first = load i32, ptr @native_at
  %other.place = getelementptr [32 x i32], ptr @native_at, i32 0, i32 %i
  %other = load i32, ptr %other.place
  %agree = icmp eq i32 %first, %other
  br i1 %agree, label %compared, label %differ
compared:
  %i.next = add i32 %i, 1
  %more.lanes = icmp ult i32 %i.next, 32
  br i1 %more.lanes, label %compare, label %again
again:
  %k.plus = add i32 %k, 1
  %k.next = urem i32 %k.plus, %n_orders
  br label %round
ended:
  ret i32 2
differ:
  ret i32 3
end:
  %fault = load i32, ptr @native_fault
  ret i32 %fault
}}
"""

# Functions of libdevice, by those of the C library.
FUNCTIONS = {
    1: ("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt", "fabs", "floor", "ceil",
        "rint", "sin", "cos", "tan", "erf", "erfc", "lgamma", "tgamma"),
    2: ("fmax", "fmin", "pow", "fmod"),
}  # fmt: skip


def _functions(text: str) -> str:
    lines = []
    for count, names in FUNCTIONS.items():
        for name in names:
            for kind, end in (("double", ""), ("float", "f")):
                if f'@"__nv_{name}{end}"' not in text:
                    continue
                given = ", ".join(f"{kind} %{i}" for i in range(count))
                if f"declare {kind} @{name}{end}(" not in text:
                    lines.append(f"declare {kind} @{name}{end}({', '.join([kind] * count)})")
                lines += [
                    f'define {kind} @"__nv_{name}{end}"({given}) {{',
                    f"  %r = call {kind} @{name}{end}({given})", f"  ret {kind} %r", "}",
                ]  # fmt: skip
    return "\n".join(lines)


_SHARED = re.compile(r'^@"(_cudapy_smem_\d+)" = global \[(\d+) x (\w+)\]', re.M)
_BYTES = {"double": 8, "float": 4, "i64": 8, "i32": 4, "i16": 2, "i8": 1}


def _runtime(texts: list[str]) -> str:
    """The LLVM code that the kernel is linked with; its own is the first text."""
    shared = [part for text in texts for part in _SHARED.findall(text)]
    clears = [f'@"{name}" = external global [{n} x {kind}]' for name, n, kind in shared]
    calls = [
        f'  call void @llvm.memset.p0.i64(ptr @"{name}", i8 -1, i64 {int(n) * _BYTES[kind]}, i1 0)'
        for name, n, kind in shared
    ]
    match = re.search(r'^define void @"([^"]+)"\((.*)\)', texts[0], re.M)
    assert match is not None
    kinds = [part.split(" %")[0].strip() for part in match.group(2).split(", ")]
    loads, given = [], []
    for i, kind in enumerate(kinds):
        place = f"getelementptr ([{len(kinds)} x i64], ptr @native_arguments, i32 0, i32 {i})"
        loads.append(f"  %a{i} = load {kind}, ptr {place}")
        given.append(f"{kind} %a{i}")
    fixed = {"tid.y": 0, "tid.z": 0, "ctaid.y": 0, "ctaid.z": 0, "ntid.x": WARP, "ntid.y": 1,
             "ntid.z": 1}  # fmt: skip
    zeros = "\n".join(
        f'define i32 @"native.read.ptx.sreg.{name}"() {{\n  ret i32 {value}\n}}'
        for name, value in fixed.items()
    )
    body = RUNTIME.format(
        n_arguments=len(kinds), zeros=zeros, functions=_functions("\n".join(texts)),
        loads="\n".join(loads), kernel=match.group(1), arguments=", ".join(given),
        clears="\n".join(calls),
    )  # fmt: skip
    assembly = "\n".join(f'module asm "{line}"' for line in SWITCH)
    head = match.group(0).replace("define ", "declare ")
    head = re.sub(r' %"[^"]*"', "", head)
    return "\n".join([assembly, *clears, head, body])


@cache
def _for_this_machine(text: str) -> str:
    """LLVM code for a GPU, as code for the CPU; kernels share the functions that they call."""
    text = _opaque(text)
    text = text.replace("llvm.nvvm.", "native.").replace("llvm.used", "native_unused")
    text = re.sub(r"^target .*$", "", text, flags=re.M)
    text = re.sub(r"^@\"native_unused\".*$", "", text, flags=re.M)
    text = text.replace("addrspace(3) global", "global").replace(" addrspace(3)", "")
    text = text.replace("addrspacecast", "bitcast")
    text = re.sub(r"^!nvvm.*$", "", text, flags=re.M)
    thread = r'asm sideeffect "mov\.u32 \$0, %tid\.x;", "[^"]*"\s*\(\)'
    text = re.sub(thread, '@"native.read.ptx.sreg.tid.x"()', text)
    text = re.sub(r'asm sideeffect "mov\.u32 \$0, \$1;", "[^"]*"\s*\(', '@"native.same"(', text)
    declared = {"native.read.ptx.sreg.tid.x": "()", "native.same": "(i32)"}
    for name, kinds in declared.items():
        if f'@"{name}"' in text and not re.search(rf'^declare i32 @"{name}"', text, re.M):
            text += f'\ndeclare i32 @"{name}"{kinds}\n'
    return text


def _texts(kernel: Kernel) -> list[str]:
    """The kernel's LLVM code, for the CPU."""
    return [_for_this_machine(text) for text in compiled.llvm_texts(kernel)]


# Types of pointers: to a number or a pointer; to a struct; to an array; to a function.
_POINTERS = (
    re.compile(r"\b(?:double|float|i\d+|ptr)\*+"),
    re.compile(r"\{[^{}*\n]*\}\*+"),
    re.compile(r"\[\d+ x [^\[\]*\n]*\](?: addrspace\(3\))?\*+"),
    re.compile(r"\b(?:void|ptr|i\d+) \([^()*\n]*\)\*+"),
)


def _opaque(text: str) -> str:
    """LLVM code with opaque pointers, as LLVM 17 and later wants; NVVM takes typed ones."""
    while True:
        count = 0
        for pattern in _POINTERS:
            text, n = pattern.subn("ptr", text)
            count += n
        if count == 0:
            return text


_lock = threading.RLock()  # one kernel runs at a time: its threads are in global variables


@cache
def _machine():
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(opt=1, codemodel="jitdefault", jit=True)


def _object_code(kernel: Kernel) -> bytes:
    """Machine code of a kernel."""
    import llvmlite.binding as llvm

    texts = _texts(kernel)
    machine = _machine()
    module = llvm.parse_assembly(_runtime(texts))
    for text in texts:
        module.link_in(llvm.parse_assembly(text))
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    for function in module.functions:
        if not function.is_declaration and not function.name.startswith("native"):
            function.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


@cache
def _version() -> str:
    """Changes with this file, from which the code is made."""
    return hashlib.blake2b(Path(__file__).read_bytes(), digest_size=6).hexdigest()


def object_code(kernel: Kernel) -> bytes:
    """Machine code of a kernel, from disk where it lies there."""
    return compiled.kept(kernel, f"native-{_version()}", lambda: _object_code(kernel))


class NativeKernel:
    """A kernel that the CPU runs.

    Parameters
    ----------
    kernel : Kernel
        Of blocks of one warp.
    """

    def __init__(self, kernel: Kernel) -> None:
        import llvmlite.binding as llvm

        if kernel.block != WARP:
            raise NotImplementedError(f"blocks of one warp only, not of {kernel.block} threads")
        self.name = kernel.name
        code = object_code(kernel)
        with _lock:
            engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            engine.finalize_object()
        self._engine = engine
        function = ctypes.CFUNCTYPE
        self._clear = function(None)(engine.get_function_address("native_clear"))
        self._run = function(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)(
            engine.get_function_address("native_run")
        )
        self._entry = engine.get_function_address("native_entry")

    def _variable(self, name: str, dtype: type, n: int) -> np.ndarray:
        address = self._engine.get_global_value_address(f"native_{name}")
        code = np.ctypeslib.as_ctypes_type(np.dtype(dtype)) * n
        return np.ctypeslib.as_array(code.from_address(address))

    def launch(self, grid: int, arguments, rng: np.random.Generator | None = None) -> None:
        """Run the kernel to its end.

        Parameters
        ----------
        grid : int
            Blocks.
        arguments : sequence
            As the kernel's Python function takes them; arrays are changed in place.
        rng : numpy.random.Generator, optional
            Draws the orders in which threads run; without it they run by their numbers.

        Raises
        ------
        NativeError
        """
        guarded = _Guarded()
        flat = guarded.words(numba_kernel_args(*arguments))
        orders = np.tile(np.arange(WARP, dtype=np.int32), (1 if rng is None else ORDERS, 1))
        if rng is not None:
            orders = rng.permuted(orders, axis=1)
        with _lock:
            self._variable("arguments", np.uint64, len(flat))[:] = flat
            stacks = _stacks()
            block = self._variable("block", np.int32, 1)
            for number in range(grid):
                self._clear()
                for name, dtype, n in (
                    ("fault", np.int32, 1), ("done", np.int8, WARP), ("meetings", np.int32, WARP),
                ):  # fmt: skip
                    self._variable(name, dtype, n)[:] = 0
                self._variable("stacks", np.uint64, WARP)[:] = _prepare(stacks, self._entry)
                block[0] = number
                fault = self._run(orders.ctypes.data, len(orders))
                if fault:
                    raise NativeError(f"{self.name}, block {number}: {FAULTS[fault]}")
        guarded.take_back(self.name)


@cache
def _stacks() -> np.ndarray:
    return np.empty((WARP, STACK // 8), np.uint64)


def _prepare(stacks: np.ndarray, entry: int) -> np.ndarray:
    """Make the threads start at an address; their stacks' tops."""
    top = (stacks.ctypes.data + (np.arange(WARP, dtype=np.uint64) + 1) * STACK) // 64 * 64
    index = ((top - stacks.ctypes.data) // 8).astype(np.int64) - STACK // 8 * np.arange(WARP)
    for lane in range(WARP):
        here = stacks[lane, index[lane] - 8 : index[lane]]
        here[:] = 0
        here[6] = entry  # above six registers; the call before it returns nowhere
    return top - 64


class _Guarded:
    """Copies of the arrays of a launch, with guards between them."""

    def __init__(self) -> None:
        self.pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def words(self, parameters) -> list[int]:
        """The kernel's parameters as numbers of 64 bits, of the copies."""
        flat = []
        for value in parameters:
            if isinstance(value, tuple):
                flat.append(self._copy(value[1]))
            elif isinstance(value, np.ndarray | np.generic):
                flat.append(int.from_bytes(value.tobytes(), "little"))
            else:
                flat.append(int(value) % 2**64)
        return flat

    def _copy(self, array: np.ndarray) -> int:
        if not array.flags.c_contiguous:
            raise NotImplementedError("an array with gaps")
        for known, _, inside in self.pairs:
            if known is array:
                return inside.ctypes.data
        whole = np.full(array.nbytes + 2 * GUARD, 0xA5, np.uint8)
        inside = whole[GUARD : GUARD + array.nbytes].view(array.dtype).reshape(array.shape)
        inside[...] = array
        self.pairs.append((array, whole, inside))
        return inside.ctypes.data

    def take_back(self, name: str) -> None:
        """Check the guards, and change the arrays."""
        for array, whole, inside in self.pairs:
            if (whole[:GUARD] != 0xA5).any() or (whole[GUARD + array.nbytes :] != 0xA5).any():
                raise NativeError(f"{name}: a write out of bounds of an array {array.shape}")
            if array.flags.writeable:
                array[...] = inside


_kernels: dict = {}


def native_kernel(kernel: Kernel) -> NativeKernel:
    """The kernel, ready to be launched; made once a process."""
    key = kernel.function, kernel.signature, kernel.fastmath
    with _lock:
        if key not in _kernels:
            _kernels[key] = NativeKernel(kernel)
        return _kernels[key]


class NativeDevice(SimulatedDevice):
    """`SimulatedDevice` whose kernels the CPU runs.

    Parameters
    ----------
    seed : int, optional
        Of the orders in which threads run.
    **options
        As for `SimulatedDevice`.
    """

    def __init__(self, *args, seed: int = 0, **options):
        super().__init__(*args, **options)
        self.rng = np.random.default_rng([31, seed])
        self.reports = []  # which only the interpreter writes

    def resources(self, kernel):
        return linked_resources(kernel, self.compute_capability)

    def launch(self, kernel, grid, arguments, stream):
        if grid == 0:
            return
        self.launches.append((kernel.name, grid, kernel.block))
        native_kernel(kernel).launch(grid, checked(kernel, arguments), self.rng)
