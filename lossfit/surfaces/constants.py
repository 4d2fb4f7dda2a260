"""Surfaces without a table: published constants, and what the Chinchilla points say.

The posterior of the points is kept as its mean and covariance in the coordinates of
`lossfit.surfaces.target`, in which it is close to normal: quantiles of parameters and losses agree
with those of the fit itself to a few percent of their widths (tests/surfaces/test_surface.py fits
the points again where they are at hand).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .._base.ragged import Floats
from ..laws.chinchilla import EPOCH, HOFFMANN
from ..laws.data_constrained import MUENNIGHOFF

__all__ = ["CONSTANTS", "POINTS", "PUBLISHED", "Seen", "Summary"]

CONSTANTS = {one.name: one for one in (EPOCH, HOFFMANN, MUENNIGHOFF)}


@dataclass(frozen=True)
class Seen:
    """The range of a table: lowest and highest params and tokens, highest training FLOP."""

    params: tuple[float, float]
    tokens: tuple[float, float]
    compute: float


@dataclass(frozen=True)
class Summary:
    """A posterior of Chinchilla's law by its first two moments.

    Attributes
    ----------
    name, source : str
    centre : tuple of float
        Means of log params and log tokens of the rows.
    level : float
        Median loss.
    mean : tuple of float
        Of log E / level, log a, log b (the terms at the centre over the level), log sigma, log
        alpha, log beta, log nu.
    upper : tuple of float
        Upper triangle of their covariance, row by row.
    seen : Seen
    """

    name: str
    source: str
    centre: tuple[float, float]
    level: float
    mean: tuple[float, ...]
    upper: tuple[float, ...]
    seen: Seen

    @property
    def covariance(self) -> Floats:
        """The covariance, shape (7, 7)."""
        out = np.zeros((7, 7))
        out[np.triu_indices(7)] = self.upper
        return np.asarray(out + np.triu(out, 1).T)

    def draw(self, draws: int, rng: np.random.Generator) -> Mapping[str, Floats]:
        """Draws of the parameters in their own units."""
        root = np.linalg.cholesky(self.covariance)
        z = np.exp(np.array(self.mean) + rng.standard_normal((draws, 7)) @ root.T).T
        return {
            "E": self.level * z[0],
            "A": self.level * z[1] * np.exp(z[4] * self.centre[0]),
            "B": self.level * z[2] * np.exp(z[5] * self.centre[1]),
            "alpha": z[4],
            "beta": z[5],
            "sigma": z[3],
            "nu": z[6],
        }


# fit_surface(points, draws=20000, random_seed=0) of benches/surface.py, 240 of 245 points.
POINTS = Summary(
    name="chinchilla",
    source="our posterior from 240 of the points of Hoffmann et al. 2022, figure 4, as read from "
    "the figure by Besiroglu et al. 2024, arXiv 2404.10102 (which leaves out the same five)",
    centre=(20.559282582879277, 23.553231356058664),
    level=2.5969714788717795,
    mean=(-0.362903, -1.917064, -1.913351, -5.501135, -1.064349, -1.020794, 1.031829),
    upper=(
        7.436341e-05, -1.845430e-04, -1.842983e-04, 1.131544e-04, 1.555384e-04, 1.581560e-04,
        3.047275e-04,
        1.144514e-03, -2.330857e-04, -3.395570e-04, -8.953807e-04, 1.497444e-04, -9.111130e-04,
        1.159621e-03, -2.202643e-04, 1.235026e-04, -9.451340e-04, -5.802357e-04,
        7.082844e-03, 2.638817e-04, 2.535199e-04, 1.042062e-02,
        7.255459e-04, -7.643211e-05, 7.159017e-04,
        8.001494e-04, 6.651127e-04,
        3.974476e-02,
    ),
    seen=Seen((5.7334e7, 1.6183e10), (8.1868e8, 3.1775e11), 1.2956e22),
)  # fmt: skip

PUBLISHED: tuple[str, ...] = (POINTS.name, *CONSTANTS)
