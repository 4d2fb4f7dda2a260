"""Compile a function once, with all that it calls: what makes compiling quick.

Numba compiles every function that a kernel calls by itself, down to machine code that nobody runs,
and optimises it again inside of whatever calls it: most of the time goes there.  Here the functions
below an entry point are only translated to LLVM's language, joined, and optimised together, once.
Numba's means for that are a compiler class (``pipeline_class``) and a code library; in a version of
Numba where they differ, kernels are compiled the usual way, which takes longer.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable
from typing import Any

from numba import cfunc, njit
from numba import types as numba_types
from numba.extending import typeof_impl

from .arguments import kinds_of
from .arguments_type import TABLE, reader, status_of
from .jit import Intrinsic, Kernel, names_read
from .machine_code import Code

__all__ = ["NeedsRuntime", "alone", "c_code", "callable_column", "entry_code", "joined"]

# Nobody calls these functions but kernels: Numba need not make wrappers for them.
NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# What code may refer to outside of itself: functions that every process has.
LIBRARY = {
    "memcpy", "memmove", "memset", "exp", "log", "log1p", "expm1", "pow", "sqrt", "floor", "ceil",
    "sin", "cos", "tan", "atan", "atan2", "sinh", "cosh", "tanh", "erf", "erfc", "fmod",
    "lgamma", "tgamma", "fma", "rint", "trunc", "round", "cbrt", "hypot", "asin", "acos", "log2",
    "log10", "exp2", "sincos", "ldexp", "frexp",
}  # fmt: skip
DECLARED = re.compile(r'^declare [^@]*@"?([\w.$]+)"?\(', re.MULTILINE)


class NeedsRuntime(Exception):
    """Code that cannot be kept; `compiled` is Numba's C function, for this process alone."""

    def __init__(self, name: str, symbols: set[str], compiled: Any) -> None:
        super().__init__(f"{name} needs {', '.join(sorted(symbols))}")
        self.compiled = compiled


@functools.cache
def _joining() -> dict[str, Any]:
    """Options of `numba.njit` for functions that are only ever linked into others."""
    try:
        from .joining import JoinedCompiler
    except (ImportError, AttributeError):  # another Numba
        return {}
    return {"pipeline_class": JoinedCompiler}


@functools.cache
def joined(kernel: Kernel) -> Any:
    """A kernel as a function that is compiled inside of others only."""
    made = njit(**_joining(), **NO_WRAPPERS, **kernel.options)(_rebound(kernel.py_func))
    template = made.get_call_template

    def without_literals(args: Any, named: Any) -> Any:
        """Numba would compile a function anew for every constant that it is called with."""
        plain = tuple(map(numba_types.unliteral, args))
        return template(plain, {k: numba_types.unliteral(v) for k, v in named.items()})

    made.get_call_template = without_literals
    return made


def alone(kernel: Kernel) -> Any:
    """A kernel that can be called from Python, compiled with all that it calls."""
    return njit(**kernel.options)(_rebound(kernel.py_func))


@typeof_impl.register(Kernel)  # type: ignore[untyped-decorator]
def _type_of_kernel(kernel: Kernel, _context: Any) -> Any:
    """For functions of users that call kernels."""
    return numba_types.Dispatcher(joined(kernel))


def _rebound(function: Callable[..., Any]) -> Any:
    """The function, with compiled functions in place of the kernels that it calls."""
    scope: dict[str, Any] = {"__name__": function.__module__}
    for name in names_read(function.__code__):
        if name in function.__globals__:
            value = function.__globals__[name]
            if isinstance(value, Kernel):
                value = joined(value)
            scope[name] = value.load() if isinstance(value, Intrinsic) else value
    made = types.FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    made.__qualname__ = function.__qualname__
    made.__module__ = function.__module__
    return made


def callable_column(function: Any) -> Any:
    """A law's column as Numba takes it: a kernel, a plain function, or compiled by its author."""
    if isinstance(function, Kernel):
        return joined(function)
    return function if hasattr(function, "py_func") else njit(error_model="numpy")(function)


def entry_code(function: Callable[..., Any], values: tuple[Any, ...]) -> Code:
    """The code of an entry point for arguments like these, which it takes as a table."""
    options = {"error_model": "numpy", "_nrt": False}
    inner = njit(**options, **_joining(), **NO_WRAPPERS)(_rebound(function))
    read = reader(values)

    @njit(**options, **_joining(), **NO_WRAPPERS)  # type: ignore[untyped-decorator]
    def run(table):  # type: ignore[no-untyped-def]
        inner(*read(table))

    call = status_of(run)

    def status(table):  # type: ignore[no-untyped-def]
        return call(table)

    status.__name__ = function.__name__
    code = c_code(status, numba_types.int32(TABLE), **options)
    return code._replace(kinds=kinds_of(values))


def c_code(function: Callable[..., Any], signature: Any, **options: Any) -> Code:
    """The code of a C function.

    Raises
    ------
    NeedsRuntime
        It refers to Numba's runtime, or to something else that not every process has.
    """
    compiled = cfunc(signature, **options)(function)
    text = compiled.inspect_llvm()
    unknown = {n for n in DECLARED.findall(text) if not n.startswith("llvm.")} - LIBRARY
    if unknown:
        raise NeedsRuntime(function.__name__, unknown, compiled)
    return Code(compiled.native_name, (), _object_code(compiled, text))


def _object_code(compiled: Any, text: str) -> bytes:
    try:
        return bytes(compiled._library._get_compiled_object())
    except AttributeError:  # another Numba: LLVM makes it again
        import llvmlite.binding as llvm

        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3,
            reloc="pic", codemodel="jitdefault", jit=True,
        )  # fmt: skip
        return bytes(machine.emit_object(llvm.parse_assembly(text)))
