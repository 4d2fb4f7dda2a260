"""The laws' record: how often their intervals held on real runs.

Measured by ``python -m benches.calibration`` on public training runs, each cut at 30, 50 and 70 %
and its known future forecast; means within a source, then over sources (docs/calibration.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .constants import learned_record

RUNS = 155
SOURCES = 7
#: Horizon ratios of the backtests.
HORIZONS = (1.25, 2.0)
#: The farthest at which laws by name were checked: a run cut at 30 %, forecast to its end.
FARTHEST = 3.34


class Record(NamedTuple):
    """Share of outcomes within 90 % intervals, and CRPS in nats: at 1.25x, 2x and the end."""

    coverage: tuple[float, ...]
    crps: tuple[float, ...]


#: By law; the default's by what was known of the schedule.
RECORDS: dict[str, Record] = {
    "annealing": Record((0.94, 0.95, 0.94), (0.0073, 0.0149, 0.0163)),
    "annealing, siblings": Record((0.93, 0.92, 0.93), (0.0072, 0.0143, 0.0147)),
    "annealing, menu": Record((0.87, 0.93, 0.89), (0.0107, 0.0206, 0.0278)),
    "annealing, no plan": Record((0.91, 0.92, 0.86), (0.0111, 0.0222, 0.0277)),
    "multi_power": Record((0.83, 0.77, 0.72), (0.0086, 0.0211, 0.0234)),
    "power": Record((0.42, 0.42, 0.32), (0.0158, 0.0338, 0.0454)),
    "power_linear": Record((0.58, 0.57, 0.51), (0.0152, 0.0406, 0.049)),
    "power_offset": Record((0.54, 0.47, 0.41), (0.0138, 0.03, 0.0388)),
    "power_linear_offset": Record((0.61, 0.6, 0.53), (0.0155, 0.0407, 0.0484)),
    "broken_power": Record((0.67, 0.66, 0.53), (0.0122, 0.0271, 0.0366)),
}


def record_of(law: str, ratio: float) -> float:
    """Share of outcomes that 90 % intervals of a law held at the tested horizon nearest to `ratio`.

    NaN within the data, beyond the farthest tested horizon, and for laws without a record.
    """
    if law not in RECORDS or not 1 < ratio <= FARTHEST:
        return math.nan
    nearest = min(range(len(HORIZONS)), key=lambda i: abs(math.log(ratio / HORIZONS[i])))
    return RECORDS[law].coverage[nearest]


def by_name_sentence(law: str, ratio: float, stretched: bool) -> str:
    """The record of a law by name in one line, "" within the data and for laws without one."""
    if law not in RECORDS or not ratio > 1:
        return ""
    if ratio > FARTHEST or stretched:
        where = "for a plan stretched beyond its end" if stretched else "at this horizon"
        return (
            f"Record: never checked {where}. Backtests on {RUNS} public runs of text from "
            f"{SOURCES} sources were within the runs' plans, and reach {FARTHEST:.1f}x."
        )
    share = record_of(law, ratio)
    return (
        f"Record: in backtests on {RUNS} public runs of text from {SOURCES} sources, 90 % "
        f"intervals at this horizon held the truth in {100 * share:.0f} %."
    )


OTHER = {
    "mixture": "never checked for a mixture of these laws",
    "ladder": "forecasts with a ladder were checked on the public families of models on which "
    "most of its constants were chosen (docs/howto/a_ladder.md)",
    "share": "runs fitted together were checked on two projects, under schedules that the fit had "
    "not seen: 90 % intervals held 89 to 96 % (docs/how_we_checked_it.md)",
}


def other_sentence(kind: str, ratio: float) -> str:
    """The record of what is no one law's answer to runs by themselves; "" within the data."""
    return f"Record: {OTHER[kind]}." if ratio > 1 else ""


class Situation(NamedTuple):
    """What an answer of the default law knew, for its record."""

    # {"known", "total", "nothing", "stretched", "longer", "longer_total", "siblings"}: the
    # schedule; the planned end only; neither; one of these, but a target beyond the end of the
    # plan; a finished run's longer plan, its schedule or its end known; finished runs of the
    # project
    knowledge: str
    # {"text", "other", "stated", "few", "named"}: what the curves look like; ``stated`` where they
    # were said to be text, ``few`` where they have too few points to look like it, ``named`` where
    # their names say that they are no text; the last two count as others
    domain: str


KNEW = {
    "known": "with the schedule known",
    "total": "with the planned end known",
    "nothing": "with no plan known",
    "stretched": "for a plan stretched beyond its end",
    "longer": "for finished runs under a longer plan",
    "longer_total": "for finished runs under a longer plan, with the planned end known",
    "siblings": "with finished runs of the project",
}
OF = {
    "text": "runs that look like language models",
    "other": "runs that do not look like language models",
    "stated": "language models on text, as stated",
    "few": "runs that do not look like language models: 30 points or fewer do not tell",
    "named": "runs of other domains than text, as their names say",
}
FEW = 30  # points, with which no curve counts as one of a language model (`kernels.curve_window`)
BEYOND = 1.3  # times the farthest horizon that was checked


def _row(situation: Situation, ratio: float) -> tuple[float, float, float, int] | None:
    """Horizon, share held, its standard error and sources, of the nearest tested horizon."""
    tables = learned_record().get(situation.knowledge, {})
    # Said to be text is checked for schedules; else what looks like text is nearest to it.
    nearest = {"stated": "text", "few": "other", "named": "other"}.get(situation.domain, "")
    table = tables.get(situation.domain) or tables.get(nearest, [])
    if not table or not 1 < ratio <= BEYOND * max(row[0] for row in table):
        return None
    horizon, share, error, sources = min(table, key=lambda row: abs(math.log(ratio / row[0])))
    return float(horizon), float(share), float(error), int(sources)


def farthest(
    by_default: bool,  # of the default law, else of the laws by name
    longer: bool = False,  # of finished runs under a longer plan
) -> float:
    """The farthest horizon at which forecasts were checked against real runs, times the data."""
    if not by_default:
        return FARTHEST
    tables = learned_record()["longer" if longer else "known"]
    return float(max(row[0] for table in tables.values() for row in table))


def default_record(situation: Situation, ratio: float) -> float:
    """Share of left-out outcomes that 90 % intervals of the default law held; NaN if unchecked."""
    row = _row(situation, ratio)
    return math.nan if row is None else row[1]


def default_sentence(
    situation: Situation,
    ratio: float,
    several: bool = False,  # whether it is one of several horizons, which is then named
) -> str:
    """The default law's record for a situation in one line; "" within the data."""
    if not ratio > 1 or not learned_record():
        return ""
    row = _row(situation, ratio)
    what = f"{OF[situation.domain]}, {KNEW[situation.knowledge]}"
    if row is None:
        where = f"{ratio:.3g}x the data" if several else "this horizon"
        return f"Record: never checked at {where} ({what})."
    horizon, share, error, sources = row
    where = f"{horizon:g}x the data" if several else "this horizon"
    return (
        f"Record: on {sources} sources that the law had not seen ({what}), 90 % intervals at "
        f"{where} held the outcome in {100 * share:.0f} % (+- {100 * error:.0f})."
    )
