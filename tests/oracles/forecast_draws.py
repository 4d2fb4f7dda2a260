"""Draws of the default forecast (steps 4 and 5 of `forecast_oracle`) in plain NumPy.

draws = forecast(t, loss, at, constants, schedule=..., total=..., warmup=...)  # (len(at), n)
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from .forecast_oracle import (
    KB,
    TEMPER,
    cells,
    features,
    hyper,
    menu,
    moments,
    open_menu,
    prepare,
    weights,
)


# ---- what the reader of a log marks --------------------------------------------------------------
def marked(y):
    """Points that the log's cleaning marks: off a running median of five by 8 MAD and .1 %."""
    n, size = len(y), np.abs(y)
    absurd = np.zeros(n, bool)
    if n < 16 and n > 3:  # a point 100 times larger than all others
        absurd = (size > 100 * np.sort(size)[-2]) & (np.sort(size)[-2] > 0)
    if n < 8:
        return absurd
    if n >= 16:
        absurd[0] = size[0] > 100 * size[1:8].max() > 0
    ahead = np.r_[y[0], y[0], y]
    median = np.array([np.median(ahead[i : i + 5]) for i in np.minimum(np.arange(n), n - 3)])
    mad = np.median(np.abs(y[1:-1] - (y[:-2] + y[2:]) / 2))
    off = y - median
    off[-2:] = np.maximum(off[-2:], 0)  # at the end a fall may be true
    return absurd | (np.abs(off) > 8 * mad + 1e-3 * size)


def without_outer(t, loss):
    """Without the marked points before the first and after the last of the others."""
    spike = marked(loss)
    inner = np.flatnonzero(~spike)
    if len(inner) < 3:
        return t, loss
    if len(loss) <= 9:
        return t[inner], loss[inner]
    ok = np.ones(len(loss), bool)
    ok[: inner[0]] = ok[inner[-1] + 1 :] = False
    few = (loss <= 0).sum() <= max(0.01 * len(loss), 1) and (loss[~spike] > 0).all()
    if few:  # marked points at or below 0 among positive losses
        ok &= loss > 0
    return t[ok], loss[ok]


# ---- 4. future ----------------------------------------------------------------------------------
def future_variance(H, b, h):
    """Variance of the discrepancy at log horizon h, by kb."""
    grown = np.exp(2 * H["grow"][0]) * (KB * b) ** 2 * h * (1 + np.exp(H["curve"][0]) * h)
    return grown + np.exp(2 * H["drift"][0]) * b**2 * h**3


def slow_variance(H, d, h):
    """Variance of slow noise at log horizon h, by noise factor."""
    points = max(0.04 * d["density"], 1.0) * np.exp(h)
    return np.exp(H["slow"][0]) * (TEMPER - 1) * d["noise"] ** 2 / points


def tails(H):
    """Probabilities of the three tails, their sizes, and the leans of their sides."""
    p = np.exp(np.r_[0.0, H["tail"]] - max(0.0, H["tail"].max()))
    return p / p.sum(), np.exp(H["size"]), np.exp(H["lean"])


def variances(H, d, h, v, vB):
    """Predictive variance of each cell (before tails)."""
    slow = slow_variance(H, d, h).reshape(-1, 1, 1, 1, 1, 1)
    g = future_variance(H, d["b"], h).reshape(1, -1, 1, 1, 1, 1)
    return v + g + slow + np.exp(2 * H["response"][0]) * vB + np.exp(2 * H["jitter"][0])


KNOTS = np.log([1.5, 3.0])  # of g, so that a target's draw does not depend on the others


def brownian(variance, h, z):
    """g at one target: Brownian in its own variance, through knots; z: (3, draws) normals."""
    at = np.r_[0.0, KNOTS[h > KNOTS], h]
    steps = np.diff([0.0 * variance(h), *(variance(u) for u in at[1:])], axis=0)
    return sum(np.sqrt(np.maximum(s, 0)) * z[i] for i, s in enumerate(steps))


def curves(d, p, w, H, hs, n, rng):
    """(targets, n) draws of the fitted scale; one draw is one curve."""
    k = np.minimum(np.searchsorted(np.cumsum(w), (np.arange(n) + rng.random()) / n), w.size - 1)
    cell = np.unravel_index(k, w.shape)
    q = {name: v.ravel()[k] for name, v in p.items() if name not in ("f", "g", "dD")}
    zB, zc, zr, zs, zj = rng.standard_normal((5, n))
    zg = rng.standard_normal((3, n))
    sda = np.sqrt(q["va"])
    a = q["a"] - sda * ndtri(rng.random(n) * ndtr(q["a"] / sda))
    slope = q["B"] + q["cov"] / q["va"] * (a - q["a"])
    B = slope + np.sqrt(np.maximum(q["vB"] - q["cov"] ** 2 / q["va"], 0)) * zB
    prob, size, lean = tails(H)
    j = rng.choice(3, n, p=prob)
    lo = lean[j]
    side = rng.random(n) < abs(lo - 1 / lo) / (lo + 1 / lo)
    mean, _, vB = moments(p)
    out = []
    for i, h in enumerate(hs):
        m = mean[i].ravel()[k]
        f, g = p["f"][i].ravel()[k], p["g"][i].ravel()[k]
        y = q["level"] + f * a + g * B + np.sqrt(q["vc"]) * zc - m
        y = y + brownian(lambda u: future_variance(H, d["b"], u)[cell[1]], h, zg)
        y = y + np.exp(H["response"][0]) * np.sqrt(vB[i].ravel()[k]) * zr
        y = y + np.sqrt(slow_variance(H, d, h))[cell[0]] * zs + np.exp(H["jitter"][0]) * zj
        y = np.where(side, np.where(lo > 1, -np.abs(y), np.abs(y)), y)
        out.append(m + size[j] * y * np.where(y < 0, lo, 1 / lo))
    return np.array(out)


# ---- 5. width, and back to losses ---------------------------------------------------------------
def rescale(y, h, like, width, at):
    """Draws about their median; width: (class, horizon, lo / shift / up) at the log horizons."""
    lo, shift, up = (
        (1 - like) * np.interp(h, at, width[0][:, i]) + like * np.interp(h, at, width[1][:, i])
        for i in range(3)
    )
    q05, q50, q95 = np.quantile(y, [0.05, 0.5, 0.95])
    e = y - q50
    return q50 + shift * (q50 - q05 if shift < 0 else q95 - q50) + np.where(e < 0, lo * e, up * e)


def longer(y, base, gain, rng):
    """A finished run's longer plan: the gain over its own end, as such plans were seen to give."""
    z = y - base
    z = z * np.exp(gain["mean"] + gain["sd"] * rng.standard_normal(y.shape[-1]))
    return base + np.where(z > 0, gain["keep"] * z, z)


def back(y, d):
    """From the fitted scale to losses: log below the last level, linear and bounded above it."""
    z, top = y - d["last"], d["top"]
    z = np.where(z > 0.5 * top, 0.5 * top * (1 + np.tanh((z / top - 0.5) / 0.5)), z)
    if not d["positive"]:
        return d["level"] + d["scale"] * (z + d["last"])
    return np.exp(d["last"]) * np.where(z > 0, 1 + z, np.exp(np.clip(z, -60, 0)))


def situation(d, schedule, total):
    """Mode, plan and schedules of the cells."""
    if schedule is not None:
        return "known", [schedule], total
    if total is not None:
        return "total", menu(total), total
    return "nothing", open_menu(d["tc"]), 3 * d["tc"]


def forecast(
    t,
    loss,
    at,
    constants,
    schedule=None,
    total=None,
    warmup=0.0,
    domain=None,
    n=1000,
    seed=0,
    future=None,
    finished=False,
):
    """(len(at), n) draws of the smoothed loss at times after the data.

    schedule: the rate at any time, with total its end; total alone: the planned end; neither:
    nothing is known.  future and finished: a finished run asked for another, longer plan.
    """
    at, rng = np.atleast_1d(np.asarray(at, float)), np.random.default_rng(seed)
    d = prepare(*without_outer(np.asarray(t, float), np.asarray(loss, float)), warmup)
    mode, schedules, plan = situation(d, schedule, total)
    f = features(d, plan, mode == "known", mode == "nothing", domain)
    H = hyper(constants["table"], f)
    p = cells(d, at, schedules, plan, None if future is None else [future])
    w, hs = weights(p["logz"], H, mode), np.log(at / d["tc"])
    width, knots = np.array(constants["width"][mode]), np.log(constants["width_at"])
    y = curves(d, p, w, H, hs, n, rng)
    like = f[3] if domain is None else float(domain == "text")  # widths take what is stated
    y = np.array([rescale(row, h, like, width, knots) for row, h in zip(y, hs, strict=True)])
    if finished:
        y = longer(y, d["by"][-1], constants["longer"], rng)
    return back(y, d)
