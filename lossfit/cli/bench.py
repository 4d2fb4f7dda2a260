"""``lossfit bench``: fits and answers a second on this machine."""

from __future__ import annotations

import click

from .common import guarded, mention_compilation, print_json, save_plot, say

__all__ = ["command"]


@click.command()
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, cuda:all."
)
@click.option(
    "--dtype", default="auto", show_default=True, help="On a card: float64, float32 or both."
)
@click.option("--quick", is_flag=True, help="Batches of up to 1,000 runs, about ten seconds.")
@click.option("--seconds", default=60.0, show_default=True, help="About how long it may take.")
@click.option("--seed", default=0, show_default=True, help="Random seed of the curves.")
@click.option("--plot", type=click.Path(dir_okay=False, writable=True), help="Save a plot here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.bench/1).")
def command(
    device: str,
    dtype: str,
    quick: bool,
    seconds: float,
    seed: int,
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
        mention_compilation()
        record = measure(
            device,
            dtype,
            seconds=min(seconds, 10.0) if quick else seconds,
            most=1_000 if quick else 1_000_000,
            seed=seed,
            say=say,
        )
        if as_json:
            print_json(record)
        else:
            click.echo(bench_text(record))
        if plot is not None:
            save_plot(lambda: plot_bench(record), plot)
