"""Deliberate faults: a function of the kernels with one text of its source replaced, in its place.

Nothing is written: the edited source is compiled in its module's namespace, and every place that
knows the function (other modules that imported it, the tables of the ports) gets the faulty one
while the fault is planted.
"""

from __future__ import annotations
import __future__

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

__all__ = ["mutated", "planted"]

ROOM = "lossfit.kernels"


def mutated(function: Any, old: str, new: str) -> Callable[..., Any]:
    """The plain function with one text of its source, which must be there once, replaced."""
    plain = getattr(function, "py_func", function)
    source = textwrap.dedent(inspect.getsource(plain))
    if source.count(old) != 1:
        raise ValueError(
            f"{plain.__qualname__} has {source.count(old)} places {old!r}, not 1: the source has "
            "changed, so plant the fault anew"
        )
    tree = ast.parse(source.replace(old, new))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []  # a port takes plain functions
    flags = __future__.annotations.compiler_flag
    code = compile(tree, f"<fault in {plain.__qualname__}>", "exec", flags, dont_inherit=True)
    found: dict[str, Any] = {}
    exec(code, plain.__globals__, found)
    return found[definition.name]


@contextmanager
def planted(where: str, old: str, new: str) -> Iterator[None]:
    """Plant a fault.

    Parameters
    ----------
    where : str
        "module:function" or "module:Class.method", the module within `lossfit.kernels`.
    old, new : str
        See `mutated`.
    """
    module, _, path = where.partition(":")
    owner: Any = importlib.import_module(f"{ROOM}.{module}")
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    function = getattr(owner, name)
    fault = mutated(function, old, new)
    put: list[tuple[MutableMapping[Any, Any] | type, Any]] = []
    try:
        for place in [owner] if classes else _namespaces():
            for key, value in list(vars(place).items() if classes else place.items()):
                if value is function:
                    put.append((place, key))
                    _put(place, key, fault)
        yield
    finally:
        for place, key in put:
            _put(place, key, function)


def _put(place: Any, key: Any, value: Any) -> None:
    if isinstance(place, dict):
        place[key] = value
    else:
        setattr(place, key, value)


def _namespaces() -> Iterator[dict[Any, Any]]:
    """Of all modules of the package, and the tables in them."""
    for name, module in list(sys.modules.items()):
        if name == "lossfit" or name.startswith("lossfit."):
            yield vars(module)
            yield from (v for v in vars(module).values() if type(v) is dict)
