"""Tidy tables in Parquet files; needs the package pyarrow."""

from __future__ import annotations

import io

from .._base.errors import DataError
from ._source import PARQUET, Example, Source, Table

# A column of one repeated value packs into nothing: a file may claim more rows than memory holds.
MOST_CELLS = 50_000_000
MOST_CELLS_A_BYTE = 200


def matches(source: Source) -> bool:
    """A file with Parquet's magic number or ending."""
    return source.data.startswith(PARQUET) or source.suffix in (".parquet", ".pq")


def read(source: Source) -> Table:
    """The table as a frame.

    Raises `DataError`: pyarrow is not installed; a damaged file; one that unpacks beyond reason.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            f"{source.name}: Parquet needs pyarrow: pip install 'lossfit[parquet]'"
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(io.BytesIO(source.data)) as file:
            cells = file.metadata.num_rows * file.metadata.num_columns
            if cells > max(MOST_CELLS, MOST_CELLS_A_BYTE * len(source.data)):
                raise DataError(
                    f"{source.name} unpacks to {cells:.3g} cells, which no log of its size does"
                )
            frame = file.read().to_pandas()
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        words = " ".join(str(error).split())
        raise DataError(f"{source.name} is not a Parquet file that can be read: {words}") from None
    return Table(frame.reset_index(drop=True), lambda i: f"row {i + 1} of {source.name}")


def _file() -> bytes:
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    columns = {"step": [10, 20, 30, 40], "loss": [6.1862, 5.4321, 5.1234, 4.9876]}
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


EXAMPLE = Example(_file, {10: 6.1862, 20: 5.4321, 30: 5.1234, 40: 4.9876})
