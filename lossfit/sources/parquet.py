"""Tidy tables in Parquet files; needs the package pyarrow."""

from __future__ import annotations

import io

from ..errors import DataError
from ._source import Source, Table

__all__ = ["matches", "read"]

MAGIC = b"PAR1"


def matches(source: Source) -> bool:
    """A file with Parquet's magic number or ending."""
    return source.data.startswith(MAGIC) or source.suffix in (".parquet", ".pq")


def read(source: Source) -> Table:
    """The table as a frame.

    Raises
    ------
    DataError
        pyarrow is not installed; a damaged file.
    """
    import pandas as pd

    try:
        import pyarrow
    except ImportError:
        raise DataError(
            f"{source.name}: Parquet needs pyarrow: pip install 'lossfit[parquet]'"
        ) from None
    try:
        frame = pd.read_parquet(io.BytesIO(source.data), engine="pyarrow")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source.name} is not a Parquet file that can be read: {error}") from None
    return Table(frame.reset_index(drop=True), lambda i: f"row {i + 1} of {source.name}")
