"""What is read on a report: text that is safe in HTML, and tables that sort and filter.

Names come from logs and are never trusted: everything goes through `safe`.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

PRINTED = 60  # rows on paper, as page.css has it
# Characters of a name that would move or hide the text around it (bidirectional overrides).
_MOVERS = {
    code: f"\\u{code:04x}"
    for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def safe(text: object) -> str:
    """Text for HTML, in content or in a quoted attribute; control characters are shown."""
    plain = str(text).translate(_MOVERS)
    shown = "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else f"\\x{ord(c):02x}"
        for c in plain
    )
    return html.escape(shown, quote=True)


def name(text: object) -> str:
    """A run's name, kept apart from the direction of the text around it."""
    return f"<bdi>{safe(text)}</bdi>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of safe text."""
    return f'<p class="{kind}">{safe(text)}</p>' if kind else f"<p>{safe(text)}</p>"


class Cell(NamedTuple):
    """A cell: HTML that is safe already, and what the column sorts by."""

    inner: str
    value: float | None = None


def number(value: float, form: str = ".4g", unit: str = "") -> Cell:
    """A number; an empty cell for NaN."""
    if not np.isfinite(value):
        return Cell("", None)
    return Cell(safe(f"{value:{form}}{unit}"), float(value))


def table(
    caption: str,
    head: Sequence[str],  # plain text
    rows: Iterable[Sequence[Cell]],  # iterable of sequences of Cell
    *,
    runs: Sequence[int] | None = None,  # the run of each row, by which the page filters and chooses
    kind: str = "",  # class of the table
) -> str:
    """A table whose columns sort by a click."""
    body = []
    numeric = [False] * len(head)
    for i, row in enumerate(rows):
        mark = "" if runs is None else f' data-run="{runs[i]}"'
        cells = []
        for k, cell in enumerate(row):
            sort = "" if cell.value is None else f' data-v="{float(cell.value)!r}" class="num"'
            numeric[k] |= cell.value is not None
            tag = "th" if k == 0 else "td"
            scope = ' scope="row"' if k == 0 else ""
            cells.append(f"<{tag}{scope}{sort}>{cell.inner}</{tag}>")
        body.append(f"<tr{mark}>{''.join(cells)}</tr>")
    top = "".join(
        f'<th scope="col"{" class=num" * is_number}>'
        f'<button type="button" class="sort">{safe(h)}</button></th>'
        for h, is_number in zip(head, numeric, strict=True)
    )
    lines = "\n".join(body)
    if len(body) > PRINTED:
        kind = f"{kind} long"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(caption)}">'
        f'<table class="{safe(kind)}"><caption>{safe(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead>"
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def flag_list(runs_of_flag: dict[str, list[str]], meanings: dict[str, str], of: int) -> str:
    """Flags with what they mean and who has them; "" for none."""
    from ..runs.labels import names_text

    if not runs_of_flag:
        return ""
    items: list[Any] = []
    for flag, who in runs_of_flag.items():
        shown = names_text([safe(run) for run in who], 4)
        share = "" if of == 1 else f' <span class="who">{len(who):,} of {of:,} runs: {shown}</span>'
        items.append(
            f"<li><strong>{safe(flag)}</strong>: {safe(meanings.get(flag, ''))}{share}</li>"
        )
    return f'<ul class="flags">{"".join(items)}</ul>'
