"""Frames of many kinds as a pandas frame: polars, pyarrow, dicts of arrays, lists, histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

KINDS = (
    "a pandas, polars or pyarrow table, a dict of arrays, a list of dicts, or a run of W&B or Keras"
)


def is_table(data: Any) -> bool:
    """Whether `frame_from` takes it for a table, and no path or collection of runs."""
    if isinstance(data, (str, bytes)) or hasattr(data, "__fspath__"):
        return False
    if isinstance(data, Mapping):
        return True
    if isinstance(data, Sequence):
        return bool(data) and all(isinstance(row, Mapping) for row in data)
    return any(
        hasattr(data, name) for name in ("to_pandas", "scan_history", "iloc", "get_columns")
    ) or (
        isinstance(getattr(data, "history", None), Mapping)
        or (isinstance(data, np.ndarray) and data.dtype.names is not None)
    )


def frame_from(data: Any) -> pd.DataFrame:
    """A pandas frame with the same columns; a pandas frame itself as it is.

    Raises `DataError`: anything else; columns of several lengths.

    Parameters
    ----------
    data : table
        A pandas frame; a polars frame or pyarrow table; a dict of arrays or lists of one length; a
        list of dicts, a row each; a structured array; a run of W&B, whose whole history is read
        (``scan_history``); what Keras' ``fit`` gives.

    Examples
    --------
    >>> frame_from({"step": [1, 2, 3], "loss": [5.0, 4.0, 3.5]}).shape
    (3, 2)
    """
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, np.ndarray) and data.dtype.names is not None:
        return pd.DataFrame({name: data[name] for name in data.dtype.names})
    if isinstance(data, Mapping):
        return _of_columns(data)
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        if not data or not all(isinstance(row, Mapping) for row in data):
            raise DataError(f"give {KINDS}; got a {type(data).__name__} of something else")
        return pd.DataFrame(list(data))
    scan = getattr(data, "scan_history", None)
    if callable(scan):
        rows = list(scan())
        if not rows:
            raise DataError("the history of the run is empty")
        return pd.DataFrame(rows)
    history = getattr(data, "history", None)
    if isinstance(history, Mapping):
        epoch = getattr(data, "epoch", None)
        columns = dict(history)
        if epoch is not None and len(epoch) == len(next(iter(history.values()), ())):
            columns.setdefault("epoch", epoch)
        return _of_columns(columns)
    if hasattr(data, "get_columns") and hasattr(data, "columns"):  # polars, without pyarrow
        return pd.DataFrame({column.name: column.to_numpy() for column in data.get_columns()})
    if hasattr(data, "to_pandas"):
        frame = data.to_pandas()
        if isinstance(frame, pd.DataFrame):
            return frame
    raise DataError(f"give a pandas DataFrame, or {KINDS}; got {type(data).__name__}")


def _of_columns(columns: Mapping[Any, Any]) -> pd.DataFrame:
    import pandas as pd

    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if isinstance(values, str) or np.isscalar(values):
            continue  # one value for all rows, such as a name
        try:
            array = np.asarray(values)
        except ValueError:
            array = np.zeros((0, 0))
        if array.ndim != 1:
            raise DataError(f"the column {str(name)!r} must be a flat array of numbers or names")
        arrays[str(name)] = array
    lengths = {len(values) for values in arrays.values()}
    if len(lengths) != 1:
        sizes = ", ".join(f"{name!r} has {len(values)}" for name, values in arrays.items())
        raise DataError(f"the columns must have one length: {sizes or 'there are none'}")
    length = lengths.pop()
    for name, value in columns.items():
        if isinstance(value, str) or np.isscalar(value):
            arrays[str(name)] = np.full(length, value, dtype=object)
    return pd.DataFrame(arrays)
