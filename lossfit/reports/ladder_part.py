"""The sections of a report on when a loss is reached, and on a ladder of smaller runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from ..answers.answer_text import probability
from ..runs.broken import without_forecast
from ..runs.labels import AXIS_UNITS, amount
from .parts import Section, run_cell
from .sections import MOST_ROWS
from .tables import Cell, flag_list, name, number, paragraph, safe, table

if TYPE_CHECKING:
    from .._base.ragged import Floats
    from ..answers.answer import Answer

MOST_TRACKED = 20  # runs


def arrivals_section(answer: Answer, target: Floats, place: dict[str, int]) -> Section:
    """When the asked runs reach some losses."""
    frame = answer.time_to(target)
    rows, which, draws = [], [], answer._row_draws().shape[-1]
    for _, row in frame.head(MOST_ROWS).iterrows():
        if without_forecast(answer.broken, row["run"]):
            continue  # the answer says why
        ends = (_where(float(row[key]), row["axis"]) for key in ("median", "lower", "upper"))
        rows.append(
            [
                run_cell(row["run"]),
                number(row["loss"], "g"),
                *ends,
                Cell(safe(probability(row["prob_reached"], draws)), float(row["prob_reached"])),
                _where(float(row["horizon"]), row["axis"]),
            ]
        )
        which.append(place.get(row["run"], -1))
    head = ["run", "loss", f"reached at ({AXIS_UNITS[answer.axis]})",
            f"{100 * answer.prob:g} % from", "to", "P(reached)", "looked at up to"]  # fmt: skip
    caption = "When the curve first comes to a loss; beyond: not within what was looked at"
    if len(frame) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS:,} of {len(frame):,} rows)"
    return Section(
        "arrivals", "When a loss is reached", table(caption, head, rows, runs=which), made=frame
    )


def _where(at: float, axis: str) -> Cell:
    if not np.isfinite(at):
        return Cell("beyond", np.inf)
    return Cell(safe(amount(at, axis)), at)


def ladder_section(ladder: Any, answer: Answer) -> Section:
    """The ladder in words, and where the runs lie in what it alone says of them."""
    text = [
        f"<pre>{safe(ladder)}</pre>",
        flag_list({flag: [] for flag in ladder.notes}, dict(ladder.notes), 1),
    ]
    tracked: dict[str, Any] = {}
    for run in answer.names[:MOST_TRACKED]:
        try:
            frame = ladder.track(answer.runs[run])
        except DataError as error:
            text.append(paragraph(str(error)))
            continue
        tracked[run] = frame
        head = [ladder.axis, "loss", "median", f"{100 * ladder.prob:g} % from", "to", "quantile"]
        rows = [
            [
                _where(float(row[ladder.axis]), ladder.axis),
                *(number(row[key], ".3f") for key in ("loss", "median", "lower", "upper")),
                number(row["quantile"], ".2f"),
            ]
            for _, row in frame.iterrows()
        ]
        outside = int(frame["outside"].sum())
        text.append(
            f"<p>{name(run)} lies outside of the ladder's interval at {outside} of {len(frame)} "
            f"places.</p>"
        )
        text.append(table(f"{run} in what the ladder alone says of it", head, rows))
    return Section("ladder", "Ladder", "\n".join(text), made=tracked)
