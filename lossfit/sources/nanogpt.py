"""What nanoGPT prints.

::

    tokens per iteration will be: 491,520
    step 0: train loss 10.9876, val loss 10.9890
    iter 0: loss 10.9881, time 12345.67ms, mfu -100.00%

The loss of an ``iter`` line is of its last micro-batch.  The train loss of a ``step`` line is a
mean over batches drawn for it (``estimate_loss``): it is kept apart, in the column "estimated train
loss".
"""

from __future__ import annotations

import re

from ..runs.cleaning import Flag
from ._lines import NUMBER, table_of_lines
from ._source import Example, Source, Table

EXAMPLE = Example(
    """tokens per iteration will be: 491,520
step 0: train loss 10.9876, val loss 10.9890
iter 0: loss 10.9881, time 12345.67ms, mfu -100.00%
iter 10: loss 9.8765, time 250.00ms, mfu 41.20%
iter 20: loss 8.7654, time 250.00ms, mfu 41.20%
iter 30: loss 7.6543, time 250.00ms, mfu 41.20%
""",
    {0: 10.9881, 10: 9.8765, 20: 8.7654, 30: 7.6543},
)

ESTIMATE = "estimated train loss"
ITER = re.compile(rf"^\s*iter\s+(\d+):\s+loss\s+({NUMBER})(?=\s*(?:,|$))")
RATE = re.compile(rf",\s+lr\s+({NUMBER})(?=\s*(?:,|$))")  # of some forks
STEP = re.compile(
    rf"^\s*step\s+(\d+):(?:\s+train loss\s+({NUMBER}),)?\s+val loss\s+({NUMBER})(?=\s*(?:,|$))"
)
LIKE = re.compile(r"^\s*(iter|step)\s+\d+:\s+(loss|train loss|val loss)")
FIRST = re.compile(
    rf"(?m)^\s*(?:iter\s+\d+:\s+loss\s+{NUMBER}(?=\s*(?:,|$))|step\s+\d+:\s+train loss\s+{NUMBER},)"
)
ITERATED = re.compile(rf"(?m)^\s*iter\s+\d+:\s+loss\s+{NUMBER}(?=\s*(?:,|$))")
OTHERWISE = re.compile(r"(?m)^\s*(?!step\s+\d+:)\S*\d[^\n]{0,60}?(?<!val )\bloss\b[:=\s]+\d")
TOKENS = re.compile(r"(?m)^\s*tokens per iteration will be:\s*([\d,]+)\s*$")


def matches(source: Source) -> bool:
    """A text with a line such as ``iter 0: loss 10.9881, time 12345.67ms, mfu -100.00%``."""
    if " loss " not in source.head or not source.shows(FIRST):
        return False
    # Of llama2.c and others the evaluations look the same, and the training losses do not.
    return bool(source.shows(ITERATED)) or not source.shows(OTHERWISE)


def read(source: Source) -> Table:
    """The points, a row a line, and the tokens per step if they were printed.

    Raises `DataError`: no point in the log.
    """
    table = table_of_lines(
        source, _point, like=LIKE, example="iter 0: loss 10.9881, time 12345.67ms, mfu -100.00%"
    )
    frame = table.frame
    losses = []
    if "loss" in frame.columns:
        count = int(frame["loss"].notna().sum())
        words = "the loss of an iter line is that of its last micro-batch"
        losses.append(Flag("", "single_batch", count, words))
    elif ESTIMATE in frame.columns:  # nothing but evaluations
        frame = frame.rename(columns={ESTIMATE: "train_loss"})
    tokens = TOKENS.search(source.head)
    size = float(tokens.group(1).replace(",", "")) if tokens else 0.0
    return Table(
        frame, table.row_words, table.flags, loss_flags=losses, tokens_per_step=size or None
    )


def _point(line: str) -> dict[str, float] | None:
    match = ITER.match(line)
    if match is not None:
        row = {"step": float(match.group(1)), "loss": float(match.group(2))}
        rate = RATE.search(line, match.end())
        return row if rate is None else {**row, "lr": float(rate.group(1))}
    match = STEP.match(line)
    if match is not None:
        step, train, held_out = match.groups()
        row = {"step": float(step), "val_loss": float(held_out)}
        return row if train is None else {**row, ESTIMATE: float(train)}
    return None
