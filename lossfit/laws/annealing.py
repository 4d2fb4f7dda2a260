"""Power law in LR time, response to the learning rate, Brownian discrepancy: the default."""

from __future__ import annotations

import math

from ._schedule_law import ResponseStrength, ScheduleLaw, Unit

__all__ = ["LAW"]

ALPHAS = (0.03, 0.08, 0.14, 0.20, 0.27, 0.34, 0.42, 0.50, 0.60, 0.72, 0.86, 1.05)
TAUS = (30.0, 150.0, 600.0, 2500.0, 10000.0)
DISCREPANCIES = tuple((kb, ki) for kb in (0.02, 0.1, 0.4) for ki in (0.03, 0.12, 0.5))


def _normal(value: float, mean: float, sd: float) -> float:
    return math.exp(-0.5 * ((value - mean) / sd) ** 2)


def _spacing(grid: tuple[float, ...]) -> list[float]:
    """Share of the axis that each node stands for."""
    inner = [(b - a) / 2 for a, b in zip(grid, grid[2:], strict=False)]
    return [grid[1] - grid[0], *inner, grid[-1] - grid[-2]]


LAW = ScheduleLaw(
    name="annealing",
    formula="Lc - a (1 - (x/xc)^-alpha)/alpha - B (D - Dc) + g",
    doc=(
        "Power law in LR time x (the integral of lr/peak) written about the last point, a concave "
        "response D of the loss to changes of the learning rate with a delay, and a Brownian "
        "discrepancy g in log t that starts at the last point and grows with the local slope."
    ),
    alphas=ALPHAS,
    alpha_weights=tuple(
        _normal(a, 0.40, 0.20) * w for a, w in zip(ALPHAS, _spacing(ALPHAS), strict=True)
    ),
    discrepancies=DISCREPANCIES,
    discrepancy_weights=tuple(
        _normal(math.log(kb), math.log(0.05), 0.5) * _normal(math.log(ki), math.log(0.1), 0.8)
        for kb, ki in DISCREPANCIES
    ),
    units=tuple(Unit("annealing", tau, 0.65) for tau in TAUS),
    strength=ResponseStrength(0.195, 0.30, (0.6, 1.0, 1.7), (1.0, 2.0, 1.0), low_loss=1.5),
    first=0.35,
    bins=40,
    temper=2.0,
    slope_sd=3.0,
    future=0.15,
)
