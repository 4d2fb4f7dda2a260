"""The plan of a store: what is known of it before any run is fitted."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from .arrays import Array, group, text
from .files import checksum
from .layout import layout
from .work import Spec


@dataclass(frozen=True)
class Plan:
    """All that is known of a store before any run is fitted; the store has two copies of it."""

    arrays: list[Array]
    groups: dict[str, dict[str, Any]]  # attributes of the groups within the store, by path
    # the files of the arrays that do not grow, such as the parameters' names
    fixed: dict[str, bytes]
    attrs: dict[str, Any]  # attributes of the root while the sweep goes on

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        data = {
            "arrays": [{**asdict(array), "attrs": dict(array.attrs)} for array in self.arrays],
            "groups": self.groups,
            "fixed": {name: base64.b64encode(data).decode() for name, data in self.fixed.items()},
            "attrs": self.attrs,
        }
        plain: dict[str, Any] = json.loads(json.dumps(data))
        return plain

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Plan:
        """From plain data."""
        arrays = []
        for array in data["arrays"]:
            lists = {name: tuple(array[name]) for name in ("dims", "shape", "chunks")}
            arrays.append(Array(**{**array, **lists}))
        fixed = {name: base64.b64decode(data) for name, data in data["fixed"].items()}
        return cls(arrays, data["groups"], fixed, data["attrs"])

    @cached_property
    def hash(self) -> str:
        """What the entries of the ledger say they belong to: all but how zstd packed it."""
        content = {name: value for name, value in self.to_dict().items() if name != "fixed"}
        return checksum(text(content))

    @cached_property
    def by_path(self) -> dict[str, Array]:
        """The arrays by path."""
        return {array.path: array for array in self.arrays}

    def tree(
        self,
        lengths: Mapping[str, int],  # lengths of the dimensions that grow: run, row, chunk
        attrs: Mapping[str, Any],  # of the root; it gets a checksum too
    ) -> dict[str, bytes]:
        """All ``zarr.json`` of a store by path, the root's last; it has a copy of the others."""
        nodes = {path: group(of_group) for path, of_group in self.groups.items()}
        for array in self.arrays:
            length = 0 if array.grows is None else lengths[array.dims[array.grows]]
            nodes[array.path] = array.metadata(length)
        root = group(attrs)
        root["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": nodes,
        }
        root["attributes"]["checksum"] = checksum(text(root))
        out = {f"{path}/zarr.json": text(node) for path, node in nodes.items()}
        out["zarr.json"] = text(root)
        return out


def plan_of(spec: Spec, attrs: Mapping[str, Any]) -> Plan:
    """The plan of a store; `attrs` are those of its root."""
    arrays, values = layout(spec)
    groups: dict[str, dict[str, Any]] = {"errors": {}, "ledger": {}}
    if spec.keep == "draws":
        groups["posterior"] = {
            "law": spec.law.name,
            "formula": spec.law.formula,
            "axis": spec.axis,
            "inference_library": "lossfit",
            "inference_library_version": spec.version,
            "coordinates": "x_ref",  # xarray makes it one
        }
    by_path = {array.path: array for array in arrays}
    fixed = {by_path[path].file(0): by_path[path].encode(of) for path, of in values.items()}
    plain: dict[str, Any] = json.loads(text(attrs))
    return Plan(arrays, groups, fixed, plain)
