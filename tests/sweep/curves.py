"""Small runs for sweeps, and what a store holds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

import lossfit

POINTS = 40


def frame(count: int = 30, seed: int = 0) -> pd.DataFrame:
    """Runs run000, run001, ... of a power law plus a line, some with fewer points."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(count):
        points = POINTS - 3 * (k % 4)
        step = np.linspace(0.05, 1, points) * 1000 * (1 + k % 3)
        loss = 2 + 0.1 * rng.random() + 0.05 * (step / 1000) ** -0.5 - 0.03 * step / 1000
        loss += rng.normal(0, 0.004, points)
        parts.append(pd.DataFrame({"run": f"run{k:03}", "step": step, "loss": loss}))
    return pd.concat(parts, ignore_index=True)


def runs(count: int = 30) -> lossfit.Runs:
    return lossfit.Runs.from_frame(frame(count))


def contents(store: Path) -> dict[str, str]:
    """A hash of every file by its path in the store."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }
