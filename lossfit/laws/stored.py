"""Laws in files: by their name and priors, since a file cannot hold their functions."""

from __future__ import annotations

from typing import Any

from .._base.errors import DataError
from . import NAMES, SCHEDULE_NAMES, SURFACE_NAMES, Law, find, surface_law
from .priors import Prior


def packed(law: Any) -> dict[str, Any]:
    """Name, formula, parameters and priors."""
    return {
        "name": law.name,
        "formula": law.formula,
        "parameters": list(getattr(law, "parameters", ())),
        "priors": priors_of(law) if isinstance(law, Law) else {},
    }


def priors_of(law: Law) -> dict[str, Prior]:
    """Priors of all parameters, sigma last."""
    nonlinear = {p.name: p.prior for p in law.nonlinear}
    return nonlinear | {p.name: p.prior for p in law.linear} | {"sigma": law.sigma}


def registered(name: str) -> Any:
    """Lossfit's own law of that name, or None."""
    if name in (*NAMES, *SCHEDULE_NAMES):
        return find(name)
    return surface_law(name) if name in SURFACE_NAMES else None


def unpacked(text: dict[str, Any], given: Any = None) -> Any:
    """The law, with the priors that it had.

    Raises `DataError`: a law that is none of lossfit's own and was not given, or another one.
    """
    own = registered(text["name"])
    law = own
    if own is None or own.formula != text["formula"]:
        if given is None:
            raise DataError(
                f"the law {text['name']!r} of the file is none of lossfit's own; a file cannot "
                f"hold its functions, so give it: from_netcdf(path, law=...)"
            )
        law = given
    elif isinstance(own, Law) and given is not None:
        law = given
    if list(getattr(law, "parameters", ())) != list(text["parameters"]):
        raise DataError(
            f"the law {law.name!r} has parameters {', '.join(law.parameters)}, the one of the file "
            f"has {', '.join(text['parameters'])}: give the law that it was made with"
        )
    if not isinstance(law, Law):
        return law
    return law.with_priors(text["priors"])
