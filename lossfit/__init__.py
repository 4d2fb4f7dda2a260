"""Bayesian fits of loss laws to training-loss curves.

See the README for a first answer; `load` (or `Runs.from_frame`), `fit` and `extrapolate` are where
most scripts begin.  Everything below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import DataError, DeviceError, LossfitWarning

if TYPE_CHECKING:
    from . import laws, plotting, priors, schedules
    from .backtesting import Check, backtest
    from .extrapolation import Answer, extrapolate
    from .fitting import fit
    from .laws import Law, Linear, Nonlinear
    from .learning import Priors, learn_priors
    from .posterior import Fit, from_netcdf
    from .prior_curves import prior_predictive
    from .runs import Run, Runs
    from .sources import load

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Check",
    "DataError",
    "DeviceError",
    "Fit",
    "Law",
    "Linear",
    "LossfitWarning",
    "Nonlinear",
    "Priors",
    "Run",
    "Runs",
    "__version__",
    "backtest",
    "extrapolate",
    "fit",
    "from_netcdf",
    "laws",
    "learn_priors",
    "load",
    "plotting",
    "prior_predictive",
    "priors",
    "schedules",
]

# Public names and the module each is found in ("" for a module of its own).
_HOMES = {
    "Answer": "extrapolation",
    "Check": "backtesting",
    "Fit": "posterior",
    "Law": "laws",
    "Linear": "laws",
    "Nonlinear": "laws",
    "Priors": "learning",
    "Run": "runs",
    "Runs": "runs",
    "backtest": "backtesting",
    "extrapolate": "extrapolation",
    "fit": "fitting",
    "from_netcdf": "posterior",
    "laws": "",
    "learn_priors": "learning",
    "load": "sources",
    "plotting": "",
    "prior_predictive": "prior_curves",
    "priors": "",
    "schedules": "",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if not home:
        return import_module(f".{name}", __name__)
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
