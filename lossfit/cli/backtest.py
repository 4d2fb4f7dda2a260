"""``lossfit backtest``: how often intervals would have held on finished runs."""

from __future__ import annotations

from typing import Any

import click

from .common import guarded, load_runs, save_plot, show, with_finished_runs
from .options import options
from .voice import bars

OTHERS = ("others",)


@click.command()
@click.option(
    "--cutoff", multiple=True, type=float, help="Share at which runs are cut; .3, .5 and .7."
)
@click.option("--horizon", multiple=True, help="Multiple of the cut, or end; 1.25, 2 and end.")
@click.option(
    "--schedules",
    default="known",
    show_default=True,
    help="What forecasts are told of the learning rate: known, masked (its end only), none; or "
    "what it was, where the logs do not say: cosine, wsd, linear, ... (to each run's end).",
)
@click.option(
    "--group", metavar="KEY", help="Average within groups first: the entry of meta that names them."
)
@options(
    "source", "reading", "axis", "laws", "siblings", "domain", "window", "prob", "draws",
    "random_seed", "place", "plot",
    siblings={
        "help": "Logs of finished runs of the project to learn from, or the word others: the other "
        "runs of the group."
    },
    as_json={"help": "Print JSON (schema lossfit.check/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    cutoff: tuple[float, ...],
    horizon: tuple[str, ...],
    schedules: str,
    group: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""How often intervals would have held on your own finished runs.

    \b
    lossfit backtest finished/*.csv
    lossfit backtest finished/ --siblings others --group project --plot check.png
    """
    from ..backtests.backtesting import backtest as check_runs

    with guarded():
        runs = load_runs(source, reading)
        if asked["siblings"] == OTHERS:
            asked["siblings"] = "others"
        else:
            asked = with_finished_runs(asked, reading)
        if cutoff:
            asked["cutoffs"] = cutoff
        if horizon:
            asked["horizons"] = horizon
        check = check_runs(runs, group=group, schedules=schedules, progress=bars(), **asked)
        show(check, as_json)
    if plot is not None:
        with guarded():
            save_plot(lambda: check.plot().figure, plot)
