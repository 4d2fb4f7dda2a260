"""Compile kernels with numba-cuda to PTX, on machines without a GPU or a driver."""

from __future__ import annotations

import types
from contextlib import contextmanager

__all__ = ["compile_ptx", "kernel_signature", "missing_compiler"]


def missing_compiler():
    """Why kernels cannot be compiled here, or None if they can."""
    try:
        import numba_cuda  # noqa: F401
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError as error:
        return f"numba-cuda[cu13] is not installed ({error})"
    try:
        for library in ("nvvm", "nvrtc"):
            load_nvidia_dynamic_lib(library)
    except RuntimeError as error:  # DynamicLibNotFoundError
        return f"a compiler of numba-cuda[cu13] is missing ({str(error).splitlines()[0]})"
    from numba import config

    return "under the simulator there is no PTX" if config.ENABLE_CUDASIM else None


@contextmanager
def _pretended_device(cc):
    """Let numba-cuda compile device functions for a compute capability without asking a driver."""
    import numba.cuda.dispatcher as dispatcher

    real = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=cc)
    try:
        yield
    finally:
        dispatcher.get_current_device = real


def kernel_signature(*args):
    """Numba's signature of a kernel for these arguments."""
    import numba.cuda  # noqa: F401  registers the types of arguments
    from numba import typeof
    from numba import types as types_of_numba

    return types_of_numba.void(*(typeof(arg) for arg in args))


def compile_ptx(function, signature, cc=(9, 0), fastmath=False, **options):
    """PTX of a kernel.

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
    from numba import cuda

    if isinstance(signature, tuple):
        signature = kernel_signature(*signature)
    function = getattr(function, "py_func", function)
    with _pretended_device(cc):
        ptx, _ = cuda.compile(
            function, signature, device=False, abi="numba", cc=cc, fastmath=fastmath,
            output="ptx", **options,
        )  # fmt: skip
    return ptx
