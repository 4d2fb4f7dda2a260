"""What the loss curve was inside the data: draws of smooth curves through noisy points.

A law's own posterior is no description of a curve that was seen: it is narrower than the law is
wrong.  Here the curve is a regression on smooth columns plus a cubic smoothing spline, and noise:

    y_b = x(t_b)'beta + s(t_b) w(v_b) + e_b,    e_b ~ Normal(0, sigma^2 / weight_b)

* ``x(t)`` = 1, log t, t^-1/2 and t, with flat priors;
* w is an integrated Wiener process, i.e. a cubic smoothing spline (Wahba 1978, JRSS B 40(3)), of
  variance ``q sigma^2``, on the clock v, half log t and half t, so that the end of a run (where the
  learning rate falls) has as much room as its beginning;
* s is the local slope by a rough power law: a curve may bend more where it is steep;
* q is summed over a wide grid with its restricted likelihood, sigma^2 is integrated out.

Intervals of such splines hold across the function about as often as they say (Wahba 1983, JRSS B
45(1); Nychka 1988, JASA 83).  In the eigenvectors of the smoother the posterior of the spline is
independent given q, so drawing costs one product of matrices.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._base.ragged import Floats, Ints

if TYPE_CHECKING:
    from ..runs.collection import Runs

Seeds = NDArray[np.uint64]

BINS = 80
PATTERNS = 40  # of the spline: resolution 1/40 of the clock
NODES = 512
COLUMNS = 4
LOOSE = 1e-7  # precision of the columns' prior, in units of 1 / sigma: flat
LOG_Q = np.arange(-1.0, 9.1, 0.5)  # log10 of the spline's variance over that of the noise
EXPONENTS = np.arange(0.05, 1.01, 0.05)  # of the rough power law
LEAST_SLOPE = 0.2  # of its median
PRIOR_POINTS = 2.0  # what the prior of the noise counts: its scale is that of rounding


class Smoothers(NamedTuple):
    """The posteriors of R curves, ready to be drawn."""

    # start, end: shape (R,): ends of the data on the axis
    start: Floats
    end: Floats
    columns: Floats  # shape (R, COLUMNS, COLUMNS): what makes the columns of x(t) orthonormal
    level: Floats  # shape (R, COLUMNS): estimate of their coefficients with the spline at 0
    shift: Floats  # shape (R, COLUMNS, PATTERNS): what a spline takes off that estimate
    rotation: Floats  # shape (R, PATTERNS, PATTERNS): eigenvectors of the smoother
    strength: Floats  # shape (R, PATTERNS): its eigenvalues
    signal: Floats  # shape (R, PATTERNS): products of the eigenvectors with the data
    weights: Floats  # shape (R, len(LOG_Q)): posterior of q
    # shape (R, len(LOG_Q)): scale of sigma^2 given q: sigma^2 is that over a chi-square of
    # `freedom`
    squares: Floats
    freedom: Floats  # shape (R,)
    slope: Floats  # shape (R, 3): size, exponent and least value of the local slope
    points: Ints  # shape (R,): points used

    def draw(
        self,
        at: Floats,  # shape (R, G): axis values within each run's data
        keys: Seeds,  # shape (R,): random-number key of each run: its draws depend on nothing else
        draws: int,
        # shape (R, draws): standard normal scores that the curve is to have at the end of the data,
        # given its constants: ties it to something else
        ends: Floats | None = None,
    ) -> Floats:
        """Curves.

        Returns
        -------
        ndarray, shape (R, G, draws)
        """
        base, patterns = self._patterns(at)
        last = self._patterns(self.end[:, None])[1][:, 0]
        curves = np.empty((*at.shape, draws))
        for r, key in enumerate(keys):  # a run at a time stays in the processor's cache
            rng = np.random.default_rng(int(key))
            which, sigma = self._constants(r, rng, draws)
            spread = 1.0 / np.sqrt(self.strength[r, :, None] + 10.0**-LOG_Q)
            scale = np.concatenate([spread, np.ones((COLUMNS, len(LOG_Q)))])[:, which]
            random = rng.standard_normal((PATTERNS + COLUMNS, draws))
            if ends is not None:
                pull = last[r, :, None] * scale
                length = np.einsum("ij,ij->j", pull, pull)
                missing = ends[r] / np.sqrt(length)
                missing -= np.einsum("ij,ij->j", pull, random) / length
                pull *= missing
                random += pull
            random *= scale
            random *= sigma
            random[:PATTERNS] += (self.signal[r, :, None] * spread**2)[:, which]
            np.matmul(patterns[r], random, out=curves[r])
            curves[r] += base[r, :, None]
        return curves

    def _constants(self, r: int, rng: np.random.Generator, draws: int) -> tuple[Ints, Floats]:
        """Draws of q (its place in LOG_Q) and of sigma for one run, shape (draws,)."""
        # Stratified: the shares of q are exact.
        at = (np.arange(draws) + rng.random()) / draws
        which = np.searchsorted(np.cumsum(self.weights[r]), at * (1 - 1e-12))
        which = rng.permutation(np.minimum(which, len(LOG_Q) - 1))
        return which, np.sqrt(self.squares[r, which] / rng.chisquare(self.freedom[r], draws))

    def _patterns(self, at: Floats) -> tuple[Floats, Floats]:
        """The curve with the spline at 0, (R, G), and the effect of each coefficient."""
        columns = _columns(at, self.end) @ self.columns
        waves = _waves(at, self.start, self.end, self.slope) @ self.rotation
        waves -= columns @ self.shift
        base = (columns @ self.level[:, :, None])[:, :, 0]
        return base, np.concatenate([waves, columns], axis=2)


@cache
def _wiener() -> tuple[Floats, Floats]:
    """Nodes on [0, 1] and patterns of the integrated Wiener process there, (NODES, PATTERNS)."""
    v = (np.arange(NODES) + 0.5) / NODES
    m = np.minimum(v[:, None], v)
    covariance = m**2 * (3 * np.maximum(v[:, None], v) - m) / 6
    values, vectors = np.linalg.eigh(covariance)
    top = np.argsort(values)[::-1][:PATTERNS]
    return v, vectors[:, top] * np.sqrt(values[top])


def clock(t: Floats, start: Floats, end: Floats) -> Floats:
    """Half log t and half t, from 0 at the start of the data to 1 at their end."""
    start, end = start[:, None], end[:, None]
    return 0.5 * np.log(t / start) / np.log(end / start) + 0.5 * (t - start) / (end - start)


def _columns(t: Floats, end: Floats) -> Floats:
    """1, log t, t^-1/2 and t, with t in units of the end: shape (R, G, COLUMNS)."""
    share = t / end[:, None]
    return np.stack([np.ones_like(share), np.log(share), share**-0.5, share], axis=-1)


def _waves(t: Floats, start: Floats, end: Floats, slope: Floats) -> Floats:
    """Patterns of the spline, times the local slope: shape (R, G, PATTERNS)."""
    nodes, patterns = _wiener()
    v = clock(t, start, end)
    # The ends of the data lie half a node beyond the outermost ones: on the line of the last two.
    place = np.clip((np.nan_to_num(v) - nodes[0]) * NODES, -0.5, NODES - 0.5)
    below = np.clip(place.astype(np.int64), 0, NODES - 2)
    part = (place - below)[..., None]
    waves = (1 - part) * patterns[below] + part * patterns[below + 1]
    size, exponent, least = (slope[:, k, None] for k in range(3))
    share = t / end[:, None]
    # Per unit of the clock, whose speed against log t is half of both parts.
    speed = 0.5 / np.log(end / start)[:, None] + 0.5 * share / (1 - start / end)[:, None]
    local = np.maximum(size * share**-exponent / speed, least)
    return np.asarray(waves * local[..., None])


def smoothers(
    runs: Runs,  # spikes are left out, and points at 0 of the axis
    axis: str,
) -> Smoothers:
    """Fit every run."""
    t, y, w, floor, points = binned(runs, axis)
    weighted = w > 0
    start = np.array([row[ok][0] for row, ok in zip(t, weighted, strict=True)])
    end = np.array([row[ok][-1] for row, ok in zip(t, weighted, strict=True)])
    # Bins have their mean place: the data reach a little farther.
    flat = runs.flat(axis)
    start = np.minimum(start, _first_positive(flat.x, flat.offsets))
    end = flat.x[flat.offsets[1:] - 1]
    t = np.where(weighted, t, end[:, None])
    root = np.sqrt(w)
    centre = (w * y).sum(axis=1) / w.sum(axis=1)
    y = np.where(weighted, y - centre[:, None], 0.0)
    slope = _slopes(t, y, w, start, end)
    columns = root[:, :, None] * _columns(t, end)
    augmented = np.concatenate(
        [columns, np.tile(LOOSE * np.eye(COLUMNS), (len(t), 1, 1))], axis=1
    )  # fmt: skip
    orthonormal, upper = np.linalg.qr(augmented)
    orthonormal = orthonormal[:, : t.shape[1]]
    make = np.linalg.inv(upper)
    waves = root[:, :, None] * _waves(t, start, end, slope)
    across = np.swapaxes(orthonormal, 1, 2)
    fitted = across @ waves
    rest = waves - orthonormal @ fitted
    data = (root * y)[:, :, None]
    level = across @ data
    left = data - orthonormal @ level
    values, vectors = np.linalg.eigh(np.swapaxes(rest, 1, 2) @ rest)
    values = np.maximum(values, 0.0)
    signal = (np.swapaxes(rest @ vectors, 1, 2) @ left)[:, :, 0]
    n = weighted.sum(axis=1)
    freedom = np.maximum(n - COLUMNS, 1) + PRIOR_POINTS
    total = (left[:, :, 0] ** 2).sum(axis=1)
    q = 10.0**LOG_Q
    shrink = q / (1 + values[:, :, None] * q)  # (R, PATTERNS, Q)
    squares = total[:, None] - (signal[:, :, None] ** 2 * shrink).sum(axis=1)
    least = np.maximum(floor, 1e-9 * np.maximum(np.abs(centre), 1e-300))
    squares = np.maximum(squares, 0.0) + PRIOR_POINTS * (least**2)[:, None]
    log_weight = -0.5 * np.log1p(values[:, :, None] * q).sum(axis=1)
    log_weight -= 0.5 * freedom[:, None] * np.log(squares)
    weights = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    # The constant column takes the mean back.
    level = level[:, :, 0] + upper[:, :, 0] * centre[:, None]
    return Smoothers(
        start, end, make, level, fitted @ vectors, vectors, values, signal, weights, squares,
        freedom, slope, points,
    )  # fmt: skip


def _first_positive(x: Floats, offsets: Ints) -> Floats:
    """The first axis value above 0 of each run."""
    first = offsets[:-1].copy()
    at_zero = x[first] <= 0
    first[at_zero] += 1
    return np.asarray(x[first])


def binned(runs: Runs, axis: str) -> tuple[Floats, Floats, Floats, Floats, Ints]:
    """Mean place, mean loss and weight of at most `BINS` bins a run; rounding noise; points."""
    flat = runs.flat(axis)
    n_runs = len(runs)
    t = np.zeros((n_runs, BINS))
    y = np.zeros((n_runs, BINS))
    w = np.zeros((n_runs, BINS))
    points = np.zeros(n_runs, np.int64)
    most = 0
    for r in range(n_runs):
        rows = slice(int(flat.offsets[r]), int(flat.offsets[r + 1]))
        keep = ~flat.spike[rows] & (flat.x[rows] > 0)
        x, loss, weight = flat.x[rows][keep], flat.loss[rows][keep], flat.weight[rows][keep]
        points[r] = n = len(x)
        if n > BINS:
            v = clock(x[None], x[:1], x[-1:])[0]
            which = np.minimum((v * BINS).astype(np.int64), BINS - 1)
            each = np.bincount(which, weight, BINS)
            full = each > 0
            n = int(full.sum())
            t[r, :n] = (np.bincount(which, weight * x, BINS)[full]) / each[full]
            y[r, :n] = (np.bincount(which, weight * loss, BINS)[full]) / each[full]
            w[r, :n] = each[full]
        else:
            t[r, :n], y[r, :n], w[r, :n] = x, loss, weight
        most = max(most, n)
    decimals = runs._columns.decimals
    floor = np.where(decimals >= 0, 10.0 ** -np.maximum(decimals, 0.0) / 12**0.5, 0.0)
    return t[:, :most], y[:, :most], w[:, :most], floor, points


def _slopes(t: Floats, y: Floats, w: Floats, start: Floats, end: Floats) -> Floats:
    """Size, exponent and least value of the local slope by a rough power law, shape (R, 3)."""
    share = t / end[:, None]
    best = np.full(len(t), np.inf)
    size = np.zeros(len(t))
    exponent = np.full(len(t), 0.3)
    weight = w.sum(axis=1)
    mean_y = (w * y).sum(axis=1) / weight
    for alpha in EXPONENTS:
        column = share**-alpha
        mean = (w * column).sum(axis=1) / weight
        gap = column - mean[:, None]
        above = (w * gap * gap).sum(axis=1)
        amplitude = (w * gap * y).sum(axis=1) / np.maximum(above, 1e-300)
        error = (w * (y - mean_y[:, None] - amplitude[:, None] * gap) ** 2).sum(axis=1)
        better = error < best
        best = np.where(better, error, best)
        size = np.where(better, np.abs(alpha * amplitude), size)
        exponent = np.where(better, alpha, exponent)
    span = np.maximum((y * (w > 0)).max(axis=1) - (y * (w > 0)).min(axis=1), 1e-12)
    size = np.maximum(size, 1e-3 * span)
    grid = np.geomspace(1e-3, 1, 40)
    lowest = np.maximum(grid, (start / end)[:, None])
    speed = 0.5 / np.log(end / start)[:, None] + 0.5 * lowest / (1 - start / end)[:, None]
    local = size[:, None] * lowest ** -exponent[:, None] / speed
    return np.stack([size, exponent, LEAST_SLOPE * np.median(local, axis=1)], axis=1)
