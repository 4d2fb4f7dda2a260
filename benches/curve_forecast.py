"""Speed of the forecast with a learned hyper-prior, in turns with the default's kernel.

    python -m benches.curve_forecast

CPU time of one thread, in pairs: 200 runs of 500 points, 3 targets, 1,000 draws; a known schedule,
five schedules that end at a total, and the default's kernel with the known one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lossfit
from benches import _report
from lossfit.kernels import forecast_driver
from lossfit.kernels.curve_data import Asked, Observed
from lossfit.kernels.curve_forecast import forecast_curves
from lossfit.kernels.curve_law import CellGrid, HyperPrior
from lossfit.kernels.paths import Paths, Shapes

RUNS, POINTS, DRAWS, PAIRS = 200, 500, 1000, 7
AT = np.array([1.25, 1.5, 1 / 0.6])
MOST_US, MOST_US_TOTAL = 150.0, 300.0


def grid() -> CellGrid:
    """2 x 5 covariances, 6 exponents, 2 responses, 7 components of the strength: 840 cells."""
    strengths = [
        (0, 0.25, 0.2), (0, 0.85, 0.17), (0, 1.2, 0.24), (1, 0.0, 0.25), (1, 0.5, 0.35),
        (1, 1.5, 0.75), (1, 4.0, 2.0),
    ]  # fmt: skip
    return CellGrid(
        np.array([1.5, 8.0]), np.array([0.02, 0.07, 0.25, 0.8, 2.5]),
        np.array([-0.5, 0.0, 0.2, 0.45, 0.75, 1.25]),
        np.array([[0, 150.0, 0.65, 0], [0, 800.0, 0.65, 0]]), np.array([0.02, 0.08]),
        np.array([0, 2]), np.array(strengths), 40, 0.35, 2.0, 2.0, 0.19, 0.127, 3.0,
    )  # fmt: skip


def hyper() -> HyperPrior:
    """The constants that were learned (`benches.learn_forecast`)."""
    path = Path(lossfit.__file__).parent / "forecasts" / "constants.json"
    learned = json.loads(path.read_text())
    kinds = learned["rows"]["schedule"][1]
    tails = learned["rows"]["size"][1]
    longer = np.array([learned["longer"][name] for name in ("mean", "sd", "keep")])
    width = np.array([learned["width"][known] for known in ("known", "total", "nothing")])
    return HyperPrior(
        np.array(learned["table"]), kinds, tails, longer, np.log(learned["width_at"]), width
    )


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
    """The new kernel's answer to runs of one schedule or five."""
    rng = np.random.default_rng(0)
    t = np.arange(1, POINTS + 1) * 100.0
    loss = 2 + rng.uniform(5, 10, (RUNS, 1)) * t**-0.3 + rng.normal(0, 0.005, (RUNS, POINTS))
    zero, nothing = np.zeros(RUNS), np.full(RUNS, np.nan)
    observed = Observed(
        np.tile(t, RUNS), loss.ravel(), np.ones(loss.size), np.arange(RUNS + 1) * POINTS, zero,
        np.ones(RUNS), zero, nothing, nothing, np.arange(RUNS).astype(np.uint64),
    )  # fmt: skip
    cells = grid()
    end = t[-1] / 0.6
    paths = np.arange(5) if n_paths == 5 else np.array([1])
    asked = Asked(
        np.tile(AT * t[-1], RUNS), 3 * np.arange(RUNS + 1), n_paths * np.arange(RUNS + 1),
        np.tile(paths, RUNS), np.tile(np.arange(n_paths), RUNS), np.zeros(n_paths * RUNS),
        3 * n_paths * np.arange(RUNS + 1), np.tile(paths, 3 * RUNS), np.full(RUNS, end),
        np.full(RUNS, int(n_paths == 5)), nothing, np.zeros(3 * RUNS, np.int64),
        np.tile([0.0, 1.0], (3 * RUNS, 1)),
    )  # fmt: skip
    arguments = observed, asked, cells, hyper(), *schedules(end)
    return lambda: forecast_curves(*arguments, draws=DRAWS, threads=1)


def default() -> Callable[[], Any]:
    """The default's kernel, given what `extrapolate` gives it."""
    from benches.forecast import curves

    taken: dict[str, Any] = {}
    real = forecast_driver.forecast_batch

    def spy(*brought: Any, **options: Any) -> Any:
        taken["brought"] = brought
        return real(*brought, **options)

    forecast_driver.forecast_batch = spy
    try:
        lossfit.extrapolate(curves(RUNS), at=AT * POINTS * 100, axis="step", draws=DRAWS)
    finally:
        forecast_driver.forecast_batch = real
    return lambda: real(*taken["brought"], draws=DRAWS, threads=1)


def main() -> None:
    options = _report.parser(__doc__).parse_args()
    record = _report.start("curve_forecast")
    tasks = {"known schedule": question(1), "total": question(5), "default's kernel": default()}
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
    record["microseconds"] = spent
    failures = []
    limits = {"known schedule": MOST_US, "total": MOST_US_TOTAL}
    for name, most in limits.items():
        if min(spent[name]) > most:
            failures.append(f"{name}: {min(spent[name]):.0f} us a run")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
