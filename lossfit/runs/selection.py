"""Of a log's table the losses that were asked for, with what belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Ints
from .aliases import ALIASES, RUN_LIKE
from .axes import AXES
from .cleaning import Flag
from .frames import BLANK, MOST_NAMED, RowWords, raw_from_frame
from .known import close_to, listed
from .labels import names_text
from .names import (
    is_held_out,
    is_loss,
    is_moving_average,
    loss_column,
    may_be_loss,
    named_column,
    plain_name,
    role_of,
    validation_columns,
    with_known_names,
)
from .raw import Raw
from .reshaping import wide, with_counts

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val")
SEEN = 200  # cells of a column that are looked at
MOST_MODES = 50  # different words in a column that tells training from validation rows
TRUTHS = ("is_train", "is_training", "is_val", "is_valid", "is_validation", "is_eval", "is_test")
RUN_NAMES = frozenset({*ALIASES["run"], *RUN_LIKE})
# Clocks that logs keep, and how many of their units are an hour.
CLOCKS = {
    "_runtime": 3600.0,
    "relative_time_process": 3600.0,
    "relative_time_wall": 3600.0,
    "_timestamp": 3600.0,
    "wall_time": 3600.0,
    "timestamp_ms": 3.6e6,
    "timestamp": 3600.0,
    "elapsed_time": 3600.0,
    "wall_clock_total": 3600.0,
    "train_wall": 3600.0,
}
SINCE_1970 = 1e9 / 3600.0  # hours
OF_ANY_ROW = ("run", "lr")  # columns that do not say what a row is about


@dataclass(frozen=True)
class Chosen:
    """The rows with the losses asked for."""

    frame: pd.DataFrame  # with the names that lossfit knows
    row_words: Callable[[int], str]
    flags: list[Flag]
    column: str  # the column of the log that was read as the loss, "" if there is none
    kind: str  # "train", "val" or "named"


def splits(frame: pd.DataFrame) -> list[str]:
    """Which of "train" and "val" a log has."""
    frame, _ = _by_mode(wide(frame)[0])
    columns = _of_numbers(frame)
    try:
        has_train = loss_column(columns, "train")[1] == "train"
    except DataError:
        has_train = False
    kinds = ["train"] if has_train else []
    if validation_columns(columns):
        kinds.append("val")
    return kinds or ["train"]


def raw_of(
    frame: pd.DataFrame,
    # loss, columns: as in `chosen_rows`
    loss: str = "train",
    columns: Mapping[str, str] | None = None,
    *,
    name: str = "run",  # name of the run of a frame without a column that names runs
    ending: str = "",  # what to add to the names of runs
    row_words: RowWords | None = None,  # the words for a row by position
    # flags, loss_flags: flags to pass on; ``loss_flags`` where training losses are read.  Those of
    # run "" are of every run
    flags: Sequence[Flag] = (),
    loss_flags: Sequence[Flag] = (),
    long: bool = False,  # each row has the value of one column
) -> tuple[Raw, Chosen]:
    """Rows of a frame whose columns have any names, grouped by run.

    Returns
    -------
    raw : Raw
    chosen : Chosen
    """
    if row_words is None:
        index = frame.index
        row_words = _Labels(index)
    chosen = chosen_rows(frame, row_words, loss, columns, long=long)
    all_flags = [*flags, *(loss_flags if chosen.kind == "train" else []), *chosen.flags]
    raw = raw_from_frame(chosen.frame, name=name, row_words=chosen.row_words)
    before = raw.names
    names = tuple(f"{name}{ending}" for name in before)
    renamed = dict(zip(before, names, strict=True))
    told: list[Flag] = []
    for flag in [*all_flags, *raw.flags]:
        if flag.run == "":  # of every run of the log; of the only one, mostly
            told.append(replace(flag, run=names[0] if len(names) == 1 else None))
        elif flag.run is None or flag.run in renamed:
            told.append(replace(flag, run=renamed.get(flag.run) if flag.run else None))
    return replace(raw, names=names, flags=told), chosen


class _Labels:
    """The words for a row by the frame's index."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def __call__(self, i: int) -> str:
        return f"row {self.index[i]}"


def chosen_rows(
    frame: pd.DataFrame,
    row_words: RowWords,  # the words for a row by position
    loss: str,  # {"train", "val"} or str: which losses; a name is that of a column
    # the user's names, as in `lossfit.load`; its ``"loss"`` goes before ``loss``
    columns: Mapping[str, str] | None,
    *,
    # each row has the value of one column: one without a loss is not missing it
    long: bool = False,
) -> Chosen:
    """The rows with the losses asked for, under the names that lossfit knows.

    Rows that hold other losses only are left out with a flag; a learning rate that was logged in a
    row of its own joins the row of the same run and step.

    Raises `DataError`: no such losses, or no such column; several losses of which none is known to
    be the whole.
    """
    _check_once(frame)
    named = dict(columns or {})
    frame, is_long, ignored = wide(with_counts(frame), {loss, *named.values()})
    frame, flags = _by_mode(frame)
    there = [str(column) for column in frame.columns]
    kind = "named"
    if "loss" not in named:
        column, kind = loss_column(_of_numbers(frame) if loss in SPLITS else there, loss)
        if column is None and loss == "val":
            raise DataError(
                "there is no column of validation losses; the columns are "
                f"{listed(there)}: name it with loss="
            )
        if column is not None:
            named["loss"] = column
            if kind == "val":
                why = ", for want of a training loss" * (loss != "val")
                count = int(frame[column].notna().sum())
                flags.append(Flag("", "validation", count, f"{column} is read{why}"))
    column = named_column(named["loss"], there, "columns= names") if "loss" in named else ""
    frame = _with_hours(frame, set(named.values()))
    frame, renamed = with_known_names(frame, named)
    flags = [*renamed, *flags]
    if ignored:
        flags.append(Flag(None, "ignored_columns", len(ignored), names_text(ignored, MOST_NAMED)))
    if "loss" not in frame.columns:
        raise DataError(_no_loss(there))
    names = [str(name) for name in frame.columns]
    others = [
        (old, new)
        for old, new in zip(there, names, strict=False)
        if old != column and (is_loss(old) or role_of(old) in ("loss", "val_loss"))
    ]
    if is_moving_average(column):
        count = int(frame["loss"].notna().sum())
        flags.append(Flag("", "moving_average", count, f"{column} is a moving average by its name"))
    if kind != "train" and "count" in frame.columns and "count" not in named:
        frame = frame.drop(columns="count")
    frame, keep, new_flags = _own_rows(frame, others, long or is_long)
    words = row_words if keep is None else _Moved(row_words, keep)
    return Chosen(frame, words, [*flags, *new_flags], column, kind)


def _check_once(frame: pd.DataFrame) -> None:
    """`DataError` where a column is there twice."""
    names = [str(column) for column in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the column {twice!r} is there twice: keep one of them")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _no_loss(there: list[str]) -> str:
    if sum(map(_is_number, there)) >= 2:
        return (
            f"the first line ({', '.join(there[:4])}) holds numbers and no names of columns: write "
            f"the names above it, such as step,loss"
        )
    columns = f"the columns are {listed(there)}" if there else "it has no columns"
    hint = close_to("loss", there)
    unknown = [name for name in there if not role_of(name)]
    example = hint.split("'")[1] if hint else (unknown or there or ["..."])[-1]
    return (
        f"there is no column 'loss'; {columns}{hint}: say which column holds it with "
        f"loss={example!r} (--loss on the command line)"
    )


def _of_numbers(frame: pd.DataFrame) -> list[str]:
    """The columns without those that are called losses and hold none: texts, or nothing."""
    import pandas as pd

    out = []
    for column in frame.columns:
        if not may_be_loss(str(column)):
            out.append(str(column))
            continue
        values = frame[column]
        if not pd.api.types.is_numeric_dtype(values.dtype):
            if _is_text(values, len(frame.columns)):
                continue
        elif len(values) and values.isna().all():
            continue
        out.append(str(column))
    return out


def _is_text(values: pd.Series, columns: int) -> bool:
    """Whether none of the cells is a number, of those that are looked at."""
    cells = [cell for cell in values.iloc[:SEEN].tolist() if cell is not None and cell == cell]
    words = [str(cell).strip() for cell in cells]
    words = [word for word in words if word.lower() not in BLANK]
    if not words:
        return columns > 2 and len(values) > 0
    if "," in words[0]:
        return False  # a decimal comma, of which the reader of numbers says more
    for word in words:
        try:
            float(word)
        except ValueError:
            continue
        return False
    return True


def _by_mode(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Flag]]:
    """The frame with the losses of validation rows apart, where a column says which rows are which.

    MMEngine's ``{"mode": "val", "epoch": 1, "loss": 2.3}`` has both under one name.
    """
    for column in frame.columns:
        held_out = _held_out_rows(str(column), frame[column])
        if held_out is None:
            continue
        frame = frame.copy()
        for name in list(frame.columns):
            if not is_loss(str(name)) or is_held_out(str(name)):
                continue
            values = frame[name].where(held_out)
            if values.notna().any():
                frame[f"val {name}"] = values
                frame[name] = frame[name].where(~held_out)
        words_said = f"losses of rows that {column!r} calls validation are validation losses"
        return frame, [Flag("", "other_losses", int(held_out.sum()), words_said)]
    return frame, []


def _held_out_rows(name: str, cells: pd.Series) -> pd.Series | None:
    """Which rows are about held-out data by a column of words or truth values; None for another."""
    import pandas as pd

    plain = plain_name(name)
    if pd.api.types.is_numeric_dtype(cells.dtype):
        if plain not in TRUTHS or set(cells.dropna().unique().tolist()) != {0, 1}:
            return None
        return (cells == 1) != (plain in ("is_train", "is_training"))
    if plain in RUN_NAMES or not len(cells):
        return None
    try:
        codes, labels = pd.factorize(cells)
    except TypeError:  # lists in the cells
        return None
    if len(labels) > MOST_MODES:
        return None
    words = pd.Series([str(label).strip().lower() for label in labels], dtype=object)
    held_out = words.str.fullmatch(r"(?:val|valid|validation|eval|evaluation|test|dev)\w*")
    train = words.str.fullmatch(r"(?:train|training|tr)\w*")
    if not held_out.any() or not train.any():
        return None
    of_row = np.append(held_out.to_numpy(dtype=bool), False)[codes]
    return pd.Series(of_row, index=cells.index)


def _with_hours(frame: pd.DataFrame, named: set[str]) -> pd.DataFrame:
    """The frame with a column ``hours`` where one tells the time; never in the place of another."""
    import pandas as pd

    names = {plain_name(str(column)): column for column in reversed(list(frame.columns))}
    if "hours" in frame.columns or "run" in frame.columns:
        return frame
    for name, unit in CLOCKS.items():
        column = names.get(name)
        if column is None or column in named:
            continue
        values = frame[column]
        if not pd.api.types.is_numeric_dtype(values.dtype):
            try:
                values = pd.to_timedelta(values).dt.total_seconds()
            except (ValueError, TypeError):
                try:
                    values = pd.to_datetime(values, format="ISO8601", utc=True)
                    values = (values - values.iloc[0]).dt.total_seconds()
                except (ValueError, TypeError):
                    continue
            unit = 3600.0
        hours = values.to_numpy(dtype=float, na_value=np.nan) / unit
        known = hours[np.isfinite(hours)]
        if not len(known) or known.min() < 0 or (np.diff(known) < 0).any() or known[-1] <= known[0]:
            continue
        since = known[0] if known[0] > SINCE_1970 else 0.0
        frame = frame.copy()
        frame["hours"] = hours - since
        return frame
    return frame


class _Moved:
    """The words for a row of a table that lost some."""

    def __init__(self, words: Callable[[int], str], kept: Ints) -> None:
        self.words = words
        self.kept = kept

    def __call__(self, i: int) -> str:
        return self.words(int(self.kept[i]))


def _own_rows(
    frame: pd.DataFrame, others: list[tuple[str, str]], long: bool = False
) -> tuple[pd.DataFrame, Ints | None, list[Flag]]:
    """The rows that are not about other losses; their positions; what was left out.

    ``others`` are the columns of other losses, by their name in the log and in the frame; ``long``
    says that each row has one value.
    """
    import pandas as pd

    blank: Bools = pd.isna(frame["loss"]).to_numpy()
    if not blank.any():
        return frame, None, []
    frame = _with_rates(frame, blank)
    drop = np.zeros(len(frame), dtype=bool)
    flags = []
    for old, new in others:
        is_own = blank & ~pd.isna(frame[new]).to_numpy() & ~drop
        if is_own.any():
            drop |= is_own
            flags.append(Flag("", "other_losses", int(is_own.sum()), f"rows of {old} only"))
    if "lr" in frame.columns:  # rows that hold a learning rate only have given it away
        rate = blank & ~drop & ~pd.isna(frame["lr"]).to_numpy()
        rest = [name for name in frame.columns if name not in (*OF_ANY_ROW, *AXES)]
        rate &= pd.isna(frame[rest]).all(axis=1).to_numpy()
        drop |= rate
    if long:  # rows of other columns, which are named as ignored
        drop |= blank
    if drop.all() or not drop.any():
        return frame, None, []
    keep = np.flatnonzero(~drop)
    return frame.iloc[keep], keep, flags


def _with_rates(frame: pd.DataFrame, blank: Bools) -> pd.DataFrame:
    """Learning rates of rows without a loss, in the rows of the same run and step with one."""
    axis = next((axis for axis in ("step", "tokens") if axis in frame.columns), None)
    if axis is None or "lr" not in frame.columns:
        return frame
    rate = frame["lr"]
    want = ~blank & rate.isna().to_numpy()
    have = blank & rate.notna().to_numpy()
    if not (want.any() and have.any()):
        return frame
    keys = [frame[axis]] if "run" not in frame.columns else [frame["run"], frame[axis]]
    try:
        given = dict(zip(zip(*(key[have] for key in keys), strict=True), rate[have], strict=True))
        rates = [given.get(key) for key in zip(*(key[want] for key in keys), strict=True)]
    except TypeError:  # a list in a cell: said where the columns become numbers
        return frame
    frame = frame.copy()
    values = rate.astype(object).to_numpy(copy=True)
    values[want] = rates
    frame["lr"] = values
    return frame
