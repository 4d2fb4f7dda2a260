"""``lossfit inspect``: what was found in logs, what was dropped and why."""

from __future__ import annotations

import sys

import click

from .._base.errors import DataError
from .common import guarded, plot_option, print_json, save_plot, say, sources, unicode_out

__all__ = ["command"]


@click.command()
@sources
@click.option(
    "--loss",
    default="train",
    show_default=True,
    help="Losses to read: train, val, both, or the name of a column.",
)
@plot_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.inspect/1).")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
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

    known = Known(params=params, tokens_per_step=tokens_per_step, gpu_hours=gpu_hours)
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
