"""What a function is made of, as one number: functions that are made of the same are the same.

Numba finds compiled code on disk by the file and the bytecode of the outermost function.  CUDA
kernels and columns of laws that differ in a constant, in a function that they call, or in a user's
law would be taken for each other; so the code of each is kept under this number.
"""

from __future__ import annotations

import hashlib
import types
from typing import Any

import numpy as np

from .jit import Intrinsic, names_read

__all__ = ["fingerprint"]


class _Unknown(Exception):
    """Something whose content cannot be told."""


def fingerprint(function: Any, *context: Any) -> str | None:
    """Digest of a function's bytecode, constants and all that they refer to.

    Parameters
    ----------
    function : callable
    *context
        What else its compiled form depends on, such as a signature.

    Returns
    -------
    str or None
        None where it refers to something whose content cannot be told: it must not be cached.
    """
    digest = hashlib.blake2b(digest_size=12)
    digest.update(" ".join(map(str, context)).encode())
    try:
        _add(function, digest, {})
    except _Unknown:
        return None
    return digest.hexdigest()


def _add(value: Any, digest: Any, seen: dict[int, int]) -> None:
    """Add a value's content; functions are followed into what their names mean."""
    digest.update(f"\0{type(value).__name__}\0".encode())
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))):
        digest.update(repr(value).encode())
    elif isinstance(value, np.generic):
        digest.update(value.dtype.str.encode() + value.tobytes())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype.str} {value.shape}".encode() + value.tobytes())
    elif isinstance(value, (tuple, frozenset)):
        for part in sorted(value, key=repr) if isinstance(value, frozenset) else value:
            _add(part, digest, seen)
        digest.update(b"\0end")
    elif isinstance(value, types.ModuleType):
        digest.update(value.__name__.encode())
    elif isinstance(value, (type, np.ufunc, types.BuiltinFunctionType)):
        home = getattr(value, "__module__", "") or ""
        digest.update(f"{home}.{value.__name__} {getattr(value, '_fields', '')}".encode())
    elif isinstance(value, Intrinsic):
        digest.update(f"{value.module}.{value.name}".encode())
    elif isinstance(value, types.CodeType):
        _add_code(value, digest, seen)
    elif type(value).__module__.startswith(("numba.core.types", "numba.cuda.types")):
        digest.update(str(value).encode())
    else:
        function = getattr(value, "py_func", value)
        function = getattr(function, "_defn", function)  # of an intrinsic
        if not isinstance(function, types.FunctionType):
            raise _Unknown
        options = getattr(value, "options", None) or getattr(value, "targetoptions", {})
        digest.update(repr([_option(name, options.get(name)) for name in _OPTIONS]).encode())
        _add_function(function, digest, seen)


_OPTIONS = ("device", "error_model", "fastmath", "forceinline", "inline")


def _option(name: str, value: Any) -> tuple[str, Any]:
    """An option of a compiler; the order of a set is another one in every process."""
    return name, sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def _add_function(function: types.FunctionType, digest: Any, seen: dict[int, int]) -> None:
    if id(function) in seen:  # by its place among those that were met: recursion has an end
        digest.update(str(seen[id(function)]).encode())
        return
    seen[id(function)] = len(seen)
    _add(function.__code__, digest, seen)
    _add(function.__defaults__, digest, seen)
    for cell in function.__closure__ or ():
        _add(cell.cell_contents, digest, seen)
    for name in sorted(names_read(function.__code__)):
        if name in function.__globals__:
            digest.update(name.encode())
            _add(function.__globals__[name], digest, seen)


def _add_code(code: types.CodeType, digest: Any, seen: dict[int, int]) -> None:
    digest.update(code.co_code)
    for part in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
        _add(part, digest, seen)
    for constant in code.co_consts:
        _add(constant, digest, seen)
