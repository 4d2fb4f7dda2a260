"""Simulation-based calibration: under its own prior the forecast's ranks are uniform.

Talts et al. 2018, arXiv 1804.06788.  Noise and local slope are given, since the prior is in their
units, and the hyper-prior is the same whatever a run looks like.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lossfit.kernels.curve_law import CellGrid
from tests.kernels import curve_oracle as oracle
from tests.kernels.curve_problems import plain_hyper, simple, solve, with_hyper
from tests.kernels.forecast_oracle import Path

END, SLOPE, NOISE = 400.0, 0.1, 0.004
N_DRAWS, N_RUNS = 63, 320
PATHS = (
    Path(np.array([0.0, 150.0, 700.0]), np.array([1.0, 1.0, 0.1])),
    Path(np.array([0.0, 300.0, 300.0]), np.array([1.0, 1.0, 0.4])),
)
GRID = CellGrid(
    np.array([1.0, 3.0]), np.array([0.05, 0.3]), np.array([-0.4, 0.0, 0.8]),
    np.array([[0, 15.0, 0.65, 0.0], [0, 60.0, 0.65, 0.0]]), np.array([np.inf, np.inf]),
    np.array([0, 2]), np.array([[1, 0.0, 0.3], [1, 1.5, 0.7]]), 24, 0.3, 1.0, 2.0, 0.19, 0.127, 3.0,
)  # fmt: skip
HYPER = with_hyper(
    {"grid": GRID, "hyper": plain_hyper(GRID)}, growth=-1.0, drift=-1.5, response=-1.0, slow=-0.5,
    jitter=-6.0,
)["hyper"]  # fmt: skip
AT = np.array([0.6, 1.3, 3.5]) * END


def features_of_paths(t):
    """Log LR time over that at the end, and responses less theirs."""
    made = []
    for path in PATHS:
        x = np.log([path.lr_time(z) / path.lr_time(END) for z in t])
        d = [[oracle.response(path, z, unit, 1.0) for z in t] for unit in GRID.responses]
        end = [oracle.response(path, END, unit, 1.0) for unit in GRID.responses]
        made.append((x, np.array(d) - np.array(end)[:, None]))
    return made


def simulate(seed, t, table):
    """A curve from the prior: its losses at t, its smooth losses at the targets, a and B."""
    rng = np.random.default_rng(seed)
    h = rng.integers(2)
    x, d = table[h]
    d = d[rng.integers(2)]
    alpha = rng.choice(GRID.alphas)
    factor, size = rng.choice(GRID.noises), rng.choice(GRID.sizes)
    _unit, mean, sd = GRID.strengths[rng.integers(2)]
    strength = SLOPE * rng.normal(mean, sd)
    change = 1 + np.exp(-1.0) * rng.normal()
    slope = SLOPE * stats.truncnorm.rvs(-1, np.inf, 1, 1, random_state=rng)
    everything = np.concatenate([t, AT])
    phi = x if alpha == 0 else (1 - np.exp(-alpha * x)) / alpha
    y = -0.5 - slope * phi - strength * np.where(everything > END, change, 1) * d
    u = np.where(everything <= END, oracle.clock(np.log(END / everything), GRID.doubt), 0)
    order = np.argsort(u)
    past = np.empty(len(u))
    past[order] = np.cumsum(rng.normal(0, np.sqrt(np.diff(u[order], prepend=0.0))))
    y += size * SLOPE * past
    ratio = np.log(AT / END)

    def variance(z):
        return (size * SLOPE) ** 2 * z * (1 + np.exp(-1.0) * z) + (np.exp(-1.5) * SLOPE) ** 2 * z**3

    future = np.flatnonzero(ratio > 0)
    cov = oracle.discrepancy(ratio[future], variance)
    # Windows of 4 % of an e-fold at the end's density of points: `curve_draws.SHARE`.
    density = max((t >= END / 1.5).sum() / np.log(1.5), 1.0)
    slow = np.exp(-0.5) * (factor - 1) * NOISE**2
    slow = np.sqrt(slow / (max(0.04 * density, 1) * np.exp(ratio[future])) + np.exp(-12.0))
    cov += np.outer(slow, slow)
    y[len(t) + future] += np.linalg.cholesky(cov + 1e-16 * np.eye(len(future))) @ rng.normal(
        size=len(future)
    )
    loss = np.exp(y[: len(t)] + rng.normal(0, np.sqrt(factor) * NOISE, len(t)))
    return loss, y[len(t) :], slope, strength


def ranks(grid=GRID, hyper=HYPER):
    """Ranks of the truth among the draws, by quantity."""
    # One point a bin: what a bin holds is then what the prior says of it.  Of so few points none is
    # taken for a spike: bends of the discrepancy would be.
    t = END * GRID.first ** (1 - np.arange(1, 9) / 8)
    table = features_of_paths(np.concatenate([t, AT]))
    problems, truths = [], []
    for seed in range(N_RUNS):
        loss, *truth = simulate(seed, t, table)
        p = simple(t, loss, AT, grid=grid, hyper=hyper)
        p |= dict(
            histories=list(PATHS), other=list(PATHS), futures=[list(PATHS)] * 3,
            kinds=np.zeros(2, int), log_kinds=np.zeros(2), noise=NOISE, slope=SLOPE,
        )  # fmt: skip
        problems.append(p)
        truths.append(truth)
    answer = solve(problems, N_DRAWS, parameters=True)
    draws = answer.draws.reshape(N_RUNS, 3, N_DRAWS)
    rng = np.random.default_rng(1)
    out = {name: [] for name in ("within", "1.3x", "3.5x", "slope", "strength")}
    for r, (at, slope, strength) in enumerate(truths):
        record = answer.records[r]
        # Losses beyond the data as the forecast bends them.
        z = at - record["last"]
        half = 0.5 * record["top"]
        z = np.where(z > half, half * (1 + np.tanh(z / half - 1)), z)
        bent = np.exp(record["last"]) * np.where(z > 0, 1 + z, np.exp(z))
        truth = [np.exp(at[0]), bent[1], bent[2], slope, strength]
        for name, value, drawn in zip(
            out, truth, [*draws[r], *answer.parameters[r, 1:3]], strict=True
        ):
            tied = (drawn == value).sum()
            out[name].append((drawn < value).sum() + rng.integers(tied + 1))
    return out


def p_value(values):
    counts = np.bincount(np.array(values) // 8, minlength=8)
    return stats.chisquare(counts).pvalue


def test_ranks_are_uniform():
    for name, values in ranks().items():
        assert p_value(values) > 1e-4, name


@pytest.mark.parametrize(
    ("change", "seen"),
    [({"sizes": 0.25 * GRID.sizes}, "within"), ({"slope_sd": 0.1}, "slope")],
)
def test_a_wrong_prior_is_seen(change, seen):
    assert p_value(ranks(GRID._replace(**change))[seen]) < 1e-6
