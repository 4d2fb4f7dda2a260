"""Where compiled kernels are kept.

In the user's cache folder, as the platform has it (``~/.cache/lossfit`` on Linux); the environment
variable LOSSFIT_CACHE names another one.  The code of each kernel, column or CUDA kernel lies in a
folder named by what it is made of (see `fingerprint`): code of other sources is never found.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

__all__ = ["clear", "folder", "place", "root", "size", "writable"]

KEEP_DAYS = 14  # what was not used for so long is removed ...
KEEP_PLACES = 256  # ... and all but so many places that were used last
PATTERN = "kernels-*"
NOWHERE = Path(os.devnull) / "lossfit"  # cannot be made: nothing is kept
# What these say is in no fingerprint.
COMPILER = (
    "arguments.py", "arguments_type.py", "column_call.py", "column_code.py", "joining.py",
    "linking.py",
)  # fmt: skip


def root() -> Path:
    """The folder of all caches: LOSSFIT_CACHE, or the user's cache folder."""
    chosen = os.environ.get("LOSSFIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("lossfit", appauthor=False)
    except RuntimeError:  # there is no home
        return NOWHERE
    return folder if folder.is_absolute() else NOWHERE  # "~" of nobody


def _folder() -> str:
    here = Path(__file__).resolve().parent
    sources = b"\0".join((here / name).read_bytes() for name in COMPILER)
    return str(root() / f"kernels-{hashlib.blake2b(sources, digest_size=8).hexdigest()}")


folder = _folder()


def place(kind: str, made_of: str) -> Path:
    """The folder of one piece of code, such as ``("entries", fingerprint)``."""
    return Path(folder) / kind / made_of


def use(where: Path) -> None:
    """Note that a place is in use; others that are not any more are removed."""
    where.mkdir(parents=True, exist_ok=True)
    os.utime(where)
    places = []
    for other in root().glob(f"{PATTERN}/*/*"):
        try:
            places.append((time.time() - other.stat().st_mtime, other))
        except OSError:  # removed by another process meanwhile
            continue
    for rank, (age, other) in enumerate(sorted(places)):
        if other.is_dir() and (age > KEEP_DAYS * 86400 or rank >= KEEP_PLACES):
            shutil.rmtree(other, ignore_errors=True)


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
