"""What a page is made of, before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..answers.answer import Answer
    from .parts import Section


@dataclass(frozen=True)
class Content:
    """What a page is made of."""

    answer: Answer
    title: str
    reasons: dict[str, str]  # what each run's target is, where the reader did not say
    data: dict[str, Any]  # what the figures draw
    sections: list[Section]  # in the order of the page
    notes: list[str]  # how the page was made
