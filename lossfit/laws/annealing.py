"""Power law in LR time, response to the learning rate, Brownian discrepancy: the default."""

from __future__ import annotations

import math

from ._schedule_law import ResponseStrength, ScheduleLaw, Unit

__all__ = ["LAW"]

ALPHAS = (0.1, 0.25, 0.4, 0.55, 0.75)
SIZES = (0.02, 0.05, 0.1, 0.25)


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
        _normal(a, 0.45, 0.20) * w for a, w in zip(ALPHAS, _spacing(ALPHAS), strict=True)
    ),
    discrepancies=SIZES,
    discrepancy_weights=tuple(_normal(math.log(kb), math.log(0.04), 0.6) for kb in SIZES),
    units=tuple(
        Unit("annealing", tau, power, weight=weight * share)
        for power, weight in ((0.5, 2.0), (0.8, 1.0))
        for tau, share in ((100.0, 1.0), (400.0, 1.0), (1600.0, 0.5))
    ),
    strength=ResponseStrength(
        0.19, (0.25, 0.85, 1.2), (0.8, 0.2, 0.2), (0.12, 0.44, 0.44), share=0.127, slopes=3.0
    ),
    first=0.35,
    bins=40,
    temper=1.5,
    slope_sd=3.0,
    future=0.1,
    future_unknown=0.2,
    drift=0.3,
    doubt=2.0,
    narrow=0.9,
)
