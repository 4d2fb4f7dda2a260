"""No home, or none that can be written: the same answers, and nothing written anywhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lossfit.kernels import cache

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="homes of POSIX")
NOBODY = """
import pwd, sys
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
from lossfit.cli.main import main
main()
"""
COMMAND = ["extrapolate", "llama2", "--run", "llama2-7B", "--at", "3T", "--draws", "100"]


def say(root, place, *arguments, **environment):
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *arguments, *COMMAND],
        cwd=place,
        env={**kept, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_answers_are_those_of_a_user_with_a_home(root, tmp_path):
    expected = say(root, tmp_path, "-m", "lossfit", LOSSFIT_CACHE=str(cache.root()))
    assert "llama2-7B at 3T tokens" in expected
    assert say(root, tmp_path, "-c", NOBODY) == expected
    for home in ("/dev/null", "/proc/none"):  # neither can be made
        assert say(root, tmp_path, "-m", "lossfit", HOME=home) == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("of_platformdirs", ["raises", "unexpanded"])
def test_without_a_home_nothing_is_kept(monkeypatch, of_platformdirs):
    """Versions of platformdirs differ in what they do then."""
    import platformdirs

    def path(*_, **__):
        if of_platformdirs == "raises":
            raise RuntimeError("no home")
        return cache.Path("~/.cache/lossfit")

    monkeypatch.setattr(platformdirs, "user_cache_path", path)
    monkeypatch.delenv("LOSSFIT_CACHE", raising=False)
    assert cache.root() == cache.NOWHERE
    monkeypatch.setattr(cache, "folder", cache._folder())
    assert not cache.writable()
    assert cache.size() == cache.clear() == 0
