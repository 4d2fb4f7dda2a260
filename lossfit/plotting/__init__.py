"""Figures (matplotlib): every function takes an ``ax`` and gives it back.

Colours are those of Okabe and Ito (2008), told apart by readers with any colour vision.
"""

from __future__ import annotations

from .answer_plot import plot_answer, plot_answers
from .check_plot import plot_check
from .fit_plot import plot_fit, plot_pair, plot_residuals
from .prior_plot import plot_prior_predictive
from .runs_plot import plot_runs

__all__ = [
    "plot_answer",
    "plot_answers",
    "plot_check",
    "plot_fit",
    "plot_pair",
    "plot_prior_predictive",
    "plot_residuals",
    "plot_runs",
]
