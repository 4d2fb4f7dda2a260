"""Readers of log files: one module a format, and this registry.

To add a format, write ``lossfit/sources/NAME.py`` with the functions ``matches(source)`` and
``read(source)`` (`Reader`), and add NAME to `READERS` before the more general ones.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from .._base.errors import DataError, LossfitWarning
from ..runs.cleaning import Flag
from ..runs.collection import Runs
from ..runs.frames import raw_from_frame
from ..runs.intake import Raw, clean, join
from ..runs.known import Known, NumberByRun, ScheduleByRun, close_to
from ..runs.labels import names_text
from ._folders import logs_in
from ._selection import choose, splits
from ._source import Reader, Source, Table
from .tensorboard import is_event_file

__all__ = ["READERS", "Log", "Reader", "Source", "Table", "load", "survey"]

READERS: tuple[str, ...] = (
    "wandb_history",
    "parquet",
    "tensorboard",
    "trainer_state",
    "llmc",
    "modded_nanogpt",
    "nanogpt",
    "megatron",
    "jsonl",
    "wandb_chart",
    "wandb_runs",
    "tensorboard_csv",
    "lightning",
    "text_table",
    "console",
    "delimited",
)
"""The formats, tried in this order: the first that matches reads the log."""

LOUD = ("sampled_history", "damaged_lines")
LogSource: TypeAlias = "str | os.PathLike[str] | IO[Any] | Source"


@dataclass(frozen=True)
class Log:
    """What was found in one log.

    Attributes
    ----------
    name : str
        Its path, or "standard input".
    format : str
        One of `READERS`.
    rows : int
        Rows with the losses asked for, before cleaning.
    loss : str
        The column read as the loss.
    losses : str
        Whether these are training losses ("train"), validation losses ("val") or were chosen by
        name ("named").
    runs : tuple of str
        Names of its runs.
    """

    name: str
    format: str
    rows: int
    loss: str
    losses: str
    runs: tuple[str, ...]


def load(
    source: LogSource | Sequence[LogSource],
    *,
    format: str | None = None,
    loss: str = "train",
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
        the file.  Of a folder the logs in it are read.  In a list, collections come first.
    format : str, optional
        One of `READERS`, if the log is not recognized by itself (docs/formats.md).
    loss : str
        Which losses: ``"train"``; ``"val"``, the validation losses; ``"both"``, as two runs
        ``NAME/train`` and ``NAME/val``; or the name of a column.  Where a log has validation losses
        only, these are what ``"train"`` reads, with a flag.
    columns : dict, optional
        Which column of the log to read as what, e.g. ``{"tokens": "seen"}``.
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

    Warns
    -----
    LossfitWarning
        Once, if a log is a sample of a longer one, or has damaged lines.
    """
    known = Known(params, tokens_per_step, gpu_hours, schedules, meta)
    runs = survey(source, format=format, loss=loss, columns=columns, known=known)[0]
    _warn(runs)
    return runs


def survey(
    source: LogSource | Sequence[LogSource],
    *,
    format: str | None = None,
    loss: str = "train",
    columns: Mapping[str, str] | None = None,
    known: Known | None = None,
) -> tuple[Runs, list[Log]]:
    """What `load` reads, and what was found in each log.

    Parameters
    ----------
    source, format, loss, columns
        As in `load`.
    known : Known, optional
        What the user knows besides.

    Returns
    -------
    runs : Runs
    logs : list of Log
        One for each log that was read, twice for ``loss="both"``.
    """
    from ..runs import datasets

    known = known or Known()
    items = _items(source)
    built_in = [item for item in items if isinstance(item, str) and item in datasets.NAMES]
    sources = _grouped([log for item in items if item not in built_in for log in _opened(item)])
    if not sources and (
        known != Known() or format is not None or columns is not None or loss != "train"
    ):
        raise DataError(
            f"{built_in[0]!r} is a built-in collection and knows its own params and so on; write "
            f"./{built_in[0]} for a file of that name"
        )
    parts = [datasets.collection(name) for name in built_in]
    found: list[Log] = []
    if sources:
        pieces = [
            piece for log in _told_apart(sources) for piece in _read(log, format, loss, columns)
        ]
        if len(sources) > 1:
            pieces = [_naming_its_log(piece) for piece in pieces]
        found = [piece.log for piece in pieces]
        for piece in pieces:
            known = _known_of(piece, known)
        parts.append(Runs._of(clean(join([piece.raw for piece in pieces]), known)))
    runs = parts[0]
    for part in parts[1:]:
        runs = runs + part
    return runs, found


def _warn(runs: Runs) -> None:
    """One warning for what should not wait until somebody looks at the flags."""
    words = []
    for flag in LOUD:
        found = [f for some in runs._columns.flags.values() for f in some if f.flag == flag]
        if found:
            who = names_text([f.run for f in found if f.run is not None]) or "all runs"
            words.append(f"{flag} ({who}): {found[0].detail}")
    if words:
        warnings.warn(LossfitWarning(f"reading: {'; '.join(words)}"), stacklevel=3)


def _items(source: LogSource | Sequence[LogSource]) -> list[LogSource]:
    if isinstance(source, (str, os.PathLike, Source)) or hasattr(source, "read"):
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
        if not (isinstance(item, (str, os.PathLike, Source)) or hasattr(item, "read")):
            raise DataError(f"a log is a path or an open file, got {item!r}")
    return items


def _opened(item: LogSource) -> list[Source]:
    """The logs in memory: one, or those of a folder."""
    from ..runs.datasets import NAMES

    if isinstance(item, Source):
        return [item]
    if isinstance(item, str) and item == "-":
        return [Source.of_stream(sys.stdin.buffer, "standard input", "stdin", "")]
    if isinstance(item, (str, os.PathLike)):
        name = os.fsdecode(os.fspath(item))
        if not name:
            raise DataError("the path is empty: give a log file or a built-in collection")
        path = Path(name)
        if not _exists(path) and not path.suffix and os.sep not in name:
            raise DataError(
                f"there is no collection and no file {name!r}{close_to(name, NAMES)}"
                f" (collections: {', '.join(NAMES)})"
            )
        if not path.is_dir():
            return [Source.of_path(path, name)]
        return [
            replace(_parts([Source.of_path(file, str(file)) for file in files]), stem=stem)
            for stem, files in logs_in(path, name)
        ]
    name = str(getattr(item, "name", "the open file"))
    path = Path(name) if hasattr(item, "name") else Path("run")
    return [Source.of_stream(item, name, path.stem, "")]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _grouped(logs: list[Source]) -> list[Source]:
    """The logs, event files of one folder being one log named after the folder."""
    by_folder: dict[Path, list[Source]] = {}
    out: list[Source] = []
    for log in logs:
        if len(log.paths) == 1 and is_event_file(log.paths[0]) and "tfevents" in log.stem:
            folder = log.paths[0].resolve().parent
            if folder not in by_folder:
                by_folder[folder] = []
                out.append(log)
            by_folder[folder].append(log)
        else:
            out.append(log)
    for i, log in enumerate(out):
        for folder, some in by_folder.items():
            if log is some[0]:
                out[i] = replace(_parts(some), stem=folder.name or "run")
    return out


def _parts(logs: list[Source]) -> Source:
    """Files of one run as one log."""
    if len(logs) == 1:
        return logs[0]
    paths = tuple(sorted(path for log in logs for path in log.paths))
    return replace(logs[0], paths=paths)


def _told_apart(logs: list[Source]) -> list[Source]:
    """The logs with stems that differ: files of one name also take that of their folder."""
    count = Counter(log.stem for log in logs)
    return [
        replace(log, stem=f"{Path(log.name).resolve().parent.name}/{log.stem}")
        if count[log.stem] > 1
        else log
        for log in logs
    ]


@dataclass(frozen=True)
class _Piece:
    """One log, or its training or validation half."""

    raw: Raw
    log: Log
    table: Table


def _read(
    log: Source, format: str | None, loss: str, columns: Mapping[str, str] | None
) -> list[_Piece]:
    """The rows of one log."""
    if not log.data.strip():
        raise DataError(f"{log.name} is empty: give a log with at least three points")
    name = _format_of(log) if format is None else format
    if name not in READERS:
        raise DataError(f"no log format is called {name!r}; there are {', '.join(READERS)}")
    try:
        table = _module(name).read(log)
        if loss != "both":
            return [_piece(log, name, table, loss, columns, "")]
        halves = splits(table)
        endings = [f"/{half}" for half in halves] if len(halves) > 1 else [""]
        return [
            _piece(log, name, table, half, columns, ending)
            for half, ending in zip(halves, endings, strict=True)
        ]
    except DataError as error:
        if log.name in str(error):
            raise
        raise DataError(f"{log.name}: {error}") from None


def _piece(
    log: Source,
    format: str,
    table: Table,
    loss: str,
    columns: Mapping[str, str] | None,
    ending: str,
) -> _Piece:
    """The losses asked for; the runs' names get the ending."""
    chosen = choose(table, loss, columns)
    raw = raw_from_frame(chosen.frame, name=log.stem, row_words=chosen.row_words)
    before = raw.names
    names = tuple(f"{name}{ending}" for name in before)
    renamed = dict(zip(before, names, strict=True))
    flags: list[Flag] = []
    for flag in [*chosen.flags, *raw.flags]:
        if flag.run == "":  # of every run of the log; of the only one, mostly
            one = names[0] if len(names) == 1 else None
            flags.append(replace(flag, run=one))
        elif flag.run is None or flag.run in renamed:
            flags.append(replace(flag, run=renamed.get(flag.run) if flag.run else None))
    found = Log(log.name, format, len(chosen.frame), chosen.column, chosen.kind, names)
    return _Piece(replace(raw, names=names, flags=flags), found, table)


def _naming_its_log(piece: _Piece) -> _Piece:
    """With the log's name in the flags that are of no run."""
    flags = [
        flag
        if flag.run is not None
        else replace(flag, detail=f"{flag.detail} (in {piece.log.name})")
        for flag in piece.raw.flags
    ]
    return replace(piece, raw=replace(piece.raw, flags=flags))


def _known_of(piece: _Piece, known: Known) -> Known:
    """What the user knows and, where that says nothing, what the log says of its runs."""
    names = piece.raw.names
    tokens, meta = known.tokens_per_step, known.meta
    size = piece.table.tokens_per_step
    if size is not None and (tokens is None or isinstance(tokens, Mapping)):
        tokens = {**dict.fromkeys(names, size), **(tokens or {})}
    if piece.table.meta:
        meta = dict(meta or {})
        for name in names:
            given = meta.get(name, {})
            if isinstance(given, Mapping):
                meta[name] = {**piece.table.meta, **given}
    return replace(known, tokens_per_step=tokens, meta=meta)


def _format_of(log: Source) -> str:
    for name in READERS:
        if _module(name).matches(log):
            return name
    raise DataError(
        f"{log.name} is a binary file of a kind that lossfit does not read; it reads logs and "
        "tables as text, Parquet and TensorBoard's event files"
    )


def _module(name: str) -> Reader:
    return cast(Reader, import_module(f"{__name__}.{name}"))
