"""Loss laws: one file a law, and this registry.

To add a law, write ``lossfit/laws/NAME.py`` with a `Law` called ``LAW`` and add NAME below.
"""

from __future__ import annotations

from importlib import import_module

from ..errors import DataError
from ._law import Law, Linear, Nonlinear, constant
from ._schedule_law import ResponseStrength, ScheduleLaw, Unit

__all__ = [
    "NAMES",
    "SCHEDULE_NAMES",
    "Law",
    "Linear",
    "Nonlinear",
    "ResponseStrength",
    "ScheduleLaw",
    "Unit",
    "constant",
    "find",
    "get",
]

NAMES: tuple[str, ...] = (
    "power",
    "power_linear",
    "power_offset",
    "power_linear_offset",
    "broken_power",
)
"""Laws of one axis, for `lossfit.fit` and `lossfit.extrapolate`."""

SCHEDULE_NAMES: tuple[str, ...] = ("annealing", "multi_power")
"""Laws that respond to the learning-rate schedule, for `lossfit.extrapolate`."""


def get(law: str | Law) -> Law:
    """The law of that name; a `Law` is returned as it is.

    Raises
    ------
    DataError
        If there is no law of that name.
    """
    if isinstance(law, Law):
        return law
    if law in SCHEDULE_NAMES:
        raise DataError(
            f"law {law!r} needs a learning-rate schedule and forecasts only: use "
            f"lossfit.extrapolate(..., laws={law!r}), or fit one of {', '.join(NAMES)}"
        )
    if law not in NAMES:
        raise DataError(f"no law is called {law!r}; there are {', '.join(NAMES)}")
    found = import_module(f"{__name__}.{law}").LAW
    assert isinstance(found, Law)
    return found


def find(law: str | Law | ScheduleLaw) -> Law | ScheduleLaw:
    """The law of either kind of that name; a law is returned as it is.

    Raises
    ------
    DataError
        If there is no law of that name.
    """
    if isinstance(law, ScheduleLaw):
        return law
    if isinstance(law, Law) or law not in SCHEDULE_NAMES:
        if not isinstance(law, Law) and law not in NAMES:
            raise DataError(
                f"no law is called {law!r}; there are {', '.join((*NAMES, *SCHEDULE_NAMES))}"
            )
        return get(law)
    found = import_module(f"{__name__}.{law}").LAW
    assert isinstance(found, ScheduleLaw)
    return found
