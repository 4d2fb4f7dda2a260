"""Port functions of the CPU to CUDA, in double or single precision.

A ported function has the same bytecode.  What changes is what its names mean: functions of the
CPU's kernels become CUDA device functions (ported in turn, or replaced by those of a table), and in
single precision every floating-point constant is narrowed to float32, which Numba would otherwise
widen the arithmetic for.  So one source serves CPU and GPU and both precisions.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import team
from ..fingerprint import fingerprint
from .backend import device_function, is_device_function

__all__ = ["Port", "rebind"]

_LARGEST = np.float32(3.0e38)
_SMALLEST = np.float32(1.2e-38)


def narrow(value: float) -> np.float32:
    """A float as float32; what is out of range becomes the largest or the smallest normal number.

    Sentinels such as -1e300 and guards such as max(x, 1e-300) keep their meaning.
    """
    size = abs(value)
    if size == 0.0 or not np.isfinite(value):
        return np.float32(value)
    return np.float32(np.copysign(min(max(size, float(_SMALLEST)), float(_LARGEST)), value))


class Port:
    """Device functions made from functions of the CPU.

    Parameters
    ----------
    table : mapping
        Function of the CPU -> what stands in its place: a plain function, which is ported too.
    single : bool
        Whether to narrow floating-point constants to float32.
    constants : mapping, optional
        Values for module constants of these names.
    """

    def __init__(
        self,
        table: Mapping[Any, Any],
        single: bool = False,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        self.single = single
        self._constants = dict(constants or {})
        self._table = {_plain(k): _plain(v) for k, v in table.items()}
        self._done: dict[Any, Any] = {}

    def device(self, function: Any) -> Any:
        """The CUDA device function of a function of the CPU."""
        plain = _plain(function)
        plain = self._table.get(plain, plain)
        if plain not in self._done:
            self._done[plain] = _device(self.rebound(plain))
        return self._done[plain]

    def rebound(self, function: Callable[..., Any]) -> Any:
        """The function with its names and constants replaced, not compiled."""
        code = self._code(function.__code__)
        names = _names(function.__code__)
        scope = {
            name: self._value(self._constants.get(name, function.__globals__[name]))
            for name in names
            if name in function.__globals__
        }
        scope["__name__"] = function.__globals__.get("__name__", "")
        closure = tuple(
            types.CellType(self._value(cell.cell_contents)) for cell in function.__closure__ or ()
        )
        return types.FunctionType(
            code, scope, function.__name__, function.__defaults__, closure or None
        )

    def _code(self, code: types.CodeType) -> types.CodeType:
        if not self.single:
            return code
        return code.replace(co_consts=tuple(self._constant(c) for c in code.co_consts))

    def _constant(self, value: Any) -> Any:
        if isinstance(value, float):
            return narrow(value)
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, tuple):
            return tuple(self._constant(v) for v in value)
        return value

    def _value(self, value: Any) -> Any:
        if self.single and value is team.real:
            return np.float32
        if isinstance(value, (float, tuple)) and not hasattr(value, "_fields"):
            return self._constant(value) if self.single else value
        if is_device_function(value):  # ported already, perhaps in the other precision
            return value
        callable_ = isinstance(value, (types.FunctionType, np.ufunc)) or hasattr(value, "py_func")
        if callable_:
            return self.device(value)
        return value


_shared: dict[str, Any] = {}  # device functions by what they are made of


def _device(function: Callable[..., Any]) -> Any:
    """A function as a CUDA device function; kernels that need the same one share it.

    So it is compiled once for all of them: half of the time that a second kernel takes.
    """
    made_of = fingerprint(function)
    if made_of is None:
        return device_function(function)
    if made_of not in _shared:
        _shared[made_of] = device_function(function)
    return _shared[made_of]


def rebind(function: Any, table: Mapping[Any, Any]) -> Callable[..., Any]:
    """The plain Python function with other functions in the place of those in the table."""
    plain = _plain(function)
    known = {_plain(k): v for k, v in table.items()}

    def value(old: Any) -> Any:
        if _plain(old) in known:
            return known[_plain(old)]
        if isinstance(old, types.FunctionType) or hasattr(old, "py_func"):
            return rebind(old, table)
        return old

    scope = {
        name: value(plain.__globals__[name])
        for name in _names(plain.__code__)
        if name in plain.__globals__
    }
    closure = tuple(types.CellType(value(c.cell_contents)) for c in plain.__closure__ or ())
    return types.FunctionType(
        plain.__code__, scope, plain.__name__, plain.__defaults__, closure or None
    )


def _plain(function: Any) -> Any:
    return getattr(function, "py_func", function)


def _names(code: types.CodeType) -> set[str]:
    """Names that the code and the functions within it look up in their module."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found
