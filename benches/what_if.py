"""What-ifs against truth: runs of a model under schedules that were not fitted.

* `multipower`: curves of Luo et al. 2025 (arXiv 2503.12811), models of 25M and 100M parameters.
  cosine_24000, constant_24000 and wsdcon_9 of a size are fitted together; every point of the six
  other schedules from the end of the warm-up on is predicted.
* `cosine_ablation`: Hoffmann et al. 2022 (arXiv 2203.15556), figure A1.  Cosine cycles 1.0 and 5.0
  of a budget are fitted together; 1.1 to 2.0 are predicted at every reading, and all six are ranked
  at the last place that all of them were read at.
* `lr_schedules`: 124M models of a study of schedules (fabian-sp/lr-scheduling), on which no
  constant was tuned: four random triples of each peak learning rate are fitted, all others with
  that peak predicted.

For runs that are fitted by themselves see `other_schedules`.

Columns: mean absolute error of the median, R2, share of points in the 90 % interval (with noise),
its mean width, and the error at the last point; the mean over the test curves below.

    python -m benches.what_if CURVES

CURVES is the folder that has multipowerlaw_25m_100m.csv.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import lossfit
from benches import _report
from benches.multipower import FILE, SIZES, TRAIN, WARMUP, stated_schedule
from lossfit.answers.what_ifs import WhatIf, what_if
from lossfit.forecasts.joint import fit_jointly
from lossfit.forecasts.joint_data import Curve
from lossfit.forecasts.responses import Rate
from lossfit.runs.collection import Runs

Floats = NDArray[np.float64]
MAE = {"25M": 0.0038, "100M": 0.0044}
R2 = 0.9985
COVERAGE = (0.80, 0.97)
CYCLES = ("1.0", "1.1", "1.25", "1.5", "2.0", "5.0")
FITTED = ("1.0", "5.0")
LR_FILE = "lr_schedules_124m.csv"
ERROR = 0.01
READING = 0.003  # error of the ablation's points
COLUMNS = ("MAE", "R2", "cover", "width", "last")


def multipower(folder: Path, size: str) -> Runs:
    """Curves of a size from the end of the warm-up, with the schedules that the authors state."""
    frame = pd.read_csv(folder / FILE)
    frame = frame[frame.run.str.startswith(f"mpl{size}-")]
    frame = frame[(frame.step >= WARMUP) & np.isfinite(frame.loss)].copy()
    frame["run"] = frame.run.str.split("-", n=1).str[1]
    plans = {name: stated_schedule(name)[0] for name in frame.run.unique()}
    return Runs.from_frame(frame[["run", "step", "loss"]], schedules=plans)


def scores(answer: WhatIf, run: str, name: str, loss: Floats, seed: int = 0) -> tuple[float, ...]:
    """(MAE, R2, coverage, width, last error) of one predicted curve."""
    rows = [i for i, row in enumerate(answer.rows) if row.run == run and row.schedule == name]
    draws = answer.curves[rows]
    rng = np.random.default_rng([seed, *name.encode()])
    noisy = draws + answer.sigma[run] * rng.standard_normal(draws.shape)
    low, high = np.quantile(noisy, [0.05, 0.95], axis=1)
    miss = np.median(draws, axis=1) - loss
    r2 = 1 - (miss**2).sum() / ((loss - loss.mean()) ** 2).sum()
    inside = (low <= loss) & (loss <= high)
    return (
        float(np.abs(miss).mean()), float(r2), float(inside.mean()), float((high - low).mean()),
        float(miss[-1]),
    )  # fmt: skip


def held_out(runs: Runs, train: tuple[str, ...], axis: str) -> dict[str, tuple[float, ...]]:
    """Scores of all runs that are not in `train`, fitted together where these are several."""
    tests = [name for name in runs.names if name not in train]
    answer = what_if(
        runs.select(list(train)),
        train[0],
        schedules={name: runs[name].schedule for name in tests},
        at={name: runs[name].axis(axis) for name in tests},
        axis=axis,
        share=True,
    )
    return {name: scores(answer, train[0], name, runs[name].loss) for name in tests}


def budget(name: str) -> Runs:
    """The six runs of a budget of the cosine ablation."""
    return lossfit.load("cosine_ablation").select([f"{name}/{cycle}" for cycle in CYCLES])


def ranking(runs: Runs) -> tuple[list[str], list[str], Floats, Floats]:
    """Order of the six cycles at the last common reading: predicted and read, best first."""
    train = [name for name in runs.names if name.split("/")[1] in FITTED]
    at = min(run.end("tokens") for run in runs)
    others = [name for name in runs.names if name not in train]
    answer = what_if(
        runs.select(train),
        schedules={name: runs[name].schedule for name in others},
        at=at,
        axis="tokens",
        share=True,
    )
    means = answer.frame.groupby(["run", "schedule"])["mean"].first()
    predicted = np.array([
        means[(name, "own")] if name in train else means[(train[0], name)] for name in runs.names
    ])  # fmt: skip
    read = np.array([np.interp(at, run.axis("tokens"), run.loss) for run in runs])
    names = [name.split("/")[1] for name in runs.names]
    order = lambda values: [names[i] for i in np.argsort(values)]  # noqa: E731
    return order(predicted), order(read), predicted, read


def lr_schedules(folder: Path, triples: int = 4) -> dict[str, tuple[float, ...]]:
    """Scores of random triples of runs with one peak learning rate, on all others with it.

    Validation losses of runs that start at their beginning, after the warm-up and a tenth of them.
    """
    frame = pd.read_csv(folder / LR_FILE)
    frame = frame[frame.run.str.endswith("/val") & frame.loss.notna() & frame.lr.notna()]
    groups: dict[float, dict[str, Curve]] = {}
    for name, rows in frame.groupby("run"):
        step, lr = rows.step.to_numpy(np.float64), rows.lr.to_numpy(np.float64)
        if step[0] >= 1000 or len(step) < 25:
            continue  # a branch
        warm = int(np.argmax(lr >= 0.98 * lr.max()))
        rho = lr / lr.max()
        rho[:warm] = 1.0
        late = step > max(step[warm], min(0.1 * step[-1], 2000))
        curve = Curve(step[late], rows.loss.to_numpy(np.float64)[late], Rate(step, rho))
        groups.setdefault(round(float(lr.max()), 6), {})[str(name)] = curve
    rng = np.random.default_rng(0)
    found = {}
    for peak, curves in groups.items():
        names = list(curves)
        for i in range(triples if len(names) >= 5 else 0):
            train = rng.choice(names, 3, replace=False)
            fitted = fit_jointly([curves[name] for name in train])
            for name, curve in curves.items():
                if name in train:
                    continue
                mean, sd = fitted.moments(curve.rate, curve.step)
                miss, spread = mean - curve.loss, 1.645 * np.hypot(sd, fitted.sigma)
                r2 = 1 - (miss**2).sum() / ((curve.loss - curve.loss.mean()) ** 2).sum()
                found[f"{peak:g} {i} {name}"] = (
                    float(np.abs(miss).mean()), float(r2), float((np.abs(miss) < spread).mean()),
                    float(2 * spread.mean()), float(miss[-1]),
                )  # fmt: skip
    return found


def show(label: str, found: dict[str, tuple[float, ...]], each: bool) -> Floats:
    """Print the table; gives the mean row."""
    if each:
        for name, values in found.items():
            print(f"{'':6}{name:22}" + "".join(f"{v:9.4f}" for v in values))
    mean = np.mean(list(found.values()), axis=0)
    print(f"{label:28}" + "".join(f"{v:9.5f}" for v in mean))
    return np.asarray(mean)


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("curves", type=Path, help="folder that has " + FILE)
    options = parser.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record: dict[str, Any] = _report.start("what_if")
    failures = []
    print(f"{'':28}" + "".join(f"{word:>9}" for word in COLUMNS))
    for size in SIZES:
        runs = multipower(options.curves, size)
        mae, r2, cover, width, _ = show(size, held_out(runs, TRAIN, "step"), True)
        record[size] = {"mae": mae, "r2": r2, "coverage": cover, "width": width}
        if mae > MAE[size] or r2 < R2 or not COVERAGE[0] <= cover <= COVERAGE[1]:
            failures.append(f"{size}: MAE {mae:.5f}, R2 {r2:.4f}, coverage {cover:.3f}")
    for name in ("7.7M", "12.8M"):
        runs = budget(name)
        train = tuple(one for one in runs.names if one.split("/")[1] in FITTED)
        found = held_out(runs, train, "tokens")
        mae, r2, cover, width, _ = show(f"ablation {name}", found, True)
        guess, read, predicted, seen = ranking(runs)
        worst = float(np.abs(predicted - seen).max())
        print(f"      predicted {' < '.join(guess)}; read {' < '.join(read)}; "
              f"largest error of the six {worst:.4f}")  # fmt: skip
        both = zip(CYCLES, predicted, seen, strict=True)
        print("      " + ", ".join(f"{cycle} {p:.4f} ({s:.4f})" for cycle, p, s in both))
        record[name] = {
            "mae": mae, "coverage": cover, "worst": worst, "predicted": guess, "read": read
        }  # fmt: skip
        # Cycles that were read within the reading error of each other are in either order right.
        place = {cycle: i for i, cycle in enumerate(CYCLES)}
        wrong = [
            (a, b)
            for i, a in enumerate(guess)
            for b in guess[i + 1 :]
            if seen[place[a]] > seen[place[b]] + READING
        ]
        if wrong or worst > ERROR:
            failures.append(f"ablation {name}: order {guess}, read {read}, error {worst:.4f}")
    if (options.curves / LR_FILE).exists():
        rows = lr_schedules(options.curves)
        values = show(f"lr_schedules ({len(rows)})", rows, False)
        record["lr_schedules"] = dict(zip(COLUMNS, values.tolist(), strict=True))
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
