"""``lossfit race``: who leads along an axis of compute, who overtakes whom, and when."""

from __future__ import annotations

import click

from .common import (
    axis_option,
    guarded,
    load_runs,
    mention_compilation,
    number,
    place,
    plot_option,
    prob_option,
    save_plot,
    seed_option,
    show,
    sources,
    window_of,
    window_option,
)

__all__ = ["command"]


@click.command()
@sources
@click.option("--run", "-r", multiple=True, help="Run to race (repeat for more); all by default.")
@axis_option
@click.option(
    "--until",
    help="How far on the axis: 1M, 4e12, or 2x for twice the largest end; by default to that end.",
)
@click.option("--law", "-l", multiple=True, help="Law of the forecasts; annealing by default.")
@click.option(
    "--total", help="Planned end of the runs on the axis, where the schedule is not known."
)
@window_option
@prob_option
@click.option("--draws", default=1000, show_default=True, help="Draws for each run.")
@seed_option
@place
@plot_option
@click.option(
    "--plot-leader",
    type=click.Path(dir_okay=False, writable=True),
    help="Write a figure of the probability of leading here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.race/1).")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    run: tuple[str, ...],
    axis: str,
    until: str | None,
    law: tuple[str, ...],
    total: str | None,
    window: str,
    prob: float,
    draws: int,
    seed: int,
    plot: str | None,
    plot_leader: str | None,
    device: str,
    dtype: str,
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
        runs = load_runs(source, format, params, tokens_per_step, gpu_hours)
        if run:
            runs = runs.select(list(run))
        axis = axis_of(runs, axis)
        horizon = None
        if until is not None:
            word = until.strip()
            if word.endswith("x"):
                horizon = number(word[:-1]) * max(one.end(axis) for one in runs)
            else:
                horizon = number(word)
        planned = None if total is None else number(total)
        span = window_of(window)
        mention_compilation()
    # In the text the flags are spelt out anyway.
    with guarded(notes=as_json):
        found = ask(
            runs,
            axis=axis,
            until=horizon,
            laws=list(law) or "auto",
            total=planned,
            window=span,
            prob=prob,
            draws=draws,
            device=device,
            dtype=dtype,
            random_seed=seed,
        )
        show(found, as_json)
    with guarded():
        if plot is not None:
            save_plot(lambda: found.plot().figure, plot)
        if plot_leader is not None:
            save_plot(lambda: found.plot_leader().figure, plot_leader)
