"""The default forecast by dense linear algebra: every cell's weight and moments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr, logsumexp

from tests.kernels.forecast_oracle import response
from tests.oracles.forecast_oracle import clean

PARAMETERS = (
    "level", "slope", "strength", "coming_strength", "alpha", "tau", "power", "discrepancy",
    "noise_factor", "hypothesis", "tail", "response",
)  # fmt: skip


class Data(NamedTuple):
    t: np.ndarray  # of the bins, increasing
    y: np.ndarray
    n: np.ndarray
    end: float
    positive: bool
    level: float
    scale: float
    noise: float
    trend: float
    trend_error: float
    own_error: float
    slope: float
    last: float
    top: float
    density: float
    points: int


def without_spikes(t, loss, weight, positive):
    kept, _ = clean(t, loss, positive)
    stays = np.isin(t, kept)
    return t[stays], loss[stays], weight[stays]


def binned(x, y, weight, edges):
    n_bins = len(edges) - 1
    k = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, n_bins - 1)
    n = np.bincount(k, weight, n_bins)
    used = n > 0
    return [np.bincount(k, weight * z, n_bins)[used] / n[used] for z in (x, y)] + [n[used]]


def prepare(t, loss, weight, warmup=0.0, first=0.35, n_bins=40):
    """What the cells need of a curve (the study's prototype, with weights)."""
    end = t[-1]
    positive = bool((loss > 0).all())
    t, loss, weight = without_spikes(t, loss, weight, positive)
    window = t >= max(1.2 * warmup, first * end)
    if window.sum() < 12:
        window = np.arange(len(t)) >= len(t) - 25
    tw, lw, ww = t[window], loss[window], weight[window]
    level = np.median(lw[-max(3, len(lw) // 20) :])
    scale = 1.0 if positive else max(np.median(np.abs(lw)), 1e-12)

    def fitted(z):
        return np.log(z) if positive else (z - level) / scale

    half = slice(len(lw) // 2 if len(lw) >= 24 else 0, None)
    y, w = fitted(lw)[half], ww[half]
    d = y[1:-1] - (y[:-2] + y[2:]) / 2
    d *= np.sqrt(1.5 / (1 / w[1:-1] + 0.25 / w[:-2] + 0.25 / w[2:]))
    noise = 0.01
    if len(d) > 2:
        noise = max(1.4826 * np.median(np.abs(d - np.median(d))) / 1.5**0.5, 5e-5)
    edges = np.linspace(np.log(tw[0]), np.log(tw[-1]), n_bins + 1)
    x, mean, n = binned(np.log(tw), lw, ww, edges)
    mean = fitted(mean)
    late = t >= max(end / 4, min(1.2 * warmup, 0.7 * end))
    if late.sum() < 6:
        late = np.arange(len(t)) >= len(t) - 6
    lx = np.log(t[late] / end)
    sx, sy, count = binned(lx, fitted(loss[late]), weight[late], np.linspace(lx[0], 1e-9, 21))
    if len(sx) < 3:
        sx, sy, count = x - np.log(end), mean, n
    w = np.minimum(count, 5)
    design = np.stack([np.ones_like(sx), -sx], axis=1)
    inverse = np.linalg.inv(design.T @ (w[:, None] * design))
    coefficients = inverse @ design.T @ (w * sy)
    rest = (w * (sy - design @ coefficients) ** 2).sum()
    trend = coefficients[1]
    error = np.sqrt(rest / (len(sx) - 2) * inverse[1, 1]) if len(sx) > 2 else abs(trend)
    white = noise * np.sqrt(inverse[1] @ design.T @ np.diag(w**2 / count) @ design @ inverse[1])
    own = np.sqrt(max(error**2 - white**2, (0.3 * error) ** 2))
    slope = max(trend, 0.004, 0.3 * error)
    last = (mean[-2:] * n[-2:]).sum() / n[-2:].sum()
    top = max(mean.max() - last, 1.5 * slope, 3 * noise / np.sqrt(n[-1]), 0.02)
    density = max((t >= end / 1.5).sum() / np.log(1.5), 1.0)
    return Data(
        np.exp(x), mean, n, end, positive, level, scale, noise, trend, error, own, slope, last, top,
        density, len(t),
    )  # fmt: skip


def prepared(p):
    """What the cells need of the curve of a problem."""
    return prepare(p["t"], p["loss"], p["weight"], p["warmup"], p["grid"].first, p["grid"].n_bins)


def features(data, plan, knowledge, like=np.nan):
    b = data.slope
    rough = np.clip(np.log(max(data.trend_error, 1e-6) / b) + 2, -3, 3)
    own = np.clip(np.log(max(data.own_error, 1e-6) / b) + 2, -3, 3)
    is_text = data.positive and 1.3 < data.level < 6.5 and b < 0.2 and data.points > 30
    like = np.fmin(like, is_text / (1 + np.exp((own + 0.7) / 0.3)))
    f = np.array([
        1, np.clip(np.log(b / 0.08), -3, 3.5), np.clip(np.log(data.noise / 0.01) / 2, -2, 2.5),
        like, knowledge == 0, rough, np.clip(np.log(data.points / 100) / 2, -1, 2),
        np.clip(np.log(max(plan / data.end, 1)) - 1, -1, 2), knowledge == 2,
    ])  # fmt: skip
    return np.concatenate([f, like * f])


def numbers(theta, grid, hyper):
    """The hyper-prior's numbers by name."""
    sizes = {
        "alpha": len(grid.alphas), "size": len(grid.sizes), "noise": len(grid.noises),
        "strength": len(grid.strengths), "kind": hyper.n_kinds, "eta": 1, "future": 1, "growth": 1,
        "drift": 1, "response": 1, "slow": 1, "tail": hyper.n_tails - 1, "jitter": 1,
        "tail_size": hyper.n_tails, "lean": hyper.n_tails,
    }  # fmt: skip
    parts = np.split(theta, np.cumsum(list(sizes.values())))
    assert len(parts[-1]) == 0
    return dict(zip(sizes, parts[:-1], strict=True))


class Cells(NamedTuple):
    log_weight: np.ndarray  # (n_cells,)
    hypothesis: np.ndarray  # (n_cells,)
    place: np.ndarray  # (n_cells, 4): on the grid's axes
    mean: np.ndarray  # (n_cells, n_at)
    covariance: np.ndarray  # (n_cells, n_at, n_at): without the tail
    b_mean: np.ndarray  # (n_cells,)
    b_var: np.ndarray


def clock(u, doubt):
    u = np.maximum(u, 0)
    return u * (1 + doubt * u)


KNOTS = (0.0, np.log(1.5), np.log(3.0))


def discrepancy(h, variance):
    """Covariance of the discrepancy at log ratios h, from the variances of its stretches."""
    parts = np.zeros((len(h), len(KNOTS)))
    for j in range(len(h)):
        for i, (a, b) in enumerate(zip(KNOTS, [*KNOTS[1:], np.inf], strict=True)):
            parts[j, i] = np.sqrt(max(variance(min(h[j], b)) - variance(min(h[j], a)), 0))
    return parts @ parts.T


def cells(data, grid, hyper, f, histories, futures, kinds, log_kinds, plan, at, step_size):
    """All cells of a run, one 3 x 3 regression each; every target is beyond the data."""
    h = numbers(hyper.matrix @ f, grid, hyper)
    log = {name: h[name] - logsumexp(h[name]) for name in ("alpha", "size", "noise", "strength")}
    log_kind = h["kind"][kinds] + log_kinds
    log_kind = log_kind - logsumexp(log_kind)
    eta = 1 / (1 + np.exp(-h["eta"][0]))
    b = data.slope
    u = clock(np.log(data.end / data.t), grid.doubt)
    ratio = np.log(at / data.end)
    text = grid.text_share
    if data.positive and data.level > 0:
        text = min(text, grid.text_nats / data.level)
    text = min(text, grid.text_slopes * b)
    out = []
    for p, history in enumerate(histories):
        x_end = history.lr_time(data.end)
        log_x = np.log([history.lr_time(t) / x_end for t in data.t])
        log_x_at = np.log([futures[j][p].lr_time(t) / x_end for j, t in enumerate(at)])
        for q, unit in enumerate(grid.responses):
            unit = unit.copy()
            unit[1] = min(unit[1], grid.most_tau[q] * plan / step_size)
            d_end = response(history, data.end, unit, step_size)
            d = np.array([response(history, t, unit, step_size) for t in data.t]) - d_end
            d_at = np.array([response(futures[j][p], t, unit, step_size) for j, t in enumerate(at)])
            d_at -= d_end
            for i, alpha in enumerate(grid.alphas):

                def phi(z, alpha=alpha):
                    return z if alpha == 0 else (1 - np.exp(-alpha * z)) / alpha

                design = np.stack([np.ones_like(d), -phi(log_x), -d], axis=1)
                rows = np.stack([np.ones_like(d_at), -phi(log_x_at), -d_at], axis=1)
                for n, factor in enumerate(grid.noises):
                    for k, size in enumerate(grid.sizes):
                        c = (size * b) ** 2 * np.minimum.outer(u, u)
                        c += np.diag(factor * data.noise**2 / data.n + 1e-14)
                        inverse, log_det = np.linalg.inv(c), np.linalg.slogdet(c)[1]

                        def variance(z, size=size, h=h):
                            v = np.exp(2 * h["future"][0]) * (size * b) ** 2 * z
                            v *= 1 + np.exp(h["growth"][0]) * z
                            return v + np.exp(2 * h["drift"][0]) * b**2 * z**3

                        g = discrepancy(ratio, variance)
                        slow = np.exp(h["slow"][0]) * max(factor - 1, 0) * data.noise**2
                        slow = slow / (max(0.04 * data.density, 1) * np.exp(ratio))
                        slow = np.sqrt(slow + np.exp(2 * h["jitter"][0]))
                        for s, (kind, mu_b, sd_b) in enumerate(grid.strengths):
                            scale = text if kind == 0 else b
                            mu = np.array([0, b, mu_b * scale])
                            sd = np.array([np.inf, grid.slope_sd * b, sd_b * scale])
                            precision = np.diag(sd**-2.0)
                            lam = design.T @ inverse @ design + precision
                            cov = np.linalg.inv(lam)
                            beta = cov @ (design.T @ inverse @ data.y + precision @ mu)
                            quad = (
                                data.y @ inverse @ data.y + mu @ precision @ mu - beta @ lam @ beta
                            )
                            r = beta[1] / np.sqrt(cov[1, 1])
                            lz = (
                                -0.5 * (log_det + np.linalg.slogdet(lam)[1] + quad)
                                - np.log(sd[1] * sd[2]) + log_ndtr(r) - log_ndtr(1 / grid.slope_sd)
                            )  # fmt: skip
                            prior = (
                                log["alpha"][i] + log["size"][k] + log["noise"][n]
                                + log["strength"][s] + log_kind[p] - np.log(len(grid.responses))
                            )  # fmt: skip
                            lift = np.exp(-0.5 * r * r - log_ndtr(r)) / np.sqrt(2 * np.pi)
                            a_part = cov[:, 1] / np.sqrt(cov[1, 1])
                            usual = beta + a_part * lift
                            cov = cov - np.outer(a_part, a_part) * lift * (lift + r)
                            total = rows @ cov @ rows.T + g + np.outer(slow, slow)
                            change = np.exp(h["response"][0]) * beta[2] * rows[:, 2]
                            total += np.outer(change, change)
                            out.append((
                                prior + eta * lz, p, (i, k, n, s), rows @ usual, total, usual[2],
                                cov[2, 2],
                            ))  # fmt: skip
    return Cells(*(np.array(part) for part in zip(*out, strict=True)))


def fitted(losses, data):
    """From losses beyond the data back to the fitted scale."""
    if data.positive:
        z = losses / np.exp(data.last) - 1
        z = np.where(z < 0, np.log1p(np.minimum(z, 0)), z)
    else:
        z = (losses - data.level) / data.scale - data.last
    half = data.top / 2
    bent = z > half
    z = np.where(bent, half * (1 + np.arctanh(np.where(bent, z / half - 1, 0))), z)
    return z + data.last
