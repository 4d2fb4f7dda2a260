"""Where a store lies: a folder of a local disk, or an address of an object store.

On a disk a file is written under another name beside its place, flushed and renamed, and its folder
is flushed too: whoever looks sees the old file, the new one or none, never a part, and what was
said to be written is there after a loss of power.  An object store takes each object whole or not
at all; how long it lasts there is the object store's promise, and nothing keeps a second writer
away.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from .._base.errors import DataError

PARTIAL = ".partial"  # the ending of a file that is being written
LOCK = "ledger/zarr.json"  # written in its place, never replaced, as long as there is the store
STALE = 3600.0  # seconds after which a store that was never finished being made is left rubbish


class StoreError(DataError):
    """A sweep's store that cannot be used as it was asked for.

    Examples
    --------
    >>> import lossfit
    >>> try:
    ...     lossfit.open_store("no_such_sweep.zarr")
    ... except lossfit.StoreError as error:
    ...     print(type(error).__name__)
    StoreError
    """


class StoreWriteError(StoreError, OSError):
    """A sweep's store that cannot be written: a full disk, a read-only folder, a device error.

    Examples
    --------
    >>> import lossfit
    >>> issubclass(lossfit.StoreWriteError, (lossfit.StoreError, OSError))
    True
    """


class Place(Protocol):
    """A folder of files, by names such as ``mean/c/0/0``."""

    @property
    def path(self) -> Path | str:
        """The folder or the address."""

    def zarr(self) -> Any:
        """What zarr-python opens to read it."""

    def empty(self) -> bool:
        """Whether nothing is there."""

    def read(self, name: str) -> bytes | None:
        """A file; None where there is none."""

    def names(self, folder: str) -> list[str]:
        """Names of the files that lie directly in a folder."""

    def create(self, files: Mapping[str, bytes]) -> None:
        """Write a new store; raises `StoreError` if there is one meanwhile."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all; raises `StoreWriteError`."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def sync(self) -> None:
        """Make all that was written so far last."""

    def tidy(self) -> None:
        """Remove what a process left that was killed while it wrote."""

    def lock(self) -> None:
        """Keep other writers away until `close`; raises `StoreError` if there is one."""

    def close(self) -> None:
        """Release the lock."""


def place_of(store: str | os.PathLike[str]) -> Place:
    """The place that a path or an address names.

    Raises `StoreError`: an address that is no address, or whose file system is not installed.
    """
    text = os.fspath(store)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" in text:
        return RemotePlace(text)
    if ":/" in text[2:]:
        raise StoreError(
            f"{text} is no local path: give an address as text, such as 's3://b/x.zarr'"
        )
    return LocalPlace(Path(text).expanduser())


def checksum(data: bytes) -> str:
    """BLAKE2b of 128 bits, as hexadecimal text."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def write_error(path: Path | str, error: BaseException) -> StoreWriteError:
    """What went wrong with a file, and the fix."""
    fixes = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some of your quota",
        errno.EROFS: "make the file system writable, or choose another place",
        errno.EACCES: "make the folder writable, or choose another place",
        errno.EPERM: "make the folder writable, or choose another place",
    }
    fix = fixes.get(getattr(error, "errno", None) or 0, "see to the disk")
    return StoreWriteError(
        f"cannot write {path}: {getattr(error, 'strerror', None) or error}; {fix}. Chunks that "
        f"were written before are kept: the same call with resume=True (--resume) goes on from "
        f"there"
    )


class LocalPlace:
    """A folder of a local or mounted file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._dirty: set[Path] = set()  # folders whose renames may not be on the disk yet
        self._handle: int | None = None

    def zarr(self) -> Any:
        """What zarr-python opens to read it."""
        from zarr.storage import LocalStore

        return LocalStore(self.path, read_only=True)

    def empty(self) -> bool:
        """Whether nothing is there."""
        return not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir()))

    def read(self, name: str) -> bytes | None:
        """A file; None where there is none, or it cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        """Names of the files that lie directly in a folder."""
        try:
            return sorted(entry.name for entry in os.scandir(self.path / folder) if entry.is_file())
        except OSError:
            return []

    def create(self, files: Mapping[str, bytes]) -> None:
        """Make the store whole elsewhere and move it to its place.

        Raises `StoreError`: another process has just made it.
        """
        self._remove_rubbish()
        new = LocalPlace(self.path.with_name(f".{self.path.name}.{os.getpid()}.new"))
        try:
            shutil.rmtree(new.path, ignore_errors=True)
            new.put(LOCK, files[LOCK])
            new.lock()
            for name, data in files.items():
                new.put(name, data)
            new.sync()
            try:
                os.rename(new.path, self.path)
            except OSError as error:
                if not self.empty():
                    raise StoreError(f"another process has just made {self.path}") from None
                raise write_error(self.path, error) from error
            self._handle, new._handle = new._handle, None
            self._dirty.add(self.path.parent)
            self.sync()
        finally:
            new.close()
            shutil.rmtree(new.path, ignore_errors=True)

    def _remove_rubbish(self) -> None:
        """Remove what a process left that was killed while it made this store."""
        for left in self.path.parent.glob(f".{self.path.name}.*.new"):
            try:
                if time.time() - left.stat().st_mtime > STALE:
                    shutil.rmtree(left, ignore_errors=True)
            except OSError:
                continue

    def put(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all; `sync` makes it last.

        Raises `StoreWriteError`: it cannot be written; what was there before is still there.
        """
        path = self.path / name
        partial = path.with_name(path.name + PARTIAL)
        try:
            self._make_folder(path.parent)
            if self._handle is not None and name == LOCK:
                self._in_place(data)
                return
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            raise write_error(path, error) from error
        self._dirty.add(path.parent)

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for made in reversed(missing):
            made.mkdir(exist_ok=True)
            self._dirty.add(made.parent)

    def _in_place(self, data: bytes) -> None:
        """Write the file that has the lock, which a rename would take away."""
        assert self._handle is not None
        os.lseek(self._handle, 0, os.SEEK_SET)
        if os.read(self._handle, len(data) + 1) != data:
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, data)
            os.ftruncate(self._handle, len(data))
            os.fsync(self._handle)

    def remove(self, name: str) -> None:
        """Remove a file."""
        path = self.path / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(path, error) from error
        self._dirty.add(path.parent)

    def sync(self) -> None:
        """Make renames last through a loss of power, in every folder that had one."""
        for folder in sorted(self._dirty):
            try:
                _flush(folder)
            except OSError as error:
                raise write_error(folder, error) from error
        self._dirty.clear()

    def tidy(self) -> None:
        """Remove what a process left that was killed while it wrote."""
        for left in self.path.rglob(f"*{PARTIAL}"):
            try:
                left.unlink()
            except OSError as error:
                raise write_error(left, error) from error

    def lock(self) -> None:
        """Hold an advisory lock on a file that is never replaced.

        The system releases it when the process ends, however it ends: no lock can be stale.

        Raises `StoreError`: another process holds it.
        """
        path = self.path / LOCK
        try:
            self._make_folder(path.parent)
            if not path.exists():
                self._dirty.add(path.parent)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise write_error(path, error) from error
        if not _take(handle):
            os.close(handle)
            raise StoreError(
                f"another process is writing to {self.path}: wait until it ends, or give another "
                f"store"
            )
        self._handle = handle

    def close(self) -> None:
        """Release the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _flush(folder: Path) -> None:
    """Flush a folder, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):
            raise
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


@contextmanager
def _remote(address: str) -> Iterator[None]:
    """Whatever a file system of fsspec raises, as a `StoreWriteError`."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # their kinds are as many as there are object stores
        raise write_error(address, error) from error


class RemotePlace:
    """An address that fsspec knows, such as ``s3://bucket/sweep.zarr`` or ``memory://sweep.zarr``.

    Raises
    ------
    StoreError
        fsspec, or what it needs for that kind of address, is not installed.
    """

    def __init__(self, address: str) -> None:
        try:
            from fsspec.core import url_to_fs

            self.fs, self.root = url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{address} cannot be opened: {error}") from None
        self.path = address.rstrip("/")
        self.root = str(self.root).rstrip("/")

    def zarr(self) -> Any:
        """What zarr-python opens to read it."""
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.path, read_only=True)

    def empty(self) -> bool:
        """Whether nothing is there."""
        self.fs.invalidate_cache()
        with _remote(self.path):
            return not self.fs.exists(self.root) or not self.fs.ls(self.root, detail=False)

    def read(self, name: str) -> bytes | None:
        """An object; None where there is none."""
        with _remote(self.path):
            try:
                return bytes(self.fs.cat_file(f"{self.root}/{name}"))
            except (FileNotFoundError, IsADirectoryError):
                return None

    def names(self, folder: str) -> list[str]:
        """Names of the objects that lie directly in a folder."""
        self.fs.invalidate_cache()
        with _remote(self.path):
            try:
                found: Iterable[Any] = self.fs.ls(f"{self.root}/{folder}", detail=True)
            except FileNotFoundError:
                return []
            files = [item["name"] for item in found if item["type"] == "file"]
        return sorted(str(name).rpartition("/")[2] for name in files)

    def create(self, files: Mapping[str, bytes]) -> None:
        """Write the objects of a new store; the root's, which makes it one, comes last."""
        for name, data in sorted(files.items(), key=lambda item: item[0] == "zarr.json"):
            self.put(name, data)

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        with _remote(f"{self.path}/{name}"):
            self.fs.pipe_file(f"{self.root}/{name}", data)

    def remove(self, name: str) -> None:
        """Remove an object."""
        with _remote(f"{self.path}/{name}"):
            if self.fs.exists(f"{self.root}/{name}"):
                self.fs.rm_file(f"{self.root}/{name}")

    def sync(self) -> None:
        """Nothing to do: an object that was taken is there."""

    def tidy(self) -> None:
        """Nothing to do: an object is never there in part."""

    def lock(self) -> None:
        """Nothing keeps a second writer away."""

    def close(self) -> None:
        """Nothing to release."""
