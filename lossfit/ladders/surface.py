"""A ladder as a surface of final losses: what `lossfit.plan` searches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError
from .._base.ragged import Floats, Ints
from ..laws import coupled
from ..surfaces.constants import Seen
from ..surfaces.result import Surface
from .frontier import ends_at
from .parts import LadderParts

FLOPS_PER_PARAM_TOKEN = 6.0
SIZES, BUDGETS = 9, 7
DOWN, UP = 0.5, 10.0  # factors beyond the ladder's sizes and lengths


@dataclass(frozen=True, eq=False)
class Lattice:
    """What has to be added to the law at sizes and tokens, known at places of a lattice."""

    # log_n, log_d: shape (s,) and (b,)
    log_n: Floats
    log_d: Floats
    values: Floats  # shape (draws, s, b)

    def applied(self, loss: Floats, params: ArrayLike, tokens: ArrayLike) -> Floats:
        """Losses of the law (draws, ...) with it; linear in both logarithms, flat beyond."""
        n, d = np.broadcast_arrays(np.asarray(params, float), np.asarray(tokens, float))
        shape = loss.shape
        each = n.ndim == len(shape)
        place = [np.broadcast_to(v, shape if each else shape[1:]) for v in (np.log(n), np.log(d))]
        flat = [v.reshape(shape[0], -1) if each else v.reshape(1, -1) for v in place]
        (i, a), (j, b) = (
            _below(nodes, v) for nodes, v in zip((self.log_n, self.log_d), flat, strict=True)
        )
        row = np.arange(shape[0])[:, None]
        v = self.values
        low = (1 - b) * v[row, i, j] + b * v[row, i, j + 1]
        high = (1 - b) * v[row, i + 1, j] + b * v[row, i + 1, j + 1]
        return np.asarray(loss + ((1 - a) * low + a * high).reshape(shape))


def _below(nodes: Floats, at: Floats) -> tuple[Ints, Floats]:
    place = np.clip(np.interp(at, nodes, np.arange(len(nodes))), 0, len(nodes) - 1)
    below = np.minimum(place.astype(np.int64), len(nodes) - 2)
    return below, place - below


def surface_of(ladder: LadderParts, prob: float, draws: int) -> Surface:
    """Final losses of every size planned to end at every number of tokens.

    The schedule is the largest run's, stretched to each length.
    """
    if ladder.axis != "tokens":
        raise DataError("a plan counts tokens: fit the ladder on tokens")
    sizes = np.array([rung.params for rung in ladder.rungs])
    ends = np.array([rung.end for rung in ladder.rungs])
    n = np.geomspace(DOWN * sizes.min(), UP * sizes.max(), SIZES)
    d = np.geomspace(DOWN * ends.min(), UP * ends.max(), BUDGETS)
    places = [v.ravel() for v in np.meshgrid(n, d, indexing="ij")]
    found = ends_at(ladder, places[0], places[1], None, draws).T.reshape(draws, SIZES, BUDGETS)
    whole = ladder.readings.whole
    theta = whole.theta[np.linspace(0, len(whole.theta) - 1, draws).round().astype(int)]
    alpha, beta = np.exp(theta[:, 3]), np.exp(theta[:, 4])
    values = {
        "E": whole.level * np.exp(theta[:, 0]),
        "A": whole.level * np.exp(theta[:, 1] + alpha * whole.centre[0]),
        "B": whole.level * np.exp(theta[:, 2] + beta * whole.centre[1]),
        "alpha": alpha,
        "beta": beta,
        "gamma": np.exp(theta[:, 5]),
        "sigma": np.exp(theta[:, 10] + whole.scales[3]),
    }
    wide = {name: v[:, None, None] for name, v in values.items() if name != "sigma"}
    law = coupled.LAW.evaluate(wide, n[None, :, None], d[None, None, :], None)
    cost = FLOPS_PER_PARAM_TOKEN * max(rung.params * rung.end for rung in ladder.rungs)
    return Surface(
        law=coupled.LAW,
        table=None,
        values=values,
        noise="gaussian",
        method="ladder",
        ess=float(draws),
        prob=prob,
        random_seed=ladder.random_seed,
        source=f"a ladder of {len(ladder.rungs)} runs, each size planned to end at its tokens",
        summarised=Seen(
            (float(sizes.min()), float(sizes.max())), (float(ends.min()), float(ends.max())), cost
        ),
        missed=Lattice(np.log(n), np.log(d), found - law),
    )
