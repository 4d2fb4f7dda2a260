"""``lossfit report``: one self-contained page about runs."""

from __future__ import annotations

from typing import Any

import click

from .common import guarded, load_runs, say, show_arrivals, where_of, with_finished_runs
from .options import Output, options
from .voice import bars


@click.command()
@click.option(
    "--out", "-o", default="report.html", show_default=True, type=Output(".html", ".htm"),
    help="The file to write.",
)  # fmt: skip
@click.option("--title", help="Heading of the page.")
@click.option("--beside", multiple=True, help="Law that the page can switch to (repeat for more).")
@click.option(
    "--phases", "most_phases", default=8, show_default=True, help="Runs whose phases are looked at."
)
@options(
    "source", "reading", "run", "compute_of", "at", "target", "axis", "laws", "schedule", "total",
    "siblings", "calibrate_on", "share", "domain", "window",
    "prob", "draws", "random_seed", "place",
    at={
        "help": "Where on the axis: 4e12, 4T, 500k, or 2x for twice a run's data. By default the "
        "end of a run's plan, or twice its data."
    },
    as_json={"help": "Print the answer as JSON too."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    out: str,
    title: str | None,
    run: tuple[str, ...],
    compute_of: str | None,
    at: tuple[str, ...],
    beside: tuple[str, ...],
    most_phases: int,
    target: tuple[float, ...],
    as_json: bool,
) -> None:
    r"""One self-contained page about runs: answer, race, bands, phases, diagnostics.

    \b
    lossfit report llama2 -o llama2.html --run llama2-7B --compute-of llama2-70B
    lossfit report logs/*.csv -o report.html
    """
    from ..reports import report

    if at and compute_of is not None:
        raise click.UsageError("give one of --at and --compute-of, or none")
    with guarded():
        runs = load_runs(source, reading)
        names = list(run) or None
        if at:
            asked["at"], asked["axis"] = where_of(at, runs, names, asked["axis"])
        asked = with_finished_runs(asked, reading)
    # The page and the text spell the flags out.
    with guarded(notes=as_json):
        made = report(
            runs,
            out,
            run=names,
            compute_of=compute_of,
            target=target or None,
            beside=list(beside) or "auto",
            title=title,
            most_phases=most_phases,
            progress=bars(),
            **asked,
        )
        show_arrivals(made.answer, target, as_json)
        say(f"wrote {made._text()}")  # what was read stands under the answer
