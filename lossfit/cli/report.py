"""``lossfit report``: one self-contained page about runs."""

from __future__ import annotations

import click

from .common import (
    axis_option,
    guarded,
    laws_option,
    load_runs,
    mention_compilation,
    number,
    place,
    prob_option,
    say,
    seed_option,
    show,
    siblings_option,
    sources,
    total_option,
    where_of,
    window_of,
    window_option,
)

__all__ = ["command"]


@click.command()
@sources
@click.option(
    "--out", "-o", default="report.html", show_default=True, type=click.Path(dir_okay=False),
    help="The file to write.",
)  # fmt: skip
@click.option("--title", help="Heading of the page.")
@click.option("--run", "-r", multiple=True, help="Run that is asked about (repeat for more).")
@click.option("--compute-of", metavar="RUN", help="Give the runs the whole compute of this one.")
@click.option(
    "--at",
    multiple=True,
    help="Where on the axis: 4e12, 4T, 500k, or 2x for twice a run's data. By default the end of a "
    "run's plan, or twice its data.",
)
@axis_option
@laws_option
@click.option("--beside", multiple=True, help="Law that the page can switch to (repeat for more).")
@total_option
@siblings_option
@window_option
@prob_option
@click.option("--draws", default=1000, show_default=True, help="Draws for each run.")
@click.option(
    "--phases", "most_phases", default=8, show_default=True, help="Runs whose phases are looked at."
)
@seed_option
@place
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON too.")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    out: str,
    title: str | None,
    run: tuple[str, ...],
    compute_of: str | None,
    at: tuple[str, ...],
    axis: str,
    law: tuple[str, ...],
    beside: tuple[str, ...],
    total: str | None,
    siblings: tuple[str, ...],
    window: str,
    prob: float,
    draws: int,
    most_phases: int,
    seed: int,
    device: str,
    dtype: str,
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
        runs = load_runs(source, format, params, tokens_per_step, gpu_hours)
        names = list(run) or None
        where, axis = where_of(at, runs, names, axis) if at else (None, axis)
        span = window_of(window)
        planned = None if total is None else number(total)
        finished = None
        if siblings:
            finished = load_runs(siblings, format, params, tokens_per_step, gpu_hours)
        mention_compilation()
    # The page and the text spell the flags out.
    with guarded(notes=as_json):
        made = report(
            runs,
            out,
            run=names,
            at=where,
            compute_of=compute_of,
            axis=axis,
            laws=list(law) or "auto",
            beside=list(beside) or "auto",
            total=planned,
            siblings=finished,
            window=span,
            prob=prob,
            draws=draws,
            device=device,
            dtype=dtype,
            title=title,
            most_phases=most_phases,
            random_seed=seed,
        )
        show(made.answer, as_json)
        say(f"wrote {made}")
