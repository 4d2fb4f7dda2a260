from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from lossfit.kernels.fingerprint import fingerprint
from lossfit.kernels.gpu.spec import Kernel
from tests.gpu import compiled

FACTOR = 2.0


def digest(kernel):
    return fingerprint(kernel.function, kernel.signature, kernel.fastmath)


def helper(x):
    return x * FACTOR


def build(scale=3.0, call=helper, single=False, signature=("float64",)):
    def body(x):
        for i in range(10):
            x[i] = call(x[i]) * scale + 1.5

    return Kernel("body", body, signature, 32, single)


def test_kernels_made_of_the_same_are_the_same():
    assert digest(build()) == digest(build())
    assert digest(build()) is not None


def test_every_part_counts(monkeypatch):
    def other(x):
        return x + FACTOR

    def body(x):
        for i in range(10):
            x[i] = helper(x[i]) * 3.0 + 1.25

    found = [
        digest(kernel)
        for kernel in (
            build(),
            build(scale=3.5),
            build(scale=np.float32(3.0)),
            build(call=other),
            build(single=True),
            build(signature=("float32",)),
            build()._replace(function=body),
        )
    ]
    monkeypatch.setitem(globals(), "FACTOR", 2.5)
    found.append(digest(build()))  # a constant of a function that is called
    assert None not in found
    assert len(set(found)) == len(found)


def test_recursion_has_an_end():
    def again(x):
        return again(x - 1) if x > 0 else x

    assert digest(build(call=again)) is not None


def test_what_cannot_be_told_is_not_cached():
    assert digest(build(scale=object())) is None


# What asks the driver is told of a GPU, so that a kernel is compiled and kept without one.
COMPILE = """
import sys
from types import SimpleNamespace
GPU = SimpleNamespace(compute_capability=(9, 0), id=0)
import numba.cuda.codegen as codegen
import numba.cuda.dispatcher as dispatcher
dispatcher.get_current_device = lambda: GPU
codegen.devices = SimpleNamespace(get_context=lambda: SimpleNamespace(device=GPU))
dispatcher._Kernel.bind = lambda self: self._codelibrary.get_cubin(cc=(9, 0))
import numpy as np
from numba import cuda, types
from lossfit.kernels.gpu.device import _jitted
from lossfit.kernels.gpu.port import Port
from lossfit.kernels.gpu.spec import Kernel
from lossfit.kernels.gpu.warp import TABLE
from lossfit.kernels.maths import exp
from tests.gpu.test_fingerprint import kept_body
array = types.Array(types.float64, 1, "C")
for scale in map(float, sys.argv[1:]):
    kernel = Kernel("kept", Port(TABLE).rebound(kept_body(exp, scale)), (array,), 32, False)
    stats = _jitted(kernel).stats
    print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def kept_body(exp, scale):
    def body(x):
        x[0] = exp(x[0]) * scale

    return body


def test_compiled_kernels_are_found_on_disk_by_what_they_are_made_of(tmp_path):
    if (reason := compiled.missing()) is not None:
        pytest.skip(reason)

    def compile_with(*scales):
        done = subprocess.run(
            [sys.executable, "-c", COMPILE, *map(str, scales)],
            env={**os.environ, "LOSSFIT_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]

    # Alike in file and bytecode, and not the same.
    assert compile_with(2.0, 3.0) == [(0, 1), (0, 1)]
    assert compile_with(3.0, 2.0, 4.0) == [(1, 0), (1, 0), (0, 1)]
