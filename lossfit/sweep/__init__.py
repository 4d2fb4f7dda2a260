"""Sweeps: a law fitted to any number of runs, chunk by chunk, into a durable Zarr store.

`fit_to` (`sweeping`) reads a source (`reading`, `parquet`; `pieces` are runs not cleaned yet), has
chunks fitted (`work`, `making`; on a Dask cluster by `distributing`) and writes them (`arrays`,
`layout`, `plan`, `store`, `ledger`, `files`).  `open_store` (`result`, `checked`) reads, `verify`
(`verifying`) checks every file.
"""

from .files import StoreError, StoreWriteError
from .result import SweepResult, open_store
from .sweeping import fit_to
from .verifying import Verification, verify

__all__ = [
    "StoreError",
    "StoreWriteError",
    "SweepResult",
    "Verification",
    "fit_to",
    "open_store",
    "verify",
]
