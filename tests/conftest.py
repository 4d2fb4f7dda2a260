"""Fixtures that several test files use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data beside the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder shared/ is not beside the repository")
    return folder


@pytest.fixture
def curve() -> pd.DataFrame:
    """One run of 40 points, a power law with noise, on the axis step."""
    step = np.arange(1, 41) * 100.0
    noise = np.random.default_rng(7).normal(0, 0.01, len(step))
    return pd.DataFrame({"step": step, "loss": 2.0 + 8 * step**-0.4 + noise})


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the kernels in another process before tests that compare stores byte by byte.

    The process that compiles may differ from later ones in the last bits (`lossfit.compiling`), and
    here tests of all kinds run in one process.
    """
    from lossfit.compiling import is_compiled

    wanted = any("sweep" in item.path.parts for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    if getattr(session.config.option, "numprocesses", None) and not hasattr(
        session.config, "workerinput"
    ):
        return  # the workers see to it
    if not is_compiled("driver._fit_range", "scales.run_scales"):
        code = "from lossfit.sweep.work import _compile; _compile()"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
