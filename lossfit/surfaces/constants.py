"""Surfaces without a table: published constants, and what the Chinchilla points say.

The posterior of the points is kept as draws (tests/surfaces fits the points again where they are at
hand).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np

from .._base.ragged import Floats
from .._base.seeds import run_keys
from ..laws.chinchilla import EPOCH, HOFFMANN
from ..laws.data_constrained import MUENNIGHOFF
from .missed import Missed, Outside

KNOTS = 12  # of each function of what the law misses, that a summary keeps
CONSTANTS = {one.name: one for one in (EPOCH, HOFFMANN, MUENNIGHOFF)}


@dataclass(frozen=True)
class Seen:
    """The range of a table: lowest and highest params and tokens, highest training FLOP."""

    params: tuple[float, float]
    tokens: tuple[float, float]
    compute: float


@dataclass(frozen=True)
class Summary:
    """Draws of a posterior of the coupled law and of what it misses, kept in a file."""

    # name, source, file: ``file`` lies in lossfit/data: a row a draw, of the six coordinates of
    # `lossfit.laws.coupled`, sigma, kappa, and g_N and g_D at `KNOTS` places each, even from the
    # lowest to just below the highest size (token count)
    name: str
    source: str
    file: str
    centre: tuple[float, float]  # means of log params and log tokens of the rows
    level: float  # median loss
    seen: Seen

    def draw(self, draws: int, seed: int) -> tuple[Mapping[str, Floats], Missed]:
        """Draws of the parameters in their own units, and of what the law misses."""
        keys = [int(key) for key in run_keys(seed, ["law", "functions", "last"], "published")]
        with resources.files("lossfit.data").joinpath(self.file).open() as file:
            kept = np.loadtxt(file, delimiter=",", skiprows=1)
        turn = np.random.default_rng(keys[0])
        rounds = -(-draws // len(kept))
        x = kept[np.concatenate([turn.permutation(len(kept)) for _ in range(rounds)])[:draws]]
        theta = x[:, :6]
        alpha, beta = np.exp(theta[:, 3]), np.exp(theta[:, 4])
        parameters = {
            "E": self.level * np.exp(theta[:, 0]),
            "A": self.level * np.exp(theta[:, 1] + alpha * self.centre[0]),
            "B": self.level * np.exp(theta[:, 2] + beta * self.centre[1]),
            "alpha": alpha,
            "beta": beta,
            "gamma": np.exp(theta[:, 5]),
            "sigma": x[:, 6].copy(),
            "kappa": x[:, 7].copy(),
        }
        (n_low, n_high), (d_low, d_high) = (np.log(r) for r in (self.seen.params, self.seen.tokens))
        paths = Outside(
            (float(n_low), float(n_high)), (float(d_low), float(d_high)),
            (x[:, 8 : 8 + KNOTS], x[:, 8 + KNOTS :]), parameters["kappa"], keys[1],
        )  # fmt: skip
        last = np.random.default_rng(keys[2]).standard_t(4, draws)
        missed = Missed(paths, self.centre, self.level, float(np.log(self.seen.compute)), last)
        return parameters, missed


# python -m benches.surface --tables 0 --kept chinchilla_points.csv, 240 of 245 points.
POINTS = Summary(
    name="chinchilla",
    source="our posterior from 240 of the points of Hoffmann et al. 2022, figure 4, as read from "
    "the figure by Besiroglu et al. 2024, arXiv 2404.10102 (which leaves out the same five)",
    file="chinchilla_posterior.csv",
    centre=(20.559282582879277, 23.553231356058664),
    level=2.5969714788717795,
    seen=Seen((5.7334e7, 1.6183e10), (8.1868e8, 3.1775e11), 1.2956e22),
)

PUBLISHED: tuple[str, ...] = (POINTS.name, *CONSTANTS)
