"""Runs that broke, in words: the first line of an answer about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..runs.breaks import recognise
from ..runs.labels import amount

if TYPE_CHECKING:
    from ..runs.breaks import Break
    from ..runs.collection import Runs

__all__ = ["MOST_LOOKED_AT", "broken_runs", "first_lines", "without_forecast"]

MOST_LOOKED_AT = 100  # runs: looking at one takes some milliseconds
VALIDATION = ("/val", "/eval", "/validation", "/test")  # ends of the names of held-out losses
TAIL = "tail_not_finite"
#: Kinds after which a run does not go on as it went.
NO_FORECAST = frozenset({"not_finite", "zeros", "frozen", "diverged", "scale_jump", "counter"})


def broken_runs(runs: Runs, names: Sequence[str], axis: str) -> dict[str, tuple[str, bool]]:
    """What broke in some runs: words, and whether no forecast holds for the run.

    Of more than `MOST_LOOKED_AT` runs only the ends of the logs are looked at.
    """
    found: dict[str, tuple[str, bool]] = {}
    flags = runs._columns.flags
    look = len(names) <= MOST_LOOKED_AT
    for name in names if look else filter(flags.__contains__, names):
        if name not in runs:  # a run that does not exist yet, of a ladder
            continue
        tail = next((flag for flag in flags.get(name, ()) if flag.flag == TAIL), None)
        if tail is not None:
            found[name] = (tail.detail, True)
        elif look:
            run = runs[name]
            broken = recognise(run.axis(axis), run.loss, name.lower().endswith(VALIDATION))
            if broken is not None:
                found[name] = (_words(broken, axis), broken.kind in NO_FORECAST)
    return found


def _words(broken: Break, axis: str) -> str:
    """As ``str(broken)``, with the unit of the axis."""
    return str(broken).replace(f"{broken.at:,.6g}", amount(broken.at, axis), 1)


def first_lines(broken: dict[str, tuple[str, bool]], most: int = 3) -> list[str]:
    """One line a broken run, for the top of an answer."""
    lines = []
    for name, (words, hopeless) in list(broken.items())[:most]:
        what = "no forecast" if hopeless else "the interval does not allow for it"
        lines.append(f"! {name}: {words}: {what}")
    if len(broken) > most:
        lines.append(f"! ... and {len(broken) - most:,} more broken runs (answer.broken)")
    return lines


def without_forecast(broken: dict[str, tuple[str, bool]], name: str) -> bool:
    """Whether no forecast holds for a run."""
    return broken.get(name, ("", False))[1]
