"""What the CUDA kernels need of a card, and what cards can make of them: no card is used.

    python -m benches.kernel_report            # or python benches/kernel_report.py
    python -m benches.kernel_report --hot      # and where a run's instructions are

Kernels are compiled and linked; typical runs are executed by the tests' PTX emulator, whose counts
become counts of machine instructions (`_sass`); from these and the cards' data (`_cards`) follow
bounds.  docs/gpu.md explains them.  Needs the extra cuda-check.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "benches"

import numpy as np

from benches import _cards, _expansion, _report, _sass
from benches._cards import CARDS
from lossfit import laws
from lossfit.kernels.driver import Batch
from lossfit.kernels.gpu import compiled
from lossfit.kernels.gpu.budgets import budget
from lossfit.kernels.gpu.catalogue import catalogue
from lossfit.kernels.gpu.chunks import size
from lossfit.kernels.gpu.spec import Kernel

PRECISIONS = {"float64": False, "float32": True}
POINTS, CURVES = 512, 8
MAIN = (9, 0)
BARS = {"fit power_linear, 0 draws": 20e6, "default answer": 1e6}  # runs a second on an H100


class Workload(NamedTuple):
    """A typical run of some kernels.

    Attributes
    ----------
    name : str
    run : callable
        From (device, single) to the bytes that the card's memory gives and takes for a run, and
        the number of runs; launches its kernels on the device.
    """

    name: str
    run: Callable[[Any, bool], tuple[float, int]]


def workloads() -> list[Workload]:
    """What is predicted."""
    found = [
        Workload(f"fit power_linear, {draws} draws", lambda d, s, n=draws: fits(d, s, n))
        for draws in (0, 200, 1000)
    ]
    if any(entry.name.startswith("forecast") for entry in catalogue()):
        found.append(Workload("default answer", default_answers))
    return found


def fits(device: Any, single: bool, draws: int) -> tuple[float, int]:
    """Fits of 512-point curves that look like Llama 2 7B's (`peers.curve`)."""
    from lossfit.kernels.gpu.batch import FitJob
    from lossfit.kernels.gpu.launch import run

    from .peers import curve, table

    curves = [curve(seed) for seed in range(CURVES)]
    batch = Batch(
        np.concatenate([x for x, _ in curves]),
        np.concatenate([y for _, y in curves]),
        np.ones(POINTS * CURVES),
        np.arange(CURVES + 1) * POINTS,
    )
    keys = np.arange(CURVES, dtype=np.uint64)
    job = FitJob(batch, laws.get("power_linear").program, table(CURVES), keys, draws, single)
    run(job, [device])
    moved = size(job.inputs(0, CURVES)) + size(job.outputs(0, CURVES))
    return moved / CURVES, CURVES


def default_answers(device: Any, single: bool) -> tuple[float, int]:
    """Answers of `lossfit.extrapolate` as it is called by default: not connected yet."""
    raise NotImplementedError


class Device:
    """The tests' emulated device, which remembers kernels with what they executed."""

    def __init__(self, capability: tuple[int, int]) -> None:
        from tests.gpu.emulated import EmulatedDevice

        class Remembering(EmulatedDevice):  # type: ignore[misc]
            kernels: list[Kernel] = []  # noqa: RUF012

            def launch(self, kernel: Kernel, grid: int, arguments: Any, stream: Any) -> None:
                self.kernels.append(kernel)
                super().launch(kernel, grid, arguments, stream)

        self.device = Remembering(compute_capability=capability)
        self.device.kernels = []

    @property
    def launched(self) -> list[tuple[Kernel, Any]]:
        return list(zip(self.device.kernels, self.device.reports, strict=True))


class Cost(NamedTuple):
    """What a run costs on an architecture.

    Attributes
    ----------
    ptx, sass : float
        Executed instructions of warps.
    estimated, known : float
        The latter by the other method, and the share of PTX instructions that it knows.
    units : Counter
        By unit (`_cards.load`).
    alone : float
        Cycles of a warp alone.
    n_bytes : float
    code : int
        Machine instructions in the kernel.
    resources : compiled.Resources
    """

    ptx: float
    sass: float
    estimated: float
    known: float
    units: Counter[str]
    alone: float
    n_bytes: float
    code: int
    resources: compiled.Resources


def cost(workload: Workload, single: bool, capability: tuple[int, int]) -> Cost:
    """Execute and count; of several kernels the sum, with the resources of the largest."""
    latency = next(
        card.architecture.double_latency
        for card in CARDS
        if card.architecture.capability == capability
    )
    device = Device(capability)
    n_bytes, runs = workload.run(device.device, single)
    ptx = sass = estimated = known = alone = 0.0
    units: Counter[str] = Counter()
    code, needs = 0, []
    for kernel, report in device.launched:
        made = compiled.compile_kernel(kernel, capability)
        blocks = _sass.blocks_of(made.ptx, capability)
        main = _sass.count(blocks, report)
        executed = _sass.by_opcode(main)
        other, share = _expansion.estimate(report.warp_counts_by_opcode(), capability)
        ptx += sum(report.warp_counts)
        sass += sum(executed.values())
        estimated += other
        known += share * sum(report.warp_counts)
        alone += _sass.alone(main, latency)
        units.update(_cards.load(executed))
        code += sum(len(block.instructions) for block in blocks)
        needs.append(made.resources)
    return Cost(
        ptx / runs,
        sass / runs,
        estimated / runs,
        known / ptx,
        Counter({unit: times / runs for unit, times in units.items()}),
        alone / runs,
        n_bytes,
        code,
        max(needs, key=lambda one: (one.registers, one.shared)),
    )


def own_shared(needs: compiled.Resources, capability: tuple[int, int]) -> int:
    """Bytes of shared memory of a block; the linker adds the system's on sm_90."""
    return needs.shared - (_cards.RESERVED if capability[0] == 9 and needs.shared else 0)


def table_of_kernels() -> list[dict[str, Any]]:
    """Print what every kernel needs."""
    by_capability = {
        card.architecture.capability: card.architecture for card in reversed(CARDS)
    }
    kernels = {
        (entry.name, dtype): entry.build(single)
        for entry in catalogue()
        for dtype, single in PRECISIONS.items()
    }
    linked = compiled.compile_kernels(kernels.values())
    print(
        f"\n{'kernel':30} {'dtype':8} {'arch':7} {'regs':>4} {'spill':>5} {'shared':>6} "
        f"{'blocks/SM':>9} {'occupancy':>9} {'limited by':14} {'PTX':>6} {'SASS':>6}"
    )
    rows = []
    for (name, dtype), kernel in kernels.items():
        for cc in compiled.ARCHITECTURES:
            made = linked[kernel, cc].result()
            needs = made.resources
            shared = own_shared(needs, cc)
            held = _cards.occupancy(by_capability[cc], needs.registers, shared)
            row = {
                "kernel": name,
                "dtype": dtype,
                "arch": f"sm_{cc[0]}{cc[1]}",
                "registers": needs.registers,
                "spills": needs.spill_stores + needs.spill_loads + needs.stack + needs.local,
                "shared": shared,
                "blocks": held.blocks,
                "occupancy": held.share,
                "limit": held.limit,
                "ptx": ptx_size(made.ptx),
                "sass": sass_size(made.cubin),
                "within_budget": needs.registers <= budget(name).registers[cc[0]]
                and shared <= budget(name).shared,
            }
            rows.append(row)
            print(
                f"{name:30} {dtype:8} {row['arch']:7} {row['registers']:4} {row['spills']:5} "
                f"{shared:6} {held.blocks:9} {held.share:9.0%} {held.limit:14} {row['ptx']:6} "
                f"{row['sass']:6}"
            )
    print("A block is one warp, for one run. Spill: bytes of spills, stack and local memory.")
    return rows


def ptx_size(ptx: str) -> int:
    """Instructions in PTX."""
    body = ptx[ptx.index("{") :]
    return sum(
        row.rstrip().endswith(";") and not row.strip().startswith((".", "//"))
        for row in body.splitlines()
    )


def sass_size(cubin: bytes) -> int | str:
    """Machine instructions of a kernel with its slow paths."""
    if compiled.disassembler() is None:
        return "-"
    text = compiled.disassemble(cubin, "-c", "-hex")
    return sum(one.name != "NOP" for one in _sass._parse(text))


def predictions(hot: bool) -> list[dict[str, Any]]:
    """Print what each card can make of typical runs, with the arithmetic."""
    rows = []
    for workload in workloads():
        for dtype, single in PRECISIONS.items():
            costs: dict[tuple[int, int], Cost] = {}
            for card in CARDS:
                capability = card.architecture.capability
                if capability not in costs:
                    costs[capability] = cost(workload, single, capability)
            here = costs[MAIN]
            print(f"\n== {workload.name}, {dtype} " + "=" * 40)
            explain(here)
            for card in CARDS:
                rows.append(one_prediction(workload.name, dtype, card, costs))
            if hot:
                hot_spots(workload, single)
    return rows


def explain(here: Cost) -> None:
    """The counts of a run on sm_90."""
    print(
        f"a run on sm_90: {here.ptx:,.0f} PTX instructions of its warp = {here.sass:,.0f} machine "
        f"instructions (line table);\n"
        f"  {here.estimated:,.0f} by what single PTX instructions become "
        f"({here.known:.0%} of them measured): "
        f"{here.estimated / here.sass - 1:+.0%}; code {here.code * 16 / 1024:.0f} KB"
    )
    units = ", ".join(f"{unit} {here.units[unit]:,.0f}" for unit in _cards.HOPPER.rates)
    print(f"  by unit: {units}; memory {here.n_bytes:,.0f} bytes; alone {here.alone:,.0f} cycles")


def one_prediction(
    name: str, dtype: str, card: _cards.Card, costs: dict[tuple[int, int], Cost]
) -> dict[str, Any]:
    """Print and return the bounds of a card."""
    architecture = card.architecture
    here = costs[architecture.capability]
    shared = own_shared(here.resources, architecture.capability)
    held = _cards.occupancy(architecture, here.resources.registers, shared)
    found = _cards.bound(card, here.units, here.alone, held.blocks, here.n_bytes)
    binding = min(found.units, key=lambda unit: found.units[unit])
    limits = ", ".join(
        f"{unit} {value / 1e6:.1f}" for unit, value in sorted(found.units.items(), key=lambda p: p[1])
    )
    print(
        f"{card.name}: {held.blocks} warps/SM ({held.limit}); millions of runs/s at most: {limits}; "
        f"latency {found.latency / 1e6:.1f}; expected {found.expected / 1e6:.1f} "
        f"({found.busy:.0%} of issue)"
    )
    if card.name.startswith("H100"):
        unit_rate = architecture.rates[binding] if binding != "memory" else 0
        if unit_rate:
            print(
                f"    {binding}: {card.multiprocessors} SMs x {card.clock} GHz x {unit_rate} a clock"
                f" / {here.units[binding]:,.0f} = {found.units[binding] / 1e6:.1f} million/s; "
                f"latency: {card.multiprocessors} x {card.clock} GHz x {held.blocks} warps / "
                f"{here.alone:,.0f} cycles = {found.latency / 1e6:.1f} million/s"
            )
    return {
        "workload": name,
        "dtype": dtype,
        "card": card.name,
        "warps": held.blocks,
        "limit": held.limit,
        "binding": binding,
        "bounds": {unit: float(value) for unit, value in found.units.items()},
        "latency": found.latency,
        "expected": found.expected,
        "ptx": here.ptx,
        "sass": here.sass,
        "estimated": here.estimated,
        "alone": here.alone,
        "bytes": here.n_bytes,
    }


def hot_spots(workload: Workload, single: bool) -> None:
    """Print in which lines of the sources a run's machine instructions are."""
    raise NotImplementedError


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--hot", action="store_true", help="show where the instructions are")
    options = parser.parse_args()
    reason = compiled.missing()
    if reason is None and compiled.disassembler() is None:
        reason = "nvdisasm is not installed: pip install nvidia-cuda-nvdisasm"
    if reason is not None:
        print(f"no report: {reason}")
        sys.exit(2)
    record = _report.start("kernel_report")
    record["kernels"] = table_of_kernels()
    record["predictions"] = predictions(options.hot)
    failures = [
        f"{row['kernel']} {row['dtype']} {row['arch']}: spills or over its budget"
        for row in record["kernels"]
        if row["spills"] or not row["within_budget"]
    ]
    for name, bar in BARS.items():
        reached = [
            row
            for row in record["predictions"]
            if row["workload"] == name and row["card"].startswith("H100")
        ]
        if reached:
            best = max(reached, key=lambda row: row["expected"])
            print(
                f"\n{name}: bar {bar / 1e6:.0f} million/s on an H100; expected "
                f"{best['expected'] / 1e6:.1f} in {best['dtype']}"
            )
            if best["expected"] < bar:
                failures.append(f"{name}: {best['expected'] / 1e6:.1f} million/s are expected")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
