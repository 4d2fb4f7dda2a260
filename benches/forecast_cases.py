"""Cut runs with known futures, from every public curve that the forecast is learned from.

A *source* is one of the seven sources of `benches.curves`, one file of ``more`` or one repository
of ``corpus``.  Runs are cut at shares of their length; the targets are at multiples of the cut and
at the end.  The outcome is the mean loss near the target, and its noise is measured there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lossfit
from benches import curves

Floats = np.ndarray
CUTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
HORIZONS = (1.25, 2.0, 4.0, 8.0, 16.0)
LEAST_POINTS = 20  # before a cut
MOST_RUNS = 14  # of a source, evenly spaced in the order of its file
SHIPPED = tuple(curves.SOURCES)
MORE = (
    "algoperf_criteo",
    "algoperf_imagenet",
    "algoperf_ogbg",
    "build_nanogpt_edu",
    "nequip_si",
    "netra_nmt",
)
KINDS = (
    "detect_segm",
    "diffusion",
    "image_class",
    "lm_pretrain",
    "science_tabular",
    "sft",
    "ssl_vision",
    "translation_speech",
)


@dataclass(frozen=True)
class Curve:
    """One run: where it is from, its points, and what is known of its learning rate."""

    source: str
    group: str  # shipped, more or corpus
    kind: str
    name: str
    t: Floats
    loss: Floats
    warmup: float
    schedule: Callable[[Floats], Floats] | None
    plan: float
    is_validation: bool = False


@dataclass(frozen=True)
class Target:
    """One outcome: the horizon's label, where it was measured, the mean loss and its noise."""

    horizon: str
    at: float
    observed: float
    noise: float


@dataclass(frozen=True)
class Case:
    """A curve up to a cut, and its targets."""

    curve: Curve
    cut: float
    t: Floats
    loss: Floats
    targets: tuple[Target, ...]


def all_curves(folder: Path) -> list[Curve]:
    """At most 14 runs of every development source, one view of each."""
    found = [*_shipped(folder), *_more(folder), *_corpus(folder)]
    by_source: dict[str, list[Curve]] = {}
    for curve in found:
        if any(True for cut in CUTS if case_of(curve, cut) is not None):
            by_source.setdefault(curve.source, []).append(curve)
    return [c for group in by_source.values() for c in spread_out(group, MOST_RUNS)]


def spread_out(items: list[Curve], most: int) -> list[Curve]:
    if len(items) <= most:
        return items
    index = np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))
    return [items[i] for i in index]


def _shipped(folder: Path) -> Iterator[Curve]:
    for source in SHIPPED:
        frames = curves._one_view(curves.every_run(folder, source))
        for name, frame in frames.items():
            plan = frame.attrs["schedule"]
            warm = float(plan.warmup) if plan is not None else 0.0
            if source == "multi-power":
                warm = 2160.0
            elif plan is not None and plan.kind == "points":
                warm = _warmup(frame["step"].to_numpy(), frame["lr"].to_numpy())
            t, loss = frame["step"].to_numpy(float), frame["loss"].to_numpy(float)
            val = bool(re.search(r"/(val|eval)$", name)) or source == "gemstones"
            yield Curve(source, "shipped", "lm_pretrain", name, t, loss, warm, plan, t[-1], val)


def _warmup(t: Floats, lr: Floats) -> float:
    ok = np.isfinite(lr)
    if not ok.any():
        return 0.0
    first = int(np.argmax(lr[ok] >= 0.95 * np.nanmax(lr)))
    return float(t[ok][first]) if t[ok][first] < 0.35 * t[-1] and first else 0.0


def _rate(t: Floats, lr: Floats) -> Callable[[Floats], Floats] | None:
    ok = np.isfinite(lr)
    if ok.mean() < 0.9 or np.max(lr[ok]) <= 0:
        return None
    steps, rates = t[ok], np.maximum(lr[ok], 0)
    return lambda at: np.interp(at, steps, rates)


def _curve(source: str, group: str, kind: str, rows: pd.DataFrame, info: pd.Series) -> Curve:
    rows = rows[np.isfinite(rows["loss"]) & (rows["step"] > 0)]
    t, loss, lr = (rows[c].to_numpy(float) for c in ("step", "loss", "lr"))
    warm = float(pd.to_numeric(info.get("warmup"), errors="coerce"))
    plan = float(pd.to_numeric(info.get("plan"), errors="coerce"))
    schedule = _rate(t, lr)
    if not np.isfinite(warm):
        warm = 0.0
    if warm > 0.35 * t[-1]:
        warm = 0.0
    plan = plan if np.isfinite(plan) and plan >= t[-1] else t[-1]
    name = str(info.name)
    val = info.get("loss_kind") == "validation" or bool(re.search(r"/(val|eval)$", name))
    return Curve(source, group, kind, name, t, loss, warm, schedule, plan, val)


def _views(names: list[str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"/(train|val|eval)$", "", name), []).append(name)
    return [views[i % len(views)] for i, views in enumerate(groups.values())]


def _tables(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    meta = pd.read_csv(path.parent / "meta" / f"{path.stem}.runs.csv").set_index("run")
    return pd.read_csv(path), meta


def _more(folder: Path) -> Iterator[Curve]:
    kinds = dict(
        zip(
            MORE,
            (
                "tabular",
                "image_class",
                "molecules",
                "lm_pretrain",
                "science_tabular",
                "translation_speech",
            ),
            strict=True,
        )
    )
    for source in MORE:
        frame, meta = _tables(folder / "more" / f"{source}.csv")
        parts = dict(list(frame.groupby("run", sort=False)))
        for name in _views(list(parts)):
            yield _curve(source, "more", kinds[source], parts[name], meta.loc[name])


def _corpus(folder: Path) -> Iterator[Curve]:
    for kind in KINDS:
        frame, meta = _tables(folder / "corpus" / f"{kind}.csv")
        parts = dict(list(frame.groupby("run", sort=False)))
        for name in _views(list(parts)):
            yield _curve(meta.loc[name, "repo"], "corpus", kind, parts[name], meta.loc[name])


def case_of(curve: Curve, cut: float) -> Case | None:
    """The curve cut at a share of its length, or None where a cut or its targets lack points."""
    t, loss, total = curve.t, curve.loss, curve.t[-1]
    n = int(np.searchsorted(t, cut * total, side="right"))
    if n < LEAST_POINTS:
        return None
    last = float(t[n - 1])
    ends = (
        [("end", total)] if total > 1.2 * last else [("late", total)] if total > 1.01 * last else []
    )
    targets = []
    for label, at in [(f"{h:g}", h * last) for h in HORIZONS] + ends:
        target = _target(t, loss, label, at, last)
        if target is not None:
            targets.append(target)
    return Case(curve, cut, t[:n], loss[:n], tuple(targets)) if targets else None


def _target(t: Floats, loss: Floats, label: str, at: float, last: float) -> Target | None:
    total = float(t[-1])
    if at > 1.0005 * total:
        return None
    if label in ("end", "late"):
        low, high = max(0.98 * total, last * 1.0001), 1.0001 * total
    else:
        half = min(0.01 * total, 0.04 * at)
        low, high = at - half, min(at + half, total)
    a, b = int(np.searchsorted(t, low, side="left")), int(np.searchsorted(t, high, side="right"))
    if a >= b:
        a = int(np.argmin(np.abs(t - at)))
        if abs(t[a] - at) > 0.03 * total or t[a] <= last:
            return None
        b = a + 1
    near = loss[max(0, a - 25) : b + 25]
    bend = near[1:-1] - (near[:-2] + near[2:]) / 2
    sd = 1.4826 * np.median(np.abs(bend - np.median(bend))) / 1.5**0.5 if len(bend) > 2 else 0.0
    return Target(label, float(t[a:b].mean()), float(loss[a:b].mean()), float(sd / (b - a) ** 0.5))


def make_cases(folder: Path, cuts: tuple[float, ...] = CUTS) -> list[Case]:
    """Every case of every curve."""
    made = [case_of(curve, cut) for curve in all_curves(folder) for cut in cuts]
    return [case for case in made if case is not None]


# ---- finished runs and longer ones of the same model -------------------------------------------
def finished_pairs(folder: Path) -> list[tuple[str, Case, Callable[[Floats], Floats], float]]:
    """Finished runs asked for a longer plan whose outcome is known.

    The kind, the finished run as a case (its target is the longer run's end), the longer run's
    schedule, and the finished run's own last loss.
    """
    found = [*_schedule_pairs(folder), *_power_pairs(folder), *_xlstm_pairs(folder)]
    return [_pair(*p) for p in found]


def _pair(
    kind: str, source: str, rows: pd.DataFrame, plan: Any, future: Any, end: float, truth: float
) -> tuple[str, Case, Any, float]:
    t, loss = rows["step"].to_numpy(float), rows["loss"].to_numpy(float)
    warm = 2160.0 if source == "multi-power" else float(plan.warmup)
    name = str(rows["run"].iloc[0])
    curve = Curve(source, "shipped", "lm_pretrain", name, t, loss, warm, plan, float(t[-1]))
    target = Target("longer", float(end), float(truth), 0.0)
    return kind, Case(curve, 1.0, t, loss, (target,)), future, float(loss[-1])


def _schedule_pairs(folder: Path) -> Iterator[tuple[Any, ...]]:
    frame, meta = _tables(folder / "lr_schedules_124m.csv")
    meta = meta[(meta["loss_kind"] == "val") & ~(meta["first_step"] > 300)]
    keys = ["scheduler", "peak_lr", "wsd_fract_decay", "decay_type"]
    for key, group in meta.groupby(keys, dropna=False):
        group = group.sort_values("iterations").drop_duplicates("iterations")
        for short, long in combinations(group.index, 2):
            ends = [float(group.loc[r, "iterations"]) for r in (short, long)]
            if ends[1] > 1.6 * ends[0]:
                plans = [_plan(key, end) for end in ends]
                rows, later = (frame[frame["run"] == r] for r in (short, long))
                yield key[0], "lr-schedules", rows, *plans, ends[1], later["loss"].iloc[-1]


def _plan(key: tuple[Any, ...], end: float) -> Any:
    if key[0] == "cos":
        return lossfit.schedules.cosine(float(key[1]), end, 300, 0.1)
    shape = "sqrt" if "sqrt" in str(key[3]) else "linear"
    return lossfit.schedules.wsd(float(key[1]), end, 300, decay=float(key[2]), shape=shape)


def _power_pairs(folder: Path) -> Iterator[tuple[Any, ...]]:
    frame, _ = _tables(folder / "multipowerlaw_25m_100m.csv")
    for size in ("25M", "100M"):
        rows, later = (frame[frame["run"] == f"mpl{size}-cosine_{n}000"] for n in (24, 72))
        plans = [lossfit.schedules.cosine(3e-4, n, 2160, 0.1) for n in (24_000, 72_000)]
        yield "mplcos", "multi-power", rows, *plans, 72_000, later["loss"].iloc[-1]


def _xlstm_pairs(folder: Path) -> Iterator[tuple[Any, ...]]:
    frame, _ = _tables(folder / "xlstm_llama_ctx2048.csv")
    runs = [rows for _, rows in frame.groupby("run", sort=False)]
    for rows, later in permutations(runs, 2):
        ratio = later["step"].iloc[-1] / rows["step"].iloc[-1]
        if later["params"].iloc[0] == rows["params"].iloc[0] and ratio > 1.3:
            plans = [
                lossfit.schedules.from_points(r["step"], np.maximum(r["lr"], 0))
                for r in (rows, later)
            ]
            end, truth = later["step"].iloc[-1], later["loss"].iloc[-1]
            yield "xlstm", "xlstm", rows, *plans, end, truth
