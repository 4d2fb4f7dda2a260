"""``lossfit best-tail``: the learning rate that minimises the expected final loss."""

from __future__ import annotations

from typing import Any

import click

from .._base.errors import DataError
from .common import guarded, load_runs, save_plot, say, show, with_finished_runs
from .options import AMOUNT, Output, options


@click.command("best-tail")
@click.option("--start", type=AMOUNT, help="Where the tail begins; the end of the data.")
@click.option(
    "--floor", type=float, default=0.0, show_default=True, help="The lowest learning rate."
)
@click.option("--peak", type=float, help="The highest learning rate; that at the start.")
@click.option(
    "--segments", type=int, default=48, show_default=True, help="Pieces of the searched tail."
)
@click.option("--out", type=Output(".csv"), help="Write the tail here: columns of the axis and lr.")
@options(
    "source", "reading", "run", "own", "total", "axis", "share", "siblings", "calibrate_on",
    "domain", "window", "prob", "draws", "random_seed", "place", "plot",
    run={"multiple": False, "help": "The run; the only one of the log by default."},
    total={
        "multiple": False,
        "callback": None,
        "type": AMOUNT,
        "metavar": "END",
        "help": "Where the run will end on the axis: 4e12, 4T, 500k; its plan's end.",
    },
    as_json={"help": "Print JSON (schema lossfit.tail/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    run: str | None,
    start: float | None,
    floor: float,
    peak: float | None,
    segments: int,
    out: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""The learning rate from here on that minimises the expected final loss.

    The learning rate that the run had must be known: an lr column, --own, or a built-in collection.

    \b
    lossfit best-tail my_run.csv --total 20k --plot tail.png
    lossfit best-tail my_run.csv --siblings finished.csv --total 20k --out tail.csv
    """
    from ..answers.tails import best_tail

    with guarded():
        runs = load_runs(source, reading)
        asked = with_finished_runs(asked, reading)
        if run is None and len(runs) > 1 and not asked.get("share"):
            raise DataError(
                f"a tail is for one run, and there are {len(runs):,}: name it with --run "
                f"{runs.names[0]}; --share fits runs of one model together"
            )
    with guarded(notes=as_json):
        tail = best_tail(
            runs, run=run, start=start, floor=floor, peak=peak, segments=segments, **asked
        )
        show(tail, as_json)
    with guarded():
        if out is not None:
            table = tail.tail.rename(columns={"at": tail.axis})
            table[[tail.axis, "lr"]].to_csv(out, index=False)
            say(f"wrote {out}")
        if plot is not None:
            save_plot(lambda: tail.plot().figure, plot)
