"""Loss laws: one file a law, and this registry.

To add a law, write ``lossfit/laws/NAME.py`` with a `Law` called ``LAW`` and add NAME below.
"""

from __future__ import annotations

from importlib import import_module

from .._base.errors import DataError
from ._law import Example, Law, Linear, Nonlinear, constant
from ._schedule_law import GridLaw, ResponseStrength, ScheduleLaw, Unit
from ._surface_law import Published, SurfaceLaw

__all__ = [
    "NAMES",
    "SCHEDULE_NAMES",
    "SURFACE_NAMES",
    "Example",
    "GridLaw",
    "Law",
    "Linear",
    "Nonlinear",
    "Published",
    "ResponseStrength",
    "ScheduleLaw",
    "SurfaceLaw",
    "Unit",
    "constant",
    "find",
    "get",
    "surface_law",
]

NAMES: tuple[str, ...] = (
    "power",
    "power_linear",
    "power_offset",
    "power_linear_offset",
    "broken_power",
)
"""Laws of one axis, for `lossfit.fit` and `lossfit.extrapolate`."""

SCHEDULE_NAMES: tuple[str, ...] = ("learned", "annealing", "multi_power")
"""Laws that respond to the learning-rate schedule, for `lossfit.extrapolate`."""

SURFACE_NAMES: tuple[str, ...] = ("coupled", "kaplan", "chinchilla", "data_constrained")
"""Laws of final losses by size and tokens, for `lossfit.fit_surface` and `lossfit.plan`."""


def get(law: str | Law) -> Law:
    """The law of one axis of that name; a `Law` is returned as it is.

    Parameters
    ----------
    law : str or Law
        A name in ``lossfit.laws.NAMES``, or a law.

    Returns
    -------
    Law
        A law of one axis, for `lossfit.fit`.

    Raises
    ------
    DataError
        If there is none of that name.

    Examples
    --------
    >>> import lossfit
    >>> lossfit.laws.get("power").formula
    'E + A x^-alpha'
    """
    name = law.name if isinstance(law, ScheduleLaw) else law
    if isinstance(name, str) and name in SCHEDULE_NAMES:
        raise DataError(
            f"law {name!r} needs a learning-rate schedule and forecasts only: use "
            f"lossfit.extrapolate(..., laws={name!r}), or fit one of {', '.join(NAMES)}"
        )
    law_of_name = _find(law, NAMES)
    assert isinstance(law_of_name, Law)
    return law_of_name


def find(law: str | Law | ScheduleLaw) -> Law | ScheduleLaw:
    """The law of either kind of that name; a law is returned as it is.

    Parameters
    ----------
    law : str, Law or ScheduleLaw
        A name in ``lossfit.laws.NAMES`` or ``lossfit.laws.SCHEDULE_NAMES``, or a law.

    Returns
    -------
    Law or ScheduleLaw
        A law for `lossfit.extrapolate`.

    Raises
    ------
    DataError
        If there is no law of that name.

    Examples
    --------
    >>> import lossfit
    >>> lossfit.laws.find("annealing").name
    'annealing'
    """
    return _find(law, (*NAMES, *SCHEDULE_NAMES))


def _find(law: str | Law | ScheduleLaw, names: tuple[str, ...]) -> Law | ScheduleLaw:
    if isinstance(law, (Law, ScheduleLaw)):
        return law
    if law not in names:
        raise DataError(f"no law is called {law!r}; there are {', '.join(names)}")
    registered: Law | ScheduleLaw = import_module(f"{__name__}.{law}").LAW
    return registered


def surface_law(law: str | SurfaceLaw) -> SurfaceLaw:
    """The law of final losses of that name; a law is returned as it is.

    Parameters
    ----------
    law : str or SurfaceLaw
        A name in ``lossfit.laws.SURFACE_NAMES``, or a law.

    Returns
    -------
    SurfaceLaw
        A law of final losses, for `lossfit.fit_surface`.

    Raises
    ------
    DataError
        If there is none of that name.

    Examples
    --------
    >>> import lossfit
    >>> sorted(lossfit.laws.surface_law("chinchilla").parameters)
    ['A', 'B', 'E', 'alpha', 'beta']
    """
    if isinstance(law, SurfaceLaw):
        return law
    if law not in SURFACE_NAMES:
        raise DataError(
            f"no law of final losses is called {law!r}; there are {', '.join(SURFACE_NAMES)}"
        )
    registered: SurfaceLaw = import_module(f"{__name__}.{law}").LAW
    return registered
