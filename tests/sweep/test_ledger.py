"""What a store says of itself: seals that no change passes, and what is read from what is whole."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest

import lossfit
from lossfit.sweep import StoreError, StoreWriteError, files, fit_to, ledger, verify
from lossfit.sweep.arrays import text
from lossfit.sweep.files import LOCK, LocalPlace, checksum, place_of, write_error
from lossfit.sweep.layout import END, PLANS
from lossfit.sweep.ledger import entry_file, entry_of, fault_of, sealed, stored, unsealed
from tests.sweep.curves import contents, runs

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
OPTIONS = {"draws": 5, "chunk_runs": 4, "axis": "step"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "a.zarr"
    fit_to(store, runs(10), **OPTIONS)
    return store


@pytest.fixture
def store(tmp_path, whole):
    import shutil

    shutil.copytree(whole, tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


def test_no_change_of_the_root_passes(store):
    """Whatever the checksum becomes, larger or smaller."""
    root = json.loads((store / "zarr.json").read_bytes())
    assert stored(place_of(store)).root == root
    for value in range(12):
        changed = json.loads(json.dumps(root))
        changed["attributes"]["runs"] = 1000 + value
        (store / "zarr.json").write_bytes(text(changed))
        found = stored(place_of(store))
        assert found.root is None
        assert found.damaged == ("zarr.json",)
    changed = json.loads(json.dumps(root))
    seal = changed["attributes"].pop("checksum")
    (store / "zarr.json").write_bytes(text(changed))
    assert stored(place_of(store)).root is None
    changed["attributes"]["checksum"] = seal
    (store / "zarr.json").write_bytes(json.dumps(changed).encode())  # spelt in another way
    assert stored(place_of(store)).root is None or json.dumps(changed).encode() == text(changed)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"attributes": 3}', b"null", b"\xff"])
def test_what_is_no_root(store, content):
    (store / "zarr.json").write_bytes(content)
    assert stored(place_of(store)).root is None


def test_no_change_of_a_sealed_text_passes():
    data = sealed({"a": 1, "b": [1.5, "x"]})
    assert unsealed(data) == {"a": 1, "b": [1.5, "x"]}
    from lossfit.sweep.arrays import texts

    for value in range(2, 14):
        good = json.loads(json.dumps({"a": 1, "b": [1.5, "x"]}))
        seal = checksum(json.dumps(good, sort_keys=True).encode())
        other = texts([json.dumps({"entry": {**good, "a": value}, "checksum": seal})])
        assert unsealed(other) is None
    for wrong in (None, b"", data[:-1], data[1:], texts(["{}"]), texts(["[1]"]), texts(["x"]),
                  texts([json.dumps({"entry": 1})])):  # fmt: skip
        assert unsealed(wrong) is None


def test_what_says_what_a_store_is(store):
    """The root, else the end, else the plan."""
    place = place_of(store)
    found = stored(place)
    assert found.damaged == ()
    assert "checksum" not in found.attrs
    assert found.shown == {"run": 10, "row": 0, "chunk": 3}
    assert found.attrs == found.end
    (store / "zarr.json").unlink()
    found = stored(place)
    assert (found.root, found.shown, found.damaged) == (None, None, ("zarr.json",))
    assert found.attrs["complete"]
    (store / END).unlink()
    found = stored(place)
    assert not found.attrs["complete"]
    assert found.attrs == found.plan.attrs
    (store / PLANS[0]).unlink()
    assert stored(place).plan.to_dict() == found.plan.to_dict()
    assert stored(place).damaged == (PLANS[0], "zarr.json")
    (store / PLANS[1]).unlink()
    assert (stored(place).plan, stored(place).attrs) == (None, {})


def test_an_entry_belongs_to_its_chunk_and_plan(store):
    place = place_of(store)
    plan = stored(place).plan
    assert entry_of(place, 1, plan)["chunk"] == 1
    assert entry_of(place, 1, SimpleNamespace(hash="another")) is None
    (store / entry_file(1)).write_bytes((store / entry_file(2)).read_bytes())
    assert entry_of(place, 1, plan) is None
    assert entry_of(place, 7, plan) is None


def test_what_is_wrong_with_a_file():
    assert fault_of(None, 3, "x") == "is missing"
    assert fault_of(b"1234", 3, checksum(b"1234")) == "has 4 bytes, not 3"
    assert fault_of(b"12", 3, checksum(b"12")) == "has 2 bytes, not 3"
    for data in (b"abc", b"abd", b"abe", b"abf"):
        expected = None if data == b"abc" else "has another checksum"
        assert fault_of(data, 3, checksum(b"abc")) == expected


def test_chunks_that_should_be_there(store):
    place = place_of(store)
    (store / entry_file(1)).unlink()
    (store / "ledger/entry/c/5").write_bytes(b"")
    (store / "ledger/entry/c/x.partial").write_bytes(b"")
    assert ledger.chunk_numbers(place, stored(place)) == [0, 1, 2, 5]
    (store / END).unlink()
    (store / "zarr.json").unlink()
    assert ledger.chunk_numbers(place, stored(place)) == [0, 2, 5]


@pytest.mark.parametrize("data", [b"{}", b"{} ", b'{"a": 1}', b'{"a": 12}'])
@pytest.mark.parametrize("old", ["longer", "shorter", "other", "same"])
def test_the_file_with_the_lock_is_written_in_its_place(tmp_path, data, old):
    place = LocalPlace(tmp_path)
    path = tmp_path / LOCK
    path.parent.mkdir()
    before = {"longer": data + b"x", "shorter": data[:-1], "other": data[::-1], "same": data}[old]
    path.write_bytes(before)
    place.lock()
    number = path.stat().st_ino
    place.put(LOCK, data)
    assert path.read_bytes() == data
    assert path.stat().st_ino == number
    place.close()
    place.close()
    place.put(LOCK, b"replaced")
    assert path.stat().st_ino != number
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(("age", "gone"), [(3590.0, False), (3610.0, True)])
def test_rubbish_is_old_after_an_hour(tmp_path, age, gone):
    left = tmp_path / ".a.zarr.17.new"
    left.mkdir()
    (left / "file").write_text("")
    other = tmp_path / ".b.zarr.17.new"
    other.mkdir()
    then = time.time() - age
    for folder in (left, other):
        os.utime(folder, (then, then))
    LocalPlace(tmp_path / "a.zarr").create({LOCK: b"{}", "zarr.json": b"{}"})
    assert left.exists() == (not gone)
    assert other.exists()  # of another store
    assert contents(tmp_path / "a.zarr").keys() == {LOCK, "zarr.json"}


def test_a_place_is_made_once(tmp_path):
    LocalPlace(tmp_path / "a.zarr").create({LOCK: b"{}", "zarr.json": b"1"})
    with pytest.raises(StoreError, match="another process has just made"):
        LocalPlace(tmp_path / "a.zarr").create({LOCK: b"{}", "zarr.json": b"2"})
    assert (tmp_path / "a.zarr/zarr.json").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_files_of_a_folder(tmp_path):
    place = LocalPlace(tmp_path)
    assert place.empty()
    assert place.names("x") == []
    assert place.read("x/a") is None
    for name in ("x/b", "x/a", "x/y/c"):
        place.put(name, b"1")
    assert place.names("x") == ["a", "b"]
    assert not place.empty()
    place.remove("x/a")
    place.remove("x/a")
    assert place.names("x") == ["b"]
    (tmp_path / "x/b.partial").write_text("")
    place.tidy()
    assert place.names("x") == ["b"]
    assert LocalPlace(tmp_path / "none").empty()
    assert not LocalPlace(tmp_path / "x/b").empty()


@pytest.mark.parametrize(
    ("number", "fix"),
    [("ENOSPC", "free some space"), ("EDQUOT", "free some of your quota"),
     ("EROFS", "make the file system writable"), ("EACCES", "make the folder writable"),
     ("EPERM", "make the folder writable"), ("EIO", "see to the disk")],
)  # fmt: skip
def test_a_file_that_cannot_be_written(number, fix):
    import errno

    code = getattr(errno, number)
    words = str(write_error("a/b", OSError(code, os.strerror(code))))
    assert words.startswith(f"cannot write a/b: {os.strerror(code)}; {fix}")
    assert "resume=True (--resume)" in words
    assert "cannot write a: odd; see to the disk" in str(write_error("a", RuntimeError("odd")))
    assert isinstance(write_error("a", RuntimeError()), StoreWriteError)


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place_of("~/a.zarr").path == tmp_path / "a.zarr"
    assert place_of(f"file://{tmp_path}/a").path == tmp_path / "a"
    assert place_of("C:/a").path.as_posix() == "C:/a"
    with pytest.raises(StoreError, match="give an address as text"):
        place_of("s3:/b/a.zarr")
    with pytest.raises(StoreError, match="cannot be opened"):
        place_of("nothing://b/a.zarr")


def test_what_verify_says_in_words_and_as_data(store):
    good = verify(store)
    assert (good.whole, good.complete, good.runs, good.chunks) == (True, True, 10, 3)
    assert good.files == len(contents(store))
    assert str(good) == (
        f"{store}: {good.files} files of a sweep that is done were checked, 3 chunks with 10 "
        f"runs; none damaged"
    )
    (store / "quantile/c/0").write_bytes(b"")
    (store / "mean/c/1/0").unlink()
    found = verify(store)
    assert {(fault.file, fault.what, fault.fix) for fault in found.faults} == {
        ("mean/c/1/0", "is missing", "resume"),
        ("quantile/c/0", "is damaged", "repair"),
    }
    assert "2 damaged" in str(found)
    assert "! mean/c/1/0 is missing: the sweep's own call with --resume makes it again" in str(
        found
    )
    data = found.to_dict()
    assert data["schema"] == "lossfit.store_verification/1"
    assert (data["whole"], data["complete"], data["runs"], data["chunks"]) == (False, True, 10, 3)
    assert len(data["faults"]) == 2
    repaired = verify(store, repair=True)
    assert not repaired.whole
    assert {fault.fix for fault in repaired.faults} == {"repaired", "resume"}
    assert "! quantile/c/0 is damaged: written again" in str(repaired)


def test_repair_removes_what_a_killed_process_left(store):
    """Half-written files are nobody's: they are no fault, and repair and resume remove them."""
    before = contents(store)
    for name, data in (("mean/c/0/0", b"half"), ("zarr.json", b""), (LOCK, b"\0" * 99)):
        (store / f"{name}{files.PARTIAL}").write_bytes(data)
    assert verify(store).whole
    assert len(contents(store)) == len(before) + 3
    assert verify(store, repair=True).faults == ()
    assert contents(store) == before
    (store / f"sd/c/0/0{files.PARTIAL}").write_bytes(b"half")
    fit_to(store, runs(10), resume=True, **OPTIONS)
    assert contents(store) == before


def test_what_is_no_store_of_ours(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        verify(tmp_path / "none")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/zarr.json").write_text(json.dumps({"attributes": {"format": "other/1"}}))
    with pytest.raises(StoreError, match=r"is a store of format 'other/1': give another place"):
        verify(tmp_path / "a")
    (tmp_path / "a/zarr.json").write_text("{}")
    with pytest.raises(lossfit.DataError, match="is there and is no sweep's store"):
        verify(tmp_path / "a")


def test_in_an_object_store_the_root_comes_last(monkeypatch):
    """It makes the others a store: whoever reads meanwhile sees none."""
    pytest.importorskip("fsspec")
    place = place_of("memory://test_ledger/a.zarr")
    written = []
    monkeypatch.setattr(place, "put", lambda name, data: written.append((name, data)))
    given = {"zarr.json": b"1", LOCK: b"2", "mean/zarr.json": b"zarr.json", "a/c/0": b"4"}
    place.create(given)
    assert written[-1] == ("zarr.json", b"1")
    assert dict(written) == given
