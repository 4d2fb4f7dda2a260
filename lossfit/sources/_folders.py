"""Which files of a folder are the logs in it."""

from __future__ import annotations

import re
from pathlib import Path

from .._base.errors import DataError
from .tensorboard import is_event_file

__all__ = ["logs_in"]

LOG_NAMES = ("trainer_state.json", "metrics.csv", "main.log")
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq", ".log", ".txt")
CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
DEEPEST = 2
MOST_FOLDERS = 2000


def logs_in(folder: Path, name: str) -> list[tuple[str, list[Path]]]:
    """The logs of a folder: for each the name of its run and its files.

    In this order: a file that trainers always call the same (``trainer_state.json``,
    ``metrics.csv``, ``main.log``); the ``trainer_state.json`` of the last ``checkpoint-N``;
    TensorBoard's event files, those of one folder being one run, here or up to two folders
    deeper; these same files in the folders in it, a run each; all files that end like logs.

    Raises
    ------
    DataError
        None of these.
    """
    try:
        found = _known(folder)
        if found:
            return [(folder.resolve().name or "run", found)]
        runs = _deeper(folder)
        if runs:
            return runs
        files = sorted(p for p in folder.iterdir() if p.is_file() and _is_log(p))
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error}") from None
    if not files:
        raise DataError(f"{name} is a directory: give the log files in it; it holds no known log")
    return [(_stem(path), [path]) for path in files]


def _known(folder: Path) -> list[Path]:
    """The files of one run in that folder itself."""
    for log in LOG_NAMES:
        if (folder / log).is_file():
            return [folder / log]
    states: list[tuple[int, Path]] = []
    events: list[Path] = []
    for path in folder.iterdir():
        checkpoint = CHECKPOINT.match(path.name)
        if checkpoint and (path / LOG_NAMES[0]).is_file():
            states.append((int(checkpoint.group(1)), path / LOG_NAMES[0]))
        elif is_event_file(path) and path.is_file():
            events.append(path)
    if states:
        return [max(states)[1]]
    return sorted(events)


def _deeper(folder: Path) -> list[tuple[str, list[Path]]]:
    """The runs in the folders in it."""
    runs: list[tuple[str, list[Path]]] = []
    if folder.resolve().parent == folder.resolve():  # the whole machine is no project
        return runs
    looked = 0
    level = [folder]
    for _ in range(DEEPEST):
        inner: list[Path] = []
        for parent in level:
            for path in sorted(parent.iterdir()):
                if path.name.startswith(".") or path.is_symlink() or not path.is_dir():
                    continue
                looked += 1
                if looked > MOST_FOLDERS:
                    return runs
                try:
                    found = _known(path)
                except OSError:
                    continue
                if found:
                    runs.append((path.relative_to(folder).as_posix(), found))
                else:
                    inner.append(path)
        level = inner
    return runs


def _is_log(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(ENDINGS) and not path.name.startswith(".")


def _stem(path: Path) -> str:
    return Path(path.stem).stem if path.suffix == ".gz" else path.stem
