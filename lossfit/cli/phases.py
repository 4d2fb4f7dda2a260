"""``lossfit phases``: a power law, then perhaps a line, then perhaps a flat end."""

from __future__ import annotations

from typing import Any

import click

from .common import guarded, load_runs, save_plot, show
from .options import options
from .voice import bars


@click.command()
@options(
    "source", "reading", "run", "schedule", "axis", "prob", "draws", "random_seed", "plot",
    as_json={"help": "Print JSON (schema lossfit.phases/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    run: tuple[str, ...],
    plot: str | None,
    as_json: bool,
) -> None:
    r"""Where a power-law phase hands over to a line, and where the end flattens.

    \b
    lossfit phases llama2 --run llama2-7B --plot phases.png
    """
    from ..phase_models.build import phases as ask

    with guarded():
        runs = load_runs(source, reading, run)
    # In the text the flags are spelt out anyway.
    with guarded(notes=as_json):
        result = ask(runs, progress=bars(), **asked)
        show(result, as_json)
    if plot is not None:
        with guarded():
            save_plot(lambda: result.plot().figure, plot)
