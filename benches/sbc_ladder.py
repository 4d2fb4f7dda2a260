"""Simulation-based calibration of ladders: ranks of the truth among posterior draws are uniform.

python -m benches.sbc_ladder
python -m benches.sbc_ladder --simulations 300 --sizes 6
python -m benches.sbc_ladder --as-used

Ladders of a few sizes, half of them under cosines, are drawn from the priors of the law and of what
it misses, and read.  Two things that a fit takes from the data are given here, since no prior says
them: the scales of runs and noise, and the law of whose terms misses are shares.  With --as-used
both are taken from the data all the same; then only the coverage is worth a look.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
from scipy.special import logit

from lossfit.ladders.clock import Clock
from lossfit.ladders.discrepancy import PRIORS, Placed, centred_features, covariances, noise, pieces
from lossfit.ladders.law import PRIOR, RANGES, terms
from lossfit.ladders.reading import LAST, SCALE_SD, read
from lossfit.ladders.rows import BINS, Rung, joined, target_rows, thinned

from . import _report
from .surface import DRAWS, uniform

NAMES = (
    *("log_E", "log_A", "log_B", "log_alpha", "log_beta", "log_gamma", "log_c", "eta", "tau", "p"),
    "log_s",
    "log_kappa",
    "unseen",
)
BATCH = 1e6
END = 1e10
LARGER = 2.0  # times the largest size: the unseen one
FLOOR, SHARE = 0.7, 0.3  # of the loss at the centre, in the law of whose terms misses are shares


def reference() -> np.ndarray:
    """That law: the others of its coordinates are the priors' medians."""
    half = np.log(SHARE) - np.exp(PRIOR[2, 0]) * np.log(2)
    share = [(PRIOR[5 + k, 0] - low) / (high - low) for k, (low, high) in enumerate(RANGES)]
    return np.array([np.log(FLOOR), half, half, *PRIOR[:5, 0], *logit(share)])


def rung(params: float, end: float, constant: bool) -> Rung:
    """A run with one point in each bin."""
    if constant:
        clock = Clock.constant(end)
    else:
        t = np.linspace(0, end, 400)
        clock = Clock.of(t, 0.55 + 0.45 * np.cos(np.pi * t / end), end, BATCH)
    edges = np.geomspace(0.04 * end, 0.98 * end, BINS)
    tokens = np.append(np.sqrt(edges[1:] * edges[:-1]), end)
    return Rung(f"{params:.3g}", params, tokens, np.ones(BINS), clock, BATCH)


def law_drawn(rng: np.random.Generator) -> np.ndarray:
    """The law's coordinates from its prior."""
    theta = np.empty(10)
    theta[:3] = np.log(np.abs(rng.standard_normal(3)))
    theta[3:8] = PRIOR[:5, 0] + PRIOR[:5, 1] * rng.standard_normal(5)
    for k, (low, high) in enumerate(RANGES):
        centre, spread = PRIOR[5 + k]
        while not low < (value := centre + spread * rng.standard_normal()) < high:
            pass
        theta[8 + k] = logit((value - low) / (high - low))
    return theta


def simulated(rng: np.random.Generator, sizes: int) -> tuple[list[Rung], Rung, np.ndarray]:
    """Rungs with losses, a larger one, and the truth: (law, log s, log kappa, its last loss)."""
    constant = rng.uniform() < 0.5
    params = 1e8 * np.exp(np.cumsum(rng.uniform(0.4, 1.0, sizes)))
    ends = END * np.exp(rng.uniform(-0.7, 0.7, sizes))
    rungs = [rung(n, end, constant) for n, end in zip(params, ends, strict=True)]
    unseen = rung(LARGER * params[-1], END, constant)
    rows = thinned(rungs)
    both = joined([rows, target_rows(unseen, unseen.tokens[-1:], sizes)])
    n, x = both.n - rows.n.mean(), both.x - rows.x.mean()
    at = terms(reference()[None], n, x, both.q)
    shares = at.above.loss[0], at.won[0]
    anchor = np.array([both.x[both.run == i].max() for i in range(sizes + 1)])
    while True:
        theta = law_drawn(rng)
        mean = terms(theta[None], n, x, both.q).mean[0]
        placed = Placed(
            both, n - n[:-1].max(), x - x[:-1].max(), *shares, mean, np.ones(len(n)),
            anchor[both.run], np.zeros(len(n), bool), centred_features(both, rows),
        )  # fmt: skip
        log_s, log_kappa = SCALE_SD * rng.standard_normal(), rng.normal(*PRIORS[0])
        k1, k2 = covariances(pieces(placed, placed), PRIORS[:, 0])
        covariance = np.exp(2 * log_kappa) * k1 + np.exp(2 * log_s) * k2
        loss = rng.multivariate_normal(mean, covariance, method="eigh")
        measured = replace(placed, rows=rows, level=mean[:-1])
        spread = np.exp(2 * log_s) * noise(measured, PRIORS[:, 0])
        seen = loss[:-1] + rng.multivariate_normal(np.zeros(len(rows)), spread, method="eigh")
        if (seen > 0).all() and loss[-1] > 0:
            break
    for i, one in enumerate(rungs):
        one.loss[:] = seen[rows.run == i]
    most = max(np.log(one.params) + np.log(one.end) for one in rungs)
    beyond = max(0.0, both.n[-1] + both.x[-1] - most)
    last = loss[-1] * np.exp(LAST * beyond * rng.standard_t(4))
    return rungs, unseen, np.array([*theta, log_s, log_kappa, last])


def ranks(
    simulations: int, sizes: int, seed: int, used: bool = False, chains: int = 24
) -> dict[str, list[int]]:
    """Ranks of the truth among `DRAWS` draws, by quantity."""
    out: dict[str, list[int]] = {name: [] for name in NAMES}
    for k in range(simulations):
        rng = np.random.default_rng([seed, k])
        rungs, unseen, truth = simulated(rng, sizes)
        given = {} if used else {"scales": PRIORS[:, 0].copy(), "reference": reference()}
        found = read(rungs, rng, level=1.0, chains=chains, **given)
        places = np.linspace(0, len(found.theta) - 1, DRAWS).round().astype(int)
        end = found.curves(unseen, unseen.tokens[-1:], rng, DRAWS)[0]
        for name, draws, value in zip(NAMES, [*found.theta[places].T, end], truth, strict=True):
            out[name].append(int((draws < value).sum()))
    return out


def main() -> None:
    arguments = _report.parser(__doc__)
    arguments.add_argument("--simulations", type=int, default=100)
    arguments.add_argument("--sizes", type=int, default=4)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--as-used", action="store_true", help="scales and shares from the data")
    options = arguments.parse_args()
    record = _report.start("sbc_ladder")
    start = time.process_time()
    found = ranks(options.simulations, options.sizes, options.seed, options.as_used)
    print(f"{options.simulations} ladders in {time.process_time() - start:.0f} CPU s")
    good = uniform(found)
    record["ranks"] = found
    failures = [] if good or options.as_used else ["ranks are not uniform"]
    _report.finish(record, options.json, failures)


if __name__ == "__main__":
    sys.exit(main())
