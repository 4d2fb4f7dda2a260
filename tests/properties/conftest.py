"""How many examples: 50, always the same, by default; 1,000 new ones with ``-m nightly``."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("ci", max_examples=50, derandomize=True, database=None, **COMMON)
settings.register_profile("nightly", max_examples=1000, print_blob=True, **COMMON)


def pytest_configure(config: pytest.Config) -> None:
    words = "nightly: property tests; with -m nightly 1,000 examples of each are tried"
    config.addinivalue_line("markers", words)
    nightly = "nightly" in (config.option.markexpr or "")
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("nightly" if nightly else "ci"))
