"""The compiler of the CUDA kernels: no other file of this room knows which one it is.

It is numba-cuda.  What kernels name is here (`cuda`, `types`), what is compiled and with which
options, how LLVM code is had where there is no driver, and the two lines of PTX that the kernels
need.  Another compiler needs this file for itself, and nothing else.

Importing this module imports numba.cuda: what must not, imports it in a function.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from numba import config, cuda, typeof, types, uint64
from numba.cuda.dispatcher import CUDADispatcher
from numba.np.numpy_support import as_dtype

from .spec import Kernel

__all__ = [
    "OPTIONS",
    "as_dtype",
    "assembly",
    "cuda",
    "device_function",
    "is_device_function",
    "kernel_for_gpu",
    "llvm_library",
    "ptx_of",
    "typeof",
    "types",
    "uint64",
]

_settings: Any = config  # made at run time, so no type checker sees them

# The one place for options.  Kernels are optimised by NVVM and linked from PTX: by default
# numba-cuda links by LTO instead, and then other code runs than was counted and checked.
OPTIONS: dict[str, Any] = {"debug": False, "lineinfo": False, "opt": True, "lto": False}

log = logging.getLogger("lossfit")


def device_function(function: Callable[..., Any]) -> Any:
    """A device function, inlined by force: what is not goes through local memory."""
    return cuda.jit(device=True, forceinline=True)(function)


def is_device_function(value: Any) -> bool:
    """Whether a value is what `device_function` makes."""
    return isinstance(value, CUDADispatcher)


def kernel_for_gpu(kernel: Kernel, cache: Path | None) -> Any:
    """A kernel compiled for the current GPU.

    Parameters
    ----------
    kernel : Kernel
    cache : Path, optional
        A folder of this kernel alone, where its machine code is kept and found again.

    Returns
    -------
    callable
        ``compiled[grid, block, stream](*arguments)``; it is compiled for the kernel's signature, so
        that what runs is what was checked, whatever is passed.
    """
    options = {"func_or_sig": kernel.signature, "fastmath": kernel.fastmath, **OPTIONS}
    if cache is None:
        return cuda.jit(**options)(kernel.function)
    before = _settings.CACHE_DIR
    _settings.CACHE_DIR = str(cache)
    try:
        return cuda.jit(cache=True, **options)(kernel.function)
    except (OSError, RuntimeError) as error:  # nowhere to write, or a source that is no file
        log.debug("kernel %s is not cached: %s", kernel.name, error)
        return cuda.jit(**options)(kernel.function)
    finally:
        _settings.CACHE_DIR = before


def llvm_library(
    function: Callable[..., Any],
    signature: tuple[Any, ...],
    fastmath: bool,
    capability: tuple[int, int],
) -> Any:
    """A kernel's LLVM code, without a driver.

    Parameters
    ----------
    function : callable
    signature : tuple
        Types of the arguments.
    fastmath : bool
    capability : tuple of int
        What it is told of the GPU; `ptx_of` may be asked for another.

    Returns
    -------
    object
        ``llvm_strs`` has the texts of its modules.
    """
    from numba.cuda import compiler

    settings = {"device": False, "abi": "numba", "cc": capability, **OPTIONS}
    with _pretended_device(capability):
        library, _ = compiler._compile_pyfunc_with_fixup(
            function, types.void(*signature), fastmath=fastmath, **settings
        )
    return library


def ptx_of(library: Any, capability: tuple[int, int]) -> str:
    """PTX of a kernel's LLVM code, by NVVM."""
    (text,) = library.get_asm_strs(cc=capability)
    return str(text)


@contextmanager
def _pretended_device(capability: tuple[int, int]) -> Iterator[None]:
    """Let numba-cuda compile device functions without asking a driver for the capability."""
    import numba.cuda.dispatcher as dispatcher

    real = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = real


def assembly(text: str, constraints: str, *arguments: Any) -> Any:
    """A function of kernels that is one line of PTX and gives an int32.

    Parameters
    ----------
    text, constraints : str
        As in LLVM; after it, what was read of memory before is read again.
    *arguments : types
        None, or one int32.
    """
    from llvmlite import ir
    from numba.cuda.extending import intrinsic

    def codegen(context, builder, signature, given):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.IntType(32), [a.type for a in given])
        code = ir.InlineAsm(kind, text, constraints + ",~{memory}", side_effect=True)
        return builder.call(code, list(given))

    if arguments:

        @intrinsic
        def with_number(typingctx, number):  # type: ignore[no-untyped-def,misc]
            return types.int32(*arguments), codegen

        return with_number

    @intrinsic
    def without(typingctx):  # type: ignore[no-untyped-def,misc]
        return types.int32(), codegen

    return without
