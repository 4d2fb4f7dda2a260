"""``lossfit inspect``: what was found in logs, what was dropped and why."""

from __future__ import annotations

import sys
from typing import Any

import click

from .._base.errors import DataError
from .common import guarded, print_json, save_plot, say, unicode_out
from .options import options

__all__ = ["command"]


@click.command()
@click.option(
    "--loss",
    default="train",
    show_default=True,
    help="Losses to read: train, val, both, or the name of a column.",
)
@options("source", "reading", "plot", as_json={"help": "Print JSON (schema lossfit.inspect/1)."})
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    loss: str,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""What was found in logs, what was dropped and why.

    \b
    lossfit inspect main.log
    lossfit inspect runs/ --loss both --plot runs.png
    """
    from ..runs.known import Known
    from ..sources import survey
    from ..sources.inspecting import inspect_dict, inspect_text

    format = reading.pop("format")
    known = Known(**reading)
    failed = []
    with guarded():
        given = list(source)
        try:
            runs, logs = survey(given, format=format, loss=loss, known=known)
        except DataError:
            if len(given) == 1:
                raise
            # Those that can be read, and what is wrong with the others.
            good = []
            for one in given:
                try:
                    survey(one, format=format, loss=loss, known=known)
                    good.append(one)
                except DataError as error:
                    failed.append(str(error))
            if not good or not failed:
                raise
            runs, logs = survey(good, format=format, loss=loss, known=known)
        if as_json:
            print_json(inspect_dict(runs, logs))
        else:
            click.echo(inspect_text(runs, unicode_out(), logs))
        if plot is not None:
            from ..plotting import plot_runs

            save_plot(lambda: plot_runs(runs).figure, plot)
    for words in failed:
        say(f"error: {words}")
    if failed:
        sys.exit(2)
