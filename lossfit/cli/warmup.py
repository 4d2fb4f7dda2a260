"""``lossfit warmup``: compile the kernels now, and look after their cache."""

from __future__ import annotations

import click

from .common import guarded, say


@click.command()
@click.option("--clear", is_flag=True, help="Remove all compiled kernels from the cache instead.")
def command(clear: bool) -> None:
    r"""Compile all kernels, for an image, a cluster or a CI job: once, about a minute.

    Without it small questions are answered uncompiled, more slowly, while they are compiled in the
    background.  The environment variable LOSSFIT_CACHE names another folder for them.

    \b
    lossfit warmup
    LOSSFIT_CACHE=/shared/lossfit lossfit warmup
    lossfit warmup --clear
    """
    from ..engine.warming import clear_cache, warm_up

    with guarded():
        if clear:
            folder, freed = clear_cache()
            say(f"removed {freed / 1e6:.1f} MB of compiled kernels from {folder}")
            return
        folder, size = warm_up()
        say(f"compiled kernels: {size / 1e6:.1f} MB in {folder}")
