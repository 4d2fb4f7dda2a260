"""Regret against compute: pruning by forecasts, median stopping and successive halving.

    python -m benches.pruning CURVES [--orders N]

Trials are public runs of one task with one length (`GROUPS` are found among the curves of
`benches.forecast_cases`: at least five runs of a source whose ends differ by less than a tenth).
Each is reported to a study of Optuna at 50 even steps, one trial after the other, in random orders,
the same for all pruners.  Compute is the share of all steps that were trained; regret is what the
best finished trial lost against the best of all, relative to it.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benches import _report, forecast_cases
from benches.forecast_cases import Curve, all_curves

STEPS = 50
TOTAL = 1000
LEAST_TRIALS, SAME_END = 5, 0.1
WARMUP = 0.1  # of a trial, for all pruners


def trials_of(curve: Curve) -> np.ndarray:
    """Mean loss in each of `STEPS` parts of a run, and between them by straight lines."""
    part = np.ceil(curve.t / curve.t[-1] * STEPS - 1e-9).astype(int) - 1
    part = np.clip(part, 0, STEPS - 1)
    count = np.bincount(part, minlength=STEPS)
    mean = np.bincount(part, curve.loss, STEPS) / np.maximum(count, 1)
    filled = np.flatnonzero(count)
    return np.interp(np.arange(STEPS), filled, mean[filled])


def groups(folder: Path) -> dict[str, np.ndarray]:
    """Losses of the trials of each group, shape (n_trials, STEPS)."""
    forecast_cases.MOST_RUNS = 60
    by_task: dict[tuple[str, bool], list[list[Curve]]] = defaultdict(list)
    for curve in sorted(all_curves(folder), key=lambda c: float(c.t[-1])):
        if len(curve.t) < 40:
            continue
        near = by_task[curve.source, curve.is_validation]
        if near and curve.t[-1] < (1 + SAME_END) * near[-1][0].t[-1]:
            near[-1].append(curve)
        else:
            near.append([curve])
    return {
        f"{source}{' val' if val else ''} {alike[0].t[-1]:.0f}": np.array(
            [trials_of(curve) for curve in alike]
        )
        for (source, val), lists in by_task.items()
        for alike in lists
        if len(alike) >= LEAST_TRIALS
    }


def pruners() -> dict[str, Any]:
    import optuna  # here, so that others may import this file without it

    from lossfit.integrations.optuna import LossfitPruner

    return {
        "none": optuna.pruners.NopPruner(),
        **{
            f"median stopping from {start:g}": optuna.pruners.MedianPruner(1, int(start * TOTAL))
            for start in (WARMUP, 0.5)
        },
        **{
            f"successive halving to 1/{factor} from {start:g}": (
                optuna.pruners.SuccessiveHalvingPruner(int(start * TOTAL), factor)
            )
            for start, factor in ((WARMUP, 2), (WARMUP, 3), (0.5, 2))
        },
        **{
            f"lossfit, P < {prob:g}": LossfitPruner(TOTAL, prob=prob, warmup=WARMUP)
            for prob in (0.05, 0.2, 0.5)
        },
    }


def study(losses: np.ndarray, order: np.ndarray, pruner: Any) -> dict[str, float]:
    """One pass over the trials of a group."""
    import optuna

    made = optuna.create_study(pruner=pruner)
    trained = 0
    for row in order:
        trial = made.ask()
        pruned = False
        for k in range(STEPS):
            trained += 1
            trial.report(float(losses[row, k]), (k + 1) * TOTAL // STEPS)
            if k < STEPS - 1 and trial.should_prune():
                pruned = True
                break
        if pruned:
            made.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            made.tell(trial, float(losses[row, -1]))
    best = losses[:, -1].min()
    return {
        "compute": trained / losses.size,
        "regret": (made.best_value - best) / abs(best),
        "kept_best": made.best_value == best,
    }


def main() -> None:
    import optuna

    arguments = _report.parser(__doc__)
    arguments.add_argument("folder", type=Path, help="folder of curves")
    arguments.add_argument("--orders", type=int, default=2, help="random orders of each group")
    options = arguments.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("lossfit").setLevel(logging.ERROR)
    record = _report.start("pruning")
    rows = []
    seconds: dict[str, float] = defaultdict(float)
    tasks = groups(options.folder)
    for number, (task, losses) in enumerate(tasks.items()):
        for seed in range(options.orders):
            order = np.random.default_rng([number, seed]).permutation(len(losses))
            for name, pruner in pruners().items():
                begin = time.process_time()
                rows.append({"task": task, "pruner": name, **study(losses, order, pruner)})
                seconds[name] += time.process_time() - begin
    table = pd.DataFrame(rows)
    by_task = table.groupby(["pruner", "task"], sort=False)[["compute", "regret", "kept_best"]]
    means = by_task.mean().groupby("pruner", sort=False).mean()
    means["seconds"] = pd.Series(seconds)
    print(f"{len(tasks)} tasks, {sum(map(len, tasks.values()))} trials, {options.orders} orders")
    print(means.round(4).to_string())
    record["table"] = means.reset_index().to_dict("records")
    failures = []
    ours = means.loc["lossfit, P < 0.05"]
    if ours["regret"] > 0.01 or ours["compute"] > 0.9:
        failures.append("lossfit at 0.05 loses more than 1 %, or saves less than a tenth")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
