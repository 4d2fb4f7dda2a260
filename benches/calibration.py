"""How often intervals of the laws by name hold on the seven text sources (`record.RECORDS`).

The default law's record on all sources is that of `benches.learn_forecast`.

    python -m benches.calibration CURVES [--plot out/calibration.png]

CURVES is a folder of public curves (`benches.curves`).  Every run is cut at 30, 50 and 70 % and its
known future forecast; scores are means within a source, then over sources.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import lossfit
from benches import _report, curves
from lossfit.backtests.backtesting import Check

BARS = {"crps": (0.0078, 0.0160, 0.0172), "masked": (0.0110, 0.0216, 0.0285)}
PLAIN = ("power", "power_linear", "power_offset", "power_linear_offset", "broken_power")


def line(label: str, check: Check) -> dict[str, Any]:
    """Print one row of the table, and give it back."""
    table = check.summary()
    worst = check.summary("group")["cover90"]

    def join(column: str, form: str, factor: float = 1.0) -> str:
        return "/".join(format(factor * v, form) for v in table[column])

    row = {
        "method": label,
        "cov90": join("cover90", ".0f", 100),
        "cov50": join("cover50", ".0f", 100),
        "crps": join("crps", ".4f"),
        "width": join("width", ".3f"),
        "error": join("error", ".4f"),
        "worst": f"{100 * worst.min():.0f} ({' '.join(worst.idxmin())})",
    }
    print(
        f"{label:34s} {row['cov90']:>10} {row['cov50']:>10}  {row['crps']}  {row['width']}  "
        f"{row['error']}  {row['worst']}",
        flush=True,
    )
    return row


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("folder", help="folder of curves")
    arguments.add_argument("--plot", help="write the picture of annealing here")
    options = arguments.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("calibration")
    runs, group = curves.load(options.folder)
    print(f"{len(runs)} runs of {len(set(group.values()))} sources")

    def check(laws: Any = "annealing", **more: Any) -> Callable[[], Check]:
        return lambda: lossfit.backtest(runs, group=group, axis="step", laws=laws, **more)

    methods: dict[str, Callable[[], Check]] = {
        "annealing": check(),
        "annealing, siblings": check(siblings="others"),
        "annealing, schedules masked": check(schedules="masked"),
        "annealing, nothing known": check(schedules="none"),
        "multi_power": check(laws="multi_power"),
        "annealing and multi_power mixed": check(laws=["annealing", "multi_power"]),
        **{law: check(laws=law) for law in PLAIN},
        "power and power_linear mixed": check(laws=["power", "power_linear"]),
    }
    print(
        "method, then at 1.25x / 2x / end: coverage of 90 and 50 %, CRPS, width of 90 %, |error|,\n"
        "lowest 90 % coverage of a source"
    )
    rows, found = [], {}
    for label, method in methods.items():
        start = time.perf_counter()
        found[label] = method()
        rows.append({**line(label, found[label]), "seconds": time.perf_counter() - start})
    record["rows"] = rows
    if options.plot:
        found["annealing"].plot().savefig(options.plot, dpi=120)
    print("\nannealing by source")
    for source, part in found["annealing"].summary("group").groupby("group", sort=False):
        cover = "/".join(f"{100 * v:.0f}" for v in part["cover90"])
        half = "/".join(f"{100 * v:.0f}" for v in part["cover50"])
        crps = "/".join(f"{v:.4f}" for v in part["crps"])
        print(f"  {source:14s} {cover:>12} {half:>10}  {crps}")
    failures = _failures(found)
    _report.finish(record, options.json, failures)


def _failures(found: dict[str, Check]) -> list[str]:
    """Bars that are missed."""
    out = []
    table = {label: check.summary() for label, check in found.items()}
    own, masked = table["annealing"], table["annealing, schedules masked"]
    if not own["cover90"].between(0.86, 0.95).all():
        out.append("annealing: 90 % coverage outside 86 to 95 %")
    if not own["cover50"].between(0.42, 0.62).all():
        out.append("annealing: 50 % coverage outside 42 to 62 %")
    if (own["crps"].to_numpy() > BARS["crps"]).any():
        out.append(f"annealing: CRPS above {BARS['crps']}")
    if found["annealing"].summary("group")["cover90"].min() < 0.75:
        out.append("annealing: a source below 75 %")
    if (
        not masked["cover90"].between(0.86, 0.97).all()
        or (masked["crps"].to_numpy() > BARS["masked"]).any()
    ):
        out.append("masked schedules: coverage outside 86 to 97 %, or CRPS too large")
    if (own["crps"] > 0.55 * table["power_linear"]["crps"]).any():
        out.append("annealing: less than 45 % below power_linear")
    plain = np.min([table[law]["crps"] for law in PLAIN], axis=0)
    if (own["crps"].to_numpy() > 0.85 * plain).any():
        out.append("annealing: less than 15 % below the best plain law")
    return out


if __name__ == "__main__":
    sys.exit(main())
