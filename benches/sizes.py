"""What laws of sizes take, CPU seconds on one core: a ladder, a table, and many tables as a batch.

python -m benches.sizes
python -m benches.sizes --tables 100

Runs and tables are drawn from a usual law with noise.  CPU seconds grow with the load of the
machine (shared caches and hyper-threads), so run it on a quiet one.
"""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np
import pandas as pd

import lossfit
from lossfit.laws import coupled

from . import _report

LAW = {"E": 1.7, "A": 300.0, "B": 1500.0, "alpha": 0.32, "beta": 0.35, "gamma": 0.7}
CURVES, POINTS = 20, 500
ROWS, MANY_ROWS = 100, 20
NOISE = 0.003
BARS = {"a ladder of 20 curves": 3.0, "a table of 100 rows": 1.0}


def runs(count: int) -> lossfit.Runs:
    """Cosines of five sizes, and lengths that differ by up to four times."""
    rng = np.random.default_rng(0)
    frames, plans = [], {}
    for k in range(count):
        params, end = 5e7 * 2 ** (k % 5), 5e9 * 4 ** rng.uniform()
        tokens = np.linspace(0.002, 1, POINTS) * end
        loss = coupled.LAW.evaluate(LAW, params, tokens, None)
        name = f"{params:.3g}, {k}"
        noisy = loss * (1 + NOISE * rng.standard_normal(POINTS))
        frames.append(
            pd.DataFrame({"run": name, "tokens": tokens, "loss": noisy, "params": params})
        )
        plans[name] = lossfit.schedules.cosine(3e-4, end, 0.01 * end, axis="tokens")
    return lossfit.Runs.from_frame(pd.concat(frames), schedules=plans, tokens_per_step=5e5)


def table(rows: int, seed: int) -> pd.DataFrame:
    """Final losses of sizes and lengths over two and three decades."""
    rng = np.random.default_rng(seed)
    params, tokens = 3e7 * 10 ** rng.uniform(0, 2, rows), 1e9 * 10 ** rng.uniform(0, 3, rows)
    loss = coupled.LAW.evaluate(LAW, params, tokens, None)
    noisy = loss * np.exp(NOISE * rng.standard_normal(rows))
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": noisy})


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("--tables", type=int, default=1000)
    options = arguments.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("sizes")
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        print("set OPENBLAS_NUM_THREADS=1: several threads count as CPU seconds each")
    curves, one = runs(CURVES), table(ROWS, 0)
    lossfit.fit_surface(table(ROWS, 1))
    many = [table(MANY_ROWS, k) for k in range(options.tables)]
    times = {
        "a ladder of 20 curves": _report.cpu(lambda: lossfit.fit_ladder(curves), 3),
        "a table of 100 rows": _report.cpu(lambda: lossfit.fit_surface(one), 3),
    }
    fitted: list[lossfit.Surface] = []
    batch = _report.cpu(lambda: fitted.extend(lossfit.fit_surfaces(many)), 1)
    times[f"{len(many)} tables of {MANY_ROWS} rows as a batch"] = batch
    few = many[:5]
    times["one table of 20 rows"] = _report.cpu(lambda: [*map(lossfit.fit_surface, few)], 1) / 5
    failures = []
    if not np.isfinite([surface.values["E"].mean() for surface in fitted]).all():
        failures.append("a table of the batch has no answer")
    for what, value in times.items():
        print(f"{what}: {value:.2f} CPU s")
        if what in BARS and value > BARS[what]:
            failures.append(f"{what} takes {value:.2f} CPU s, more than {BARS[what]:g}")
    record["seconds"] = times
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
