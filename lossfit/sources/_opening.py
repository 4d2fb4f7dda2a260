"""From what a user names to logs: paths, folders, streams, standard input."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from .._base.errors import DataError
from ..runs.known import close_to
from ._folders import logs_in
from ._source import Source
from .tensorboard import is_event_file

LogSource: TypeAlias = "str | os.PathLike[str] | IO[Any] | Source"


def items_of(source: LogSource | Sequence[LogSource]) -> list[LogSource]:
    """What was asked for, as a list."""
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


def opened(item: LogSource) -> list[Source]:
    """The logs of one path or stream: one, or those of a folder."""
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
        groups = logs_in(path, name)
        return [
            replace(
                _parts([Source.of_path(file, str(file)) for file in log.files]),
                stem=log.stem,
                beside=tuple(log.others),
                optional=len(groups) > 1,
            )
            for log in groups
        ]
    name = str(getattr(item, "name", "the open file"))
    path = Path(name) if hasattr(item, "name") else Path("run")
    return [Source.of_stream(item, name, path.stem, "")]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def grouped(logs: list[Source]) -> list[Source]:
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
        for folder, group in by_folder.items():
            if log is group[0]:
                out[i] = replace(_parts(group), stem=folder.name or "run")
    return out


def _parts(logs: list[Source]) -> Source:
    """Files of one run as one log."""
    if len(logs) == 1:
        return logs[0]
    paths = tuple(sorted(path for log in logs for path in log.paths))
    return replace(logs[0], paths=paths)


def told_apart(logs: list[Source]) -> list[Source]:
    """The logs with stems that differ: files of one name also take that of their folder.

    Of files of one folder that differ in their ending the first keeps its name.
    """
    count = Counter(log.stem for log in logs)
    folders: dict[str, set[Path]] = {}
    for log in logs:
        folders.setdefault(log.stem, set()).add(Path(log.name).resolve().parent)
    seen: set[str] = set()
    out = []
    for log in logs:
        stem = log.stem
        if count[stem] > 1 and len(folders[stem]) > 1:
            stem = f"{Path(log.name).resolve().parent.name}/{stem}"
        elif stem in seen:  # slurm-1.out keeps its name, slurm-1.err is called by its file's
            stem = Path(log.name).name
        seen.add(log.stem)
        out.append(replace(log, stem=stem))
    return out
