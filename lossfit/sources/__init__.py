"""Readers of log files: one module a format, and this registry.

To add a format, write ``lossfit/sources/NAME.py`` with the functions ``matches(source)`` and
``read(source)`` (`Reader`), and add NAME to `READERS` before the more general ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, cast

from .._base.errors import DataError, LossfitWarning
from ..runs.cleaning import Flag
from ..runs.collection import Runs
from ..runs.intake import clean
from ..runs.intake import join as combined
from ..runs.known import Known, NumberByRun, ScheduleByRun
from ..runs.loud import loud_notes
from ..runs.raw import Raw
from ..runs.reshaping import with_counts
from ..runs.selection import raw_of, splits
from ..runs.tables import is_table
from ._joining import joined
from ._opening import LogSource, grouped, items_of, opened, told_apart
from ._source import Reader, Source, Table

__all__ = ["READERS", "Log", "Reader", "Source", "Table", "load", "survey", "tables"]

BLANK_HEAD = 4096  # bytes that are looked at before all of them are
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

"""Flags that `load` says at once, in a warning."""


@dataclass(frozen=True)
class Log:
    """What was found in one log."""

    name: str  # its path, or "standard input"
    format: str  # one of `READERS`
    rows: int  # rows with the losses asked for, before cleaning
    loss: str  # the column read as the loss
    # whether these are training losses ("train"), validation losses ("val") or were chosen by name
    # ("named")
    losses: str
    runs: tuple[str, ...]  # names of its runs


def load(
    source: LogSource | Sequence[LogSource],
    *,
    format: str | None = None,
    loss: str = "train",
    columns: Mapping[str, str] | None = None,
    join: bool | None = None,
    params: NumberByRun = None,
    tokens_per_step: NumberByRun = None,
    gpu_hours: NumberByRun = None,
    schedules: ScheduleByRun = None,
    meta: Mapping[str, Mapping[str, Any]] | None = None,
) -> Runs:
    """Read runs from a built-in collection or from log files.

    Parameters
    ----------
    source : str, path, file object, or a list of them; or a table
        The name of a collection ("llama1", "llama2", "llama", "cosine_ablation"); a path; "-" for
        standard input; an open file.  A log without a column ``run`` holds one run, named after
        the file.  Of a folder the logs in it are read.  In a list, collections come first.
        A table is what `Runs.from_frame` takes.
    format : str, optional
        One of `READERS`, if the log is not recognized by itself (docs/formats.md).
    loss : str
        Which losses: ``"train"``; ``"val"``, the validation losses; ``"both"``, as two runs
        ``NAME/train`` and ``NAME/val``; or the name of a column.  Where a log has validation losses
        only, these are what ``"train"`` reads, with a flag.
    columns : dict, optional
        Which column of the log to read as what, e.g. ``{"tokens": "seen"}``.
    join : bool, optional
        Whether several logs are parts of one run: True joins all of them (and runs of equal names),
        False none.  By default logs whose names differ in numbers only are joined where one begins
        where another ends, with a flag.
    params, tokens_per_step, gpu_hours : float or dict by run, optional
        As in `Runs.from_frame`; not for built-in collections, which know them.
    schedules : Schedule or dict by run, optional
        As in `Runs.from_frame`.
    meta : dict by run of dicts, optional
        As in `Runs.from_frame`.

    Returns
    -------
    Runs
        The runs after cleaning; ``runs.flags`` says what was done to them.

    Raises
    ------
    DataError
        No such file or collection; contents that cannot be used.  The message names the file, the
        line and the fix.

    Warns
    -----
    LossfitWarning
        Once, if a log was read in a way that may not be what was meant: a sample of a longer one,
        damaged lines, a counter that begins again, ranks averaged, logs joined or not read.

    Examples
    --------
    >>> import lossfit
    >>> print(lossfit.load("llama2").names)
    ('llama2-7B', 'llama2-13B', 'llama2-34B', 'llama2-70B')
    >>> runs = lossfit.load(  # a table: here a dict of columns
    ...     {"step": range(100, 1100, 10), "loss": [4 - 0.01 * i for i in range(100)]},
    ...     tokens_per_step=500_000,
    ... )
    >>> runs.has("tokens")
    True
    """
    if is_table(source):
        return Runs.from_frame(
            source,
            loss=loss,
            columns=columns,
            params=params,
            tokens_per_step=tokens_per_step,
            gpu_hours=gpu_hours,
            schedules=schedules,
            meta=meta,
        )
    known = Known(params, tokens_per_step, gpu_hours, schedules, meta)
    runs = survey(source, format=format, loss=loss, columns=columns, join=join, known=known)[0]
    _warn(runs)
    return runs


def survey(
    # source, format, loss, columns, join: as in `load`
    source: LogSource | Sequence[LogSource],
    *,
    format: str | None = None,
    loss: str = "train",
    columns: Mapping[str, str] | None = None,
    join: bool | None = None,
    known: Known | None = None,  # what the user knows besides
) -> tuple[Runs, list[Log]]:
    """What `load` reads, and what was found in each log.

    Returns
    -------
    runs : Runs
    logs : list of Log
        One for each log that was read, twice for ``loss="both"``.
    """
    from ..runs import datasets

    known = known or Known()
    items = items_of(source)
    built_in = [item for item in items if isinstance(item, str) and item in datasets.NAMES]
    sources = grouped([log for item in items if item not in built_in for log in opened(item)])
    if not sources and (
        known != Known() or format is not None or columns is not None or loss != "train"
    ):
        raise DataError(
            f"{built_in[0]!r} is a built-in collection and knows its own params and so on; write "
            f"./{built_in[0]} for a file of that name"
        )
    parts = [datasets.collection(name) for name in built_in]
    logs: list[Log] = []
    if sources:
        sources, several = told_apart(sources), len(sources) > 1
        pieces, unread = _all_pieces(sources, format, loss, columns)
        if several:
            pieces = [_naming_its_log(piece) for piece in pieces]
        logs = [piece.log for piece in pieces]
        raws = joined([piece.raw for piece in pieces], join)
        names = {name for raw in raws for name in raw.names}
        for piece in pieces:
            known = _known_of(piece, known, names)
        raw = combined(raws)
        parts.append(Runs._of(clean(replace(raw, flags=[*raw.flags, *unread]), known)))
    runs = parts[0]
    for part in parts[1:]:
        runs = runs + part
    return runs, logs


def _all_pieces(
    logs: list[Source], format: str | None, loss: str, columns: Mapping[str, str] | None
) -> tuple[list[_Piece], list[Flag]]:
    """All logs, and a flag for those that were not read.

    Files of a folder that hold no losses are left out, unless there are no others.  ``logs`` is
    empty afterwards.
    """
    pieces: list[_Piece] = []
    errors: list[DataError] = []
    beside = [path for log in logs for path in log.beside]
    while logs:
        log = logs.pop(0)  # its text is of no use once it is read, and may be a GB
        try:
            pieces += _read(log, format, loss, columns)
        except DataError as error:
            if not log.optional:
                raise
            errors.append(error)
    if not pieces:
        raise errors[0]
    flags = []
    if errors:
        listed = "; ".join(map(str, errors[:3]))
        words = f"files of the folder that were not read: {listed}"
        flags.append(Flag(None, "unread_logs", len(errors), words))
    if beside:
        listed = ", ".join(str(path) for path in beside[:5]) + (", ..." if len(beside) > 5 else "")
        words = f"logs beside those that were read: {listed}; give them by name to read them"
        flags.append(Flag(None, "other_logs", len(beside), words))
    return pieces, flags


def tables(paths: Sequence[LogSource], format: str | None = None) -> Iterator[tuple[Source, Table]]:
    """Each log with its table, before any loss is chosen."""
    logs = [log for item in paths for log in opened(item)]
    for log in told_apart(grouped(logs)):
        name = _format_of(log) if format is None else format
        yield log, _module(name).read(log)


def _warn(runs: Runs) -> None:
    """One warning for what should not wait until somebody looks at the flags."""
    notes = loud_notes(runs)
    if notes:
        words = f"reading: {'; '.join(notes.values())}"
        warnings.warn(LossfitWarning(words, notes=notes), stacklevel=3)


@dataclass(frozen=True)
class _Piece:
    """One log, or its training or validation half."""

    raw: Raw
    log: Log
    tokens_per_step: float | None
    meta: Mapping[str, Any]


def _read(
    log: Source, format: str | None, loss: str, columns: Mapping[str, str] | None
) -> list[_Piece]:
    """The rows of one log."""
    if not log.data[:BLANK_HEAD].strip() and not log.data.strip():
        raise DataError(f"{log.name} is empty: give a log with at least three points")
    name = _format_of(log) if format is None else format
    if name not in READERS:
        raise DataError(f"no log format is called {name!r}; there are {', '.join(READERS)}")
    try:
        table = _module(name).read(log)
        table = replace(table, frame=with_counts(table.frame))
        if log.is_text and log.encoding != "utf-16" and b"\0" in log.data:
            lines = sum(1 for line in log.data.split(b"\n") if b"\0" in line)
            words = f"{lines} lines with NUL bytes, as a crash while writing leaves them"
            table.flags.append(Flag("", "damaged_lines", lines, words))
        if loss != "both":
            return [_piece(log, name, table, loss, columns, "")]
        halves = splits(table.frame)
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
    raw, chosen = raw_of(
        table.frame,
        loss,
        columns,
        name=log.stem,
        ending=ending,
        row_words=table.row_words,
        flags=table.flags,
        loss_flags=table.loss_flags,
        long=table.long,
    )
    log_record = Log(log.name, format, len(chosen.frame), chosen.column, chosen.kind, raw.names)
    return _Piece(raw, log_record, table.tokens_per_step, table.meta)


def _naming_its_log(piece: _Piece) -> _Piece:
    """With the log's name in the flags that are of no run."""
    flags = [
        flag
        if flag.run is not None
        else replace(flag, detail=f"{flag.detail} (in {piece.log.name})")
        for flag in piece.raw.flags
    ]
    return replace(piece, raw=replace(piece.raw, flags=flags))


def _known_of(piece: _Piece, known: Known, columns: set[str]) -> Known:
    """What the user knows and, where that says nothing, what the log says of its runs."""
    names = [name for name in piece.raw.names if name in columns]
    tokens, meta = known.tokens_per_step, known.meta
    size = piece.tokens_per_step
    if size is not None and (tokens is None or isinstance(tokens, Mapping)):
        tokens = {**dict.fromkeys(names, size), **(tokens or {})}
    stated = piece.meta
    if stated:
        meta = dict(meta or {})
        for name in names:
            given = meta.get(name, {})
            if isinstance(given, Mapping):
                meta[name] = {**stated, **given}
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
