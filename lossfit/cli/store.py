"""``lossfit store verify STORE``: check every file of a sweep's store."""

from __future__ import annotations

import sys

import click

from .common import guarded, print_json, show_text

DAMAGED = 1  # exit code: something is damaged still


@click.group()
def command() -> None:
    r"""See to the store that `lossfit fit --out X.zarr` wrote.

    \b
    lossfit store verify fits.zarr
    lossfit store verify fits.zarr --repair
    """


@command.command()
@click.argument("store")
@click.option("--repair", is_flag=True, help="Write again what the other files of the store tell.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(store: str, repair: bool, as_json: bool) -> None:
    """Check every file of STORE, a folder or an address such as s3://bucket/x.zarr.

    Exit code 0: everything is as it was written.  1: files are damaged (and, with --repair, hold
    results, which only the sweep's own call with --resume makes again).
    """
    from ..sweep.verifying import verify as check

    with guarded():
        found = check(store, repair=repair)
    if as_json:
        print_json(found.to_dict())
    else:
        show_text(str(found))
    sys.exit(0 if found.whole else DAMAGED)
