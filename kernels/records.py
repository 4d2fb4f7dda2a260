"""What kernels say of each run besides its draws: named columns, and structured arrays of them.

A kernel writes ``info[run, RHO1]``; Python reads ``info["rho1"]`` of the same memory.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ACCEPTANCE",
    "BOUND_SHARE",
    "B_MEAN",
    "B_SD",
    "EFFECTIVE_CELLS",
    "EFFECTIVE_NODES",
    "FIT",
    "FORECAST",
    "LOG_EVIDENCE",
    "MEMORY",
    "RHO1",
    "SIGMA",
    "SLOPE",
    "STATUS",
    "as_records",
    "as_table",
    "contiguous",
    "writable",
]

Fields = TypeVar("Fields", bound=tuple[Any, ...])

FIT = ("effective_nodes", "bound_share", "acceptance", "rho1", "status")
EFFECTIVE_NODES, BOUND_SHARE, ACCEPTANCE, RHO1, STATUS = range(5)

FORECAST = ("sigma", "slope", "effective_cells", "log_evidence", "b_mean", "b_sd", "memory")
SIGMA, SLOPE, EFFECTIVE_CELLS, LOG_EVIDENCE, B_MEAN, B_SD, MEMORY = range(7)


def as_records(values: NDArray[Any], names: tuple[str, ...]) -> NDArray[np.void]:
    """A table as a structured array, without a copy where it can be.

    Parameters
    ----------
    values : ndarray, shape (n, len(names))
    names : tuple of str

    Returns
    -------
    structured ndarray, shape (n,)
    """
    table = np.ascontiguousarray(values)
    fields = np.dtype([(name, table.dtype) for name in names])
    return table.view(fields)[:, 0]


def as_table(records: NDArray[Any]) -> NDArray[Any]:
    """A structured array as a table, shape (n, fields); a table as it is."""
    if records.dtype.names is None:
        return records
    # All fields are of one type.
    names = records.dtype.names
    return np.ascontiguousarray(records).view(records.dtype[0]).reshape(*records.shape, len(names))


def writable(values: ArrayLike, dtype: Any = np.float64) -> NDArray[Any]:
    """A contiguous array that may be written to, as kernels take them."""
    return np.require(values, dtype, ["C", "W"])


def contiguous(values: Fields) -> Fields:
    """A named tuple with its arrays as kernels take them, wherever they come from."""
    parts = (writable(v, v.dtype) if isinstance(v, np.ndarray) else v for v in values)
    return type(values)(*parts)
