"""The Python that compiles in the background: gone when the one that started it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lossfit
from lossfit.kernels import compiling

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are looked up in /proc"
)
SECONDS = 60.0
START = "from lossfit.kernels import compiling; assert compiling.start()"
SLEEP = "import time; time.sleep(100)"


def states() -> dict[int, tuple[int, str]]:
    """Parent and state of every process."""
    seen = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        seen[int(path.parent.name)] = int(parent), state
    return seen


def runs_still(pid: int) -> bool:
    return states().get(pid, (0, "Z"))[1] not in "ZX"


def compilers(parent: int) -> list[int]:
    """Children of a process that compile."""
    found = []
    for pid, (above, _) in states().items():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if above == parent and b"lossfit.kernels.warmup" in words:
            found.append(pid)
    return found


def until(condition, seconds: float = SECONDS):
    """Wait for something; what it is."""
    stop = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < stop, "waited in vain"
        time.sleep(0.02)
    return value


@pytest.fixture
def started(tmp_path, root):
    """Starts a Python whose cache is empty; no process is left."""
    pids: list[int] = []
    environment = {
        **os.environ,
        "LOSSFIT_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(root),
        "NUMBA_NUM_THREADS": "1",
    }
    environment.pop("LOSSFIT_ENGINE", None)

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        pids.append(process.pid)
        return process

    yield start, pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture
def log(tmp_path):
    """A log that is not at its end."""
    frame = lossfit.load("llama2").select(["llama2-7B"]).frame
    frame.iloc[:60].to_csv(tmp_path / "log.csv", index=False)


@pytest.mark.parametrize(
    "command",
    [
        "warmup",
        "fit llama2 --out a.zarr",
        "watch log.csv --at 2e12 --axis tokens",
    ],
)
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_none_outlives_a_command_that_is_killed(started, log, command, signal_number):
    start, pids = started
    process = start("-m", "lossfit", *command.split())
    (child,) = until(lambda: compilers(process.pid))
    pids.append(child)
    time.sleep(0.5)  # it compiles
    assert runs_still(child)
    process.send_signal(signal_number)
    process.wait()
    until(lambda: not runs_still(child), 20)


def test_none_outlives_a_parent_whose_fork_lives(started):
    """The fork has a copy of the pipe, which would stay open."""
    start, pids = started
    code = f"{START}; import os; os.fork(); {SLEEP}"
    process = start("-c", code)
    (child,) = until(lambda: compilers(process.pid))
    pids.append(child)
    forked = until(lambda: [p for p, (above, _) in states().items() if above == process.pid][1:])
    pids += forked
    time.sleep(0.5)
    process.kill()
    process.wait()
    until(lambda: not runs_still(child), 20)
    assert all(runs_still(pid) for pid in forked if pid != child)


def test_it_goes_on_where_its_parent_ends_well(started, tmp_path):
    start, pids = started
    process = start(
        "-c", f"{START}; import os; open('pid', 'w').write(str(compiling._processes[0].pid))"
    )
    assert process.wait() == 0
    child = int((tmp_path / "pid").read_text())
    pids.append(child)
    stop = time.monotonic() + 3
    while time.monotonic() < stop:
        assert runs_still(child)
        time.sleep(0.1)


def test_an_interrupted_wait_ends_it(started):
    """Ctrl-C in a terminal: the other Python is in a session of its own and does not get it."""
    start, pids = started
    process = start("-m", "lossfit", "warmup")
    (child,) = until(lambda: compilers(process.pid))
    pids.append(child)
    time.sleep(1.0)  # the parent waits
    process.send_signal(signal.SIGINT)
    process.wait()
    until(lambda: not runs_still(child), 20)


def test_a_pipe_that_closes_without_a_word_is_what_ends_it(monkeypatch):
    ended = []
    monkeypatch.setattr(compiling.os, "_exit", ended.append)
    for content, codes in ((b"", [1]), (compiling.GO_ON, [])):
        monkeypatch.setattr(compiling.os, "read", lambda *_, content=content: content)
        ended.clear()
        compiling.stay_with_parent()
        deadline = time.monotonic() + 5
        while ended != codes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ended == codes
