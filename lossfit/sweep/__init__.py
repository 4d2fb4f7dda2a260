"""Sweeps: a law fitted to any number of runs, chunk by chunk, into a durable Zarr store.

`fit_to` (`sweeping`) reads a source (`reading`, `parquet`; `pieces` are runs not cleaned yet), has
chunks fitted (`work`, `making`; on a Dask cluster by `distributing`) and writes them (`layout`,
`store`, `files`).
"""

from .files import StoreError, StoreWriteError
from .result import SweepResult, open_store
from .sweeping import fit_to

__all__ = ["StoreError", "StoreWriteError", "SweepResult", "fit_to", "open_store"]
