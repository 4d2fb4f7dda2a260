"""Every kernel, compiled and linked: what it needs of a GPU, and what float32 must not contain."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit import laws
from lossfit.diagnostics.budgets import BUDGETS, budget
from lossfit.diagnostics.kernel_catalogue import catalogue
from lossfit.kernels import driver
from lossfit.kernels.gpu import backend
from lossfit.kernels.gpu.backend import llvm_library, ptx_of
from lossfit.kernels.gpu.batch import FitJob
from lossfit.kernels.gpu.launch import run
from tests.gpu.compile_catalogue import CAPABILITY
from tests.gpu.emulated import EmulatedDevice, module_of

ENTRIES = {entry.name: entry for entry in catalogue()}
PRECISIONS = {"float64": False, "float32": True}
CASES = [
    (name, dtype) for dtype in PRECISIONS for name in ENTRIES if dtype in ENTRIES[name].precisions
]
RESERVED = {9: 1024}  # bytes of shared memory a block that the linker counts in, for the system
MOST_PARAMETERS = 4096  # bytes of arguments that drivers before 530 take
FIRST = CAPABILITY  # PTX and machine code of the others are made every night
ARITHMETIC = {
    "add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos",
}  # fmt: skip


@pytest.fixture(scope="module")
def kernels(request):
    """The kernels that the chosen tests need, each built once."""
    return _chosen(request)


@pytest.fixture(scope="module")
def linked(request, kernels):
    """Those kernels for the architectures that are asked for, linked in the background."""
    nightly = "nightly" in (request.config.option.markexpr or "")
    return compiled.compile_kernels(
        kernels.values(), compiled.ARCHITECTURES if nightly else (FIRST,)
    )


def _chosen(request):
    wanted = {}
    for item in request.session.items:
        given = getattr(item, "callspec", None)
        if item.path == request.path and given is not None and "entry" in given.params:
            wanted[given.params["entry"], given.params["dtype"]] = None
    return {key: ENTRIES[key[0]].build(PRECISIONS[key[1]]) for key in wanted}


def _architectures():
    for cc in compiled.ARCHITECTURES:
        marks = pytest.mark.nightly(only="compiles every kernel for another architecture")
        yield pytest.param(cc, id=f"sm_{cc[0]}{cc[1]}", marks=[marks] * (cc != FIRST))


def parameter_bytes(ptx):
    """Bytes of a kernel's arguments."""
    head = ptx[ptx.index(".entry") :].split("{")[0]
    return sum(int(bits) // 8 for bits in re.findall(r"\.param \.[a-z](\d+)", head))


@pytest.mark.parametrize("cc", tuple(_architectures()))
@pytest.mark.parametrize(("entry", "dtype"), CASES)
def test_resources(entry, dtype, cc, kernels, linked):
    kernel = kernels[entry, dtype]
    found = linked[kernel, cc].result()
    assert kernel.block == 32  # a block is a team of one warp
    assert f".target sm_{cc[0]}{cc[1]}" in found.ptx
    assert len(found.cubin) > 1000
    needs = found.resources
    assert (needs.spill_stores, needs.spill_loads, needs.stack, needs.local) == (0, 0, 0, 0)
    for local in ("__local_depot", ".local.", "ld.local", "st.local"):
        assert local not in found.ptx
    assert not re.search(r"^\s*call", found.ptx, re.M)  # all is inlined
    assert parameter_bytes(found.ptx) <= MOST_PARAMETERS
    most = budget(entry)
    assert needs.registers <= most.registers[cc[0]]
    assert needs.shared - RESERVED.get(cc[0], 0) <= most.shared


def test_code_that_is_kept_gives_the_same_ptx(monkeypatch):
    kernel = ENTRIES["moments"].build(False)
    made = llvm_library(kernel.function, kernel.signature, kernel.fastmath, FIRST)
    texts = made.llvm_strs
    assert len(set(texts)) < len(texts)  # it is kept without what is there twice
    kept = {}
    monkeypatch.setattr(backend, "llvm_library", lambda *_: made)
    monkeypatch.setattr(compiled, "_libraries", {})
    monkeypatch.setattr(compiled, "_read", lambda place, kind: kept.get(kind))
    monkeypatch.setattr(compiled, "_write", lambda place, kind, new: kept.update({kind: new}))
    for _ in ("made", "read"):
        library = compiled._library(kernel.function, kernel.signature, kernel.fastmath)
        assert len(library.llvm_strs) == len(set(texts))
        assert ptx_of(library, FIRST) == ptx_of(made, FIRST)
        compiled._libraries.clear()
    assert kept


def test_every_budget_is_of_some_kernel():
    used = {next(p for p, b in BUDGETS.items() if b is budget(name)) for name in ENTRIES}
    assert set(BUDGETS) - used <= {"*"}


def cycles(blocks, starts):
    """Sets of blocks that reach one another without leaving `starts`."""
    order = sorted(starts)
    at = {start: i for i, start in enumerate(order)}
    edges = [(at[a], at[b]) for a in order for b in blocks[a].next if b in at]
    ends = np.array(edges, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), tuple(ends)), (len(at), len(at)))
    _, labels = connected_components(graph, connection="strong")
    for label, size in enumerate(np.bincount(labels)):
        group = {order[i] for i in np.flatnonzero(labels == label)} if size else set()
        if size > 1 or any(a in blocks[a].next for a in group):
            yield group


def innermost_loops(module):
    """Instructions of each loop that has no other in it."""
    (program,) = module.entries.values()
    blocks = program.blocks

    def inner(starts):
        for loop in list(cycles(blocks, starts)):
            headers = {b for a in blocks if a not in loop for b in blocks[a].next if b in loop}
            deeper = list(inner(loop - (headers or {min(loop)})))
            yield from deeper or [loop]

    for loop in inner(set(blocks)):
        yield [
            program.instructions[place]
            for start in sorted(loop)
            for place in range(start, blocks[start].end)
        ]


def arithmetic(instructions, dtype):
    """How many instructions compute in a type; to convert and to store is not to compute."""
    return sum(i.name in ARITHMETIC and i.parts[-1] == dtype for i in instructions)


@pytest.mark.parametrize(("entry", "dtype"), [case for case in CASES if case[1] == "float32"])
def test_inner_loops_of_float32_kernels_do_not_compute_in_float64(entry, dtype, kernels):
    """A loop computes in one precision: the float64 prologue at pseudo-points has its own loops.

    (There one float32 node may be read: up to two float32 instructions beside the float64 ones.)
    """
    loops = list(innermost_loops(module_of(kernels[entry, dtype])))
    assert loops
    for loop in loops:
        singles, doubles = arithmetic(loop, "f32"), arithmetic(loop, "f64")
        where = f"loop at line {loop[0].line}: {Counter(i.opcode for i in loop).most_common(8)}"
        assert doubles == 0 or singles <= 2, where


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_float64_kernels_do_not_compute_in_float32(entry, dtype, kernels):
    """But in the first guesses of divisions, logarithms and the like, which PTX hides."""
    for loop in innermost_loops(module_of(kernels[entry, dtype])):
        assert not any(i.name in ("ex2", "lg2") for i in loop)


def typical_run(single, draws=0, points=512):
    """What the fit kernel executes for a run."""
    rng = np.random.default_rng(1)
    x = np.linspace(0.05, 1.0, points)
    y = 1.75 + 0.02 * x**-0.6 - 0.06 * x + rng.normal(0, 0.004, points)
    batch = driver.Batch(x, y, np.ones(points), np.array([0, points]))
    table = driver.PriorTable(
        np.array([[[0.02, 3.0, 2.0, 0.5, 1.0]]]),
        np.zeros((1, 3)),
        np.array([[3.5, 3.5, 1.75]]),
        np.zeros((1, 3)),
        np.array([[1.0, 0.004]]),
    )
    program = laws.get("power_linear").program
    job = FitJob(batch, program, table, np.array([7], np.uint64), draws, single=single)
    device = EmulatedDevice()
    run(job, [device])
    return device.reports[0]


def share(report, dtype):
    """Of executed warp-instructions, those that compute in a type."""
    counts = report.warp_counts_by_opcode()
    parts = {opcode: opcode.split(".") for opcode in counts}
    mine = [o for o, p in parts.items() if p[0] in ARITHMETIC and p[-1] == dtype]
    return sum(counts[opcode] for opcode in mine) / sum(counts.values())


@pytest.mark.parametrize("draws", [0, 300])
def test_float32_fits_compute_in_float64_only_in_their_prologue(draws):
    report = typical_run(True, draws)
    assert share(report, "f64") < 0.05
    assert share(report, "f32") > 0.25


@pytest.mark.parametrize("single", [False, True])
def test_points_are_summed_by_a_recurrence(single):
    """What twice the points cost: a recurrence of 32 orders a point, no exponentials.

    (One in float32, which stages the residuals of a reference fit in a second pass, and a few of
    scans that go on for longer.)
    """
    small, large = (typical_run(single, points=points) for points in (512, 1024))

    def more(*opcodes):
        counts = [report.thread_counts_by_opcode() for report in (large, small)]
        return sum(counts[0].get(one, 0) - counts[1].get(one, 0) for one in opcodes) / 512

    assert more("ex2.approx.ftz.f32") < (2.0 if single else 0.1)
    # at most two sums an order and the recurrence; float32 stages the points twice
    sums = more("fma.rn.f64", "fma.rn.ftz.f32")
    assert 16 < sums < (260 if single else 130)
