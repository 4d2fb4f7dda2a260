"""A run by itself: how well are other schedules predicted, and do differences hold?

Every run of a model is fitted alone, cut at half of its length or whole, and all others of its
model are predicted, from 35 % of its length (or its cut) up to its end: multi-power curves (25M,
100M), the cosine ablation (two budgets), and 124M models of a study of schedules (validation
losses; the first four runs of each peak, up to eight others).  A set's row is the mean over its
pairs.

Columns: mean absolute error of the median, CRPS, share of points in the 90 % interval (with noise),
its width; the same of the last place; share of differences to the run itself, where both were
logged, in their 90 % interval.

    python -m benches.other_schedules CURVES
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import lossfit
from benches import _report
from benches.multipower import SIZES
from benches.what_if import LR_FILE, budget, multipower
from lossfit.runs.collection import Runs

Floats = NDArray[np.float64]
COLUMNS = ("MAE", "CRPS", "held", "width", "end MAE", "CRPS", "held", "width", "gaps")
CUTS = (0.5, 1.0)
FROM = 0.35  # of the run: where the default forecast's window begins
PLACES = 40
LEAST = 12  # points of a cut run
# Bars: CRPS of points and of ends, by cut; a joint fit of the run alone had .0146/.0223 and
# .0062/.0100.
BARS = {0.5: (0.0125, 0.0195), 1.0: (0.0056, 0.0088)}
HELD = (0.85, 0.98)


class Family(NamedTuple):
    """Runs of one model; those fitted, and how many others each predicts."""

    label: str
    runs: Runs
    axis: str
    fitted: int
    others: int


def families(folder: Path) -> Iterator[Family]:
    """All sets."""
    for size in SIZES:
        runs = multipower(folder, size)
        yield Family(size, runs, "step", len(runs), len(runs))
    for name in ("7.7M", "12.8M"):
        yield Family(name, budget(name), "tokens", 6, 6)
    frame = pd.read_csv(folder / LR_FILE)
    frame = frame[frame.run.str.endswith("/val") & frame.loss.notna() & frame.lr.notna()]
    groups: dict[float, list[str]] = {}
    for name, rows in frame.groupby("run"):
        if rows.step.iloc[0] < 1000 and len(rows) >= 25:  # else a branch
            groups.setdefault(round(float(rows.lr.max()), 6), []).append(str(name))
    for peak, names in groups.items():
        if len(names) < 5:
            continue
        some = frame[frame.run.isin(names)]
        plans = {
            name: lossfit.schedules.from_points(rows.step.to_numpy(), rows.lr.to_numpy())
            for name, rows in some.groupby("run")
        }
        runs = Runs.from_frame(some[["run", "step", "loss"]], schedules=plans)
        yield Family(f"lr {peak:g}", runs, "step", 4, 8)


def crps(draws: Floats, truth: Floats) -> Floats:
    """CRPS of draws, shape (n_at, n_draws), at observed values, shape (n_at,)."""
    ordered = np.sort(draws, axis=1)
    n = ordered.shape[1]
    spread = (ordered * (2 * np.arange(n) - n + 1)).sum(axis=1) / n**2
    return np.asarray(np.abs(ordered - truth[:, None]).mean(axis=1) - spread)


def scores(draws: Floats, truth: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """Error, CRPS, whether held, and width, shape (n_at, 4)."""
    noisy = draws + noise * rng.standard_normal(draws.shape)
    low, high = np.quantile(noisy, [0.05, 0.95], axis=1)
    error = np.abs(np.median(draws, axis=1) - truth)
    held = (low <= truth) & (truth <= high)
    return np.stack([error, crps(noisy, truth), held, high - low], axis=1)


def one_run(family: Family, name: str, cut: float) -> list[Floats]:
    """Rows of `COLUMNS` for all others of a run's model."""
    run, axis = family.runs[name], family.axis
    rng = np.random.default_rng(0)
    x = run.axis(axis)
    seen = x <= cut * x[-1] * (1 + 1e-9)
    if seen.sum() < LEAST:
        return []
    frame = pd.DataFrame({"run": name, axis: x[seen], "loss": run.loss[seen]})
    others: dict[str, Floats] = {}
    for other in [n for n in family.runs.names if n != name][: family.others]:
        at = family.runs[other].axis(axis)
        at = at[(at <= x[-1] * (1 + 1e-3)) & (at > max(FROM, cut % 1) * x[-1])]
        if len(at) > PLACES:
            at = at[np.linspace(0, len(at) - 1, PLACES).astype(int)]
        if len(at) > 3:
            others[other] = at
    if not others:
        return []
    answer = lossfit.what_if(
        Runs.from_frame(frame, schedules={name: run.schedule}),
        schedules={other: family.runs[other].schedule for other in others},
        at=others,
        axis=axis,
    )
    noise = answer.sigma[name]
    out = []
    for other, at in others.items():
        rows = [i for i, row in enumerate(answer.rows) if row.schedule == other]
        of = family.runs[other]
        truth = of.loss[np.isin(of.axis(axis), at)]
        each = scores(answer.curves[rows], truth, noise, rng)
        both = np.isin(at, x)
        gaps = np.nan
        if both.any():
            drawn = (answer.curves[rows] - answer.own[rows])[both]
            real = truth[both] - run.loss[np.isin(x, at[both])]
            gaps = float(scores(drawn, real, 2**0.5 * noise, rng)[:, 2].mean())
        out.append(np.concatenate([each.mean(axis=0), each[-1], [gaps]]))
    return out


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("curves", type=Path, help="folder of the public curves")
    options = parser.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record: dict[str, Any] = _report.start("other_schedules")
    failures = []
    print(f"{'cut':5}{'set':11}{'pairs':>6}" + "".join(f"{word:>9}" for word in COLUMNS))
    sets = list(families(options.curves))
    for cut in CUTS:
        means = []
        for family in sets:
            rows = [row for name in family.runs.names[: family.fitted]
                    for row in one_run(family, name, cut)]  # fmt: skip
            if not rows:
                continue
            means.append(np.nanmean(rows, axis=0))
            record[f"{cut:g} {family.label}"] = means[-1].tolist()
            print(f"{cut:<5g}{family.label:11}{len(rows):6}"
                  + "".join(f"{v:9.4f}" for v in means[-1]), flush=True)  # fmt: skip
        mean = np.mean(means, axis=0)
        print(f"{cut:<5g}{'mean':17}" + "".join(f"{v:9.4f}" for v in mean))
        record[f"{cut:g} mean"] = mean.tolist()
        if mean[1] > BARS[cut][0] or mean[5] > BARS[cut][1]:
            failures.append(f"cut {cut:g}: CRPS {mean[1]:.4f} and {mean[5]:.4f}, bars {BARS[cut]}")
        for what, k in (("points", 2), ("ends", 6), ("differences", 8)):
            if not HELD[0] <= mean[k] <= HELD[1]:
                failures.append(f"cut {cut:g}: {mean[k]:.3f} of {what} held, bar {HELD}")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
