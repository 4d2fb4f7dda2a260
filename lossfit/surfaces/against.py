"""A surface beside finished runs that it was not fitted to, and whether they contradict each other.

Under the surface, what the runs ended at is one more draw of its joint predictive distribution.
Compared are level and slopes in size and tokens.  Their squared Mahalanobis distance from the
middle, with the covariance of draws and runs together, has every rank among those of the draws with
the same probability: the share that lies at least as far out is a p-value without an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from .._base.seeds import run_keys
from .missed import errors
from .table import Table

if TYPE_CHECKING:
    from .result import Surface

LEAST_P = 0.01  # share of alarms where the surface is right
MATERIAL = 0.005  # share of the loss below which a difference moves no plan
FEWEST_DRAWS = 99  # by which that share can be told
HUBER, ROUNDS = 1.5, 8
FEWEST_BEYOND = 2  # runs more than coefficients, from which outliers are told
LEAST_SPAN = 0.1  # sd of log params or log tokens from which a slope is told


@dataclass(frozen=True, eq=False)
class Against:
    """What a surface says of runs, and where they ended."""

    table: Table  # the runs
    # lower, median, upper: shape (k,): the surface's predictive interval of each run's final loss,
    # its noise included
    lower: Floats
    median: Floats
    upper: Floats
    # probability of runs that lie as far out, if the surface is right; NaN without intervals
    p_value: float
    moved: float  # by how much of the loss (root mean square over the runs) level and slopes differ

    @property
    def contradicted(self) -> bool:
        """Whether surface and runs contradict each other."""
        return self.p_value <= LEAST_P and self.moved >= MATERIAL

    @property
    def gap(self) -> Floats:
        """Logarithm of each run's loss over what the surface says, shape (k,)."""
        return np.asarray(np.log(self.table.loss / self.median))

    @property
    def outside(self) -> int:
        """How many runs ended outside of their interval."""
        return int(((self.table.loss < self.lower) | (self.table.loss > self.upper)).sum())


def against(
    surface: Surface,
    table: Table,  # final losses of the runs
    prob: float,  # probability of the intervals
) -> Against:
    """Compare a surface with runs.

    Raises `DataError`: a surface of some draws, but too few to tell, or without the noise of a run.
    """
    loss = surface.losses(table.params, table.tokens, table.unique_tokens)
    if len(loss) == 1:
        none = np.full(len(table), np.nan)
        design = _design(table)
        moved = _moved(_lines(np.log(table.loss / loss), design)[0], design)
        return Against(table, none, loss[0], none, float("nan"), moved)
    if len(loss) < FEWEST_DRAWS:
        raise DataError(
            f"a surface of {len(loss)} draws can't be compared with runs: fit it with at least "
            f"draws={FEWEST_DRAWS}"
        )
    if "sigma" not in surface.values:
        raise DataError(
            "the surface does not state the noise of a run, by which runs could contradict it: fit "
            "it again"
        )
    rng = np.random.default_rng(int(run_keys(surface.random_seed, ["against"], "noise")[0]))
    drawn = np.log(loss) + errors(surface.noise, surface.values, loss.shape, rng)
    lower, median, upper = np.exp(np.quantile(drawn, [(1 - prob) / 2, 0.5, (1 + prob) / 2], axis=0))
    design = _design(table)
    seen = np.log(table.loss / median)
    both = _lines(np.vstack([drawn - np.log(median), seen]), design)
    return Against(table, lower, median, upper, _share_as_far(both), _moved(both[-1], design))


def _design(table: Table) -> Floats:
    """What of the runs is compared, orthonormal columns (k, m): level, and slopes by size, tokens.

    A plan rests on these; a single run far off is its own matter.
    """
    n, d = np.log(table.params), np.log(table.tokens)
    design = np.stack([np.ones(len(n)), n - n.mean(), d - d.mean()], axis=1)
    vectors, values, _ = np.linalg.svd(design, full_matrices=False)
    return np.asarray(vectors[:, values > LEAST_SPAN * np.sqrt(len(n))])


def _lines(gap: Floats, design: Floats) -> Floats:
    """Coefficients (D, m) of gaps (D, k), by Huber's weights where runs are enough for these."""
    out: Floats = gap @ design
    if len(design) < design.shape[1] + FEWEST_BEYOND:
        return out
    for _ in range(ROUNDS):
        left = np.abs(gap - out @ design.T)
        scale = np.maximum(1.4826 * np.median(left, axis=1, keepdims=True), 1e-9)
        weight = np.minimum(1.0, HUBER * scale / np.maximum(left, 1e-12))
        weighted = weight[:, :, None] * design
        right = (weight * gap) @ design
        out = np.asarray(np.linalg.solve(design.T @ weighted, right[:, :, None])[:, :, 0], float)
    return out


def _moved(lines: Floats, design: Floats) -> float:
    return float(np.sqrt((lines**2).sum() / len(design)))


def _share_as_far(lines: Floats) -> float:
    """Share of lines (D + 1, m) that lie as far out as the last, which is what was seen."""
    gap = lines - lines.mean(axis=0)
    values, vectors = np.linalg.eigh(gap.T @ gap / len(gap))
    keep = values > 1e-12 * values[-1]
    turned = (gap @ vectors[:, keep]) / np.sqrt(values[keep])
    far = (turned**2).sum(axis=1)
    return float((far >= far[-1] * (1 - 1e-9)).mean())
