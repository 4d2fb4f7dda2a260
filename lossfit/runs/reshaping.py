"""Tables that hold their numbers in another shape: a row for each value, a place as ``10/480``."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from .names import may_be_loss, plain_name, role_of

if TYPE_CHECKING:
    import pandas as pd

# Columns of a table with a row for each value: what a row is about, and the value.
SUBJECTS = ("tag", "key", "metric", "metric_name", "name", "variable", "measure")
VALUES = ("value", "metric_value", "val", "scalar")
MOST_SUBJECTS = 4000
MANY = 50  # subjects: of more, only those have a column that are known or asked for
SEEN = 50  # cells that are looked at
PLACE = re.compile(r"\s*(\d+)\s*/\s*(\d+)\s*")


def wide(frame: pd.DataFrame, asked: Collection[str] = ()) -> tuple[pd.DataFrame, bool, list[str]]:
    """The frame with a column for each subject, whether it had a row for each value, and the rest.

    ``step,tag,value`` with rows ``10,train/loss,2.5`` and ``10,lr,0.001`` becomes
    ``step,train/loss,lr`` with a blank where a row is about something else.  The rest are subjects
    without a column: those of a column's name, and of many, for each of which a column of all rows
    would take too much memory, those that mean nothing to lossfit and are not ``asked`` for.
    """
    import pandas as pd

    names = {plain_name(str(column)): column for column in reversed(list(frame.columns))}
    if any(role_of(str(column)) in ("loss", "val_loss", "other_loss") for column in frame.columns):
        return frame, False, []
    subject = next((names[name] for name in SUBJECTS if name in names), None)
    value = next((names[name] for name in VALUES if name in names), None)
    if subject is None or value is None:
        return frame, False, []
    if pd.api.types.is_numeric_dtype(frame[subject].dtype):
        return frame, False, []
    try:
        codes, labels = pd.factorize(frame[subject])
    except TypeError:  # lists in the cells
        return frame, False, []
    subjects = [str(label) for label in labels]
    if not 0 < len(subjects) <= MOST_SUBJECTS or not any(map(may_be_loss, subjects)):
        return frame, False, []
    rest = frame.drop(columns=[subject, value])
    taken = {str(column) for column in rest.columns}
    wanted = set(subjects)
    if len(subjects) > MANY:
        plain = {plain_name(str(name)) for name in asked}
        wanted = {s for s in subjects if role_of(s) or may_be_loss(s) or plain_name(s) in plain}
    columns = {
        title: frame[value].where(codes == code)
        for code, title in enumerate(subjects)
        if title not in taken and title in wanted
    }
    left_out = [title for title in subjects if title not in columns]
    return pd.concat([rest, pd.DataFrame(columns, index=frame.index)], axis=1), True, left_out


def with_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with numbers for steps or epochs that are written ``10/480``.

    The number after the bar becomes the column ``total_steps`` of a step.
    """
    import pandas as pd

    out = frame
    for column in frame.columns:
        role = role_of(str(column))
        if role not in ("step", "epoch") or pd.api.types.is_numeric_dtype(frame[column].dtype):
            continue
        cells = frame[column]
        seen = [cell for cell in cells.iloc[:SEEN].tolist() if isinstance(cell, str)]
        if not seen or not all(PLACE.fullmatch(cell) for cell in seen):
            continue
        parts = cells.astype(str).str.extract(PLACE.pattern).astype(float)
        blank = cells.isna().to_numpy() | parts[0].isna().to_numpy()
        place = parts[0].astype(object).to_numpy(copy=True)
        odd = blank & cells.notna().to_numpy()
        place[odd] = cells.to_numpy()[odd]  # what is no place is said of it later
        out = out.assign(**{str(column): place})
        if role == "step" and "total_steps" not in out.columns:
            out = out.assign(total_steps=np.where(blank, np.nan, parts[1]))
    return out
