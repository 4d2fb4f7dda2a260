"""How a ladder's two readings are pooled, learned and scored with whole sources left out.

python -m benches.ladder_pool CURVES

Two constants of `lossfit.ladders.pooling`: the number of sizes at which the ends of runs count half
of what their precision says (the least CRPS of some), and how far the quartiles are from the median
(so that half of the outcomes lie between them).  Each source is scored by those of the others.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd

from lossfit.ladders import pooling
from lossfit.ladders.core import readings
from lossfit.ladders.rows import levels

from . import _report
from ._ladders import cuts, ladders
from .ladder import DRAWS, EDGES, NAMES, SCORES, outcomes, score

CANDIDATES = (0.0, 1.5, 3.0, 6.0, 12.0)
LEARNED_ON = NAMES[:3]  # beyond 12x no forecast is made without a flag


def drawn(folder: str) -> list[dict[str, Any]]:
    """Draws of both readings of every end; ladders whose ends are not asked are left out."""
    out = []
    for ladder in ladders(folder):
        for k, cut in enumerate(cuts(ladder)):
            fitted = readings(cut.fitted, 0)
            if fitted.ends is None:
                continue
            for target in cut.targets:
                at, truth = outcomes(target)
                rng = np.random.default_rng(1)
                whole = fitted.whole.curves(target, at, rng, DRAWS, True)[-1]
                ends = fitted.ends.curves(target, at[-1:], rng, DRAWS, True)[0]
                out.append({
                    "source": ladder.source, "family": ladder.family, "cut": k,
                    "ratio": cut.ratio(target), "sizes": levels(cut.fitted),
                    "whole": whole, "ends": ends, "truth": truth[-1],
                })  # fmt: skip
    return out


def pooled_end(case: dict[str, Any], sizes: float) -> np.ndarray:
    share = pooling.precision_share(case["whole"], case["ends"])
    share *= case["sizes"] / (case["sizes"] + sizes)
    return pooling.pooled(case["whole"][None], case["ends"], share)


def table_of(cases: list[dict[str, Any]], sizes: float, middle: float | None) -> pd.DataFrame:
    """Scores, and the place of the outcome between median (0) and quartile (1)."""
    rows = []
    for case in cases:
        draws = pooled_end(case, sizes)
        if middle is not None:
            pooling.MIDDLE = middle
            draws = pooling.sharpened(draws, case["ratio"])
        q1, median, q3 = np.quantile(draws[0], [0.25, 0.5, 0.75])
        above = case["truth"] > median
        rows.append({
            **{key: case[key] for key in ("source", "family", "cut", "ratio")},
            "place": (case["truth"] - median) / ((q3 if above else q1) - median),
            **score(draws[0], case["truth"]),
        })  # fmt: skip
    table = pd.DataFrame(rows)
    table["bin"] = pd.cut(table["ratio"], EDGES, labels=NAMES)
    return table


def by_source(table: pd.DataFrame) -> pd.DataFrame:
    for keys in (["source", "family", "cut"], ["source", "family"], ["source"]):
        table = table.groupby([*keys, "bin"], observed=True)[SCORES].mean().reset_index()
    return table


def half(table: pd.DataFrame) -> float:
    """Median place of outcomes near the ladder; sources, families and cuts count alike."""
    near = table[table["ratio"] <= pooling.NEAR].sort_values("place")
    weight = pd.Series(1.0, near.index)
    keys: list[str] = []
    for key in ("source", "family", "cut"):
        group = near.groupby(keys) if keys else None
        count = near[key].nunique() if group is None else group[key].transform("nunique")
        weight, keys = weight / count, [*keys, key]
    weight = weight / near.groupby(keys)["ratio"].transform("size")
    return float(np.interp(0.5, weight.cumsum() / weight.sum(), near["place"]))


def learned(tables: dict[float, pd.DataFrame], without: str | None) -> tuple[float, float]:
    """The constants by all sources but one."""
    scores = {}
    for sizes, table in tables.items():
        found = by_source(table[table["source"] != without])
        found = found[found["bin"].isin(LEARNED_ON)]
        scores[sizes] = float(np.log(found["crps"]).groupby(found["source"]).mean().mean())
    best = min(scores, key=scores.__getitem__)
    table = tables[best]
    return best, min(half(table[table["source"] != without]), 1.0)


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("folder", help="folder of curves")
    options = arguments.parse_args()
    record = _report.start("ladder_pool")
    cases = drawn(options.folder)
    shipped = pooling.OF_SIZES, pooling.MIDDLE
    tables = {sizes: table_of(cases, sizes, None) for sizes in CANDIDATES}
    sources = list(dict.fromkeys(case["source"] for case in cases))
    parts = []
    for source in sources:
        sizes, middle = learned(tables, source)
        print(f"without {source}: {sizes:g} sizes, quartiles at {middle:.2f}")
        inside = [case for case in cases if case["source"] == source]
        parts.append(by_source(table_of(inside, sizes, middle)))
    left_out = pd.concat(parts).groupby("bin", observed=True)[SCORES].mean()
    found = learned(tables, None)
    print(f"all sources: {found[0]:g} sizes, quartiles at {found[1]:.2f}")
    print(f"shipped: {shipped[0]:g} sizes, quartiles at {shipped[1]:.2f}")
    print("as it was (by precision alone, as drawn)")
    plain = by_source(tables[0.0]).groupby("bin", observed=True)[SCORES].mean()
    print(plain.round(2).to_string())
    print("left out (D ~ N apart)")
    print(left_out.round(2).to_string())
    failures = []
    if found[0] != shipped[0] or abs(found[1] - shipped[1]) > 0.02:
        failures.append(f"the sources say {found[0]:g} and {found[1]:.2f}, not what is shipped")
    record["left_out"] = left_out.reset_index().to_dict("records")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
