"""What was done to logs that nobody should have to look for.

It is warned of when logs are read, and said again by every answer about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .labels import names_text

__all__ = ["LOUD", "loud_notes"]

LOUD = (
    "sampled_history",
    "damaged_lines",
    "text_cells",
    "counter",
    "other_run",
    "ranks",
    "joined",
    "follows",
    "other_logs",
)


def loud_notes(runs: Any, names: Sequence[str] | None = None) -> dict[str, str]:
    """Loud flags of some runs, each with who has it and what it says.

    Parameters
    ----------
    runs : Runs
    names : sequence of str, optional
        Of these runs, and of the whole collection; all by default.
    """
    asked = None if names is None else {None, *names}
    notes = {}
    for name in LOUD:
        flags = [
            flag
            for run, group in runs._columns.flags.items()
            if asked is None or run in asked
            for flag in group
            if flag.flag == name
        ]
        if flags:
            who = names_text([f.run for f in flags if f.run is not None]) or "all runs"
            notes[name] = f"{name} ({who}): {flags[0].detail}"
    return notes
