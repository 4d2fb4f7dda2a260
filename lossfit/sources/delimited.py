"""Tidy tables as text: CSV, or separated by tabs, semicolons or bars.

The first line names the columns; `lossfit.runs.frames.COLUMNS` says which are read.
"""

from __future__ import annotations

import csv
import io
import warnings

from .._base.errors import DataError
from ..runs.frames import BLANK
from ._source import Source, Table

__all__ = ["header", "matches", "read"]

SEPARATORS = ",\t;|"
MOST_COLUMNS = 30_000
TEXT_COLUMNS = ("run", "run_name", "run_id")


def header(source: Source) -> list[str]:
    """Names of the columns as the first line has them; [] where that line is no header."""
    line = source.first_line
    separator = _separator(line)
    if not line.count(separator):
        return []
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
    except (csv.Error, StopIteration):
        return []


def matches(source: Source) -> bool:
    """Any text; this is the reader of last resort."""
    return source.is_text


def read(source: Source, text_columns: tuple[str, ...] = TEXT_COLUMNS) -> Table:
    """The table as a frame; rows are called by their line.

    Parameters
    ----------
    source : Source
    text_columns : tuple of str
        Columns that stay text, in lower case.

    Raises
    ------
    DataError
        No table, rows with more cells than the header, quotes left open.
    """
    import pandas as pd

    text = source.text()
    blank_lines, first = _first_line(text)
    separator = _separator(first)
    if not first.count(separator):
        raise DataError(
            f"{source.name} is not a table: its first line must name columns, e.g. step,loss; it "
            f"is {first[:60]!r}"
        )
    if first.count(separator) >= MOST_COLUMNS:
        raise DataError(
            f"{source.name}: {first.count(separator) + 1:,} columns, which no log has: write one "
            "row for each step"
        )
    try:
        cells = [cell.strip() for cell in next(csv.reader([first], delimiter=separator))]
    except csv.Error as error:
        raise DataError(f"{source.name}, line {blank_lines + 1}: {error}") from None
    named = [cell for cell in cells if cell]
    if len(set(named)) < len(named):
        twice = next(cell for cell in named if named.count(cell) > 1)
        raise DataError(f"{source.name}: the column {twice!r} is there twice: keep one of them")
    names = [cell or f"column {i + 1}" for i, cell in enumerate(cells)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{source.name}: a column is called {twice!r}: rename it")
    as_text = [name for name in names if name.lower() in text_columns]
    blanks = sorted(BLANK)
    blanks += ["NaN", "None", "NA", "N/A", "NULL", "Null", "<NA>", "NAN", "#N/A", "-NaN"]
    # An utf-8 file is parsed as it is: the text in a StringIO takes four times the memory.
    utf8 = source.encoding == "utf-8-sig"
    try:
        with warnings.catch_warnings():
            # pandas would warn of rows with more cells than names, and lose what is beyond.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(source.data) if utf8 else io.StringIO(text),
                encoding="utf-8-sig" if utf8 else None,
                sep=separator,
                names=names,
                skiprows=blank_lines + 1,
                index_col=False,
                skip_blank_lines=False,
                skipinitialspace=True,
                keep_default_na=False,
                # Names of runs stay as they are written: "007" and "None" are names.
                na_values={n: blanks for n in names if n not in as_text} if as_text else blanks,
                dtype=dict.fromkeys(as_text, "str"),
                on_bad_lines="error",
                low_memory=False,
            )
    except pd.errors.ParserWarning:
        raise DataError(
            f"{source.name}, line {blank_lines + 2}: more cells than the {len(names)} names of "
            "the first line: name every column"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, ValueError) as error:
        raise DataError(f"{source.name}: {_words(str(error))}") from None
    data = [name for name in names if name not in as_text]
    empty = frame[data].isna().all(axis=1)
    for name in as_text:
        empty &= frame[name].isna() | (frame[name] == "")
    lines = frame.index.to_numpy() + blank_lines + 2
    frame, lines = frame[~empty], lines[~empty.to_numpy()]
    return Table(frame, lambda i: f"line {lines[i]} of {source.name}")


def _first_line(text: str) -> tuple[int, str]:
    """How many lines are blank before the first that is not, and that line."""
    start = blank = 0
    while start < len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        line = text[start:stop]
        if line.strip():
            return blank, line.strip("\r").split("\r")[0]
        start, blank = stop + 1, blank + 1
    return blank, ""


def _separator(line: str) -> str:
    return max(SEPARATORS, key=line.count)


def _words(error: str) -> str:
    """The parser's message without its jargon."""
    return error.strip().removeprefix("Error tokenizing data. C error: ") or "cannot be read"
