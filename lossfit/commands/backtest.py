"""``lossfit backtest``: how often intervals would have held on finished runs."""

from __future__ import annotations

from typing import Any

import click

from .common import (
    AXES,
    guarded,
    load_runs,
    mention_compilation,
    place,
    print_json,
    save_plot,
    sources,
)

__all__ = ["command"]


@click.command()
@sources
@click.option(
    "--cutoff", multiple=True, type=float, help="Share at which runs are cut; .3, .5 and .7."
)
@click.option("--horizon", multiple=True, help="Multiple of the cut, or end; 1.25, 2 and end.")
@click.option("--axis", type=click.Choice(AXES), default="auto", show_default=True)
@click.option(
    "--law", "-l", multiple=True, help="Law (repeat to mix several); annealing by default."
)
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
@click.option("--prob", default=0.9, show_default=True, help="Probability of the intervals.")
@click.option("--draws", default=1000, show_default=True, help="Draws for each forecast.")
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@place
@click.option("--plot", type=click.Path(dir_okay=False, writable=True), help="Write a figure here.")
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
    from ..backtesting import backtest as check_runs

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
        if as_json:
            print_json(check.to_dict())
        else:
            click.echo(str(check))
    if plot is not None:
        with guarded():
            save_plot(check.plot, plot)
