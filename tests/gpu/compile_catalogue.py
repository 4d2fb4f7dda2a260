"""Compile the catalogue's kernels for the tests, which read what lies on disk.

``python -m tests.gpu.compile_catalogue`` runs beside lint and types: the workers of pytest, which
would all start with the same kernels, find them compiled.
"""

from __future__ import annotations

import gc

from lossfit.diagnostics.kernel_catalogue import catalogue
from tests.gpu import compiled
from tests.gpu.native import missing_native, object_code

CAPABILITY = (9, 0)  # of the PTX that the interpreter runs; `make nightly` compiles for others


def main() -> None:
    """Make PTX and machine code for a GPU, and machine code for this CPU."""
    if (reason := compiled.missing()) is not None:
        print(f"kernels for GPUs are not compiled: {reason}")
        return
    gc.set_threshold(50_000)  # as in `lossfit.kernels.warmup`
    kernels = [e.build(dtype == "float32") for e in catalogue() for dtype in e.precisions]
    linked = []
    for kernel in kernels:  # NVIDIA's compilers work in the background
        linked += compiled.compile_kernels([kernel], [CAPABILITY]).values()
        if missing_native() is None:
            object_code(kernel)
    for future in linked:
        future.result()


if __name__ == "__main__":
    main()
