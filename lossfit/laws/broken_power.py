"""Smoothly broken power law: the exponent changes once, at d."""

from __future__ import annotations

from typing import Any

from ..kernels.maths import exp, log, scalar
from . import priors
from ._law import Law, Nonlinear, constant
from .power import ALPHA, AMPLITUDE, ASYMPTOTE

# Most curves do not tell how sharp their break is.  With f = 0.25, 10 to 90 % of the change
# of the exponent take a factor exp(4.4 f) = 3 of the axis.
WIDTH = 0.25

BREAK = Nonlinear("d", "where the exponent changes", 0.01, 3.0, priors.lognormal(0.4, 1.0))
# A factor and not a difference: both exponents are positive whatever it is.
RATIO = Nonlinear(
    "r",
    "exponent after the break divided by alpha; 1 is no break",
    0.1,
    10.0,
    priors.lognormal(1.0, 0.7),
)


@scalar
def broken_power(log_x: float, alpha: float, d: float, r: float) -> float:
    """x^-alpha ((1 + (x/d)^(1/f)) / (1 + d^(-1/f)))^(-c f) with c = (r - 1) alpha; 1 at x = 1."""
    log_d = log(d)
    bend = log((1.0 + exp((log_x - log_d) / WIDTH)) / (1.0 + exp(-log_d / WIDTH)))
    return exp(-alpha * (log_x + (r - 1.0) * WIDTH * bend))


def rescale(draws: dict[str, Any], x_ref: Any) -> dict[str, Any]:
    """Break and amplitude for x in the units of the axis, as the formula has them."""
    alpha, d, r = draws["alpha"], draws["d"], draws["r"]
    at_end = (1.0 + d ** (-1.0 / WIDTH)) ** ((r - 1.0) * alpha * WIDTH)
    return {**draws, "d": d * x_ref, "A": draws["A"] * at_end * x_ref**alpha}


LAW = Law(
    name="broken_power",
    formula="E + A x^-alpha (1 + (x/d)^(1/f))^(-c f), c = (r - 1) alpha, f = 0.25",
    doc="Power law whose exponent changes smoothly from alpha to r alpha about d (Caballero et al. "
    "2022, arXiv 2210.14891, with one break). Three nonlinear parameters: the ensemble sampler.",
    linear=(ASYMPTOTE, AMPLITUDE),
    columns=(constant, broken_power),
    nonlinear=(ALPHA, BREAK, RATIO),
    to_axis_units=rescale,
    typical={"E": 1.5, "A": 0.3, "alpha": 0.3, "d": 0.3, "r": 2.5},
)
