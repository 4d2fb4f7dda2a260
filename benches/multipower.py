"""The multi-power-law benchmark: fit three schedules of a model jointly, predict the six others.

The curves are those of Luo et al. 2025 (arXiv 2503.12811), models of 25M and 100M parameters.
cosine_24000, constant_24000 and wsdcon_9 of a size are fitted; every point from the end of the
warm-up (step 2160) on of the six other schedules is predicted.  Numbers are means over the six:
error and R2 of the mean, and coverage and width of 90 % intervals for single points.  Beside them
the point predictions with the constants that the authors published (fitted to the same curves).

    python -m benches.multipower CURVES

CURVES is the folder that has multipowerlaw_25m_100m.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benches import _report
from lossfit import schedules
from lossfit.forecasts.joint import JointConstants, fit_jointly
from lossfit.forecasts.joint_data import Curve
from lossfit.forecasts.joint_posterior import JointPosterior
from lossfit.forecasts.responses import Rate, basis, lr_time

Floats = NDArray[np.float64]
FILE = "multipowerlaw_25m_100m.csv"
SIZES = ("25M", "100M")
TRAIN = ("cosine_24000", "constant_24000", "wsdcon_9")
WARMUP = 2160
PEAK = 3e-4
MAE = {"25M": 0.0038, "100M": 0.0033}
R2 = 0.998
COVERAGE = (0.85, 0.98)
DRAWS = 1000


class Published(NamedTuple):
    """Constants of the multi-power law (README of thu-yao-01-luo/MultiPowerLaw)."""

    level: float
    a: float
    alpha: float
    b: float
    c: float
    beta: float
    gamma: float


PUBLISHED = {
    "25M": Published(
        3.04045406, 0.52468604, 0.50786857, 363.78751622, 2.06560812, 0.58279013, 0.64142257
    ),
    "100M": Published(
        2.6514477, 0.60115152, 0.45295811, 437.9464276, 2.13245612, 0.59785199, 0.65523644
    ),
}
# The README's MAE, means over the six.
STATED = {"25M": 0.00376, "100M": 0.00435}
RECIPES = {
    "annealing": JointConstants(families=("annealing",)),
    "multi-power": JointConstants(families=("multi_power",)),
    "stack": JointConstants(),
    "stack, no discrepancy": JointConstants(size=0.0),
}


def curves(folder: Path, size: str) -> dict[str, Curve]:
    """Curves of a size by schedule, from the end of the warm-up; learning rates as logged."""
    frame = pd.read_csv(folder / FILE)
    found = {}
    for name, rows in frame.groupby("run", sort=False):
        model, schedule = str(name).split("-", 1)
        rows = rows[(rows.step >= WARMUP) & np.isfinite(rows.loss)]
        if model == f"mpl{size}":
            step = rows.step.to_numpy(np.float64)
            lr = rows.lr.to_numpy(np.float64)
            known = np.isfinite(lr)
            rate = Rate(step[known], lr[known] / lr[known].max())
            found[schedule] = Curve(step, rows.loss.to_numpy(np.float64), rate)
    return found


def stated_schedule(name: str) -> tuple[schedules.Schedule, float]:
    """A schedule as the authors made it, and its length."""
    kind, *numbers = name.split("_")
    last = float(numbers[-1])
    if kind == "constant":
        return schedules.constant(PEAK, WARMUP), last
    if kind == "cosine":
        return schedules.cosine(PEAK, last, WARMUP, 0.1), last
    if kind == "wsdcon":
        return schedules.two_stage(PEAK, last * 1e-5, 8000, WARMUP), 16_000.0
    shape = "linear" if kind == "wsdld" else "exponential"
    return schedules.wsd(PEAK, last, WARMUP, 1 - float(numbers[0]) / last, 0.1, shape), last


def published_prediction(name: str, size: str, step: Floats) -> Floats:
    """The loss by the published constants, shape (n,).

    Their sum over the changes of the learning rate starts at step 1, so that the rise of the
    warm-up counts as drops below 0; LR times are sums of the learning rate, with the warm-up.
    """
    k = PUBLISHED[size]
    schedule, length = stated_schedule(name)
    eta = schedule(np.arange(length)) / PEAK
    eta[:WARMUP] = np.linspace(0, 1, WARMUP)
    # A staircase: step i trains at eta[i] from i - 1 to i, so that x(i) is the sum up to step i.
    moved = np.flatnonzero(np.diff(eta))
    rate = Rate(np.repeat(moved, 2) * 1.0, np.stack([eta[moved], eta[moved + 1]], axis=1).ravel())
    # C (eta^-gamma) (sum of eta) with eta = PEAK rho: C per step at the peak.
    unit = np.array([[1.0, k.c * PEAK ** (1 - k.gamma), k.beta, k.gamma]])
    _, response = basis(rate, step, step[-1], np.array([[1.0, 0.0]]), unit)
    return np.asarray(
        k.level + k.a * (PEAK * lr_time(rate, step)) ** -k.alpha - k.b * PEAK * response[:, 0]
    )


def errors(predicted: Floats, loss: Floats) -> tuple[float, float, float]:
    """Mean absolute error, root mean square error, and R2."""
    miss = predicted - loss
    r2 = 1 - (miss**2).sum() / ((loss - loss.mean()) ** 2).sum()
    return float(np.abs(miss).mean()), float(np.sqrt((miss**2).mean())), float(r2)


def score(fitted: JointPosterior, tests: dict[str, Curve], key: int = 1) -> Floats:
    """(MAE, RMSE, R2, coverage, width) of each test curve, shape (n_curves, 5)."""
    rows = []
    for name, curve in tests.items():
        mean, _ = fitted.moments(curve.rate, curve.step)
        draws = fitted.forecast(curve.rate, curve.step, key, DRAWS)
        noise = np.random.default_rng([key, *name.encode()]).standard_normal(draws.shape)
        low, high = np.quantile(draws + fitted.sigma * noise, [0.05, 0.95], axis=1)
        inside = (low <= curve.loss) & (curve.loss <= high)
        rows.append((*errors(mean, curve.loss), inside.mean(), (high - low).mean()))
    return np.array(rows)


def published_errors(found: dict[str, Curve], size: str) -> dict[str, tuple[float, float, float]]:
    """Errors of the published constants by schedule; rows before the schedule's end."""
    out = {}
    for name, curve in found.items():
        inside = curve.step < stated_schedule(name)[1]
        step, loss = curve.step[inside], curve.loss[inside]
        out[name] = errors(published_prediction(name, size, step), loss)
    return out


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("curves", type=Path, help="folder that has " + FILE)
    parser.add_argument("--schedules", action="store_true", help="show each test schedule")
    options = parser.parse_args()
    record: dict[str, Any] = _report.start("multipower")
    failures = []
    fit_jointly(list(curves(options.curves, "25M").values())[:1])  # compiles
    columns = f"{'MAE':>9}{'RMSE':>9}{'R2':>8}{'cover':>7}{'width':>8}{'fit s':>8}"
    print(f"{'size':5} {'recipe':24}{columns}")
    for size in SIZES:
        found = curves(options.curves, size)
        tests = {name: curve for name, curve in found.items() if name not in TRAIN}
        stated = published_errors(tests, size)
        mae, rmse, r2 = np.mean(list(stated.values()), axis=0)
        print(f"{size:5} {'published constants':24}{mae:9.5f}{rmse:9.5f}{r2:8.4f}")
        record[f"{size} published"] = {"mae": mae, "rmse": rmse, "r2": r2}
        if abs(mae - STATED[size]) > 2e-5:
            failures.append(f"{size}: published constants give {mae:.5f}, stated {STATED[size]}")
        for label, constants in RECIPES.items():
            task = lambda c=constants: fit_jointly([found[n] for n in TRAIN], c)  # noqa: B023, E731
            fitted = task()
            _, seconds = _report.best(task, 3)
            each = score(fitted, tests)
            mae, rmse, r2, cover, width = each.mean(axis=0)
            print(
                f"{size:5} {label:24}{mae:9.5f}{rmse:9.5f}{r2:8.4f}{cover:7.2f}{width:8.4f}"
                f"{seconds:8.3f}"
            )
            record[f"{size} {label}"] = {
                "mae": mae, "rmse": rmse, "r2": r2, "coverage": cover, "width": width,
                "fit_s": seconds,
            }  # fmt: skip
            if label != "stack":
                continue
            if options.schedules:
                for name, (mae_1, rmse_1, r2_1, cover_1, width_1) in zip(tests, each, strict=True):
                    print(
                        f"      {name:24}{mae_1:9.5f}{rmse_1:9.5f}{r2_1:8.4f}{cover_1:7.2f}"
                        f"{width_1:8.4f}   published {stated[name][0]:.5f}"
                    )
            if mae > MAE[size] or r2 < R2 or not COVERAGE[0] <= cover <= COVERAGE[1]:
                failures.append(
                    f"{size}: MAE {mae:.5f} (bar {MAE[size]}), R2 {r2:.4f} (bar {R2}), coverage "
                    f"{cover:.2f} (bar {COVERAGE[0]} to {COVERAGE[1]})"
                )
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
