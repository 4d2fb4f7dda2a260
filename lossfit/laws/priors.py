"""Prior distributions of a law's parameters.

All priors are proper.  A law declares its defaults *relative* to the scales of the run it is fitted
to, so that they mean the same for a loss in nats or in bits and for an axis in steps or in tokens:

* linear parameters (``E``, ``A``, ``B``): multiples of the loss at the end of the window;
* ``sigma``: multiples of a noise estimate from second differences of the run;
* offsets (``x0``): multiples of the axis value at the start of the window.

A prior given by the user is absolute unless it is made with ``relative=True``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._base.errors import DataError

__all__ = ["Prior", "inverse_gamma", "lognormal", "normal", "uniform"]

MOST = 1e60  # a prior's numbers lie within +-this, positive ones above its inverse
# Codes of the nonlinear priors, as the kernels know them.
KIND_CODES = {"uniform": 0, "normal": 1, "lognormal": 2}


@dataclass(frozen=True)
class Prior:
    """One prior distribution; make it with the functions of this module.

    Attributes
    ----------
    kind : {"uniform", "normal", "lognormal", "inverse_gamma"}
        The family.
    first, second : float
        Its two numbers, in the order of the function that made it.
    relative : bool
        Whether the numbers are multiples of the run's own scale of that parameter.
    """

    kind: str
    first: float
    second: float
    relative: bool = False

    def __str__(self) -> str:
        star = " x the run's own scale" if self.relative else ""
        return f"{self.kind}({self.first:g}, {self.second:g}){star}"


def _positive(value: float, what: str) -> float:
    value = float(value)
    if not (value > 0 and math.isfinite(value)):
        raise DataError(f"a prior's {what} must be a positive number, got {value!r}")
    return value


def uniform(low: float, high: float, *, relative: bool = False) -> Prior:
    """Uniform on (low, high)."""
    if not float(low) < float(high):
        raise DataError(f"a uniform prior needs low < high, got ({low!r}, {high!r})")
    return Prior("uniform", float(low), float(high), relative)


def normal(mean: float, sd: float, *, relative: bool = False) -> Prior:
    """Normal; cut to positive values where the parameter must be positive.

    For a linear parameter the standard deviation holds at ``sigma`` equal to the noise prior's
    scale and grows in proportion to ``sigma``: the conjugate form that lets the parameter be
    integrated out in closed form.
    """
    if not math.isfinite(float(mean)):
        raise DataError(f"a normal prior's mean must be finite, got {mean!r}")
    return Prior("normal", float(mean), _positive(sd, "sd"), relative)


def lognormal(median: float, sigma: float, *, relative: bool = False) -> Prior:
    """Log-normal with the given median and standard deviation of the logarithm."""
    return Prior("lognormal", _positive(median, "median"), _positive(sigma, "sigma"), relative)


def inverse_gamma(shape: float, scale: float, *, relative: bool = False) -> Prior:
    """Noise prior: sigma**2 ~ InverseGamma(shape, shape * scale**2).

    ``scale`` is the typical noise standard deviation; ``2 * shape`` is how many observations the
    prior is worth.
    """
    return Prior("inverse_gamma", _positive(shape, "shape"), _positive(scale, "scale"), relative)
