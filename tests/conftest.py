"""Fixtures that several test files use."""

from __future__ import annotations

import os
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


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave tests marked ``nightly(only=REASON)`` to ``-m nightly``; others run in both."""
    for mark in item.iter_markers("nightly"):
        if "only" in mark.kwargs and "nightly" not in (item.config.option.markexpr or ""):
            pytest.skip(f"{mark.kwargs['only']}: make nightly runs it")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests use compiled kernels; those that compare stores byte by byte find them in the cache.

    The process that compiles may differ from later ones in the last bits (`compiling`), and
    here tests of all kinds run in one process.
    """
    from lossfit.kernels import compiling
    from lossfit.kernels.warmup import STEPS

    os.environ.setdefault("LOSSFIT_ENGINE", "compiled")
    wanted = any("sweep" in item.path.parts for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    if getattr(session.config.option, "numprocesses", None) and not hasattr(
        session.config, "workerinput"
    ):
        return  # the workers see to it
    assert compiling.wait(tuple(STEPS))
