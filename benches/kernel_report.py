"""What the CUDA kernels need of a GPU, and what GPUs can make of them: no GPU is used.

    python -m benches.kernel_report            # or python benches/kernel_report.py

Kernels are compiled and linked; typical runs are executed by the tests' PTX emulator, whose counts
become counts of machine instructions (`_sass`); from these and the GPUs' data (`_gpus`) follow
bounds.  docs/gpu.md explains them.  Needs the extra cuda-check.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "benches"

from benches import _gpus, _report, _sass
from benches._gpus import GPUS
from benches._workloads import Device, Workload, workloads
from lossfit.diagnostics.budgets import budget
from lossfit.diagnostics.kernel_catalogue import catalogue
from tests.gpu import compiled

PRECISIONS = {"float64": False, "float32": True}
MAIN = (9, 0)
BARS = {"fit power_linear, 0 draws": 20e6, "default answer": 1e6}  # runs a second on an H100


class Cost(NamedTuple):
    """What a run costs in one kernel, on an architecture.

    Attributes
    ----------
    kernel : str
    ptx, sass : float
        Executed instructions of warps.
    units : Counter
        By unit (`_gpus.load`).
    alone : float
        Cycles of a warp alone.
    code : int
        Machine instructions in the kernel.
    resources : compiled.Resources
    """

    kernel: str
    ptx: float
    sass: float
    units: Counter[str]
    alone: float
    code: int
    resources: compiled.Resources


def costs_of(
    workload: Workload, single: bool, capability: tuple[int, int]
) -> tuple[list[Cost], float]:
    """Execute and count: the cost in each kernel, and bytes of the GPU's memory."""
    latency = next(
        gpu.architecture.double_latency for gpu in GPUS if gpu.architecture.capability == capability
    )
    device = Device(capability)
    n_bytes, runs = workload.run(device.device, single)
    found = []
    for kernel, report in device.launched:
        made = compiled.compile_kernel(kernel, capability)
        blocks = _sass.blocks_of(made.ptx, capability)
        main = _sass.count(blocks, report)
        executed = _sass.by_opcode(main)
        _sass.check(executed, report)
        units = _gpus.load(executed)
        found.append(
            Cost(
                kernel.name,
                sum(report.warp_counts) / runs,
                sum(executed.values()) / runs,
                Counter({unit: times / runs for unit, times in units.items()}),
                _sass.alone(main, latency) / runs,
                sum(len(block.instructions) for block in blocks),
                made.resources,
            )
        )
    return found, n_bytes


def own_shared(needs: compiled.Resources, capability: tuple[int, int]) -> int:
    """Bytes of shared memory of a block; the linker adds the system's on sm_90."""
    return needs.shared - (_gpus.RESERVED if capability[0] == 9 and needs.shared else 0)


def table_of_kernels() -> list[dict[str, Any]]:
    """Print what every kernel needs."""
    by_capability = {gpu.architecture.capability: gpu.architecture for gpu in reversed(GPUS)}
    kernels = {
        (entry.name, dtype): entry.build(single)
        for entry in catalogue()
        for dtype, single in PRECISIONS.items()
        if dtype in entry.precisions
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
            held = _gpus.occupancy(by_capability[cc], needs.registers, shared)
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


def predictions(only: str = "") -> list[dict[str, Any]]:
    """Print what each GPU can make of typical runs, with the arithmetic."""
    rows = []
    for workload in workloads():
        if not workload.name.startswith(only):
            continue
        for dtype in workload.precisions:
            single = PRECISIONS[dtype]
            found = {
                capability: costs_of(workload, single, capability)
                for capability in {gpu.architecture.capability for gpu in GPUS}
            }
            print(f"\n== {workload.name}, {dtype} " + "=" * 40)
            explain(*found[MAIN])
            for gpu in GPUS:
                costs, n_bytes = found[gpu.architecture.capability]
                row = one_prediction(gpu, costs, n_bytes)
                rows.append({"workload": workload.name, "dtype": dtype, **row})
    return rows


def explain(costs: list[Cost], n_bytes: float) -> None:
    """The counts of a run on sm_90."""
    for one in costs:
        print(
            f"{one.kernel} on sm_90: a run's warp executes {one.ptx:,.0f} PTX instructions = "
            f"{one.sass:,.0f} machine instructions; code {one.code / 64:.0f} KB"
        )
        units = ", ".join(f"{unit} {one.units[unit]:,.0f}" for unit in _gpus.HOPPER.rates)
        print(f"  by unit: {units}; {one.alone:,.0f} cycles alone")
    print(f"  memory: {n_bytes:,.0f} bytes")


def one_prediction(gpu: _gpus.Gpu, costs: list[Cost], n_bytes: float) -> dict[str, Any]:
    """Print and return the bounds of a GPU; kernels run one after the other."""
    architecture = gpu.architecture
    units: Counter[str] = Counter()
    latency = expected = 0.0  # seconds a run
    warps, limits = [], []
    for one in costs:
        shared = own_shared(one.resources, architecture.capability)
        held = _gpus.occupancy(architecture, one.resources.registers, shared)
        part = _gpus.bound(gpu, one.units, one.alone, held.blocks)
        units.update(one.units)
        latency += 1.0 / part.latency
        expected += 1.0 / part.expected
        warps.append(held.blocks)
        limits.append(held.limit)
    clocks = gpu.multiprocessors * gpu.clock * 1e9
    bounds = {
        unit: clocks * rate / units[unit]
        for unit, rate in architecture.rates.items()
        if units[unit]
    }
    bounds["memory"] = gpu.bandwidth * 1e9 / n_bytes
    binding = min(bounds, key=lambda unit: bounds[unit])
    expected = min(1.0 / expected, bounds["memory"])
    said = ", ".join(f"{u} {v / 1e6:.1f}" for u, v in sorted(bounds.items(), key=lambda p: p[1]))
    held_text = "/".join(map(str, warps))
    print(
        f"{gpu.name}: {held_text} warps an SM ({'/'.join(dict.fromkeys(limits))}); million runs/s "
        f"at most: {said}; latency {1e-6 / latency:.1f}; expected {expected / 1e6:.1f} "
        f"({expected / bounds['issue']:.0%} of issue)"
    )
    if gpu.name.startswith("H100"):
        if binding != "memory":
            print(
                f"    {binding}: {gpu.multiprocessors} SMs x {gpu.clock} GHz x "
                f"{architecture.rates[binding]:g} a clock / {units[binding]:,.0f} = "
                f"{bounds[binding] / 1e6:.1f} million/s"
            )
        cycles = " + ".join(
            f"{one.alone:,.0f} cycles / {n} warps" for one, n in zip(costs, warps, strict=True)
        )
        print(
            f"    latency: {gpu.multiprocessors} SMs x {gpu.clock} GHz / ({cycles}) = "
            f"{1e-6 / latency:.1f} million/s"
        )
    return {
        "gpu": gpu.name,
        "warps": warps,
        "limits": limits,
        "binding": binding,
        "bounds": {unit: float(value) for unit, value in bounds.items()},
        "latency": 1.0 / latency,
        "expected": expected,
        "ptx": sum(one.ptx for one in costs),
        "sass": sum(one.sass for one in costs),
        "alone": [one.alone for one in costs],
        "bytes": n_bytes,
    }


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--only", default="", help="predict workloads whose names start so")
    parser.add_argument("--no-table", action="store_true", help="predictions only")
    options = parser.parse_args()
    reason = compiled.missing()
    if reason is None and compiled.disassembler() is None:
        reason = "nvdisasm is not installed: pip install nvidia-cuda-nvdisasm"
    if reason is not None:
        print(f"no report: {reason}")
        sys.exit(2)
    record = _report.start("kernel_report")
    record["kernels"] = [] if options.no_table else table_of_kernels()
    record["predictions"] = predictions(options.only)
    failures = [
        f"{row['kernel']} {row['dtype']} {row['arch']}: spills or over its budget"
        for row in record["kernels"]
        if row["spills"] or not row["within_budget"]
    ]
    for name, bar in BARS.items():
        reached = [
            row
            for row in record["predictions"]
            if row["workload"] == name and row["gpu"].startswith("H100")
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
