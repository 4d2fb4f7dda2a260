"""Power law plus a linear decrease: E + A x^-alpha - B x."""

from __future__ import annotations

from typing import Any

from ..kernels.maths import scalar
from . import priors
from ._law import Law, Linear, constant
from .power import ALPHA, AMPLITUDE, ASYMPTOTE, power
from .power import rescale as rescale_power

SLOPE = Linear(
    "B",
    "slope of the linear decrease (its prior is on the whole decrease up to the window's end)",
    priors.normal(0.0, 1.0, relative=True),
)


@scalar
def falling(x: float) -> float:
    """-x, so that B >= 0 is a decrease."""
    return -x


def rescale(draws: dict[str, Any], x_ref: Any) -> dict[str, Any]:
    """Amplitude and slope for x in the units of the axis."""
    return {**rescale_power(draws, x_ref), "B": draws["B"] / x_ref}


LAW = Law(
    name="power_linear",
    formula="E + A x^-alpha - B x",
    doc="Power law, then an almost linear decrease: the shape of the LLaMA curves. It describes; "
    "far beyond the data the line takes the loss through any floor.",
    linear=(ASYMPTOTE, AMPLITUDE, SLOPE),
    columns=(constant, power, falling),
    nonlinear=(ALPHA,),
    to_axis_units=rescale,
    typical={"E": 1.5, "A": 0.3, "B": 0.06, "alpha": 0.5},
)
