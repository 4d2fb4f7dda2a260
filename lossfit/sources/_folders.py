"""Which files of a folder are the logs in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .._base.errors import DataError
from .tensorboard import is_event_file

# What trainers always call the same, the best first: Hugging Face, Lightning, llm.c, YOLO,
# LLaMA-Factory, MMEngine, detectron2, DETR.
LOG_NAMES = (
    "trainer_state.json",
    "metrics.csv",
    "main.log",
    "results.csv",
    "trainer_log.jsonl",
    "vis_data/scalars.json",
    "metrics.json",
    "files/output.log",
)
ENDINGS = (
    ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq", ".log", ".txt", ".out", ".err",
    ".log.json",
)  # fmt: skip
NO_LOGS = ("requirements", "readme", "license", "hparams", "args", "config", "vocab", "merges")
CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
DEEPEST = 2
MOST_FOLDERS = 2000


class FoundLog(NamedTuple):
    """A log in a folder: the name of its run, its files, and logs beside it that are not read."""

    stem: str
    files: list[Path]
    others: list[Path]


def logs_in(folder: Path, name: str) -> list[FoundLog]:
    """The logs of a folder.

    In this order: a file that trainers always call the same (`LOG_NAMES`); the
    ``trainer_state.json`` of the last ``checkpoint-N``; TensorBoard's event files, those of one
    folder being one run; these same files in the folders in it, up to two deeper, a run each; all
    files that end like logs.

    Raises `DataError`: none of these.
    """
    try:
        known = _known(folder)
        if known:
            return [FoundLog(folder.resolve().name or "run", known, _beside(folder, known))]
        runs = _deeper(folder)
        # What went to stderr comes last: it is named by its file where both have losses.
        files = sorted(_logs(folder), key=lambda path: (path.suffix == ".err", path))
        if runs:
            # A job's own output lies beside the folders of its runs.
            return [*runs[:-1], runs[-1]._replace(others=[*runs[-1].others, *files])]
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error}") from None
    if not files:
        raise DataError(f"{name} is a directory: give the log files in it; it holds no known log")
    return [FoundLog(_stem(path), [path], []) for path in files]


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


def _beside(folder: Path, known: list[Path]) -> list[Path]:
    """Other logs of a folder; of texts those that are called logs."""
    events = [path for path in folder.iterdir() if is_event_file(path) and path.is_file()]
    named = [folder / log for log in LOG_NAMES if (folder / log).is_file()]
    logs = [path for path in _logs(folder) if path.suffix != ".txt" or "log" in path.stem.lower()]
    return sorted({*logs, *events, *named} - set(known))


def _logs(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file() and _is_log(path))


def _deeper(folder: Path) -> list[FoundLog]:
    """The runs in the folders in it."""
    runs: list[FoundLog] = []
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
                    known = _known(path)
                    others = _beside(path, known) if known else []
                except OSError:
                    continue
                if known:
                    runs.append(FoundLog(path.relative_to(folder).as_posix(), known, others))
                else:
                    inner.append(path)
        level = inner
    return runs


def _is_log(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(ENDINGS) and not path.name.startswith(".") and not name.startswith(NO_LOGS)


def _stem(path: Path) -> str:
    return Path(path.stem).stem if path.suffix == ".gz" else path.stem
