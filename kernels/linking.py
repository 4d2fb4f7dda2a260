"""Compile a kernel once, with all that it calls: what makes compiling quick.

Numba compiles every function that a kernel calls by itself, down to machine code that nobody runs,
and optimises it again inside of whatever calls it: most of the time goes there.  Here the functions
below an entry point are only translated to LLVM's language, joined, and optimised together, once.
Numba's means for that are a compiler class (``pipeline_class``) and a code library; in a version of
Numba where they differ, kernels are compiled the usual way, which takes longer.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config

from .cache import use, writable
from .jit import names_read

__all__ = ["entry_point"]

_config: Any = config  # its settings are made at run time, so no type checker sees them
# Nobody calls these functions but kernels: Numba need not make wrappers for them.
NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@functools.cache
def _joining() -> dict[str, Any]:
    """Options of `numba.njit` for functions that are only ever linked into others."""
    try:
        from .joining import JoinedCompiler
    except (ImportError, AttributeError):  # another Numba
        return {}
    return {"pipeline_class": JoinedCompiler}


@functools.cache
def _joined(function: Any) -> Any:
    """A function of the kernels as one that is compiled inside of others only."""
    return njit(**_joining(), **NO_WRAPPERS, **function.joined_options)(_rebound(function.py_func))


def _rebound(function: Callable[..., Any]) -> Any:
    """The function, with `_joined` functions in place of the kernels' functions that it calls."""
    scope = {}
    for name in names_read(function.__code__):
        if name in function.__globals__:
            value = function.__globals__[name]
            scope[name] = _joined(value) if hasattr(value, "joined_options") else value
    return _copied(function, {**scope, "__name__": function.__module__})


def _copied(function: Callable[..., Any], scope: dict[str, Any]) -> Any:
    made = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    made.__qualname__ = function.__qualname__
    made.__module__ = function.__module__
    return made


def _stub(path: str, folder: Path) -> str:
    """A file of the same name in the cache, for Numba to look at in place of the source.

    Numba forgets compiled code when its source gets another time, as it does with every checkout;
    the cache's folder is named by what the kernel is made of.
    """
    stub = folder / Path(path).name
    if not stub.exists():
        stub.write_text(f"# stands for {stub.name} of these kernels")
        os.utime(stub, (0, 0))
    return str(stub)


def entry_point(
    function: Callable[..., Any], folder: Path, *, join: bool = True, **options: Any
) -> Any:
    """A dispatcher with a cache in a folder, for a function that Python calls.

    Without `join` what it calls is compiled the usual way, if it is compiled at all.
    """
    made = _rebound(function) if join else _copied(function, function.__globals__)
    if not writable():
        return njit(no_cfunc_wrapper=True, **options)(made)
    use(folder)
    # Numba looks for the code by file and line, and neither says what it is made of.
    stub = _stub(function.__code__.co_filename, folder)
    made.__code__ = made.__code__.replace(co_filename=stub, co_firstlineno=1)
    before = _config.CACHE_DIR  # Numba reads the setting when a function is decorated
    _config.CACHE_DIR = str(folder)
    try:
        return njit(cache=True, no_cfunc_wrapper=True, **options)(made)
    finally:
        _config.CACHE_DIR = before
