"""What the record of forecasts has to say of an answer's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..forecasts.record import FEW, Situation, default_sentence
from ..runs.broken import without_forecast

if TYPE_CHECKING:
    from .answer import Answer


def record_lines(answer: Answer) -> list[str]:
    """A line for each kind of situation of the rows; see `Answer.records`."""
    told = [not without_forecast(answer.broken, name) for name in answer.names]
    answered = answer._there & np.array(told)[:, None]
    ratio = np.where(answered, answer.at / answer.ends[:, None], 0.0)
    if answer._is_other is not None or not answer.question.by_default:
        return [line] if (line := answer.record(float(ratio.max()))) else []
    situations = answer._situations
    several, total = len(answer.rows) > 1, int((ratio > 1).sum())
    lines = []
    for situation in dict.fromkeys(situations[ratio > 1]):
        here = (ratio > 1) & np.array([[one == situation for one in row] for row in situations])
        line = default_sentence(situation, float(ratio[here].max()), several)
        if here.sum() < total:
            line = line.replace("Record:", f"Record of {here.sum():,} of {total:,} rows:", 1)
        lines.append(line)
    return lines


def situations_of(answer: Answer) -> Any:
    """What the default law knew in each row, shape (R, T), and which domain it assumed."""
    rows, made = answer.mixed.row_flags, answer.mixed.forecasts[0]
    moves = answer.question.moves or {}
    unknown, longer = rows["schedule_unknown"], rows["longer_plan"]
    knowledge = np.select(
        [
            rows["no_plan"],
            unknown & longer,
            longer,
            rows["schedule_stretched"],
            unknown,
            np.array([name in moves for name in answer.names])[:, None],
        ],
        ["nothing", "longer_total", "longer", "stretched", "total", "siblings"],
        "known",
    )
    few = (made.like == 0) & (made.points <= FEW)
    named = rows.get("domain_by_name", np.zeros_like(longer))  # of older files there is none
    shown = np.select([named[:, 0], few, made.like > 0.5], ["named", "few", "text"], "other")
    stated = {"text": "stated", "other": "other"}.get(answer.question.domain)
    out = np.empty(answer.at.shape, object)
    for r, of_run in enumerate(knowledge.tolist()):
        out[r] = [Situation(word, stated or str(shown[r])) for word in of_run]
    return out
