"""``lossfit inspect``: what was found in logs."""

from __future__ import annotations

import click

from .common import guarded, load_runs, print_json, sources, unicode_out

__all__ = ["command"]


@click.command()
@sources
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.inspect/1).")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    as_json: bool,
) -> None:
    """What was found in logs: runs, points, axes, and what cleaning did."""
    from ..cli_text import inspect_dict, inspect_text

    with guarded():
        runs = load_runs(source, format, params, tokens_per_step, gpu_hours)
        if as_json:
            print_json(inspect_dict(runs))
        else:
            click.echo(inspect_text(runs, unicode_out()))
