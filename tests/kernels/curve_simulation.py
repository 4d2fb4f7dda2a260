"""Curves drawn from the default law's own prior, and the ranks of what they were drawn with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from lossfit.kernels.curve_law import (
    DRIFT,
    FUTURE,
    GROWTH,
    NUMBERS,
    RESPONSE,
    SLOW,
    CellGrid,
    HyperPrior,
)
from tests.kernels import curve_oracle as oracle
from tests.kernels.curve_problems import simple, solve
from tests.kernels.forecast_oracle import Path

QUANTITIES = ("slope", "strength")


class Setting(NamedTuple):
    """What curves are drawn from, and where they are seen and asked.

    A hyper-prior that is the same for all runs, with evidence in full, no tails and no widths; one
    point a bin: what a bin holds is then what the prior says of it.
    """

    grid: CellGrid
    hyper: HyperPrior
    paths: tuple[Path, ...]
    kinds: np.ndarray
    t: np.ndarray
    at: np.ndarray
    slope: float
    noise: float
    plan: float
    level: float = -0.5

    @property
    def end(self) -> float:
        """Where the data end."""
        return float(self.t[-1])

    def table(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """By path: log LR time over that at the end, and responses less theirs, everywhere."""
        made, everywhere = [], np.concatenate([self.t, self.at])
        units = self.grid.responses.copy()
        units[:, 1] = np.minimum(units[:, 1], self.grid.most_tau * self.plan)
        for path in self.paths:
            x = np.log([path.lr_time(z) / path.lr_time(self.end) for z in everywhere])
            d = [[oracle.response(path, z, unit, 1.0) for z in everywhere] for unit in units]
            end = [oracle.response(path, self.end, unit, 1.0) for unit in units]
            made.append((x, np.array(d) - np.array(end)[:, None]))
        return made


def simulate(s: Setting, rng: np.random.Generator, table: list) -> tuple[np.ndarray, ...]:
    """A curve from the prior: its losses, its smooth values at the targets, a and B."""
    g, rows = s.grid, s.hyper.matrix[:, 0]
    counts = [len(g.alphas), len(g.sizes), len(g.noises), len(g.strengths), s.hyper.n_kinds]
    logits = np.split(rows, np.cumsum([*counts, len(NUMBERS)]))
    numbers, jitter = logits[5], logits[6][s.hyper.n_tails - 1]

    def pick(values: np.ndarray) -> int:
        p = np.exp(values - values.max())
        return int(rng.choice(len(p), p=p / p.sum()))

    h = pick(logits[4][s.kinds])
    x, d = table[h]
    d = d[rng.integers(len(d))]
    alpha, size = g.alphas[pick(logits[0])], g.sizes[pick(logits[1])] * s.slope
    factor = g.noises[pick(logits[2])]
    unit, mean, sd = g.strengths[pick(logits[3])]
    text = min(g.text_share, g.text_slopes * s.slope)  # the level is low enough
    strength = (s.slope if unit else text) * rng.normal(mean, sd)
    change = 1 + np.exp(numbers[RESPONSE]) * rng.normal()
    cut = -1 / g.slope_sd
    a = s.slope * stats.truncnorm.rvs(cut, np.inf, 1, g.slope_sd, random_state=rng)
    everywhere = np.concatenate([s.t, s.at])
    phi = x if alpha == 0 else (1 - np.exp(-alpha * x)) / alpha
    y = s.level - a * phi - strength * np.where(everywhere > s.end, change, 1) * d
    u = np.where(everywhere <= s.end, oracle.clock(np.log(s.end / everywhere), g.doubt), 0)
    order = np.argsort(u)
    past = np.empty(len(u))
    past[order] = np.cumsum(rng.normal(0, np.sqrt(np.diff(u[order], prepend=0.0))))
    y += size * past
    ratio = np.log(s.at / s.end)
    grow, growth = np.exp(2 * numbers[FUTURE]), np.exp(numbers[GROWTH])
    drift = (np.exp(numbers[DRIFT]) * s.slope) ** 2

    def variance(z: np.ndarray) -> np.ndarray:
        return grow * size**2 * z * (1 + growth * z) + drift * z**3

    future = np.flatnonzero(ratio > 0)
    cov = oracle.discrepancy(ratio[future], variance)
    # Windows of 4 % of an e-fold at the end's density of points: `curve_futures.SHARE`.
    density = max((s.t >= s.end / 1.5).sum() / np.log(1.5), 1.0)
    slow = np.exp(numbers[SLOW]) * max(factor - 1, 0) * s.noise**2
    slow = np.sqrt(slow / (max(0.04 * density, 1) * np.exp(ratio[future])) + np.exp(2 * jitter))
    cov += np.outer(slow, slow)
    y[len(s.t) + future] += np.linalg.cholesky(cov + 1e-16 * np.eye(len(future))) @ rng.normal(
        size=len(future)
    )
    seen = y[: len(s.t)] + rng.normal(0, np.sqrt(factor) * s.noise, len(s.t))
    return np.exp(seen), y[len(s.t) :], a, strength


def ranks(
    s: Setting,
    runs: int,
    draws: int,
    seed: int = 0,
    assumed: tuple[CellGrid, HyperPrior] | None = None,
) -> dict[str, np.ndarray]:
    """Ranks of the truth among the draws, by quantity; `assumed` is what the forecast takes."""
    grid, hyper = assumed or (s.grid, s.hyper)
    table, problems, truths = s.table(), [], []
    for r in range(runs):
        loss, *truth = simulate(s, np.random.default_rng([seed, r]), table)
        p = simple(s.t, loss, s.at, grid=grid, hyper=hyper)
        p |= dict(
            histories=list(s.paths), other=list(s.paths), futures=[list(s.paths)] * len(s.at),
            kinds=s.kinds, log_kinds=np.zeros(len(s.paths)), noise=s.noise, slope=s.slope,
            plan=s.plan,
        )  # fmt: skip
        problems.append(p)
        truths.append(truth)
    answer = solve(problems, draws, parameters=True)
    curves = answer.draws.reshape(runs, len(s.at), draws)
    rng = np.random.default_rng(1)
    names = [f"{at / s.end:g}x" for at in s.at]
    out: dict[str, list[int]] = {name: [] for name in (*names, *QUANTITIES)}
    for r, (at, slope, strength) in enumerate(truths):
        record = answer.records[r]
        # Losses beyond the data as the forecast bends them.
        z = at - record["last"]
        half = 0.5 * record["top"]
        z = np.where(z > half, half * (1 + np.tanh(z / half - 1)), z)
        bent = np.exp(record["last"]) * np.where(z > 0, 1 + z, np.exp(z))
        values = [*np.where(s.at > s.end, bent, np.exp(at)), slope, strength]
        drawn = [*curves[r], *answer.parameters[r, 1:3]]
        for name, value, of_draws in zip(out, values, drawn, strict=True):
            tied = (of_draws == value).sum()
            out[name].append((of_draws < value).sum() + rng.integers(tied + 1))
    return {name: np.array(values) for name, values in out.items()}


def p_value(values: np.ndarray, draws: int, cells: int) -> float:
    """Chi-square test of uniformity."""
    counts = np.bincount(values * cells // (draws + 1), minlength=cells)
    return float(stats.chisquare(counts).pvalue)
