"""``lossfit watch``: follow a growing log and answer anew as points arrive."""

from __future__ import annotations

import json
from typing import Any

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
    siblings_option,
)

__all__ = ["command"]


@click.command()
@click.argument("file", type=click.Path())
@click.option("--run", "-r", help="Run of the log; all of them by default.")
@click.option("--at", help="Where on the axis: 4e12, 4T, 500k; by default where the run will end.")
@click.option(
    "--total",
    help="Where the run will end on the axis, if neither a schedule nor the log says so.",
)
@click.option("--target", type=float, help="A loss: how probable is it to end below?")
@click.option(
    "--reference",
    metavar="RUN_OR_FILE",
    help="A run to compare with: of the log by name, FILE, FILE:RUN, or a built-in run.",
)
@axis_option
@click.option("--loss", default="train", show_default=True, help="train, val or a column's name.")
@click.option("--format", help="Format of the log, if it is not recognized.")
@click.option("--params", type=float, help="Model parameters of the run.")
@click.option("--tokens-per-step", type=float, help="Batch size in tokens.")
@laws_option
@siblings_option
@click.option("--interval", default=5.0, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Answer for what is there, and stop.")
@prob_option
@click.option("--draws", default=1000, show_default=True, help="Draws of the curve.")
@seed_option
@place
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each (lossfit.watch/1).")
def command(
    file: str,
    run: str | None,
    at: str | None,
    total: str | None,
    target: float | None,
    reference: str | None,
    axis: str,
    loss: str,
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    law: tuple[str, ...],
    siblings: tuple[str, ...],
    interval: float,
    once: bool,
    prob: float,
    draws: int,
    seed: int,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    r"""Follow a growing log and answer anew as points arrive; Ctrl-C stops.

    \b
    lossfit watch main.log --total 20k --target 3.2
    lossfit watch main.log --reference best.log --json
    """
    from ..monitoring.watching import watch

    with guarded():
        finished: Any = None
        if siblings:
            finished = load_runs(siblings, None, params, tokens_per_step, None)
        mention_compilation()
        updates = watch(
            file,
            run,
            at=None if at is None else number(at),
            total=None if total is None else number(total),
            target=target,
            reference=reference,
            axis=axis,
            format=format,
            loss=loss,
            params=params,
            tokens_per_step=tokens_per_step,
            laws=list(law) or "auto",
            siblings=finished,
            prob=prob,
            draws=draws,
            device=device,
            dtype=dtype,
            random_seed=seed,
            interval=interval,
            once=once,
        )
        told: set[str] = set()
        try:
            for update in updates:
                if as_json:
                    click.echo(json.dumps(update.to_dict(), allow_nan=False))
                elif update.problem:
                    say(str(update))
                else:
                    click.echo(str(update))
                    _tell(update.flags, told)
        except KeyboardInterrupt:
            say("stopped")


def _tell(flags: tuple[str, ...], told: set[str]) -> None:
    """Each flag that matters, once, in words."""
    from ..fits.flags import ANSWER_MEANINGS, FIT_MEANINGS, QUIET
    from ..runs.cleaning import MEANINGS

    meanings = {**MEANINGS, **FIT_MEANINGS, **ANSWER_MEANINGS}
    for flag in flags:
        if flag not in told and flag not in QUIET:
            told.add(flag)
            say(f"note: {flag}: {meanings.get(flag, 'see Runs.flags')}")
