"""Benches are commands that nobody runs daily: each still finds what it names."""

from __future__ import annotations

import importlib

SHARED = ("curves", "forecast_baselines", "forecast_cases", "forecast_score", "forecast_tables")
"""What several benches import: no command."""


def modules(root):
    return sorted(path.stem for path in (root / "benches").glob("*.py") if path.stem != "__init__")


def test_every_bench_can_be_imported(root, monkeypatch):
    monkeypatch.chdir(root)
    broken = []
    for name in modules(root):
        try:
            importlib.import_module(f"benches.{name}")
        except Exception as error:
            broken.append(f"{name}: {error}")
    assert broken == []


def test_every_bench_is_listed(root):
    listed = (root / "benches" / "README.md").read_text()
    commands = [name for name in modules(root) if not name.startswith("_")]
    missing = [name for name in commands if f"benches.{name}" not in listed]
    assert set(missing) - set(SHARED) == set()
