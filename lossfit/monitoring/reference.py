"""The run that a run in training is compared with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .._base.errors import DataError
from ..runs.checks import as_runs
from ..runs.collection import Runs
from ..runs.datasets import NAMES
from ..runs.run import Run


def reference_of(reference: Any) -> Runs | str | None:
    """The reference's run alone, or the name of a run of the log."""
    if reference is None:
        return None
    if isinstance(reference, Run):
        return as_runs(reference)
    if isinstance(reference, Runs):
        return _only(reference, "reference")
    name = os.fspath(reference)
    if not isinstance(name, str):
        raise DataError(f"reference must be a run, a path or a name, got {reference!r}")
    from ..sources import load

    if Path(name).exists() or name in NAMES:
        return _only(load(reference), name)
    place, there, run = name.rpartition(":")
    if there and (Path(place).exists() or place in NAMES):
        return load(place).select([run])
    for collection in NAMES:  # a run of a built-in collection by its name
        if name.startswith(("llama1-", "llama2-")) and name.startswith(f"{collection}-"):
            return load(collection).select([name])
    if os.sep in name or Path(name).suffix:
        raise DataError(f"there is no reference {name}: give a path, PATH:RUN or a run of the log")
    return name  # a run of the log, checked when there is one


def _only(runs: Runs, name: str) -> Runs:
    if len(runs) == 1:
        return runs
    some = ", ".join(map(repr, runs.names[:6])) + (", ..." if len(runs) > 6 else "")
    raise DataError(f"{name} has {len(runs)} runs ({some}): name one as PATH:RUN")
