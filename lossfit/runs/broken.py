"""Runs that broke, in words: what everything that uses runs says of them.

A run of the kinds `NO_FORECAST` does not go on as it went: an answer about it says so in place of
its numbers, and a backtest does not count it.  Of those of `NO_LESSON` nothing is learned about
other runs either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._base.errors import DataError
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
#: Kinds that say nothing of other runs.
NO_LESSON = NO_FORECAST | {"restarted", "began_again", "rising"}
#: ``meta={name: {"broken": False}}`` says that a run is sound, whatever its curve looks like.
TRUSTED = "broken"
MOST_NAMED = 5
BROKE = "broken: "


def broken_runs(
    runs: Runs,
    names: Iterable[str],  # those that are not there (of a ladder's curves) are left out
    axis: str,  # and so are runs that do not have it
) -> dict[str, tuple[str, bool]]:
    """What broke in some runs: words, and whether no forecast holds for the run."""
    kinds = _kinds(runs, names, axis)
    return {name: (words, kind in NO_FORECAST) for name, (words, kind) in kinds.items()}


def _kinds(runs: Runs, names: Iterable[str], axis: str) -> dict[str, tuple[str, str]]:
    """What broke in some runs: words, and of which kind that is."""
    known = runs._breaks.setdefault(axis, {})
    asked = [name for name in names if name in runs]
    new = [name for name in asked if name not in known]
    if new:
        known.update(_looked_at(runs, new, axis))
    return {name: broken for name in asked if (broken := known[name]) is not None}


def _looked_at(runs: Runs, names: Sequence[str], axis: str) -> dict[str, tuple[str, str] | None]:
    columns = runs._columns
    values, has = runs._axis(axis)
    out: dict[str, tuple[str, str] | None] = dict.fromkeys(names)
    whole = []
    for name in names:
        if columns.meta.get(name, {}).get(TRUSTED) is False:
            continue
        tail = next((flag for flag in columns.flags.get(name, ()) if flag.flag == TAIL), None)
        if tail is not None:
            out[name] = (tail.detail, "not_finite")
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
            out[name] = (_words(broken, axis), broken.kind)
    return out


def _words(broken: Break, axis: str) -> str:
    """As ``str(broken)``, with the unit of the axis."""
    return str(broken).replace(f"{broken.at:,.6g}", amount(broken.at, axis), 1)


def first_lines(
    broken: Mapping[str, tuple[str, bool]],
    most: int = 3,
    consequence: str = "",  # in place of those for an answer
    where: str = "answer.broken",  # the others are named
) -> list[str]:
    """One line a broken run, for the top of an answer."""
    lines = []
    for name, (words, hopeless) in list(broken.items())[:most]:
        what = "no forecast" if hopeless else "the interval does not allow for it"
        lines.append(f"! {name}: {words}: {consequence or what}")
    if len(broken) > most:
        lines.append(f"! ... and {len(broken) - most:,} more broken runs ({where})")
    return lines


def without_forecast(broken: Mapping[str, tuple[str, bool]], name: str) -> bool:
    """Whether no forecast holds for a run."""
    return broken.get(name, ("", False))[1]


def words_of(broken: Mapping[str, tuple[str, bool]], names: Iterable[str]) -> list[str | None]:
    """What broke, run by run: None for a sound one."""
    return [broken[name][0] if name in broken else None for name in names]


def left_out(runs: Runs, axis: str) -> dict[str, str]:
    """Runs of which nothing can be learned about others, and what broke in each."""
    kinds = _kinds(runs, runs.names, axis)
    return {name: words for name, (words, kind) in kinds.items() if kind in NO_LESSON}


def reason(words: str) -> str:
    """Why a run was left out, where reasons are told run by run."""
    return f"{BROKE}{words}"


def left_out_for(reasons: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What broke in each of the runs that have such a `reason`."""
    return {name: why.removeprefix(BROKE) for name, why in reasons if why.startswith(BROKE)}


def left_out_text(broken: Mapping[str, str]) -> str:
    """That broken runs were left out, and how to keep them, in words."""
    return (
        f"{len(broken):,} broken run{'s were' if len(broken) > 1 else ' was'} left out: "
        f"{_named(broken)}; meta={{name: {{'{TRUSTED}': False}}}} keeps one that is sound"
    )


def sound_runs(runs: Runs, axis: str) -> tuple[Runs, dict[str, str]]:
    """The runs that others can be learned from, and flags that name those that broke.

    Raises
    ------
    DataError
        All of them broke.
    """
    broken = broken_runs(runs, runs.names, axis)
    out, notes = left_out(runs, axis), {}
    if out:
        notes["broken_left_out"] = left_out_text(out)
    kept = {name: words for name, (words, _) in broken.items() if name not in out}
    if kept:
        notes["broken"] = f"kept, though broken: {_named(kept)}"
    if not out:
        return runs, notes
    sound = [name for name in runs.names if name not in out]
    if not sound:
        raise DataError(f"no run is left: {notes['broken_left_out']}")
    return runs.select(sound), notes


def _named(broken: Mapping[str, str]) -> str:
    named = [f"{name} ({words})" for name, words in list(broken.items())[:MOST_NAMED]]
    more = len(broken) - len(named)
    return "; ".join([*named, f"{more:,} more"] if more else named)
