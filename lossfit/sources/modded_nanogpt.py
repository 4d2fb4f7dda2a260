"""Logs of modded-nanogpt: the source code first, then the points.

::

    step:125/1530 val_loss:4.3210 train_time:12345ms step_avg:98.76ms
    step:126/1530 train_loss:4.2109 train_time:12444ms step_avg:98.77ms

Training losses are there in the older logs only, each of one micro-batch.
"""

from __future__ import annotations

import re

from ..runs.cleaning import Flag
from ._lines import NUMBER, table_of_lines
from ._source import Example, Source, Table

EXAMPLE = Example(
    """import torch
step:0/1530 val_loss:10.8258 train_time:0ms step_avg:nanms
step:125/1530 val_loss:4.6210 train_time:12345ms step_avg:98.76ms
step:250/1530 val_loss:4.1234 train_time:24690ms step_avg:98.76ms
step:375/1530 val_loss:3.9876 train_time:37035ms step_avg:98.76ms
""",
    {0: 10.8258, 125: 4.6210, 250: 4.1234, 375: 3.9876},
)

LOSSES = {"train_loss": "loss", "val_loss": "val_loss"}
LINE = re.compile(
    rf"^\s*step:(\d+)(?:/(\d+))?\s+(train_loss|val_loss|train loss|val loss):\s*({NUMBER})(?=\s|$)"
)
RATE = re.compile(rf"\slr:({NUMBER})(?=\s|$)")  # of some forks
LIKE = re.compile(
    r"^\s*step:\d+(?:/\d*)?(?:\s+(train|val)\S*)?\s*$|^\s*step:\d+/\d+\s+(train|val)_l"
)
FIRST = re.compile(rf"(?m)^\s*step:\d+/\d+\s+(?:train|val)_loss:\s*{NUMBER}(?=\s)")


def matches(source: Source) -> bool:
    """A text with a line such as ``step:125/1530 val_loss:4.3210 train_time:...``."""
    return "step:" in source.head and source.shows(FIRST)


def read(source: Source) -> Table:
    """The points, a row a line.

    Raises `DataError`: no point in the log.
    """
    planned = 0.0

    def point(line: str) -> dict[str, float] | None:
        nonlocal planned
        match = LINE.match(line)
        if match is None:
            return None
        step, total, kind, value = match.groups()
        planned = float(total or planned)
        row = {"step": float(step), LOSSES[kind.replace(" ", "_")]: float(value)}
        rate = RATE.search(line, match.end())
        return row if rate is None else {**row, "lr": float(rate.group(1))}

    table = table_of_lines(
        source, point, like=LIKE, example="step:125/1530 val_loss:4.3210 train_time:12345ms"
    )
    losses = []
    if "loss" in table.frame.columns:
        count = int(table.frame["loss"].notna().sum())
        losses.append(Flag("", "single_batch", count, "train_loss is of one micro-batch"))
    return Table(
        table.frame, table.row_words, table.flags, loss_flags=losses, planned_steps=planned or None
    )
