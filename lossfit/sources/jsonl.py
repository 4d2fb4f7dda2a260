"""JSON lines: one object a line with ``loss``, an axis, and whatever else.

A JSON array of such objects is read too.
"""

from __future__ import annotations

import json
from typing import Any

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ._lines import numbered
from ._records import frame_of
from ._source import Source, Table

__all__ = ["matches", "read"]


def matches(source: Source) -> bool:
    """A text that starts with an object or an array."""
    return source.is_text and source.head[:4096].lstrip("\ufeff \t\r\n")[:1] in ("{", "[")


def read(source: Source) -> Table:
    """The objects as a frame; rows are called by their line.

    A last line without its end that is not valid JSON was cut while writing: left out with a flag.

    Raises
    ------
    DataError
        A line that is not a JSON object; the message names it.
    """
    text = source.text()
    if text.lstrip().startswith("["):
        objects = _parse(text, source.name)
        for i, item in enumerate(objects):
            if not isinstance(item, dict):
                raise DataError(f"{source.name}, entry {i + 1}: not an object with step and loss")
        frame, flags = frame_of(objects)
        return Table(frame, lambda i: f"entry {i + 1} of {source.name}", flags)
    objects, lines = [], []
    flags = []
    unfinished = text.count("\n") + 1 if not text.endswith(("\n", "\r")) else 0
    for number, line in numbered(text):
        if not line.strip():
            continue
        where = f"{source.name}, line {number}"
        try:
            item = _parse(line, where)
        except DataError:
            if number != unfinished or not objects:
                raise
            words = f"line {number}, the last, was cut while writing"
            flags.append(Flag("", "cut_line", 1, words))
            break
        if not isinstance(item, dict):
            raise DataError(f"{where}: not an object with step and loss")
        objects.append(item)
        lines.append(number)
    frame, ignored = frame_of(objects)
    return Table(frame, lambda i: f"line {lines[i]} of {source.name}", [*flags, *ignored])


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{where}: not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({error})") from None
