"""What lossfit does not do: load pickles, evaluate text, use the network, start a shell.

The sources are read as syntax trees, so a new module that does one of these fails here, and is
either changed or named below with the reason.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benches.supply import closure, licence_of

FORBIDDEN_MODULES = {
    "cloudpickle",
    "code",
    "ctypes.util",
    "dill",
    "ftplib",
    "http",
    "httpx",
    "joblib",
    "marshal",
    "pickle",
    "pty",
    "requests",
    "shelve",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "subprocess",
    "telnetlib",
    "torch",
    "urllib",
    "urllib3",
    "webbrowser",
    "xmlrpc",
    "yaml",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
FORBIDDEN_ATTRIBUTES = {
    ("os", "system"),
    ("os", "popen"),
    ("os", "execv"),
    ("os", "execve"),
    ("os", "spawnv"),
    ("os", "startfile"),
    ("pd", "read_pickle"),
    ("pd", "eval"),
    ("pandas", "read_pickle"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("torch", "load"),
    ("np", "frompyfunc"),
}
FORBIDDEN_KEYWORDS = {("allow_pickle", True), ("shell", True)}

#: File and what it may do, with the reason.
ALLOWED: dict[tuple[str, str], str] = {
    (
        "kernels/compiling.py",
        "import subprocess",
    ): "starts this Python once more, without a shell, to compile the kernels",
    (
        "lossfit/sweep/distributing.py",
        "import pickle",
    ): "tasks that the caller's own client "
    "sends through Dask, which pickles what it sends in any case; nothing from a file",
}


def sources(root: Path) -> list[Path]:
    found = [*(root / "lossfit").rglob("*.py"), *(root / "kernels").rglob("*.py")]
    return sorted({path.resolve() for path in found})


def deeds(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and name of everything forbidden in a syntax tree."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith("urllib.parse"):  # it takes addresses apart, and opens none
                continue
            parts = name.split(".")
            if any(".".join(parts[:i]) in FORBIDDEN_MODULES for i in range(1, len(parts) + 1)):
                found.append((node.lineno, f"import {name}"))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                found.append((node.lineno, f"{node.func.id}()"))
            if isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
                for argument in node.args:
                    text = getattr(argument, "value", None)
                    if isinstance(text, str) and text.split(".")[0] in FORBIDDEN_MODULES:
                        found.append((node.lineno, f"import {text}"))
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Constant):
                    pair = (keyword.arg, keyword.value.value)
                    if pair in FORBIDDEN_KEYWORDS:
                        found.append((node.lineno, f"{pair[0]}={pair[1]}"))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pair = (node.value.id, node.attr)
            if pair in FORBIDDEN_ATTRIBUTES:
                found.append((node.lineno, ".".join(pair)))
    return found


def test_nothing_forbidden(root):
    wrong = []
    for path in sources(root):
        name = path.relative_to(root).as_posix()
        for line, deed in deeds(ast.parse(path.read_text(encoding="utf-8"))):
            if (name, deed) not in ALLOWED:
                wrong.append(f"{name}:{line}: {deed}")
    assert not wrong, "\n".join(wrong)
    assert len(sources(root)) > 60  # the scan found the package


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import os, urllib.request",
        "from urllib import request",
        "from subprocess import run",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "import os\nos.system('ls')",
        "np.load(path, allow_pickle=True)",
        "import yaml",
        "import importlib\nimportlib.import_module('socket')",
        "pd.read_pickle(path)",
        "run(command, shell=True)",
    ],
)
def test_the_scan_sees(code):
    assert deeds(ast.parse(code))


def test_the_scan_lets_pass_what_only_looks_alike():
    code = "re.compile(x)\nmodel.eval()\nfrom .http import a\nimport numpy as np\nnp.load(p)"
    assert not deeds(ast.parse(code))


# Words of the licences that what lossfit needs may have.
LICENCES = (
    "mit",
    "bsd",
    "apache",
    "psf",
    "python software foundation",
    "isc",
    "mpl",
    "hpnd",
    "zlib",
    "unlicense",
    "0bsd",
    "cc0",
)


def requirements(root: Path) -> list[str]:
    import tomllib

    text = (root / "pyproject.toml").read_text()
    return [Requirement(one).name for one in tomllib.loads(text)["project"]["dependencies"]]


def test_every_dependency_has_a_licence_that_may_be_used(root):
    """Of all that an install brings, to the last one."""
    names = set().union(*map(closure, requirements(root)))
    assert {"numpy", "numba", "llvmlite", "pandas", "xarray"} <= names
    unclear = {n: licence_of(n) for n in names if not any(w in licence_of(n) for w in LICENCES)}
    assert not unclear
    copyleft = {n for n in names if "gpl" in licence_of(n).replace("lgpl", "")}
    assert not copyleft
    # A closure that grows is looked at: every package more is one more to trust.
    assert len(names) <= 50, sorted(names)
