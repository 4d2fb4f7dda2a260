"""What a law that responds to the learning rate is: a grid of constants and priors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..kernels.cells import Grid
    from ..kernels.forecast_driver import ResponsePrior


@dataclass(frozen=True)
class Unit:
    """One response to the learning rate, for a drop from the peak to 0 of size 1.

    Attributes
    ----------
    kind : {"annealing", "multi_power"}
    tau : float
        Time constant in steps; for ``multi_power`` C per step at the peak rate.
    power : float
        Exponent p of rho^p; for ``multi_power`` beta.
    gamma : float
        Of ``multi_power`` only.
    weight : float
        Prior weight.

    Examples
    --------
    >>> import lossfit
    >>> law = lossfit.laws.find("annealing")
    >>> sorted({unit.kind for unit in law.units})
    ['annealing']
    """

    kind: str
    tau: float
    power: float
    gamma: float = 0.0
    weight: float = 1.0


@dataclass(frozen=True)
class ResponseStrength:
    """Prior of B, the loss won by taking the learning rate from its peak to 0.

    A mixture of normals with means ``scale * B0`` and standard deviations ``sd * scale * B0``,
    where B0 is `mean`, or less: `share` of the last loss, or `slopes` local slopes.

    Attributes
    ----------
    mean : float
        In nats (the unit of the loss).
    scales, sds, weights : tuple of float
        Components.
    share : float
        Most of the last loss that B0 is.
    slopes : float
        Most of the local slope, in loss per e-fold, that B0 is.

    Examples
    --------
    >>> import lossfit
    >>> strength = lossfit.laws.find("annealing").strength
    >>> len(strength.scales) == len(strength.weights)
    True
    """

    mean: float
    scales: tuple[float, ...]
    sds: tuple[float, ...]
    weights: tuple[float, ...]
    share: float = math.inf
    slopes: float = math.inf

    def components(
        self, level: NDArray[np.float64], unit_weights: tuple[float, ...]
    ) -> ResponsePrior:
        """The mixture for runs whose last loss is `level`.

        Parameters
        ----------
        level : ndarray, shape (n_runs,)
            Last losses, in nats.
        unit_weights : tuple of float
            Prior weights of the law's responses.

        Returns
        -------
        ResponsePrior
            Means, standard deviations and weights of the components, for each run.
        """
        import numpy as np

        from ..kernels.forecast_driver import ResponsePrior

        scales = np.asarray(self.scales, float)
        weights = np.asarray(self.weights, float)
        size = np.full(level.shape, self.mean)
        if self.share < math.inf:
            size = np.minimum(size, np.maximum(self.share * level, 1e-3 * self.mean))
        mean = size[:, None] * scales
        log_weight = np.broadcast_to(np.log(weights / weights.sum()), mean.shape)
        return ResponsePrior(
            mean,
            np.asarray(self.sds, float) * mean,
            np.ascontiguousarray(log_weight),
            size,
            np.full(level.shape, self.slopes),
            np.tile(np.log(np.asarray(unit_weights) / sum(unit_weights)), (len(level), 1)),
        )


@dataclass(frozen=True)
class ScheduleLaw:
    """A loss law that responds to the learning-rate schedule.

    Attributes
    ----------
    name, formula, doc : str
        Name, one-line formula and description.
    first : float
        Share of the data's end before which points are not used.

    Examples
    --------
    >>> import lossfit
    >>> isinstance(lossfit.laws.find("multi_power"), lossfit.laws.ScheduleLaw)
    True
    """

    _stored_as: ClassVar[str] = "law"

    name: str
    formula: str
    doc: str
    first: float


@dataclass(frozen=True)
class GridLaw(ScheduleLaw):
    """A law of one grid of constants and priors, the same for all runs.

    Attributes
    ----------
    name, formula, doc : str
        Name, one-line formula and description.
    first : float
        Share of the data's end before which points are not used.
    alphas, alpha_weights : tuple of float
        Grid of the exponent and its prior weights.
    discrepancies, discrepancy_weights : tuple of float
        Grid of the size kb of the Brownian discrepancy, in local slopes per square root of an
        e-fold of the cumulative learning rate, and its prior weights.
    units : tuple of Unit
        Grid of responses; units that differ in ``tau`` only must be neighbours.
    strength : ResponseStrength
        Prior of B.
    bins : int
        Log-spaced bins, at most.
    temper : float
        Factor on the noise variance of a bin (correlated noise).
    slope_sd : float
        a ~ Normal(s, (slope_sd s)^2), a > 0, with s the local slope.
    future, future_unknown : float
        Relative sd by which the coming response may differ from the past one; the second where the
        schedule is not known.
    drift, drift_from : float
        Size of the part of the discrepancy that opens the band at horizons that were not tested:
        its variance is (drift s)^2 h^5 / 20 at h e-folds beyond the ratio `drift_from`, s the local
        slope.
    doubt : float
        The Brownian part of the past runs on the clock u (1 + doubt u), u = log(xc/x).

    Examples
    --------
    >>> import lossfit
    >>> law = lossfit.laws.find("annealing")
    >>> len(law.alphas) == len(law.alpha_weights)
    True
    """

    alphas: tuple[float, ...]
    alpha_weights: tuple[float, ...]
    discrepancies: tuple[float, ...]
    discrepancy_weights: tuple[float, ...]
    units: tuple[Unit, ...]
    strength: ResponseStrength
    bins: int
    temper: float
    slope_sd: float
    future: float
    future_unknown: float
    drift: float
    drift_from: float
    doubt: float

    @property
    def unit_weights(self) -> tuple[float, ...]:
        """Prior weights of the responses."""
        return tuple(unit.weight for unit in self.units)

    @cached_property
    def grid(self) -> Grid:
        """The constants for the kernels."""
        import numpy as np

        from ..kernels.cells import Grid
        from ..kernels.paths import ANNEALING, MULTI_POWER

        codes = {"annealing": ANNEALING, "multi_power": MULTI_POWER}
        units = [(codes[u.kind], u.tau, u.power, u.gamma) for u in self.units]
        groups = [0]
        for i in range(1, len(units)):
            if (units[i][0], *units[i][2:]) != (units[i - 1][0], *units[i - 1][2:]):
                groups.append(i)
        groups.append(len(units))

        def logs(weights: tuple[float, ...]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            w = np.asarray(weights, float)
            return np.log(w / w.sum())

        return Grid(
            np.array(self.alphas, float),
            logs(self.alpha_weights),
            np.array(self.discrepancies, float),
            logs(self.discrepancy_weights),
            np.array(units, float),
            np.array(groups, np.int64),
            int(self.bins),
            float(self.temper),
            float(self.slope_sd),
            float(self.future),
            float(self.future_unknown),
            float(self.drift),
            math.log(self.drift_from),
            float(self.doubt),
        )
