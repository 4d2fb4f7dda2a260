"""Surfaces beside runs of their own table, and of other sources: false alarms, and what is used.

python -m benches.at_hand TABLES

Alarms: a surface is fitted to a part of a table, and compared with some of the other rows.  Use: a
surface of another source is held to a few rows of small compute, or they get a surface of their
own, and the rows of larger compute are forecast.  The file has columns source, table, params,
tokens, loss; means within a surface, a table, a source, then over sources.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from lossfit._base.errors import LossfitWarning
from lossfit.plans.at_hand import compared
from lossfit.surfaces import anchored as anchors
from lossfit.surfaces.against import against
from lossfit.surfaces.fitting import fit_surfaces, published
from lossfit.surfaces.table import Table, read_table

from . import _report
from .surface import SCORES, scored

RUNS = (1, 3, 8, 20)
FEW = (1, 2, 3, 5, 8)
REPEATS = 3
BELOW = (1 / 2, 1 / 4, 1 / 10)  # of the largest compute: what a surface is fitted to
SMALL = 1 / 4  # of the largest compute: where runs at hand are taken from
LEAST_ROWS = 10
MOST_ALARMS = 0.02
HELD = (0.85, 0.99)

Tables = dict[tuple[str, str], pd.DataFrame]
Rows = Callable[[pd.DataFrame, np.ndarray, np.random.Generator, int], np.ndarray]


def table_of(rows: pd.DataFrame) -> Table:
    return read_table(
        rows, params="params", tokens="tokens", loss="loss", flops="flops", unique_tokens=None,
        least=1,
    )  # fmt: skip


def alarms(tables: Tables, rng: np.random.Generator) -> pd.DataFrame:
    """Whether surfaces contradict rows of their own table."""
    rows = []
    for (source, _), table in tables.items():
        compute = 6 * table["params"] * table["tokens"]
        parts = [("half", rng.uniform(size=len(table)) < 0.5) for _ in range(4)]
        parts += [("small compute", (compute <= s * compute.max()).to_numpy()) for s in BELOW]
        parts = [part for part in parts if part[1].sum() >= LEAST_ROWS]
        surfaces = fit_surfaces([table[inside] for _, inside in parts])
        for (what, inside), surface in zip(parts, surfaces, strict=True):
            rest = table[~inside]
            for k in (k for k in RUNS if k <= len(rest)):
                for _ in range(6):
                    found = against(surface, table_of(rest.sample(k, random_state=rng)), 0.9)
                    rows.append(
                        {"source": source, "fitted": what, "runs": k, "p": found.p_value,
                         "contradicted": float(found.contradicted)}
                    )  # fmt: skip
    return pd.DataFrame(rows)


def any_rows(
    table: pd.DataFrame, small: np.ndarray, rng: np.random.Generator, k: int
) -> np.ndarray:
    """Rows at random, among those of small compute."""
    return rng.choice(small, k, replace=False) if len(small) >= k else np.empty(0, int)


def one_size(
    table: pd.DataFrame, small: np.ndarray, rng: np.random.Generator, k: int
) -> np.ndarray:
    """Rows of about one size."""
    n = np.log(table["params"].to_numpy()[small])
    return any_rows(table, small[np.abs(n - rng.choice(n)) < 0.07], rng, k)


def use(tables: Tables, rng: np.random.Generator, rows_of: Rows) -> pd.DataFrame:
    """Scores of rows beyond the runs at hand, of surfaces of other sources."""
    surfaces = dict(zip(tables, fit_surfaces(tables.values(), draws=500), strict=True))
    first = {key[0]: key for key in reversed(surfaces)}  # one surface a source
    others = {source: surfaces[key] for source, key in first.items()}
    others["published"] = published("chinchilla", draws=500)
    out = []
    for (source, name), table in tables.items():
        compute = (6 * table["params"] * table["tokens"]).to_numpy()
        small = np.flatnonzero(compute <= SMALL * compute.max())
        for k in FEW:
            for repeat in range(REPEATS):
                taken = rows_of(table, small, rng, k)
                if not len(taken):
                    continue
                most = compute[taken].max()
                beyond = np.setdiff1d(np.flatnonzero(compute > most), taken)
                few, rest = table.iloc[taken], table.iloc[beyond]
                about = {"source": source, "table": name, "runs": k, "repeat": repeat}
                if k >= 3:
                    own = fit_surfaces([few], draws=500)[0]
                    part = scored(own, rest, most)
                    out.append(part.assign(**about, surface="", what="their own"))
                for other, surface in others.items():
                    if other == source or (other == "published" and source == "chinchilla"):
                        continue
                    kinds = {"held to them": anchors.anchored(surface, table_of(few))}
                    if k in (1, 2, 3):
                        kinds["as used"] = compared(surface, few, 0.9, None, 500, 0)[0]
                    for what, used in kinds.items():
                        part = scored(used, rest, most)
                        out.append(part.assign(**about, surface=other, what=what))
    return pd.concat(out)


def averaged(frame: pd.DataFrame) -> pd.DataFrame:
    for keys in (["source", "table", "surface", "repeat"], ["source", "table", "surface"],
                 ["source", "table"], ["source"], []):  # fmt: skip
        by = [*keys, "runs", "what", "bin"]
        frame = frame.groupby(by, observed=True)[list(SCORES)].mean().reset_index()
    return frame


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("tables", help="a CSV of tables: source, table, params, tokens, loss")
    options = arguments.parse_args()
    warnings.simplefilter("ignore", LossfitWarning)
    record = _report.start("at_hand")
    read = pd.read_csv(options.tables)
    tables: Tables = {
        (str(key[0]), str(key[1])): table.reset_index(drop=True)
        for key, table in read.groupby(["source", "table"])
    }
    failures = []
    found = alarms(tables, np.random.default_rng(0))
    for column, words in (("contradicted", "contradicted"), ("p", "p <= .01")):
        share = found.assign(p=(found["p"] <= 0.01).astype(float)).groupby("source")[column].mean()
        print(f"{words}: {share.mean():.3f} of comparisons with rows of the same table")
        record[words] = float(share.mean())
    print(found.groupby(["fitted", "runs"])["contradicted"].mean().unstack().round(3).to_string())
    if record["contradicted"] > MOST_ALARMS:
        failures.append(f"false alarms in more than {MOST_ALARMS:.0%} of comparisons")
    for rows_of in (any_rows, one_size):
        table = averaged(use(tables, np.random.default_rng(1), rows_of))
        print((rows_of.__doc__ or "").strip())
        for score in ("held90", "held50", "crps", "width"):
            wide = table.pivot_table(index=["runs", "what"], columns="bin", values=score,
                                     observed=True)  # fmt: skip
            print(score, wide.round(2).to_string(), sep="\n")
        record[rows_of.__name__] = table.to_dict("records")
        held = table[table["what"] == "held to them"].groupby("runs")["held90"].mean()
        if not held[held.index <= 2].between(*HELD).all():
            failures.append("surfaces held to one or two runs hold outside 85 to 99 %")
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
