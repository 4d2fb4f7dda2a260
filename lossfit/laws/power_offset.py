"""Power law of an axis that starts elsewhere: E + A (x + x0)^-alpha."""

from __future__ import annotations

from typing import Any

from ..kernels.maths import exp, log, scalar
from . import priors
from ._law import Law, Nonlinear, constant
from .power import ALPHA, AMPLITUDE, ASYMPTOTE
from .power import rescale as rescale_power

# Negative offsets are real: warm-up steps at a low learning rate hardly count.
OFFSET = Nonlinear(
    "x0",
    "offset of the axis (warm-up, or a restart from trained weights)",
    -0.5,
    3.0,
    priors.normal(0.0, 1.0, relative=True),
    unit="start",
)


@scalar
def offset_power(x: float, alpha: float, x0: float) -> float:
    """(x + x0)^-alpha."""
    return exp(-alpha * log(x + x0))


def rescale(draws: dict[str, Any], x_ref: Any) -> dict[str, Any]:
    """Amplitude and offset for x in the units of the axis."""
    return {**rescale_power(draws, x_ref), "x0": draws["x0"] * x_ref}


LAW = Law(
    name="power_offset",
    formula="E + A (x + x0)^-alpha",
    doc="Power law with an offset of the axis.",
    linear=(ASYMPTOTE, AMPLITUDE),
    columns=(constant, offset_power),
    nonlinear=(ALPHA, OFFSET),
    to_axis_units=rescale,
    typical={"E": 1.5, "A": 0.3, "alpha": 0.5, "x0": 0.005},
)
