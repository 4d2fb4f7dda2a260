"""Logs of lines of text: what a trainer prints among other things."""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ._prefixes import hours_between, plain
from ._rows import Rows

if TYPE_CHECKING:
    from .._base.ragged import Floats, Ints
    from ._source import Source, Table

NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|NaN|inf|Inf|Infinity)"
"""A number as trainers print it, as a regular expression without groups."""

LINE = re.compile(r"[^\r\n]+")
REMEMBERED = 500  # points before the last, with one of which it is compared
LONGEST = 1 << 14  # characters of a line whose prefix is taken off
MOST_TIMES = 3_000_000


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers (progress bars end theirs by returns)."""
    number, last = 1, 0
    for match in LINE.finditer(text):
        number += text.count("\n", last, match.start())
        last = match.start()
        yield number, match.group()


class LineWords:
    """The words for a row by position."""

    def __init__(self, lines: Ints, name: str) -> None:
        self.lines = lines
        self.name = name

    def __call__(self, i: int) -> str:
        return f"line {self.lines[i]} of {self.name}"


def table_of_lines(
    source: Source,
    # a line's point as a dict of columns, None for another line
    point: Callable[[str], dict[str, float] | None],
    *,
    like: re.Pattern[str],  # where it is found in a line that is no point, the line is damaged
    example: str,  # a line of the format, for messages
) -> Table:
    """The points of a log, a row a line; everything else in it is counted.

    A line is tried as it is, and without the prefixes of launchers (`_prefixes.plain`).  Where
    several ranks print, a column ``rank`` tells them apart; where every point has a time, a column
    ``hours`` has the hours since the first.

    Raises `DataError`: no point in the log.
    """
    from ._source import Table

    rows = Rows()
    ranks: array[float] = array("d")
    times: list[str] = []
    others, held_back = 0, None
    damaged: list[int] = []
    recent: deque[tuple[dict[str, float], str]] = deque(maxlen=REMEMBERED)
    last = 0

    def keep(row: dict[str, float], number: int, line: str, rank: float, time: str) -> None:
        rows.add(row, number)
        recent.append((row, line))
        ranks.append(rank)
        if len(times) <= MOST_TIMES:
            times.append(time)

    for number, line in source.lines():
        last = number
        row, rank, time = point(line), np.nan, ""
        if row is None and len(line) <= LONGEST:
            bare = plain(line)
            if bare.text is not line:
                line, time = bare.text, bare.time
                number_at_start = bare.rank if bare.label is None else bare.label
                rank = np.nan if number_at_start is None else float(number_at_start)
                row = point(line)
        if row is not None:
            if held_back is not None:
                keep(*held_back)
            held_back = (row, number, line, rank, time)
        elif like.search(line):
            damaged.append(number)
        elif line.strip():
            others += 1
    if held_back is None:
        raise DataError(
            f"{source.name}: no line is a point such as {example!r}"
            + (f"; line {damaged[0]} begins like one" if damaged else "")
        )
    flags = []
    cut = not source.ends_a_line
    if cut and held_back[1] == last and _shorter(held_back[2], held_back[0], recent):
        damaged.append(last)
    else:
        keep(*held_back)
    if cut and damaged and damaged[-1] == last:
        damaged.pop()
        flags.append(Flag("", "cut_line", 1, f"line {last}, the last, was cut while writing"))
    if damaged:
        words = f"first: line {damaged[0]} of {source.name}"
        flags.append(Flag("", "damaged_lines", len(damaged), words))
    if others:
        flags.append(Flag("", "other_lines", others, "lines of the log that are no points"))
    if not len(rows):
        raise DataError(f"{source.name}: its only point, line {last}, was cut while writing")
    frame = rows.frame()
    rank_of_row: Floats = np.array(ranks)
    if len(np.unique(rank_of_row)) > 1 and not np.isnan(rank_of_row).any():
        frame["rank"] = rank_of_row
    if len(times) == len(frame) and all(times):
        hours = hours_between(times)
        if hours is not None:
            frame["hours"] = hours
    return Table(frame, LineWords(rows.numbers(), source.name), flags)


def _shorter(line: str, row: dict[str, float], recent: deque[tuple[dict[str, float], str]]) -> bool:
    """Whether the last line lacks a column or digits that the last one of its kind had.

    Numbers are printed with a fixed count of decimals; one with fewer was cut.
    """
    for before, text in reversed(recent):
        if _kind(before, row):
            return bool(set(before) - set(row)) or len(_tail(line)) < len(_tail(text))
    return False


def _kind(row: dict[str, Any], like: dict[str, Any]) -> bool:
    losses = [key for key in like if "loss" in key]
    return all(key in row for key in losses) if losses else bool(set(row) & set(like))


def _tail(line: str) -> str:
    """Decimals of the last number of a line and what follows it."""
    match = re.search(r"\.(\d+[^.\d]*)$", line.rstrip())
    return match.group(1) if match else ""
