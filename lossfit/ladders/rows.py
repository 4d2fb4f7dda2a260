"""Rungs of a ladder as rows: each curve in a few bins, even in the logarithm of its tokens."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .._base.ragged import Floats, Ints
from .clock import LOG_TAUS, POWERS, Clock

BINS = 12
FEWEST_BINS, MOST_ROWS = 5, 600
START = 0.04  # share of a run that is left out, or twice its warm-up
LATEST_START = 0.7
END_SHARE = 0.02  # of a run that its last bin averages
FEATURES = ("warmup", "batch", "peak")
LEVEL = 0.15  # of log params within which sizes count as one
FARTHEST = 2.0  # e-folds of batch or peak rate that count


@dataclass(frozen=True, eq=False)
class Rung:
    """One finished (or begun) run of a ladder."""

    name: str
    params: float
    # tokens, loss: shape (n,): increasing tokens; spikes are left out
    tokens: Floats
    loss: Floats
    clock: Clock
    batch: float  # tokens of a step

    @property
    def end(self) -> float:
        """Tokens at the end of the data."""
        return float(self.tokens[-1])

    @property
    def start(self) -> float:
        """Tokens before which nothing is used."""
        low = max(START * self.end, 2 * self.clock.warmup)
        return min(low, LATEST_START * self.end)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of some runs, or targets."""

    run: Ints  # shape (k,)
    # n, x: shape (k,): log params and log cumulative rate
    n: Floats
    x: Floats
    q: Floats  # shape (taus, powers, k)
    loss: Floats  # shape (k,): NaN for targets
    tokens: Floats  # shape (k,): mean place of the bin
    # low, high: shape (k,): steps that the bin spans
    low: Floats
    high: Floats
    # shape (3, k): share of the warm-up, log batch, log peak rate; NaN where unknown
    features: Floats
    # shape (k,): whether the run's schedule decays late (1), gradually (-1) or not (0)
    late: Floats

    def __len__(self) -> int:
        return len(self.n)

    def last_of_each(self) -> Rows:
        """The last row of every run."""
        last = np.flatnonzero(np.diff(self.run, append=-1) != 0)
        return self.take(last)

    def take(self, which: Ints) -> Rows:
        """Some of the rows."""
        return Rows(
            self.run[which], self.n[which], self.x[which], self.q[..., which], self.loss[which],
            self.tokens[which], self.low[which], self.high[which], self.features[:, which],
            self.late[which],
        )  # fmt: skip


def levels(rungs: list[Rung]) -> int:
    """Different sizes, to 15 %."""
    sizes = np.sort(np.log([rung.params for rung in rungs]))
    count, last = 1, sizes[0]
    for size in sizes[1:]:
        if size > last + LEVEL:
            count, last = count + 1, size
    return count


def features_of(rung: Rung, tokens: Floats) -> Floats:
    """What else differs between runs: warm-up over tokens, log batch, log peak: (3, k)."""
    share = np.minimum(rung.clock.warmup / tokens, 1.0)
    peak = rung.clock.peak
    log_peak = np.log(peak) if np.isfinite(peak) and peak > 0 else np.nan
    return np.stack([share, np.full_like(share, np.log(rung.batch)), np.full_like(share, log_peak)])


def _late(clock: Clock) -> float:
    return {"constant": 0.0, "gradual": -1.0, "late": 1.0}[clock.kind]


def thinned(rungs: list[Rung]) -> Rows:
    """All rungs in bins: at most 12 a run and about 600 in all."""
    bins = int(np.clip(MOST_ROWS // len(rungs), FEWEST_BINS, BINS))
    return joined([_bins(rung, i, bins) for i, rung in enumerate(rungs)])


def joined(parts: list[Rows]) -> Rows:
    """Rows one after another."""
    names = [field.name for field in fields(Rows)]
    return Rows(
        *(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names)
    )


def _bins(rung: Rung, i: int, bins: int) -> Rows:
    t, end = rung.tokens, rung.end
    keep = t >= rung.start
    first = max(t[keep][0], rung.start) * 0.999
    edges = np.geomspace(first, max(end * (1 - END_SHARE), first * 1.0001), bins)
    edges = np.append(edges, end * 1.001)
    which = np.where(keep, np.digitize(t, edges) - 1, -1)
    x, q = rung.clock.at(t)
    used = [b for b in range(bins) if (which == b).any()]
    rows = [which == b for b in used]
    tokens = np.array([t[k].mean() for k in rows])
    loss = np.array([rung.loss[k].mean() for k in rows])
    log_x = np.array([np.log(x[k]).mean() for k in rows])
    responses = np.stack([q[:, :, k].mean(axis=2) for k in rows], axis=-1)
    size = len(used)
    return Rows(
        np.full(size, i),
        np.full(size, np.log(rung.params)),
        log_x,
        responses.reshape(len(LOG_TAUS), len(POWERS), size),
        loss,
        tokens,
        edges[:-1][used] / rung.batch,
        edges[1:][used] / rung.batch,
        features_of(rung, tokens),
        np.full(size, _late(rung.clock)),
    )


def target_rows(rung: Rung, tokens: Floats, run: int) -> Rows:
    """Places of a run that are asked for; its data do not matter."""
    x, q = rung.clock.at(tokens)
    k = len(tokens)
    steps = tokens / rung.batch
    return Rows(
        np.full(k, run), np.full(k, np.log(rung.params)), np.log(x), q, np.full(k, np.nan), tokens,
        steps, steps, features_of(rung, tokens), np.full(k, _late(rung.clock)),
    )  # fmt: skip
