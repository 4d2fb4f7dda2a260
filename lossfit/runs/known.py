"""What the user knows of runs besides their logs: keywords of one value, or one by run."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from .._base.units import amount_of
from ..schedules.shapes import Schedule
from .limits import NUMBER_LIMIT

LEAST_PARAMS = 100  # of a model
MOST_COMPARED = 2000  # names that a misspelt one is compared with
LONGEST_NAME = 60  # of a column or run in a message, in characters

NumberByRun: TypeAlias = float | Mapping[str, float] | None
#: Schedules, and what may stand for them where a function takes them.
Schedules: TypeAlias = Schedule | Mapping[str, Schedule] | None
ScheduleByRun: TypeAlias = Schedule | str | Mapping[str, Schedule | str] | None


@dataclass(frozen=True)
class Known:
    """What the user knows of the runs besides the log; each one value or a dict by run."""

    params: NumberByRun = None
    tokens_per_step: NumberByRun = None
    gpu_hours: NumberByRun = None
    schedules: ScheduleByRun = None
    meta: Mapping[str, Mapping[str, Any]] | None = None


def close_to(name: object, names: Iterable[str]) -> str:
    """``"; did you mean 'a', 'b'?"`` for names like the one given, else nothing."""
    compared = list(itertools.islice(names, MOST_COMPARED))
    close = difflib.get_close_matches(str(name), compared, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(map(repr, close))}?" if close else ""


def listed(names: Sequence[str], most: int = 20) -> str:
    """Quoted names for a message, not too many and not too long."""
    quoted = [repr(name if len(name) <= LONGEST_NAME else f"{name[:57]}...") for name in names]
    more = len(quoted) - most
    return ", ".join(quoted[:most]) + (f" and {more:,} more" if more > 0 else "")


def _check_names(given: Iterable[str], names: tuple[str, ...], what: str) -> None:
    known_names = set(names)
    for name in given:
        if name not in known_names:
            raise DataError(f"{what} names run {name!r}, which is not there{close_to(name, names)}")


def numbers(
    value: NumberByRun, names: tuple[str, ...], what: str, most: float = NUMBER_LIMIT
) -> Floats:
    """The keyword as an array, shape (R,), NaN where it says nothing; no number above `most`."""
    if value is None:
        return np.full(len(names), np.nan)
    if not isinstance(value, Mapping):
        return np.full(len(names), _positive(value, what, most))
    _check_names(value, names, what)
    values = {
        name: _positive(number, f"{what} of run {name!r}", most) for name, number in value.items()
    }
    return np.array([values.get(name, np.nan) for name in names])


def _positive(value: object, what: str, most: float) -> float:
    if isinstance(value, str):
        with suppress(DataError):  # said below
            value = amount_of(value)
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = np.inf
        if what.startswith("params") and 1e-3 < number < LEAST_PARAMS:
            raise DataError(
                f"{what} is {number:g}, which no model has: for {number:g} billion parameters "
                f"write {number:g}e9 ({number:g}B on the command line)"
            )
        if 1 / most <= number <= most:
            return number
        if number > 0:
            raise DataError(f"{what} must lie between {1 / most:g} and {most:g}, got {number:g}")
    raise DataError(f"{what} must be a positive number or a dict of them by run, got {value!r}")


def schedules_by_run(value: ScheduleByRun, names: tuple[str, ...]) -> dict[str, Schedule]:
    """The keyword ``schedules`` as a dict by run."""
    if value is None:
        return {}
    by_run = value if isinstance(value, Mapping) else dict.fromkeys(names, value)
    _check_names(by_run, names, "schedules")
    out = {}
    for name, schedule in by_run.items():
        if isinstance(schedule, str):
            raise DataError(
                f"the schedule of run {name!r} is a word, {schedule!r}, which says no peak and no "
                f"end: make it with lossfit.schedules, e.g. lossfit.schedules.cosine(3e-4, 20_000)"
            )
        if not isinstance(schedule, Schedule):
            raise DataError(
                f"the schedule of run {name!r} must be made with lossfit.schedules, e.g. "
                f"lossfit.schedules.cosine(...); got {type(schedule).__name__}"
            )
        out[name] = schedule
    return out


def meta_by_run(
    value: Mapping[str, Mapping[str, Any]] | None, names: tuple[str, ...]
) -> dict[str, Mapping[str, Any]]:
    """The keyword ``meta``, checked and copied."""
    if value is None:
        return {}
    _check_names(value, names, "meta")
    for name, mapping in value.items():
        if not isinstance(mapping, Mapping):
            raise DataError(f"meta of run {name!r} must be a dict, got {type(mapping).__name__}")
    return {name: dict(mapping) for name, mapping in value.items()}


def for_runs(value: Any, names: Container[str]) -> Any:
    """One value for all as it is; of a dict by run the entries of these runs."""
    if isinstance(value, Mapping):
        return {name: entry for name, entry in value.items() if name in names}
    return value
