"""On a Dask cluster of two worker processes: the local store, bit for bit, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import lossfit
from lossfit.sweep import fit_to
from tests.gpu.native import missing_native
from tests.sweep.curves import contents, frame, runs

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WORKERS = {
    "n_workers": 2,
    "threads_per_worker": 1,
    "processes": True,
    "dashboard_address": ":0",
    "memory_limit": 0,
}
OPTIONS = {"draws": 20, "chunk_runs": 3, "horizons": (2.0,), "axis": "step"}


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(**WORKERS) as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "a.zarr"
    fit_to(store, runs(), **OPTIONS)
    return store


def test_equals_the_local_run_and_resumes_it(cluster, tmp_path, whole):
    with distributed.Client(cluster) as client:
        result = fit_to(tmp_path / "a.zarr", runs(), client=client, **OPTIONS)
        assert result.runs == 30
        assert contents(tmp_path / "a.zarr") == contents(whole)
        assert fit_to(whole, runs(), client=client, resume=True, **OPTIONS).resumed == 30


def test_by_address_from_parquet(cluster, tmp_path):
    frame(12).to_parquet(tmp_path / "a.parquet")
    source = tmp_path / "a.parquet"
    fit_to(tmp_path / "a.zarr", source, client=cluster.scheduler_address, **OPTIONS)
    fit_to(tmp_path / "local.zarr", source, **OPTIONS)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "local.zarr")


def test_a_bad_run_is_recorded_or_raised(cluster, tmp_path):
    data = frame()
    data.loc[data.run == "run007", "loss"] = float("nan")
    with distributed.Client(cluster) as client:
        result = fit_to(tmp_path / "a.zarr", data, client=client, **OPTIONS)
        assert list(result.errors.run) == ["run007"]
        with pytest.raises(lossfit.DataError, match="run007"):
            fit_to(tmp_path / "b.zarr", data, client=client, on_error="raise", **OPTIONS)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_worker_is_survived(cluster, tmp_path, whole):
    """A worker is killed when it has done some chunks and others are on their way to it."""
    killed = []

    def kill_one():
        folder = tmp_path / "a.zarr/ledger/entry/c"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if folder.exists() and len(list(folder.glob("[0-9]*"))) >= 2:
                pid = next(iter(cluster.workers.values())).pid
                os.kill(pid, signal.SIGKILL)
                killed.append(len(list(folder.glob("[0-9]*"))))
                return
            time.sleep(0.005)

    def slow():
        data = frame()
        for name in dict.fromkeys(data.run):
            time.sleep(0.05)
            yield lossfit.Runs.from_frame(data[data.run == name])

    with distributed.Client(cluster) as client:
        killer = threading.Thread(target=kill_one)
        killer.start()
        fit_to(tmp_path / "a.zarr", slow(), client=client, **OPTIONS)
        killer.join()
    assert killed
    assert killed[0] < 10
    fit_to(tmp_path / "local.zarr", slow(), **OPTIONS)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "local.zarr")


def test_nobody_at_the_address(tmp_path, monkeypatch):
    monkeypatch.setattr("lossfit.sweep.distributing.CONNECT_SECONDS", 1)
    with pytest.raises(lossfit.DataError, match="no Dask scheduler"):
        fit_to(tmp_path / "a.zarr", runs(3), client="tcp://127.0.0.1:9", **OPTIONS)


def test_a_law_of_ones_own(cluster, tmp_path):
    from lossfit import priors
    from tests.sweep.own_law import saturating

    law = lossfit.Law(
        name="saturating",
        formula="E + A / (1 + x/tau)",
        linear=(
            lossfit.Linear("E", "final loss", priors.normal(0, 2, relative=True)),
            lossfit.Linear("A", "amplitude", priors.normal(0, 2, relative=True)),
        ),
        columns=(lossfit.laws.constant, saturating),
        nonlinear=(lossfit.Nonlinear("tau", "scale", 0.01, 10, priors.lognormal(0.3, 1)),),
    )
    options = {**OPTIONS, "law": law}
    fit_to(tmp_path / "local.zarr", runs(12), **options)
    with distributed.Client(cluster) as client:
        fit_to(tmp_path / "a.zarr", runs(12), client=client, **options)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "local.zarr")


def test_workers_with_gpus(tmp_path, monkeypatch):
    """One task a GPU and chunk: the store of the same device here; every chunk was on a GPU."""
    if (reason := missing_native()) is not None:
        pytest.skip(reason)
    from lossfit.engine import devices
    from tests.sweep import stand_in_gpu

    some = runs(4)
    options = OPTIONS | {"device": "cuda", "chunk_runs": 2, "draws": 5}
    with (
        distributed.LocalCluster(**WORKERS, preload=[stand_in_gpu.__file__]) as cluster,
        distributed.Client(cluster) as client,
    ):
        # The client itself has no GPU: workers say what they have.
        result = fit_to(tmp_path / "a.zarr", some, client=client, **options)
        assert result.runs == 4
        assert result.failed == 0
    find, opened = stand_in_gpu.gpu()
    monkeypatch.setattr(devices, "find", find)
    monkeypatch.setattr(devices.Place, "open", opened)
    fit_to(tmp_path / "local.zarr", some, **options)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "local.zarr")
    with lossfit.sweep.open_store(tmp_path / "a.zarr") as store:
        assert "cuda" in str(store.attrs)


COLD = """
import sys, warnings
from pathlib import Path

import distributed
from tests.sweep.curves import contents, runs
from tests.sweep.test_dask import WORKERS
from lossfit.sweep import fit_to

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    place, options = Path(sys.argv[1]), {"draws": 20, "chunk_runs": 3, "axis": "step"}
    with distributed.LocalCluster(**WORKERS) as cluster, distributed.Client(cluster) as client:
        fit_to(place / "a.zarr", runs(), client=client, **options)
    fit_to(place / "b.zarr", runs(), **options)
    assert contents(place / "a.zarr") == contents(place / "b.zarr")
"""


@pytest.mark.nightly(only="compiles for a minute or two")
def test_workers_that_have_nothing_compiled(tmp_path):
    """Both workers compile, at once, and give what a process with compiled kernels gives."""
    script = tmp_path / "cold.py"
    script.write_text(COLD)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "LOSSFIT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": root}
    subprocess.run([sys.executable, script, tmp_path], env=environment, check=True, timeout=900)
