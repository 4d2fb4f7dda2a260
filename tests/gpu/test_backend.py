"""The one module that knows the compiler."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from tests.gpu import compiled

COMPILERS = ("numba", "numba_cuda", "llvmlite", "cuda")


def imported(path):
    """Top-level packages that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def test_no_other_file_knows_the_compiler(root):
    """`compiled` may ask for NVIDIA's linker, and whether there is a compiler at all."""
    files = sorted((root / "kernels" / "gpu").glob("*.py"))
    assert len(files) > 15
    allowed = {"backend.py": set(COMPILERS), "compiled.py": {"cuda", "numba_cuda"}}
    for path in files:
        known = set(imported(path)) & set(COMPILERS)
        assert known <= allowed.get(path.name, set()), path.name


# What asks the driver is told of a GPU, so that a kernel is compiled as for one.
AGREE = r"""
import re
from types import SimpleNamespace
gpu = SimpleNamespace(compute_capability=(9, 0), id=0)
import numba.cuda.codegen as codegen
import numba.cuda.dispatcher as dispatcher
dispatcher.get_current_device = lambda: gpu
codegen.devices = SimpleNamespace(get_context=lambda: SimpleNamespace(device=gpu))
dispatcher._Kernel.bind = lambda self: None
from lossfit.kernels.gpu import backend, moments
from tests.gpu import compiled

def unnamed(text):  # names have counters and a hash of the options in them
    text = re.sub(r"_Z\w+?(_param_[0-9]+)?\b", r"name\1", text)
    return re.sub("_cudapy_smem_[0-9]+", "shared", text)

for single in (False, True):
    kernel = moments.build(single)
    (there,) = backend.kernel_for_gpu(kernel, None).overloads.values()
    library = there._codelibrary
    assert not library._lto
    assert unnamed(library.get_asm_str(cc=(9, 0))) == unnamed(compiled.kernel_ptx(kernel, (9, 0)))
"""


def test_what_is_launched_is_what_was_checked(root):
    """PTX of a kernel as it is compiled for a GPU, and as it is counted and executed in tests."""
    if (reason := compiled.missing()) is not None:
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-c", AGREE],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
