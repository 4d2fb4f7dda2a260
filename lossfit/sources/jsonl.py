"""JSON lines: one object a line with ``loss``, an axis, and whatever else.

A JSON array of such objects is read too.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import DataError
from ._source import Source, Table

__all__ = ["matches", "read"]


def matches(source: Source) -> bool:
    """A text that starts with an object or an array."""
    return source.is_text and source.data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def read(source: Source) -> Table:
    """The objects as a frame; rows are called by their line.

    Raises
    ------
    DataError
        A line that is not a JSON object; the message names it.
    """
    import pandas as pd

    text = source.text().lstrip()
    if text.startswith("["):
        objects = _parse(text, source.name)
        for i, item in enumerate(objects):
            if not isinstance(item, dict):
                raise DataError(f"{source.name}, entry {i + 1}: not an object with step and loss")
        return Table(pd.DataFrame(objects), lambda i: f"entry {i + 1} of {source.name}")
    objects, lines = [], []
    for number, line in enumerate(source.text().splitlines(), start=1):
        if not line.strip():
            continue
        item = _parse(line, f"{source.name}, line {number}")
        if not isinstance(item, dict):
            raise DataError(f"{source.name}, line {number}: not an object with step and loss")
        objects.append(item)
        lines.append(number)
    return Table(pd.DataFrame(objects), lambda i: f"line {lines[i]} of {source.name}")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error})") from None
