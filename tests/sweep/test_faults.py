"""What goes wrong about a sweep: input that changes, a slow disk, clocks that jump, no memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

from lossfit import DataError
from lossfit.sweep import StoreError, fit_to, open_store, sweeping, verify
from tests.sweep.curves import contents, frame, runs

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
OPTIONS = {"draws": 10, "chunk_runs": 3, "horizons": (2.0,), "axis": "step"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "a.zarr"
    fit_to(store, runs(12), **OPTIONS)
    return contents(store)


@pytest.fixture
def dataset(tmp_path):
    """Two files; `change` is called when the first chunk is fitted."""
    folder = tmp_path / "data"
    folder.mkdir()
    made = frame(12)
    made[made.run < "run006"].to_parquet(folder / "a.parquet")
    made[made.run >= "run006"].to_parquet(folder / "b.parquet")
    return folder


def replaced(folder, shift=0.01):
    """The second file, with other losses, takes the place of the old one."""
    made = frame(12)
    made = made[made.run >= "run006"]
    made["loss"] += shift
    made.to_parquet(folder / "new")
    os.replace(folder / "new", folder / "b.parquet")


def written_in_place(folder):
    data = (folder / "b.parquet").read_bytes()
    replaced(folder)
    other = (folder / "b.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(data)
    os.utime(folder / "b.parquet", ns=(1, 1))
    with open(folder / "b.parquet", "r+b") as file:
        file.write(other)
        file.truncate()


def removed(folder):
    (folder / "b.parquet").unlink()


@pytest.mark.parametrize("change", [replaced, written_in_place, removed])
@pytest.mark.parametrize("at", [0, 3])
def test_input_that_changes_while_it_is_read(tmp_path, dataset, monkeypatch, change, at):
    """Never a store that is done and has runs of two inputs; with the old input it is finished."""
    old = {path.name: path.read_bytes() for path in dataset.iterdir()}
    fit_to(tmp_path / "whole.zarr", dataset, **OPTIONS)
    real, calls = sweeping.fit_chunk, []

    def fit_chunk(*arguments):
        calls.append(1)
        if len(calls) == at + 1:
            change(dataset)
        return real(*arguments)

    monkeypatch.setattr(sweeping, "fit_chunk", fit_chunk)
    words = r"changed while it was read: .*b\.parquet.*resume=True"
    if change is not replaced:  # as the moment has it, it cannot even be read to its end
        words += r"|b\.parquet cannot be read: "
    with pytest.raises(DataError, match=words):
        fit_to(tmp_path / "a.zarr", dataset, **OPTIONS)
    monkeypatch.undo()
    with open_store(tmp_path / "a.zarr") as found:
        assert not found.attrs["complete"]
    if change is not removed:
        with pytest.raises(StoreError, match=r"input of .* has changed"):
            fit_to(tmp_path / "a.zarr", dataset, resume=True, **OPTIONS)
    for name, data in old.items():
        (dataset / name).write_bytes(data)
    try:
        fit_to(tmp_path / "a.zarr", dataset, resume=True, **OPTIONS)
    except StoreError as error:  # chunks of the new input had been written: they are refused
        assert "are not those that are in the store" in str(error)  # noqa: PT017
        assert change is not removed
    else:
        assert contents(tmp_path / "a.zarr") == contents(tmp_path / "whole.zarr")


def test_input_that_is_written_again_with_the_same_bytes(tmp_path, dataset, monkeypatch):
    real = sweeping.fit_chunk

    def fit_chunk(*arguments):
        replaced(dataset, shift=0.0)
        os.utime(dataset / "a.parquet")
        return real(*arguments)

    replaced(dataset, shift=0.0)
    fit_to(tmp_path / "whole.zarr", dataset, **OPTIONS)
    monkeypatch.setattr(sweeping, "fit_chunk", fit_chunk)
    fit_to(tmp_path / "a.zarr", dataset, **OPTIONS)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "whole.zarr")


def test_a_large_input_is_known_by_its_stamps(tmp_path, dataset, monkeypatch):
    """Where only footers are hashed: a file that was written again may have changed."""
    from lossfit.sweep import parquet

    monkeypatch.setattr(parquet, "HASHED_BYTES", 0)
    real = sweeping.fit_chunk

    def fit_chunk(*arguments):
        os.utime(dataset / "b.parquet", ns=(1, 1))
        return real(*arguments)

    monkeypatch.setattr(sweeping, "fit_chunk", fit_chunk)
    with pytest.raises(StoreError, match=r"changed while it was read: .*b\.parquet"):
        fit_to(tmp_path / "a.zarr", dataset, **OPTIONS)


def test_a_slow_disk(tmp_path, monkeypatch, whole):
    """Flushes that take up to a twentieth of a second, in any order: the same bytes."""
    real, moments, slept = os.fsync, random.Random(0), []

    def fsync(handle):
        slept.append(moments.uniform(0, 0.05) if moments.random() < 0.3 else 0.0)
        time.sleep(slept[-1])
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    fit_to(tmp_path / "a.zarr", runs(12), **OPTIONS)
    assert sum(slept) > 0.5
    assert contents(tmp_path / "a.zarr") == whole


@pytest.mark.parametrize("seed", range(3))
def test_clocks_that_jump(tmp_path, monkeypatch, whole, seed):
    """The wall clock goes back and forth by years, the other one ahead by hours."""
    moments, real = random.Random(seed), time.monotonic
    ahead = [0.0]

    def monotonic():
        ahead[0] += moments.choice([0.0, 0.0, 0.0, 3600.0])
        return real() + ahead[0]

    def wall():
        return 1e9 + moments.uniform(-1e8, 1e9)

    monkeypatch.setattr(time, "time", wall)
    monkeypatch.setattr(time, "monotonic", monotonic)

    def stopped():
        for k in range(12):
            if k == 7:
                raise KeyboardInterrupt
            yield runs(12).select([f"run{k:03}"])

    with pytest.raises(KeyboardInterrupt):
        fit_to(tmp_path / "a.zarr", stopped(), **OPTIONS)
    assert verify(tmp_path / "a.zarr", repair=True).whole
    fit_to(tmp_path / "b.zarr", runs(12), **OPTIONS)
    assert contents(tmp_path / "b.zarr") == whole
    assert ahead[0] > 0


HUNGRY = """
import resource, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from lossfit.sweep import fit_to
from tests.sweep.curves import runs
from tests.sweep.test_faults import LARGE, OPTIONS
store, mebibytes = sys.argv[1], int(sys.argv[2])
some, options = runs(12), {**OPTIONS, **LARGE, "resume": True}
fit_to(store + ".warm", runs(3), **OPTIONS)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (mebibytes << 20),) * 2)
fit_to(store, some, **options)
"""
LARGE = {"draws": 40_000, "chunk_runs": 4}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
@pytest.mark.parametrize("mebibytes", [20, 34])
def test_memory_that_runs_out(tmp_path, root, mebibytes):
    """An error, and with more memory the sweep goes on from there."""
    options = {**OPTIONS, **LARGE, "resume": True}
    store = tmp_path / "a.zarr"
    command = [sys.executable, "-c", HUNGRY, str(store), str(mebibytes)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
    fit_to(store, runs(12), **options)
    fit_to(tmp_path / "whole.zarr", runs(12), **options)
    assert contents(store) == contents(tmp_path / "whole.zarr")
