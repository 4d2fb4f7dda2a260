"""``lossfit backtest``: how often intervals would have held on finished runs."""

from __future__ import annotations

from typing import Any

import click

from .common import (
    axis_option,
    guarded,
    laws_option,
    load_runs,
    mention_compilation,
    place,
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
@click.option(
    "--cutoff", multiple=True, type=float, help="Share at which runs are cut; .3, .5 and .7."
)
@click.option("--horizon", multiple=True, help="Multiple of the cut, or end; 1.25, 2 and end.")
@axis_option
@laws_option
@click.option(
    "--schedules",
    default="known",
    show_default=True,
    help="What forecasts are told of the learning rate: known, masked (its end only), or none.",
)
@click.option("--siblings", is_flag=True, help="Learn priors from the other runs of the group.")
@click.option(
    "--group", metavar="KEY", help="Average within groups first: the entry of meta that names them."
)
@prob_option
@click.option("--draws", default=1000, show_default=True, help="Draws for each forecast.")
@seed_option
@place
@plot_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.check/1).")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    cutoff: tuple[float, ...],
    horizon: tuple[str, ...],
    axis: str,
    law: tuple[str, ...],
    schedules: str,
    siblings: bool,
    group: str | None,
    prob: float,
    draws: int,
    seed: int,
    plot: str | None,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    """How often intervals would have held on your own finished runs."""
    from ..backtests.backtesting import backtest as check_runs

    with guarded():
        runs = load_runs(source, format, params, tokens_per_step, gpu_hours)
        mention_compilation()
        options: dict[str, Any] = {}
        if cutoff:
            options["cutoffs"] = cutoff
        if horizon:
            options["horizons"] = horizon
        check = check_runs(
            runs,
            laws=list(law) or "auto",
            siblings="others" if siblings else None,
            group=group,
            prob=prob,
            random_seed=seed,
            axis=axis,
            schedules=schedules,  # type: ignore[arg-type]
            draws=draws,
            device=device,
            dtype=dtype,
            **options,
        )
        show(check, as_json)
    if plot is not None:
        with guarded():
            save_plot(check.plot, plot)
