"""Tidy tables as text: CSV, or separated by tabs, semicolons, bars or blanks.

The first line names the columns; `lossfit.runs.frames.COLUMNS` says which are read.  NumPy's
``savetxt`` puts a ``#`` before the names.  A table of numbers without names has the columns
``column 1``, ``column 2`` and so on.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Ints
from ..runs.aliases import RUN_LIKE
from ..runs.cleaning import Flag
from ..runs.frames import BLANK
from ..runs.names import may_be_loss, plain_name
from ._lines import LineWords
from ._prefixes import CONTROL
from ._source import Example, Source, Table

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = Example(
    """step,loss,lr
10,6.1862,0.001
20,5.4321,0.001
30,5.1234,0.001
40,4.9876,0.001
""",
    {10: 6.1862, 20: 5.4321, 30: 5.1234, 40: 4.9876},
)

SEPARATORS = ",\t;|"
MOST_COLUMNS = 30_000
TEXT_COLUMNS = ("run", "run_name", "run_id", *RUN_LIKE[:13])
LONGEST_HEADER = 1 << 20  # characters
FAST = 1 << 21  # smaller tables are read by pandas
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)", re.I)
VALUE = re.compile(r"[=:]\s*[-+]?\d")  # in a cell of a line of values, "loss=2.5"
BLANKS = [*sorted(BLANK), "NaN", "None", "NA", "N/A", "NULL", "Null", "<NA>", "NAN", "#N/A", "-NaN"]
MILLISECONDS = 1e11  # MLflow's times since 1970


def header(source: Source) -> list[str]:
    """Names of the columns as the first line has them; [] where that line is no header."""
    line = source.first_line
    if len(line) > LONGEST_HEADER:
        return []
    line = CONTROL.sub("", line).lstrip("# ")
    separator = _separator(line)
    if not separator or not line.count(separator):
        return []
    if separator == " ":
        cells = line.split()
    else:
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
        except (csv.Error, StopIteration):
            return []
    return (
        [] if any(VALUE.search(c) or NUMBER.fullmatch(c.strip("[](){}")) for c in cells) else cells
    )


def matches(source: Source) -> bool:
    """Any text; this is the reader of last resort."""
    return source.is_text


class _Head:
    """The first line of a table: how many lines to skip, the separator and the names."""

    def __init__(self, source: Source) -> None:
        lines = source.head.split("\n")
        self.skip, line = _first_line(lines)
        comment = False
        while line.lstrip().startswith("#") and self.skip + 1 < len(lines):
            comment = True
            after = lines[self.skip + 1].strip("\r")
            if not after.lstrip().startswith("#"):
                break
            self.skip += 1
            line = after
        self.line = line.lstrip().removeprefix("#").strip() if comment else line
        after = lines[self.skip + 1].strip("\r") if self.skip + 1 < len(lines) else ""
        if comment and not _names_a_loss(self.line) and _names_a_loss(after):
            self.skip, self.line = self.skip + 1, after  # comments above the names
        self.separator = _separator(self.line)
        self.named = True
        if self.separator == " " and not self.line.strip():
            self.separator = ""
        self.check(source.name)
        self.cells = self._cells(source.name)
        if all(NUMBER.fullmatch(cell) for cell in self.cells if cell) and any(self.cells):
            self.named = False
            self.skip -= 1
            self.cells = [f"column {i + 1}" for i in range(len(self.cells))]

    def check(self, name: str) -> None:
        line = self.line
        if not self.separator and not NUMBER.fullmatch(line.strip()):
            raise DataError(
                f"{name} is not a table: its first line must name columns, e.g. step,loss; it is "
                f"{line[:60]!r}; and no line of it names a loss, such as 'step 10 | loss: 3.21'"
            )
        if self.separator and (columns := line.count(self.separator) + 1) > MOST_COLUMNS:
            raise DataError(
                f"{name}: {columns:,} columns or more, which no log has: write one row for "
                "each step"
            )

    def _cells(self, name: str) -> list[str]:
        if self.separator == " " or not self.separator:
            return self.line.split()
        try:
            return [c.strip() for c in next(csv.reader([self.line], delimiter=self.separator))]
        except csv.Error as error:
            raise DataError(f"{name}, line {self.skip + 1}: {error}") from None

    def names(self, name: str) -> list[str]:
        """Names of the columns, each once."""
        named = [cell for cell in self.cells if cell]
        if len(set(named)) < len(named):
            twice = next(cell for cell in named if named.count(cell) > 1)
            raise DataError(f"{name}: the column {twice!r} is there twice: keep one of them")
        names = [cell or f"column {i + 1}" for i, cell in enumerate(self.cells)]
        if len(set(names)) < len(names):
            twice = next(cell for cell in names if names.count(cell) > 1)
            raise DataError(f"{name}: a column is called {twice!r}: rename it")
        return names


def read(
    source: Source,
    text_columns: tuple[str, ...] = TEXT_COLUMNS,  # columns that stay text, in plain form
) -> Table:
    """The table as a frame; rows are called by their line.

    Headers that are repeated, and a few lines that have too many cells, are left out with a flag.

    Raises `DataError`: no table, rows with more cells than the header, quotes left open.
    """
    head = _Head(source)
    names = head.names(source.name)
    as_text = [name for name in names if plain_name(name) in text_columns]
    flags: list[Flag] = []
    frame = _by_arrow(source, head, names, as_text)
    if frame is None:
        frame, flags = _by_pandas(source, head, names, as_text)
    lines: Ints = frame.index.to_numpy() + head.skip + 2
    frame, lines, again = _without_headers(frame, lines, as_text)
    if again:
        times = f"{again} time{'s' * (again > 1)}"
        words = f"the line of names stands there again {times}, as after a resume: left out"
        flags.append(Flag("", "header_again", again, words))
    data = [name for name in names if name not in as_text]
    empty = np.ones(len(frame), bool)
    for name in data or names:
        empty &= frame[name].isna().to_numpy()
        if not empty.any():
            break
    for name in as_text:
        empty &= (frame[name].isna() | (frame[name] == "")).to_numpy()
    if empty.any():
        frame, lines = frame[~empty], lines[~empty]
    if not head.named:
        frame = _of_numbers(frame, source.stem)
    return Table(frame, LineWords(lines, source.name), flags)


def _by_arrow(
    source: Source, head: _Head, names: list[str], as_text: list[str]
) -> pd.DataFrame | None:
    """The table by pyarrow, many times faster; None where it is missing or not sure.

    On one thread: it takes half of the processor's time that several do.
    """
    if len(source.data) < FAST or source.encoding != "utf-8-sig" or head.separator in (" ", ""):
        return None
    try:
        import pyarrow
        from pyarrow import csv as arrow
    except ImportError:
        return None
    parse = arrow.ParseOptions(
        delimiter=head.separator, ignore_empty_lines=False, newlines_in_values=False
    )
    convert = arrow.ConvertOptions(
        null_values=BLANKS,
        strings_can_be_null=False,
        column_types=dict.fromkeys(as_text, pyarrow.string()),
        timestamp_parsers=["\0"],
        true_values=["\0"],
        false_values=["\0"],
    )
    reading = arrow.ReadOptions(
        column_names=names, skip_rows=head.skip + 1, block_size=1 << 20, use_threads=False
    )
    try:
        table = arrow.read_csv(
            pyarrow.BufferReader(source.data),
            read_options=reading,
            parse_options=parse,
            convert_options=convert,
        )
        kinds = pyarrow.types
        for name, column in zip(names, table.columns, strict=True):
            if name not in as_text and not (
                kinds.is_integer(column.type)
                or kinds.is_floating(column.type)
                or kinds.is_null(column.type)
            ):
                return None
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    except (pyarrow.ArrowException, ValueError, OSError, KeyError):
        return None
    return frame


def _by_pandas(
    source: Source, head: _Head, names: list[str], as_text: list[str]
) -> tuple[pd.DataFrame, list[Flag]]:
    import pandas as pd

    # Names of runs stay as they are written: "007" and "None" are names.
    options: dict[str, Any] = {
        "names": names,
        "skiprows": head.skip + 1,
        "index_col": False,
        "skip_blank_lines": False,
        "skipinitialspace": True,
        "keep_default_na": False,
        "na_values": {n: BLANKS for n in names if n not in as_text} if as_text else BLANKS,
        "dtype": dict.fromkeys(as_text, "str"),
        "low_memory": False,
    }
    if head.separator == " ":
        options["sep"] = r"\s+"
    else:
        options["sep"] = head.separator or ","
    # An utf-8 file is parsed as it is: the text in a StringIO takes four times the memory.
    utf8 = source.encoding == "utf-8-sig"
    flags: list[Flag] = []
    try:
        with warnings.catch_warnings():
            # pandas would warn of rows with more cells than names, and lose what is beyond.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(source.whole_bytes()) if utf8 else io.StringIO(source.text()),
                encoding="utf-8-sig" if utf8 else None,
                encoding_errors="replace",
                on_bad_lines="error",
                **options,
            )
    except pd.errors.ParserWarning:
        raise DataError(
            f"{source.name}, line {head.skip + 2}: more cells than the {len(names)} names of "
            "the first line: name every column"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, ValueError) as error:
        words = _words(str(error))
        text = source.text()
        whole = text[: text.rstrip("\r").rfind("\n") + 1]
        if not source.ends_a_line and whole.count("\n") > head.skip + 1 and '"' in text:
            with suppress(pd.errors.ParserError, pd.errors.ParserWarning, csv.Error, ValueError):
                frame = pd.read_csv(io.StringIO(whole), on_bad_lines="error", **options)
                last = f"line {whole.count(chr(10)) + 1}, the last, was cut while writing"
                return frame, [Flag("", "cut_line", 1, last)]
        repaired = _without_odd_lines(text, head, len(names))
        if repaired is None:
            raise DataError(f"{source.name}: {words}") from None
        text, count, first = repaired
        try:
            frame = pd.read_csv(io.StringIO(text), on_bad_lines="error", **options)
        except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error, ValueError):
            raise DataError(f"{source.name}: {words}") from None
        words = f"first: line {first} of {source.name}, which has another number of cells"
        flags.append(Flag("", "damaged_lines", count, words))
    return frame, flags


def _without_odd_lines(text: str, head: _Head, width: int) -> tuple[str, int, int] | None:
    """The text with blank lines for the few that have too many cells; None if there are many."""
    if '"' in text or head.separator in (" ", ""):
        return None
    lines = text.split("\n")
    odd = [
        i
        for i, line in enumerate(lines)
        if i > head.skip and line.count(head.separator) > width - 1
    ]
    if not odd or len(odd) > max(len(lines) // 100, 0):
        return None
    for i in odd:
        lines[i] = ""
    return "\n".join(lines), len(odd), odd[0] + 1


def _without_headers(
    frame: pd.DataFrame, lines: Ints, as_text: list[str]
) -> tuple[pd.DataFrame, Ints, int]:
    """The frame without rows that repeat the names."""
    import pandas as pd

    objects = [
        name
        for name in frame.columns
        if name not in as_text and not pd.api.types.is_numeric_dtype(frame[name].dtype)
    ]
    if not objects:
        return frame, lines, 0
    again = np.ones(len(frame), dtype=bool)
    for name in objects:
        again &= (frame[name].astype(str).str.strip().str.lstrip("# ") == name).to_numpy()
    if not again.any():
        return frame, lines, 0
    frame = frame[~again].copy()
    for name in objects:
        try:
            frame[name] = pd.to_numeric(frame[name])
        except (ValueError, TypeError):
            continue
    return frame, lines[~again], int(again.sum())


def _of_numbers(frame: pd.DataFrame, stem: str) -> pd.DataFrame:
    """Numbers without names: a metric file of MLflow, or one column of losses."""
    names = list(frame.columns)
    loss = "val_loss" if "val" in stem.lower() or "eval" in stem.lower() else "loss"
    times = frame[names[0]]
    is_time = times.dtype.kind in "if" and len(times) > 0 and bool((times > MILLISECONDS).all())
    if len(names) in (3, 4) and is_time:
        named = ("timestamp_ms", stem if "loss" in stem.lower() else "value", "step", "dataset")
        return frame.rename(columns=dict(zip(names, named, strict=False)))
    if len(names) == 1 and "loss" in stem.lower():
        return frame.rename(columns={names[0]: loss})
    return frame


def _names_a_loss(line: str) -> bool:
    """Whether a line could be the names of a table with a loss."""
    separator = _separator(line)
    cells = line.split(None if separator == " " else separator or None)
    return any(may_be_loss(cell) for cell in cells) and not any(VALUE.search(c) for c in cells)


def _first_line(lines: list[str]) -> tuple[int, str]:
    """How many lines are blank before the first that is not, and that line."""
    for blank, line in enumerate(lines):
        if line.strip():
            return blank, line.strip("\r").split("\r")[0]
    return len(lines), ""


@lru_cache(maxsize=256)
def _separator(line: str) -> str:
    """What separates the cells: "" if nothing does, " " for blanks."""
    line = line.lstrip("# ")
    best = max(SEPARATORS, key=line.count)
    if line.count(best):
        return best
    return " " if _is_row_of_blanks(line) else ""


def _is_row_of_blanks(line: str) -> bool:
    """Whether a line could be names or numbers between blanks, and not a sentence."""
    words = line.split()
    if len(words) < 2:
        return False
    if all(NUMBER.fullmatch(word) for word in words):
        return True
    plain = [plain_name(word) for word in words]
    return any("loss" in word for word in plain) and not any(
        NUMBER.fullmatch(word) for word in words
    )


def _words(error: str) -> str:
    """The parser's message without its jargon."""
    return error.strip().removeprefix("Error tokenizing data. C error: ") or "cannot be read"
