"""What kernels are decorated with.

The files of this folder can be imported twice: as ``lossfit.kernels``, where the decorators
compile, and as ``lossfit.kernels.uncompiled``, where the same functions stay plain Python.  So a
first answer needs no compiler, and there is one source of both.

``inline``
    small functions of numbers, which the loops that call them swallow; a law's columns, too
``sums``
    loops whose sums may be taken in any order
``kernel``
    everything else that is called by kernels
`entries.entry`
    what Python calls: the only functions whose machine code is kept
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = [
    "COMPILED",
    "FAST",
    "Intrinsic",
    "Kernel",
    "inline",
    "kernel",
    "names_read",
    "plain",
    "scalar",
    "sums",
]

COMPILED = ".uncompiled" not in __name__

# All that LLVM may do to sums.  NaN and infinity are refused before a kernel is called.
FAST = {"contract", "reassoc", "nsz", "arcp", "nnan", "ninf", "afn"}


class Kernel:
    """A function that kernels call.

    Nothing is compiled, and Numba is not imported, before an entry point needs it (`linking`).
    Called from Python, as tests do, it is compiled for itself.

    Attributes
    ----------
    py_func : callable
        The plain function.
    options : dict
        Of ``numba.njit``.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.__qualname__ = function.__qualname__
        self.py_func = function
        self.options = options

    @functools.cached_property
    def alone(self) -> Any:
        """Numba's dispatcher of it, with wrappers."""
        return _ALONE.load()(self)

    def __call__(self, *args: Any) -> Any:
        """Compile it for these arguments, and run it."""
        return self.alone(*args)

    def __reduce__(self) -> Any:
        """By name, like a function; what has none is taken apart."""
        module = sys.modules.get(self.__module__)
        if self.__module__ != "__main__" and getattr(module, self.__qualname__, None) is self:
            return self.__qualname__
        return Kernel, (self.py_func, self.options)


class Intrinsic:
    """Something that needs Numba; both are imported when code is compiled.

    Parameters
    ----------
    module, name : str
        Where it is in this folder.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def load(self) -> Any:
        """The thing itself."""
        return getattr(import_module(f".{self.module}", __package__), self.name)


_ALONE = Intrinsic("linking", "alone")


def _decorator(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A `Kernel` with these options of ``numba.njit``; nothing where kernels are not compiled."""

    def decorate(function: Callable[..., Any]) -> Any:
        return Kernel(function, options) if COMPILED else function

    return decorate


# error_model="numpy" matters: Python's tests every divisor for zero, which stops vectorisation.
# _nrt=False: arrays are not counted as they are passed on.  Counting those of `work.Work` in every
# function that takes it would be most of the code to compile.
inline = _decorator(forceinline=True, error_model="numpy", _nrt=False)
scalar = _decorator(forceinline=True, error_model="numpy", _nrt=True)  # of a law's columns
sums = _decorator(fastmath=FAST, error_model="numpy", nogil=True, _nrt=False)
kernel = _decorator(error_model="numpy", nogil=True, _nrt=False)


def plain(function: Any, others: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """A function without its compiled form, and so with all functions that it calls.

    Parameters
    ----------
    function : callable
    others : mapping, optional
        What stands in the place of functions of `maths`, by their names there.
    """
    source = getattr(function, "py_func", function)
    if not isinstance(source, types.FunctionType):
        return source  # type: ignore[no-any-return]
    if others and source.__module__.endswith("kernels.maths") and source.__name__ in others:
        return others[source.__name__]  # type: ignore[no-any-return]

    def value(old: Any) -> Any:
        return plain(old, others) if hasattr(old, "py_func") else old

    scope = {
        name: value(source.__globals__[name])
        for name in names_read(source.__code__)
        if name in source.__globals__
    }
    scope["__name__"] = source.__module__
    closure = tuple(types.CellType(value(cell.cell_contents)) for cell in source.__closure__ or ())
    return types.FunctionType(
        source.__code__, scope, source.__name__, source.__defaults__, closure or None
    )


_LOAD_GLOBAL = dis.opmap["LOAD_GLOBAL"]
_EXTENDED_ARG = dis.opmap["EXTENDED_ARG"]


def names_read(code: types.CodeType) -> set[str]:
    """Names that a function and the functions within it look up in their module.

    Read from the bytecode: `dis` takes a tenth of a second for all kernels.
    """
    names = set()
    argument = 0
    instructions = code.co_code
    for i in range(0, len(instructions), 2):
        argument = argument << 8 | instructions[i + 1]
        if instructions[i] == _LOAD_GLOBAL:
            names.add(code.co_names[argument >> 1])
        if instructions[i] != _EXTENDED_ARG:
            argument = 0
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_read(constant)
    return names
