"""``lossfit plan``: how large a model, on how many tokens."""

from __future__ import annotations

from typing import Any

import click

from .common import guarded, save_plot, show
from .final_losses import COLUMNS, LAW, surface_of, tables_of
from .options import AMOUNT, options


@click.command()
@click.argument("surface")
@click.option("--compute", type=AMOUNT, metavar="FLOP", help="Budget: 5.88e23.")
@click.option("--gpu-hours", type=AMOUNT, metavar="N", help="Budget in GPU-hours.")
@click.option(
    "--flops-per-gpu-hour",
    type=AMOUNT,
    metavar="FLOP",
    help="Of GPU-hours; learned from runs that have both.",
)
@click.option(
    "--unique-tokens", type=AMOUNT, metavar="N", help="Tokens that there are: 1T. More are repeats."
)
@click.option(
    "--inference-tokens", type=AMOUNT, metavar="N", help="Tokens that the model will serve: 10T."
)
@click.option("--params", type=AMOUNT, metavar="N", help="A choice to judge: its size, 7B.")
@click.option(
    "--tokens", type=AMOUNT, metavar="N", help="A choice to judge: its training tokens, 14T."
)
@click.option("--epochs", type=float, help="A choice to judge: its tokens over the unique ones.")
@click.option(
    "--runs",
    multiple=True,
    metavar="TABLE",
    help="Finished runs at hand, as SURFACE: where it contradicts them, they are used (repeat for "
    "more).",
)
@COLUMNS
@LAW
@options(
    "prob", "draws", "random_seed", "plot",
    draws={"help": "Posterior draws."},
    as_json={"help": "Print JSON (schema lossfit.plan/1)."},
)  # fmt: skip
def command(
    surface: str,
    asked: dict[str, Any],
    compute: float | None,
    gpu_hours: float | None,
    flops_per_gpu_hour: float | None,
    unique_tokens: float | None,
    inference_tokens: float | None,
    params: float | None,
    tokens: float | None,
    epochs: float | None,
    runs: tuple[str, ...],
    columns: str | None,
    law: str,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""How large a model, on how many tokens, for a budget; what another choice costs.

    SURFACE is a CSV of final losses (columns params, tokens, loss; flops in place of one of the
    first two; - reads stdin), a built-in collection of runs, or a surface that needs no table:
    chinchilla (with intervals), epoch, hoffmann, muennighoff.

    \b
    lossfit plan chinchilla --compute 5.88e23 --params 7B
    lossfit plan losses.csv --compute 1e22 --unique-tokens 25B
    lossfit plan chinchilla --compute 1e22 --runs losses.csv
    lossfit plan chinchilla --unique-tokens 1T --params 7B --epochs 7
    """
    from ..plans.build import plan as ask
    from ..surfaces.constants import PUBLISHED

    with guarded(notes=as_json):
        answer = ask(
            surface
            if surface in PUBLISHED
            else surface_of(surface, columns, law, asked["draws"], asked["random_seed"]),
            compute=compute,
            gpu_hours=gpu_hours,
            flops_per_gpu_hour=flops_per_gpu_hour,
            unique_tokens=unique_tokens,
            inference_tokens=inference_tokens,
            params=params,
            tokens=tokens,
            epochs=epochs,
            runs=tables_of(runs, columns, surface) if runs else None,
            **asked,
        )
        show(answer, as_json)
    if plot is not None:
        with guarded():
            save_plot(lambda: answer.plot().figure, plot)
