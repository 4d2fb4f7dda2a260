"""A result in a notebook: a line, a small table and a picture; nothing is computed for it."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.frames import ANSWER
from .._base.numbers import decimals_of
from .._base.terminal import printable
from .sketches import sketch

if TYPE_CHECKING:
    import pandas as pd

    from .._base.results import Result

ROWS = 6
SIZE = (4.6, 2.4)  # inches
DPI = 110


def as_html(result: Result) -> str:
    """The result for a notebook, names escaped.

    Returns
    -------
    str
        What nothing can be shown of, such as an update without an answer, is a line of text.
    """
    words = html.escape(repr(result))
    try:
        rows = result._head(ROWS + 1)
    except ValueError:  # there is no answer, and the line says why
        return f"<p>{words}</p>"
    more = "<p>... and more rows in <code>.frame</code></p>" if len(rows) > ROWS else ""
    return f"<p>{words}</p>{_table(rows.head(ROWS), result._keys)}{more}{_picture(result, words)}"


def _table(rows: pd.DataFrame, keys: tuple[str, ...]) -> str:
    """What names a row, its numbers, and its notes."""
    shown = [name for name in (*keys, *ANSWER, "prob", "notes") if name in rows.columns]
    table = rows[shown].copy()
    places = [
        decimals_of(float(u - low)) for low, u in zip(rows["lower"], rows["upper"], strict=True)
    ]
    for name in table.columns:
        values = table[name]
        if name in ANSWER:
            table[name] = [_number(v, k) for v, k in zip(values, places, strict=True)]
        elif values.dtype.kind == "f":
            table[name] = [f"{v:.4g}" for v in values]
        else:
            words = [", ".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values]
            table[name] = [printable(word) for word in words]
    return str(table.to_html(index=False, escape=True, border=0))


def _number(value: float, places: int) -> str:
    if not np.isfinite(value):
        return f"{value:g}"
    return f"{value:.3g}" if abs(value) >= 1e5 else f"{value:,.{places}f}"


def _picture(result: Result, words: str) -> str:
    """A picture in the page itself; none where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    figure: Any = Figure(figsize=SIZE, layout="constrained")
    if not sketch(result, figure.add_subplot()):
        return ""
    return image(figure, words)


def image(figure: Any, words: str) -> str:
    """A figure as an element of HTML that needs no file; its words are HTML already."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=DPI)
    data = base64.b64encode(target.getvalue()).decode()
    return f'<img alt="{words}" src="data:image/png;base64,{data}">'
