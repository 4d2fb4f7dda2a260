"""``lossfit race``: who leads along an axis of compute, who overtakes whom, and when."""

from __future__ import annotations

from typing import Any

import click

from .._base.units import amount_of as number
from .common import guarded, load_runs, save_plot, show, with_finished_runs
from .options import FIGURE, options
from .voice import bars


@click.command()
@click.option(
    "--until",
    help="How far on the axis: 1M, 4e12, or 2x for twice the largest end; by default to that end.",
)
@click.option(
    "--plot-leader", type=FIGURE, help="Write a figure of the probability of leading here."
)
@options(
    "source", "reading", "run", "axis", "laws", "schedule", "total", "siblings", "calibrate_on",
    "share", "domain", "window", "prob", "draws", "random_seed",
    "place", "plot",
    as_json={"help": "Print JSON (schema lossfit.race/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    run: tuple[str, ...],
    until: str | None,
    plot: str | None,
    plot_leader: str | None,
    as_json: bool,
) -> None:
    r"""Who leads along an axis of compute, who overtakes whom, and when.

    \b
    lossfit race llama2 --axis gpu_hours
    lossfit race my_runs.csv --until 2x --plot race.png
    """
    from ..races.build import axis_of
    from ..races.build import race as ask

    with guarded():
        runs = load_runs(source, reading, run)
        asked["axis"] = axis_of(runs, asked["axis"])
        if until is not None:
            word = until.strip()
            asked["until"] = number(word.removesuffix("x"))
            if word.endswith("x"):
                asked["until"] *= max(one.end(asked["axis"]) for one in runs)
        asked = with_finished_runs(asked, reading)
    # In the text the flags are spelt out anyway.
    with guarded(notes=as_json):
        result = ask(runs, progress=bars(), **asked)
        show(result, as_json)
    with guarded():
        if plot is not None:
            save_plot(lambda: result.plot().figure, plot)
        if plot_leader is not None:
            save_plot(lambda: result.plot_leader().figure, plot_leader)
