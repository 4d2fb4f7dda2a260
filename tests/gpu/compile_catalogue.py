"""Compile the catalogue's kernels for the tests, which read what lies on disk.

``python -m tests.gpu.compile_catalogue`` runs beside lint and types: the workers of pytest, which
would all start with the same kernels, find them compiled.
"""

from __future__ import annotations

import gc
import multiprocessing

from lossfit.diagnostics.kernel_catalogue import catalogue
from lossfit.kernels.gpu.spec import Kernel
from lossfit.kernels.spreading import available_threads
from tests.gpu import compiled
from tests.gpu.native import missing_native, object_code

CAPABILITY = (9, 0)  # of the PTX that the interpreter runs; `make nightly` compiles for others
MOST = 4  # processes: each takes up to 1.5 GB
KERNELS: list[Kernel] = []  # for the processes, which are forked when they are there


def compile_one(place: int) -> None:
    """Make PTX and machine code for a GPU, and machine code for this CPU."""
    linked = compiled.compile_kernels([KERNELS[place]], [CAPABILITY]).values()
    if missing_native() is None:
        object_code(KERNELS[place])
    for future in linked:  # NVIDIA's compilers work in the background
        future.result()


def main() -> None:
    """Compile all of them, a kernel a process at a time."""
    if (reason := compiled.missing()) is not None:
        print(f"kernels for GPUs are not compiled: {reason}")
        return
    gc.set_threshold(50_000)  # as in `lossfit.kernels.warmup`
    KERNELS.extend(e.build(dtype == "float32") for e in catalogue() for dtype in e.precisions)
    places = range(len(KERNELS) - 1, -1, -1)
    processes = multiprocessing.get_context("fork").Pool(available_threads(None, MOST, chunk=1))
    with processes as pool:
        pool.map(compile_one, places, chunksize=1)


if __name__ == "__main__":
    main()
