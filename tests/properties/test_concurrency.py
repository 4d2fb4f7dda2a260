"""Several calls at once give what one call alone gives: threads, processes, notebooks.

Kernels run in plain Python threads of the driver's own and release the GIL; no threading layer of
Numba is ever started, so there is none that two threads or a fork could break.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lossfit
from tests.curves import power_runs

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")

# The same as `digest`, for processes that start afresh; what it prints is compared.
SCRIPT = """
import hashlib, multiprocessing, sys, threading, warnings
import numpy as np
import lossfit
from tests.curves import power_runs
from tests.properties.test_concurrency import digest

def work(seed):
    warnings.simplefilter("ignore")
    return digest(seed)

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    method, first = sys.argv[1:3]
    if first != "before":  # the parent has used the kernels and its threads before
        work(0)
    stop = threading.Event()

    def go_on():
        while not stop.is_set():
            work(0)

    thread = threading.Thread(target=go_on)
    if first == "while":
        thread.start()
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(work, range(4))
    stop.set()
    if first == "while":
        thread.join()
    print(" ".join(found))
"""


def digest(seed: int) -> str:
    """A fit of enough runs for several threads, a forecast and predictions, as a hash."""
    runs = power_runs(130, seed, points=30, ragged=False)
    fit = lossfit.fit(runs, draws=20, random_seed=seed)
    at = lossfit.extrapolate(runs, at=2000, axis="step", draws=20, random_seed=seed)
    found = hashlib.blake2b(fit.draws.tobytes(), digest_size=8)
    for array in (at.mixed.curves, fit.predict([1500.0]).values, fit.info):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def wanted() -> list[str]:
    return [digest(seed) for seed in range(4)]


def test_threads(wanted):
    barrier = threading.Barrier(4)

    def work(seed: int) -> list[str]:
        barrier.wait()
        return [digest(seed) for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for seed, found in enumerate(pool.map(work, range(4))):
            assert found == [wanted[seed]] * 3


def test_threads_that_share_runs_and_a_fit():
    """Views that are made at first use are made by several threads at a time."""
    runs = power_runs(40, points=30, tokens_per_step=1000.0, params=1e6)
    alone = lossfit.fit(power_runs(40, points=30, tokens_per_step=1000.0, params=1e6), draws=20)
    barrier = threading.Barrier(6)
    fit = lossfit.fit(runs, draws=20)

    def work(i: int) -> tuple[np.ndarray, np.ndarray, float]:
        barrier.wait()
        axis = ("tokens", "flops", "step")[i % 3]
        end = runs.flat(axis).x[-1]
        mine = lossfit.fit(runs, axis="tokens", draws=20)
        return mine.draws, fit.posterior["E"].values[0].T, end

    with ThreadPoolExecutor(6) as pool:
        for draws, posterior, _ in pool.map(work, range(6)):
            np.testing.assert_array_equal(draws, alone.draws)
            np.testing.assert_array_equal(posterior, alone.posterior["E"].values[0].T)


def processes(root, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("first", ["before", "while"])
def test_forked_processes(root, wanted, first):
    """Before the kernels' first use, and after it while a thread of the parent uses them."""
    assert processes(root, "fork", first) == wanted


def test_spawned_processes(root, tmp_path, wanted):
    """Two that start afresh, at once."""
    path = tmp_path / "spawned.py"
    path.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(path), "spawn", "after"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.split() == wanted


FIRST_FIT = """
import hashlib, warnings
import lossfit
from tests.curves import power_runs
warnings.simplefilter("ignore")
fit = lossfit.fit(power_runs(20), draws=100)
print(hashlib.sha256(fit.draws.tobytes() + fit.info.tobytes()).hexdigest())
"""


@pytest.mark.nightly(only="compiles for a minute")
def test_the_first_fit_of_an_installation(root, tmp_path):
    """Where nothing is compiled, a fit gives what later processes give."""
    cache = str(tmp_path / "cache")
    environment = {**os.environ, "PYTHONPATH": str(root), "LOSSFIT_CACHE": cache}
    command = [sys.executable, "-c", FIRST_FIT]
    first, second = (
        subprocess.run(command, cwd=root, env=environment, capture_output=True, check=True).stdout
        for _ in range(2)
    )
    assert first == second != b""


RELOADED = """
import importlib
from tests.properties.test_concurrency import digest
print(digest(0), digest(0))
for name in (
    "lossfit.fits.fitting",
    "lossfit.forecasts.mixture",
    "lossfit.answers.extrapolation",
    "lossfit.kernels.driver",
):
    importlib.reload(importlib.import_module(name))
    print(digest(0))
"""


def test_a_notebook_that_runs_a_cell_again(wanted, root):
    """Twice in one process, with modules reloaded in between as %autoreload does.

    In a process of its own: classes of a reloaded module are new ones, and what was made before
    can no longer be pickled.
    """
    environment = {**os.environ, "PYTHONPATH": str(root)}
    text = subprocess.run(
        [sys.executable, "-c", RELOADED],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert text.split() == wanted[:1] * 6


def test_no_threading_layer_of_numba_is_used(root):
    import numba

    digest(0)
    with pytest.raises(ValueError, match="not initialized"):
        numba.threading_layer()
    for path in (root / "kernels").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            words = {k.arg for k in node.keywords} if isinstance(node, ast.Call) else set()
            assert "parallel" not in words, path
            assert getattr(node, "attr", getattr(node, "id", "")) != "prange", path
