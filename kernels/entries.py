"""Kernels that Python calls: the only functions whose machine code is kept, in `cache.folder`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from . import cache
from .arguments import table_of
from .fingerprint import fingerprint
from .jit import COMPILED
from .machine_code import CALL, Code, address, load_or_make, name_of

__all__ = ["Entry", "entry", "find", "is_compiled"]


class Entry:
    """A kernel that Python calls; machine code is read from the cache or made at the first call.

    It gives nothing back and makes no arrays: it writes into those that it is given.

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
        self._call: Any = None
        self._kinds: tuple[str, ...] = ()

    def __call__(self, *values: Any) -> None:
        """Run the kernel.

        Raises
        ------
        TypeError
            Its code was made for other types.
        """
        if not COMPILED:
            with np.errstate(all="ignore"):
                self.py_func(*values)
            return
        if self._call is None:
            code = self._code(values)
            self._kinds = code.kinds
            self._call = CALL(address(code))
        table = table_of(values, self._kinds, self.name)
        if self._call(table.ctypes.data):
            raise RuntimeError(f"{self.name} raised an error: shapes that do not fit?")

    def _code(self, values: tuple[Any, ...]) -> Code:
        """Its machine code; where there is none yet, for arguments such as these."""

        def make() -> Code:
            from .linking import entry_code

            return entry_code(self.py_func, values)

        if not cache.writable():
            return make()
        cache.use(self.folder)
        return load_or_make(self.folder / name_of(self.name), make)

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
        """Whether its machine code is kept, for this machine."""
        return (self.folder / name_of(self.name)).exists()


def entry(function: Callable[..., Any]) -> Entry:
    """Decorate a kernel that Python calls."""
    return Entry(function)


def find(name: str) -> Entry:
    """A kernel by its module and name, such as ``"driver._fit_range"``."""
    module, _, function = name.partition(".")
    found: Entry = getattr(import_module(f".{module}", __package__), function)
    return found


def is_compiled(*kernels: str) -> bool:
    """Whether kernels, such as ``"driver._fit_range"``, are in the cache for this machine."""
    return all(find(name).is_cached for name in kernels)
