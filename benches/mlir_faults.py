"""What keeps numba-cuda-mlir from compiling the kernels: four functions of a few lines.

    python -m benches.mlir_faults

Needs numba-cuda-mlir and no GPU; install it in an environment of its own:
``pip install numba-cuda-mlir nvidia-cuda-nvrtc nvidia-nvjitlink nvidia-nvvm nvidia-cuda-runtime``.
Each line says what is expected, and what it made of it; the exit code is 1 while one is wrong.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

try:
    import numba_cuda_mlir
    from numba_cuda_mlir import cuda, tools, types
except ImportError:
    cuda = None


class Pair(NamedTuple):
    """Two numbers."""

    a: float
    b: float


def shuffle(out):
    """A number of the neighbour lane, which must be the same to the last bit."""
    i = cuda.threadIdx.x
    out[i] = cuda.shfl_xor_sync(0xFFFFFFFF, out[i], 1)


def bits(out):
    """The bits of a number as an integer, and back."""
    out[0] = np.int64(np.float64(out[0]).view(np.int64)).view(np.float64)


def pair(out):
    """A named tuple that is made in a kernel."""
    p = Pair(out[0], out[1])
    out[0] = p.a + p.b


def ptx_of(function, kind) -> str:
    """PTX of a kernel of one array."""
    text, _ = cuda.compile_ptx(function, (types.Array(kind, 1, "C"),), cc=(9, 0))
    return text


def compiles(function) -> tuple[bool, str]:
    """Whether a function compiles, and what is said of it."""
    try:
        ptx_of(function, types.float64)
    except Exception as error:  # its internal errors have classes of their own
        return False, f"{type(error).__name__}"
    return True, "compiled"


def halves(kind) -> tuple[bool, str]:
    """Whether all bits of a shuffled number go from lane to lane."""
    lines = ptx_of(shuffle, kind).splitlines()
    shuffles = [line.split(";")[0].strip() for line in lines if "shfl.sync" in line]
    narrowed = any("cvt.rn.f32.f64" in line or "ld.global.u32" in line for line in lines)
    said = "; ".join(shuffles) + (", of a number that was narrowed first" if narrowed else "")
    return len(shuffles) == 2 and not narrowed, said


def main() -> int:
    if cuda is None:
        print("numba-cuda-mlir is not installed", file=sys.stderr)
        return 2
    if not cuda.is_available():
        # Though told the architecture, it asks a driver for it.
        tools.get_gpu_compute_capability = lambda kind=tuple: (9, 0)
    print(f"numba-cuda-mlir {numba_cuda_mlir.__version__}")
    wrong = 0
    for what, (right, said) in {
        "a float64 is shuffled in two halves": halves(types.float64),
        "an int64 is shuffled in two halves": halves(types.int64),
        "the bits of a float64 can be read": compiles(bits),
        "a named tuple can be made": compiles(pair),
    }.items():
        wrong += not right
        print(f"{'ok' if right else 'NO':<3} {what}: {said}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
