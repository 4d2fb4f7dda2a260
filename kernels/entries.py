"""Kernels that Python calls: the only functions whose machine code is kept, in `cache.folder`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from . import cache
from .fingerprint import fingerprint
from .jit import COMPILED

__all__ = ["Entry", "entry", "find", "is_compiled"]


class Entry:
    """A kernel that Python calls; machine code is read from the cache or made at the first call.

    Attributes
    ----------
    py_func : callable
        The plain function.
    name : str
        Module and function, as in ``"driver._fit_range"``.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"

    def __call__(self, *args: Any) -> Any:
        """Run the kernel."""
        if COMPILED:
            return self.compiled(*args)
        with np.errstate(all="ignore"):
            return self.py_func(*args)

    @functools.cached_property
    def compiled(self) -> Any:
        """Numba's dispatcher."""
        from .linking import entry_point

        # Code that is read from the cache needs no functions to compile it from.
        options = {"error_model": "numpy", "nogil": True}
        return entry_point(self.py_func, self.folder, join=not self.is_cached, **options)

    @functools.cached_property
    def made_of(self) -> str:
        """Fingerprint of the kernel and of all that it calls."""
        digest = fingerprint(self.py_func)
        assert digest is not None, f"{self.name} refers to something that has no fingerprint"
        return digest

    @property
    def folder(self) -> Path:
        """Where its machine code is kept."""
        return cache.place("entries", self.made_of)

    @property
    def is_cached(self) -> bool:
        """Whether its machine code is kept, for this Python."""
        version = f"py{sys.version_info.major}{sys.version_info.minor}"
        return any(self.folder.glob(f"*/{self.name}-*.{version}*.nbi"))

    @property
    def signatures(self) -> list[Any]:
        """What it was compiled (or read from the cache) for in this process."""
        return list(self.compiled.signatures) if "compiled" in self.__dict__ else []


def entry(function: Callable[..., Any]) -> Entry:
    """Decorate a kernel that Python calls."""
    return Entry(function)


def find(name: str) -> Entry:
    """A kernel by its module and name, such as ``"driver._fit_range"``."""
    module, _, function = name.partition(".")
    found: Entry = getattr(import_module(f".{module}", __package__), function)
    return found


def is_compiled(*kernels: str) -> bool:
    """Whether kernels, such as ``"driver._fit_range"``, are in the cache for this Python."""
    return all(find(name).is_cached for name in kernels)
