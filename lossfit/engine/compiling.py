"""Kernels compiled apart, so that the process that compiles them computes as all later ones do.

A process that compiles a kernel has its parts twice in memory, once by themselves and once inside
the kernel, and may run the ones where a later process, which reads the kernel from the cache, runs
the others.  They are the same source in different surroundings, and their sums may be grouped
differently: draws then differ by a few units in the last place (1e-15).  A fit must not depend on
what its process did before, so another Python compiles the kernels of fits by quadrature.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["FIT_KERNELS", "compile_apart", "compiles_here", "start_compiling"]

FIT_KERNELS = ("driver._fit_range", "scales.run_scales")  # that `WARM_UP` compiles
WARM_UP = "from lossfit.fits.warm_up import compile_here; compile_here()"  # in the other Python
SECONDS = 900.0  # that the other Python may take: compiling takes about 60
_compiles_here = False  # in the other Python


def compiles_here() -> None:
    """Say that this process is the one that compiles: it shall not start another."""
    global _compiles_here
    _compiles_here = True


def _can_keep() -> bool:
    """Whether compiled kernels can be kept where `is_compiled` looks for them."""
    from numba.core import config

    from ..kernels.cache import folder

    settings: Any = config  # made at run time, so no type checker sees them
    if settings.DISABLE_JIT:
        return False
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


@cache
def start_compiling() -> subprocess.Popen[bytes] | None:
    """Have another Python do `WARM_UP`, unless its kernels are in the cache; at once.

    It is a Python of its own and no fork: threads and their locks stay out of it, and the processes
    of a cluster, which may have no children of multiprocessing's, can start it too.

    Returns
    -------
    subprocess.Popen or None
        The other Python, for `compile_apart` to wait for; it ends with this one at the latest.
        None where there is nothing to compile, no Python to start (a frozen program), or the cache
        cannot be written.
    """
    from ..kernels.cache import is_compiled

    if is_compiled(*FIT_KERNELS):
        return None
    if _compiles_here or getattr(sys, "frozen", False) or not sys.executable or not _can_keep():
        return None
    # It shall find the same modules, wherever this one found them.
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    try:
        other = subprocess.Popen(
            [sys.executable, "-c", WARM_UP],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    atexit.register(_end, other)
    return other


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


@cache
def compile_apart() -> bool:
    """Wait until another Python has compiled the kernels; see `start_compiling`.

    Returns
    -------
    bool
        Whether the kernels are in the cache now.  If not (no other Python could be started, or it
        failed), this process compiles for itself, and only the last bits may differ.
    """
    from ..kernels.cache import is_compiled

    other = start_compiling()
    if other is not None:
        try:
            other.wait(SECONDS)
        except subprocess.TimeoutExpired:
            _end(other)
    return is_compiled(*FIT_KERNELS)
