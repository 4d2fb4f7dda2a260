"""What a store says of itself: its plan, its root, the entries of its chunks, and its end.

Every one of these texts has a checksum of its own, and what is lost of the root or of the plan can
be had from the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .arrays import Array, text, texts, unpacked
from .files import Place, StoreError, checksum
from .layout import END, LEDGER, PLANS
from .plan import Plan

FORMAT = "lossfit.sweep/2"

Entry = dict[str, Any]


def sealed(content: dict[str, Any]) -> bytes:
    """A chunk of one text: the content with its checksum."""
    body = json.dumps(content, sort_keys=True)
    return texts(
        [json.dumps({"entry": content, "checksum": checksum(body.encode())}, sort_keys=True)]
    )


def unsealed(data: bytes | None) -> dict[str, Any] | None:
    """What `sealed` was given; None of what is not whole."""
    content = None if data is None else unpacked(data)
    if content is None:
        return None
    try:
        line = json.loads(content[8:])
        entry: dict[str, Any] = line["entry"]
        whole = checksum(json.dumps(entry, sort_keys=True).encode()) == line["checksum"]
    except (ValueError, KeyError, TypeError):
        return None
    return entry if whole else None


def _root(data: bytes | None) -> dict[str, Any] | None:
    """The root's ``zarr.json``, if it is whole."""
    try:
        root: dict[str, Any] = json.loads(data or b"")
        seal = root["attributes"].pop("checksum")
        whole = seal == checksum(text(root))
        root["attributes"]["checksum"] = seal
        return root if whole and text(root) == data else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class Stored:
    """What a store says of itself."""

    plan: Plan | None
    root: dict[str, Any] | None  # its ``zarr.json``
    end: dict[str, Any] | None  # the attributes of a root that is complete
    damaged: tuple[str, ...] = field(default=())  # those of the files that are missing or not whole

    @property
    def attrs(self) -> dict[str, Any]:
        """The root's attributes, from wherever they are; empty where there are none."""
        if self.root is not None:
            attrs: dict[str, Any] = dict(self.root["attributes"])
            del attrs["checksum"]
            return attrs
        if self.end is not None:
            return self.end
        return {} if self.plan is None else self.plan.attrs

    @property
    def shown(self) -> dict[str, int] | None:
        """The lengths that readers are told, if the root is there."""
        if self.root is None:
            return None
        nodes = self.root["consolidated_metadata"]["metadata"]
        of = {"run": "run", "row": "errors/run", "chunk": LEDGER}
        return {name: int(nodes[path]["shape"][0]) for name, path in of.items()}


def stored(place: Place) -> Stored:
    """Read what a store says of itself."""
    damaged = []
    plans = []
    for name in PLANS:
        content = unsealed(place.read(name))
        plans += [] if content is None else [content]
        damaged += [name] if content is None else []
    root = _root(place.read("zarr.json"))
    if root is None:
        damaged.append("zarr.json")
    end = unsealed(place.read(END))
    return Stored(Plan.of_dict(plans[0]) if plans else None, root, end, tuple(damaged))


def stored_attrs(place: Place) -> dict[str, Any]:
    """The attributes of a store, from wherever they are whole; empty where there is none."""
    attrs = stored(place).attrs
    if attrs:
        return attrs
    try:  # of another format, perhaps
        foreign = json.loads(place.read("zarr.json") or b"")["attributes"]
        return {"format": str(foreign["format"])}
    except (ValueError, KeyError, TypeError):
        return {}


def entry_file(number: int) -> str:
    """The file of a chunk's entry."""
    return f"{LEDGER}/c/{number}"


def entry_of(place: Place, number: int, plan: Plan) -> Entry | None:
    """The entry of a chunk, if it is whole and belongs there."""
    entry = unsealed(place.read(entry_file(number)))
    if entry is None or (entry.get("chunk"), entry.get("plan")) != (number, plan.hash):
        return None
    return entry


def fault_of(data: bytes | None, size: int, expected: str) -> str | None:
    """What is wrong with a file whose size and checksum are known."""
    if data is None:
        return "is missing"
    if len(data) != size:
        return f"has {len(data):,} bytes, not {size:,}"
    return None if checksum(data) == expected else "has another checksum"


def chunk_numbers(place: Place, found: Stored) -> list[int]:
    """The chunks that should be there: all of a sweep that is done, else those begun or shown."""
    there = {int(name) for name in place.names(f"{LEDGER}/c") if name.isdecimal()}
    if found.attrs.get("complete"):
        return sorted({*there, *range(found.attrs["chunks"])})
    return sorted({*there, *range((found.shown or {"chunk": 0})["chunk"])})


def chunk_number(array: Array, name: str) -> int | None:
    """The chunk that a file of an array is of; None for an array that does not grow."""
    if array.grows is None:
        return None
    return int(name.removeprefix(f"{array.path}/c/").split("/")[array.grows])


def no_store(place: Place, attrs: dict[str, Any]) -> StoreError:
    """The error for what is no store of this version's."""
    other = attrs.get("format")
    what = f"is a store of format {other!r}" if other else "is there and is no sweep's store"
    return StoreError(f"{place.path} {what}: give another place")
