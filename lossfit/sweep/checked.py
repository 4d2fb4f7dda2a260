"""Reading a store so that no damage stays unsaid: every file is compared with the ledger.

zstd's own checksum finds a flipped bit for any reader.  That a file is missing (Zarr then fills in
NaN) or is another chunk's, only the ledger knows.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from zarr.storage import WrapperStore

from .files import Place, StoreError, checksum
from .layout import LEDGER
from .ledger import Stored, chunk_number, entry_file, entry_of, fault_of
from .plan import Plan

KEPT = 64  # entries of the ledger that are kept in memory


def checked(place: Place, found: Stored) -> Checked:
    """What zarr-python opens to read a place; `found` is what its store says of itself."""
    return Checked(place.zarr(), place, found)


class Checked(WrapperStore[Any]):  # type: ignore[misc, unused-ignore]
    """A store of zarr-python that raises `StoreError` where a file is not what was written."""

    def __init__(self, store: Any, place: Place, found: Stored) -> None:
        super().__init__(store)
        self.place, self.found = place, found
        assert found.plan is not None
        assert found.root is not None
        self.plan: Plan = found.plan
        self.root = found.root
        self.error_files: dict[str, list[Any]] = found.attrs.get("error_files", {})
        self._entries: OrderedDict[int, dict[str, list[Any]]] = OrderedDict()

    def _with_store(self, store: Any) -> Checked:
        return Checked(store, self.place, self.found)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """A file, if it is what was written."""
        value = await super().get(key, prototype, byte_range)
        if byte_range is None:
            self._check(key, None if value is None else value.to_bytes())
        return value

    async def _get_many(
        self, requests: Iterable[tuple[str, Any, Any]]
    ) -> AsyncGenerator[tuple[str, Any], None]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)

    def _check(self, key: str, data: bytes | None) -> None:
        path, _, file = key.rpartition("/c/")
        if file and path in self.plan.by_path:
            self._check_chunk(path, key, data)
        elif key.endswith("/zarr.json"):
            node = self.root["consolidated_metadata"]["metadata"].get(key[: -len("/zarr.json")])
            if node is not None and not _says(data, node):
                raise self._error(key, "is missing or says something else than the root's")

    def _check_chunk(self, path: str, key: str, data: bytes | None) -> None:
        if key in self.plan.fixed:
            expected = self.plan.fixed[key]
            fault = fault_of(data, len(expected), checksum(expected))
        elif path.startswith("errors/"):
            fault = fault_of(data, *self.error_files[key]) if key in self.error_files else None
        else:
            number = chunk_number(self.plan.by_path[path], key)
            if number is None or path == LEDGER:
                return
            about = self._files(number).get(key)
            fault = "is no file of its chunk" if about is None else fault_of(data, *about)
        if fault:
            raise self._error(key, fault)

    def _files(self, number: int) -> dict[str, list[Any]]:
        """The files of a chunk by name: size and checksum."""
        if number not in self._entries:
            entry = entry_of(self.place, number, self.plan)
            if entry is None:
                raise self._error(entry_file(number), "is missing or damaged")
            self._entries[number] = entry["files"]
            while len(self._entries) > KEPT:
                self._entries.popitem(last=False)
        return self._entries[number]

    def _error(self, name: str, fault: str) -> StoreError:
        return StoreError(
            f"{self.place.path} is damaged: {name} {fault}. `lossfit store verify` says what else "
            f"is, and the sweep's own call with resume=True (--resume) makes it again"
        )


def _says(data: bytes | None, node: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(data or b"") == node)
    except ValueError:
        return False
