"""``lossfit what-if``: runs under other learning-rate schedules."""

from __future__ import annotations

from typing import Any

import click

from .._base.units import amount_of as number
from .common import guarded, load_runs, save_plot, show, with_finished_runs
from .options import options


@click.command("what-if")
@options(
    "source", "reading", "run", "schedule", "own", "at", "axis", "share", "siblings",
    "calibrate_on", "domain", "window", "prob", "draws", "random_seed", "place", "plot",
    schedule={
        "callback": None,
        "metavar": "KIND@END",
        "required": True,
        "help": "cosine, linear, wsd, 1-sqrt or constant, with the run's own peak and end; with "
        "another end in units of its own schedule: cosine@250k; or a CSV with columns step (or "
        "tokens) and lr. Repeat it for more.",
    },
    at={"help": "Where on the axis: 1e12, 1T, 500k; each schedule's end."},
    as_json={"help": "Print JSON (schema lossfit.what_if/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    run: tuple[str, ...],
    at: tuple[str, ...],
    plot: str | None,
    as_json: bool,
) -> None:
    r"""The loss that runs would have under other learning-rate schedules.

    \b
    lossfit what-if llama2 --run llama2-7B --schedule cosine@250k --schedule constant
    lossfit what-if my_runs.csv --share --schedule wsd --plot what_if.png
    """
    from ..answers.what_ifs import what_if

    with guarded():
        runs = load_runs(source, reading)
        names = list(run) or None
        where = [number(w.strip()) for item in at for w in item.split(",") if w.strip()] or None
        asked = with_finished_runs(asked, reading)
    with guarded(notes=as_json):
        answer = what_if(runs, names, schedules=asked.pop("schedule"), at=where, **asked)
        show(answer, as_json)
    if plot is not None:
        with guarded():
            save_plot(lambda: answer.plot().figure, plot)
