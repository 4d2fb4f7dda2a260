"""Sweeps: a law fitted to any number of runs, chunk by chunk, into a durable Zarr store.

`fit_to` (`sweeping`) reads a source (`reading`, `parquet`; `pieces` are runs not cleaned yet), has
chunks fitted (`work`, `making`; on a Dask cluster by `distributing`) and writes them (`layout`,
`store`, `files`).
"""

from .files import StoreError, StoreWriteError
from .result import SweepResult, open_store
from .sweeping import fit_to

__all__ = ["StoreError", "StoreWriteError", "SweepResult", "cli_fit", "fit_to", "open_store"]


def cli_fit(*args: object, **options: object) -> int:
    """``lossfit fit --out X.zarr``; see `lossfit.cli.sweep.cli_fit`."""
    from ..cli.sweep import cli_fit as run

    return run(*args, **options)  # type: ignore[arg-type]
