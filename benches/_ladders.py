"""Ladders of public curves, and cuts of them: small sizes fitted, larger ones held out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lossfit.ladders.clock import Clock
from lossfit.ladders.rows import Rung

LLAMA_TOKEN_ERROR = 1.43  # of this digitisation's token axis of LLaMA 1
ROUTED = ("Dense", "S-Base-512", "RL-R-8", "Hash-128")
ROUTED_BATCH = 1e6  # not stated: only ratios matter
FEWEST_STEPS = 2500  # of an xLSTM run: the schedules of shorter ones are squeezed
MOST_TARGETS = 8
MOST_CUTS = 5


class Ladder(NamedTuple):
    source: str
    family: str
    rungs: list[Rung]


class Cut(NamedTuple):
    """Rungs that are fitted, and larger ones that are held out."""

    ladder: Ladder
    fitted: list[Rung]
    targets: list[Rung]

    def ratio(self, target: Rung) -> float:
        return target.params / max(rung.params for rung in self.fitted)


def ladders(folder: str | Path) -> list[Ladder]:
    """All ladders of the folder."""
    folder = Path(folder)
    return [*_gemstones(folder), *_xlstm(folder), *_llama(folder), *_routed(folder)]


def _gemstones(folder: Path) -> list[Ladder]:
    frame = pd.read_csv(folder / "gemstones.csv")
    rungs = []
    for name, rows in frame.groupby("run"):
        tokens = rows["tokens"].to_numpy(float)
        batch = float(tokens[-1] / rows["step"].iloc[-1])
        rungs.append(
            Rung(str(name), float(rows["params"].iloc[0]), tokens, rows["loss"].to_numpy(float),
                 Clock.constant(float(tokens[-1])), batch)
        )  # fmt: skip
    return [Ladder("gemstones", "gemstones", rungs)]


def _xlstm(folder: Path) -> list[Ladder]:
    frame = pd.read_csv(folder / "xlstm_llama_ctx2048.csv")
    meta = pd.read_csv(folder / "meta" / "xlstm_llama_ctx2048.runs.csv").set_index("run")
    rungs = []
    for name, rows in frame.groupby("run"):
        info = meta.loc[name]
        if not info["complete"] or info["planned_steps"] < FEWEST_STEPS:
            continue
        batch = float(info["batch_tokens"])
        lr = pd.Series(rows["lr"].to_numpy()).interpolate(limit_direction="both").to_numpy()
        tokens = rows["tokens"].to_numpy(float)
        loss = rows["loss"].to_numpy(float)
        good = np.isfinite(loss) & np.isfinite(tokens)
        clock = Clock.of(
            np.concatenate([[0.0], tokens]), np.concatenate([[0.0], np.maximum(lr, 0)]),
            float(tokens[-1]), batch, float(lr.max()),
        )  # fmt: skip
        rungs.append(
            Rung(str(name), float(rows["params"].iloc[0]), tokens[good], loss[good], clock, batch)
        )
    return [Ladder("xlstm", "xlstm", rungs)]


def _llama(folder: Path) -> list[Ladder]:
    frame = pd.read_csv(folder / "llama.csv")
    out: dict[str, list[Rung]] = {"llama1": [], "llama2": []}
    for name, rows in frame.groupby("run", sort=False):
        family = "llama1" if "llama1" in str(name) else "llama2"
        error = LLAMA_TOKEN_ERROR if family == "llama1" else 1.0
        tokens = rows["tokens"].to_numpy(float) / error
        end, warmup = float(tokens[-1]), 2000 * 4e6
        u = np.linspace(0, 1, 400)
        rate = np.concatenate([[0.0], 0.1 + 0.9 * (1 + np.cos(np.pi * u)) / 2])
        t = np.concatenate([[0.0], warmup + (end - warmup) * u])
        clock = Clock.of(t, rate, end, 4e6)
        rungs = out[family]
        rungs.append(
            Rung(str(name), float(rows["params"].iloc[0]), tokens, rows["loss"].to_numpy(float),
                 clock, 4e6)
        )  # fmt: skip
    return [Ladder("llama", family, rungs) for family, rungs in out.items()]


def _routed(folder: Path) -> list[Ladder]:
    frame = pd.read_csv(folder / "routed_lms.csv")
    meta = pd.read_csv(folder / "meta" / "routed_lms.runs.csv").set_index("run")
    frame = frame[frame["step"] > 0]
    out = []
    for family in ROUTED:
        kind, _, experts = family.rpartition("-")
        rungs = {}
        for name, rows in frame.groupby("run"):
            info = meta.loc[name]
            if family == "Dense":
                inside = str(name).startswith("Dense") and info["k"] == 1
            else:
                inside = str(name).startswith(f"{kind}-") and info["num_experts"] == int(experts)
                inside = inside and info["k"] == 1
            params = float(rows["params"].iloc[0])
            if not inside or rows["step"].iloc[-1] < 200_000 or (family != "Dense" and
                                                                  params in rungs):  # fmt: skip
                continue
            tokens = rows["step"].to_numpy(float) * ROUTED_BATCH
            rungs[name if family == "Dense" else params] = Rung(
                str(name), params, tokens, rows["loss"].to_numpy(float),
                Clock.constant(float(tokens[-1])), ROUTED_BATCH,
            )  # fmt: skip
        out.append(Ladder("routed", family, list(rungs.values())))
    return out


def cuts(ladder: Ladder) -> list[Cut]:
    """Cuts of a ladder: all sizes up to each of a few; two sizes at least are fitted."""
    sizes = sorted({rung.params for rung in ladder.rungs})
    levels = [[sizes[0]]]
    for size in sizes[1:]:
        if size > 1.3 * levels[-1][0]:
            levels.append([])
        levels[-1].append(size)
    edges = [level[-1] for level in levels[1:-1]]
    if len(edges) > MOST_CUTS:
        edges = [edges[k] for k in np.linspace(0, len(edges) - 1, MOST_CUTS).round().astype(int)]
    out = []
    for edge in edges:
        fitted = [rung for rung in ladder.rungs if rung.params <= edge]
        larger = sorted((r for r in ladder.rungs if r.params > edge), key=lambda r: r.params)
        if len(larger) > MOST_TARGETS:
            pick = np.linspace(0, len(larger) - 1, MOST_TARGETS).round().astype(int)
            larger = [larger[k] for k in pick]
        out.append(Cut(ladder, fitted, larger))
    return out


def growing(ladder: Ladder) -> Ladder | None:
    """The ladder cut to lengths in proportion to the size (D ~ N); constant rates only."""
    if any(rung.clock.kind != "constant" for rung in ladder.rungs):
        return None
    top = max(rung.params for rung in ladder.rungs)
    rungs = []
    for rung in ladder.rungs:
        end = rung.end * rung.params / top
        keep = rung.tokens <= end * 1.0001
        if keep.sum() >= 6:
            tokens = rung.tokens[keep]
            rungs.append(
                Rung(rung.name, rung.params, tokens, rung.loss[keep],
                     Clock.constant(float(tokens[-1]), rung.clock.warmup), rung.batch)
            )  # fmt: skip
    sizes = {round(np.log(rung.params) / 0.15) for rung in rungs}
    return Ladder(ladder.source, f"{ladder.family}, D ~ N", rungs) if len(sizes) >= 3 else None
