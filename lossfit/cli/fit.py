"""``lossfit fit``: fit a law to every run and print the posterior's summary."""

from __future__ import annotations

import sys
from typing import Any

import click

from .._base.errors import DataError
from .common import (
    axis_option,
    guarded,
    load_runs,
    mention_compilation,
    place,
    print_json,
    prob_option,
    say,
    seed_option,
    sources,
    window_of,
    window_option,
)
from .sweep import cli_fit, is_sweep, needs_store
from .sweep import options as sweep_options

__all__ = ["command"]


@click.command()
@sources
@click.option("--law", "-l", default="power_linear", show_default=True, help="Law to fit.")
@click.option("--run", "-r", multiple=True, help="Run to fit (repeat for more); all by default.")
@axis_option
@window_option
@click.option(
    "--draws", default=1000, show_default=True, help="Draws for each run; 0: a summary only."
)
@click.option("--method", default="auto", show_default=True, help="quadrature, ensemble or emcee.")
@click.option("--noise", default="gaussian", show_default=True, help="gaussian or student_t.")
@prob_option
@seed_option
@place
@click.option(
    "--out", type=click.Path(), help="Write the fit here: netCDF, or a Zarr store X.zarr."
)
@sweep_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema lossfit.fit_summary/1).")
def command(
    source: tuple[str, ...],
    format: str | None,
    params: float | None,
    tokens_per_step: float | None,
    gpu_hours: float | None,
    law: str,
    run: tuple[str, ...],
    axis: str,
    window: str,
    draws: int,
    method: str,
    noise: str,
    prob: float,
    seed: int,
    out: str | None,
    device: str,
    dtype: str,
    as_json: bool,
    **sweep: Any,
) -> None:
    """Fit a law to every run and print the posterior's summary.

    With --out X.zarr, runs are read, fitted and written chunk by chunk, however many there are; the
    exit code is 1 where some could not be fitted.
    """
    if out is not None and is_sweep(out):
        sys.exit(
            cli_fit(
                source,
                out=out,
                law=law,
                run=run,
                axis=axis,
                window=window,
                draws=draws,
                method=method,
                noise=noise,
                prob=prob,
                seed=seed,
                device=device,
                dtype=dtype,
                format=format,
                params=params,
                tokens_per_step=tokens_per_step,
                gpu_hours=gpu_hours,
                as_json=as_json,
                **sweep,
            )
        )
    needs_store(sweep)
    from ..fits.fitting import fit as fit_runs
    from .fit_text import fit_dict, fit_text

    with guarded():
        runs = load_runs(source, format, params, tokens_per_step, gpu_hours)
        if run:
            runs = runs.select(run)
        span = window_of(window)
        mention_compilation()
    with guarded(notes=as_json):
        options: dict[str, Any] = {"method": method, "noise": noise, "prob": prob, "dtype": dtype}
        result = fit_runs(runs, law, axis, span, draws, device, seed, **options)
        if as_json:
            print_json(fit_dict(result, prob))
        else:
            click.echo(fit_text(result, prob))
        if out is not None:
            try:
                result.to_netcdf(out)
            except OSError as error:
                raise DataError(f"cannot write {out}: {error}") from None
            say(f"wrote {out}")
