"""Schedules in a word: ``cosine@250k``, or a CSV of steps and rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._base.errors import DataError
from .._base.units import amount_of

if TYPE_CHECKING:
    from ..runs.collection import Runs
    from ..runs.run import Run
    from ..schedules.shapes import Schedule

__all__ = ["schedules_of", "shape_of"]

KINDS = ("constant", "cosine", "linear", "wsd", "1-sqrt")


def schedules_of(
    word: str | None,
    runs: Runs,
    names: Sequence[str] | None = None,
    total: float | None = None,
    axis: str = "step",
) -> dict[str, Schedule] | None:
    """A schedule by run; None for no word.

    Parameters
    ----------
    word : str or None
        KIND, KIND@END, or the path of a CSV.
    runs : Runs
    names : sequence of str, optional
        Of these runs; of all by default.
    total : float, optional
        The planned end on an axis, where the word names none.
    axis : str
        Of the planned end.

    Raises
    ------
    DataError
        No such kind; an end that is needed and not said; a CSV that is none.
    """
    if word is None:
        return None
    chosen = runs.select(list(names)) if names else runs
    if word.lower().endswith(".csv"):
        points = _points(word)
        return {run.name: points for run in chosen}
    return {run.name: _of_run(word, run, total, axis) for run in chosen}


def _of_run(word: str, run: Run, total: float | None, axis: str) -> Schedule:
    """With the run's own peak and warm-up where they are known."""
    from .what_ifs import standard_schedule

    kind, end = _parted(word)
    counts = "step" if run.has("step") else "tokens"
    if end is None and total is not None:
        end = total if axis == counts else total * run.end(counts) / run.end(axis)
    if run.schedule is not None or run.lr is not None:
        return standard_schedule(run, kind, end)
    if end is None and kind != "constant":
        raise DataError(
            f"run {run.name!r}: its learning rate is not known, so schedule={word!r} needs an end: "
            f"{word}@20k"
        )
    return shape_of(word, end or 0.0, counts)


def shape_of(word: str, end: float, axis: str) -> Schedule:
    """A schedule with peak 1 on some axis, which ends at `end` unless the word says where."""
    from ..schedules import shapes

    if word.lower().endswith(".csv"):
        return _points(word)
    kind, last = _parted(word)
    if kind == "constant":
        return shapes.constant(1.0, axis=axis)
    made: dict[str, Any] = {
        "cosine": shapes.cosine,
        "linear": shapes.linear,
        "wsd": shapes.wsd,
        "1-sqrt": shapes.one_minus_sqrt,
    }
    schedule: Schedule = made[kind](1.0, end if last is None else last, axis=axis)
    return schedule


def _parted(word: str) -> tuple[str, float | None]:
    kind, at, end = word.strip().partition("@")
    if kind not in KINDS:
        raise DataError(
            f"no schedule is called {kind!r} here; there are {', '.join(KINDS)}, or give a CSV "
            f"with columns step (or tokens) and lr"
        )
    return kind, amount_of(end) if at else None


def _points(path: str) -> Schedule:
    """A schedule through the rows of a CSV."""
    import pandas as pd

    from ..schedules.shapes import from_points

    if not Path(path).is_file():
        raise DataError(f"there is no file {path!r} of a schedule")
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"cannot read {path} as a CSV of a schedule: {error}") from None
    axis = next((name for name in ("step", "tokens") if name in table), None)
    if axis is None or "lr" not in table:
        raise DataError(
            f"{path}: a schedule has columns step (or tokens) and lr, found "
            f"{', '.join(map(str, table.columns))}"
        )
    return from_points(table[axis], table["lr"], axis=axis)
