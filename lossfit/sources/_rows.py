"""Rows of a log as they come, kept as columns: a dict for each would fill the memory."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.ragged import Floats, Ints
from ..runs.names import role_of

if TYPE_CHECKING:
    import pandas as pd

MOST_CELLS = 60_000_000  # of columns that lossfit does not know
MOST_COLUMNS = 4_000
MOST_TEXTS = 200_000  # different texts in a column
LONGEST_TEXT = 200
DEEPEST = 4  # of objects in objects


class Rows:
    """Values by name, a row at a time; `frame` has them as columns.

    Attributes
    ----------
    lines : array of int
        The line of each row.
    left_out : set of str
        Names that were left out because there are too many.
    """

    def __init__(self) -> None:
        self.columns: dict[str, array[float]] = {}
        self.texts: dict[str, tuple[array[int], dict[str, int]]] = {}
        self.lines: array[int] = array("q")
        self.left_out: set[str] = set()

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, values: Mapping[str, float], line: int) -> None:
        """One more row of numbers; names that are new get a column."""
        count = len(self.lines)
        self.lines.append(line)
        for name, value in values.items():
            self._set(name, value, count)

    def add_record(self, record: Mapping[str, Any], line: int) -> None:
        """One more row of anything: objects in it become ``outer/inner``, text stays text."""
        count = len(self.lines)
        self.lines.append(line)
        self._record(record, "", count, DEEPEST)

    def _record(self, record: Mapping[str, Any], prefix: str, count: int, depth: int) -> None:
        for key, value in record.items():
            name = f"{prefix}{key}"
            kind = type(value)
            if kind is float or kind is int:
                try:
                    self._set(name, float(value), count)
                except OverflowError:
                    self._set(name, np.inf if value > 0 else -np.inf, count)
            elif value is None:
                continue
            elif isinstance(value, dict) and depth:
                self._record(value, f"{name}/", count, depth - 1)
            else:
                self._text(name, value, count)

    def _set(self, name: str, value: float, count: int) -> None:
        column = self.columns.get(name)
        if column is None:
            if name in self.left_out or not self._has_room(name):
                self.left_out.add(name)
                return
            column = self.columns[name] = array("d")
        if len(column) < count:
            column.extend(_blanks(count - len(column)))
        if len(column) == count:
            column.append(value)

    def _text(self, name: str, value: Any, count: int) -> None:
        text = value if isinstance(value, str) else repr(value)
        if isinstance(value, str):
            try:
                self._set(name, float(text.strip()), count)
                return
            except ValueError:
                pass
        if name not in self.texts:
            if name in self.left_out or not self._has_room(name):
                self.left_out.add(name)
                return
            self.texts[name] = (array("l"), {})
        codes, known = self.texts[name]
        text = text[:LONGEST_TEXT]
        if text not in known and len(known) >= MOST_TEXTS:
            return
        if len(codes) < count:
            codes.extend(array("l", [-1]) * (count - len(codes)))
        if len(codes) == count:
            codes.append(known.setdefault(text, len(known)))

    def _has_room(self, name: str) -> bool:
        columns = len(self.columns) + len(self.texts)
        if role_of(name) or name.startswith("\0"):
            return columns < 4 * MOST_COLUMNS
        return columns < MOST_COLUMNS and (columns + 1) * (len(self.lines) + 1) < MOST_CELLS

    def amend(self, name: str, value: float) -> None:
        """Set a value of the last row."""
        count = len(self.lines)
        column = self.columns.setdefault(name, array("d"))
        if len(column) < count:
            column.extend(_blanks(count - len(column)))
        if count:
            column[count - 1] = value

    def last(self, name: str) -> float:
        """A value of the last row, NaN where it has none."""
        column = self.columns.get(name)
        count = len(self.lines)
        return float("nan") if column is None or len(column) < count else column[-1]

    def column(self, name: str) -> Floats:
        """A column, NaN where a row lacks it."""
        column = self.columns.get(name)
        values = np.full(len(self.lines), np.nan)
        if column is not None:
            values[: len(column)] = np.frombuffer(column, dtype=np.float64)
        return values

    def numbers(self) -> Ints:
        """The line of each row."""
        return np.array(self.lines, dtype=np.int64)

    def frame(self) -> pd.DataFrame:
        """All columns whose name is shown to users."""
        import pandas as pd

        data: dict[str, Any] = {
            name: self.column(name) for name in self.columns if not name.startswith("\0")
        }
        for name, (codes, known) in self.texts.items():
            whole = np.full(len(self.lines), -1)
            whole[: len(codes)] = np.frombuffer(codes, dtype=np.int_)
            words = np.array([*known, None], dtype=object)[whole]
            if name in data:  # numbers and text
                words = np.where(whole >= 0, words, data[name].astype(object))
            data[name] = words
        return pd.DataFrame(data)


def _blanks(count: int) -> array[float]:
    return array("d", [np.nan]) * count
