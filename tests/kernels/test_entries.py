"""What kernels are made of, and where their machine code is kept."""

from __future__ import annotations

import dis
import os
import subprocess
import sys

import pytest

from lossfit.kernels import entries, jit, warmup


def functions_below(function, found):
    """A kernel's function and all that it calls."""
    plain = getattr(function, "py_func", function)
    if hasattr(plain, "__code__") and plain not in found:
        found.add(plain)
        for name in jit.names_read(plain.__code__):
            functions_below(plain.__globals__.get(name), found)
    return found


@pytest.mark.parametrize("name", list(warmup.STEPS))
def test_every_kernel_has_a_fingerprint_and_a_folder_of_its_own(name):
    assert entries.find(name).folder.name == entries.find(name).made_of
    others = {entries.find(other).folder for other in warmup.STEPS}
    assert len(others) == len(warmup.STEPS)


def test_a_fingerprint_is_the_same_in_every_process(root):
    code = (
        "from lossfit.kernels import entries, warmup; "
        "print([entries.find(name).made_of for name in warmup.STEPS])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(seen) == 1


def test_names_are_those_that_the_bytecode_looks_up():
    found = functions_below(entries.find("driver._fit_range"), set())
    assert len(found) > 100
    for function in found:
        instructions = dis.get_instructions(function.__code__)
        names = {one.argval for one in instructions if one.opname == "LOAD_GLOBAL"}
        assert names <= jit.names_read(function.__code__)
        inner = [c for c in function.__code__.co_consts if hasattr(c, "co_code")]
        assert inner or names == jit.names_read(function.__code__)


def test_a_constant_far_below_counts(monkeypatch):
    from lossfit.kernels import philox

    before = entries.Entry(entries.find("driver._fit_range").py_func).made_of
    assert before == entries.find("driver._fit_range").made_of
    monkeypatch.setattr(philox, "SHIFT", philox.SHIFT + philox.uint64(1))
    assert entries.Entry(entries.find("driver._fit_range").py_func).made_of != before
