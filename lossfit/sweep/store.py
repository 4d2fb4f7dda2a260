"""A sweep's store: a Zarr group with a ledger of the chunks that it has.

``ledger/entry`` is an array of texts, one for each chunk of runs: what it was made from, the
checksums of its files, the runs that failed.  An entry is written when the files that it names are
on the disk; a chunk without an entry, or whose files do not match it, does not count and is made
again.  ``ledger/plan`` holds, twice, all that was known before (`plan`), and ``ledger/end`` what
the root says of a sweep that is done: from these every other file can be written again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from .arrays import ERROR_ROWS, same
from .files import Place, StoreError, checksum
from .layout import END, PLANS, error_files
from .ledger import (
    FORMAT,
    Entry,
    chunk_numbers,
    entry_file,
    entry_of,
    fault_of,
    no_store,
    sealed,
    stored,
    stored_attrs,
)
from .making import Made
from .plan import Plan, plan_of
from .work import Failure, Spec

REFRESH = 15.0  # seconds between looks that the store shows to those who open it meanwhile


def root_attrs(spec: Spec, source: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of the root: nothing that differs between two sweeps of the same input."""
    return {
        "format": FORMAT,
        "lossfit_version": spec.version,
        "law": spec.law.name,
        "formula": spec.law.formula,
        "axis": spec.axis,
        "settings": spec.settings(),
        "input": dict(source),
        "complete": False,
    }


def standing(plan: Plan, lengths: Mapping[str, int], attrs: Mapping[str, Any]) -> dict[str, bytes]:
    """All files that do not belong to chunks or to the table of errors, the root's last."""
    copies = dict.fromkeys(PLANS, sealed(plan.to_dict()))
    end = {END: sealed(dict(attrs))} if attrs["complete"] else {}
    return {**plan.fixed, **copies, **end, **plan.tree(lengths, attrs)}


def settle(place: Place, files: Mapping[str, bytes], write: bool = True) -> list[str]:
    """Write the files that are not as they should be, the root's last; their names."""
    names = []
    for name, data in files.items():
        if name == "zarr.json" and write:
            place.sync()  # what it tells readers of is there before it tells them
        if not same(place.read(name), data):
            names.append(name)
            if write:
                place.put(name, data)
    if write:
        place.sync()
    return names


class Store:
    """A store that this process may write to.

    Parameters
    ----------
    place : Place
    spec : Spec
    source : dict
        What is known of the input: kind, identity, shard.
    resume : bool
        Whether to go on with a store that is there.
    """

    def __init__(self, place: Place, spec: Spec, source: dict[str, Any], resume: bool) -> None:
        self.place, self.spec = place, spec
        self.source = source
        self.plan = plan_of(spec, root_attrs(spec, source))
        self.entries: dict[int, Entry] = {}
        self.redone = 0
        self.healed: set[str] = set()
        self._was_done = False
        self._stack = ExitStack()
        self._stack.callback(place.close)
        self._looked = time.monotonic()
        try:
            if place.empty():
                lengths = {"run": 0, "row": 0, "chunk": 0}
                place.create(standing(self.plan, lengths, self.plan.attrs))
            else:
                self._go_on(resume)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _go_on(self, resume: bool) -> None:
        found = stored(self.place)
        if found.plan is None and found.root is None and found.end is None:
            # All that says what it is may be lost; if its chunks are of this plan, it is this one.
            numbers = chunk_numbers(self.place, found)
            if not any(entry_of(self.place, number, self.plan) for number in numbers):
                raise no_store(self.place, stored_attrs(self.place))
        elif found.attrs.get("format") != FORMAT:
            raise no_store(self.place, found.attrs)
        self.place.lock()
        if not resume:
            raise StoreError(
                f"there is a store {self.place.path}: resume=True (--resume) goes on with it; "
                f"remove it to start again"
            )
        if found.attrs:
            self._compare(found.attrs)
        if found.plan is not None:
            self.plan = found.plan
        self.place.tidy()
        lost = self._read_ledger(chunk_numbers(self.place, found))
        damaged = {*found.damaged, *settle(self.place, self.plan.fixed)}
        self._was_done = found.root is not None and found.attrs["complete"] and not lost
        if lost or found.root is None:
            self._look(len(self._in_order()), complete=False)
        for number in lost:  # only now: readers are no longer told of them
            self.place.remove(entry_file(number))
        self.place.sync()
        self.redone = len(lost)
        self.healed = damaged

    def _compare(self, attrs: dict[str, Any]) -> None:
        """Refuse to mix results of different versions, settings or inputs."""
        path = self.place.path
        version = attrs.get("lossfit_version")
        if version != self.spec.version:
            raise StoreError(
                f"{path} was written by lossfit {version}, this is {self.spec.version}: go on "
                f"with that version, or give another store"
            )
        old, new = attrs.get("settings", {}), json.loads(json.dumps(self.spec.settings()))
        changed = [key for key in new if old.get(key) != new[key]]
        if changed:
            words = "; ".join(f"{k} was {old.get(k)!r} and is now {new[k]!r}" for k in changed)
            raise StoreError(
                f"{path} was made with other settings: {words}. Resume with those, or give "
                f"another store"
            )
        was, now = dict(attrs.get("input", {})), dict(self.source)
        for attributes in (was, now):
            attributes.pop("chunks_hash", None)
        if was != now:
            changed = sorted(k for k in {*was, *now} if was.get(k) != now.get(k))
            words = "; ".join(f"{k} was {was.get(k)!r} and is now {now.get(k)!r}" for k in changed)
            raise StoreError(
                f"the input of {path} has changed ({words}): give the same input, or another store"
            )

    def _read_ledger(self, numbers: list[int]) -> list[int]:
        """Find the chunks that are whole; the others, which count as not there, are returned."""
        lost = []
        for number in numbers:
            entry = entry_of(self.place, number, self.plan)
            if entry is not None and self._whole(entry):
                self.entries[number] = _short(entry)
            else:
                lost.append(number)
        return lost

    def _whole(self, entry: Entry) -> bool:
        return not any(
            fault_of(self.place.read(name), *about) for name, about in entry["files"].items()
        )

    def take(self, made: Made) -> None:
        """Write a chunk, and then its entry in the ledger."""
        number, files = made.number, made.files
        for name, data in files.items():
            self.place.put(name, data)
        self.place.sync()
        entry: Entry = {
            "chunk": number,
            "plan": self.plan.hash,
            "first": number * self.spec.chunk_runs,
            "runs": made.runs,
            "input": made.hash,
            "files": {name: [len(data), checksum(data)] for name, data in files.items()},
            "flags": made.flags,
            "errors": [asdict(failure) for failure in made.failures],
        }
        self.place.put(entry_file(number), sealed(entry))
        self.place.sync()
        self.entries[number] = _short(entry)
        if time.monotonic() - self._looked > REFRESH:
            self._look(len(self._in_order()), complete=False)
            self._looked = time.monotonic()

    def finish(self) -> None:
        """Write the table of errors, the final lengths and what the whole input was."""
        entries = self._in_order()
        rows = 0
        changed: list[str] = []
        about: dict[str, list[Any]] = {}
        for number, block in enumerate(tables(self._failures(entries))):
            rows += len(block)
            files = error_files(number, block, self.plan.arrays)
            changed += settle(self.place, files)
            about |= {name: [len(data), checksum(data)] for name, data in files.items()}
        chunks_hash = checksum("".join(entry["input"] for entry in entries).encode())
        runs = sum(entry["runs"] for entry in entries)
        more = {
            "input": {**self.source, "chunks_hash": chunks_hash},
            "chunks": len(entries),
            "runs": runs,
            "errors": rows,
            "error_files": about,
        }
        changed += self._look(len(entries), complete=True, rows=rows, more=more)
        if self._was_done:  # then nothing should have
            self.healed.update(changed)

    def _look(
        self, chunks: int, *, complete: bool, rows: int = 0, more: dict[str, Any] | None = None
    ) -> list[str]:
        """Write what tells readers how long the arrays are; the files that changed."""
        runs = sum(self.entries[k]["runs"] for k in range(chunks))
        lengths = {"run": runs, "row": rows, "chunk": chunks}
        attrs = {**self.plan.attrs, **(more or {}), "complete": complete}
        return settle(self.place, standing(self.plan, lengths, attrs))

    def _failures(self, entries: list[Entry]) -> Iterator[list[Failure]]:
        """The failures of each chunk that has some."""
        for entry in entries:
            if entry["errors"]:
                whole = entry_of(self.place, entry["chunk"], self.plan)
                if whole is None:
                    raise StoreError(
                        f"the ledger of {self.place.path} was damaged meanwhile: see to the "
                        f"disk, and resume"
                    )
                yield failures_of(whole["errors"])

    def _in_order(self) -> list[Entry]:
        """The entries of the first chunks, up to the first that is missing."""
        out: list[Entry] = []
        while (entry := self.entries.get(len(out))) is not None:
            out.append(entry)
        return out


def _short(entry: Entry) -> Entry:
    """What is kept in memory of an entry."""
    short = {key: entry[key] for key in ("chunk", "runs", "input", "flags")}
    return {**short, "errors": len(entry["errors"])}


def failures_of(errors: list[dict[str, Any]]) -> list[Failure]:
    """The failures that an entry of the ledger has."""
    return [Failure(**failure) for failure in errors]


def tables(failures: Iterable[list[Failure]]) -> Iterator[list[Failure]]:
    """All failures, in the order of the runs, some at a time."""
    waiting: list[Failure] = []
    for block in failures:
        waiting += block
        while len(waiting) >= ERROR_ROWS:
            yield waiting[:ERROR_ROWS]
            waiting = waiting[ERROR_ROWS:]
    if waiting:
        yield waiting
