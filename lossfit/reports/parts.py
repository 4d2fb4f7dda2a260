"""Pieces that the sections of a report share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .tables import Cell, name, safe


@dataclass(frozen=True)
class Section:
    """One section."""

    key: str
    title: str
    html: str  # safe HTML
    data: dict[str, Any] = field(default_factory=dict)  # for the figures
    why: str = ""  # why it is empty, else ""
    made: Any = None  # the result that it shows, if it has one of its own


def figure(key: str, label: str, caption: str, kind: str = "") -> str:
    """Room for a figure, with its words for readers who do not see it."""
    return (
        f'<figure class="{safe(kind)}"><div id="{key}" class="plot" role="group" '
        f'aria-label="{safe(label)}"></div>'
        f'<figcaption id="{key}-caption">{safe(caption)}</figcaption></figure>'
    )


def run_cell(run: str) -> Cell:
    """A run's name, by which the page chooses it."""
    return Cell(f'<button type="button" class="run">{name(run)}</button>')
