"""The matrix of back ends: which compiler makes which kernel for which GPU, and what it computes.

    python -m benches.back_ends                      every kernel; an hour from an empty cache
    python -m benches.back_ends moments quantiles    some families
    python -m benches.back_ends --device ptx         executed by the interpreter of PTX

Needs no GPU.  A row for each kernel and precision: registers where the compiler and the linker made
machine code of it for an architecture, and the largest error against the CPU where it was executed
(`lossfit.diagnostics.kernel_trials`: posterior standard deviations of draws, or relative).
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version

from lossfit.diagnostics.kernel_trials import trial, trials_of
from tests.gpu import compiled
from tests.gpu.tested import device_class

COMPILER = "numba-cuda"


def cell(kernel, cc) -> str:
    """Registers of a kernel for an architecture, or why it has none."""
    try:
        needs = compiled.compile_kernel(kernel, cc).resources
    except Exception as error:  # of whichever of the three compilers
        return f"fails: {type(error).__name__}"
    spills = needs.spill_stores + needs.spill_loads + needs.local
    return f"{needs.registers}" + (f", spills {spills} bytes" if spills else "")


def executed(family: str, dtype: str, kind: str) -> tuple[str, bool]:
    """The largest error of a family, and whether it passed."""
    try:
        outcome = trial(family, dtype, [device_class(kind)()], times=1)
    except Exception as error:  # of a device, or of an array that does not fit
        return f"fails: {type(error).__name__}: {error}", False
    return f"{outcome.error:.1e} (of {outcome.tolerance:.0e})", outcome.passed


def versions() -> str:
    """The compiler and what stands behind it."""
    found = []
    for package in (COMPILER, "nvidia-nvvm", "nvidia-nvjitlink"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*", help="all by default")
    parser.add_argument("--device", choices=("native", "ptx", "cuda"), default="native")
    options = parser.parse_args()
    if (reason := compiled.missing()) is not None:
        print(f"no kernel can be compiled here: {reason}", file=sys.stderr)
        return 2
    trials = trials_of()
    unknown = set(options.families) - {family for family, _ in trials}
    if unknown:
        print(f"no such families: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    chips = [f"sm_{major}{minor}" for major, minor in compiled.ARCHITECTURES]
    print(f"{versions()}; executed: {options.device}; numbers under a GPU are registers\n")
    print(f"| kernel | precision | {' | '.join(chips)} | error against the CPU |")
    print("|---" * (len(chips) + 3) + "|")
    failed = 0
    for (family, dtype), entries in trials.items():
        if options.families and family not in options.families:
            continue
        error, passed = executed(family, dtype, options.device)
        for entry in entries:
            kernel = entry.build(dtype == "float32")
            cells = [cell(kernel, cc) for cc in compiled.ARCHITECTURES]
            print(f"| {entry.name} | {dtype} | {' | '.join(cells)} | {error} |", flush=True)
            failed += not passed or any(text.startswith("fails") for text in cells)
    print(f"\n{failed} rows failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
