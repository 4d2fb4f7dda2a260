"""Public training curves, as the calibration benches and tests use them.

One view (train or validation loss) of every run that starts at its beginning, at most 40 runs of a
source, with the learning-rate schedule where the source states it.  The folder holds one CSV a
source (run, params, step, tokens, lr, loss) and ``meta/SOURCE.runs.csv``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

import lossfit
from lossfit import Runs, schedules
from lossfit.backtests.cases import make_cases

SOURCES = {
    "llama": "llama",
    "multi-power": "multipowerlaw_25m_100m",
    "gemstones": "gemstones",
    "modded": "modded_nanogpt_124m",
    "nanogpt-4090": "nanogpt_4090_124m",
    "lr-schedules": "lr_schedules_124m",
    "xlstm": "xlstm_llama_ctx2048",
}
LLAMA_BATCH = 4e6  # tokens a step, by the papers
LLAMA1_TOKEN_ERROR = 1.43  # this digitisation's token axis of LLaMA 1 is too long by so much
MOST_RUNS = 40
CUTOFFS, HORIZONS = (0.3, 0.5, 0.7), (1.25, 2.0, "end")


def load(folder: str | Path) -> tuple[Runs, dict[str, str]]:
    """All runs with their schedules, and the source of each."""
    runs, group = None, {}
    for source in SOURCES:
        one = source_runs(Path(folder), source)
        runs = one if runs is None else runs + one
        group.update(dict.fromkeys(one.names, source))
    assert runs is not None
    return runs, group


def source_runs(folder: Path, source: str, most: int = MOST_RUNS) -> Runs:
    """The runs of one source that give a backtest case."""
    found = every_run(folder, source)
    found = _one_view(found)
    whole = _runs(source, found)
    skipped = dict(make_cases(whole, "step", CUTOFFS, HORIZONS, "known").skipped)
    good = [name for name in whole.names if name not in skipped]
    if len(good) > most:
        index = np.unique(np.linspace(0, len(good) - 1, most).round().astype(int))
        good = [good[i] for i in index]
    return whole.select(good)


def every_run(folder: Path, source: str) -> dict[str, pd.DataFrame]:
    """Frames step, loss, rate (relative, NaN where unknown) of the runs that are no branches."""
    file = SOURCES[source]
    frame = pd.read_csv(folder / f"{file}.csv")
    meta = pd.read_csv(folder / "meta" / f"{file}.runs.csv").set_index("run")
    out = {}
    for name, rows in frame.groupby("run", sort=False):
        info = meta.loc[name]
        if source == "llama":
            error = LLAMA1_TOKEN_ERROR if "llama1" in name else 1.0
            step = rows["tokens"].to_numpy(float) / error / LLAMA_BATCH
        else:
            step = rows["step"].to_numpy(float)
            if step[0] > 0.3 * step[-1] or _number(info, "resumed_from_step") > 0:
                continue
        lr = rows["lr"].to_numpy(float) if "lr" in rows else np.full(len(step), np.nan)
        one = pd.DataFrame({"step": step, "loss": rows["loss"].to_numpy(float), "lr": lr})
        one = one[np.isfinite(one["loss"]) & (one["step"] > 0)]
        one.attrs["schedule"] = _schedule(source, name, step, lr, info)
        out[name] = one
    return out


def _number(info: pd.Series, key: str) -> float:
    return float(pd.to_numeric(info.get(key), errors="coerce"))


def _schedule(
    source: str, name: str, step: np.ndarray, lr: np.ndarray, info: pd.Series
) -> schedules.Schedule | None:
    """What the log or the source says of the learning rate."""
    total = float(step[-1])
    if source == "llama":
        return schedules.cosine(1.0, total, 2000, 0.1)
    if source == "gemstones":
        return schedules.constant(1.0)
    logged = np.isfinite(lr)
    if logged.mean() > 0.9:
        return schedules.from_points(step[logged], np.maximum(lr[logged], 0))  # -5e-12 is 0
    if source == "lr-schedules":
        for tag, kept in (("cos-10", 0.1), ("cos-zero", 0.0)):
            if info.get("scheduler") == "cos" and tag in name:
                warmup = _number(info, "warmup_steps")
                return schedules.cosine(1.0, _number(info, "iterations"), warmup, kept)
        return None
    if _number(info, "warmdown_iters") > 0:
        end = _number(info, "num_iterations")
        end = _number(info, "total_steps") if np.isnan(end) else end
        warmup = max(np.nan_to_num(_number(info, "warmup_iters")), 0.0)
        return schedules.wsd(1.0, end, warmup, _number(info, "warmdown_iters") / end)
    if "2024-06-06-AdamW" in name:
        return schedules.wsd(1.0, total, 250, 2000 / total)
    return None


def _one_view(found: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """One of train and validation loss of a run: alternately, where the latter has 50 points."""
    views: dict[str, list[str]] = {}
    for name in found:
        views.setdefault(re.sub(r"/(train|val|eval)$", "", name), []).append(name)
    chosen, pairs = [], 0
    for names in views.values():
        if len(names) == 1:
            chosen += names
            continue
        train = next(n for n in names if n.endswith("train"))
        other = next(n for n in names if not n.endswith("train"))
        pairs += 1
        chosen.append(other if len(found[other]) >= 50 and pairs % 2 else train)
    return {name: found[name] for name in chosen}


def _runs(source: str, found: dict[str, pd.DataFrame]) -> Runs:
    frame = pd.concat([one.assign(run=f"{source}: {name}") for name, one in found.items()])
    plans = {
        f"{source}: {name}": one.attrs["schedule"]
        for name, one in found.items()
        if one.attrs["schedule"] is not None
    }
    return lossfit.Runs.from_frame(frame[["run", "step", "loss"]], schedules=plans or None)
