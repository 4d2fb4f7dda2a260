"""``lossfit bench``: fits and answers a second on this machine."""

from __future__ import annotations

from typing import Any

import click

from .common import guarded, print_json, save_plot, say, show_text
from .options import Output, options


@click.command()
@click.option("--quick", is_flag=True, help="Batches of up to 1,000 runs, about ten seconds.")
@click.option("--seconds", default=60.0, show_default=True, help="About how long it may take.")
@click.option(
    "--verify", is_flag=True, help="Compare every kernel of a GPU with the CPU instead of timing."
)
@click.option("--page", type=Output(), help="Write what was verified here.")
@options(
    "place", "random_seed", "plot",
    dtype={"help": "On a GPU: float64, float32 or both."},
    random_seed={"help": "Random seed of the curves."},
    as_json={"help": "Print JSON (schema lossfit.bench/1 or lossfit.card/1)."},
)  # fmt: skip
def command(
    asked: dict[str, Any],
    quick: bool,
    seconds: float,
    plot: str | None,
    verify: bool,
    page: str | None,
    as_json: bool,
) -> None:
    r"""How many fits and answers a second this machine gives.

    \b
    lossfit bench --device cuda --dtype both --json > bench.json
    lossfit bench --verify --json > card.json
    """
    if verify:
        _verify(asked["device"], page, as_json)
        return
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


def _verify(device: str, page: str | None, as_json: bool) -> None:
    """Print what came of it; exit code 1 where the GPU differs from the CPU."""
    from pathlib import Path

    from ..diagnostics.verification import verify, verify_text

    with guarded():
        record = verify("cuda" if device == "auto" else device, say=say)
        if page is not None:
            Path(page).write_text(verify_text(record) + "\n", encoding="utf-8")
        if as_json:
            print_json(record)
        else:
            show_text(verify_text(record))
    if not record["passed"]:
        raise click.exceptions.Exit(1)
