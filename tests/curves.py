"""Synthetic runs for the tests of fits."""

from __future__ import annotations

import numpy as np

from lossfit import Runs


def power_runs(
    n_runs: int = 3,
    seed: int = 0,
    *,
    axis: str = "step",
    points: int = 60,
    end: float = 1000.0,
    noise: float = 0.01,
    slope: float = 0.0,
    ragged: bool = True,
    **known: object,
) -> Runs:
    """Power laws with noise; runs get 7 points more, one after the other, if ragged."""
    rng = np.random.default_rng(seed)
    x, loss, lengths = [], [], []
    for r in range(n_runs):
        n = points + 7 * r * ragged
        share = np.arange(1, n + 1) / n
        alpha, floor = rng.uniform(0.2, 0.6), rng.uniform(1.5, 3)
        curve = floor + rng.uniform(0.3, 1) * share**-alpha - slope * share
        x.append(end * share)
        loss.append(curve + rng.normal(0, noise, n))
        lengths.append(n)
    names = [f"run{r}" for r in range(n_runs)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Runs.from_arrays(axis, np.concatenate(x), np.concatenate(loss), offsets, names, **known)
