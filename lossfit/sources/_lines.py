"""Logs of lines of text: what a trainer prints among other things."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .._base.errors import DataError
from ..runs.cleaning import Flag

if TYPE_CHECKING:
    import pandas as pd

    from ._source import Source, Table

__all__ = ["NUMBER", "numbered", "table_of_lines"]

NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|NaN|inf|Inf|Infinity)"
"""A number as trainers print it, as a regular expression without groups."""

LINE = re.compile(r"[^\r\n]+")


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers (progress bars end theirs by returns)."""
    number, last = 1, 0
    for match in LINE.finditer(text):
        number += text.count("\n", last, match.start())
        last = match.start()
        yield number, match.group()


def table_of_lines(
    source: Source,
    point: Callable[[str], dict[str, float] | None],
    *,
    like: re.Pattern[str],
    example: str,
) -> Table:
    """The points of a log, a row a line; everything else in it is counted.

    Parameters
    ----------
    source : Source
    point : callable
        A line's point as a dict of columns, None for another line.
    like : Pattern
        Where it is found in a line that is no point, the line is damaged.
    example : str
        A line of the format, for messages.

    Raises
    ------
    DataError
        No point in the log.
    """
    import pandas as pd

    from ._source import Table

    text = source.text()
    rows: list[dict[str, float]] = []
    lines: list[int] = []
    others = 0
    damaged: list[int] = []
    last = (0, "")
    for number, line in numbered(text):
        last = (number, line)
        found = point(line)
        if found is not None:
            rows.append(found)
            lines.append(number)
        elif like.search(line):
            damaged.append(number)
        elif line.strip():
            others += 1
    if not rows:
        raise DataError(
            f"{source.name}: no line is a point such as {example!r}"
            + (f"; line {damaged[0]} begins like one" if damaged else "")
        )
    flags = []
    cut = not text.endswith(("\n", "\r"))
    if cut and lines[-1] == last[0] and _shorter(last[1], rows, lines, text):
        rows.pop()
        lines.pop()
        damaged.append(last[0])
    if cut and damaged and damaged[-1] == last[0]:
        damaged.pop()
        flags.append(Flag("", "cut_line", 1, f"line {last[0]}, the last, was cut while writing"))
    if damaged:
        words = f"first: line {damaged[0]} of {source.name}"
        flags.append(Flag("", "damaged_lines", len(damaged), words))
    if others:
        flags.append(Flag("", "other_lines", others, "lines of the log that are no points"))
    if not rows:
        raise DataError(f"{source.name}: its only point, line {last[0]}, was cut while writing")
    frame: pd.DataFrame = pd.DataFrame(rows)
    return Table(frame, _Words(lines, source.name), flags)


class _Words:
    """The words for a row by position."""

    def __init__(self, lines: list[int], name: str) -> None:
        self.lines = lines
        self.name = name

    def __call__(self, i: int) -> str:
        return f"line {self.lines[i]} of {self.name}"


def _shorter(line: str, rows: list[dict[str, Any]], lines: list[int], text: str) -> bool:
    """Whether the last line lacks a column or digits that the last one of its kind had.

    Numbers are printed with a fixed count of decimals; one with fewer was cut.
    """
    wanted = next((k for k in range(len(rows) - 2, -1, -1) if _kind(rows[k], rows[-1])), None)
    if wanted is None:
        return False
    if set(rows[wanted]) - set(rows[-1]):
        return True
    before = next(word for number, word in numbered(text) if number == lines[wanted])
    return len(_tail(line)) < len(_tail(before))


def _kind(row: dict[str, Any], like: dict[str, Any]) -> bool:
    losses = [key for key in like if "loss" in key]
    return all(key in row for key in losses) if losses else bool(set(row) & set(like))


def _tail(line: str) -> str:
    """Decimals of the last number of a line and what follows it."""
    match = re.search(r"\.(\d+[^.\d]*)$", line.rstrip())
    return match.group(1) if match else ""
