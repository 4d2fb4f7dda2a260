"""What was done to logs that nobody should have to look for.

It is warned of when logs are read, and said again by every answer about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .labels import names_text

LOUD = (
    "sampled_history",
    "damaged_lines",
    "text_cells",
    "counter",
    "other_run",
    "ranks",
    "moving_average",
    "joined",
    "follows",
    "other_logs",
)

# What an answer says besides, in a line at its end: what was left out, and what else was read than
# one may think.
SAID = (
    "restart",
    "missing",
    "not_finite",
    "duplicate_step",
    "header_again",
    "stepless",
    "cut_line",
    "short_run",
    "unread_logs",
    "validation",
    "group_mean",
    "unusable_axis",
    "base_two",
    "epoch_axis",
    "hours_axis",
    "record_axis",
)


def loud_notes(
    runs: Any,
    # of these runs, and of the whole collection; all by default
    names: Sequence[str] | None = None,
) -> dict[str, str]:
    """Loud flags of some runs, each with who has it and what it says."""
    return _notes(runs, names, LOUD)


def other_notes(runs: Any, names: Sequence[str] | None = None) -> dict[str, str]:
    """The same for the flags of `SAID`."""
    return _notes(runs, names, SAID)


def _notes(runs: Any, names: Sequence[str] | None, wanted: Sequence[str]) -> dict[str, str]:
    asked = None if names is None else {None, *names}
    notes = {}
    for name in wanted:
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
