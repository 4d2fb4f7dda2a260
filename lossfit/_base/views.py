"""The one way up: a result reaches what shows it (a picture, words, a table, a file) by name.

What shows a result reads it, so it stands above it and imports it; the result's own methods,
``answer.plot()`` or ``print(answer)``, look their view up here.  `tests/project/test_layers.py`
checks that each view exists and that results reach what is above them in no other way.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

# Name of a view, and the module (below lossfit) and the function that it is.
VIEWS = {
    "answer.draws": ("answers.draw_array", "draws_of"),
    "answer.flags": ("answers.row_flags", "flags_of"),
    "answer.plot": ("plotting.answer_plot", "plot_answer"),
    "answer.records": ("answers.record_rows", "record_lines"),
    "answer.situations": ("answers.record_rows", "situations_of"),
    "answer.line": ("answers.answer_text", "line"),
    "answer.text": ("answers.answer_text", "text"),
    "answer.dict": ("answers.answer_text", "as_dict"),
    "answer.time_to": ("answers.arrival", "time_to"),
    "check.plot": ("plotting.check_plot", "plot_check"),
    "fit.arviz": ("fits.arviz_groups", "datatree"),
    "fit.plot": ("plotting.fit_plot", "plot_fit"),
    "fit.posterior": ("fits.draw_arrays", "posterior_dataset"),
    "fit.prediction": ("fits.draw_arrays", "prediction"),
    "fit.residuals": ("fits.summary_table", "residuals"),
    "fit.storage": ("fits.storage", "write"),
    "fit.summary": ("fits.summary_table", "summary"),
    "fit.text": ("fits.fit_text", "fit_text"),
    "fit.read": ("fits.storage", "read"),
    "fit.dict": ("fits.fit_text", "fit_dict"),
    "law.pack": ("laws.stored", "packed"),
    "law.unpack": ("laws.stored", "unpacked"),
    "result.html": ("plotting.html", "as_html"),
    "result.read": ("_base.netcdf", "from_netcdf"),
    "result.write": ("_base.netcdf", "write"),
    "run.pack": ("runs.stored", "run_packed"),
    "run.unpack": ("runs.stored", "run_unpacked"),
    "runs.loud": ("runs.loud", "loud_notes"),
    "runs.said": ("runs.loud", "other_notes"),
    "runs.pack": ("runs.stored", "packed"),
    "runs.unpack": ("runs.stored", "unpacked"),
    "ladder.answer_plot": ("plotting.ladder_plot", "plot_unseen"),
    "ladder.plot": ("plotting.ladder_plot", "plot_ladder"),
    "ladder.text": ("ladders.text", "text"),
    "phases.plot": ("plotting.phases_plot", "plot_phases"),
    "plan.dict": ("plans.text", "as_dict"),
    "plan.line": ("plans.text", "line"),
    "plan.notes": ("plans.text", "notes_of"),
    "plan.plot": ("plotting.plan_plot", "plot_plan"),
    "plan.text": ("plans.text", "text"),
    "priors.plot": ("plotting.priors_plot", "plot_priors"),
    "race.leader_plot": ("plotting.race_plot", "plot_leader"),
    "race.line": ("races.text", "line"),
    "race.overtakes": ("races.overtakings", "overtakes"),
    "race.plot": ("plotting.race_plot", "plot_race"),
    "race.text": ("races.text", "text"),
    "runs.load": ("sources", "load"),  # paths in the place of runs
    "runs.schedules": ("runs.schedule_words", "schedules_of"),
    "surface.dict": ("surfaces.text", "as_dict"),
    "surface.line": ("surfaces.text", "line"),
    "surface.notes": ("surfaces.checks", "notes_of"),
    "surface.plot": ("plotting.surface_plot", "plot_surface"),
    "surface.text": ("surfaces.text", "text"),
    "sweep.plot": ("plotting.sweep_plot", "plot_sweep"),
    "tail.line": ("answers.tail_text", "line"),
    "tail.text": ("answers.tail_text", "text"),
    "tail.plot": ("plotting.tail_plot", "plot_tail"),
    "what_if.line": ("answers.what_if_text", "line"),
    "what_if.plot": ("plotting.what_if_plot", "plot_what_if"),
    "what_if.text": ("answers.what_if_text", "text"),
}


def view(name: str) -> Callable[..., Any]:
    """The function that shows a result; imported when it is asked for.

    Parameters
    ----------
    name : str
        One of `VIEWS`.

    Examples
    --------
    >>> view("answer.plot").__name__
    'plot_answer'
    """
    module, function = VIEWS[name]
    function_of_view: Callable[..., Any] = getattr(import_module(f"lossfit.{module}"), function)
    return function_of_view
