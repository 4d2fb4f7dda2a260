"""What the host does for a run on a GPU: CPU time a run where kernels and copies cost nothing.

    python -m benches.host_path [RUNS]

Needs no GPU.  `lossfit.fit` runs on a device that takes every launch and every copy and does
neither; what is left is what feeds a GPU: windows, checks, priors, chunks, collecting.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np

import lossfit
from lossfit.engine import devices
from tests.gpu.simulated_device import SimulatedDevice

POINTS = 512


class FreeDevice(SimulatedDevice):
    """A GPU that is infinitely fast: results are what was in its memory, which is zeros."""

    def __init__(self) -> None:
        super().__init__(name="free", multiprocessors=132, memory=80 << 30)

    def allocate(self, n_bytes, stream):
        return np.zeros(n_bytes, np.uint8)  # pages that are never touched

    def pinned(self, n_bytes):
        return np.zeros(n_bytes, np.uint8)

    def upload(self, source, target, stream):
        return

    def download(self, source, target, stream):
        return

    def launch(self, kernel, grid, arguments, stream):
        return


def cost(runs: lossfit.Runs, **options) -> float:
    """CPU seconds a run: the least of four calls."""
    spent = []
    for _ in range(4):
        start = time.process_time()
        lossfit.fit(runs, "power_linear", device="cuda", dtype="float64", **options)
        spent.append(time.process_time() - start)
    return min(spent) / len(runs)


def main(n_runs: int) -> None:
    gpu = devices.Gpu(0, "free", (9, 0))
    devices.find = lambda: devices.Found((gpu,), (), ())
    free = FreeDevice()
    devices.Place.open = lambda self: [free]
    rng = np.random.default_rng(0)
    step = np.linspace(20.0, 10_000.0, POINTS)
    loss = 2 + 3 * step ** -rng.uniform(0.3, 0.4, (n_runs, 1))
    loss += rng.normal(0, 0.01, loss.shape)
    names = [f"run {i}" for i in range(n_runs)]
    runs = lossfit.Runs.from_arrays(
        "step", np.tile(step, n_runs), loss.ravel(), np.arange(n_runs + 1) * POINTS, names
    )
    warnings.simplefilter("ignore")
    for what, options in (
        ("200 draws kept", {"draws": 200}),
        ("1,000 draws kept", {"draws": 1000}),
        ("200 draws that stay on the GPU", {"draws": 200, "keep": "device"}),
    ):
        print(f"{n_runs:,} runs of {POINTS} points, {what}: {cost(runs, **options) * 1e6:.1f} us")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
