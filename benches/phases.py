"""Phases of curves of known truth: are breaks found, and is none seen where there is none?

    python -m benches.phases
    python -m benches.phases --curves 100 --kind breaks

Curves of 60 to 300 points with noise of .001 to .006 nats; everything is random.  Four kinds:

* ``breaks``: a power law, a line of 0.8 to 1.1 of its slope, a tip of 0.1 to 0.6 of the line's;
* ``power``: a power law;
* ``correlated``: a power law with errors that are correlated (.95 from point to point) and 1.5
  times as large as the noise;
* ``cosine``: a power law in LR time with the response to a cosine, without phases.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import lossfit
from benches import _report
from lossfit.phase_models.build import phases

Floats = NDArray[np.float64]
KINDS = ("breaks", "power", "correlated", "cosine")
STEPS = 500_000


class Outcome(NamedTuple):
    """P(line), P(tip), whether the intervals held the breaks, and what was said of the schedule."""

    linear: float
    tip: float
    held_first: bool
    held_second: bool
    explained: bool
    undecided: bool


def power(u: Floats | float, slope: float, alpha: float) -> Floats:
    return np.asarray(slope * np.expm1(-alpha * np.log(u)) / alpha)


def delayed(fallen: Floats, keep: float) -> Floats:
    """What follows `fallen` exponentially."""
    out = np.empty_like(fallen)
    value = 0.0
    for i, now in enumerate(fallen):
        value = keep * value + (1 - keep) * now
        out[i] = value
    return out


def one(rng: np.random.Generator, kind: str, seed: int) -> Outcome:
    points = int(rng.integers(60, 300))
    u = np.linspace(0.02, 1, points)
    slope, alpha = rng.uniform(0.08, 0.2), rng.uniform(0.15, 0.6)
    noise = float(np.exp(rng.uniform(np.log(0.001), np.log(0.006))))
    curve = rng.uniform(1.5, 2.5) + power(u, slope, alpha)
    schedule = lossfit.schedules.constant(1e-3)
    first = second = np.nan
    if kind == "breaks":
        first = float(np.exp(rng.uniform(np.log(0.12), np.log(0.45))))
        second = rng.uniform(0.65, 0.92)
        line = -slope * first ** (-alpha - 1) * rng.uniform(0.8, 1.1)
        at = float(np.interp(first, u, curve))
        curve = np.where(u <= first, curve, at + line * (u - first))
        curve = curve - line * rng.uniform(0.4, 0.9) * np.maximum(u - second, 0)
    elif kind == "correlated":
        error = rng.normal(0, 1.5 * noise, points)
        for i in range(1, points):
            error[i] = 0.95 * error[i - 1] + np.sqrt(1 - 0.95**2) * error[i]
        curve = curve + error
    elif kind == "cosine":
        schedule = lossfit.schedules.cosine(3e-4, STEPS, final_ratio=0.1)
        fine = np.linspace(0, 1, 4001)
        rho = schedule(fine * STEPS) / 3e-4
        x = np.concatenate([[0], np.cumsum((rho[1:] + rho[:-1]) / 2)])
        tau = np.exp(rng.uniform(np.log(100), np.log(1600)))
        late = delayed(1 - rho ** rng.uniform(0.5, 0.8), np.exp(-STEPS / 4000 / tau))
        curve = 2 + power(np.interp(u, fine, x / x[-1]), slope, alpha)
        curve = curve - rng.uniform(0.1, 0.22) * np.interp(u, fine, late)
    runs = lossfit.Runs.from_arrays(
        "step", u * STEPS, curve + rng.normal(0, noise, points), names=["r"], schedules=schedule
    )
    made = phases(runs, axis="step", random_seed=seed)
    rows = made.frame.set_index("phase")
    flags = made.flags["r"]
    held = [
        bool(rows.loc[name, "share_lower"] <= truth <= rows.loc[name, "share_upper"])
        for name, truth in (("linear", first), ("tip", second))
    ]
    return Outcome(
        made["r"].prob_linear, made["r"].prob_tip, *held, "schedule_explains" in flags,
        "cannot_tell" in flags,
    )  # fmt: skip


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--curves", type=int, default=40, help="of each kind")
    parser.add_argument("--kind", choices=KINDS, help="only this kind")
    options = parser.parse_args()
    warnings.simplefilter("ignore", lossfit.LossfitWarning)
    record = _report.start("phases")
    failures = []
    print("kind        P(line)  P(tip)  90 % held t1, t2  schedule explains  can't tell")
    for kind in KINDS if options.kind is None else [options.kind]:
        rng = np.random.default_rng([KINDS.index(kind), 3])
        found = [one(rng, kind, i) for i in range(options.curves)]
        mean = Outcome(*(float(np.mean(values)) for values in zip(*found, strict=True)))  # type: ignore[arg-type]
        record[kind] = mean._asdict()
        held = f"{mean.held_first:.2f}, {mean.held_second:.2f}" if kind == "breaks" else "-"
        print(
            f"{kind:<10}  {mean.linear:.2f}     {mean.tip:.2f}    {held:<16}  "
            f"{mean.explained:.2f}               {mean.undecided:.2f}"
        )
        good = {
            "breaks": min(mean.linear, mean.tip, mean.held_first, mean.held_second) > 0.8,
            "power": max(mean.linear, mean.tip) < 0.2,
            "correlated": max(mean.linear, mean.tip) < 0.5,
            "cosine": mean.explained > 0.8,
        }[kind]
        if not good:
            failures.append(kind)
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    main()
