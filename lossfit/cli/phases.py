"""``lossfit phases``: a power law, then perhaps a line, then perhaps a flatter tip."""

from __future__ import annotations

import click

from .common import (
    axis_option,
    guarded,
    load_runs,
    plot_option,
    prob_option,
    save_plot,
    seed_option,
    show,
    sources,
)

__all__ = ["command"]


@click.command()
@sources
@click.option("--run", "-r", multiple=True, help="Run (repeat for more); all by default.")
@axis_option
@prob_option
@click.option("--draws", default=1000, show_default=True, help="Draws for each run.")
@seed_option
@plot_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.phases/1).")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    run: tuple[str, ...],
    axis: str,
    prob: float,
    draws: int,
    seed: int,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""Where a power-law phase hands over to a line, and where the tip flattens.

    \b
    lossfit phases llama2 --run llama2-7B --plot phases.png
    """
    from ..phase_models.build import phases as ask

    with guarded():
        runs = load_runs(source, format, params, tokens_per_step, gpu_hours)
        if run:
            runs = runs.select(list(run))
    # In the text the flags are spelt out anyway.
    with guarded(notes=as_json):
        found = ask(runs, axis=axis, prob=prob, draws=draws, random_seed=seed)
        show(found, as_json)
    if plot is not None:
        with guarded():
            save_plot(lambda: found.plot().figure, plot)
