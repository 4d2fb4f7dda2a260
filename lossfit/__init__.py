"""Bayesian fits of loss laws to training-loss curves.

See the README for a first answer; `load` (or `Runs.from_frame`), `fit` and `extrapolate` are where
most scripts begin.  Everything below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._base.errors import DataError, DeviceError, LossfitWarning

if TYPE_CHECKING:
    from . import laws, plotting, schedules, surfaces
    from ._base.netcdf import from_netcdf
    from .answers.answer import Answer
    from .answers.extrapolation import extrapolate
    from .answers.tails import Tail, best_tail
    from .answers.what_ifs import WhatIf, what_if
    from .backtests.backtesting import Check, backtest
    from .fits.fitting import fit
    from .fits.posterior import Fit
    from .fits.prior_curves import prior_predictive
    from .forecasts.learning import Priors, learn_priors
    from .ladders import Ladder, fit_ladder
    from .laws import Law, Linear, Nonlinear, priors
    from .monitoring.monitor import Monitor
    from .monitoring.watching import Update, watch
    from .phase_models import Phases, phases
    from .plans import Plan, plan
    from .races import Race, race
    from .reports import Report, report
    from .runs.collection import Runs
    from .runs.run import Run
    from .sources import load
    from .surfaces import Surface, fit_surface, fit_surfaces
    from .sweep import StoreError, StoreWriteError, SweepResult, fit_to, open_store

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Check",
    "DataError",
    "DeviceError",
    "Fit",
    "Ladder",
    "Law",
    "Linear",
    "LossfitWarning",
    "Monitor",
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
    "fit_ladder",
    "fit_surface",
    "fit_surfaces",
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
    "Answer": "answers.answer",
    "Check": "backtests.backtesting",
    "Fit": "fits.posterior",
    "Ladder": "ladders",
    "Law": "laws",
    "Linear": "laws",
    "Monitor": "monitoring.monitor",
    "Nonlinear": "laws",
    "Phases": "phase_models",
    "Plan": "plans",
    "Priors": "forecasts.learning",
    "Race": "races",
    "Report": "reports",
    "Run": "runs.run",
    "Runs": "runs.collection",
    "StoreError": "sweep",
    "StoreWriteError": "sweep",
    "Surface": "surfaces",
    "SweepResult": "sweep",
    "Tail": "answers.tails",
    "Update": "monitoring.watching",
    "WhatIf": "answers.what_ifs",
    "backtest": "backtests.backtesting",
    "best_tail": "answers.tails",
    "extrapolate": "answers.extrapolation",
    "fit": "fits.fitting",
    "fit_ladder": "ladders",
    "fit_surface": "surfaces",
    "fit_surfaces": "surfaces",
    "fit_to": "sweep",
    "from_netcdf": "_base.netcdf",
    "laws": "",
    "learn_priors": "forecasts.learning",
    "load": "sources",
    "open_store": "sweep",
    "phases": "phase_models",
    "plan": "plans",
    "plotting": "",
    "prior_predictive": "fits.prior_curves",
    "priors": "laws",
    "race": "races",
    "report": "reports",
    "schedules": "",
    "surfaces": "",
    "watch": "monitoring.watching",
    "what_if": "answers.what_ifs",
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
