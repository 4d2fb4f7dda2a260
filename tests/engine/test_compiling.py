"""Another Python compiles the kernels, where there is something to compile and a place for it."""

from __future__ import annotations

import sys
import time

import pytest

from lossfit.engine import compiling
from lossfit.kernels import cache


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """Nothing is compiled yet; functions that remember their first answer are asked anew."""
    monkeypatch.setattr(cache, "folder", str(tmp_path / "kernels"))
    caches = compiling.start_compiling, compiling.compile_apart
    for one in caches:
        one.cache_clear()
    yield tmp_path
    for one in caches:
        one.cache_clear()


def python_that(monkeypatch, folder, words):
    """What is started instead of Python."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{words}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.skipif(sys.platform == "win32", reason="starts a shell script")
class TestAnotherPython:
    def test_compiles_once(self, empty, monkeypatch):
        version = f"py{sys.version_info.major}{sys.version_info.minor}"
        folder = empty / "kernels"
        files = [f"{folder}/{one}-1.{version}.1.nbi" for one in compiling.FIT_KERNELS]
        python_that(monkeypatch, empty, f"echo x >> {empty}/started; touch {' '.join(files)}")
        assert compiling.compile_apart()
        assert compiling.compile_apart()
        assert (empty / "started").read_text() == "x\n"

    def test_is_not_needed_where_kernels_are_there(self, empty, monkeypatch):
        monkeypatch.setattr(cache, "is_compiled", lambda *kernels: True)
        python_that(monkeypatch, empty, "exit 1")
        assert compiling.start_compiling() is None
        assert compiling.compile_apart()

    def test_that_fails_leaves_it_to_this_one(self, empty, monkeypatch):
        python_that(monkeypatch, empty, "exit 1")
        assert not compiling.compile_apart()

    def test_that_hangs_is_ended(self, empty, monkeypatch):
        monkeypatch.setattr(compiling, "SECONDS", 0.1)
        python_that(monkeypatch, empty, "exec sleep 100")
        start = time.monotonic()
        assert not compiling.compile_apart()
        assert time.monotonic() - start < 50
        assert compiling.start_compiling().returncode is not None

    def test_starts_no_third(self, empty, monkeypatch):
        monkeypatch.setattr(compiling, "_compiles_here", True)
        python_that(monkeypatch, empty, "exec sleep 100")
        assert compiling.start_compiling() is None


@pytest.mark.parametrize("what", [None, ""])
def test_there_may_be_no_python_to_start(empty, monkeypatch, what):
    monkeypatch.setattr(sys, "executable", what)
    assert not compiling.compile_apart()


def test_there_may_be_no_place_for_a_cache(empty, monkeypatch):
    (empty / "file").write_text("")
    monkeypatch.setattr(cache, "folder", str(empty / "file/kernels"))
    assert compiling.start_compiling() is None
    assert not compiling.compile_apart()
