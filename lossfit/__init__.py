"""Bayesian fits of loss laws to training-loss curves.

See the README for a first answer; `load` (or `Runs.from_frame`), `fit` and `extrapolate` are where
most scripts begin.  Everything below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import DataError, DeviceError, LossfitWarning

if TYPE_CHECKING:
    from . import laws, plotting, priors, schedules, surfaces
    from .backtesting import Check, backtest
    from .extrapolation import Answer, extrapolate
    from .fitting import fit
    from .laws import Law, Linear, Nonlinear
    from .learning import Priors, learn_priors
    from .phasing import Phases, phases
    from .planning import Plan, plan
    from .posterior import Fit, from_netcdf
    from .prior_curves import prior_predictive
    from .racing import Race, race
    from .reporting import Report, report
    from .rescheduling import Tail, WhatIf, best_tail, what_if
    from .runs import Run, Runs
    from .sources import load
    from .surfaces import Surface, fit_surface
    from .sweep import StoreError, StoreWriteError, SweepResult, fit_to, open_store
    from .watching import Update, watch

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
    "Phases",
    "Plan",
    "Priors",
    "Race",
    "Report",
    "Run",
    "Runs",
    "StoreError",
    "StoreWriteError",
    "Surface",
    "SweepResult",
    "Tail",
    "Update",
    "WhatIf",
    "__version__",
    "backtest",
    "best_tail",
    "extrapolate",
    "fit",
    "fit_surface",
    "fit_to",
    "from_netcdf",
    "laws",
    "learn_priors",
    "load",
    "open_store",
    "phases",
    "plan",
    "plotting",
    "prior_predictive",
    "priors",
    "race",
    "report",
    "schedules",
    "surfaces",
    "watch",
    "what_if",
]

# Public names and the module each is found in ("" for a module of its own).
_HOMES = {
    "Answer": "extrapolation",
    "Check": "backtesting",
    "Fit": "posterior",
    "Law": "laws",
    "Linear": "laws",
    "Nonlinear": "laws",
    "Phases": "phasing",
    "Plan": "planning",
    "Priors": "learning",
    "Race": "racing",
    "Report": "reporting",
    "Run": "runs",
    "Runs": "runs",
    "StoreError": "sweep",
    "StoreWriteError": "sweep",
    "Surface": "surfaces",
    "SweepResult": "sweep",
    "Tail": "rescheduling",
    "Update": "watching",
    "WhatIf": "rescheduling",
    "backtest": "backtesting",
    "best_tail": "rescheduling",
    "extrapolate": "extrapolation",
    "fit": "fitting",
    "fit_surface": "surfaces",
    "fit_to": "sweep",
    "from_netcdf": "posterior",
    "laws": "",
    "learn_priors": "learning",
    "load": "sources",
    "open_store": "sweep",
    "phases": "phasing",
    "plan": "planning",
    "plotting": "",
    "prior_predictive": "prior_curves",
    "priors": "",
    "race": "racing",
    "report": "reporting",
    "schedules": "",
    "surfaces": "",
    "watch": "watching",
    "what_if": "rescheduling",
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
