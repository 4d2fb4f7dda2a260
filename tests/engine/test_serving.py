"""Who serves a question, and how another Python compiles the kernels meanwhile."""

from __future__ import annotations

import io
import logging
import os
import sys
import time

import pytest

from lossfit._base import progress
from lossfit.engine import serving
from lossfit.kernels import cache, compiling, engines, entries
from lossfit.kernels.machine_code import name_of

KERNEL = ("driver._fit_range",)


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """Nothing is compiled, and no other Python was started."""
    monkeypatch.setattr(cache, "folder", str(tmp_path / "kernels"))
    monkeypatch.setattr(compiling, "_processes", [])
    monkeypatch.setattr(engines, "_ready", set())
    monkeypatch.delenv("LOSSFIT_ENGINE", raising=False)
    yield tmp_path
    for process in compiling._processes:
        process.kill()
        process.wait()


def python_that(monkeypatch, folder, words):
    """What is started instead of Python."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{words}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def compiled(folder):
    """The file whose presence says that a kernel is in the cache."""
    where = entries.find(KERNEL[0]).folder
    assert where.is_relative_to(folder)
    where.mkdir(parents=True, exist_ok=True)
    return where / name_of(KERNEL[0])


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="starts a shell script")


class TestChoice:
    def test_a_small_question_is_served_uncompiled_and_another_python_compiles(
        self, empty, monkeypatch, caplog
    ):
        python_that(monkeypatch, empty, f"touch {compiled(empty)}")
        with caplog.at_level(logging.DEBUG, "lossfit"):
            assert engines.choose(KERNEL, 1.0) is engines.Engine.UNCOMPILED
        assert caplog.messages == ["uncompiled kernels: driver._fit_range"]
        compiling._processes[0].wait()
        assert engines.choose(KERNEL, 1.0) is engines.Engine.COMPILED

    @pytest.mark.parametrize(
        ("seconds", "same_bits"), [(1.0, True), (2 * engines.MOST_SECONDS, False)]
    )
    def test_large_questions_and_promised_bits_wait(self, empty, monkeypatch, seconds, same_bits):
        python_that(monkeypatch, empty, f"sleep 0.3; touch {compiled(empty)}")
        waited = []
        engine = engines.choose(KERNEL, seconds, same_bits=same_bits, tell=waited.append)
        assert engine is engines.Engine.COMPILED
        assert compiled(empty).exists()
        assert waited

    def test_by_the_environment(self, empty, monkeypatch):
        python_that(monkeypatch, empty, f"touch {compiled(empty)}")
        monkeypatch.setenv("LOSSFIT_ENGINE", "uncompiled")
        assert engines.choose(KERNEL, 1e9) is engines.Engine.UNCOMPILED
        assert not compiling._processes
        assert engines.choose(KERNEL, 1e9, same_bits=True) is engines.Engine.COMPILED
        monkeypatch.setenv("LOSSFIT_ENGINE", "compiled")
        compiled(empty).unlink()
        engines._ready.clear()
        assert engines.choose(KERNEL, 0.0) is engines.Engine.COMPILED
        monkeypatch.setenv("LOSSFIT_ENGINE", "fast")
        with pytest.raises(ValueError, match="auto, compiled or uncompiled, got 'fast'"):
            engines.choose(KERNEL, 0.0)

    def test_modules(self):
        from lossfit.kernels import driver

        assert engines.Engine.COMPILED.load("driver") is driver
        plain = engines.Engine.UNCOMPILED.load("driver")
        assert plain is not driver
        assert os.path.samefile(plain.__file__, driver.__file__)
        assert [serving.engine_of(one) for one in (driver, plain)] == ["compiled", "uncompiled"]


class TestAnotherPython:
    def test_is_started_once(self, empty, monkeypatch):
        python_that(monkeypatch, empty, f"echo x >> {empty}/started; sleep 0.3")
        assert compiling.start()
        assert compiling.start()
        compiling._processes[0].wait()
        assert (empty / "started").read_text() == "x\n"

    def test_that_fails_leaves_it_to_this_one(self, empty, monkeypatch):
        python_that(monkeypatch, empty, "exit 1")
        assert not compiling.wait(KERNEL)

    def test_of_somebody_else_is_waited_for(self, empty, monkeypatch):
        monkeypatch.setattr(compiling, "SECONDS", 20.0)
        python_that(monkeypatch, empty, "exit 0")  # as it does where another one compiles
        begin = time.monotonic()

        def tell(waited):
            if waited > 0.3:
                compiled(empty).touch()

        with compiling.lock() as free:
            assert free
            assert compiling.wait(KERNEL, tell)
        assert time.monotonic() - begin < 10

    def test_that_hangs_is_not_waited_for_without_end(self, empty, monkeypatch):
        monkeypatch.setattr(compiling, "SECONDS", 0.2)
        python_that(monkeypatch, empty, "exec sleep 100")
        assert not compiling.wait(KERNEL)

    def test_starts_no_third(self, empty, monkeypatch):
        monkeypatch.setenv(compiling._inside, "1")
        python_that(monkeypatch, empty, "exec sleep 100")
        assert not compiling.start()

    @pytest.mark.parametrize("what", [None, ""])
    def test_there_may_be_no_python_to_start(self, empty, monkeypatch, what):
        monkeypatch.setattr(sys, "executable", what)
        assert not compiling.wait(KERNEL)
        assert engines.choose(KERNEL, 1.0) is engines.Engine.UNCOMPILED

    def test_there_may_be_no_place_for_a_cache(self, empty, monkeypatch):
        (empty / "file").write_text("")
        monkeypatch.setattr(cache, "folder", str(empty / "file/kernels"))
        assert not compiling.start()
        assert not compiling.wait(KERNEL)
        assert engines.choose(KERNEL, 1.0) is engines.Engine.UNCOMPILED


class TestCache:
    def test_lies_where_the_user_says(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LOSSFIT_CACHE", str(tmp_path))
        assert cache.root() == tmp_path
        monkeypatch.delenv("LOSSFIT_CACHE")
        assert cache.root().name == "lossfit"

    def test_is_bounded(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LOSSFIT_CACHE", str(tmp_path))
        monkeypatch.setattr(cache, "KEEP_PLACES", 8)
        for k in range(12):
            (tmp_path / f"kernels-{k}/entries/{k}").mkdir(parents=True)
            os.utime(tmp_path / f"kernels-{k}/entries/{k}", (2e9 + k, 2e9 + k))
        old = tmp_path / "kernels-11/columns/1"
        old.mkdir(parents=True)
        os.utime(old, (1e9, 1e9))
        cache.use(tmp_path / "kernels-0/entries/0")
        left = {int(path.name) for path in tmp_path.glob("kernels-*/entries/*")}
        assert left == set(range(5, 12)) | {0} or left == set(range(4, 12))
        assert not old.exists()

    def test_is_cleared(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LOSSFIT_CACHE", str(tmp_path))
        (tmp_path / "kernels-1").mkdir()
        (tmp_path / "kernels-1/code").write_bytes(b"12345")
        (tmp_path / "mine").write_text("kept")
        assert cache.clear() == 5
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestNotes:
    def test_only_long_work_says_something_and_only_the_outermost(self, monkeypatch):
        monkeypatch.setattr(progress, "PATIENCE", 0.05)
        monkeypatch.setattr(sys, "stderr", screen := Terminal())
        with progress.patience("racing"), progress.patience("fitting"):
            time.sleep(0.3)
        with progress.patience("planning"):
            pass
        time.sleep(0.1)
        assert screen.getvalue() == "lossfit: racing ...\n"

    def test_nobody_looks(self, monkeypatch):
        monkeypatch.setattr(progress, "PATIENCE", 0.01)
        monkeypatch.setattr(sys, "stderr", log := io.StringIO())
        with progress.bar(3, "fitting", False) as advance:
            assert advance is None
            time.sleep(0.1)
        assert log.getvalue() == ""
