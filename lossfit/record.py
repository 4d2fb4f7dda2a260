"""The laws' record: how often their intervals held on real runs.

Measured by ``python -m benches.calibration`` on public training runs, each cut at 30, 50 and 70 % and
its known future forecast; means within a source, then over sources (docs/calibration.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["FARTHEST", "HORIZONS", "RECORDS", "RUNS", "SOURCES", "Record", "record_of", "sentence"]

RUNS = 164
SOURCES = 7
CASES = 429
#: Horizon ratios of the backtests.
HORIZONS = (1.25, 2.0)
#: The farthest of them: a run cut at 30 %, forecast to its end.
FARTHEST = 3.34


class Record(NamedTuple):
    """Share of outcomes within 90 % intervals, and CRPS in nats, by horizon."""

    coverage: tuple[float, ...]
    crps: tuple[float, ...]


#: By law; the default's by what was known of the schedule.
RECORDS: dict[str, Record] = {}


def record_of(law: str, ratio: float) -> float:
    """Share of outcomes that 90 % intervals of a law held at the tested horizon nearest to `ratio`.

    NaN within the data, beyond the farthest tested horizon, and for laws without a record.
    """
    if law not in RECORDS or not 1 < ratio <= FARTHEST:
        return math.nan
    nearest = min(range(len(HORIZONS)), key=lambda i: abs(math.log(ratio / HORIZONS[i])))
    return RECORDS[law].coverage[nearest]


def sentence(law: str, ratio: float) -> str:
    """The record in one line, "" within the data and for laws without one."""
    if law not in RECORDS or not ratio > 1:
        return ""
    if ratio > FARTHEST:
        return (
            f"Record: none at this horizon. Backtests on {RUNS} public runs from {SOURCES} sources "
            f"reach {FARTHEST:.1f}x only."
        )
    share = record_of(law, ratio)
    return (
        f"Record: in backtests on {RUNS} public runs from {SOURCES} sources, 90 % intervals at this "
        f"horizon held the truth in {100 * share:.0f} %."
    )
