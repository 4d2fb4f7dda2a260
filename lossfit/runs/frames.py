"""Tidy pandas frames: one row a logged point."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats, Ints
from .._base.units import SIZES, amount_of
from .axes import AXES
from .base_two import in_bits
from .cleaning import Flag
from .known import close_to, listed
from .labels import names_text
from .raw import Raw

if TYPE_CHECKING:
    import pandas as pd

WEIGHTS = ("se", "count", "weight")
# `spike` is written by `Runs.frame`; it is found again when the frame is read back.
COLUMNS: tuple[str, ...] = ("run", *AXES, "loss", "lr", "params", *WEIGHTS, "rank", "spike")
"""The columns that a tidy frame may have."""

MOST_NAMED = 40  # ignored columns in a flag's words
BLANK = frozenset(
    {"", "nan", "-nan", "+nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat", "-", "--"}
)
BY_THE_WAY = ("epoch", "hours", "record", "rank")  # columns of no use where they are no numbers
# Measures that rise while a model learns, and so look like an axis.
MEASURE = re.compile(
    r"(?<![a-z])(?:acc|accuracy|auc|auroc|f1|precision|recall|bleu|rouge|scores?|rewards?|top\d"
    r"|m_?ap\d*)(?![a-z])"
)
MOST_ODD = 0.01  # of a column's cells may be text: a damaged line does not refuse a log
RowWords = Callable[[int], str]


def raw_from_frame(
    # columns `COLUMNS`; ``loss`` and one axis are needed, other columns are flagged
    frame: pd.DataFrame,
    *,
    name: str = "run",  # name of the run of a frame without a column ``run``
    # the words for a row by position; by default ``row LABEL`` with the frame's index
    row_words: RowWords | None = None,
    flags: Sequence[Flag] = (),  # flags to pass on
) -> Raw:
    """Rows of a tidy frame, grouped by run.

    Raises `DataError`: not a frame, missing columns, text in place of a number, a row without a run
    name.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"give a pandas DataFrame, got {type(frame).__name__}")
    _check_columns(frame)
    if row_words is None:
        index = frame.index

        def row_words(i: int) -> str:
            return f"row {index[i]}"

    codes, names = _runs_of(frame, name, row_words)
    columns: dict[str, Floats] = {}
    all_flags = list(flags)
    ignored = [str(column) for column in frame.columns if column not in COLUMNS]
    for column in (*AXES, "loss", "lr", "params", *WEIGHTS, "rank"):
        if column in frame.columns:
            try:
                values = _numbers(frame[column], column, names, codes, row_words, all_flags)
            except DataError:
                if column not in BY_THE_WAY or not _has_axis_beside(frame, column):
                    raise
                ignored.append(column)
                continue
            columns[column] = values
    bits, shown_by = in_bits(frame, codes, len(names))
    for run in np.flatnonzero(bits):
        rows = codes == run
        columns["loss"] = np.where(rows, columns["loss"] * np.log(2), columns["loss"])
        said = f"the log's losses are in bits ({shown_by}): read times ln 2, in nats"
        all_flags.append(Flag(names[run], "base_two", int(rows.sum()), said))
    if not any(axis in columns for axis in AXES):
        columns["record"] = _records(codes)
    axes = {axis: columns[axis] for axis in AXES if axis in columns}
    order: Ints | None = None
    if len(codes) > 1 and (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable").astype(np.int64)
        columns = {column: values[order] for column, values in columns.items()}
        axes = {axis: columns[axis] for axis in axes}
    words = row_words

    def where(row: int) -> str:
        at = next((f"{a}={axes[a][row]:g}" for a in axes if np.isfinite(axes[a][row])), None)
        text = words(row if order is None else int(order[row]))
        return f"{text} ({at})" if at else text

    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(names)))])
    if ignored:
        listed = names_text(ignored, MOST_NAMED)
        all_flags.append(Flag(None, "ignored_columns", len(ignored), listed))
    return Raw(
        names=names,
        offsets=offsets.astype(np.int64),
        loss=columns["loss"],
        axes=axes,
        lr=columns.get("lr"),
        params=columns.get("params"),
        precision=_precision(columns),
        rank=columns.get("rank"),
        where=where,
        flags=all_flags,
    )


def _check_columns(frame: pd.DataFrame) -> None:
    columns = [str(column) for column in frame.columns]
    for column in COLUMNS:
        if columns.count(column) > 1:
            raise DataError(f"the column {column!r} is there twice: keep one of them")
    has = f"the columns are {listed(columns)}" if columns else "it has no columns"
    if "loss" not in columns:
        hint = close_to("loss", columns) or "; rename the one with the training loss"
        raise DataError(f"there is no column 'loss'; {has}{hint}")
    if not any(axis in columns for axis in AXES):
        axes = _axis_like(frame)
        if axes:
            raise DataError(
                f"there is no column of steps, tokens or epochs that is known; {has}: say which "
                f"is the axis with columns={{'step': {axes[0]!r}}} (--columns step={axes[0]} on "
                "the command line)"
            )
    weights = [column for column in WEIGHTS if column in columns]
    if len(weights) > 1:
        raise DataError(f"give one of the columns {' and '.join(weights)}, not both")
    if not len(frame):
        raise DataError("there are no rows: give at least three points of a run")


def _has_axis_beside(frame: pd.DataFrame, column: str) -> bool:
    """Whether the frame has an axis, this column apart."""
    return any(axis in frame.columns and axis != column for axis in AXES)


def _axis_like(frame: pd.DataFrame) -> list[str]:
    """Columns without a known meaning that rise from row to row, as an axis does."""
    import pandas as pd

    out = []
    for column in frame.columns:
        if column in COLUMNS or not pd.api.types.is_numeric_dtype(frame[column].dtype):
            continue
        if MEASURE.search(str(column).lower()):
            continue  # an accuracy that rises in each epoch
        values = frame[column].to_numpy(dtype=float, na_value=np.nan)
        values = values[np.isfinite(values)]
        if len(values) > 2 and (np.diff(values) > 0).all() and values[0] >= 0:
            out.append(str(column))
    return out


def _records(codes: Ints) -> Floats:
    """1, 2, ... within each run."""
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    out = np.empty(len(codes))
    out[order] = place + 1
    return out


def _runs_of(frame: pd.DataFrame, name: str, row_words: RowWords) -> tuple[Ints, tuple[str, ...]]:
    """Number of the run of each row, in order of first appearance, and the runs' names."""
    import pandas as pd

    if "run" not in frame.columns:
        return np.zeros(len(frame), dtype=np.int64), (name,)
    try:
        codes, labels = pd.factorize(frame["run"], sort=False)
    except TypeError:  # lists or dicts
        kind = type(frame["run"].iloc[0]).__name__
        raise DataError(
            f"the column 'run' must hold names, and holds {kind}s: give the runs' names as text"
        ) from None
    names = tuple(map(str, labels))
    blank = [i for i, label in enumerate(names) if not label.strip()]
    bad = np.flatnonzero(np.isin(codes, [-1, *blank]))
    if len(bad):
        raise DataError(
            f"{row_words(int(bad[0]))}: the run has no name ({len(bad)} such rows): fill in the "
            "column 'run'"
        )
    return codes.astype(np.int64), names


def _numbers(
    column: pd.Series,
    what: str,
    names: tuple[str, ...],
    codes: Ints,
    row_words: RowWords,
    flags: list[Flag],
) -> Floats:
    """The column as float64 with NaN for blanks; text that is no number is an error."""
    import pandas as pd

    kind = pd.api.types
    dtype = column.dtype
    values: Floats
    if any(
        (
            kind.is_bool_dtype(dtype),
            kind.is_complex_dtype(dtype),
            kind.is_datetime64_any_dtype(dtype),
            kind.is_timedelta64_dtype(dtype),
        )
    ):
        raise DataError(f"the column {what!r} holds {dtype}, not numbers: convert it first")
    if kind.is_numeric_dtype(dtype):
        if isinstance(dtype, np.dtype):
            values = np.asarray(column.to_numpy(), np.float64).view()
            values.flags.writeable = False  # it may be the caller's own
            return values
        return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))
    cells = column.astype(object)
    try:
        found = np.array(pd.to_numeric(cells, errors="coerce"))
        values = np.full(len(cells), np.nan) if found.dtype.kind == "c" else found.astype("f8")
    except (TypeError, ValueError, OverflowError):  # e.g. lists in the cells
        values = np.full(len(cells), np.nan)
    # pandas takes a truth value among numbers for 0 or 1.
    truths = np.fromiter((isinstance(cell, (bool, np.bool_)) for cell in cells), bool, len(cells))
    odd: list[tuple[int, DataError]] = []
    of_run: dict[int, int] = {}
    for i in np.flatnonzero(np.isnan(values) | truths):
        try:
            values[i] = _number(cells.iloc[i], what, names[codes[i]], partial(row_words, int(i)))
        except DataError as error:
            odd.append((int(i), error))
            of_run[codes[i]] = of_run.get(codes[i], 0) + 1
            if of_run[codes[i]] > np.count_nonzero(codes == codes[i]) * MOST_ODD:
                raise odd[0][1] from None
    if odd:
        first = odd[0][0]
        shown = f"{cells.iloc[first]!r:.40}, {row_words(first)}"
        words = f"{what} is text in {len(odd)} rows (first: {shown})"
        flags.append(Flag(None, "text_cells", len(odd), words))
    return values


def _number(cell: Any, what: str, name: str, where: Callable[[], str]) -> float:
    """One cell as a number, NaN for a blank."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return np.nan
    text = str(cell).strip()
    if text.lower() in BLANK:
        return np.nan
    try:
        if not isinstance(cell, (bool, np.bool_)):
            return float(cell)
    except (TypeError, ValueError, OverflowError):
        pass
    if what in AXES and "," not in text and text[-1] in SIZES:
        with suppress(DataError):  # said below
            return amount_of(text)  # "12k"
    fix = "correct it, or leave the cell blank to drop the row"
    if "," in text:
        fix = "write numbers with a decimal point and no thousands separator"
    shown = text if len(text) <= 40 else text[:37] + "..."
    raise DataError(f"run {name!r}, {where()}: {what} {shown!r} is not a number: {fix}")


def _precision(columns: dict[str, Floats]) -> Floats | None:
    """Relative precision from the weight column, -1 where it cannot be one."""
    if "se" in columns:
        se = columns["se"]
        with np.errstate(divide="ignore", over="ignore"):
            return np.where(se > 0, se**-2.0, np.where(np.isnan(se), np.nan, -1.0))
    return columns.get("count", columns.get("weight"))
