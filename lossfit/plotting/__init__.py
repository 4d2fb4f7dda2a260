"""Figures (matplotlib): every function takes an ``ax`` and gives it back.

Colours are those of Okabe and Ito (2008), told apart by readers with any colour vision.
"""

from __future__ import annotations

from .answer_plot import plot_answer, plot_answers
from .check_plot import plot_check
from .fit_plot import plot_fit, plot_pair, plot_residuals
from .phases_plot import plot_phases
from .plan_plot import plot_plan
from .prior_plot import plot_prior_predictive
from .priors_plot import plot_priors
from .race_plot import plot_leader, plot_race
from .runs_plot import plot_runs
from .surface_plot import plot_surface
from .sweep_plot import plot_sweep
from .tail_plot import plot_tail
from .what_if_plot import plot_what_if

__all__ = [
    "plot_answer",
    "plot_answers",
    "plot_check",
    "plot_fit",
    "plot_leader",
    "plot_pair",
    "plot_phases",
    "plot_plan",
    "plot_prior_predictive",
    "plot_priors",
    "plot_race",
    "plot_residuals",
    "plot_runs",
    "plot_surface",
    "plot_sweep",
    "plot_tail",
    "plot_what_if",
]
