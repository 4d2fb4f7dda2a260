"""Pieces that the sections of a report share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .tables import Cell, name, safe

__all__ = ["Section", "figure", "run_cell"]


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes
    ----------
    key, title : str
    html : str
        Safe HTML.
    data : dict
        For the figures.
    why : str
        Why it is empty, else "".
    made : object
        The result that it shows, if it has one of its own.
    """

    key: str
    title: str
    html: str
    data: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    made: Any = None


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
