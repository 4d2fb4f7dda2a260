"""``lossfit what-if``: runs under learning-rate schedules that they did not have."""

from __future__ import annotations

import click

from .common import (
    axis_option,
    guarded,
    load_runs,
    mention_compilation,
    number,
    plot_option,
    prob_option,
    save_plot,
    seed_option,
    show,
    siblings_option,
    sources,
    window_of,
)

__all__ = ["command"]


@click.command("what-if")
@sources
@click.option("--run", "-r", multiple=True, help="Run to ask about (repeat for more); all.")
@click.option(
    "--schedule",
    "-s",
    multiple=True,
    required=True,
    help="cosine, linear, wsd, 1-sqrt or constant, with the run's own peak and end; with another "
    "end in units of its own schedule: cosine@250k. Repeat it for more.",
)
@click.option("--at", multiple=True, help="Where on the axis: 1e12, 1T, 500k; each schedule's end.")
@axis_option
@click.option("--share", is_flag=True, help="The runs are of one model: fit them together.")
@siblings_option
@click.option("--window", default="auto", show_default=True, help="auto, all, or shares: 0.3,1.")
@prob_option
@click.option("--draws", default=1000, show_default=True, help="Draws for each run.")
@seed_option
@plot_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.what_if/1).")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    run: tuple[str, ...],
    schedule: tuple[str, ...],
    at: tuple[str, ...],
    axis: str,
    share: bool,
    siblings: tuple[str, ...],
    window: str,
    prob: float,
    draws: int,
    seed: int,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""The loss of runs under learning-rate schedules that they did not have.

    \b
    lossfit what-if llama2 --run llama2-7B --schedule cosine@250k --schedule constant
    lossfit what-if my_runs.csv --share --schedule wsd --plot what_if.png
    """
    from ..answers.what_ifs import standard_schedule, what_if

    with guarded():
        runs = load_runs(source, format, params, tokens_per_step, gpu_hours)
        names = list(run) or None
        asked = {}
        for word in schedule:
            kind, _, end = word.partition("@")
            total = number(end) if end else None
            asked[word] = {
                one.name: standard_schedule(one, kind, total)
                for one in (runs.select(names) if names else runs)
            }
        where = [number(w.strip()) for one in at for w in one.split(",") if w.strip()] or None
        finished = None
        if siblings:
            finished = load_runs(siblings, format, params, tokens_per_step, gpu_hours)
        span = window_of(window)
        mention_compilation()
    with guarded(notes=as_json):
        answer = what_if(
            runs,
            names,
            schedules=asked,
            at=where,
            axis=axis,
            share=share,
            siblings=finished,
            window=span,
            prob=prob,
            draws=draws,
            random_seed=seed,
        )
        show(answer, as_json)
    if plot is not None:
        with guarded():
            save_plot(lambda: answer.plot().figure, plot)
