"""A race in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..answers.answer_text import probability
from ..fits.flags import QUIET
from ..runs.broken import first_lines
from ..runs.labels import AXIS_UNITS, amount, names_text, ratio_text, span

if TYPE_CHECKING:
    import pandas as pd

    from .result import Race

SHOWN = 12  # overtakings
LEAST = 0.05  # their probability
MOST_NAMED = 12  # runs whose overtakings are told
SURE = 0.5  # a lead that is named


def line(race: Race) -> str:
    """Who leads at the horizon, in a line."""
    final = race.leads[-1]
    best = int(final.argmax())
    return (
        f"Race of {len(race.names):,} runs on {AXIS_UNITS[race.axis]}: {race.names[best]} leads at "
        f"{amount(race.until, race.axis)} with probability "
        f"{probability(float(final[best]), race.curves.shape[2])}"
    )


def text(race: Race) -> str:
    """A few readable lines: who leads, who overtakes whom, what is forecast."""
    draws = race.curves.shape[2]
    low = float(race.at[0])
    lines = [
        *first_lines(race.broken),
        f"Race of {len(race.names):,} runs on {AXIS_UNITS[race.axis]}, "
        f"{span(low, race.until, race.axis)}",
    ]
    final = race.leads[-1]
    order = np.argsort(-final, kind="stable")
    best = order[: max(1, min(3, int((final > LEAST).sum())))]
    parts = [
        f"{race.names[r]} leads with probability {probability(float(final[r]), draws)}"
        + (
            f" (forecast: {ratio_text(race.until / race.ends[r])} its data)"
            if _far(race, r)
            else ""
        )
        for r in best
    ]
    lines.append(f"  At {amount(race.until, race.axis)} {', '.join(parts)}")
    tie = float(race.ties(race.until).iloc[0])
    if tie >= LEAST:
        lines.append(
            f"  The two best there are less than {race.margin[-1]:.2g} apart, a tie, with "
            f"probability {probability(tie, draws)}"
        )
    lines.append(f"  Lead, in {AXIS_UNITS[race.axis]}: {_stretches(race)}")
    lines += _overtakes(race, draws)
    lines += _bias(race)
    if race.calibration is not None:
        lines.append(f"  {race.calibration}")
    lines += _flags(race)
    return "\n".join(lines)


def _far(race: Race, r: int) -> bool:
    return bool(race.until > race.ends[r] * (1 + 1e-9))


def _stretches(race: Race) -> str:
    """Who leads where, as far as one run has most of the probability."""
    leads = race.leads
    has_leader = leads.sum(axis=1) > 0
    who = np.where(leads.max(axis=1) > SURE, leads.argmax(axis=1), -1)[has_leader]
    at = race.at[has_leader]
    edges = np.flatnonzero(np.diff(who)) + 1
    first = np.concatenate([[0], edges])
    last = np.concatenate([edges, [len(who)]]) - 1
    parts = []
    for a, b in zip(first, last, strict=True):
        if who[a] < 0 and b - a < 3:
            continue
        name = "no run with more than half the probability" if who[a] < 0 else race.names[who[a]]
        end = at[min(b + 1, len(at) - 1)]
        digits = 0.0 if end == race.until else 0.1 * float(end)
        parts.append(f"{name} to {_place(float(end), digits, race.axis)}")
    if len(parts) > 8:
        parts = [*parts[:7], f"... {len(parts) - 7} more changes"]
    return "; ".join(parts)


def _overtakes(race: Race, draws: int) -> list[str]:
    if len(race.kept) < 2:
        return []
    named = _named(race)
    if len(named) < 2:
        return []
    table = race.overtakes(named, least=LEAST)
    if not len(table):
        return [f"  No overtaking with a probability of {100 * LEAST:g} % or more."]
    table = table.sort_values("median", kind="stable")
    shown = [row for _, row in table.head(SHOWN).iterrows()]
    cells = [
        ("overtaking", AXIS_UNITS[race.axis], f"{100 * race.prob:g} % interval", "P", "back"),
        *(_cells(row, race.axis, draws) for row in shown),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = [
        "    " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))
        for row in cells
    ]
    lines = [
        "  Overtakings: where, the probability that it happens, and that the other passes back",
        rows[0].rstrip(),
        *(f"{line}  {_inside(row)}" for line, row in zip(rows[1:], shown, strict=True)),
    ]
    more = len(table) - SHOWN
    if more > 0:
        lines.append(f"    ... and {more:,} more such rows in race.overtakes()")
    return lines


def _named(race: Race) -> list[str]:
    """The runs whose overtakings are told: all of a few, else those that lead most."""
    if len(race.kept) <= MOST_NAMED:
        return [race.names[r] for r in race.kept]
    most = race.leads.max(axis=0)
    top = np.argsort(-most, kind="stable")[:MOST_NAMED]
    return [race.names[r] for r in top if most[r] >= LEAST]


def _cells(row: pd.Series, axis: str, draws: int) -> tuple[str, ...]:
    """An overtaking in columns."""
    low, high = float(row["lower"]), float(row["upper"])
    where = [_place(float(row[name]), high - low, axis) for name in ("median", "lower", "upper")]
    back = float(row["prob_returns"])
    chances = [probability(p, draws) for p in (float(row["prob_ever"]), back)]
    ever, returns = (p.replace("above ", ">").replace("below ", "<") for p in chances)
    return _pair(row), where[0], f"{where[1]} to {where[2]}", ever, returns if back >= LEAST else ""


def _place(value: float, width: float, axis: str) -> str:
    """A place on the axis without its unit, to two digits of the width of its interval.

    Of a place that is less than that width, its own two digits: the axis is logarithmic.
    """
    if np.isfinite(value) and 0 < width < np.inf:
        step = 10.0 ** (np.floor(np.log10(min(width, value))) - 1)
        value = float(np.round(value / step) * step)
    return amount(value, axis).removesuffix(AXIS_UNITS[axis]).rstrip()


_TIMES = {1: "", 2: " again", 3: " a third time"}


def _pair(row: pd.Series) -> str:
    return f"{row['overtaker']} passes {row['overtaken']}{_TIMES[int(row['rank'])]}"


def _inside(row: pd.Series) -> str:
    share = row["prob_inside"] / row["prob_ever"]
    if share > 0.99:
        return "in the data"
    if share < 0.01:
        return "forecast"
    return f"in the data in {100 * share:.0f} %"


def _bias(race: Race) -> list[str]:
    """Where stopping overtaken runs would have raised the frontier, within the data."""
    if not 2 <= len(race.kept) <= 4 * MOST_NAMED:
        return []
    table = race.bias(forecast=False)
    table = table[table["prob_positive"] >= 0.5]
    if not len(table):
        return []
    worst = table.loc[table["median"].idxmax()]
    return [
        f"  Had runs been stopped when first overtaken, the frontier of the data would lie up to "
        f"{worst['median']:.3f} ({worst['lower']:.3f} to {worst['upper']:.3f}) too high, at "
        f"{amount(float(worst['at']), race.axis)}"
    ]


def _flags(race: Race) -> list[str]:
    meanings = race.meanings
    by_flag: dict[str, list[str]] = {}
    for name, flags in zip(race.names, race.run_flags, strict=True):
        for flag in flags:
            if flag not in QUIET:
                by_flag.setdefault(flag, []).append(name)
    return [
        f"  ! {flag} ({names_text(names)}): {meanings.get(flag, 'see Runs.flags')}"
        for flag, names in by_flag.items()
    ]
