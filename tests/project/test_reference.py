"""The reference names every public object, and each says what it takes and gives."""

from __future__ import annotations

import importlib
import re

import lossfit

MODULES = ("laws", "plotting", "priors", "schedules", "surfaces")
TWICE = {"laws.Law", "laws.Linear", "laws.Nonlinear", "surfaces.Surface", "surfaces.fit_surface",
         "surfaces.fit_surfaces", "laws.priors.checked"}  # fmt: skip
"""Public elsewhere under a shorter name, or of no use to users."""


def listed(root) -> list[str]:
    """Names in the tables of the reference."""
    text = (root / "docs" / "api.rst").read_text()
    return re.findall(r"^   ([A-Za-z_][\w.]*)$", text, re.M)


def public() -> set[str]:
    names = {name for name in lossfit.__all__ if name not in (*MODULES, "__version__")}
    for name in (*(m for m in MODULES if m != "priors"), "laws.priors"):
        module = importlib.import_module(f"lossfit.{name}")
        names |= {f"{name}.{each}" for each in module.__all__}
    return names - TWICE


def test_the_reference_names_every_public_object(root):
    names = listed(root)
    assert len(names) == len(set(names)), "a name stands twice"
    assert public() - set(names) == set(), "missing in docs/api.rst"
    assert set(names) - public() == set(), "docs/api.rst names what is not public"
