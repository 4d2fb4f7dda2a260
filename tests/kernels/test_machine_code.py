"""Object code that is kept in files and runs without Numba."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numba import njit

from lossfit.kernels import column_code, entries, linking, machine_code
from lossfit.kernels.windows import Log, Shares, Windows

CURVE = np.arange(1.0, 41.0) / 40, 3 - np.arange(40.0) / 40, np.ones(40), np.array([0, 40])


def test_functions_are_joined_with_this_numba():
    assert linking._joining(), "kernels are compiled the slow way"


def test_an_entry_takes_what_it_was_compiled_for():
    find = entries.find("windows._find_range")
    x, y, weight, offsets = CURVE
    spike = np.zeros(40, np.uint8)
    one = np.ones(1)
    shares = Shares(0.5 * one, one, 0 * one, np.ones(1, np.int64))
    rows = (np.empty(1, np.int64) for _ in range(3))
    found = Windows(*rows, np.empty(1), np.empty(1))
    find(0, 1, Log(x, y, weight, spike), offsets, shares, 0, found)
    assert (found.first[0], found.last[0], found.start[0]) == (19, 40, 0.5)
    with pytest.raises(TypeError, match="is compiled for"):
        find(0, 1, Log(x.astype("f4"), y, weight, spike), offsets, shares, 0, found)
    with pytest.raises(TypeError, match="contiguous"):
        find(0, 1, Log(np.repeat(x, 2)[::2], y, weight, spike), offsets, shares, 0, found)


def test_a_damaged_file_is_no_code(tmp_path):
    path = tmp_path / "f.code"
    code = machine_code.Code("f", ("int",), b"\x7fELF and so on")
    machine_code.keep(code, path)
    assert machine_code.kept(path) == code
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert machine_code.kept(path) is None
    path.write_bytes(b"nothing")
    assert machine_code.kept(path) is None
    assert machine_code.kept(tmp_path / "none") is None


@njit
def _may_raise(x, tau):
    return x / tau  # Python's division: by zero it raises


def test_a_column_that_may_raise_is_compiled_for_this_process():
    address = column_code.column_code(_may_raise, (0, 2))
    x, theta, out = np.array([1.0, 3.0]), np.full((4, 1), 2.0), np.empty((2, 1))
    column_code.run_column(address, x, np.log(x), theta, out)
    np.testing.assert_array_equal(out[:, 0], [0.5, 1.5])


def test_a_compiled_answer_imports_neither_numba_nor_pandas():
    code = (
        "import sys, lossfit; runs = lossfit.load('llama2'); "
        "print(lossfit.extrapolate(runs, 'llama2-7B', compute_of='llama2-70B', draws=50)); "
        "print([m for m in ('numba', 'pandas', 'scipy', 'xarray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
