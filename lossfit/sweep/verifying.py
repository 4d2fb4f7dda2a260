"""Check every file of a store, and write again what the others tell: `verify`."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arrays import same
from .files import Place, StoreError, StoreWriteError, place_of
from .layout import END, PLANS, error_files
from .ledger import (
    FORMAT,
    Entry,
    Stored,
    chunk_numbers,
    entry_file,
    entry_of,
    fault_of,
    no_store,
    stored,
    stored_attrs,
    unsealed,
)
from .plan import Plan
from .store import failures_of, settle, standing, tables


@dataclass(frozen=True)
class Fault:
    """A file that is not what was written."""

    file: str  # its name within the store
    what: str  # what is wrong with it
    # {"repaired", "repair", "resume"}: it was written again; ``repair=True`` would write it again;
    # or only the sweep itself can, by ``fit_to(..., resume=True)``, because it holds results
    fix: str


@dataclass(frozen=True)
class Verification:
    """What `lossfit.sweep.verify` found."""

    path: Path | str
    complete: bool  # whether the sweep was done
    # runs, chunks, files: how many of each were checked
    runs: int
    chunks: int
    files: int
    faults: tuple[Fault, ...] = field(default=())

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged now."""
        return all(fault.fix == "repaired" for fault in self.faults)

    def __str__(self) -> str:
        state = "of a sweep that is done" if self.complete else "of a sweep that is not done"
        lines = [
            f"{self.path}: {self.files:,} files {state} were checked, {self.chunks:,} chunks with "
            f"{self.runs:,} runs; {len(self.faults) or 'none'} damaged"
        ]
        fixes = {
            "repaired": "written again",
            "repair": "--repair writes it again",
            "resume": "the sweep's own call with --resume makes it again",
        }
        lines += [f"! {fault.file} {fault.what}: {fixes[fault.fix]}" for fault in self.faults]
        if not self.complete:
            lines.append("the sweep's own call with --resume goes on with it")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, schema ``lossfit.store_verification/1``."""
        return {
            "schema": "lossfit.store_verification/1",
            "store": str(self.path),
            "whole": self.whole,
            "complete": self.complete,
            "runs": self.runs,
            "chunks": self.chunks,
            "files": self.files,
            "faults": [vars(fault) for fault in self.faults],
        }


def verify(store: str | os.PathLike[str], *, repair: bool = False) -> Verification:
    """Check every file of a sweep's store against the ledger.

    Raises `StoreError`: no such store; all that says what it is was lost (then resume the sweep,
    which knows); another process is writing to it; with repair, it cannot be written.

    Parameters
    ----------
    store : path or str
        What `lossfit.fit_to` wrote, or an address such as ``s3://bucket/sweep.zarr``.
    repair : bool
        Whether to write damaged files again: all but those with results, which only the sweep
        itself can make again (``resume=True``).

    Examples
    --------
    >>> from lossfit.sweep import verify
    >>> found = verify("sweep.zarr")  # doctest: +SKIP
    >>> found.whole  # doctest: +SKIP
    True
    """
    place = place_of(store)
    if place.empty():
        raise StoreError(f"there is no store {place.path}")
    found = stored(place)
    if not found.attrs or found.attrs.get("format") != FORMAT:
        raise no_store(place, stored_attrs(place))
    if found.plan is None:
        raise StoreError(
            f"both copies of the plan of {place.path} are damaged ({', '.join(PLANS)}): the "
            f"sweep's own call with resume=True (--resume) writes them again"
        )
    with closing(place):
        try:
            place.lock()
        except StoreWriteError:  # read-only: then nobody writes
            if repair:
                raise
        if repair:
            place.tidy()
        return _Checking(place, found, found.plan, repair).result()


class _Checking:
    """One pass over a store."""

    def __init__(self, place: Place, found: Stored, plan: Plan, repair: bool) -> None:
        self.place, self.plan, self.repair = place, plan, repair
        self.faults: list[Fault] = []
        self.files = 0
        self.found, self.attrs = found, found.attrs
        self.complete = bool(self.attrs["complete"])
        self.shown = found.shown
        self.entries: dict[int, Entry] = {}

    def result(self) -> Verification:
        """Check everything."""
        numbers = chunk_numbers(self.place, self.found)
        for number in numbers:
            self._check_chunk(number)
        lengths = self._lengths()
        if self.complete:
            self._check_errors()
        self._check_standing(lengths)
        return Verification(
            path=self.place.path,
            complete=self.complete,
            runs=sum(entry["runs"] for entry in self.entries.values()),
            chunks=len(numbers),
            files=self.files,
            faults=tuple(self.faults),
        )

    def _check_chunk(self, number: int) -> None:
        self.files += 1
        entry = entry_of(self.place, number, self.plan)
        if entry is None:
            what = "is missing, is damaged or is another chunk's"
            self.faults.append(Fault(entry_file(number), what, "resume"))
            return
        for name, about in entry["files"].items():
            self.files += 1
            fault = fault_of(self.place.read(name), *about)
            if fault:
                self.faults.append(Fault(name, fault, "resume"))
        self.entries[number] = {k: entry[k] for k in ("runs", "errors")}

    def _lengths(self) -> dict[str, int]:
        """The lengths that readers should be told."""
        if self.complete:
            a = self.attrs
            return {"run": a["runs"], "row": a["errors"], "chunk": a["chunks"]}
        if self.shown is not None:
            return self.shown
        count = 0
        while count in self.entries:
            count += 1
        runs = sum(self.entries[k]["runs"] for k in range(count))
        return {"run": runs, "row": 0, "chunk": count}

    def _check_errors(self) -> None:
        """The table of errors, which follows from the entries if these are all there."""
        expected: dict[str, bytes] = {}
        if len(self.entries) == self.attrs["chunks"]:
            in_order = (self.entries[number]["errors"] for number in sorted(self.entries))
            for number, block in enumerate(tables(failures_of(errors) for errors in in_order)):
                expected |= error_files(number, block, self.plan.arrays)
        for name, about in self.attrs["error_files"].items():
            self.files += 1
            fault = fault_of(self.place.read(name), *about)
            if fault is None:
                continue
            # Another zstd may pack them otherwise: then the sweep itself has to say so.
            mendable = name in expected and fault_of(expected[name], *about) is None
            self._mend(name, fault, expected[name] if mendable else None)

    def _check_standing(self, lengths: dict[str, int]) -> None:
        """Labels, plan, end and all metadata, the root's last."""
        attrs = {**self.plan.attrs, **self.attrs}
        for name, expected in standing(self.plan, lengths, attrs).items():
            self.files += 1
            data = self.place.read(name)
            if name in PLANS:
                good = unsealed(data) == self.plan.to_dict()
            elif name == END:
                good = unsealed(data) == attrs
            else:
                good = same(data, expected) or (not self.complete and self._older(name, data))
            if not good:
                self._mend(name, "is missing" if data is None else "is damaged", expected)

    def _older(self, name: str, data: bytes | None) -> bool:
        """Whether metadata of an array differ by their length only: a look that was cut short."""
        array = self.plan.by_path.get(name.removesuffix("/zarr.json"))
        if array is None or array.grows is None:
            return False
        try:
            node = json.loads(data or b"")
            length = node["shape"][array.grows]
        except (ValueError, KeyError, TypeError, IndexError):
            return False
        return isinstance(length, int) and node == array.metadata(length)

    def _mend(self, name: str, what: str, data: bytes | None) -> None:
        fix = "resume" if data is None else "repair"
        if self.repair and data is not None:
            settle(self.place, {name: data})
            fix = "repaired"
        self.faults.append(Fault(name, what, fix))
