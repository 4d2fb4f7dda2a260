"""A what-if in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runs.labels import amount

if TYPE_CHECKING:
    from .what_ifs import WhatIf

__all__ = ["text"]

ROWS_SHOWN = 24


def text(answer: WhatIf) -> str:
    """A few readable lines."""
    from .what_ifs import MEANINGS, OWN, QUIET

    table = answer.frame
    percent = f"{100 * answer.prob:g} %"
    lines = []
    shown = table.head(ROWS_SHOWN)
    width = max(len(str(name)) for name in shown["schedule"])
    for name in dict.fromkeys(shown["run"]):
        lines.append(f"{name} under other learning-rate schedules")
        for _, r in shown[shown["run"] == name].iterrows():
            line = f"  {r['schedule']:<{width}}  at {amount(r['at'], answer.axis)}: "
            line += f"{r['median']:.3f} ({r['lower']:.3f} to {r['upper']:.3f})"
            if r["schedule"] != OWN:
                line += f"; vs own schedule: {r['difference']:+.3f} "
                line += f"({r['difference_lower']:+.3f} to {r['difference_upper']:+.3f}), "
                line += f"P(better) {probability(r['prob_better'], answer.curves.shape[1])}"
            lines.append(line)
    if len(table) > len(shown):
        lines.append(f"  ... and {len(table) - len(shown):,} rows more in .frame")
    how = "runs of the model fitted together" if answer.shared else "each run fitted by itself"
    lines.append(f"  Medians and {percent} intervals of the loss without noise; {how}.")
    if answer.calibration is not None:
        lines.append(f"  {answer.calibration}")
    if len(answer.names) == 1 or answer.shared:
        mean, sd = answer.strength[answer.names[0]]
        lines.append(f"  Taking the learning rate from its peak to 0 wins {mean:.2f} +- {sd:.2f}.")
    count: dict[str, int] = {}
    for flags in table["flags"]:
        for flag in flags:
            if flag not in QUIET:
                count[flag] = count.get(flag, 0) + 1
    for flag, n in count.items():
        share = "" if n == len(table) else f" ({n:,} of {len(table):,} rows)"
        lines.append(f"  ! {flag}{share}: {MEANINGS.get(flag, '')}")
    return "\n".join(lines)


def probability(value: float, draws: int) -> str:
    """A probability from so many draws: never 0 or 1."""
    from .answer_text import probability as words

    return words(value, draws)
