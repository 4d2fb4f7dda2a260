"""Kernels that Python calls: the only functions whose machine code is kept, in `cache.folder`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .jit import COMPILED

__all__ = ["Entry", "entry"]


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

        return entry_point(self.py_func, error_model="numpy", nogil=True)

    @property
    def signatures(self) -> list[Any]:
        """What it was compiled (or read from the cache) for in this process."""
        return list(self.compiled.signatures) if "compiled" in self.__dict__ else []


def entry(function: Callable[..., Any]) -> Entry:
    """Decorate a kernel that Python calls."""
    return Entry(function)
