"""Nested results as plain data and arrays, and back: what a file of them holds.

Dataclasses and named tuples of lossfit, lists, dicts, tables and numbers become a tree for JSON;
arrays are kept beside it.  Only classes of lossfit are made when a tree is read, and no code of a
file is run.  What is one object stays one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .views import view

#: Kinds of objects that a view packs in its own way, by the class attribute `_stored_as`.
KINDS = ("law", "run", "runs")
PLAIN = (str, bool, int, float, type(None))


class Damaged(DataError):
    """A part of a file that is not as it was written."""


def pack(thing: Any) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
    """A tree of plain data, and the arrays that it names.

    Raises `DataError`: something that cannot be stored, such as a function.
    """
    packer = _Packer()
    return packer.tree(thing, "result"), packer.arrays


def unpack(
    tree: Any,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    law: Any = None,  # stands for laws that are none of lossfit's own
) -> Any:
    """What `pack` was given.

    Raises `Damaged`: parts that are missing or not as they were written.
    And `DataError`: a law that is none of lossfit's own, and was not given; another version's file.
    """
    return _Unpacker(arrays, law).thing(tree)


def given(thing: Any) -> dict[str, Any]:
    """The fields of a dataclass as they were given, without what followed: what a pickle holds."""
    return {item.name: getattr(thing, item.name) for item in fields(thing)}


class _Packer:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.known: dict[int, int] = {}
        self.alive: list[Any] = []  # so that no other object gets the identity of one of these

    def tree(self, thing: Any, path: str) -> Any:
        """Plain data for a thing."""
        if isinstance(thing, np.generic):
            thing = thing.item()
        if isinstance(thing, PLAIN):
            return thing
        if isinstance(thing, Path):
            return {"path": str(thing)}
        if id(thing) in self.known:
            return {"same": self.known[id(thing)]}
        number = len(self.alive)
        self.known[id(thing)] = number
        self.alive.append(thing)
        return {"n": number, **self._object(thing, path)}

    def _object(self, thing: Any, path: str) -> dict[str, Any]:
        kind = type(thing)
        if isinstance(thing, np.ndarray):
            return self._array(thing, path)
        if getattr(kind, "_stored_as", None) in KINDS:
            return {"kind": kind._stored_as,
                    "of": self.tree(view(f"{kind._stored_as}.pack")(thing), path)}  # fmt: skip
        if kind.__module__.startswith("lossfit.") and (
            is_dataclass(kind) or hasattr(kind, "_fields")
        ):
            parts = {name: self.tree(value, f"{path}.{name}") for name, value in _parts(thing)}
            return {"class": f"{kind.__module__}:{kind.__qualname__}", "parts": parts}
        if isinstance(thing, Mapping):
            pairs = [
                [self.tree(key, path), self.tree(value, f"{path}.{i}")]
                for i, (key, value) in enumerate(thing.items())
            ]
            return {"dict": pairs}
        if isinstance(thing, (tuple, list)):
            items = [self.tree(item, f"{path}.{i}") for i, item in enumerate(thing)]
            return {"tuple" if isinstance(thing, tuple) else "list": items}
        if hasattr(thing, "columns") and hasattr(thing, "iloc"):
            columns = {str(name): thing[name].to_numpy() for name in thing.columns}
            return {"table": self.tree(columns, path)}
        raise DataError(f"{path} is {kind.__name__}, which a file cannot hold")

    def _array(self, array: np.ndarray[Any, Any], path: str) -> dict[str, Any]:
        if array.dtype.names:
            names = array.dtype.names
            return {
                "record": [[name, array.dtype[name].str] for name in names],
                "columns": [
                    self.tree(np.ascontiguousarray(array[name]), f"{path}.{name}") for name in names
                ],
            }
        if array.dtype.kind in "OU" or not array.size:
            listed = [self.tree(item, path) for item in array.ravel().tolist()]
            return {"items": listed, "shape": list(array.shape), "dtype": array.dtype.str}
        values = np.ascontiguousarray(array)
        name = path.removeprefix("result.")
        if name in self.arrays:
            name = f"{name}.{len(self.arrays)}"
        self.arrays[name] = values.astype(np.int8) if values.dtype == bool else values
        return {"array": name, "shape": list(array.shape), "dtype": values.dtype.str,
                "finite": bool(np.isfinite(values).all())}  # fmt: skip


class _Unpacker:
    def __init__(self, arrays: Mapping[str, np.ndarray[Any, Any]], law: Any) -> None:
        self.arrays, self.law = arrays, law
        self.made: dict[int, Any] = {}

    def thing(self, tree: Any) -> Any:
        """What a piece of the tree stands for."""
        if isinstance(tree, PLAIN):
            return tree
        if not isinstance(tree, dict):
            raise Damaged("its tree has a part of no known kind")
        if "path" in tree:
            return Path(tree["path"])
        if "same" in tree:
            if tree["same"] not in self.made:
                raise Damaged("its tree refers to a part that is not there")
            return self.made[tree["same"]]
        made = self._object(tree)
        self.made[tree.get("n", -1)] = made
        return made

    def _object(self, tree: dict[str, Any]) -> Any:
        if "array" in tree:
            return self._array(tree)
        if "items" in tree:
            flat = np.empty(len(tree["items"]), np.dtype(tree["dtype"]))
            for i, item in enumerate(tree["items"]):
                flat[i] = self.thing(item)
            return flat.reshape(tree["shape"])
        if "record" in tree:
            columns = [self.thing(column) for column in tree["columns"]]
            out = np.empty(columns[0].shape, [(name, kind) for name, kind in tree["record"]])
            for (name, _), column in zip(tree["record"], columns, strict=True):
                out[name] = column
            return out
        if "kind" in tree and tree["kind"] in KINDS:
            return view(f"{tree['kind']}.unpack")(self.thing(tree["of"]), self.law)
        if "dict" in tree:
            return {self.thing(key): self.thing(value) for key, value in tree["dict"]}
        if "list" in tree:
            return [self.thing(item) for item in tree["list"]]
        if "tuple" in tree:
            return tuple(self.thing(item) for item in tree["tuple"])
        if "table" in tree:
            return _table(self.thing(tree["table"]))
        if "class" in tree:
            made = {name: self.thing(part) for name, part in tree["parts"].items()}
            return _made(_class(tree["class"]), made)
        raise Damaged("its tree has a part of no known kind")

    def _array(self, tree: dict[str, Any]) -> np.ndarray[Any, Any]:
        name, kind = tree["array"], np.dtype(tree["dtype"])
        if name not in self.arrays:
            raise Damaged(f"the variable {name} is missing")
        values = self.arrays[name]
        if list(values.shape) != tree["shape"]:
            raise Damaged(
                f"the variable {name} has shape {values.shape}, not {tuple(tree['shape'])}"
            )
        if values.dtype.kind not in "biuf":
            raise Damaged(f"the variable {name} has no numbers")
        if tree["finite"] and not np.isfinite(values).all():
            raise Damaged(f"the variable {name} has values that are not finite")
        return np.ascontiguousarray(values.astype(kind))


def _parts(thing: Any) -> list[tuple[str, Any]]:
    """Names and values of the fields."""
    if hasattr(thing, "_stored"):
        return list(thing._stored().items())
    if is_dataclass(thing):
        return [(item.name, getattr(thing, item.name)) for item in fields(thing) if item.init]
    return [(name, getattr(thing, name)) for name in thing._fields]


def _class(name: str) -> Any:
    """A class of lossfit by its name: a dataclass or a named tuple, nothing else."""
    module, _, path = str(name).partition(":")
    made: Any = None
    if module.startswith("lossfit.") and path.isidentifier():
        try:
            made = getattr(import_module(module), path, None)
        except ImportError:
            made = None
    if not (isinstance(made, type) and made.__module__ == module) or not (
        is_dataclass(made) or hasattr(made, "_fields")
    ):
        raise Damaged(f"it names {name!r}, which is no result of this version of lossfit")
    return made


def _made(kind: Any, parts: Mapping[str, Any]) -> Any:
    """An object of its parts, which are those of this version of lossfit."""
    try:
        return kind(**parts)
    except TypeError:
        try:
            signature(kind).bind(**parts)
        except TypeError as error:
            raise DataError(
                f"another version of lossfit wrote it: {kind.__name__} has other parts in this one "
                f"({error}); read it with that version, or make it again"
            ) from None
        raise


def _table(columns: dict[str, Any]) -> Any:
    import pandas as pd

    return pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})
