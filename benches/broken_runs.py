"""How often broken runs are recognised, and healthy ones mistaken for broken.

    python -m benches.broken_runs CURVES

CURVES is a folder of public curves (see `benches.forecast_cases`).  Hits: healthy public curves,
broken at a random point in each way; the last way is a second beginning.  False alarms: the same
curves as they are, whole and cut.  Runs that are documented as broken by their source are left out
of the healthy ones.  Counters that began before the run are looked at apart: hits are the same
curves with steps counted from 1, 3, 10 and 1,000 times their length, false alarms the later parts
of curves, which begin late too.  All whole curves are then looked at together, which must tell the
same and is timed.  Second beginnings and high spikes are made from synthetic curves too.  Last, how
often late cuts of the curves, and noise about a level, are said to show no fall.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from benches.forecast_cases import Curve, all_curves
from lossfit.forecasts.falling import LEAST_POINTS, shows_no_fall
from lossfit.runs.breaks import recognise
from lossfit.runs.suspects import recognise_all

Floats = np.ndarray
CUTS = (0.1, 0.3, 0.5, 0.7, 1.0)
OFFSETS = (1, 3, 10, 1000)  # times its length: where a counter stood when the run began
PARTS = [(a, b) for a in (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9) for b in (0.5, 0.7, 0.9, 1.0) if b > a]
LATE_CUTS = (0.7, 0.8, 0.9, 1.0)
NOISE_POINTS, NOISE_RUNS = (60, 200, 1000), 5000
BARS = {"no fall in noise": 0.9, "false alarms": 0.02, "hits": 0.8, "late counters": 0.8}
SEEN = 0.06  # of the log loss: a fall that can tell a start


def documented(curve: Curve) -> bool:
    """What ``more/README.md`` says: one Criteo run diverges, the molecules' validation overfits."""
    overfits = curve.source == "algoperf_ogbg" and curve.is_validation
    return overfits or "shampoo-s0t3" in curve.name


def broken(curve: Curve, rng: np.random.Generator) -> dict[str, Floats]:
    """The curve broken in eight ways at one point between 40 and 85 % of its rows."""
    t, loss, n = curve.t, curve.loss, len(curve.t)
    j = int(rng.uniform(0.4, 0.85) * n)
    since = np.arange(n) - j
    after = since >= 0
    level = float(np.median(loss[max(0, j - 5) : j]))
    rise = rng.uniform(0.5, 1) * max(np.log(max(np.median(loss[:3]) / level, 1.5)), 0.6)
    up = 1 - np.exp(-since[after] / rng.uniform(1, 15))
    noise = rng.normal(0, 0.03, after.sum())
    decay = np.exp(-since[after] / ((n - j) * rng.uniform(0.7, 2.0)))
    steepness = rng.uniform(0.25, 1) / np.log(t[-1] / t[j])

    def with_end(values: Floats | float) -> Floats:
        out = loss.copy()
        out[after] = values
        return out

    return {
        "not_finite": with_end(np.nan),
        "zeros": with_end(0.0),
        "frozen": with_end(loss[j]),
        "scale_jump": with_end(loss[after] * rng.choice([2, 4, 8, 16, 0.125])),
        "diverged": with_end(level * np.exp(rise * up + noise)),
        "restarted": with_end(loss[after] * np.exp(rise * decay)),
        "overfitting": with_end(loss[after] * (t[after] / t[j]) ** steepness),
        "began_again": with_end(np.interp(t[after] - t[j] + t[0], t, loss)),
    }


def counters(curves: list[Curve]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Curves under a counter that began earlier, and later parts of curves: one row each."""
    hits, parts = [], []
    for c in curves:
        for cut in CUTS:
            rows = c.t <= cut * c.t[-1]
            if rows.sum() < 20 or recognise(c.t[rows], c.loss[rows], c.is_validation):
                continue
            loss, t = c.loss[rows], c.t[rows]
            end = max(len(t) // 20, 5)
            low = np.median(loss[-end:])
            fell = bool(low > 0 and np.log(np.median(loss[:end]) / low) > SEEN)
            for offset in OFFSETS:
                seen = recognise(t + offset * t[-1], loss, c.is_validation)
                hits.append((c.source, offset, fell, bool(seen and seen.kind == "counter")))
        for first, last in PARTS:
            rows = (c.t > first * c.t[-1]) & (c.t <= last * c.t[-1])
            if rows.sum() >= 20:
                seen = recognise(c.t[rows], c.loss[rows], c.is_validation)
                parts.append((c.source, first, bool(seen and seen.kind == "counter")))
    return (
        pd.DataFrame(hits, columns=["source", "offset", "fell", "counter"]),
        pd.DataFrame(parts, columns=["source", "first", "counter"]),
    )


def together(curves: list[Curve]) -> tuple[bool, float, float]:
    """Whether all curves at once are told the same as each, and CPU ms a run for both."""
    offsets = np.cumsum([0, *(len(c.t) for c in curves)])
    t, loss = np.concatenate([c.t for c in curves]), np.concatenate([c.loss for c in curves])
    start = time.process_time()
    at_once = recognise_all(t, loss, offsets, [c.is_validation for c in curves])
    middle = time.process_time()
    each = [recognise(c.t, c.loss, c.is_validation) for c in curves]
    end = time.process_time()
    same = list(map(str, at_once)) == list(map(str, each))
    return same, 1e3 * (middle - start) / len(curves), 1e3 * (end - middle) / len(curves)


def second_beginnings(rng: np.random.Generator, per_noise: int = 1000) -> pd.DataFrame:
    """Synthetic curves that begin again, or have a high spike: what is said, by their noise."""
    rows = []
    for noise in (0.01, 0.03, 0.1, 0.3):
        for _ in range(per_noise):
            n = int(rng.choice([60, 120, 300, 600, 1500]))
            t = np.arange(1.0, n + 1)
            power = rng.uniform(1, 8) * (1 + t / n / rng.uniform(1e-4, 1e-2)) ** -rng.uniform(
                0.2, 0.8
            )
            falls = rng.uniform(0.5, 5) * np.exp(-t / n / rng.uniform(0.01, 0.3))
            z = np.log(rng.uniform(0.5, 3) + (power if rng.random() < 0.5 else falls))
            j = int(rng.uniform(0.2, 0.5) * n)
            since, after = t - t[j], t > t[j]
            again = np.where(after, np.interp(rng.uniform(0.5, 2) * since + 1, t, z), z)
            height = (z[0] - z[j]) * rng.uniform(0.5, 1.3)
            decay = np.exp(-np.maximum(since, 0) / rng.uniform(1, max(n / 30, 2)))
            spike = z + np.where(after, height * decay, 0)
            noises = rng.normal(0, noise, n)
            if z[0] - z[j] < 0.2 or again[-1] > z[j]:  # nothing to fall again, or not yet
                continue
            kinds = [recognise(t, np.exp(curve + noises)) for curve in (again, spike)]
            rows.append(
                (noise, *(seen is not None and seen.kind == "began_again" for seen in kinds))
            )
    table = pd.DataFrame(rows, columns=["noise", "begin again", "high spikes"])
    return table.groupby("noise").mean().assign(curves=table.groupby("noise").size())


def without_fall(curves: list[Curve]) -> tuple[pd.DataFrame, float]:
    """Late cuts that are said to show no fall, a row each, and the lowest share of noises."""
    rows = []
    for c in curves:
        for cut in LATE_CUTS:
            kept = c.t <= cut * c.t[-1]
            t, loss = c.t[kept], c.loss[kept]
            if len(t) >= LEAST_POINTS and not recognise(t, loss, c.is_validation):
                flat = bool(shows_no_fall(loss, np.array([0, len(loss)]))[0])
                rows.append((c.source, c.name, cut, flat))
    rng = np.random.default_rng(0)
    shares = [
        shows_no_fall(draw(n * NOISE_RUNS), n * np.arange(NOISE_RUNS + 1)).mean()
        for n in NOISE_POINTS
        for draw in (rng.standard_normal, lambda size: rng.standard_t(2, size))
    ]
    return pd.DataFrame(rows, columns=["source", "run", "cut", "no_fall"]), float(min(shares))


def main(folder: Path) -> int:
    curves = [c for c in all_curves(folder) if not documented(c)]
    rows = []
    for c in curves:
        for cut in CUTS:
            kept = c.t <= cut * c.t[-1]
            if kept.sum() >= 20:
                found = recognise(c.t[kept], c.loss[kept], c.is_validation)
                rows.append((c.source, c.name, cut, found.kind if found else ""))
    alarms = pd.DataFrame(rows, columns=["source", "run", "cut", "kind"])
    alarms["alarm"] = alarms["kind"] != ""
    print("healthy runs called broken, by share of the run seen:")
    print(alarms.groupby("cut")["alarm"].agg(["mean", "size"]).round(4).to_string())
    print(alarms[alarms["alarm"]].drop(columns="alarm").to_string(index=False))
    rng = np.random.default_rng(0)
    found_as: dict[str, Counter[str]] = defaultdict(Counter)
    for c in curves:
        if len(c.t) < 60 or (c.loss <= 0).any() or recognise(c.t, c.loss, c.is_validation):
            continue
        for _ in range(2):
            for kind, loss in broken(c, rng).items():
                seen = recognise(c.t, loss, kind == "overfitting")
                found_as[kind][seen.kind if seen else "missed"] += 1
    table = pd.DataFrame(found_as).fillna(0).T.astype(int)
    table["caught"] = 1 - table["missed"] / table.sum(axis=1) if "missed" in table else 1.0
    print("healthy curves broken on purpose (rows), and what was said:")
    print(table.round(3).to_string())
    hits, parts = counters(curves)
    print("counters that began before the run, by times its length (mean over sources):")
    caught = hits[hits["fell"]].groupby(["offset", "source"])["counter"].mean().groupby("offset")
    every = hits.groupby(["offset", "source"])["counter"].mean().groupby("offset").mean()
    print(pd.DataFrame({f"fell by {SEEN} or more": caught.mean(), "all": every}).round(3))
    late = parts.groupby(["first", "source"])["counter"].mean().groupby("first").mean()
    print("later parts of curves taken for that, by where they begin:")
    print(late.round(4).to_string())
    same, at_once, each = together(curves)
    points = sum(len(c.t) for c in curves) / len(curves)
    print(
        f"{len(curves)} curves of {points:.0f} points: {at_once:.3f} CPU ms a run together, "
        f"{each:.3f} each by itself; told {'the same' if same else 'OTHER THINGS'}"
    )
    print("said to have begun again, of synthetic curves that fell by 0.2 or more:")
    print(second_beginnings(np.random.default_rng(0)).round(3).to_string())
    cuts, in_noise = without_fall(curves)
    flat = cuts[cuts["no_fall"]]
    print(
        f"no fall is said of {in_noise:.3f} of runs of noise (the lowest of {NOISE_POINTS} points, "
        f"normal and Student's t) and of {cuts['no_fall'].mean():.4f} of {len(cuts)} late cuts "
        f"(mean over sources {cuts.groupby('source')['no_fall'].mean().mean():.4f}):"
    )
    print(flat.groupby("run")["cut"].apply(list).to_string())
    rate = float(alarms["alarm"].mean())
    by_source = float(alarms.groupby("source")["alarm"].mean().mean())
    of_parts = float(parts.groupby("source")["counter"].mean().mean())
    fewest = float(table["caught"].min())
    print(
        f"false alarms {rate:.3f} (mean over sources {by_source:.3f}), of later parts "
        f"{of_parts:.4f}; fewest caught {fewest:.3f}, counters from ten lengths on "
        f"{caught.mean()[10]:.3f}"
    )
    good = (
        max(rate, of_parts) <= BARS["false alarms"]
        and fewest >= BARS["hits"]
        and float(caught.mean()[10]) >= BARS["late counters"]
        and same
        and in_noise >= BARS["no fall in noise"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
