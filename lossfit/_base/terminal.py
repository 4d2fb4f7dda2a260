"""Text for a terminal: names of runs, files and columns may hold codes that control one."""

from __future__ import annotations

import re

# Control characters apart from the line's end and the tab, and those that turn text round.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""The text with control characters written out.

    Examples
    --------
    >>> printable("run \x1b[31mred")
    'run \\x1b[31mred'
    """
    return CONTROL.sub(lambda match: ascii(match.group())[1:-1], text)
