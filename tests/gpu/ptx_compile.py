"""Compile kernels to PTX, on machines without a GPU or a driver: `tests.gpu.compiled`."""

from __future__ import annotations

from lossfit.kernels.gpu.spec import Kernel
from tests.gpu import compiled
from tests.gpu.compiled import missing as missing_compiler

__all__ = ["compile_ptx", "kernel_signature", "missing_compiler"]


def kernel_signature(*args):
    """Numba's signature of a kernel for these arguments."""
    import numba.cuda  # noqa: F401  registers the types of arguments
    from numba import typeof
    from numba import types as types_of_numba

    return types_of_numba.void(*(typeof(arg) for arg in args))


def compile_ptx(function, signature, cc=(9, 0), fastmath=False, **options):
    """PTX of a kernel; the library's own kernels are kept on disk.

    Parameters
    ----------
    function : callable
        The kernel as a plain Python function, or a `numba.cuda.jit` kernel.
    signature : numba signature or tuple
        Types of the arguments; of a tuple, values of them.
    cc : tuple of int, optional
        Compute capability.
    fastmath : bool, optional
        As for `numba.cuda.jit`.
    **options
        Further arguments of `numba.cuda.compile`.

    Returns
    -------
    str
        The PTX text.
    """
    if isinstance(signature, tuple):
        signature = kernel_signature(*signature)
    function = getattr(function, "py_func", function)
    if options or not function.__module__.startswith("lossfit."):
        return compiled.compile_ptx(function, signature, cc, fastmath, **options)
    return compiled.kernel_ptx(Kernel("", function, signature.args, 32, fastmath), cc)
