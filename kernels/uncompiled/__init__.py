"""The kernels as plain Python: the same files, imported with decorators that compile nothing.

``lossfit.kernels.uncompiled.driver`` is ``driver.py`` of the folder above; see `jit`.
"""

from __future__ import annotations

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[1])]
