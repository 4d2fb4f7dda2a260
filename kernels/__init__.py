"""Kernels of lossfit: flat arrays in, flat arrays out; nothing here knows of runs, files or pandas.

Numba keeps compiled kernels in ``__pycache__`` and renews a cache when the file of its *outermost* function
changes, not when a function that was inlined from another file does.  So the sources are hashed
here, and caches of other sources are removed.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

__all__ = ["compiled"]

_FOLDER = Path(__file__).resolve().parent
_CACHE = _FOLDER / "__pycache__"
_STAMP = _CACHE / "sources.blake2"


def _discard_stale_caches() -> None:
    sources = [
        path.name.encode() + path.read_bytes() for path in sorted(_FOLDER.glob("*.py"))
    ]
    digest = hashlib.blake2b(b"".join(sources), digest_size=16).hexdigest()
    try:
        if _STAMP.exists() and _STAMP.read_text() == digest:
            return
        _CACHE.mkdir(exist_ok=True)
        for pattern in ("*.nbi", "*.nbc"):
            for path in _CACHE.glob(pattern):
                path.unlink(missing_ok=True)
        _STAMP.write_text(digest)
    except OSError:
        # A read-only installation: its files do not change either.
        return


def compiled() -> bool:
    """Whether the kernels of this installation were compiled before, by this Python."""
    from .driver import _fit_range

    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return any(Path(_fit_range.stats.cache_path).glob(f"driver._fit_range*.{version}*.nbi"))


_discard_stale_caches()
