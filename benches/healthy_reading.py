"""How often reading takes a healthy run for something else.

``python -m benches.healthy_reading ../shared/data/curves`` loads every run of the tables in a
folder by itself, and says how many get a flag that changes what is read (a counter that begins
again, a second run, ranks, a restart); then all runs of each table as logs whose names differ in
numbers only, the worst case, and says how many are joined to another.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lossfit import Runs
from lossfit._base.errors import DataError
from lossfit.runs.selection import raw_of
from lossfit.sources._joining import joined

CHANGING = ("counter", "other_run", "ranks", "restart", "duplicate_step", "short_run")


def main() -> None:
    """Print a line a table, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    warnings.simplefilter("ignore")
    total: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.csv")):
        if "meta" in path.parts or "tables" in path.parts:
            continue
        frame = pd.read_csv(path)
        if "run" not in frame.columns:
            continue
        counts: Counter[str] = Counter()
        raws = []
        for name, rows in frame.groupby("run", sort=False):
            own = rows.drop(columns="run").dropna(axis=1, how="all")
            try:
                runs = Runs.from_frame(own)
                raws.append(raw_of(own, name=f"log {len(raws)}")[0])
            except DataError as error:
                counts["refused"] += 1
                print(f"  {path.name}, {name}: {error}")
                continue
            counts["runs"] += 1
            flags = {flag.flag for run in runs for flag in run.flags}
            counts["changed"] += bool(flags & set(CHANGING))
            counts.update(flag for flag in CHANGING if flag in flags)
        counts["joined"] = len(raws) - len(joined([replace(r, flags=[]) for r in raws], None))
        total.update(counts)
        print(f"{path.name:<34}", dict(counts))
    print("all", dict(total))


if __name__ == "__main__":
    main()
