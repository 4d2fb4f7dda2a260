"""Power law with an offset plus a linear decrease: E + A (x + x0)^-alpha - B x."""

from __future__ import annotations

from typing import Any

from ._law import Law, constant
from .power import ALPHA, AMPLITUDE, ASYMPTOTE
from .power_linear import SLOPE, falling
from .power_offset import OFFSET, offset_power
from .power_offset import rescale as rescale_offset


def rescale(draws: dict[str, Any], x_ref: Any) -> dict[str, Any]:
    """Amplitude, offset and slope for x in the units of the axis."""
    return {**rescale_offset(draws, x_ref), "B": draws["B"] / x_ref}


LAW = Law(
    name="power_linear_offset",
    formula="E + A (x + x0)^-alpha - B x",
    doc="Power law with an offset of the axis, plus a linear decrease.",
    linear=(ASYMPTOTE, AMPLITUDE, SLOPE),
    columns=(constant, offset_power, falling),
    nonlinear=(ALPHA, OFFSET),
    to_axis_units=rescale,
    typical={"E": 1.5, "A": 0.3, "B": 0.06, "alpha": 0.5, "x0": 0.005},
)
