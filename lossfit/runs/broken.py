"""Runs that broke, in words: what everything that uses runs says of them.

A run of the kinds `NO_FORECAST` does not go on as it went.  An answer about it says so in place of
its numbers, and nothing is learned from it of other runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._base.ragged import gather
from .labels import amount
from .suspects import recognise_all

if TYPE_CHECKING:
    from .breaks import Break
    from .collection import Runs

VALIDATION = ("/val", "/eval", "/validation", "/test")  # ends of the names of held-out losses
TAIL = "tail_not_finite"
#: Kinds after which a run does not go on as it went.
NO_FORECAST = frozenset({"not_finite", "zeros", "frozen", "diverged", "scale_jump", "counter"})
#: ``meta={name: {"broken": False}}`` says that a run is sound, whatever its curve looks like.
TRUSTED = "broken"
MOST_NAMED = 5


def broken_runs(
    runs: Runs,
    names: Iterable[str],  # those that are not there (of a ladder's curves) are left out
    axis: str,  # and so are runs that do not have it
) -> dict[str, tuple[str, bool]]:
    """What broke in some runs: words, and whether no forecast holds for the run."""
    known = runs._breaks.setdefault(axis, {})
    asked = [name for name in names if name in runs]
    new = [name for name in asked if name not in known]
    if new:
        known.update(_looked_at(runs, new, axis))
    return {name: broken for name in asked if (broken := known[name]) is not None}


def _looked_at(runs: Runs, names: Sequence[str], axis: str) -> dict[str, tuple[str, bool] | None]:
    columns = runs._columns
    values, has = runs._axis(axis)
    out: dict[str, tuple[str, bool] | None] = dict.fromkeys(names)
    whole = []
    for name in names:
        if columns.meta.get(name, {}).get(TRUSTED) is False:
            continue
        tail = next((flag for flag in columns.flags.get(name, ()) if flag.flag == TAIL), None)
        if tail is not None:
            out[name] = (tail.detail, True)
        elif has[runs._positions[name]]:
            whole.append(name)
    if not whole:
        return out
    places = np.array([runs._positions[name] for name in whole])
    rows, offsets = gather(columns.offsets[places], columns.offsets[places + 1])
    held_out = [name.lower().endswith(VALIDATION) for name in whole]
    breaks = recognise_all(values[rows], columns.loss[rows], offsets, held_out)
    for name, broken in zip(whole, breaks, strict=True):
        if broken is not None:
            out[name] = (_words(broken, axis), broken.kind in NO_FORECAST)
    return out


def _words(broken: Break, axis: str) -> str:
    """As ``str(broken)``, with the unit of the axis."""
    return str(broken).replace(f"{broken.at:,.6g}", amount(broken.at, axis), 1)


def first_lines(broken: Mapping[str, tuple[str, bool]], most: int = 3) -> list[str]:
    """One line a broken run, for the top of an answer."""
    lines = []
    for name, (words, hopeless) in list(broken.items())[:most]:
        what = "no forecast" if hopeless else "the interval does not allow for it"
        lines.append(f"! {name}: {words}: {what}")
    if len(broken) > most:
        lines.append(f"! ... and {len(broken) - most:,} more broken runs (answer.broken)")
    return lines


def without_forecast(broken: Mapping[str, tuple[str, bool]], name: str) -> bool:
    """Whether no forecast holds for a run."""
    return broken.get(name, ("", False))[1]


def words_of(broken: Mapping[str, tuple[str, bool]], names: Iterable[str]) -> list[str | None]:
    """What broke, run by run: None for a sound one."""
    return [broken[name][0] if name in broken else None for name in names]


def left_out(runs: Runs, axis: str) -> dict[str, str]:
    """Runs of which nothing can be learned about others, and what broke in each."""
    broken = broken_runs(runs, runs.names, axis)
    return {name: words for name, (words, hopeless) in broken.items() if hopeless}


def left_out_text(broken: Mapping[str, str]) -> str:
    """That broken runs were left out, and how to keep them, in words; "" for none."""
    if not broken:
        return ""
    named = [f"{name} ({words})" for name, words in list(broken.items())[:MOST_NAMED]]
    more = len(broken) - len(named)
    named += [f"{more:,} more"] if more else []
    return (
        f"{len(broken):,} broken run{'s' * (len(broken) > 1)} left out: {'; '.join(named)}; "
        f"{{'{TRUSTED}': False}} in a run's meta keeps it"
    )
