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

__all__ = ["Prior", "checked", "inverse_gamma", "lognormal", "normal", "uniform"]

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

    Examples
    --------
    >>> import lossfit
    >>> lossfit.priors.lognormal(0.3, 1).kind
    'lognormal'
    """

    kind: str
    first: float
    second: float
    relative: bool = False

    def __str__(self) -> str:
        star = " x the run's own scale" if self.relative else ""
        return f"{self.kind}({self.first:g}, {self.second:g}){star}"


def _number(value: float, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"a prior's {what} must be a number, got {value!r}") from None
    if math.isnan(number) or abs(number) > MOST:
        raise DataError(f"a prior's {what} must lie within +-{MOST:g}, got {value!r}")
    return number


def _positive(value: float, what: str) -> float:
    number = _number(value, what)
    if not number >= 1 / MOST:
        raise DataError(f"a prior's {what} must be a positive number, got {value!r}")
    return number


def checked(kind: str, first: float, second: float, relative: bool = False) -> Prior:
    """A prior of a kind by name, checked as by the function of that name.

    Raises `DataError`: there is no such kind, or its numbers do not suit it.
    """
    makers = {
        "uniform": uniform,
        "normal": normal,
        "lognormal": lognormal,
        "inverse_gamma": inverse_gamma,
    }
    if kind not in makers:
        raise DataError(f"no prior is called {kind!r}; there are {', '.join(makers)}")
    return makers[kind](first, second, relative=bool(relative))


def uniform(low: float, high: float, *, relative: bool = False) -> Prior:
    """Uniform on (low, high).

    Parameters
    ----------
    low : float
        Lower end.
    high : float
        Upper end, above `low`.
    relative : bool
        Whether both are multiples of the run's own scale of that parameter.

    Returns
    -------
    Prior
        For `Nonlinear` or ``priors=``.

    Examples
    --------
    >>> import lossfit
    >>> lossfit.priors.uniform(0.1, 0.9).kind
    'uniform'
    """
    first, second = _number(low, "low"), _number(high, "high")
    if not first < second:
        raise DataError(f"a uniform prior needs low < high, got ({low!r}, {high!r})")
    return Prior("uniform", first, second, relative)


def normal(mean: float, sd: float, *, relative: bool = False) -> Prior:
    """Normal; cut to positive values where the parameter must be positive.

    For a linear parameter the standard deviation holds at ``sigma`` equal to the noise prior's
    scale and grows in proportion to ``sigma``: the conjugate form that lets the parameter be
    integrated out in closed form.

    Parameters
    ----------
    mean : float
        Mean.
    sd : float
        Standard deviation, above 0.
    relative : bool
        Whether both are multiples of the run's own scale: for a linear parameter, the loss at
        the end of the window.

    Returns
    -------
    Prior
        For `Linear`, `Nonlinear` or ``priors=``.

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2")
    >>> narrow = {"E": lossfit.priors.normal(1.4, 0.2)}
    >>> fit = lossfit.fit(runs, law="power", axis="tokens", priors=narrow, draws=100)
    """
    return Prior("normal", _number(mean, "mean"), _positive(sd, "sd"), relative)


def lognormal(median: float, sigma: float, *, relative: bool = False) -> Prior:
    """Log-normal with the given median and standard deviation of the logarithm.

    Parameters
    ----------
    median : float
        Median, above 0.
    sigma : float
        Standard deviation of the natural logarithm, above 0.
    relative : bool
        Whether the median is a multiple of the run's own scale of that parameter.

    Returns
    -------
    Prior
        For `Nonlinear` or ``priors=``.

    Examples
    --------
    >>> import lossfit
    >>> alpha = lossfit.priors.lognormal(0.35, 0.6)
    >>> alpha.first, alpha.second
    (0.35, 0.6)
    """
    return Prior("lognormal", _positive(median, "median"), _positive(sigma, "sigma"), relative)


def inverse_gamma(shape: float, scale: float, *, relative: bool = False) -> Prior:
    """Noise prior: sigma**2 ~ InverseGamma(shape, shape * scale**2).

    ``scale`` is the typical noise standard deviation; ``2 * shape`` is how many observations the
    prior is worth.

    Parameters
    ----------
    shape : float
        Half of the number of observations that the prior is worth, above 0.
    scale : float
        Typical standard deviation of the noise, above 0.
    relative : bool
        Whether `scale` is a multiple of the run's own noise, estimated from its points.

    Returns
    -------
    Prior
        For ``sigma=`` of `Law`, or ``priors={"sigma": ...}``.

    Examples
    --------
    >>> import lossfit
    >>> noise = lossfit.priors.inverse_gamma(2, 0.01)
    >>> law = lossfit.laws.get("power").with_priors({"sigma": noise})
    """
    return Prior("inverse_gamma", _positive(shape, "shape"), _positive(scale, "scale"), relative)
