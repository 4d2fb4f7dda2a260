"""Readers of log files: one module a format, and this registry.

To add a format, write ``lossfit/sources/NAME.py`` with the functions ``matches(source)`` and
``read(source)`` (`Reader`), and add NAME to `READERS` before the more general ones.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from ..errors import DataError
from ..frames import raw_from_frame
from ..intake import Raw, clean, join
from ..known import Known, NumberByRun, ScheduleByRun, close_to
from ..runs import Runs
from ._names import with_known_names
from ._source import Reader, Source, Table

__all__ = ["READERS", "Reader", "Source", "Table", "load"]

READERS: tuple[str, ...] = ("parquet", "jsonl", "delimited")
"""The formats, tried in this order: the first that matches reads the log."""

LogSource: TypeAlias = "str | os.PathLike[str] | IO[Any]"


def load(
    source: LogSource | Sequence[LogSource],
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    params: NumberByRun = None,
    tokens_per_step: NumberByRun = None,
    gpu_hours: NumberByRun = None,
    schedules: ScheduleByRun = None,
    meta: Mapping[str, Mapping[str, Any]] | None = None,
) -> Runs:
    """Read runs from a built-in collection or from log files.

    Parameters
    ----------
    source : str, path, file object, or a list of them
        The name of a collection ("llama1", "llama2", "llama", "cosine_ablation"); a path; "-" for
        standard input; an open file.  A log without a column ``run`` holds one run, named after
        the file.  In a list, collections come first.
    format : str, optional
        One of `READERS`, if the log is not recognized by itself.
    columns : dict, optional
        Which column of the log to read as what, e.g. ``{"loss": "val/loss"}``.
    params, tokens_per_step, gpu_hours, schedules, meta
        As in `Runs.from_frame`; not for built-in collections, which know them.

    Returns
    -------
    Runs

    Raises
    ------
    DataError
        No such file or collection; contents that cannot be used.  The message names the file, the
        line and the mend.
    """
    from .. import datasets

    items = _items(source)
    known = Known(params, tokens_per_step, gpu_hours, schedules, meta)
    built_in = [item for item in items if isinstance(item, str) and item in datasets.NAMES]
    logs = [_opened(item) for item in items if item not in built_in]
    if not logs and (known != Known() or format is not None or columns is not None):
        raise DataError(
            f"{built_in[0]!r} is a built-in collection and knows its own params and so on; write "
            f"./{built_in[0]} for a file of that name"
        )
    parts = [datasets.collection(name) for name in built_in]
    if logs:
        raws = [_read(log, format, columns) for log in _told_apart(logs)]
        parts.append(Runs._of(clean(join(raws), known)))
    runs = parts[0]
    for part in parts[1:]:
        runs = runs + part
    return runs


def _items(source: LogSource | Sequence[LogSource]) -> list[LogSource]:
    if isinstance(source, (str, os.PathLike)) or hasattr(source, "read"):
        return [cast(LogSource, source)]
    if not isinstance(source, Sequence) or isinstance(source, (bytes, bytearray)):
        raise DataError(
            f"load needs a collection, a path, an open file or a list of them, got "
            f"{type(source).__name__}"
        )
    items = list(source)
    if not items:
        raise DataError("load needs at least one path")
    for item in items:
        if not (isinstance(item, (str, os.PathLike)) or hasattr(item, "read")):
            raise DataError(f"a log is a path or an open file, got {item!r}")
    return items


def _opened(item: LogSource) -> Source:
    """The log in memory."""
    from ..datasets import NAMES

    if isinstance(item, str) and item == "-":
        return Source("standard input", "stdin", "", sys.stdin.buffer.read())
    if isinstance(item, (str, os.PathLike)):
        name = os.fsdecode(os.fspath(item))
        if not name:
            raise DataError("the path is empty: give a log file or a built-in collection")
        path = Path(name)
        if not path.exists() and not path.suffix and os.sep not in name:
            raise DataError(
                f"there is no collection and no file {name!r}{close_to(name, NAMES)}"
                f" (collections: {', '.join(NAMES)})"
            )
        return Source.of_path(path, name)
    data = item.read()
    name = str(getattr(item, "name", "the open file"))
    stem = Path(name).stem if hasattr(item, "name") else "run"
    return Source(name, stem, "", data.encode() if isinstance(data, str) else bytes(data))


def _told_apart(logs: list[Source]) -> list[Source]:
    """The logs with stems that differ: files of one name also take that of their folder."""
    count = Counter(log.stem for log in logs)
    return [
        replace(log, stem=f"{Path(log.name).resolve().parent.name}/{log.stem}")
        if count[log.stem] > 1
        else log
        for log in logs
    ]


def _read(log: Source, format: str | None, columns: Mapping[str, str] | None) -> Raw:
    """The rows of one log."""
    if not log.data.strip():
        raise DataError(f"{log.name} is empty: give a log with at least three points")
    reader = _reader(log, format)
    table = reader.read(log)
    frame, flags = with_known_names(table.frame, columns)
    try:
        return raw_from_frame(
            frame, name=log.stem, row_words=table.row_words, flags=[*table.flags, *flags]
        )
    except DataError as error:
        if log.name in str(error):
            raise
        raise DataError(f"{log.name}: {error}") from None


def _reader(log: Source, format: str | None) -> Reader:
    if format is not None:
        if format not in READERS:
            raise DataError(f"no log format is called {format!r}; there are {', '.join(READERS)}")
        return _module(format)
    for name in READERS:
        reader = _module(name)
        if reader.matches(log):
            return reader
    raise DataError(
        f"{log.name} is a binary file of a kind that lossfit does not read; it reads CSV, JSON "
        "lines and Parquet"
    )


def _module(name: str) -> Reader:
    return cast(Reader, import_module(f"{__name__}.{name}"))
