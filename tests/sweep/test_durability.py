"""What is on the disk after a loss of power: only what was flushed, and in folders that were."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from lossfit.sweep import StoreWriteError, fit_to, verify
from lossfit.sweep import store as store_module
from lossfit.sweep.files import LOCK, LocalPlace, place_of
from lossfit.sweep.ledger import unsealed
from tests.sweep.curves import contents, runs

pytestmark = [
    pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows flushes no folders"),
]
OPTIONS = {"draws": 5, "chunk_runs": 4, "axis": "step"}


@pytest.fixture
def disk(monkeypatch):
    return Watched(monkeypatch)


class Watched:
    """What would be there if the power failed now, by the calls of the system so far."""

    def __init__(self, monkeypatch):
        self.content: set[str] = set()
        self.waiting: dict[str, set[str]] = {}
        self.lasting: set[str] = set()
        self.replaced = None
        real = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "mkdir")}

        def fsync(handle):
            real["fsync"](handle)
            path = os.readlink(f"/proc/self/fd/{handle}")
            if os.path.isdir(path):
                self.lasting |= self.waiting.pop(path, set())
            else:
                self.content.add(path)

        def replace(old, new):
            real["replace"](old, new)
            old, new = os.fspath(old), os.fspath(new)
            self.content.discard(new)
            if old in self.content:
                self.content.remove(old)
                self.content.add(new)
            self.lasting.discard(new)
            self._wait(new)
            if self.replaced is not None:
                self.replaced(Path(new))

        def rename(old, new):
            real["rename"](old, new)
            old, new = os.fspath(old), os.fspath(new)

            def moved(path):
                return new + path[len(old) :] if path.startswith(old + "/") else path

            self.content = set(map(moved, self.content))
            self.lasting = set(map(moved, self.lasting))
            self.waiting = {moved(k): set(map(moved, v)) for k, v in self.waiting.items()}
            self._wait(new)

        def mkdir(path, *arguments, **options):
            real["mkdir"](path, *arguments, **options)
            self._wait(os.fspath(path))

        for name, call in locals().copy().items():
            if name in real:
                monkeypatch.setattr(os, name, call)

    def _wait(self, path):
        self.waiting.setdefault(os.path.dirname(path), set()).add(path)

    def keeps(self, top, name):
        """Whether a file of the store would be there, whole, after a loss of power."""
        path = top / name
        folders = [path, *path.parents]
        ours = folders[: folders.index(top) + 1]
        return str(path) in self.content and all(str(part) in self.lasting for part in ours)


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc names open files")


@LINUX
@pytest.mark.parametrize("parents", ["", "new/folders/"])
def test_what_counts_is_on_the_disk(tmp_path, disk, monkeypatch, parents):
    """Before an entry is in the ledger its files are, and before the root tells of them, all."""
    top = tmp_path / parents / "a.zarr"
    monkeypatch.setattr(store_module, "REFRESH", 0.0)  # the root is renewed with every chunk
    seen = []

    def replaced(path):
        if not path.is_relative_to(top):
            return
        name = path.relative_to(top).as_posix()
        if name.startswith("ledger/entry/c/"):
            files = list(unsealed(path.read_bytes())["files"])
        elif name == "zarr.json":
            files = [f for f in contents(top) if f != "zarr.json" and not f.endswith(".partial")]
        else:
            return
        lost = [f for f in files if not disk.keeps(top, f)]
        assert not lost, f"{name} tells of {lost}"
        seen.append(name)

    disk.replaced = replaced
    fit_to(top, runs(10), **OPTIONS)
    assert seen.count("zarr.json") >= 3
    assert len(seen) - seen.count("zarr.json") == 3
    assert [f for f in contents(top) if not disk.keeps(top, f)] == []
    for folder in (top, *top.parents):
        if folder == tmp_path:
            break
        assert str(folder) in disk.lasting


@LINUX
def test_what_is_repaired_is_on_the_disk(tmp_path, disk):
    top = tmp_path / "a.zarr"
    fit_to(top, runs(10), **OPTIONS)
    names = ("zarr.json", "quantile/c/0", "mean/zarr.json", LOCK)
    for name in names:
        (top / name).unlink()
        disk.content.discard(str(top / name))
    assert verify(top, repair=True).whole
    for name in names[:3]:
        assert disk.keeps(top, name)
    assert str(top / LOCK) in disk.content  # it is written in its place: see `LocalPlace.lock`


@LINUX
def test_no_file_is_ever_there_in_part(tmp_path, monkeypatch):
    """A write that stops half-way leaves the old file."""
    place = LocalPlace(tmp_path / "a")
    place.put("x/y", b"old")
    real = os.fsync

    def fails(handle):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreWriteError, match="Input/output error"):
        place.put("x/y", b"new")
    assert place.read("x/y") == b"old"
    monkeypatch.setattr(os, "fsync", real)
    place.put("x/y", b"new")
    assert place.read("x/y") == b"new"
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreWriteError):  # of the folder: it does not count either
        place.sync()


def test_rubbish_of_a_killed_process_is_removed_when_old(tmp_path):
    old, new = tmp_path / ".a.zarr.1.new", tmp_path / ".a.zarr.2.new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "file").write_text("")
    os.utime(old, (0, 0))
    fit_to(tmp_path / "a.zarr", runs(3), **OPTIONS)
    assert not old.exists()
    assert new.exists()  # somebody may be making it


def test_the_lock_outlasts_damage_to_its_file(tmp_path):
    top = tmp_path / "a.zarr"
    fit_to(top, runs(3), **OPTIONS)
    (top / LOCK).write_bytes(b"")
    one, two = place_of(top), place_of(top)
    one.lock()
    with pytest.raises(Exception, match="another process"):
        two.lock()
    one.put(LOCK, b"{}")
    with pytest.raises(Exception, match="another process"):
        two.lock()
    one.close()
    two.lock()
    two.close()
    assert verify(top, repair=True).whole
