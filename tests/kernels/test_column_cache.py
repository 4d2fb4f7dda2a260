"""Columns of a user's law are kept compiled, and a cache that cannot be read is no error."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import math
from lossfit.kernels.column_code import column_code
def stretched(x, tau):
    return math.exp(-x / tau)
assert column_code(stretched, (0, 2))
"""


def test_a_law_of_a_module_that_is_gone(tmp_path):
    """`runpy` runs a file as a module that nobody else can import."""
    path = tmp_path / "law.py"
    path.write_text(SCRIPT)
    environment = {**os.environ, "LOSSFIT_CACHE": str(tmp_path / "cache")}
    for command in (
        f"import runpy; runpy.run_path({str(path)!r})",
        f"exec(open({str(path)!r}).read())",
    ):
        subprocess.run([sys.executable, "-c", command], check=True, env=environment, timeout=120)
    kept = list((tmp_path / "cache").rglob("*.code"))
    assert kept, "nothing was kept, so nothing was read"
    for file in kept:
        file.write_bytes(b"damaged")
    subprocess.run([sys.executable, str(path)], check=True, env=environment, timeout=120)
