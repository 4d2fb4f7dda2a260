"""Draws of runs in an order that has their errors together.

Runs of one project err alike: if the law takes too little for one, then for the others too.  Each
run keeps its own draws, every one of them once; only which of them stand in one place is chosen,
by a normal copula: a draw's rank among its run's own, from low curves to high ones, is that of a
sum of a normal that all runs share and one of its own.  The shared part was learned from public
projects (``python -m benches.race_differences``; docs/how_we_checked_it.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._base.seeds import run_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._base.ragged import Floats, Ints

MARKS = (1.25, 2.0, 4.0)  # times a run's data: where its draws are told to be low or high
SHARED = 0.85  # of the variance of the normals that ranks follow


def draw_order(
    curves: Floats,  # shape (R, len(MARKS), D): draws of the runs at the marks
    names: Sequence[str],  # length R
    seed: int,  # a run's order depends on it, its name and its own draws only
    shared: float = SHARED,  # part of the normals' variance that all runs share
) -> Ints:
    """Which of its draws each run has at each place, shape (R, D)."""
    n_draws = curves.shape[2]
    common = _normals(int(run_keys(seed, [""], "together")[0]), n_draws)
    out = np.empty((len(names), n_draws), np.int64)
    height = np.argsort(np.argsort(curves, axis=2, kind="stable"), axis=2).sum(axis=1)
    for r, key in enumerate(run_keys(seed, names, "apart").tolist()):
        score = shared**0.5 * common + (1 - shared) ** 0.5 * _normals(key, n_draws)
        out[r, np.argsort(score, kind="stable")] = np.argsort(height[r], kind="stable")
    return out


def _normals(key: int, n: int) -> Floats:
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(n)
