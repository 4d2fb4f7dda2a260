"""The lock of CI and the check of what is installed."""

from __future__ import annotations

import base64
import hashlib
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benches import supply


@pytest.fixture
def lock(root):
    (path,) = (root / "requirements").glob("*.txt")
    return path


def test_the_lock_names_versions_and_hashes_and_no_host(lock):
    versions = supply.locked(lock)
    assert len(versions) > 100
    assert lock.read_text().count("\n") == len(versions) + 1
    for word in ("http:", "https:", "://", "index-url", "@", "find-links"):
        assert word not in lock.read_text()


def test_the_lock_has_what_the_tests_need(root, lock):
    """Of every requirement of lossfit and of its tests a version that is allowed."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    versions = supply.locked(lock)
    environment = {"python_version": "3.11", "sys_platform": "linux", "extra": ""}
    for text in (*project["dependencies"], *extras["dev"], *extras["cuda-check"], *supply.BUILD):
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate(environment):
            version = versions[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(version), f"{text}: {version}"


@pytest.mark.parametrize(
    "line",
    [
        "numpy==2.0",
        "numpy>=2 --hash=sha256:" + "0" * 64,
        "numpy==2.0 --hash=md5:" + "0" * 32,
        "numpy @ https://host/numpy.whl --hash=sha256:" + "0" * 64,
        "--index-url https://host/simple",
        "",
    ],
)
def test_no_other_line_is_a_lock(tmp_path, line):
    good = "numpy==2.0 --hash=sha256:" + "0" * 64
    (tmp_path / "lock.txt").write_text(f"# head\n{good}\n")
    assert supply.locked(tmp_path / "lock.txt") == {"numpy": "2.0"}
    (tmp_path / "lock.txt").write_text(f"# head\n{good}\n{line}\n")
    with pytest.raises(ValueError, match="is not NAME==VERSION --hash=sha256:HASH"):
        supply.locked(tmp_path / "lock.txt")


def test_a_lock_is_what_pip_would_install(tmp_path):
    def item(name, version, sha256):
        return {
            "metadata": {"name": name, "version": version},
            "download_info": {"archive_info": {"hashes": {"sha256": sha256}}, "url": "https://h"},
        }

    report = {"install": [item("B_b.c", "2", "b" * 64), item("lossfit", "0", ""),
                          item("a", "1.5+x", "a" * 64)]}  # fmt: skip
    text = supply.lock_of(report)
    assert text.splitlines()[1:] == [
        f"a==1.5+x --hash=sha256:{'a' * 64}",
        f"b-b-c==2 --hash=sha256:{'b' * 64}",
    ]
    assert text.startswith("# For CPython 3.") or text.startswith("# For ")
    (tmp_path / "lock.txt").write_text(text)
    assert supply.locked(tmp_path / "lock.txt") == {"a": "1.5+x", "b-b-c": "2"}


def test_an_environment_is_compared_with_its_lock(tmp_path):
    here = metadata.version("numpy")
    lines = [
        f"{name} --hash=sha256:{'0' * 64}" for name in (f"numpy=={here}", "nobody-has-this==1")
    ]
    (tmp_path / "lock.txt").write_text("\n".join(lines))
    wrong = supply.differences(tmp_path / "lock.txt")
    assert wrong == ["nobody-has-this: not installed, in the lock 1"]
    (tmp_path / "lock.txt").write_text(f"numpy==0.1 --hash=sha256:{'0' * 64}")
    assert supply.differences(tmp_path / "lock.txt") == [f"numpy: {here}, in the lock 0.1"]


def test_a_file_that_was_changed_is_named(tmp_path, monkeypatch):
    info = tmp_path / "thing-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
    files = {"thing.py": b"x = 1\n", "gone.py": b"y = 2\n"}
    lines = []
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}")
    (info / "RECORD").write_text("\n".join([*lines, "thing-1.dist-info/RECORD,,"]))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert supply.changed_files("thing") == []
    (tmp_path / "thing.py").write_bytes(b"x = 2\n")
    (tmp_path / "gone.py").unlink()
    assert supply.changed_files("thing") == ["thing: thing.py was changed",
                                             "thing: gone.py is missing"]  # fmt: skip


def test_what_cannot_be_looked_up_is_said(monkeypatch):
    """No network: that is told, and is no failure; a vulnerability is one."""

    class Done:
        def __init__(self, returncode, stdout="", stderr=""):
            self.returncode, self.stdout, self.stderr = returncode, stdout, stderr

    monkeypatch.setattr(supply.importlib.util, "find_spec", lambda name: None)
    assert supply.vulnerabilities() == (
        True, "vulnerabilities were not looked up: pip-audit is not installed",
    )  # fmt: skip
    monkeypatch.setattr(supply.importlib.util, "find_spec", lambda name: name)
    for done, fine, words in (
        (Done(0), True, "no known vulnerabilities"),
        (Done(1, "Name Version ID\nx 1 CVE"), False, "CVE"),
        (Done(1, "", "ConnectionError"), True, "cannot be reached from here"),
    ):
        monkeypatch.setattr(supply.subprocess, "run", lambda *_, done=done, **__: done)
        good, text = supply.vulnerabilities()
        assert good == fine
        assert words in text
