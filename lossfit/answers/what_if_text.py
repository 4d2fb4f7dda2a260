"""A what-if in words."""

from __future__ import annotations

from .._base.numbers import decimals_of, estimate
from ..runs.broken import first_lines, without_forecast
from ..runs.labels import amount
from .what_if_rows import OWN
from .what_ifs import QUIET, WhatIf

ROWS_SHOWN = 24


def text(answer: WhatIf) -> str:
    """A few readable lines."""
    table, draws = answer.frame, answer.curves.shape[1]
    percent = f"{100 * answer.prob:g} %"
    lines = first_lines(answer.broken)
    shown = table.head(ROWS_SHOWN)
    width = max(len(str(name)) for name in shown["schedule"])
    for name in dict.fromkeys(shown["run"]):
        lines.append(f"{name} under other learning-rate schedules")
        if without_forecast(answer.broken, name):
            lines.append("  no forecast (answer.frame takes the run to go on as it did)")
            continue
        for _, r in shown[shown["run"] == name].iterrows():
            line = f"  {r['schedule']:<{width}}  at {amount(r['at'], answer.axis)}: "
            line += estimate(r, draws)
            if r["schedule"] != OWN:
                low, high = r["difference_lower"], r["difference_upper"]
                places = decimals_of(high - low, draws)
                line += f"; vs own schedule: {r['difference']:+.{places}f} "
                line += f"({low:+.{places}f} to {high:+.{places}f}), "
                line += f"P(better) {probability(r['prob_better'], answer.curves.shape[1])}"
            lines.append(line)
    if len(table) > len(shown):
        lines.append(f"  ... and {len(table) - len(shown):,} rows more in .frame")
    if all(without_forecast(answer.broken, name) for name in answer.names):
        return "\n".join(lines)
    how = "runs of the model fitted together" if answer.shared else "each run fitted by itself"
    lines.append(f"  Medians and {percent} intervals of the loss without noise; {how}.")
    if answer.calibration is not None:
        lines.append(f"  {answer.calibration}")
    # Of a run that broke, the response is what the law makes of the break.
    if (len(answer.names) == 1 or answer.shared) and not answer.broken:
        mean, sd = answer.strength[answer.names[0]]
        lines.append(f"  Taking the learning rate from its peak to 0 wins {mean:.2f} +- {sd:.2f}.")
    count: dict[str, int] = {}
    for name, flags in zip(table["run"], table["notes"], strict=True):
        if without_forecast(answer.broken, name):
            continue
        for flag in flags:
            if flag not in QUIET:
                count[flag] = count.get(flag, 0) + 1
    for flag, n in count.items():
        share = "" if n == len(table) else f" ({n:,} of {len(table):,} rows)"
        lines.append(f"  ! {flag}{share}: {answer.meanings.get(flag, '')}")
    return "\n".join(lines)


def line(answer: WhatIf) -> str:
    """The numbers of a what-if in a line."""
    rows = answer.frame
    others = rows[rows["schedule"] != OWN]
    row = others.iloc[0]
    low, high = row["difference_lower"], row["difference_upper"]
    places = decimals_of(high - low, answer.curves.shape[1])
    words = (
        f"WhatIf for {row['run']} under {row['schedule']}: "
        f"{estimate(row, answer.curves.shape[1])}, vs own schedule "
        f"{row['difference']:+.{places}f} ({low:+.{places}f} to {high:+.{places}f})"
    )
    more = len(others) - 1
    return f"{words}; {more:,} more row{'s' * (more > 1)}" if more else words


def probability(value: float, draws: int) -> str:
    """A probability from so many draws: never 0 or 1."""
    from .answer_text import probability as words

    return words(value, draws)
