"""How cost grows: fits/s against batch size, points and threads, and memory of a summary-only run.

Bars: fits/s at 100,000 fits within 20 % of 1,000 fits; peak memory of a summary-only run grows by
less than 200 bytes a fit beyond the input.

    python -m benches.scaling
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import lossfit
from benches import _report
from benches.peers import batch, curve, table
from lossfit import laws
from lossfit.kernels.driver import fit_batch

POINTS = 128
# Python's and NumPy's allocations are traced.  (Resident memory is not: what building the input has
# freed is used again, and how much of it depends on the allocator.)  Numba's scratch is a constant.
MEMORY = """
import gc, tracemalloc, warnings
import lossfit
from benches.scaling import many

warnings.simplefilter("ignore")
lossfit.fit(many(600), draws=0)  # compile
runs = many({fits})
runs.flat("step"), runs.names
gc.collect()
tracemalloc.start()
before = tracemalloc.get_traced_memory()[0]
fit = lossfit.fit(runs, draws=0)
print(tracemalloc.get_traced_memory()[1] - before)
"""


def many(fits: int, points: int = POINTS) -> lossfit.Runs:
    """Runs of random power laws plus a line."""
    rng = np.random.default_rng(fits)
    x = np.linspace(0.05, 1, points) * 1000
    alpha, level, size, fall = (
        rng.uniform(low, high, (fits, 1))
        for low, high in ((0.3, 0.9), (1.5, 2.5), (0.01, 0.1), (0.02, 0.1))
    )
    y = level + size * (x / 1000) ** -alpha - fall * x / 1000
    y += rng.normal(0, 0.004, y.shape)
    offsets = np.arange(fits + 1) * points
    return lossfit.Runs.from_arrays("step", np.tile(x, fits), y.ravel(), offsets)


def rate(fits: int, **options: Any) -> float:
    """Fits a second through `lossfit.fit`, best of a few."""
    runs = many(fits)
    runs.flat("step")
    best = 0.0
    for _ in range(5 if fits <= 10_000 else 2):
        begin = time.perf_counter()
        lossfit.fit(runs, **options)
        best = max(best, fits / (time.perf_counter() - begin))
    return best


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--most", type=int, default=100_000)
    options = parser.parse_args()
    record = _report.start("scaling")
    failures = []
    import warnings

    warnings.simplefilter("ignore")
    lossfit.fit(many(10), draws=0)

    sizes = [n for n in (1, 10, 100, 1000, 10_000, 100_000) if n <= options.most]
    record["summary"] = {n: rate(n, draws=0) for n in sizes}
    print(f"summary only, {POINTS} points: " + _line(record["summary"]))
    record["draws"] = {n: rate(n, draws=200) for n in sizes if n <= 10_000}
    print(f"200 draws kept, {POINTS} points: " + _line(record["draws"]))
    if options.most in record["summary"] and options.most > 1000:
        share = record["summary"][options.most] / record["summary"][1000]
        print(f"fits/s at {options.most:,} over 1,000: {share:.2f}")
        if share < 0.8:
            failures.append(f"fits/s at {options.most:,} is {share:.2f} of that at 1,000")

    program = laws.get("power_linear").program
    record["points"] = {}
    for points in (32, 128, 512, 2048, 8192):
        x, y = curve()
        x = np.linspace(0.05, 1, points)
        y = np.interp(x, np.linspace(0.05, 1, y.size), y)
        y += np.random.default_rng(1).normal(0, 0.002, points)
        fits = 2000 if points <= 512 else 500
        keys = np.arange(fits, dtype=np.uint64)
        row = []
        for threads in (1, 2):
            for draws in (8, 1000):
                args = (batch(x, y, fits), program, table(fits), keys)
                task = lambda: fit_batch(*args, draws=draws, threads=threads)  # noqa: B023, E731
                row.append(1e6 * _report.best(task, 6)[1] / fits)
        record["points"][points] = row
        print(
            f"{points:5} points, us a fit with 8 / 1,000 draws: "
            f"1 thread {row[0]:.1f} / {row[1]:.1f}, 2 threads {row[2]:.1f} / {row[3]:.1f}"
        )

    small, large = options.most // 2, options.most
    if large >= 20_000:
        grown = [int(_report.python(MEMORY.format(fits=n)).split()[-1]) for n in (small, large)]
        each = (grown[1] - grown[0]) / (large - small)
        record["memory"] = {"grown": grown, "bytes_a_fit": each}
        print(
            f"peak memory of a summary-only run grows by {each:.0f} bytes a fit beyond the input "
            f"({grown[0] / 1e6:.1f} MB at {small:,} fits, {grown[1] / 1e6:.1f} MB at {large:,})"
        )
        if each >= 200:
            failures.append(f"memory grows by {each:.0f} bytes a fit")
    _report.finish(record, options.json, failures)


def _line(rates: dict[int, float]) -> str:
    return ", ".join(f"{n:,} fits {v:,.0f}/s" for n, v in rates.items())


if __name__ == "__main__":
    main()
