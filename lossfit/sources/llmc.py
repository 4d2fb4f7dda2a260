"""``main.log`` of llm.c, and of the Python scripts of its family.

::

    s:100 trl:6.1234 lr:0.000300 norm:1.23      training
    s:100 tel:6.2345                            validation
    s:100 eval:0.2543                           HellaSwag (an accuracy: not read)

The Python scripts write neither rate nor norm, and losses with six decimals.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..runs.cleaning import Flag
from ._lines import NUMBER, table_of_lines
from ._source import Example, Source, Table

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = Example(
    """s:0 tel:11.0102
s:0 trl:11.0091 lr:0.000001 norm:15.1234
s:1 trl:10.5432 lr:0.000002 norm:14.2000
s:2 trl:10.1234 lr:0.000003 norm:12.1000
s:3 trl:9.8765 lr:0.000004 norm:10.9000
s:4 trl:9.7001 lr:0.000005 norm:9.8000
""",
    {0: 11.0091, 1: 10.5432, 2: 10.1234, 3: 9.8765, 4: 9.7001},
)

LINE = re.compile(
    rf"^\s*s:(\d+)\s+(trl|tel):({NUMBER})(?:\s+lr:({NUMBER}))?(?:\s+norm:({NUMBER}))?\s*$"
)
LIKE = re.compile(r"^\s*s:\d+\s+(trl|tel)|^s:\d*\s*[a-z]{0,3}$")
FIRST = re.compile(rf"(?m)^[ \t]*s:\d+\s+(trl|tel|eval):{NUMBER}")
COLUMNS = {"trl": "loss", "tel": "val_loss"}


def matches(source: Source) -> bool:
    """A text with a line such as ``s:0 trl:11.0091``."""
    return source.shows(FIRST)


def read(source: Source) -> Table:
    """The points, a row a line.

    Rates are printed with six decimals, so those printed as 0 are unknown, not zero.

    Raises `DataError`: no point in the log.
    """
    table = table_of_lines(source, _point, like=LIKE, example="s:0 trl:11.0091 lr:0.000001")
    return Table(table.frame, table.row_words, [*table.flags, *_rates(table.frame)])


def _point(line: str) -> dict[str, float] | None:
    match = LINE.match(line)
    if match is None:
        return None
    step, kind, value, rate, norm = match.groups()
    row = {"step": float(step), COLUMNS[kind]: float(value)}
    if rate is not None:
        row["lr"] = float(rate)
    if norm is not None:
        row["norm"] = float(norm)
    return row


def _rates(frame: pd.DataFrame) -> list[Flag]:
    """Blanks rates printed as 0, in place."""
    if "lr" not in frame.columns:
        return []
    zero = frame["lr"] == 0
    if not zero.any():
        return []
    frame.loc[zero, "lr"] = float("nan")
    words = "learning rates below 5e-7 are printed as 0.000000: taken as unknown"
    return [Flag("", "unknown_lr", int(zero.sum()), words)]
