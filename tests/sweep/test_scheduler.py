"""A Dask scheduler that dies under a sweep: an error, and after a restart the same bytes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

import lossfit
from lossfit.sweep import fit_to
from tests.sweep.curves import contents, frame

pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL"),
    pytest.mark.nightly(only="starts a scheduler and workers twice"),
]
OPTIONS = {"draws": 20, "chunk_runs": 3, "horizons": (2.0,), "axis": "step"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def dask(root, tmp_path):
    """Starts `dask scheduler` or `dask worker`; all are gone in the end."""
    processes = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_a_scheduler_that_is_killed_and_started_again(tmp_path, dask):
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"

    def start():
        scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        time.sleep(3)
        dask("worker", address, "--nworkers", "1", "--nthreads", "1", "--no-dashboard")
        return scheduler

    scheduler = start()

    def slow(stop=None):
        data = frame()
        for k, name in enumerate(dict.fromkeys(data.run)):
            if k == stop:
                scheduler.kill()
                scheduler.wait()
            time.sleep(0.05)
            yield lossfit.Runs.from_frame(data[data.run == name])

    with pytest.raises(lossfit.DataError, match=r"scheduler is gone.*resume=True \(--resume\)"):
        fit_to(tmp_path / "a.zarr", slow(20), client=address, **OPTIONS)
    written = len(list((tmp_path / "a.zarr/ledger/entry/c").iterdir()))
    assert written > 0
    start()
    result = fit_to(tmp_path / "a.zarr", slow(), client=address, resume=True, **OPTIONS)
    assert result.resumed == 3 * written
    fit_to(tmp_path / "local.zarr", slow(), **OPTIONS)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "local.zarr")
