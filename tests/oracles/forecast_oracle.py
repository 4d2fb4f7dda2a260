"""The default forecast in plain NumPy, to check the kernels against.

This file: the data, the cells and their weights (1 to 3); `forecast_draws` draws curves (4, 5).

1  Scale.  The last 65 % of the data are binned (40 bins, log-spaced) and the logarithms y of the
   bins' means are fitted; data with a value <= 0 are fitted on (loss - level) / scale.
2  Law of a cell.  y = c - a phi(x) - B (D - Dc) + g + noise; phi = (1 - (x/xc)^-alpha) / alpha, x
   the integral of the relative rate, D the delayed response to that rate, and g a Brownian motion
   in log t of size kb b (b: the local slope of y an e-fold), pinned at the last point.  c is flat,
   a ~ N(b, (2b)^2) truncated to a > 0 and B normal, all integrated out in closed form.
3  Weights.  evidence^eta times a prior whose logits are linear in the features of the run.
4  Future.  g goes on with a larger variance, which is learned; three scales (heavy tails), each
   with a wider lower side.  One draw is one curve over all targets.
5  Width.  Draws are stretched about their median by factors that hold left-out sources' outcomes.

Nothing here depends on which other targets are asked.  Constants are learned by
``python -m benches.learn_forecast CURVES`` and read from JSON.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

ALPHA = np.array([-0.5, 0.0, 0.2, 0.45, 0.75, 1.25])
KB = np.array([0.02, 0.07, 0.25, 0.8, 2.5])  # in local slopes per sqrt(e-fold)
TEMPER = np.array([1.5, 8.0])  # factors on the noise's variance: white, slow
RESPONSES = (  # tau: steps, and at most this share of the plan; power of the rate
    (150.0, 0.02, 0.65),
    (800.0, 0.08, 0.65),
    (300.0, 0.03, 0.3),
)
STRENGTH = (  # prior normals of B: unit (0: a text's B0, 1: a local slope), mean, sd
    (0, 0.25, 0.2),
    (0, 0.85, 0.17),
    (0, 1.2, 0.24),
    (1, 0.0, 0.25),
    (1, 0.5, 0.35),
    (1, 1.5, 0.75),
    (1, 4.0, 2.0),
)
FIRST, DOUBT, BINS, SLOPE_SD = 0.35, 2.0, 40, 2.0
NAMES = ("one", "slope", "noise", "like", "known", "rough", "many", "rest", "nothing")
SIZES = {  # rows of the constants' table; its columns are the features, and the features times like
    "alpha": 6,
    "kb": 5,
    "temper": 2,
    "strength": 7,
    "schedule": 11,
    "eta": 1,
    "grow": 1,
    "curve": 1,
    "drift": 1,
    "response": 1,
    "slow": 1,
    "tail": 2,
    "jitter": 1,
    "size": 3,
    "lean": 3,
}
ROWS = {k: (sum(list(SIZES.values())[:i]), n) for i, (k, n) in enumerate(SIZES.items())}
NODES = 300  # of the integrals over the rate
MODES = {"known": (0,), "total": (1, 2, 3, 4, 5), "nothing": (6, 7, 8, 9, 10)}  # schedule rows


# ---- 1. data ------------------------------------------------------------------------------------
def clean(t, loss, positive):
    """Without points that are off every straight line in log t through two neighbours."""
    y, n = np.log(loss) if positive else loss, len(loss)
    if n < 9:
        return t, loss
    x, i = np.log(t), np.arange(n)
    lines = [(1, n - 1, -1, 1), (2, n, -1, -2), (0, n - 2, 1, 2)]  # places, and the two neighbours
    off = np.full((3, n), np.inf)
    for k, (first, last, a, b) in enumerate(lines):
        j = i[first:last]
        slope = (y[j + b] - y[j + a]) / (x[j + b] - x[j + a])
        off[k, j] = np.abs(y[j] - y[j + a] - slope * (x[j] - x[j + a]))
    sd = 1.4826 * np.median(off[0, 1:-1]) / 1.5**0.5
    limit = np.full(n, 8 * sd + 0.001 * (1 if positive else np.median(np.abs(y))))
    limit[[0, -1]] *= 2.5  # one line only
    step = np.abs(np.diff(y))
    step = np.minimum(np.r_[step, np.inf], np.r_[np.inf, step])
    ok = (off.min(axis=0) <= limit) | (off.min(axis=0) <= 0.5 * step)
    return t[ok], loss[ok]


def binned(x, y, edges):
    """Means of x and y, and counts, in the bins that hold a point."""
    bins = len(edges) - 1
    k = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)
    n = np.bincount(k, minlength=bins)
    u = n > 0
    return np.bincount(k, x, bins)[u] / n[u], np.bincount(k, y, bins)[u] / n[u], n[u]


def prepare(t, loss, warmup=0.0):
    """What the cells need of a curve."""
    t, loss = np.asarray(t, float), np.asarray(loss, float)
    ok = np.isfinite(loss) & (t > 0)
    t, loss = t[ok], loss[ok]
    tc, positive = t[-1], bool((loss > 0).all())
    t, loss = clean(t, loss, positive)
    window = t >= max(1.2 * warmup, FIRST * tc)
    if window.sum() < 12:
        window = np.arange(len(t)) >= len(t) - 25
    tw, lw = t[window], loss[window]
    level, scale = np.median(lw[-max(3, len(lw) // 20) :]), 1.0
    if positive:
        y = np.log(lw)
    else:
        scale = max(np.median(np.abs(lw)), 1e-12)
        y = (lw - level) / scale
    late = y[len(y) // 2 :] if len(y) >= 24 else y
    bend = late[1:-1] - (late[:-2] + late[2:]) / 2
    noise = 0.01
    if len(bend) > 2:
        noise = 1.4826 * np.median(np.abs(bend - np.median(bend))) / 1.5**0.5
    noise = max(noise, 5e-5)
    bx, bl, n = binned(np.log(tw), lw, np.linspace(np.log(tw[0]), np.log(tw[-1]), BINS + 1))
    by = np.log(bl) if positive else (bl - level) / scale
    # The local slope per e-fold of t, over the last two octaves.
    recent = t >= max(tc / 4, min(1.2 * warmup, 0.7 * tc))
    if recent.sum() < 6:
        recent = np.arange(len(t)) >= len(t) - 6
    x2 = np.log(t[recent] / tc)
    y2 = np.log(loss[recent]) if positive else (loss[recent] - level) / scale
    sx, sy, count = binned(x2, y2, np.linspace(x2[0], 1e-9, 21))
    if len(sx) < 3:
        sx, sy, count = bx - np.log(tc), by, n
    w = np.minimum(count, 5.0)
    mx, my = (w * sx).sum() / w.sum(), (w * sy).sum() / w.sum()
    vx = (w * (sx - mx) ** 2).sum()
    slope = -(w * (sx - mx) * (sy - my)).sum() / vx
    r = sy - my + slope * (sx - mx)
    se = np.sqrt(max((w * r**2).sum() / max(len(sx) - 2, 1) / vx, 0)) if len(sx) > 2 else abs(slope)
    b = max(slope, 0.004, 0.3 * se)
    # How much of that error white noise explains: the rest is the curve's own roughness.
    white = noise * np.sqrt((w**2 * (sx - mx) ** 2 / count).sum()) / vx
    own = np.sqrt(max(se**2 - white**2, (0.3 * se) ** 2))
    density = max((t >= tc / 1.5).sum() / np.log(1.5), 1.0)  # points an e-fold at the end
    last = float((by[-2:] * n[-2:]).sum() / n[-2:].sum())
    top = max(float(by.max()) - last, 1.5 * b, 3 * noise / np.sqrt(n[-1]), 0.02)
    return dict(
        tc=tc,
        positive=positive,
        scale=scale,
        level=level,
        noise=noise,
        bt=np.exp(bx),
        by=by,
        n=n,
        b=b,
        se=se,
        own=own,
        density=density,
        last=last,
        top=top,
        points=len(t),
    )


# ---- 2. cells -----------------------------------------------------------------------------------
def relative_rate(schedule, grid, tc):
    """The rate over its peak; the warm-up counts at the peak."""
    r = np.asarray(schedule(grid), float)
    r = np.where(np.isfinite(r), r, 0)
    peak = r.max()
    if peak <= 0:
        return np.ones_like(grid)
    r = np.clip(r / peak, 0, 1)
    j = int(np.argmax(r >= 0.95))
    if grid[j] < 0.35 * tc:
        r[:j] = 1.0
    return r


def menu(end):
    """Five plans: constant, cosine to 10 %, cosine to 0, linear to 0, a cooldown of 30 %."""

    def plan(f):
        return lambda t: f(np.clip(np.asarray(t, float) / end, 0, 1))

    return [
        plan(np.ones_like),
        plan(lambda u: 0.1 + 0.9 * (1 + np.cos(np.pi * u)) / 2),
        plan(lambda u: (1 + np.cos(np.pi * u)) / 2),
        plan(lambda u: 1 - u),
        plan(lambda u: np.clip((1 - u) / 0.3, 0, 1)),
    ]


def open_menu(tc):
    """Five plans where nothing is known: constant, three cosines and a line."""

    def cosine(end):
        return lambda t: 0.1 + 0.9 * (1 + np.cos(np.pi * np.clip(t / end, 0, 1))) / 2

    return [
        lambda t: np.ones_like(np.asarray(t, float)),
        cosine(1.5 * tc),
        cosine(3 * tc),
        cosine(8 * tc),
        lambda t: 1 - np.clip(np.asarray(t, float) / (3 * tc), 0, 1),
    ]


def along(schedules, points, tc, plan):
    """Integral of the relative rate, and D (schedule, response, point), at some points."""
    end = max(points.max(), plan, tc)
    even, early = np.linspace(0, end, NODES)[1:], np.geomspace(end * 1e-4, end, NODES // 3)
    grid = np.unique(np.r_[0.0, even, early, tc, points[-1]])
    rate = np.array([relative_rate(s, grid, tc) for s in schedules])
    area = np.cumsum((rate[:, 1:] + rate[:, :-1]) / 2 * np.diff(grid), axis=1)
    area = np.concatenate([np.zeros((len(rate), 1)), area], axis=1)
    x = np.array([np.interp(points, grid, q) for q in area])
    lag = np.maximum(points[:, None] - (grid[1:] + grid[:-1]) / 2, 0)
    responses = []
    for tau, share, power in RESPONSES:
        drop = rate[:, :-1] ** power - rate[:, 1:] ** power
        responses.append(drop @ -np.expm1(-lag / min(tau, max(share * plan, 1e-9))).T)
    return x, np.stack(responses, axis=1)


def paths(schedules, bt, tc, at, plan, future=None):
    """phi (schedule, alpha, point) and D - D(tc) (schedule, response, point) at bins and targets.

    future: the schedules that lead to the targets, where they are not those of the data (a
    finished run asked for a longer plan).  Each target is computed by itself.
    """
    x, D = along(schedules, np.r_[bt, tc], tc, plan)
    xc, Dc = x[:, -1:], D[:, :, -1:]
    ahead = [along(future or schedules, np.array([t]), tc, plan) for t in at]
    x = np.concatenate([x[:, :-1], *(q for q, _ in ahead)], axis=1)
    D = np.concatenate([D[:, :, :-1], *(q for _, q in ahead)], axis=2)
    lx = np.log(np.maximum(x / xc, 1e-9))
    phi = np.stack([lx if a == 0 else -np.expm1(-a * lx) / a for a in ALPHA], axis=1)
    return phi, D - Dc


def cells(d, at, schedules, plan, future=None):
    """The posterior of every cell; axes: temper, kb, schedule, alpha, response, strength.

    ``logz`` is the log evidence; a ~ N(a, va) cut to a > 0, B given a ~ N(B + cov / va (a - mean),
    vB - cov^2 / va), c ~ N(0, vc) about what ``level`` + ``f`` a + ``g`` B say at the targets.
    """
    at = np.asarray(at, float)
    b, nb = d["b"], len(d["bt"])
    phi, D = paths(schedules, d["bt"], d["tc"], at, plan, future)
    u = np.log(d["tc"] / np.minimum(d["bt"], d["tc"]))
    u = u * (1 + DOUBT * u)
    white = TEMPER[:, None, None, None] * d["noise"] ** 2 * np.diag(1.0 / d["n"])
    C = white + (KB[None, :, None, None] * b) ** 2 * np.minimum(u[:, None], u) + 1e-14 * np.eye(nb)
    root = np.linalg.cholesky(C)
    S, A, Q = len(schedules), len(ALPHA), len(RESPONSES)
    past_phi, past_D = phi.reshape(S * A, -1)[:, :nb], D.reshape(S * Q, -1)[:, :nb]
    columns = np.concatenate([np.ones((1, nb)), d["by"][None], -past_phi, -past_D]).T
    white = np.linalg.solve(root, np.broadcast_to(columns, C.shape[:2] + columns.shape))
    one = white[..., :1]
    n1 = (one**2).sum((-2, -1))
    mean = (one * white).sum(-2) / n1[..., None]  # c is flat: project it out
    white = white - one * mean[..., None, :]
    lead, pair = white.shape[:3], white.shape[:2]
    y, F, E = np.split(white[..., 1:], [1, 1 + S * A], axis=-1)
    y, F, E = y[..., 0], F.reshape(*lead, S, A), E.reshape(*lead, S, Q)
    level, mF, mE = np.split(mean[..., 1:], [1, 1 + S * A], axis=-1)
    mF, mE = mF.reshape(*pair, S, A), mE.reshape(*pair, S, Q)
    ff = np.einsum("abisj,abisj->absj", F, F)[..., None, None]
    ee = np.einsum("abisj,abisj->absj", E, E)[..., None, :, None]
    fe = np.einsum("abisj,abisk->absjk", F, E)[..., None]
    fy = np.einsum("abisj,abi->absj", F, y)[..., None, None]
    ey = np.einsum("abisk,abi->absk", E, y)[..., None, :, None]
    B0 = min(0.19 / d["level"] if d["positive"] and d["level"] > 0 else 0.127, 0.127, 3 * b)
    mu = np.array([m * (b if unit else B0) for unit, m, _ in STRENGTH])
    sd = np.array([s * (b if unit else B0) for unit, _, s in STRENGTH])
    sa = SLOPE_SD * b
    a11, a22, a12 = ff + 1 / sa**2, ee + 1 / sd**2, fe
    r1, r2 = fy + b / sa**2, ey + mu / sd**2
    det = a11 * a22 - a12**2
    slope, strength = (a22 * r1 - a12 * r2) / det, (a11 * r2 - a12 * r1) / det
    halves = np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(-1)
    halves = halves + 0.5 * np.log(n1) + 0.5 * (y**2).sum(-1)
    prior = 0.5 * (b**2 / sa**2 + mu**2 / sd**2) + np.log(sa * sd) + log_ndtr(1 / SLOPE_SD)
    logz = 0.5 * (slope * r1 + strength * r2) - 0.5 * np.log(det) - prior
    logz = logz + log_ndtr(slope / np.sqrt(a22 / det)) - _wide(halves)
    shape = logz.shape
    f = [np.broadcast_to((-phi[:, :, nb + j] - mF)[..., None, None], shape) for j in range(len(at))]
    g = [
        np.broadcast_to((-D[:, :, nb + j] - mE)[..., None, :, None], shape) for j in range(len(at))
    ]
    dD = [np.broadcast_to(D[:, :, nb + j][:, None, :, None], shape) for j in range(len(at))]
    pieces = dict(logz=logz, a=slope, va=a22 / det, B=strength, vB=a11 / det, cov=-a12 / det)
    pieces.update(level=_wide(level[..., 0]), vc=_wide(1 / n1))
    pieces = {k: np.broadcast_to(v, shape) for k, v in pieces.items()}
    return {**pieces, "f": np.array(f), "g": np.array(g), "dD": np.array(dD)}


def _wide(z):
    return z[..., None, None, None, None]


def moments(p):
    """Mean, variance (of a, B and c) and (B dD)^2 of each cell at each target."""
    sda = np.sqrt(p["va"])
    r = p["a"] / sda
    lam = np.exp(-0.5 * r**2 - log_ndtr(r)) / np.sqrt(2 * np.pi)
    c = (p["f"] * p["va"] + p["g"] * p["cov"]) / sda
    m = p["level"] + p["f"] * p["a"] + p["g"] * p["B"] + c * lam
    v = p["f"] ** 2 * p["va"] + 2 * p["f"] * p["g"] * p["cov"] + p["g"] ** 2 * p["vB"]
    v = p["vc"] + v - c**2 * lam * (lam + r)
    return m, v, (p["B"] * p["dD"]) ** 2


# ---- 3. features and weights --------------------------------------------------------------------
def features(d, plan, known, nothing, domain=None):
    """What the run looks like (NAMES), each of order one."""
    slope = np.clip(np.log(d["b"] / 0.08), -3, 3.5)
    noise = np.clip(np.log(d["noise"] / 0.01) / 2, -2, 2.5)
    rough = np.clip(np.log(max(d["se"], 1e-6) / d["b"]) + 2, -3, 3)
    own = np.clip(np.log(max(d["own"], 1e-6) / d["b"]) + 2, -3, 3)
    text = d["positive"] and 1.3 < d["level"] < 6.5 and d["b"] < 0.2 and d["points"] > 30
    like = float(text) / (1 + np.exp((own + 0.7) / 0.3))
    if domain == "other":
        like = 0.0
    many = np.clip(np.log(d["points"] / 100) / 2, -1, 2)
    rest = np.clip(np.log(max(plan / d["tc"], 1.0)) - 1, -1, 2)
    return np.array([1.0, slope, noise, like, float(known), rough, many, rest, float(nothing)])


def hyper(table, f):
    """The hyper-parameters of a run, by name."""
    values = np.asarray(table) @ np.r_[f, f[3] * f]
    return {k: values[a : a + n] for k, (a, n) in ROWS.items()}


def weights(logz, H, mode, extra=None):
    """Posterior weights of the cells; ``extra``: logits that siblings add, by axis."""
    axes = {"temper": 0, "kb": 1, "schedule": 2, "alpha": 3, "strength": 5}
    lw = logz / (1 + np.exp(-H["eta"][0]))
    for name, axis in axes.items():
        z = H[name][list(MODES[mode])] if name == "schedule" else H[name]
        z = z + (extra or {}).get(name, 0.0)
        lw = lw + z.reshape([-1 if i == axis else 1 for i in range(6)])
    w = np.exp(lw - lw.max())
    return w / w.sum()
