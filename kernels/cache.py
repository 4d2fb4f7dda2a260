"""Where compiled kernels are kept.

In the user's cache folder, as the platform has it (``~/.cache/lossfit`` on Linux); the environment
variable LOSSFIT_CACHE names another one.  Numba renews the machine code of a function when the file
of that function changes, but not when a function that it calls changes in another file.  So it lies
in a folder named by a hash of all the kernels' sources: code of other sources is never found.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

__all__ = ["clear", "folder", "is_compiled", "root", "size", "writable"]

KEEP_DAYS = 14  # caches of other sources are removed after so long ...
KEEP_SOURCES = 8  # ... and all but so many of them at once
PATTERN = "kernels-*"


def root() -> Path:
    """The folder of all caches: LOSSFIT_CACHE, or the user's cache folder."""
    chosen = os.environ.get("LOSSFIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("lossfit", appauthor=False)


def _digest() -> str:
    here = Path(__file__).resolve().parent
    sources = [path.name.encode() + path.read_bytes() for path in sorted(here.glob("*.py"))]
    return hashlib.blake2b(b"\0".join(sources), digest_size=8).hexdigest()


def _prepare() -> str:
    """The folder of these sources; old ones of others are removed."""
    current = root() / f"kernels-{_digest()}"
    others = []
    for other in root().glob(PATTERN):
        try:
            if other != current:
                others.append((time.time() - other.stat().st_mtime, other))
        except OSError:  # removed by another process meanwhile
            continue
    for rank, (age, other) in enumerate(sorted(others)):
        if age > KEEP_DAYS * 86400 or rank >= KEEP_SOURCES:
            shutil.rmtree(other, ignore_errors=True)
    return str(current)


folder = _prepare()


def is_compiled(*kernels: str) -> bool:
    """Whether kernels, such as ``"driver._fit_range"``, are in the cache for this Python."""
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return all(any(Path(folder).glob(f"**/{one}-*.{version}*.nbi")) for one in kernels)


def writable() -> bool:
    """Whether compiled kernels can be kept."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def size() -> int:
    """Bytes of all caches."""
    return sum(path.stat().st_size for path in root().glob(f"{PATTERN}/**/*") if path.is_file())


def clear() -> int:
    """Remove all caches; gives how many bytes they had."""
    total = size()
    for path in root().glob(PATTERN):
        shutil.rmtree(path, ignore_errors=True)
    return total
