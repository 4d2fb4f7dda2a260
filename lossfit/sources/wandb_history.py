"""A run's history from Weights & Biases: ``run.history()`` or ``scan_history()``.

CSV, JSON lines or Parquet with the column ``_step``, and mostly ``_runtime`` and ``_timestamp``.
``history()`` draws a sample of 500 rows from a longer log, another one at each call.  GPU-hours do
not follow from ``_runtime``: nothing says how many GPUs there were, and it counts evaluations.
"""

from __future__ import annotations

import re

from ..runs.cleaning import Flag
from . import delimited, jsonl, parquet
from ._source import Example, Source, Table

EXAMPLE = Example(
    """_step,_runtime,_timestamp,train/loss
0,1.5,1700000001.5,6.1862
10,3.0,1700000003.0,5.4321
20,4.5,1700000004.5,5.1234
30,6.0,1700000006.0,4.9876
""",
    {0: 6.1862, 10: 5.4321, 20: 5.1234, 30: 4.9876},
)

SAMPLE = 500
KEY = re.compile(r'"_step"\s*:')
FOOTER = 1 << 16


def matches(source: Source) -> bool:
    """A table with a column ``_step``."""
    if parquet.matches(source):
        return b"_step" in source.data[-FOOTER:] and b"\x05_step" in source.data[-FOOTER:]
    if not source.is_text:
        return False
    if jsonl.matches(source):
        return KEY.search(source.head[:FOOTER]) is not None
    return "_step" in delimited.header(source)


def read(source: Source) -> Table:
    """The history as a frame.

    Raises `DataError`: as the readers of CSV, JSON lines and Parquet.
    """
    if parquet.matches(source):
        table = parquet.read(source)
    elif jsonl.matches(source):
        table = jsonl.read(source)
    else:
        table = delimited.read(source)
    frame = table.frame
    unnamed = [c for c in frame.columns if str(c).startswith(("Unnamed", "column ", "__index"))]
    frame = frame.drop(columns=unnamed)
    column = next((c for c in ("run", "run_id", "run_name") if c in frame.columns), None)
    sizes = frame[column].value_counts() if column is not None else {"": len(frame)}
    words = f"exactly {SAMPLE} rows, the sample that history() draws: export scan_history()"
    flags = [
        Flag(str(run), "sampled_history", SAMPLE, words)
        for run, size in sizes.items()
        if size == SAMPLE
    ]
    return Table(frame, table.row_words, [*table.flags, *flags])
