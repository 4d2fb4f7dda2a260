"""Kernels compiled apart, so that the process that compiles them computes as all later ones do.

A process that compiles a kernel has its parts twice in memory, once by themselves and once inside
the kernel, and may run the ones where a later process, which reads the kernel from the cache, runs
the others.  They are the same source in different surroundings, and their sums may be grouped
differently: draws then differ by a few units in the last place (1e-15).  Where results must be the
same bit by bit, whoever computes them, a child process compiles first.
"""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

__all__ = ["compile_apart", "is_compiled"]


def is_compiled(*kernels: str) -> bool:
    """Whether kernels, such as ``"driver._fit_range"``, are in the cache for this Python."""
    from .kernels.cache import folder

    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return all(any(Path(folder).glob(f"**/{one}-*.{version}*.nbi")) for one in kernels)


def compile_apart(task: Callable[[], object], *kernels: str) -> bool:
    """Run a small task in a forked child, unless the kernels that it calls are in the cache.

    Parameters
    ----------
    task : callable
        Calls the kernels; what it gives is thrown away.
    kernels : str
        Their names, as in `is_compiled`.

    Returns
    -------
    bool
        Whether the kernels are in the cache now.  False where the system does not fork or the
        child failed: this process then compiles for itself, and only the last bits may differ.
    """
    if is_compiled(*kernels):
        return True
    if sys.platform != "linux":  # elsewhere a child would run the caller's script again
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = multiprocessing.get_context("fork").Process(target=task, daemon=True)
        try:
            child.start()
        except (AssertionError, OSError):  # a daemon, such as a Dask worker, may have no children
            return False
        child.join()
    return child.exitcode == 0 and is_compiled(*kernels)
