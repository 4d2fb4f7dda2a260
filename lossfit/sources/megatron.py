"""Logs of Megatron-LM, GPT-NeoX and NeMo: fields between bars.

::

     [2025-04-13 23:41:12] iteration      200/    1000 | consumed samples:          800 |
        learning rate: 1.342E-04 | lm loss: 7.399415E+00 | ...              (one line)
     iteration      200/    1000 | learning rate 1.342E-04 | lm loss 7.399415E+00 |
     validation loss at iteration 1000 | lm loss value: 7.1E+00 | lm loss PPL: 1.2E+03 |
    Training epoch 0, iteration 9/999 | lr: 1.2e-06 | global_step: 9 | reduced_train_loss: 11.03

Megatron's and NeoX's losses are means over the iterations since the line before.  NeMo repeats the
last validation loss in every line: it is read where it changes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from ..runs.cleaning import Flag
from ._lines import NUMBER, table_of_lines
from ._source import Example, Source, Table

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = Example(
    """using world size: 8, data-parallel size: 8
 iteration      100/    1000 | learning rate: 1.000E-04 | lm loss: 9.123400E+00 |
 iteration      200/    1000 | learning rate: 1.342E-04 | lm loss: 7.399415E+00 |
 iteration      300/    1000 | learning rate: 1.500E-04 | lm loss: 6.812300E+00 |
 iteration      400/    1000 | learning rate: 1.500E-04 | lm loss: 6.512300E+00 |
""",
    {100: 9.1234, 200: 7.399415, 300: 6.8123, 400: 6.5123},
)

HEAD = re.compile(r"(?:^|[\s|])iteration\s+(\d+)\s*/\s*(\d+)\s*\|")
HELD_OUT = re.compile(
    r"(?:valid(?:ation)?|test) (?:loss|results)(?: at| for)? +"
    r"(?:iteration|the end of training)\D{0,20}(\d+)"
)
FIELD = re.compile(rf"\|\s*([A-Za-z][A-Za-z_ ()/.-]{{0,60}}?)\s*:?\s+({NUMBER})(?=\s*(?:\||$))")
LIKE = re.compile(r"(?:^|[\s|])iteration\s+\d+\s*/\s*\d*\s*(?:\||$)")
FIRST = re.compile(r"(?m)^[^\n]{0,200}?(?:^|[\s|\]])iteration\s+\d+\s*/\s*\d+\s*\|")

LOSSES = ("lm loss", "lm_loss", "reduced_train_loss", "loss")
RATES = ("learning rate", "learning_rate", "lr")
TOKENS = ("consumed tokens", "consumed_tokens")
READ = frozenset(
    (*LOSSES, *RATES, *TOKENS, "number of skipped iterations", "global_step", "val_loss")
)
VALUES = ("lm loss value", "lm_loss value", "lm_loss_value")


def matches(source: Source) -> bool:
    """A text with a line such as ``iteration 200/ 1000 | ... | lm loss: 7.4E+00 |``."""
    return "iteration" in source.head and source.shows(FIRST)


def read(source: Source) -> Table:
    """The points, a row a line.

    Raises `DataError`: no point in the log.
    """
    planned = 0.0
    averaged = False
    held: float | None = None
    unread: dict[str, None] = {}

    def point(line: str) -> dict[str, float] | None:
        nonlocal planned, averaged, held
        if "iteration" not in line:
            return None
        head = HEAD.search(line)
        if head is not None:
            fields = _fields(line[head.end() - 1 :])
            if not fields:
                return None
            row = {"step": float(head.group(1))}
            planned = float(head.group(2))
            if "Training epoch" in line:
                # NeMo counts iterations from 0 in every epoch, and steps through all of them.
                row["step"] = fields.get("global_step", row["step"])
                planned = planned + 1 if "Training epoch 0," in line else 0.0
            unread.update(dict.fromkeys(name for name in fields if name not in READ))
            _take(row, "loss", fields, LOSSES)
            _take(row, "lr", fields, RATES)
            _take(row, "tokens", fields, TOKENS)
            _take(row, "val_loss", fields, ("val_loss", "validation_loss"))
            # NeMo repeats the last validation loss in every line.
            if (now := row.get("val_loss")) == held:
                row.pop("val_loss", None)
            elif now is not None:
                held = now
            averaged |= "lm loss" in fields or "lm_loss" in fields
            row["skipped"] = fields.get("number of skipped iterations", 0.0)
            return row
        held_out = HELD_OUT.search(line)
        # Of the test set there is one value, in the end; Megatron names it in either way.
        if held_out is None or held_out.group().startswith("test") or "test set" in line:
            return None
        row = {"step": float(held_out.group(1))}
        _take(row, "val_loss", _fields(line), VALUES)
        return row if "val_loss" in row else None

    table = table_of_lines(
        source,
        point,
        like=LIKE,
        example="iteration 200/ 1000 | learning rate: 1.342E-04 | lm loss: 7.399E+00 |",
    )
    frame = table.frame
    if "loss" not in frame.columns and "val_loss" not in frame.columns:
        frame["loss"] = np.nan
    flags = _averages(frame) if averaged else []
    found = table.flags
    if unread:
        found = [*found, Flag(None, "ignored_columns", len(unread), ", ".join(unread))]
    return Table(
        frame.drop(columns="skipped", errors="ignore"),
        table.row_words,
        found,
        loss_flags=flags,
        planned_steps=planned or None,
    )


def _fields(line: str) -> dict[str, float]:
    return {name.lower(): float(value) for name, value in FIELD.findall(line)}


def _take(
    row: dict[str, float], column: str, fields: dict[str, float], names: tuple[str, ...]
) -> None:
    for name in names:
        if name in fields:
            row[column] = fields[name]
            return


def _averages(frame: pd.DataFrame) -> list[Flag]:
    """The count of steps behind each loss, in place: those since the line before, not skipped."""
    train = frame["skipped"].notna() if "skipped" in frame.columns else frame["loss"].notna()
    step = frame.loc[train, "step"].to_numpy(dtype=float)
    taken = np.diff(step, prepend=np.nan)
    usual = np.median(taken[taken > 0]) if (taken > 0).any() else 1.0
    if usual <= 1:
        return []
    taken[~(taken > 0)] = usual
    skipped = frame.loc[train, "skipped"].to_numpy(dtype=float)
    frame.loc[train, "count"] = np.maximum(taken - skipped, 1.0)
    words = f"each loss is a mean over the {usual:g} steps since the one before"
    return [Flag("", "window_average", int(train.sum()), words)]
