"""``lossfit fit``: fit a law to every run and print the posterior's summary."""

from __future__ import annotations

import sys
from typing import Any

import click

from .._base.errors import DataError
from .._base.views import view
from .common import guarded, load_runs, print_json, say, show_text
from .options import Output, options
from .sweep import cli_fit, is_sweep, needs_store
from .sweep import options as sweep_options
from .voice import bars


@click.command()
@click.option("--law", "-l", default="power_linear", show_default=True, help="Law to fit.")
@click.option("--method", default="auto", show_default=True, help="quadrature, ensemble or emcee.")
@click.option("--noise", default="gaussian", show_default=True, help="gaussian or student_t.")
@click.option(
    "--out", type=Output(folder=True), help="Write the fit here: netCDF, or a Zarr store X.zarr."
)
@sweep_options
@options(
    "source", "reading", "run", "axis", "window", "draws", "prob", "random_seed", "place",
    draws={"help": "Draws for each run; 0: a summary only."},
    as_json={"help": "Print JSON (schema lossfit.fit_summary/1)."},
)  # fmt: skip
def command(
    source: tuple[str, ...],
    reading: dict[str, Any],
    asked: dict[str, Any],
    law: str,
    run: tuple[str, ...],
    method: str,
    noise: str,
    out: str | None,
    as_json: bool,
    **sweep: Any,
) -> None:
    r"""Fit a law to every run and print the posterior's summary.

    With --out X.zarr, runs are read, fitted and written chunk by chunk, however many there are; the
    exit code is 1 where some could not be fitted.

    \b
    lossfit fit llama2 --law power --axis tokens
    lossfit fit sweep/*.parquet --out fits.zarr --at 2x --resume
    """
    asked |= {"law": law, "method": method, "noise": noise}
    if out is not None and is_sweep(out):
        sys.exit(
            cli_fit(source, out=out, reading=reading, run=run, as_json=as_json, **asked, **sweep)
        )
    needs_store(sweep)
    from ..fits.fitting import fit as fit_runs

    with guarded():
        runs = load_runs(source, reading, run)
    with guarded(notes=as_json):
        result = fit_runs(runs, progress=bars(), **asked)
        if as_json:
            print_json(result.to_dict(asked["prob"]))
        else:
            show_text(view("fit.text")(result, asked["prob"]))
        if out is not None:
            try:
                result.to_netcdf(out)
            except OSError as error:
                raise DataError(f"cannot write {out}: {error}") from None
            say(f"wrote {out}")
