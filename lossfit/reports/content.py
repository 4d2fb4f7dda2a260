"""What a page is made of, before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..answers.answer import Answer
    from .parts import Section

__all__ = ["Content"]


@dataclass(frozen=True)
class Content:
    """What a page is made of.

    Attributes
    ----------
    answer : Answer
    title : str
    reasons : dict
        What each run's target is, where the reader did not say.
    data : dict
        What the figures draw.
    sections : list of Section
        In the order of the page.
    notes : list of str
        How the page was made.
    """

    answer: Answer
    title: str
    reasons: dict[str, str]
    data: dict[str, Any]
    sections: list[Section]
    notes: list[str]
