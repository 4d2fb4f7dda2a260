"""``lossfit plan``: how large a model, on how many tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._base.errors import DataError
from .common import guarded, save_plot, show
from .options import AMOUNT, options

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["command"]


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
    "--columns",
    help="Names of a table's columns: params=Model Size,flops=Training FLOP,loss=loss.",
)
@click.option("--law", default="auto", show_default=True, help="Law to fit to a table.")
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
    lossfit plan chinchilla --unique-tokens 1T --params 7B --epochs 7
    """
    from ..plans.build import plan as ask

    with guarded(notes=as_json):
        answer = ask(
            _surface(surface, columns, law, asked["draws"], asked["random_seed"]),
            compute=compute,
            gpu_hours=gpu_hours,
            flops_per_gpu_hour=flops_per_gpu_hour,
            unique_tokens=unique_tokens,
            inference_tokens=inference_tokens,
            params=params,
            tokens=tokens,
            epochs=epochs,
            **asked,
        )
        show(answer, as_json)
    if plot is not None:
        with guarded():
            save_plot(lambda: answer.plot().figure, plot)


def _surface(surface: str, columns: str | None, law: str, draws: int, seed: int) -> Any:
    """What the argument names; a table is fitted here, with its flags kept for the plan."""
    import warnings

    from .._base.errors import LossfitWarning
    from ..runs import datasets
    from ..surfaces.fitting import PUBLISHED, fit_surface

    if surface in PUBLISHED:
        return surface
    if surface in datasets.NAMES:
        return datasets.collection(surface)
    names: dict[str, Any] = {}
    for part in (columns or "").split(",") if columns else []:
        name, equals, column = part.partition("=")
        if not equals or name.strip() not in ("params", "tokens", "loss", "flops", "unique_tokens"):
            raise DataError(
                f"--columns has {part!r}: write params=..., tokens=..., flops=..., loss=... or "
                f"unique_tokens=..., separated by commas"
            )
        names[name.strip()] = column.strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return fit_surface(_table(surface), law, draws=draws, random_seed=seed, **names)


def _table(path: str) -> pd.DataFrame:
    import pandas as pd

    if path != "-" and not Path(path).is_file():
        from ..surfaces.fitting import PUBLISHED

        raise DataError(
            f"there is no file {path!r}, no collection and no surface of that name "
            f"({', '.join(PUBLISHED)})"
        )
    try:
        return pd.read_csv(sys.stdin if path == "-" else path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"cannot read {path} as a CSV of final losses: {error}") from None
