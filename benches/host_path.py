"""What the host does for a run on a GPU: CPU time a run where kernels and copies cost nothing.

    python -m benches.host_path [RUNS]

Needs no GPU.  `lossfit.fit` runs on a device that takes every launch, every copy and every array
operation and does none of them; what is left is what feeds a GPU: windows, scales, priors, chunks,
collecting.  It is CPU time over all threads, so more threads do not make it less.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from typing import Any

import numpy as np

import lossfit
from benches._report import cpu
from lossfit.engine import devices
from tests.gpu.simulated_device import SimulatedDevice

POINTS = 512
BARS = {"200 draws kept": 3.0, "a summary only": 1.0}  # us a run


class FreeArray:
    """An array on that GPU: a shape and a type, and nothing behind them."""

    __array_ufunc__ = None  # NumPy's arrays leave arithmetic to it

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __array_namespace__(self) -> type[FreeLibrary]:
        return FreeLibrary

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> FreeArray:
        seen = np.broadcast_to(np.zeros((), self.dtype), self.shape)[key]
        return FreeArray(seen.shape, self.dtype)

    def view(self, dtype: Any) -> FreeArray:
        n_bytes = self.size * self.dtype.itemsize
        return FreeArray((n_bytes // np.dtype(dtype).itemsize,), dtype)

    def reshape(self, shape: tuple[int, ...]) -> FreeArray:
        return FreeArray(shape, self.dtype)

    def transpose(self, *axes: int) -> FreeArray:
        return FreeArray(tuple(self.shape[axis] for axis in axes), self.dtype)

    def fill(self, value: float) -> None:
        return

    def _with(self, other: Any) -> FreeArray:
        return FreeArray(np.broadcast_shapes(self.shape, np.shape(other)), self.dtype)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _with
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = _with

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.zeros(self.shape, dtype or self.dtype)  # what is brought to the host


class FreeLibrary:
    """The array library of that GPU."""

    @staticmethod
    def asarray(values: Any, dtype: Any = None) -> FreeArray:
        return FreeArray(np.shape(values), dtype or values.dtype)

    @staticmethod
    def empty(shape: tuple[int, ...], dtype: Any) -> FreeArray:
        return FreeArray(shape, dtype)

    @staticmethod
    def astype(values: FreeArray, dtype: Any) -> FreeArray:
        return FreeArray(values.shape, dtype)

    @staticmethod
    def reshape(values: FreeArray, shape: tuple[int, ...]) -> FreeArray:
        return FreeArray(shape, values.dtype)

    @staticmethod
    def stack(values: list[FreeArray], axis: int) -> FreeArray:
        shape = list(values[0].shape)
        shape.insert(axis, len(values))
        return FreeArray(tuple(shape), values[0].dtype)

    float64 = np.float64


class FreeDevice(SimulatedDevice):
    """A GPU that is infinitely fast: what comes back is zeros."""

    def __init__(self) -> None:
        super().__init__(name="free", multiprocessors=132, memory=80 << 30)
        self.xp = FreeLibrary
        self._pool: dict[int, list[np.ndarray]] = {}

    def allocate(self, n_bytes, stream):
        return FreeArray((n_bytes,), np.uint8)

    def pinned(self, n_bytes):
        # From a pool, as CuPy has one: pages are made once, not in every call.  What comes back is
        # zeros still, because blocks of what goes up have other sizes.
        blocks = self._pool.setdefault(n_bytes, [])
        block = blocks.pop() if blocks else np.zeros(n_bytes, np.uint8)
        lent = block[:]
        weakref.finalize(lent, blocks.append, block)
        return lent

    def upload(self, source, target, stream):
        return

    def download(self, source, target, stream):
        return

    def launch(self, kernel, grid, arguments, stream):
        return


def cost(runs: lossfit.Runs, **options) -> float:
    """CPU seconds a run: the least of six calls."""
    given = {"device": "cuda", "dtype": "float64", **options}
    return cpu(lambda: lossfit.fit(runs, "power_linear", **given), 6) / len(runs)


def many_runs(n_runs: int) -> lossfit.Runs:
    """Runs of 512 points."""
    rng = np.random.default_rng(0)
    step = np.linspace(20.0, 10_000.0, POINTS)
    loss = 2 + 3 * step ** -rng.uniform(0.3, 0.4, (n_runs, 1))
    loss += rng.normal(0, 0.01, loss.shape)
    names = [f"run {i}" for i in range(n_runs)]
    edges = np.arange(n_runs + 1) * POINTS
    return lossfit.Runs.from_arrays("step", np.tile(step, n_runs), loss.ravel(), edges, names)


def main(n_runs: int) -> None:
    gpu = devices.Gpu(0, "free", (9, 0))
    devices.find = lambda: devices.Found((gpu,), (), ())
    free = FreeDevice()
    devices.Place.open = lambda self: [free]
    runs = many_runs(n_runs)
    warnings.simplefilter("ignore")
    for what, options in (
        ("200 draws kept", {"draws": 200}),
        ("1,000 draws kept", {"draws": 1000}),
        ("200 draws that stay on the GPU", {"draws": 200, "keep": "device"}),
        ("a summary only", {"keep": "summary"}),
    ):
        bar = f" (bar {BARS[what]:.0f})" if what in BARS else ""
        spent = cost(runs, **options) * 1e6
        print(f"{n_runs:,} runs of {POINTS} points, {what}: {spent:.1f} us{bar}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
