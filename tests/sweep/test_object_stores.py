"""Sweeps in object stores: memory://, and s3:// on a server of moto's."""

from __future__ import annotations

import sys
import uuid

import numpy as np
import pytest

import lossfit
from lossfit.sweep import StoreError, StoreWriteError, fit_to, open_store, verify
from lossfit.sweep.files import place_of
from tests.sweep.curves import frame, runs

pytest.importorskip("fsspec")

pytestmark = [
    pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
OPTIONS = {"draws": 10, "chunk_runs": 4, "horizons": (2.0,), "axis": "step"}


@pytest.fixture(scope="module")
def bucket():
    """The address of a bucket on a server that moto runs in this process."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    import fsspec

    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "none",
        "secret": "none",
        "endpoint_url": f"http://{host}:{port}",
        "client_kwargs": {"region_name": "us-east-1"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fsspec.config.conf, "s3", options)
        fsspec.filesystem("s3").call_s3("create_bucket", Bucket="sweeps")
        yield "s3://sweeps"
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def address(request):
    top = "memory://sweeps" if request.param == "memory" else request.getfixturevalue("bucket")
    return f"{top}/{uuid.uuid4().hex}.zarr"


def objects(address):
    place = place_of(address)
    place.fs.invalidate_cache()
    return {
        name.removeprefix(place.root): place.fs.cat_file(name) for name in place.fs.find(place.root)
    }


def stopping(count):
    data = frame(10)
    for k, name in enumerate(dict.fromkeys(data.run)):
        if k == count:
            raise KeyboardInterrupt
        yield lossfit.Runs.from_frame(data[data.run == name])


def test_written_read_and_the_same_as_on_a_disk(tmp_path, address):
    result = fit_to(address, runs(10), **OPTIONS)
    assert result.path == address
    fit_to(tmp_path / "a.zarr", runs(10), **OPTIONS)
    local = {
        "/" + path.relative_to(tmp_path / "a.zarr").as_posix(): path.read_bytes()
        for path in (tmp_path / "a.zarr").rglob("*")
        if path.is_file()
    }
    assert objects(address) == local
    with open_store(address) as found, open_store(tmp_path / "a.zarr") as expected:
        assert found.load().identical(expected.load())
    assert len(result.errors) == 0
    assert verify(address).whole
    with pytest.raises(StoreError, match="resume=True"):
        fit_to(address, runs(10), **OPTIONS)


def test_resumed_and_repaired(address):
    with pytest.raises(KeyboardInterrupt):
        fit_to(address, stopping(9), **OPTIONS)
    assert fit_to(address, stopping(99), resume=True, **OPTIONS).resumed in (4, 8)
    whole = objects(address)
    place = place_of(address)
    place.put("zarr.json", b"")
    place.remove("quantile/c/0")
    place.put("mean/c/1/0", place.read("mean/c/0/0"))
    with pytest.raises(StoreError, match=r"zarr\.json"):
        open_store(address)
    found = verify(address, repair=True)
    assert [fault.file for fault in found.faults if fault.fix == "resume"] == ["mean/c/1/0"]
    with pytest.raises(StoreError, match="mean/c/1/0"):
        open_store(address).load()
    assert fit_to(address, stopping(99), resume=True, **OPTIONS).redone == 1
    assert objects(address) == whole


def test_what_cannot_be_reached(bucket):
    with pytest.raises(StoreWriteError, match="none-such"):
        fit_to("s3://none-such/a.zarr", runs(3), **OPTIONS)
    with pytest.raises(StoreError, match="cannot be opened"):
        fit_to("nothing-like-it://a.zarr", runs(3), **OPTIONS)
    with pytest.raises(StoreError, match="give an address as text"):
        fit_to(__import__("pathlib").Path("s3://none/a.zarr"), runs(3), **OPTIONS)


def test_no_fsspec(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(StoreError, match="cannot be opened"):
        fit_to("memory://a.zarr", runs(3), **OPTIONS)


def test_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    frame(5).to_parquet(tmp_path / "a.parquet")
    result = fit_to("~/a.zarr", "~/a.parquet", **OPTIONS)
    assert result.path == tmp_path / "a.zarr"
    assert not (tmp_path / "~").exists()
    assert np.isfinite(open_store("~/a.zarr")["mean"]).all()
    assert verify("~/a.zarr").whole
