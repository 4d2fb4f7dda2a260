"""JSON documents as tables: rows in an array, or columns in an object."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ..runs.known import listed
from ..runs.names import role_of
from ._records import frame_of
from ._source import Table

if TYPE_CHECKING:
    import pandas as pd

MOST_NESTED = 4
WHOLE = re.compile(r"\s*-?\d{1,18}\s*")
STEPS = ("steps", "step", "x", "iterations", "epochs", "epoch")
VALUES = ("values", "value", "y")
EPOCH_SECONDS = 1e9  # wall times are counted from 1970


def table_of_document(
    document: Any,  # as the parser gives it
    name: str,  # what to call the file in messages
) -> Table:
    """The rows of a JSON document.

    Raises `DataError`: neither rows nor columns; the message says what it is.
    """
    if isinstance(document, list):
        return _of_list(document, name)
    if isinstance(document, dict):
        return _of_object(document, name)
    raise DataError(
        f"{name} is valid JSON, a single {_kind(document)}: give rows, such as "
        '[{"step": 1, "loss": 2.5}, ...]'
    )


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "text", bool: "truth value", type(None): "null"}
    return kinds.get(type(value), "number")


def _of_list(items: list[Any], name: str) -> Table:
    if not items:
        raise DataError(f"{name} is valid JSON, an empty array: there are no rows")
    if all(map(_is_number, items)):
        frame = _frame({"value": items})
        return Table(frame, _words(name))
    if all(isinstance(item, list) for item in items):
        return _of_lists(items, name)
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise DataError(
                f"{name}, entry {i + 1}: {_kind(item)}, not an object with step and loss"
            )
    frame, flags = frame_of([_flat(item) for item in items])
    return Table(frame, _words(name), flags)


def _of_lists(items: list[list[Any]], name: str) -> Table:
    """``[[wall time, step, value], ...]`` as TensorBoard's page gives it."""
    widths = {len(item) for item in items}
    if widths == {3} and all(_is_number(item[0]) and item[0] > EPOCH_SECONDS for item in items):
        wall, step, value = zip(*items, strict=True)
        return Table(_frame({"wall_time": wall, "step": step, "value": value}), _words(name))
    if len(widths) == 1 and 1 < widths.pop() <= 50:
        if len(items) > 1 and all(isinstance(cell, str) for cell in items[0]):
            names, *rows = items  # a line of names, and rows
            if len(set(names)) == len(names):
                return Table(
                    _frame(dict(zip(names, zip(*rows, strict=True), strict=True))),
                    lambda i: f"entry {i + 2} of {name}",
                )
        columns = zip(*items, strict=True)
        return Table(
            _frame({f"column {i + 1}": column for i, column in enumerate(columns)}), _words(name)
        )
    raise DataError(
        f"{name} is valid JSON, an array of arrays of several lengths: give rows, such as "
        '[{"step": 1, "loss": 2.5}, ...]'
    )


def _of_object(document: dict[str, Any], name: str) -> Table:
    split = _of_split(document, name)
    if split is not None:
        return split
    document = {key: _listed(value) for key, value in document.items()}
    series = {key: value for key, value in document.items() if _is_series(value)}
    if series:
        return _of_series(series, name)
    columns = _columns_in(document)
    if not columns:
        inner = [key for key, value in document.items() if isinstance(value, list)]
        rows = [key for key in inner if all(isinstance(i, dict) for i in document[key])]
        if len(rows) == 1 and document[rows[0]]:
            return _of_list(document[rows[0]], name)
        if document and all(isinstance(value, dict) for value in document.values()):
            numbered = [key for key in document if WHOLE.fullmatch(key)]
            if len(numbered) == len(document):  # {"10": {"loss": 2.5}, "20": ...}
                return _of_list([{"step": int(k), **v} for k, v in document.items()], name)
        raise DataError(
            f"{name} is valid JSON, an object with {listed(list(document), 8) or 'nothing in it'}, "
            "and neither rows nor columns of numbers: give rows, such as "
            '[{"step": 1, "loss": 2.5}, ...], or columns, such as {"loss": [2.5, ...]}'
        )
    sizes = {len(values) for values in columns.values()}
    most = max(sizes)
    whole = {key: values for key, values in columns.items() if len(values) == most}
    others = {key: values for key, values in columns.items() if len(values) != most}
    flags = []
    losses = [key for key in others if role_of(key) in ("loss", "val_loss", "other_loss")]
    if others:
        words = (
            f"{listed(list(others), 5)}: of {', '.join(str(len(v)) for v in others.values())} "
            f"values, where the others have {most}"
        )
        if losses and not any(role_of(key) in ("loss", "val_loss", "other_loss") for key in whole):
            raise DataError(f"{name}: columns of several lengths ({words}): give one length")
        flags.append(Flag(None, "ignored_columns", len(others), words))
    return Table(_frame(whole), _words(name), flags)


def _of_split(document: dict[str, Any], name: str) -> Table | None:
    """What pandas' ``to_json(orient="split")`` writes: names, and rows of values."""
    columns, rows = document.get("columns"), document.get("data")
    if not isinstance(columns, list) or not isinstance(rows, list) or not rows or not columns:
        return None
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        return None
    values = zip(*rows, strict=True)
    return Table(_frame(dict(zip(map(str, columns), values, strict=True))), _words(name))


def _listed(value: Any) -> Any:
    """A column by the number of its row, as pandas' ``to_json`` writes it, in that order."""
    if not isinstance(value, dict) or not value:
        return value
    if not all(key.isdigit() and (v is None or _is_number(v)) for key, v in value.items()):
        return value
    return list(value.values())


def _columns_in(document: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, list[Any]]:
    """Arrays of numbers by their key, those in inner objects as ``outer/inner``."""
    columns: dict[str, list[Any]] = {}
    for key, value in document.items():
        if isinstance(value, list) and value and all(v is None or _is_number(v) for v in value):
            columns[f"{prefix}{key}"] = value
        elif isinstance(value, dict) and depth < MOST_NESTED:
            columns.update(_columns_in(value, f"{prefix}{key}/", depth + 1))
    return columns


def _is_series(value: Any) -> bool:
    """Whether it is a metric with steps of its own, as Sacred writes it."""
    if not isinstance(value, dict):
        return False
    steps = next((value[k] for k in STEPS if isinstance(value.get(k), list)), None)
    values = next((value[k] for k in VALUES if isinstance(value.get(k), list)), None)
    return steps is not None and values is not None and len(steps) == len(values)


def _of_series(series: dict[str, Any], name: str) -> Table:
    import pandas as pd

    parts = []
    for key, metric in series.items():
        step = next(metric[k] for k in STEPS if isinstance(metric.get(k), list))
        value = next(metric[k] for k in VALUES if isinstance(metric.get(k), list))
        column = "step value" if key == "step" else key
        parts.append(_frame({"step": step, column: value}))
    frame = pd.concat(parts, ignore_index=True)
    at = [i for part in parts for i in range(len(part))]
    names = [key for key, part in zip(series, parts, strict=True) for _ in range(len(part))]
    words = "value {} of {} in {}".format
    return Table(frame, lambda i: words(at[i] + 1, names[i], name), long=True)


def _flat(record: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Objects in a row as ``outer/inner``."""
    if not any(isinstance(value, dict) for value in record.values()) and not prefix:
        return record
    out: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict) and depth < MOST_NESTED:
            out.update(_flat(value, f"{prefix}{key}/", depth + 1))
        else:
            out[f"{prefix}{key}"] = value
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _frame(data: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    import pandas as pd

    out = {}
    for name, values in data.items():
        try:
            out[name] = np.array([np.nan if v is None else v for v in values], dtype=float)
        except OverflowError:
            out[name] = np.array([np.nan if v is None else v for v in values], dtype=object)
        except (TypeError, ValueError):
            out[name] = np.array(values, dtype=object)
    return pd.DataFrame(out)


def _words(name: str) -> Any:
    return lambda i: f"entry {i + 1} of {name}"
