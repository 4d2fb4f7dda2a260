"""Log score of the default forecast, and its gradient in the learned constants.

A *problem* is one cut run in one state of knowledge: its cells (evidence, and what each predicts at
the targets) are computed once by ``tests/oracles/forecast_oracle.py``; weights, variances and tails
then depend on the constants alone, so that learning them takes seconds a pass.

The constants are a table ``H`` of 46 hyper-parameters by 18 features (nine features of the run, and
the same times ``like``).  Everything is float32 with a polynomial exponential (relative error below
1e-4), so that the loops over cells vectorise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from tests.oracles import forecast_oracle as oracle

Floats = np.ndarray
f32 = np.float32
FEATURES = 9
ROWS = oracle.ROWS  # first row and number of rows of each kind of hyper-parameter
HYPER = sum(n for _, n in ROWS.values())
ETA, GROW, CURVE, DRIFT, RESPONSE, SLOW, TAIL, JITTER, SIZE, LEAN = (
    ROWS[k][0]
    for k in (
        "eta",
        "grow",
        "curve",
        "drift",
        "response",
        "slow",
        "tail",
        "jitter",
        "size",
        "lean",
    )
)
KB, TEMPER = oracle.KB, oracle.TEMPER


@dataclass
class Problem:
    """One cut run in one state of knowledge, with the outcomes on the fitted scale."""

    case: int
    source: str
    mode: str  # known, total or nothing
    horizons: tuple[str, ...]
    features: Floats
    data: dict[str, Any]
    index: Floats  # (6, cells): temper, kb, schedule, alpha, tau, strength
    logz: Floats
    mean: Floats  # (targets, cells)
    variance: Floats
    response: Floats
    schedules: Floats  # rows of the logits of the schedules
    h: Floats
    y: Floats
    noise: Floats

    def columns(self) -> Floats:
        return np.r_[self.features, self.features[3] * self.features]


@njit(fastmath=True, inline="always")
def _exp(x: Any) -> Any:
    """Exp of a number in -40 to 0: a polynomial at x / 128, squared seven times."""
    u = max(x, f32(-40.0)) * f32(0.0078125)
    p = f32(1 / 24) + u * f32(1 / 120)
    p = f32(1) + u * (f32(1) + u * (f32(0.5) + u * (f32(1 / 6) + u * p)))
    for _ in range(7):
        p = p * p
    return p


@njit(fastmath=True)
def _variances(vp: Any, kb2: Any, slow: Any, vB: Any, a: Any, s: Any, r: Any, base: Any, v: Any):
    for k in range(len(v)):
        v[k] = vp[k] + a * kb2[k] + s * slow[k] + r * vB[k] + base


@njit(fastmath=True)
def _densities(
    v: Any, m: Any, w: Any, y: Any, c: Any, n2: Any, lo: Any, up: Any, norm: Any, p: Any
):
    total = f32(0)
    for k in range(len(v)):
        i = f32(1) / (c * v[k] + n2)
        e = y - m[k]
        f = lo if e < f32(0) else up
        q = w[k] * norm * np.sqrt(i) * _exp(f32(-0.5) * e * e * f * i)
        p[k] = q
        total += q
    return total


@njit(fastmath=True)
def _gradients(
    v: Any, m: Any, p: Any, y: Any, c: Any, n2: Any, lo: Any, up: Any, i_s: Any, dv: Any, gl: Any
):
    size, lean, share = f32(0), f32(0), f32(0)
    for k in range(len(v)):
        r = p[k] * i_s
        i = f32(1) / (c * v[k] + n2)
        e = y - m[k]
        below = e < f32(0)
        z2 = e * e * (lo if below else up) * i
        d = r * c * f32(0.5) * (z2 - f32(1)) * i
        dv[k] += d
        size += d * f32(2) * v[k]
        lean += r * z2 if below else -r * z2
        share += r
        gl[k] += r
    return size, lean, share


@njit(fastmath=True)
def _sums(dv: Any, kb2: Any, slow: Any, vB: Any):
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for k in range(len(dv)):
        a += dv[k] * kb2[k]
        b += dv[k] * slow[k]
        c += dv[k] * vB[k]
        d += dv[k]
    return a, b, c, d


@njit(fastmath=True)
def _score(
    hyp: Any,
    g: Any,
    rows: Any,
    logz: Any,
    kb: Any,
    slow: Any,
    m: Any,
    vp: Any,
    vB: Any,
    y: Any,
    no: Any,
    h: Any,
    wt: Any,
    b: Any,
    dens: Any,
    want: Any,
):
    """Weighted log score of one problem; its gradient is added to ``g``."""
    cells = len(logz)
    eta = 1 / (1 + math.exp(-hyp[ETA]))
    w = np.empty(cells, f32)
    top = -1e300
    for k in range(cells):
        s = eta * logz[k]
        for a in range(rows.shape[0]):
            s += hyp[rows[a, k]]
        w[k] = s
        top = max(top, s)
    z = 0.0
    for k in range(cells):
        w[k] = _exp(w[k] - f32(top))
        z += w[k]
    for k in range(cells):
        w[k] /= f32(z)
    grow, curve = math.exp(2 * hyp[GROW]), math.exp(hyp[CURVE])
    drift, resp = math.exp(2 * hyp[DRIFT]) * b * b, math.exp(2 * hyp[RESPONSE])
    sl, jit = math.exp(hyp[SLOW]), math.exp(2 * hyp[JITTER])
    q = np.array([0.0, hyp[TAIL], hyp[TAIL + 1]])
    q = np.exp(q - q.max())
    q /= q.sum()
    part = np.empty((3, cells), f32)
    gl, v = np.zeros(cells, f32), np.empty(cells, f32)
    dv, gk = np.empty(cells, f32), np.empty(cells, f32)
    shares = np.zeros(3)
    total, used = 0.0, False
    for t in range(len(y)):
        if wt[t] == 0:
            continue
        used = True
        hh, h3 = h[t] * (1 + curve * h[t]), h[t] ** 3
        nn, n2, yt = max(0.04 * dens, 1.0) * math.exp(h[t]), f32(no[t] ** 2), f32(y[t])
        _variances(
            vp[t],
            kb,
            slow,
            vB[t],
            f32(grow * hh),
            f32(sl / nn),
            f32(resp),
            f32(drift * h3 + jit),
            v,
        )
        s = 1e-9
        for j in range(3):
            lo = math.exp(hyp[LEAN + j])
            c, norm = f32(math.exp(2 * hyp[SIZE + j])), f32(q[j] * 0.7978845608 / (lo + 1 / lo))
            s += _densities(v, m[t], w, yt, c, n2, f32(1 / lo**2), f32(lo**2), norm, part[j])
        total += wt[t] * math.log(s)
        if not want:
            continue
        dv[:] = 0
        gk[:] = 0
        all_shares = 0.0
        for j in range(3):
            lo = math.exp(hyp[LEAN + j])
            c = f32(math.exp(2 * hyp[SIZE + j]))
            size, lean, share = _gradients(
                v, m[t], part[j], yt, c, n2, f32(1 / lo**2), f32(lo**2), f32(1 / s), dv, gk
            )
            g[SIZE + j] += wt[t] * size
            g[LEAN + j] += wt[t] * (lean - share * (lo - 1 / lo) / (lo + 1 / lo))
            shares[j] = share
            all_shares += share
        for k in range(cells):
            gl[k] += f32(wt[t]) * gk[k]
        g[TAIL] += wt[t] * (shares[1] - q[1] * all_shares)
        g[TAIL + 1] += wt[t] * (shares[2] - q[2] * all_shares)
        dk, dn, dB, d1 = _sums(dv, kb, slow, vB[t])
        g[GROW] += wt[t] * dk * 2 * grow * hh
        g[CURVE] += wt[t] * dk * grow * h[t] * h[t] * curve
        g[DRIFT] += wt[t] * d1 * 2 * drift * h3
        g[RESPONSE] += wt[t] * dB * 2 * resp
        g[SLOW] += wt[t] * dn * sl / nn
        g[JITTER] += wt[t] * d1 * 2 * jit
    if want and used:
        mass, d_eta = 0.0, 0.0
        for k in range(cells):
            mass += gl[k]
        for k in range(cells):
            d = gl[k] - mass * w[k]
            for a in range(rows.shape[0]):
                g[rows[a, k]] += d
            d_eta += d * logz[k]
        g[ETA] += d_eta * eta * (1 - eta)
    return total


def prepared(p: Problem) -> dict[str, Any]:
    """What the loops need of a problem, computed once."""
    i, b = p.index, p.data["b"]
    first = {k: ROWS[k][0] for k in ("temper", "kb", "alpha", "strength", "schedule")}
    rows = np.stack(
        [
            first["temper"] + i[0],
            first["kb"] + i[1],
            first["schedule"] + p.schedules[i[2]],
            first["alpha"] + i[3],
            first["strength"] + i[5],
        ]
    )
    return {
        "rows": rows.astype(np.int64),
        "logz": p.logz.astype(f32),
        "kb": ((KB[i[1]] * b) ** 2).astype(f32),
        "slow": ((TEMPER[i[0]] - 1) * p.data["noise"] ** 2).astype(f32),
        "m": p.mean.astype(f32),
        "vp": p.variance.astype(f32),
        "vB": p.response.astype(f32),
        "columns": p.columns(),
    }


def log_score(
    table: Floats,
    problems: list[Problem],
    ready: list[dict[str, Any]],
    votes: list[Floats],
    want: bool = True,
) -> tuple[float, Floats]:
    """Sum of the weighted log scores, and the gradient in the table."""
    gradient, total = np.zeros_like(table), 0.0
    for p, r, wt in zip(problems, ready, votes, strict=True):
        g = np.zeros(len(table))
        total += _score(
            table @ r["columns"],
            g,
            *(r[k] for k in ("rows", "logz", "kb", "slow", "m", "vp", "vB")),
            p.y,
            p.noise,
            p.h,
            wt,
            p.data["b"],
            p.data["density"],
            want,
        )
        if want:
            gradient += np.outer(g, r["columns"])
    return total, gradient
