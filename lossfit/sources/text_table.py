"""Tables that trainers draw on a terminal: names in one line, a line of numbers for each step.

::

    E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  SCORE         spaCy
    ---  ------  ------------  --------  ------  ------
      0     200         35.70   2163.45   83.16    0.83

    epoch     train_loss  valid_loss  accuracy  time            fastai
    0         2.345678    1.234567    0.567890  00:12

    | Step | Training Loss | Validation Loss |                  a notebook's table
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from .._base.errors import DataError
from .._base.units import SIZES
from ..runs.cleaning import Flag
from ..runs.names import role_of
from . import delimited
from ._lines import LineWords
from ._prefixes import plain
from ._rows import Rows
from ._source import Example, Source, Table

EXAMPLE = Example(
    """training on 8 devices
step      train_loss  valid_loss  time
100       6.1862      6.2000      00:12
200       5.4321      5.5000      00:12
300       5.1234      5.2000      00:12
400       4.9876      5.1000      00:12
""",
    {100: 6.1862, 200: 5.4321, 300: 5.1234, 400: 4.9876},
)

SPLIT = re.compile(r"\s*[|┃│]\s*|\t+|\s{2,}")
NUMBER = re.compile(
    r"[-+]?(?:\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan|inf)(?:%|[kMGT]i?B?|/\d+)?", re.IGNORECASE
)
BAR = re.compile(r":\s+\d+%\|.*$")  # behind a row of YOLO
AMOUNT = re.compile(r"([-+]?(?:nan|inf)|[-+.\deE]+)([kMGT](?!i?B))?", re.IGNORECASE)
NOTHING = re.compile(r"(?:n/a|none|no log|-+|\d+:\d\d(?::\d\d)?)?", re.IGNORECASE)
SPACY = {"E": "epoch", "#": "step"}
AXES = ("step", "epoch", "tokens")
LOSSES = ("loss", "val_loss", "other_loss")
LOOKED_AT = 3_000
LONGEST = 1 << 14  # characters of a line that is looked at


def matches(source: Source) -> bool:
    """A text with a line of names, among them a loss and a step, and a line of numbers after it."""
    if not source.is_text or "loss" not in source.head.lower():
        return False
    roles = {role_of(name) for name in delimited.header(source)}
    if roles & set(LOSSES) and roles & set(AXES) and "%|" not in source.head[:4096]:
        cells = SPLIT.split(source.first_line.strip())
        if not any(" " in cell for cell in cells) or len(cells) < 2:
            return False  # a table with the names in its first line
    rows = 0
    for rows, _ in enumerate(_rows_of(source, head=True), start=1):
        if rows >= 2:
            break
    return rows >= 2


def read(source: Source) -> Table:
    """The rows, by the line of each.

    Raises `DataError`: no table in the text.
    """
    rows = Rows()
    for number, row in _rows_of(source):
        rows.add(row, number)
    if not len(rows):
        raise DataError(f"{source.name}: no table with a loss and a step in it")
    others = source.data.count(b"\n") - len(rows)
    flags = []
    if others > 0:
        flags.append(Flag("", "other_lines", others, "lines of the log that are no points"))
    return Table(rows.frame(), LineWords(rows.numbers(), source.name), flags)


def _rows_of(source: Source, head: bool = False) -> Iterator[tuple[int, dict[str, float]]]:
    names: list[str] = []
    for count, (number, line) in enumerate(source.lines(head=head)):
        if head and count > LOOKED_AT:
            return
        if len(line) > LONGEST:
            continue
        if names and not any(map(str.isdigit, line)) and "loss" not in line.lower():
            continue
        line = BAR.sub("", line)
        cells = _cells(line)
        if len(cells) < 3 and not (names and len(cells) == len(names)):
            bare = plain(line).text
            cells = _cells(bare) if bare is not line else cells
            if len(cells) < 2:
                continue
        if _is_header(cells):
            names = [SPACY.get(cell, cell) for cell in cells]
        elif names and len(cells) == len(names):
            row = _row(names, cells)
            if row:
                yield number, row


def _cells(line: str) -> list[str]:
    line = line.strip().strip("|┃│").strip()
    cells = SPLIT.split(line)
    return cells if len(cells) > 1 else line.split()


def _is_header(cells: list[str]) -> bool:
    if len(set(cells)) < len(cells) or any(NUMBER.fullmatch(cell) for cell in cells):
        return False
    roles = {role_of(SPACY.get(cell, cell)) for cell in cells}
    return (
        bool(roles & set(LOSSES))
        and bool(roles & set(AXES))
        and not any(":" in cell or "=" in cell for cell in cells)
    )


def _row(names: list[str], cells: list[str]) -> dict[str, float]:
    row = {}
    for name, cell in zip(names, cells, strict=True):
        if NUMBER.fullmatch(cell):
            amount = AMOUNT.match(cell.replace(",", ""))
            row[name] = float(amount[1]) * SIZES.get(amount[2], 1.0) if amount else np.nan
        elif not NOTHING.fullmatch(cell):
            return {}
    return row
