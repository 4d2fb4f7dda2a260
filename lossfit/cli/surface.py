"""``lossfit surface``: a law of final losses, fitted to a table of them."""

from __future__ import annotations

from typing import Any

import click

from .._base.units import amount_of as number
from .common import guarded, print_json, save_plot, say, show_text
from .final_losses import COLUMNS, LAW, surface_of
from .options import Output, options


@click.command()
@click.argument("table")
@click.option(
    "--predict", multiple=True, metavar="PARAMS,TOKENS", help="The loss of a run: 70B,1.4T."
)
@click.option("--out", type=Output(".nc"), help="Write it here, for lossfit.from_netcdf.")
@COLUMNS
@LAW
@options(
    "prob", "draws", "random_seed", "plot",
    draws={"help": "Posterior draws."},
    as_json={"help": "Print JSON (schema lossfit.surface/1)."},
)  # fmt: skip
def command(
    table: str,
    asked: dict[str, Any],
    predict: tuple[str, ...],
    out: str | None,
    columns: str | None,
    law: str,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""A law of final losses by model size and tokens, fitted to a table of them.

    TABLE is a CSV of final losses (columns params, tokens, loss; flops in place of one of the first
    two; - reads stdin), a built-in collection of runs, or a published surface: chinchilla, epoch,
    hoffmann, muennighoff.

    \b
    lossfit surface losses.csv --predict 7B,1T --plot surface.png
    lossfit surface losses.csv --law chinchilla --columns params=N,tokens=D,loss=final
    """
    from ..surfaces.constants import PUBLISHED
    from ..surfaces.fitting import published

    places = []
    for word in predict:
        params, comma, tokens = word.partition(",")
        if not comma:
            raise click.BadParameter(f"write PARAMS,TOKENS, such as 70B,1.4T; got {word!r}")
        places.append((params, tokens))
    with guarded():
        fitted = (
            published(table)
            if table in PUBLISHED
            else surface_of(
                table, columns, law, asked["draws"], asked["random_seed"], asked["prob"]
            )
        )
        rows = _predicted(fitted, [(number(n), number(d)) for n, d in places])
        if as_json:
            print_json({**fitted.to_dict(), "predictions": rows})
        else:
            show_text(str(fitted))
            for (n, d), row in zip(places, rows, strict=True):
                show_text(f"  {n.strip()} on {d.strip()} tokens: {_words(row)}")
        if out is not None:
            fitted.to_netcdf(out)
            say(f"wrote {out}")
        if plot is not None:
            save_plot(lambda: fitted.plot().figure, plot)


def _predicted(surface: Any, places: list[tuple[float, float]]) -> list[dict[str, float]]:
    """Median and interval at each place."""
    import numpy as np

    if not places:
        return []
    draws = surface.predict(*zip(*places, strict=True)).values.reshape(-1, len(places))
    tail = (1 - surface.prob) / 2
    lower, median, upper = np.quantile(draws, [tail, 0.5, 1 - tail], axis=0)
    return [
        {"params": n, "tokens": d, "lower": float(a), "median": float(m), "upper": float(b)}
        for (n, d), a, m, b in zip(places, lower, median, upper, strict=True)
    ]


def _words(row: dict[str, float]) -> str:
    from .._base.numbers import estimate

    return estimate(row)
