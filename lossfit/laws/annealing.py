"""Power law in the cumulative learning rate, and a response to changes of it: a fixed grid."""

from __future__ import annotations

import math

from ._schedule_law import GridLaw, ResponseStrength, Unit

ALPHAS = (0.15, 0.45, 0.75)
SIZES = (0.02, 0.06, 0.18)
TAUS = ((100.0, 1.0), (400.0, 1.0), (1600.0, 0.5))  # steps, and prior weights
POWERS = ((0.5, 2.0), (0.8, 1.0))


def _normal(value: float, mean: float, sd: float) -> float:
    return math.exp(-0.5 * ((value - mean) / sd) ** 2)


STRENGTH = ResponseStrength(
    0.19, (0.25, 0.85, 1.2), (0.8, 0.2, 0.2), (0.2, 0.4, 0.4), share=0.19 / 1.5, slopes=3.0
)

LAW = GridLaw(
    name="annealing",
    formula="Lc - a (1 - (x/xc)^-alpha)/alpha - B (D - Dc) + g",
    doc=(
        "Power law in the cumulative learning rate x (the integral of lr/peak) written about the "
        "last point, a concave response D of the loss to changes of the learning rate with a "
        "delay, and a Brownian discrepancy g in log x that starts at the last point and grows with "
        "the local slope."
    ),
    alphas=ALPHAS,
    alpha_weights=tuple(_normal(a, 0.45, 0.17) for a in ALPHAS),
    discrepancies=SIZES,
    discrepancy_weights=tuple(_normal(math.log(kb), math.log(0.04), 0.6) for kb in SIZES),
    units=tuple(
        Unit("annealing", tau, power, weight=share * weight)
        for power, weight in POWERS
        for tau, share in TAUS
    ),
    strength=STRENGTH,
    first=0.35,
    bins=40,
    temper=1.5,
    slope_sd=3.0,
    future=0.1,
    future_unknown=0.2,
    drift=0.75,
    drift_from=2.0,
    doubt=2.0,
)
