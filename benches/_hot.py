"""Where a run's machine instructions are: which functions of the sources they were made from.

numba-cuda writes lines of the Python sources into PTX if asked to; the machine instructions of a
PTX line (`_sass`) then belong to a function.  (Of some kernels NVVM refuses the lines: all of their
instructions then belong to ``?``.)
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benches import _sass
from lossfit.kernels.gpu import backend
from lossfit.kernels.gpu.device import checked
from lossfit.kernels.gpu.launch import built
from lossfit.kernels.gpu.spec import Kernel
from tests.gpu import compiled
from tests.gpu.simulated_device import SimulatedDevice

Work = Callable[[Any, bool], tuple[float, int]]


class _Lined:
    """numba.cuda with line tables for all that it compiles."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cuda, name)

    def jit(self, *args: Any, **options: Any) -> Any:
        return self._cuda.jit(*args, **{"lineinfo": True, **options})


@contextmanager
def _with_lines() -> Iterator[None]:
    """Build kernels whose device functions keep their lines."""
    before: Any = backend.cuda
    backend.cuda = _Lined(before)
    built.cache_clear()
    try:
        yield
    finally:
        backend.cuda = before
        built.cache_clear()


class _Device(SimulatedDevice):
    """Executes PTX that has lines."""

    def __init__(self, capability: tuple[int, int]) -> None:
        super().__init__(compute_capability=capability)
        self.done: list[tuple[str, str, Any]] = []
        self.reports: list[Any] = []

    def launch(self, kernel: Kernel, grid: int, arguments: Any, stream: Any) -> None:
        from numba import types

        from tests.gpu.ptx_emulator import PtxModule, numba_kernel_args

        wanted = kernel.function, types.void(*kernel.signature)
        rest = self.compute_capability, kernel.fastmath
        try:
            ptx = compiled.compile_ptx(*wanted, *rest, lineinfo=True)
        except Exception:  # NVVM refuses some line tables that numba-cuda makes
            ptx = compiled.compile_ptx(*wanted, *rest)
        module = PtxModule(ptx)
        module.launch(
            next(iter(module.entries)), grid, kernel.block,
            numba_kernel_args(*checked(kernel, arguments)),
        )  # fmt: skip
        self.reports.append(module.report)
        self.done.append((kernel.name, ptx, module.report))


def by_function(
    work: Work, single: bool, capability: tuple[int, int]
) -> dict[str, dict[str, float]]:
    """Executed machine instructions of a run: kernel -> ``file:function`` -> number."""
    device = _Device(capability)
    with _with_lines(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of functions without a source
        _, runs = work(device, single)
    found: dict[str, dict[str, float]] = {}
    for name, ptx, report in device.done:
        where = _places(ptx)
        # The lines of the PTX keep their numbers.
        plain = re.sub(r"^[ \t]*\.(?:loc|file)\b[^\n]*", "", ptx, flags=re.M)
        plain = plain.split(".section")[0]
        counts: Counter[str] = Counter()
        for block in _sass.count(_sass.blocks_of(plain, capability), report):
            for one in block.instructions:
                counts[where.get(one.line, "?")] += block.count / runs
        found[name] = dict(counts.most_common())
    return found


def _places(ptx: str) -> dict[int, str]:
    """Line of the PTX -> ``file:function``."""
    files = {int(n): path for n, path in re.findall(r'\.file\s+(\d+)\s+"([^"]+)"', ptx)}
    found, here = {}, "?"
    for number, row in enumerate(ptx.split("\n"), 1):
        if match := re.match(r"\s*\.loc\s+(\d+)\s+(\d+)", row):
            path = files.get(int(match[1]), "?")
            here = f"{Path(path).stem}:{_functions(path).get(int(match[2]), '-')}"
        found[number] = here
    return found


@cache
def _functions(path: str) -> dict[int, str]:
    """Line of a source -> the innermost function that it is in."""
    try:
        tree = ast.parse(Path(path).read_text())
    except (OSError, SyntaxError):
        return {}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found = {}
    for node in sorted(nodes, key=lambda one: one.lineno):  # inner ones later
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            found[line] = node.name
    return found
