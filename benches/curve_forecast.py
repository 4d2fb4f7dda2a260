"""Speed of the default forecast's kernel, in turns with that of the law `annealing`.

    python -m benches.curve_forecast

CPU time of one thread, in pairs: 200 runs of 500 points, 3 targets, 1,000 draws; a known schedule,
five schedules that end at a total, and `annealing` with the known one; then what an answer takes
beside its kernel.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import lossfit
from benches import _report
from benches.forecast import curves
from lossfit.forecasts.constants import cell_grid, hyper_prior
from lossfit.kernels import curve_forecast, forecast_driver
from lossfit.kernels.curve_data import Asked, Observed
from lossfit.kernels.curve_forecast import forecast_curves
from lossfit.kernels.paths import Paths, Shapes

RUNS, POINTS, DRAWS, PAIRS = 200, 500, 1000, 7
AT = np.array([1.25, 1.5, 1 / 0.6])
LAYER_RUNS = 2000
MOST_US, MOST_US_TOTAL, MOST_US_LAYER = 150.0, 300.0, 20.0


def schedules(end: float) -> tuple[Shapes, Paths]:
    """Constant, cosine to 10 % and to 0, linear, and a cooldown."""
    u = np.linspace(0, 1, 96)
    cosine = (1 + np.cos(np.pi * u)) / 2
    z = [np.zeros(1), u, u, u, u]
    rho = [np.ones(1), 0.1 + 0.9 * cosine, cosine, 1 - u, np.clip((1 - u) / 0.3, 0, 1)]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in z])])
    shapes = Shapes(np.concatenate(z), np.concatenate(rho), offsets)
    return shapes, Paths(np.arange(5), np.zeros(5), np.array([1.0, end, end, end, end]))


def question(n_paths: int) -> Callable[[], Any]:
    """The kernel's answer to runs of one schedule or five."""
    rng = np.random.default_rng(0)
    t = np.arange(1, POINTS + 1) * 100.0
    loss = 2 + rng.uniform(5, 10, (RUNS, 1)) * t**-0.3 + rng.normal(0, 0.005, (RUNS, POINTS))
    zero, nothing = np.zeros(RUNS), np.full(RUNS, np.nan)
    observed = Observed(
        np.tile(t, RUNS), loss.ravel(), np.ones(loss.size), np.arange(RUNS + 1) * POINTS, zero,
        np.ones(RUNS), zero, nothing, nothing, np.arange(RUNS).astype(np.uint64),
    )  # fmt: skip
    cells = cell_grid(False)
    end = t[-1] / 0.6
    paths = np.arange(5) if n_paths == 5 else np.array([1])
    asked = Asked(
        np.tile(AT * t[-1], RUNS), 3 * np.arange(RUNS + 1), n_paths * np.arange(RUNS + 1),
        np.tile(paths, RUNS), np.tile(np.arange(n_paths), RUNS), np.zeros(n_paths * RUNS),
        3 * n_paths * np.arange(RUNS + 1), np.tile(paths, 3 * RUNS), np.full(RUNS, end),
        np.full(RUNS, int(n_paths == 5)), nothing, np.zeros(3 * RUNS, np.int64),
        np.tile([0.0, 1.0], (3 * RUNS, 1)), np.zeros((RUNS, len(cells.strengths))),
    )  # fmt: skip
    arguments = observed, asked, cells, hyper_prior(), *schedules(end)
    return lambda: forecast_curves(*arguments, draws=DRAWS, threads=1)


def annealing() -> Callable[[], Any]:
    """The kernel of the law `annealing`, given what `extrapolate` gives it."""
    taken: list[Any] = []
    real = forecast_driver.forecast_batch

    def spy(*values: Any, **options: Any) -> Any:
        taken[:] = values
        return real(*values, **options)

    forecast_driver.forecast_batch = spy
    try:
        answer(200, laws="annealing")
    finally:
        forecast_driver.forecast_batch = real
    return lambda: real(*taken, draws=DRAWS, threads=1)


def answer(runs: int, **options: Any) -> lossfit.Answer:
    """The answer to so many runs."""
    return lossfit.extrapolate(
        curves(runs), at=AT * POINTS * 100, axis="step", draws=DRAWS, **options
    )


def layer() -> float:
    """Microseconds a run that an answer takes beside its kernel, in this thread."""
    spent: list[float] = []
    real = curve_forecast.forecast_curves

    def timed(*values: Any, **options: Any) -> Any:
        begin = time.thread_time()
        try:
            return real(*values, **{**options, "threads": 1})
        finally:
            spent.append(time.thread_time() - begin)

    runs = curves(LAYER_RUNS)
    at = AT * POINTS * 100
    curve_forecast.forecast_curves = timed
    try:
        lossfit.extrapolate(runs, at=at, axis="step", draws=DRAWS)
        spent.clear()
        begin = time.thread_time()
        lossfit.extrapolate(runs, at=at, axis="step", draws=DRAWS)
        return 1e6 * (time.thread_time() - begin - sum(spent)) / LAYER_RUNS
    finally:
        curve_forecast.forecast_curves = real


def main() -> None:
    options = _report.parser(__doc__).parse_args()
    record = _report.start("curve_forecast")
    tasks = {"known schedule": question(1), "total": question(5), "annealing": annealing()}
    for task in tasks.values():
        task()
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(PAIRS):
        for name, task in tasks.items():
            begin = time.thread_time()
            task()
            spent[name].append(1e6 * (time.thread_time() - begin) / RUNS)
    for name, times in spent.items():
        print(f"{name}: {min(times):.0f} us a run (median {np.median(times):.0f})")
    beside = layer()
    print(f"beside the kernel: {beside:.0f} us a run")
    record.update(microseconds=spent, layer=beside)
    failures = [] if beside <= MOST_US_LAYER else [f"beside the kernel: {beside:.0f} us a run"]
    limits = {"known schedule": MOST_US, "total": MOST_US_TOTAL}
    for name, most in limits.items():
        if min(spent[name]) > most:
            failures.append(f"{name}: {min(spent[name]):.0f} us a run")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
