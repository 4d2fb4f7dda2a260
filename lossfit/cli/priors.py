"""``lossfit priors``: what a project's finished runs say about its next one."""

from __future__ import annotations

from typing import Any

import click

from .common import guarded, load_runs, save_plot, say, show
from .options import Output, options


@click.command()
@click.option("--out", type=Output(".nc"), help="Write them here, for lossfit.from_netcdf.")
@options(
    "source", "reading", "run", "axis", "window", "plot",
    run={"help": "Finished run to learn from (repeat for more); all by default."},
    as_json={"help": "Print JSON (schema lossfit.priors/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    run: tuple[str, ...],
    out: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    r"""What a project's finished runs say about its next one.

    How strongly the loss responds to the learning rate differs between projects by more than ten
    times.  Forecasts learn it with --siblings; this shows what they learn, and which runs say
    nothing and why.

    \b
    lossfit priors finished/*.csv --plot priors.png
    lossfit extrapolate my_run.csv --at 20k --siblings finished/a.csv --siblings finished/b.csv
    """
    from ..forecasts.learning import learn_priors

    with guarded():
        priors = learn_priors(load_runs(source, reading, run), **asked)
        show(priors, as_json)
        if out is not None:
            priors.to_netcdf(out)
            say(f"wrote {out}")
        if plot is not None:
            save_plot(lambda: priors.plot().figure, plot)
