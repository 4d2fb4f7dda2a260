"""``lossfit extrapolate``: the loss that runs would reach with more compute."""

from __future__ import annotations

from typing import Any

import click

from .common import guarded, load_runs, save_plot, show_arrivals, where_of, with_finished_runs
from .options import options
from .voice import bars


@click.command()
@options(
    "source", "reading", "run", "compute_of", "at", "target", "axis", "laws", "schedule", "total",
    "siblings", "calibrate_on", "share", "domain", "window", "prob", "draws", "random_seed",
    "place", "plot",
    as_json={"help": "Print JSON (schema lossfit.answer/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    run: tuple[str, ...],
    compute_of: str | None,
    at: tuple[str, ...],
    target: tuple[float, ...],
    plot: str | None,
    as_json: bool,
) -> None:
    r"""Predict the loss that each run would reach with more compute.

    \b
    lossfit extrapolate my_run.log
    lossfit extrapolate llama2 --run llama2-7B --compute-of llama2-70B
    lossfit extrapolate my_run.csv --at 2x --plot answer.png
    lossfit extrapolate my_run.csv --at 40k --schedule wsd@40k --target 2.8
    """
    from ..answers.extrapolation import extrapolate as ask

    if at and compute_of is not None:
        raise click.UsageError(
            "give one of --at and --compute-of: where, as 40k, 2T or 2x (twice the data), "
            "or another run"
        )
    with guarded():
        runs = load_runs(source, reading)
        names = list(run) or None
        if at:
            asked["at"], asked["axis"] = where_of(at, runs, names, asked["axis"])
        asked = with_finished_runs(asked, reading)
    # In the text the flags are spelt out anyway.
    with guarded(notes=as_json):
        answer = ask(runs, names, compute_of=compute_of, progress=bars(), **asked)
        show_arrivals(answer, target, as_json)
    if plot is not None:
        with guarded():
            from ..plotting import plot_answers

            save_plot(lambda: plot_answers(answer), plot)
