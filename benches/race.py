"""Races with known truth: do the intervals of crossing times hold?  And how long do races take?

    python -m benches.race
    python -m benches.race --races 200 --kind beyond --truth bent

The bar is on 1,000 races of random kind and truth: 90 % intervals are to hold 85 to 95 % of the
crossings, and it is missed where they are off by more than two standard errors.  Each race has two
synthetic runs of different size whose true curves cross once, within the data of both or beyond
those of the smaller.  Everything is random: levels, exponents, amplitudes, lengths, numbers of
points, noise, and where the curves cross.  Three truths:

* ``power``: power laws at a constant rate;
* ``cosine``: each under its own cosine, with the response of the annealing law at constants that
  are not on its grid; a run that is forecast has a plan to the horizon at least (what a *finished*
  run gains by a longer plan is less than a law says: see docs/calibration.md);
* ``bent``: the same with a smooth wandering that no law has, of about the size that the default law
  allows for (0.5 % of the power law for each of three waves in log t: 4 % of its slope).

Besides, races in which the small run passes back at the tip of its cosine ("returns").
"""

from __future__ import annotations

import time
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import lossfit
from benches import _report
from lossfit.races.build import race

Floats = NDArray[np.float64]

LOWEST, HIGHEST = 0.85, 0.95  # of 90 % intervals
SURE = 2.0  # standard errors outside of these that are no chance
SPEED = (2000, 1000, 10.0)  # runs, draws, seconds
KINDS = ("inside", "beyond")
RETURNS = "returns"
TRUTHS = ("power", "cosine", "bent")
WAVE = 0.005


class Truth(NamedTuple):
    """A curve: E + A (x/T)^-alpha, with x the LR time, less the response, times the wandering."""

    level: float
    size: float
    alpha: float
    end: float
    planned: float
    strength: float
    power: float
    delay: float
    waves: Floats

    def __call__(self, t: Floats) -> Floats:
        z = np.minimum(t / self.planned, 1.0)
        if self.strength > 0:
            nodes = np.linspace(0, 1, 2001)
            rho = 0.1 + 0.45 * (1 + np.cos(np.pi * nodes))
            area = np.concatenate([[0], np.cumsum(0.5 * (rho[1:] + rho[:-1]) / 2000)])
            # The response with a delay: an exponential mean of what the rate has fallen.
            fallen = 1 - rho**self.power
            late = fallen.copy()
            keep = np.exp(-1 / (2000 * self.delay))
            for i in range(1, late.size):
                late[i] = keep * late[i - 1] + (1 - keep) * fallen[i]
            x = np.interp(z, nodes, area) * self.planned
            response = self.strength * np.interp(z, nodes, late)
        else:
            x, response = t, 0.0
        u = np.log(t / self.end)
        wander = sum(w * np.sin(k * 1.3 * u + 2 * k) for k, w in enumerate(self.waves, start=1))
        steep = (x / self.end) ** -self.alpha
        return self.level + self.size * steep * (1 + wander) - response


def one(rng: np.random.Generator, kind: str, truth: str) -> tuple[lossfit.Runs, float, float]:
    """A race: its runs, the true crossing, and the horizon."""
    for _ in range(10_000):
        ends = np.exp(rng.uniform(np.log(2e4), np.log(2e5)))
        ends = np.array([ends, ends * np.exp(rng.uniform(np.log(1.5), np.log(8)))])
        if kind == RETURNS and ends[1] < 3 * ends[0]:  # the large one's rate must be high then
            continue
        start = ends * rng.uniform(0.01, 0.05, 2)
        made = []
        for e in ends:
            size, alpha = rng.uniform(0.15, 0.8), rng.uniform(0.15, 0.6)
            strength = 0.0 if truth == "power" else rng.uniform(0.08, 0.2)
            if kind == RETURNS:  # else hardly any small run comes back
                size, alpha = rng.uniform(0.1, 0.3), rng.uniform(0.15, 0.4)
                strength = rng.uniform(0.15, 0.3) if e == ends[0] else rng.uniform(0.08, 0.15)
            waves = rng.normal(0, WAVE, 3) if truth == "bent" else np.zeros(3)
            forecast = kind == "beyond" and e == ends[0]
            planned = min(ends[1], 4 * e) if forecast else e
            made.append(
                Truth(
                    rng.uniform(1.3, 3.0), size, alpha, e, planned, strength, rng.uniform(0.5, 0.8),
                    rng.uniform(0.001, 0.02), waves,
                )
            )  # fmt: skip
        low = max(start) * 1.5
        if kind == "inside":
            high = ends[0] * 0.95
        elif kind == RETURNS:
            low, high = ends[0] * 0.6, ends[0] * 0.95
        else:
            low, high = ends[0] * 1.05, ends[0] * 3
        high = min(high, ends[1] * 0.95)
        if high <= low * 1.05:
            continue
        where = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        until = float(ends[0] if kind == RETURNS else min(ends[1], ends[0] * 4))
        grid = np.geomspace(max(start), until, 4000)
        first = made[0](grid)
        second = made[1](grid)
        at = np.array([where])
        shift = float(made[0](at)[0] - made[1](at)[0])
        gap = second + shift - first
        changes = np.flatnonzero(np.diff(np.sign(gap)))
        if kind == RETURNS:
            if len(changes) != 2 or gap[0] < 0.02 or gap[-1] < 0.005 or gap.min() > -0.006:
                continue
            if abs(np.log(grid[changes[1]] / where)) > 0.01:  # it is where the small one returns
                continue
        elif len(changes) != 1 or gap[0] < 0.02 or gap[-1] > -0.005:
            continue
        made[1] = made[1]._replace(level=made[1].level + shift)
        noise = np.exp(rng.uniform(np.log(0.001), np.log(0.02)))
        x, loss, counts = [], [], []
        for curve, begin in zip(made, start, strict=True):
            n = int(np.exp(rng.uniform(np.log(50), np.log(800))))
            t = np.linspace(begin, curve.end, n)
            x.append(t)
            loss.append(curve(t) + rng.normal(0, noise, n))
            counts.append(n)
        plans = {
            name: lossfit.schedules.constant(1e-3)
            if truth == "power"
            else lossfit.schedules.cosine(1e-3, one.planned, final_ratio=0.1)
            for name, one in zip(("small", "large"), made, strict=True)
        }
        runs = lossfit.Runs.from_arrays(
            "step", np.concatenate(x), np.concatenate(loss), [0, counts[0], sum(counts)],
            ["small", "large"], schedules=plans,
        )  # fmt: skip
        return runs, where, until
    raise RuntimeError("no race found")


class Outcome(NamedTuple):
    """What came of one race: the interval of the first overtaking, and its truth."""

    kind: str
    truth: str
    where: float
    lower: float
    median: float
    upper: float
    prob: float

    @property
    def held(self) -> bool:
        return self.lower <= self.where <= self.upper


def outcomes(races: int, kinds: list[str], truths: list[str]) -> list[Outcome]:
    """Race them."""
    rng = np.random.default_rng(7)
    out = []
    for i in range(races):
        kind, truth = str(rng.choice(kinds)), str(rng.choice(truths))
        runs, where, until = one(rng, kind, truth)
        table = race(runs, axis="step", until=until, random_seed=i).overtakes()
        who = "small" if kind == RETURNS else "large"
        row = table[(table["overtaker"] == who) & (table["rank"] == 1)].iloc[0]
        three = (float(row[word]) for word in ("lower", "median", "upper"))
        out.append(Outcome(kind, truth, where, *three, float(row["prob_ever"])))
    return out


def summary(some: list[Outcome]) -> dict[str, float]:
    """Coverage and what else there is to say; races without any crossing count as misses."""
    there = [one for one in some if np.isfinite(one.lower)]
    share = float(np.mean([one.held for one in some]))
    return {
        "races": len(some),
        "coverage": share,
        "error of coverage": float(np.sqrt(share * (1 - share) / len(some))),
        "none": len(some) - len(there),
        "prob": float(np.mean([one.prob for one in some])),
        "error": float(np.median([abs(np.log(one.median / one.where)) for one in there])),
        "width": float(np.median([np.log(one.upper / one.lower) for one in there])),
    }


def speed(runs: int, draws: int) -> tuple[float, float]:
    """Seconds of a race of so many runs, and of its overtakings among those that ever lead."""
    rng = np.random.default_rng(0)
    points = 200
    end = np.exp(rng.uniform(np.log(1e4), np.log(1e6), runs))
    t = end[:, None] * np.linspace(0.01, 1, points)
    alpha = rng.uniform(0.2, 0.5, (runs, 1))
    level = 3.5 - 0.12 * np.log(end / 1e4)[:, None] + rng.normal(0, 0.05, (runs, 1))
    loss = level + rng.uniform(0.2, 0.6, (runs, 1)) * (t / end[:, None]) ** -alpha
    loss += rng.normal(0, 0.005, loss.shape)
    made = lossfit.Runs.from_arrays(
        "step", t.ravel(), loss.ravel(), np.arange(runs + 1) * points,
        schedules={str(i): lossfit.schedules.cosine(1e-3, e) for i, e in enumerate(end)},
    )  # fmt: skip
    race(made.select(made.names[:3]), axis="step", draws=draws)  # compile
    start = time.perf_counter()
    run = race(made, axis="step", draws=draws)
    run.leader()
    run.frontier()
    first = time.perf_counter() - start
    start = time.perf_counter()
    table = run.overtakes()
    print(f"  {len(run.kept)} runs ever lead, {len(table):,} rows of overtakings among them")
    return first, time.perf_counter() - start


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--races", type=int, default=1000, help="races")
    parser.add_argument("--kind", choices=(*KINDS, RETURNS), help="only this kind")
    parser.add_argument("--truth", choices=TRUTHS, help="only this truth")
    options = parser.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("race")
    failures = []
    if options.kind is None:
        runs, draws, most = SPEED
        first, second = speed(runs, draws)
        print(
            f"{runs:,} runs x {draws:,} draws, leader and frontier: {first:.1f} s; "
            f"overtakes {second:.1f} s"
        )
        record["seconds"] = [first, second]
        if first > most:
            failures.append(f"{first:.1f} s for {runs:,} runs")
    kinds = list(KINDS) if options.kind is None else [options.kind]
    truths = list(TRUTHS) if options.truth is None else [options.truth]
    if options.kind == RETURNS:
        truths = [truth for truth in truths if truth != "power"]  # which never do
    found = outcomes(options.races, kinds, truths)
    bar = set(kinds)
    print(
        "crossing  truth    races  90 % intervals held    never crosses  mean P  |log error|  width"
    )
    if options.kind is None and options.truth is None:  # besides, not in the bar
        found += outcomes(options.races // 4, [RETURNS], ["cosine", "bent"])
        kinds.append(RETURNS)
    groups = [(kind, truth) for truth in truths for kind in kinds]
    for kind, truth in [*groups, *((kind, "") for kind in kinds), ("", "")]:
        some = [
            one
            for one in found
            if (one.kind == kind or (not kind and one.kind in bar))
            and (not truth or one.truth == truth)
        ]
        if not some:
            continue
        told = summary(some)
        record[f"{kind or 'all'} {truth or 'all'}"] = told
        print(
            f"{kind or 'all':<9} {truth or 'all':<8} {told['races']:5d}  "
            f"{100 * told['coverage']:5.1f} % +- {100 * told['error of coverage']:3.1f}         "
            f"{told['none']:4d}           "
            f"{told['prob']:.3f}   {told['error']:.4f}       {told['width']:.3f}"
        )
    share, error = record["all all"]["coverage"], record["all all"]["error of coverage"]
    if not LOWEST - SURE * error <= share <= HIGHEST + SURE * error:
        failures.append(
            f"90 % intervals held {100 * share:.1f} % (+- {100 * error:.1f}) of crossings"
        )
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
