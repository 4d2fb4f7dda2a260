"""A sweep's store: a Zarr group with a ledger of the chunks that it has.

``ledger/entry`` is an array of texts, one for each chunk of runs: what it was made from, the
checksums of its files, the runs that failed.  An entry is written when the files that it names are
on the disk; a chunk without an entry, or whose files do not match it, does not count and is made
again.  Entries are text that was written whole, and have a checksum of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .files import PARTIAL, StoreError, checksum, locked, put, sync_folders, write_error
from .layout import ERROR_ROWS, LEDGER, error_files, layout, tree
from .making import Made
from .work import Failure, Spec

__all__ = ["FORMAT", "Entry", "Store", "is_store", "read_attrs"]

FORMAT = "lossfit.sweep/1"
LOCK = "ledger/zarr.json"  # never replaced as long as there is the store
REFRESH = 15.0  # seconds between looks that the store shows to those who open it meanwhile

Entry = dict[str, Any]


def is_store(path: Path) -> bool:
    """Whether there is a sweep's store."""
    return read_attrs(path).get("format") == FORMAT


def read_attrs(path: Path) -> dict[str, Any]:
    """The attributes of a store; empty where there is none."""
    try:
        attrs = json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return attrs if isinstance(attrs, dict) else {}


class Store:
    """A store that this process may write to.

    Parameters
    ----------
    path : Path
    spec : Spec
    source : dict
        What is known of the input: kind, identity, shard.
    resume : bool
        Whether to go on with a store that is there.
    """

    def __init__(self, path: Path, spec: Spec, source: dict[str, Any], resume: bool) -> None:
        self.path, self.spec, self.source = path, spec, source
        self.arrays, self.fixed = layout(spec)
        self.entries: dict[int, Entry] = {}
        self.redone = 0
        self._stack = ExitStack()
        self._looked = time.monotonic()
        self._ledger = next(a for a in self.arrays if a.path == LEDGER)
        try:
            if path.exists() and not _empty(path):
                self._go_on(resume)
            else:
                self._create()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def attrs(self, **more: Any) -> dict[str, Any]:
        """Attributes of the root: nothing that differs between two sweeps of the same input."""
        return {
            "format": FORMAT,
            "lossfit_version": self.spec.version,
            "law": self.spec.law.name,
            "formula": self.spec.law.formula,
            "axis": self.spec.axis,
            "settings": self.spec.settings(),
            "input": self.source,
            "complete": False,
            **more,
        }

    def _create(self) -> None:
        """Make the store whole elsewhere and move it to its place."""
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(new, ignore_errors=True)
            lengths = {"run": 0, "row": 0, "chunk": 0}
            for name, data in tree(self.arrays, lengths, self.attrs(), self.spec).items():
                put(new / name, data)
            for array in self.arrays:
                if array.grows is None:
                    put(new / array.file(0), array.encode(self.fixed[array.path]))
            self._stack.enter_context(locked(new / LOCK, self.path))
            try:
                os.rename(new, self.path)
            except OSError as error:
                if self.path.exists() and not _empty(self.path):
                    raise StoreError(f"another process has just made {self.path}") from None
                raise write_error(self.path, error) from error
            sync_folders([self.path.parent])
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise write_error(self.path, error) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _go_on(self, resume: bool) -> None:
        attrs = read_attrs(self.path)
        if attrs.get("format") != FORMAT:
            other = attrs.get("format")
            what = (
                f"is a store of format {other!r}" if other else "is there and is no sweep's store"
            )
            raise StoreError(f"{self.path} {what}: give another place")
        self._stack.enter_context(locked(self.path / LOCK, self.path))
        if not resume:
            raise StoreError(
                f"there is a store {self.path}: resume=True (--resume) goes on with it; remove it "
                f"to start again"
            )
        self._compare(attrs)
        for left in self.path.rglob(f"*{PARTIAL}"):  # of a process that was killed
            try:
                left.unlink()
            except OSError as error:
                raise write_error(left, error) from error
        self._read_ledger()

    def _compare(self, attrs: dict[str, Any]) -> None:
        """Refuse to mix results of different versions, settings or inputs."""
        version = attrs.get("lossfit_version")
        if version != self.spec.version:
            raise StoreError(
                f"{self.path} was written by lossfit {version}, this is {self.spec.version}: go on "
                f"with that version, or give another store"
            )
        old, new = attrs.get("settings", {}), json.loads(json.dumps(self.spec.settings()))
        changed = [key for key in new if old.get(key) != new[key]]
        if changed:
            words = "; ".join(f"{k} was {old.get(k)!r} and is now {new[k]!r}" for k in changed)
            raise StoreError(
                f"{self.path} was made with other settings: {words}. Resume with those, or give "
                f"another store"
            )
        was, now = dict(attrs.get("input", {})), dict(self.source)
        for attributes in (was, now):
            attributes.pop("chunks_hash", None)
        if was != now:
            changed = sorted(k for k in {*was, *now} if was.get(k) != now.get(k))
            words = "; ".join(f"{k} was {was.get(k)!r} and is now {now.get(k)!r}" for k in changed)
            raise StoreError(
                f"the input of {self.path} has changed ({words}): give the same input, or another "
                f"store"
            )

    def _read_ledger(self) -> None:
        """Find the chunks that are whole; the others count as not there."""
        folder = self.path / LEDGER / "c"
        for file in sorted(folder.glob("*"), key=lambda f: f.name.zfill(12)):
            if not file.name.isdecimal():
                continue
            entry = _entry(file)
            if entry is not None and self._whole(entry):
                self.entries[int(file.name)] = _short(entry)
            else:
                self.redone += 1
                try:
                    file.unlink()
                except OSError as error:
                    raise write_error(file, error) from error

    def _whole(self, entry: Entry) -> bool:
        for name, (size, expected) in entry["files"].items():
            try:
                data = (self.path / name).read_bytes()
            except OSError:
                return False
            if len(data) != size or checksum(data) != expected:
                return False
        return True

    def take(self, made: Made) -> None:
        """Write a chunk, and then its entry in the ledger."""
        number, files = made.number, made.files
        for name, data in files.items():
            put(self.path / name, data)
        sync_folders((self.path / name).parent for name in files)
        entry: Entry = {
            "chunk": number,
            "first": number * self.spec.chunk_runs,
            "runs": made.runs,
            "input": made.hash,
            "files": {name: [len(data), checksum(data)] for name, data in files.items()},
            "flags": made.flags,
            "errors": [asdict(failure) for failure in made.failures],
        }
        body = json.dumps(entry, sort_keys=True)
        line = json.dumps({"entry": entry, "checksum": checksum(body.encode())}, sort_keys=True)
        place = self.path / self._ledger.file(number)
        put(place, self._ledger.encode(np.array([line], object)))
        sync_folders([place.parent])
        self.entries[number] = _short(entry)
        if time.monotonic() - self._looked > REFRESH:
            self._look(len(self._in_order()), complete=False)
            self._looked = time.monotonic()

    def finish(self) -> None:
        """Write the table of errors, the final lengths and what the whole input was."""
        entries = self._in_order()
        rows = 0
        for number, block in enumerate(_tables(self._failures(entries))):
            rows += len(block)
            for name, data in error_files(number, block, self.arrays).items():
                put(self.path / name, data)
        chunks_hash = checksum("".join(entry["input"] for entry in entries).encode())
        runs = sum(entry["runs"] for entry in entries)
        self._look(
            len(entries),
            complete=True,
            rows=rows,
            more={
                "input": {**self.source, "chunks_hash": chunks_hash},
                "runs": runs,
                "errors": rows,
            },
        )

    def _look(
        self, chunks: int, *, complete: bool, rows: int = 0, more: dict[str, Any] | None = None
    ) -> None:
        """Write what tells readers how long the arrays are."""
        runs = sum(self.entries[k]["runs"] for k in range(chunks))
        lengths = {"run": runs, "row": rows, "chunk": chunks}
        attrs = self.attrs(complete=complete, **(more or {}))
        files = tree(self.arrays, lengths, attrs, self.spec)
        for name, data in files.items():
            if name != LOCK:
                put(self.path / name, data, sync=complete)
        if complete:
            sync_folders((self.path / name).parent for name in files)

    def _failures(self, entries: list[Entry]) -> Iterator[list[Failure]]:
        """The failures of each chunk that has some."""
        for entry in entries:
            if entry["errors"]:
                whole = _entry(self.path / self._ledger.file(entry["chunk"]))
                if whole is None:
                    raise StoreError(
                        f"the ledger of {self.path} was damaged meanwhile: see to the disk, and "
                        f"resume"
                    )
                yield [Failure(**failure) for failure in whole["errors"]]

    def _in_order(self) -> list[Entry]:
        """The entries of the first chunks, up to the first that is missing."""
        out: list[Entry] = []
        while (entry := self.entries.get(len(out))) is not None:
            out.append(entry)
        return out


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _entry(file: Path) -> Entry | None:
    """An entry of the ledger, if it is whole."""
    from numcodecs import Zstd

    try:
        data = bytes(Zstd().decode(file.read_bytes()))
        line = json.loads(data[8:])
        entry: Entry = line["entry"]
        same = checksum(json.dumps(entry, sort_keys=True).encode()) == line["checksum"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
    return entry if same else None


def _short(entry: Entry) -> Entry:
    """What is kept in memory of an entry."""
    short = {key: entry[key] for key in ("chunk", "runs", "input", "flags")}
    return {**short, "errors": len(entry["errors"])}


def _tables(failures: Iterator[list[Failure]]) -> Iterator[list[Failure]]:
    """All failures, in the order of the runs, some at a time."""
    waiting: list[Failure] = []
    for block in failures:
        waiting += block
        while len(waiting) >= ERROR_ROWS:
            yield waiting[:ERROR_ROWS]
            waiting = waiting[ERROR_ROWS:]
    if waiting:
        yield waiting
