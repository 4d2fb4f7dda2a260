"""Loss laws: one file a law, and this registry.

To add a law, write ``lossfit/laws/NAME.py`` with a `Law` called ``LAW`` and add NAME below.
"""

from __future__ import annotations

from importlib import import_module

from ..errors import DataError
from ._law import Law, Linear, Nonlinear, constant

__all__ = ["NAMES", "Law", "Linear", "Nonlinear", "constant", "get"]

NAMES: tuple[str, ...] = ("power", "power_linear", "power_offset", "power_linear_offset")


def get(law: str | Law) -> Law:
    """The law of that name; a `Law` is returned as it is.

    Raises
    ------
    DataError
        If there is no law of that name.
    """
    if isinstance(law, Law):
        return law
    if law not in NAMES:
        raise DataError(f"no law is called {law!r}; there are {', '.join(NAMES)}")
    found = import_module(f"{__name__}.{law}").LAW
    assert isinstance(found, Law)
    return found
