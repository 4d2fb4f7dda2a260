"""``lossfit bench``: fits and answers a second on this machine."""

from __future__ import annotations

from typing import Any

import click

from .common import guarded, print_json, save_plot, say, show_text
from .options import options

__all__ = ["command"]


@click.command()
@click.option("--quick", is_flag=True, help="Batches of up to 1,000 runs, about ten seconds.")
@click.option("--seconds", default=60.0, show_default=True, help="About how long it may take.")
@options(
    "place", "random_seed", "plot",
    dtype={"help": "On a GPU: float64, float32 or both."},
    random_seed={"help": "Random seed of the curves."},
    as_json={"help": "Print JSON (schema lossfit.bench/1)."},
)  # fmt: skip
def command(
    asked: dict[str, Any],
    quick: bool,
    seconds: float,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""How many fits and answers a second this machine gives.

    \b
    lossfit bench --device cuda --dtype both --json > card.json
    """
    from ..diagnostics.speed import bench as measure
    from ..diagnostics.speed import bench_text, plot_bench

    with guarded():
        record = measure(
            asked["device"],
            asked["dtype"],
            seconds=min(seconds, 10.0) if quick else seconds,
            most=1_000 if quick else 1_000_000,
            seed=asked["random_seed"],
            say=say,
        )
        if as_json:
            print_json(record)
        else:
            show_text(bench_text(record))
        if plot is not None:
            save_plot(lambda: plot_bench(record), plot)
