"""Where compiled kernels are kept.

Numba renews the cache of a function when the file of that function changes, but not when a function
that was inlined from another file does.  So the kernels' cache lies in a folder named by a hash of
all their sources: machine code of other sources is never found.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config

__all__ = ["cached_njit", "folder", "is_compiled"]

_config: Any = config  # its settings are made at run time, so no type checker sees them
KEEP_DAYS = 14  # caches of other sources are removed after so long


def _digest() -> str:
    here = Path(__file__).resolve().parent
    sources = [path.name.encode() + path.read_bytes() for path in sorted(here.glob("*.py"))]
    return hashlib.blake2b(b"\0".join(sources), digest_size=8).hexdigest()


def _root() -> Path:
    """The user's choice for Numba, beside the sources, or in the user's cache."""
    if _config.CACHE_DIR:
        return Path(_config.CACHE_DIR)
    beside = Path(__file__).resolve().parent / "__pycache__"
    try:
        beside.mkdir(exist_ok=True)
        if os.access(beside, os.W_OK):
            return beside
    except OSError:
        pass
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "lossfit"


def _prepare() -> str:
    root = _root()
    mine = root / f"lossfit-kernels-{_digest()}"
    for other in root.glob("lossfit-kernels-*"):
        try:
            if other != mine and time.time() - other.stat().st_mtime > KEEP_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)
        except OSError:  # removed by another process meanwhile
            continue
    return str(mine)


folder = _prepare()


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with a cache in `folder`."""

    def decorate(function: Callable[..., Any]) -> Any:
        # Numba reads the setting when a function is decorated.
        before = _config.CACHE_DIR
        _config.CACHE_DIR = folder
        try:
            return njit(cache=True, **options)(function)
        finally:
            _config.CACHE_DIR = before

    return decorate


def is_compiled(*kernels: str) -> bool:
    """Whether kernels, such as ``"driver._fit_range"``, are in the cache for this Python."""
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return all(any(Path(folder).glob(f"**/{one}-*.{version}*.nbi")) for one in kernels)
