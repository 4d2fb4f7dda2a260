"""Of a log's table the losses that were asked for, with what belongs to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Ints
from ..runs.axes import AXES
from ..runs.cleaning import Flag
from ..runs.known import listed
from ._names import ALIASES, loss_column, validation_columns, with_known_names
from ._source import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chosen", "choose", "splits"]

TRAINING = re.compile(r"train.*loss")
OF_ANY_ROW = ("run", "lr", "epoch")  # columns that do not say what a row is about


@dataclass(frozen=True)
class Chosen:
    """The rows with the losses asked for.

    Attributes
    ----------
    frame : pandas.DataFrame
        With the names that lossfit knows.
    row_words : callable
    flags : list of Flag
    column : str
        The column of the log that was read as the loss, "" if there is none.
    kind : str
        "train", "val" or "named".
    """

    frame: pd.DataFrame
    row_words: Callable[[int], str]
    flags: list[Flag]
    column: str
    kind: str


def splits(table: Table) -> list[str]:
    """Which of "train" and "val" the log has."""
    columns = [str(column) for column in table.frame.columns]
    train, kind = loss_column(columns, "train") if _has_train(columns) else (None, "")
    found = ["train"] if train is not None and kind == "train" else []
    if validation_columns(columns):
        found.append("val")
    return found or ["train"]


def _has_train(columns: list[str]) -> bool:
    try:
        return loss_column(columns, "train")[1] == "train"
    except DataError:
        return False


def choose(table: Table, loss: str, columns: Mapping[str, str] | None) -> Chosen:
    """The rows with the losses asked for, under the names that lossfit knows.

    Rows that hold other losses only are left out with a flag; a learning rate that was logged in a
    row of its own joins the row of the same run and step.

    Parameters
    ----------
    table : Table
    loss : {"train", "val"} or str
        Which losses; a name is that of a column.
    columns : dict, optional
        The user's names, as in `lossfit.load`; its ``"loss"`` goes before ``loss``.

    Raises
    ------
    DataError
        No such losses, or no such column.
    """
    there = [str(column) for column in table.frame.columns]
    named = dict(columns or {})
    kind = "named"
    flags: list[Flag] = []
    if "loss" not in named:
        column, kind = loss_column(there, loss)
        if column is None and loss == "val":
            raise DataError(
                "there is no column of validation losses; the columns are "
                f"{listed(there)}: name it with loss="
            )
        if column is not None and (kind != "train" or loss != "train"):
            named["loss"] = column
            if kind == "val":
                why = ", for want of a training loss" * (loss != "val")
                count = int(table.frame[column].notna().sum())
                flags.append(Flag("", "validation", count, f"{column} is read{why}"))
    frame, renamed = with_known_names(table.frame, named)
    column = named.get("loss") or next(
        (str(old) for old, new in zip(there, frame.columns, strict=True) if new == "loss"), ""
    )
    flags = [*table.flags, *(table.loss_flags if kind == "train" else []), *renamed, *flags]
    held_out = set(validation_columns(there))
    others = [
        (old, str(new))
        for old, new in zip(there, frame.columns, strict=True)
        if old != column and (old in held_out or _is_training(old))
    ]
    if kind != "train" and "count" in frame.columns and "count" not in named:
        frame = frame.drop(columns="count")
    words = table.row_words
    if "loss" in frame.columns:
        frame, kept, found = _own_rows(frame, others)
        flags += found
        if kept is not None:
            words = _Moved(table.row_words, kept)
    return Chosen(frame, words, flags, column, kind)


class _Moved:
    """The words for a row of a table that lost some."""

    def __init__(self, words: Callable[[int], str], kept: Ints) -> None:
        self.words = words
        self.kept = kept

    def __call__(self, i: int) -> str:
        return self.words(int(self.kept[i]))


def _own_rows(
    frame: pd.DataFrame, others: list[tuple[str, str]]
) -> tuple[pd.DataFrame, Ints | None, list[Flag]]:
    """The rows that are not about other losses; their positions; what was left out.

    ``others`` are the columns of other losses, by their name in the log and in the frame.
    """
    import pandas as pd

    blank: Bools = pd.isna(frame["loss"]).to_numpy()
    if not blank.any():
        return frame, None, []
    frame = _with_rates(frame, blank)
    drop = np.zeros(len(frame), dtype=bool)
    flags = []
    for old, new in others:
        mine = blank & ~pd.isna(frame[new]).to_numpy() & ~drop
        if mine.any():
            drop |= mine
            flags.append(Flag("", "other_losses", int(mine.sum()), f"rows of {old} only"))
    if "lr" in frame.columns:  # rows that hold a learning rate only have given it away
        rate = blank & ~drop & ~pd.isna(frame["lr"]).to_numpy()
        rest = [name for name in frame.columns if name not in (*OF_ANY_ROW, *AXES)]
        rate &= pd.isna(frame[rest]).all(axis=1).to_numpy()
        drop |= rate
    if drop.all() or not drop.any():
        return frame, None, []
    kept = np.flatnonzero(~drop)
    return frame.iloc[kept], kept, flags


def _is_training(name: str) -> bool:
    low = name.lower()
    return low == "loss" or low in ALIASES["loss"] or TRAINING.search(low) is not None


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
        found = [given.get(key) for key in zip(*(key[want] for key in keys), strict=True)]
    except TypeError:  # a list in a cell: said where the columns become numbers
        return frame
    frame = frame.copy()
    values = rate.astype(object).to_numpy(copy=True)
    values[want] = found
    frame["lr"] = values
    return frame
