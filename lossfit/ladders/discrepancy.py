"""What the law of a ladder misses: covariances between rows.

    y_i = L_i + R_i [ g_N(n) + g_X(x) + g_NX(n, x) + s (x - x_top) + b_run + w_run(x) + f ]
              + c q_i [ h_N(n) + h_run + h_kind ] + sigma y_i eps

==========  =====================================================================================
g_N         a level a size: Brownian in log N and a smooth part, 0 at the largest size; scale kappa
g_X, g_NX   a bend common to the curves, and one that grows with the distance in size
s           a common slope in log X
b, w        a run's own level and shape (0 at the end of its data)
f           warm-up share, batch and peak rate, where they differ from those of the other runs
h           the response differs between sizes, runs, and late and gradual decays, and with the peak
eps         noise, of which a share is common to runs that see the same data in the same order
==========  =====================================================================================

R, c q and y are taken at a pilot fit, so covariances do not depend on the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from .._base.ragged import Floats
from ..surfaces.brownian import brownian, integrated
from .rows import FARTHEST, Rows

SMOOTH = 0.5  # variance of the integrated part of g_N
ROUGH = 0.1  # of the plain Brownian part of the bends
SLOPE = 0.1  # sd of s, of R per e-fold
RISE, RISE_RUN = 0.15, 0.08  # sd of h_N per root e-fold of N, and of h_run
RISE_KIND, RISE_PEAK = 0.10, 0.10  # sd of h by kind of decay, and by e-fold of the peak rate
BEGUN_SLOPE = 0.01  # a begun run may leave the ladder's shape by so much of R per e-fold ahead
#: sd of the effect on R of the warm-up's share (by what half a warm-up moves the clock, with an
#: exponent of about 0.3), and of an e-fold of batch and of peak rate.
FEATURE_SD = np.array([0.15, 0.03, 0.03])

SCALES = ("kappa", "offset", "shape", "noise", "bend", "common")
#: Means and sds of the logarithms (of ``common``: the logit) of the scales.
PRIORS = np.array(
    [
        [np.log(0.03), 0.5],
        [np.log(0.010), 0.7],
        [np.log(0.010), 0.7],
        [np.log(0.002), 1.0],
        [np.log(0.02), 0.7],
        [-1.0, 1.5],
    ]
)
Scales = Floats  # shape (6,): in the coordinates of PRIORS


@dataclass(frozen=True, eq=False)
class Placed:
    """Rows with what their covariances need."""

    rows: Rows
    # n, x: shape (k,): less those of the largest size, and the largest X, of the ladder
    n: Floats
    x: Floats
    # reducible, won, level: shape (k,): R, c q and y at the pilot fit
    reducible: Floats
    won: Floats
    level: Floats
    weight: Floats  # shape (k,): of the row's run: below 1 for one that lies far off
    anchor: Floats  # shape (k,): x at which the run's own shape is 0
    # shape (k,): rows of a run that is forecast from its own beginning
    begun: np.ndarray[tuple[int], np.dtype[np.bool_]]
    features: Floats  # shape (3, k): centred

    def take(self, which: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Placed:
        """Some of the rows."""
        cut = {f.name: getattr(self, f.name)[..., which] for f in fields(self) if f.name != "rows"}
        return replace(self, rows=self.rows.take(np.flatnonzero(which)), **cut)


def centred_features(rows: Rows, by: Rows) -> Floats:
    """Features of rows less what the ladder's rows ``by`` have at that size; 0 where unknown."""
    out = np.zeros((3, len(rows)))
    out[0] = rows.features[0]
    first = np.unique(by.run, return_index=True)[1]
    sizes = by.n[first]
    for k in (1, 2):
        values = by.features[k, first]
        known = np.isfinite(values)
        if not known.any():
            continue
        if len(np.unique(np.round(sizes[known], 1))) >= 3:
            line = np.polyfit(sizes[known], values[known], 1)
        else:
            line = np.array([0.0, values[known].mean()])
        gap = rows.features[k] - np.polyval(line, rows.n)
        out[k] = np.clip(np.nan_to_num(gap), -FARTHEST, FARTHEST)
    return out


def _both(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[:, None] * b[None])


def pieces(a: Placed, b: Placed) -> dict[str, Floats]:
    """Covariances of rows a and b by scale (for scales of 1), and ``fixed``: shape (ka, kb)."""
    r = _both(a.reducible, b.reducible)
    won = _both(a.won, b.won)
    sizes = brownian(a.n, b.n, SMOOTH)
    along = integrated(a.x, b.x, ROUGH)
    same = (a.rows.run[:, None] == b.rows.run[None]) / np.sqrt(_both(a.weight, b.weight))
    own = brownian(a.rows.x - a.anchor, b.rows.x - b.anchor)
    features = (a.features.T * FEATURE_SD**2) @ b.features
    fixed = r * (SLOPE**2 * _both(a.x, b.x) + features)
    kind = RISE_KIND**2 * (a.rows.late[:, None] * b.rows.late[None] > 0)
    peak = RISE_PEAK**2 * _both(a.features[2], b.features[2])
    fixed = fixed + won * (RISE**2 * sizes + RISE_RUN**2 * (same > 0) + kind + peak)
    ahead = _both(*(np.where(p.begun, np.maximum(p.rows.x - p.anchor, 0), 0) for p in (a, b)))
    fixed = fixed + BEGUN_SLOPE**2 * ahead * r * (same > 0)
    return {
        "kappa": sizes * r,
        "offset": same * r,
        "shape": same * r * own,
        "bend": along * (1 + sizes) * r,
        "fixed": fixed,
    }


def overlap(rows: Rows) -> Floats:
    """Correlation of the noise of bins, were it all common: their shared steps, shape (k, k)."""
    low = np.maximum(rows.low[:, None], rows.low[None])
    high = np.minimum(rows.high[:, None], rows.high[None])
    length = np.maximum(rows.high - rows.low, 1e-300)
    return np.asarray(np.maximum(high - low, 0) / np.sqrt(_both(length, length)))


def covariances(part: dict[str, Floats], scales: Scales) -> tuple[Floats, Floats]:
    """The discrepancy for kappa 1 (K1), and all the rest but noise (K2)."""
    v = np.exp(2 * scales)
    rest = part["fixed"] + v[1] * part["offset"] + v[2] * part["shape"] + v[4] * part["bend"]
    return part["kappa"], rest


def noise(placed: Placed, scales: Scales) -> Floats:
    """Covariance of the noise of rows."""
    share = 1 / (1 + np.exp(-scales[5]))
    correlation = share * overlap(placed.rows)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(np.exp(2 * scales[3]) * _both(placed.level, placed.level) * correlation)
