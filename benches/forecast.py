"""Speed of the default answer: 10,000 runs of 500 points, 3 targets each.

    python -m benches.forecast

Against 1,000 bootstrap refits of one power law by `curve_fit`, for one run.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

import lossfit
from benches import _report

RUNS, POINTS, BOOTSTRAPS = 10_000, 500, 1000
MOST_SECONDS, LEAST_FACTOR = 5.0, 1000.0


def curves(runs: int) -> lossfit.Runs:
    """Power laws with noise under one cosine, cut at 60 % of it."""
    rng = np.random.default_rng(0)
    t = np.arange(1, POINTS + 1) * 100.0
    loss = 2 + rng.uniform(5, 10, (runs, 1)) * t**-0.3 + rng.normal(0, 0.005, (runs, POINTS))
    made = lossfit.Runs.from_arrays(
        "step", np.tile(t, runs), loss.ravel(), np.arange(runs + 1) * POINTS
    )
    return made.with_schedule(lossfit.schedules.cosine(1e-3, t[-1] / 0.6, 500))


def bootstrap(x: np.ndarray, y: np.ndarray) -> float:
    """Seconds for the refits."""

    def law(x: np.ndarray, e: float, a: float, alpha: float) -> np.ndarray:
        return e + a * x**-alpha

    rng = np.random.default_rng(0)
    start = time.perf_counter()
    best, _ = curve_fit(law, x, y, (2, 0.5, 0.3), bounds=(0, (np.inf, np.inf, 3)))
    fitted = law(x, *best)
    for _ in range(BOOTSTRAPS):
        again = fitted + rng.choice(y - fitted, y.size)
        curve_fit(law, x, again, best, bounds=(0, (np.inf, np.inf, 3)))
    return time.perf_counter() - start


def main() -> None:
    options = _report.parser(__doc__).parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    warnings.simplefilter("ignore", OptimizeWarning)
    record = _report.start("forecast")
    runs = curves(RUNS)
    at = np.array([1.25, 1.5, 1 / 0.6]) * POINTS * 100
    start = time.perf_counter()
    lossfit.extrapolate(runs.select(runs.names[:5]), at=at, axis="step")
    print(f"first call, which may compile: {time.perf_counter() - start:.1f} s")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        answer = lossfit.extrapolate(runs, at=at, axis="step")
        rows = len(answer.frame)
        seconds.append(time.perf_counter() - start)
    best = min(seconds)
    print(
        f"{RUNS:,} runs x {POINTS} points x 3 targets ({rows:,} rows): {best:.2f} s, "
        f"{1e6 * best / RUNS:.0f} us a run"
    )
    run = runs[runs.names[0]]
    other = bootstrap(run.axis("step") / run.end("step"), run.loss)
    factor = other / (best / RUNS)
    print(f"curve_fit and {BOOTSTRAPS:,} bootstrap refits of a power law: {other:.2f} s a run")
    print(f"that is {factor:,.0f} x")
    record.update(seconds=seconds, microseconds=1e6 * best / RUNS, bootstrap=other, factor=factor)
    failures = []
    if best > MOST_SECONDS:
        failures.append(f"{best:.1f} s for {RUNS:,} runs")
    if factor < LEAST_FACTOR:
        failures.append(f"only {factor:.0f} x faster than the bootstrap")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
