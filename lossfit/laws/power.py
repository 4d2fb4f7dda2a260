"""Power law with an asymptote: E + A x^-alpha."""

from __future__ import annotations

from typing import Any

from ..kernels.maths import exp, scalar
from . import priors
from ._law import Law, Linear, Nonlinear, constant

ASYMPTOTE = Linear(
    "E", "loss that no amount of training removes", priors.normal(0.0, 2.0, relative=True)
)
AMPLITUDE = Linear(
    "A",
    "amplitude of the power law (its prior is on the term's size at the end of the window)",
    priors.normal(0.0, 2.0, relative=True),
)
# 90 % of the prior lie between 0.1 and 2.6: every exponent published for a loss curve.
ALPHA = Nonlinear("alpha", "exponent of the power law", 0.02, 3.0, priors.lognormal(0.5, 1.0))


@scalar
def power(log_x: float, alpha: float) -> float:
    """x^-alpha."""
    return exp(-alpha * log_x)


def rescale(draws: dict[str, Any], x_ref: Any) -> dict[str, Any]:
    """Amplitude for x in the units of the axis."""
    return {**draws, "A": draws["A"] * x_ref ** draws["alpha"]}


LAW = Law(
    name="power",
    formula="E + A x^-alpha",
    doc="Power law with an asymptote (Hestness et al. 2017, arXiv 1712.00409).",
    linear=(ASYMPTOTE, AMPLITUDE),
    columns=(constant, power),
    nonlinear=(ALPHA,),
    to_axis_units=rescale,
    typical={"E": 1.5, "A": 0.3, "alpha": 0.5},
)
