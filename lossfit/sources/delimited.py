"""Tidy tables as text: CSV, or separated by tabs, semicolons or bars.

The first line names the columns; `lossfit.frames.COLUMNS` says which are read.
"""

from __future__ import annotations

import csv
import io

from ..errors import DataError
from ..frames import BLANK
from ._source import Source, Table

__all__ = ["matches", "read"]

SEPARATORS = ",\t;|"


def matches(source: Source) -> bool:
    """Any text; this is the reader of last resort."""
    return source.is_text


def read(source: Source) -> Table:
    """The table as a frame; rows are called by their line.

    Raises
    ------
    DataError
        No table, rows with more cells than the header, quotes left open.
    """
    import pandas as pd

    text = source.text()
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first.count)
    if not first.count(separator):
        raise DataError(
            f"{source.name} is not a table: its first line must name columns, e.g. step,loss; it "
            f"is {first[:60]!r}"
        )
    header = [cell.strip() for cell in next(csv.reader([first], delimiter=separator))]
    twice = next((cell for cell in header if cell and header.count(cell) > 1), None)
    if twice is not None:
        raise DataError(f"{source.name}: the column {twice!r} is there twice: keep one of them")
    names = [cell or f"column {i + 1}" for i, cell in enumerate(header)]
    text_columns = [name for name in names if name.lower() in ("run", "run_name", "run_id")]
    blanks = sorted(BLANK)
    blanks += ["NaN", "None", "NA", "N/A", "NULL", "Null", "<NA>", "NAN", "#N/A", "-NaN"]
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            names=names,
            skiprows=text[: text.index(first)].count("\n") + 1,
            index_col=False,
            skip_blank_lines=False,
            skipinitialspace=True,
            keep_default_na=False,
            # Names of runs stay as they are written: "007" and "None" are names.
            na_values={name: blanks for name in names if name not in text_columns},
            dtype=dict.fromkeys(text_columns, "str"),
            on_bad_lines="error",
            low_memory=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, ValueError) as error:
        raise DataError(f"{source.name}: {_words(str(error))}") from None
    skipped = text[: text.index(first)].count("\n") + 2
    data = [name for name in names if name not in text_columns]
    empty = frame[data].isna().all(axis=1)
    for name in text_columns:
        empty &= frame[name].isna() | (frame[name] == "")
    lines = frame.index.to_numpy() + skipped
    frame, lines = frame[~empty], lines[~empty.to_numpy()]
    return Table(frame, lambda i: f"line {lines[i]} of {source.name}")


def _words(error: str) -> str:
    """The parser's message without its jargon."""
    return error.strip().removeprefix("Error tokenizing data. C error: ") or "cannot be read"
