"""The CSV that TensorBoard's page gives: ``Wall time,Step,Value``, one tag a file.

The tag stands in the file's name only (``run-NAME-tag-TAG.csv``).  The page shows a random sample
of at most 1,000 points.
"""

from __future__ import annotations

import re

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ..runs.names import HELD_OUT
from . import delimited
from ._source import Example, Source, Table

EXAMPLE = Example(
    """Wall time,Step,Value
1700000001.5,100,6.1862
1700000003.0,200,5.4321
1700000004.5,300,5.1234
1700000006.0,400,4.9876
""",
    {100: 6.1862, 200: 5.4321, 300: 5.1234, 400: 4.9876},
)

SAMPLE = 1000
COLUMNS = ["Wall time", "Step", "Value"]
NAME = re.compile(r"^run-(?P<run>.*)-tag-(?P<tag>.+)$")


def matches(source: Source) -> bool:
    """A table with just the columns Wall time, Step and Value."""
    return delimited.header(source) == COLUMNS


def read(source: Source) -> Table:
    """The points; the value is a loss unless the file's name names another tag.

    Raises `DataError`: the file's name says that the value is no loss.
    """
    table = delimited.read(source)
    if not {"Step", "Value"} <= set(table.frame.columns):
        raise DataError(f"{source.name} has no columns Step and Value, as TensorBoard writes them")
    named = NAME.match(source.stem)
    tag = named["tag"].lower() if named else ""
    if tag and "loss" not in tag and "perplexity" not in tag and "entropy" not in tag:
        raise DataError(
            f"{source.name}: its tag is {named['tag'] if named else ''!r}, which is no loss: "
            "download the tag of the loss, or read this one with columns={'loss': 'Value'}"
        )
    column = "val_loss" if HELD_OUT.search(tag.replace("_", " ")) else "loss"
    frame = table.frame.rename(columns={"Value": column, "Step": "step"})
    flags = []
    if len(frame) == SAMPLE:
        words = f"exactly {SAMPLE:,} rows, which TensorBoard's page samples longer runs to"
        flags.append(Flag("", "sampled_history", SAMPLE, words))
    return Table(
        frame.drop(columns="Wall time", errors="ignore"), table.row_words, [*table.flags, *flags]
    )
