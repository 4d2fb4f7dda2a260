"""Who overtakes whom in a race, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.frames import answer_first
from .._base.ragged import Floats
from .._base.summaries import quantiles
from . import crossings as crossing
from .device import back, placed

if TYPE_CHECKING:
    import pandas as pd

    from .result import Race

PAIRS = 64  # compared at a time
MOST_PAIRED = 32  # runs of which all pairs are compared without being asked


def overtakes(
    race: Race, runs: Sequence[str] | str | None, until: float | None, forecast: bool, least: float
) -> pd.DataFrame:
    """A row for each ordered pair and rank; see `Race.overtakes`."""
    import pandas as pd

    chosen = _chosen(race, runs)
    pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[i + 1 :]]
    rows: list[dict[str, Any]] = []
    horizon = race.until if until is None else float(race._places(until)[0])
    within = race.at <= horizon * (1 + 1e-9)
    curves = race._curves(forecast)[:, within]
    place = np.log(race.at[within])
    order = {k: i for i, k in enumerate(chosen)}
    for first in range(0, len(pairs), PAIRS):
        pair_block = pairs[first : first + PAIRS]
        crossed = _crossings(race, curves, pair_block, place, race.margin[within])
        for p, (a, b) in enumerate(pair_block):
            both = np.log(min(race.ends[race.kept[a]], race.ends[race.kept[b]]))
            for side, pair in enumerate(((a, b), (b, a))):
                rows += _rows(race, crossed, p, side, pair, both, horizon, least)
    rows.sort(key=lambda row: (order[row.pop("_a")], order[row.pop("_b")], row["rank"]))
    return answer_first(pd.DataFrame(rows), ("overtaker", "overtaken", "rank"))


def _crossings(
    race: Race, curves: Floats, pairs: Sequence[tuple[int, int]], place: Floats, margin: Floats
) -> crossing.Crossings:
    """Crossings of some pairs of kept runs, found where the forecasts were computed."""
    first, second = (list(side) for side in zip(*pairs, strict=True))
    need = np.tile(margin, (len(pairs), 1))
    with placed(race.question) as put, np.errstate(invalid="ignore", divide="ignore"):
        crossed = crossing.crossings(put(curves[first] - curves[second]), put(place), put(need))
        return crossing.Crossings(*(back(part) for part in crossed))


def _chosen(race: Race, runs: Sequence[str] | str | None) -> list[int]:
    every = list(range(len(race.kept)))
    if runs is None and len(every) > MOST_PAIRED:
        most = race.leads[:, race.kept].max(axis=0)
        return sorted(np.argsort(-most, kind="stable")[:MOST_PAIRED].tolist())
    if runs is None or (isinstance(runs, str) and runs == "all"):
        return every
    names = [runs] if isinstance(runs, str) else list(runs)
    place = {race.names[r]: k for k, r in enumerate(race.kept)}
    out = []
    for name in names:
        _ = race.runs[name]  # raises, with names like it
        if name not in place:
            raise DataError(
                f"run {name!r} never leads, and its curve was not kept among "
                f"{len(race.names):,} runs: race a selection with runs.select"
            )
        out.append(place[name])
    if len(set(out)) < 2:
        raise DataError("overtakings need at least two different runs")
    return out


def _rows(
    race: Race,
    crossed: crossing.Crossings,
    p: int,
    side: int,
    pair: tuple[int, int],
    both: float,
    until: float,
    least: float,
) -> list[dict[str, Any]]:
    """Rows of one ordered pair; `both` is the (log) end of the data that both have."""
    counts = crossed.counts[side, p]
    back = crossed.counts[1 - side, p]
    ahead = -1 if side == 0 else 1
    led = crossed.first[p] == ahead  # the overtaker was ahead at first
    tail = (1 - race.prob) / 2
    shares = (tail, 0.5, 1 - tail)
    a, b = pair
    rows = []
    for k in range(crossing.RANKS):
        times = crossed.times[side, k, p]
        happens = ~np.isnan(times)
        prob = float(happens.mean())
        if prob < least or (k > 0 and prob == 0):
            continue
        inside = happens & (times <= both)
        # Overtakings alternate: the other's next one follows if it made enough of them.
        returns = happens & (back > k + led)
        row: dict[str, Any] = {
            "overtaker": race.names[race.kept[a]],
            "overtaken": race.names[race.kept[b]],
            "rank": k + 1,
            "prob_ever": prob,
        }
        for prefix, these in (
            ("", happens), ("inside_", inside), ("beyond_", happens & ~inside)
        ):  # fmt: skip
            values = np.exp(quantiles(times[these], shares)) if these.any() else [np.nan] * 3
            for word, value in zip(("lower", "median", "upper"), values, strict=True):
                row[f"{prefix}{word}"] = float(value)
        row["prob_inside"] = float(inside.mean())
        row["prob_beyond"] = prob - row["prob_inside"]
        row["prob_returns"] = float(returns.sum() / happens.sum()) if happens.any() else np.nan
        row["prob_several"] = float((counts >= 2).mean())
        for n in range(3):
            row[f"prob_{n}"] = float((counts == n).mean())
        row["prob_more"] = float((counts > 2).mean())
        row["prob_ahead_first"] = float(led.mean())
        row["prob_ahead_last"] = float((crossed.last[p] == ahead).mean())
        row["until"], row["prob"] = until, race.prob
        row["_a"], row["_b"] = a, b
        rows.append(row)
    return rows
