"""A surface that is held to a few runs which contradict it: its shape, their level.

    log L(N, D) = log L_surface(N, D) + c + a(log N) + b(log D)

c is any number; a and b are straight lines that bend a little (integrated Brownian motions), whose
scale is by how much the surfaces of public tables differ in shape.  Given the ends of the runs all
three are normal, so that the answer has the runs' level at the runs and grows wider away from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .._base.blas import one_blas_thread
from .._base.ragged import Floats
from .._base.seeds import run_keys
from .brownian import integrated
from .constants import Seen
from .missed import AtRows, Correction, along, error_sd, places, root_of
from .table import Table

if TYPE_CHECKING:
    from .result import Surface

# Scale of a and b, of log loss per e-fold: the least of .01, .015 and .02 with which intervals held
# 90 % on the other sources, whichever source was left out (benches/at_hand.py).
APART = 0.015
APART_SD = 0.5  # of its logarithm, one number a draw
LEVEL_SD = 1.0  # of c
RECORD = (
    "of surfaces held to one or two runs such 90 % intervals held 85 to 99 % of the larger rows of "
    "public tables, at 2 to 100 times the runs' compute (docs/how_we_checked_it.md)"
)


@dataclass(frozen=True, eq=False)
class Anchored(AtRows):
    """What is added to the losses of a surface so that they are those of the runs."""

    inner: Correction | None  # what the surface had itself
    residual: Floats  # shape (draws, k): logarithm of the runs' losses over those of every draw
    sigma: Floats  # shape (draws,): noise of log loss
    seed: int

    @cached_property
    @one_blas_thread()
    def values(self) -> tuple[Floats, Floats]:
        """a, with c in it, and b at the nodes, shape (draws, nodes) each (Matheron's rule)."""
        rng = np.random.default_rng(self.seed)
        draws, k = self.residual.shape
        scale = APART * np.exp(APART_SD * rng.standard_normal((draws, 1)))
        paths, across, inside = [], [], np.zeros((k, k))
        for rows, nodes in zip((self.sizes, self.budgets), self.nodes, strict=True):
            both = np.concatenate([nodes, rows]) - rows.mean()
            covariance = both[:, None] * both + integrated(both, both)
            normal = rng.standard_normal((draws, len(both)))
            paths.append(scale * (normal @ root_of(covariance).T))
            across.append(covariance[: len(nodes), len(nodes) :])
            inside += covariance[len(nodes) :, len(nodes) :]
        level = LEVEL_SD * rng.standard_normal((draws, 1))
        error = self.sigma[:, None] * rng.standard_normal((draws, k))
        gap = self.residual - level - sum(path[:, -k:] for path in paths) - error
        total = scale[:, :, None] ** 2 * inside + LEVEL_SD**2
        total = total + self.sigma[:, None, None] ** 2 * np.eye(k)
        pull = np.linalg.solve(total, gap[:, :, None])[:, :, 0]
        out = [
            path[:, :-k] + scale**2 * (pull @ block.T)
            for path, block in zip(paths, across, strict=True)
        ]
        return out[0] + level + LEVEL_SD**2 * pull.sum(axis=1, keepdims=True), out[1]

    @property
    def record(self) -> str:
        """What is to be said of an interval far outside of the runs."""
        return RECORD

    def applied(self, loss: Floats, params: ArrayLike, tokens: ArrayLike) -> Floats:
        """Losses of the surface's law (draws, ...) with it; see `Missed.applied`."""
        if self.inner is not None:
            loss = self.inner.applied(loss, params, tokens)
        place, other = places(loss.shape, params, tokens)
        sizes, budgets = self.nodes
        a, b = self.values
        moved = along(sizes, a, place) + along(budgets, b, other)
        return np.asarray(loss * np.exp(moved).reshape(loss.shape))


def anchored(surface: Surface, table: Table) -> Surface:
    """A surface held to runs that contradict it."""
    loss = surface.losses(table.params, table.tokens, table.unique_tokens)
    seed = int(run_keys(surface.random_seed, ["anchored"], "surface")[0])
    missed = Anchored(
        np.log(table.params), np.log(table.tokens), surface.missed, np.log(table.loss / loss),
        error_sd(surface.noise, surface.values), seed,
    )  # fmt: skip
    seen = surface.seen
    ranges = [(float(v.min()), float(v.max())) for v in (table.params, table.tokens)]
    compute = float(table.compute.max())
    if seen is not None:
        ranges = [
            (min(low, other[0]), max(high, other[1]))
            for (low, high), other in zip(ranges, (seen.params, seen.tokens), strict=True)
        ]
        compute = max(compute, seen.compute)
    return replace(
        surface, table=None, missed=missed, summarised=Seen(ranges[0], ranges[1], compute)
    )
