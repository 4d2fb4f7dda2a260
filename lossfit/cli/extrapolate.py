"""``lossfit extrapolate``: the loss of runs at compute that they did not have."""

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
    plot_option,
    prob_option,
    save_plot,
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

COMPARED = "a fit by quadrature over one parameter"  # see `lossfit.engine.devices.ON_CUDA`


@click.command()
@sources
@click.option(
    "--run", "-r", multiple=True, help="Run to extrapolate (repeat for more); all by default."
)
@click.option("--compute-of", metavar="RUN", help="Give the runs the whole compute of this one.")
@click.option(
    "--at",
    multiple=True,
    help="Where on the axis: 4e12, 4T, 500k, or 2x for twice a run's data. Repeat it, or separate "
    "values by commas.",
)
@axis_option
@laws_option
@total_option
@siblings_option
@window_option
@prob_option
@click.option("--draws", default=1000, show_default=True, help="Draws for each run.")
@seed_option
@place
@plot_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.answer/1).")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    run: tuple[str, ...],
    compute_of: str | None,
    at: tuple[str, ...],
    axis: str,
    law: tuple[str, ...],
    total: str | None,
    siblings: tuple[str, ...],
    window: str,
    prob: float,
    draws: int,
    seed: int,
    plot: str | None,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    r"""The loss of runs at compute that they did not have.

    \b
    lossfit extrapolate llama2 --run llama2-7B --compute-of llama2-70B
    lossfit extrapolate my_run.csv --at 2x --plot answer.png
    """
    from ..answers.extrapolation import extrapolate as ask
    from ..engine import devices
    from ..engine.compiling import start_compiling

    if bool(at) == (compute_of is not None):
        raise click.UsageError("give one of --at and --compute-of")
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
        if not law and not devices.place(COMPARED, device, dtype).cards:
            start_compiling()  # fits of other laws follow the forecast
    # In the text the flags are spelt out anyway.
    with guarded(notes=as_json):
        answer = ask(
            runs,
            names,
            at=where,
            compute_of=compute_of,
            axis=axis,
            laws=list(law) or "auto",
            total=planned,
            siblings=finished,
            window=span,
            prob=prob,
            draws=draws,
            device=device,
            dtype=dtype,
            random_seed=seed,
        )
        show(answer, as_json)
    if plot is not None:
        with guarded():
            from ..plotting import plot_answers

            save_plot(lambda: plot_answers(answer), plot)
