"""Interrupted sweeps: what is done is kept, damage is found, changes are refused."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import lossfit
from lossfit.sweep import StoreError, StoreWriteError, fit_to, open_store
from tests.sweep.curves import contents, frame, runs

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
OPTIONS = {"draws": 20, "chunk_runs": 4, "horizons": (2.0,), "axis": "step"}
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts, or flock")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "a.zarr"
    fit_to(store, runs(), **OPTIONS)
    return store


@pytest.fixture(scope="module")
def whole_parts(tmp_path_factory):
    """The same from an iterator, which is hashed run by run."""
    store = tmp_path_factory.mktemp("whole_parts") / "a.zarr"
    fit_to(store, parts(), **OPTIONS)
    return contents(store)


def parts(stop=None):
    """The runs one by one; a KeyboardInterrupt before run `stop`."""
    data = frame()
    for k, name in enumerate(dict.fromkeys(data.run)):
        if k == stop:
            raise KeyboardInterrupt
        yield lossfit.Runs.from_frame(data[data.run == name])


def interrupted(store, stop=17):
    with pytest.raises(KeyboardInterrupt):
        fit_to(store, parts(stop), **OPTIONS)


def test_resumed_is_bit_identical(tmp_path, whole_parts):
    interrupted(tmp_path / "a.zarr")
    with open_store(tmp_path / "a.zarr") as found:
        assert not found.attrs["complete"]
    result = fit_to(tmp_path / "a.zarr", parts(), resume=True, **OPTIONS)
    assert result.resumed == 16
    assert "16 runs were there already" in str(result)
    assert contents(tmp_path / "a.zarr") == whole_parts
    again = fit_to(tmp_path / "a.zarr", parts(), resume=True, **OPTIONS)
    assert again.resumed == again.runs == 30
    assert contents(tmp_path / "a.zarr") == whole_parts


def test_resume_starts_what_is_not_there(tmp_path, whole):
    assert fit_to(tmp_path / "new" / "a.zarr", runs(), resume=True, **OPTIONS).resumed == 0
    assert contents(tmp_path / "new" / "a.zarr") == contents(whole)


def test_chunk_and_seed_are_taken_from_the_store(tmp_path):
    options = {**OPTIONS, "random_seed": None}
    interrupted_options = {k: v for k, v in options.items() if k != "chunk_runs"}
    with pytest.raises(KeyboardInterrupt):
        fit_to(tmp_path / "a.zarr", parts(17), **options)
    result = fit_to(tmp_path / "a.zarr", parts(), resume=True, **interrupted_options)
    assert result.resumed == 16


@pytest.mark.parametrize(
    "damage",
    ["cut", "flipped", "gone", "ledger cut", "ledger flipped", "partial", "length", "errors"],
)
def test_damage_is_found_and_repaired(tmp_path, whole, damage):
    store = tmp_path / "a.zarr"
    shutil.copytree(whole, store)
    file = store / "posterior/alpha/c/0/0/3"
    ledger = store / "ledger/entry/c/2"
    redone = 1
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "flipped":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "gone":
        file.unlink()
    elif damage == "ledger cut":
        ledger.write_bytes(ledger.read_bytes()[:40])
    elif damage == "ledger flipped":
        data = bytearray(ledger.read_bytes())
        data[len(data) // 2] ^= 1
        ledger.write_bytes(data)
    elif damage == "partial":
        file.with_name("3.partial").write_bytes(b"some")
        redone = 0
    elif damage == "length":
        shutil.copy(store / "mean/zarr.json", store / "sd/zarr.json")
        redone = 0
    elif damage == "errors":
        shutil.rmtree(store / "errors/run")
        redone = 0
    result = fit_to(store, runs(), resume=True, **OPTIONS)
    assert result.redone == redone
    assert result.resumed == 30 - 4 * redone
    assert contents(store) == contents(whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"draws": 21}, "draws was 20 and is now 21"),
        ({"random_seed": 1}, "random_seed was 0 and is now 1"),
        ({"law": "power"}, "law was 'power_linear' and is now 'power'"),
        ({"horizons": (3.0,)}, "horizons"),
        ({"window": "all"}, "window was 'auto' and is now 'all'"),
        ({"keep": "summary"}, "keep"),
        ({"chunk_runs": 5}, "chunk_runs was 4 and is now 5"),
        ({"prob": 0.8}, "prob"),
        ({"priors": {"alpha": lossfit.priors.lognormal(0.3, 1)}}, "priors"),
    ],
)
def test_other_settings_are_refused(whole, change, words):
    before = contents(whole)
    with pytest.raises(StoreError, match=words):
        fit_to(whole, runs(), resume=True, **{**OPTIONS, **change})
    assert contents(whole) == before


def test_another_version_is_refused(whole, monkeypatch):
    monkeypatch.setattr(lossfit, "__version__", "99.0")
    with pytest.raises(StoreError, match=r"written by lossfit .*, this is 99\.0"):
        fit_to(whole, runs(), resume=True, **OPTIONS)


def changed(where=-1):
    data = frame()
    data.loc[data.index[where], "loss"] += 1e-9
    return data


@pytest.mark.parametrize("where", [0, 500, -1])
def test_another_input_is_refused(tmp_path, where):
    fit_to(tmp_path / "a.zarr", frame(), **OPTIONS)
    frame().to_parquet(tmp_path / "a.parquet")
    fit_to(tmp_path / "b.zarr", tmp_path / "a.parquet", **OPTIONS)
    changed(where).to_parquet(tmp_path / "a.parquet")
    for store, source in (("a.zarr", changed(where)), ("b.zarr", tmp_path / "a.parquet")):
        with pytest.raises(StoreError, match=r"input of .* has changed"):
            fit_to(tmp_path / store, source, resume=True, **OPTIONS)


def test_another_iterator_is_refused_chunk_by_chunk(tmp_path):
    interrupted(tmp_path / "a.zarr")

    def other():
        for k, one in enumerate(parts()):
            yield lossfit.Runs.from_frame(changed(0)).select(["run000"]) if k == 0 else one

    before = contents(tmp_path / "a.zarr")
    with pytest.raises(StoreError, match=r"runs 0 to 3 are not those"):
        fit_to(tmp_path / "a.zarr", other(), resume=True, **OPTIONS)
    with pytest.raises(StoreError, match="it ends before run 12"):
        fit_to(tmp_path / "a.zarr", list(parts())[:12], resume=True, **OPTIONS)
    assert contents(tmp_path / "a.zarr") == before


def test_a_store_is_not_overwritten(tmp_path, whole):
    before = contents(whole)
    with pytest.raises(StoreError, match="resume=True"):
        fit_to(whole, runs(), **OPTIONS)
    assert contents(whole) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    (tmp_path / "file.zarr").write_text("mine")
    for name in ("other", "file.zarr"):
        with pytest.raises(StoreError, match=r"no sweep's store|is a file"):
            fit_to(tmp_path / name, runs(), **OPTIONS)
    (tmp_path / "empty").mkdir()
    assert fit_to(tmp_path / "empty", runs(), **OPTIONS).runs == 30


def test_two_writers(tmp_path, whole_parts):
    """The second is refused while the first goes on, and the first is not disturbed."""
    hold, going = threading.Event(), threading.Event()

    def slow():
        for k, one in enumerate(parts()):
            if k == 17:
                going.set()
                assert hold.wait(60)
            yield one

    first = threading.Thread(
        target=lambda: fit_to(tmp_path / "a.zarr", slow(), **OPTIONS), daemon=True
    )
    first.start()
    try:
        assert going.wait(60)
        for resume in (True, False):
            with pytest.raises(StoreError, match="another process is writing"):
                fit_to(tmp_path / "a.zarr", parts(), resume=resume, **OPTIONS)
    finally:
        hold.set()
        first.join(60)
    assert contents(tmp_path / "a.zarr") == whole_parts


CHILD = """
import sys, time, warnings
import lossfit
from tests.sweep.test_resume import OPTIONS, parts
from lossfit.sweep import fit_to
warnings.simplefilter("ignore")
def slow():
    for k, one in enumerate(parts()):
        if k == 18:
            print("going", flush=True)
            time.sleep(60)
        yield one
fit_to(sys.argv[1], slow(), **OPTIONS)
"""


@LINUX
def test_killed_with_its_lock_held(tmp_path, root, whole_parts):
    """kill -9: the lock is free at once, and the store ends as if nothing had happened."""
    store = tmp_path / "a.zarr"
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "going\n"
        deadline = time.monotonic() + 60
        while not (store / "ledger/entry/c/2").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(StoreError, match="another process"):
            fit_to(store, parts(), resume=True, **OPTIONS)
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = fit_to(store, parts(), resume=True, **OPTIONS)
    assert result.resumed >= 12
    assert contents(store) == whole_parts


@pytest.mark.parametrize("after", [0, 13, 29, 30, 41, 100, 170])
def test_a_write_that_fails_loses_nothing(tmp_path, monkeypatch, whole_parts, after):
    """Every so many-th write fails as on a full disk; the sweep then goes on from there."""
    from lossfit.sweep.files import LocalPlace, write_error

    real, calls = LocalPlace.put, []

    def put(place, name, data):
        calls.append(name)
        if len(calls) > 90 + after:
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise write_error(name, error) from error
        real(place, name, data)

    monkeypatch.setattr(LocalPlace, "put", put)
    with pytest.raises(StoreWriteError, match=r"No space left.*free some space.*resume=True"):
        fit_to(tmp_path / "a.zarr", parts(), **OPTIONS)
    monkeypatch.undo()
    fit_to(tmp_path / "a.zarr", parts(), resume=True, **OPTIONS)
    assert contents(tmp_path / "a.zarr") == whole_parts


@pytest.fixture
def mounted(tmp_path):
    """A file system of 1 MiB, where the tests may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting a file system is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@LINUX
def test_full_disk(mounted, tmp_path):
    filler = mounted / "filler"
    filler.write_bytes(bytes(200 << 10))
    options = {**OPTIONS, "draws": 100}
    with pytest.raises(StoreWriteError, match="No space left") as caught:
        fit_to(mounted / "a.zarr", parts(), **options)
    assert isinstance(caught.value, OSError)
    done = len(list((mounted / "a.zarr/ledger/entry/c").iterdir()))
    assert done > 0
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
    result = fit_to(mounted / "a.zarr", parts(), resume=True, **options)
    assert result.resumed >= 4 * (done - 1) > 0
    fit_to(tmp_path / "whole.zarr", parts(), **options)
    assert contents(mounted / "a.zarr") == contents(tmp_path / "whole.zarr")


@LINUX
def test_read_only(mounted, tmp_path):
    subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
    with pytest.raises(KeyboardInterrupt):
        fit_to(mounted / "a.zarr", parts(17), **OPTIONS)
    before = contents(mounted)
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with pytest.raises(StoreWriteError, match="Read-only"):
        fit_to(mounted / "a.zarr", parts(), resume=True, **OPTIONS)
    with pytest.raises(StoreWriteError, match="Read-only"):
        fit_to(mounted / "b.zarr", parts(), **OPTIONS)
    assert contents(mounted) == before
    subprocess.run(["mount", "-o", "remount,rw", str(mounted)], check=True)
    assert fit_to(mounted / "a.zarr", parts(), resume=True, **OPTIONS).resumed == 16
