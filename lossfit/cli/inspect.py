"""``lossfit inspect``: what was found in logs, what was dropped and why."""

from __future__ import annotations

import sys
from typing import Any

import click

from .._base.errors import DataError
from .common import guarded, print_json, save_plot, say, show_text, unicode_out
from .options import options


@click.command()
@options(
    "source", "reading", "plot",
    loss={"help": "Losses to read: train, val, both, or the name of a column."},
    as_json={"help": "Print JSON (schema lossfit.inspect/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...], reading: dict[str, Any], plot: str | None, as_json: bool
) -> None:
    r"""What was found in logs, what was dropped and why.

    \b
    lossfit inspect main.log
    lossfit inspect runs/ --loss both --plot runs.png
    """
    from ..runs.known import Known
    from ..sources import survey
    from ..sources.inspecting import inspect_dict, inspect_text

    table = {name: reading.pop(name) for name in ("format", "loss", "columns", "join")}
    known = Known(**reading)
    failed = []
    with guarded():
        given = list(source)
        try:
            runs, logs = survey(given, **table, known=known)
        except DataError:
            if len(given) == 1:
                raise
            # Those that can be read, and what is wrong with the others.
            good = []
            for one in given:
                try:
                    survey(one, **table, known=known)
                    good.append(one)
                except DataError as error:
                    failed.append(str(error))
            if not good or not failed:
                raise
            runs, logs = survey(good, **table, known=known)
        if as_json:
            print_json(inspect_dict(runs, logs))
        else:
            show_text(inspect_text(runs, unicode_out(), logs))
        if plot is not None:
            from ..plotting import plot_runs

            save_plot(lambda: plot_runs(runs).figure, plot)
    for words in failed:
        say(f"error: {words}")
    if failed:
        sys.exit(2)
