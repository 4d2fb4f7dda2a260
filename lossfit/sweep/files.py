"""Files that are whole or absent, checksums, and the lock on a store.

A file is written under another name beside its place, flushed to the disk and renamed: whoever
looks sees the old one, the new one or none, never a part.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .._base.errors import DataError

__all__ = ["PARTIAL", "StoreError", "StoreWriteError", "checksum", "locked", "put", "sync_folders"]

PARTIAL = ".partial"  # the ending of a file that is being written


class StoreError(DataError):
    """A sweep's store that cannot be used as it was asked for."""


class StoreWriteError(StoreError, OSError):
    """A sweep's store that cannot be written: a full disk, a read-only folder, a device error."""


def checksum(data: bytes) -> str:
    """BLAKE2b of 128 bits, as hexadecimal text."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def put(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file atomically.

    Parameters
    ----------
    path : Path
        Its folder is made where it is missing.
    data : bytes
    sync : bool
        Whether to wait until the bytes are on the disk.

    Raises
    ------
    StoreWriteError
        It cannot be written; what was there before is still there.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> StoreWriteError:
    """What went wrong with a file, and the fix."""
    mends = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some of your quota",
        errno.EROFS: "make the file system writable, or choose another place",
        errno.EACCES: "make the folder writable, or choose another place",
        errno.EPERM: "make the folder writable, or choose another place",
    }
    mend = mends.get(error.errno or 0, "see to the disk")
    return StoreWriteError(
        f"cannot write {path}: {error.strerror or error}; {mend}. Chunks that were written before "
        f"are kept: the same call with resume=True (--resume) goes on from there"
    )


def sync_folders(folders: Iterable[Path]) -> None:
    """Make renames in these folders last through a loss of power, where the system can."""
    for folder in sorted(set(folders)):
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            os.fsync(handle)
        except OSError:
            pass
        finally:
            os.close(handle)


@contextmanager
def locked(path: Path, store: Path) -> Iterator[None]:
    """Hold the lock of a store: an advisory lock on one of its files that is never replaced.

    The system releases it when the process ends, however it ends: no lock can be stale.

    Raises
    ------
    StoreError
        Another process holds it.
    """
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        if not _take(handle):
            raise StoreError(
                f"another process is writing to {store}: wait until it ends, or give another store"
            )
        yield
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    """Take the lock if it is free."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
