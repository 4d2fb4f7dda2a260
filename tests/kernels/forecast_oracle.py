"""The default forecast by dense linear algebra and brute-force integrals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr


class Path(NamedTuple):
    """Relative learning rate: nodes on the axis, held beyond them."""

    t: np.ndarray
    rho: np.ndarray

    def fine(self, until):
        """A fine grid from 0 with the nodes in it; jumps are kept."""
        inner = self.t[(self.t > 0) & (self.t < until)]
        grid = np.concatenate([np.linspace(0, until, 40_001), inner, inner * (1 + 1e-13)])
        grid = np.unique(grid)
        return grid, np.interp(grid, self.t, self.rho)

    def lr_time(self, t):
        grid, rho = self.fine(t)
        return np.trapezoid(rho, grid)

    def annealing(self, t, tau, p):
        """Integral of -d(rho^p) (1 - exp(-(t - s)/tau)), rho^p linear between nodes."""
        inner = self.t[(self.t > 0) & (self.t < t)]
        grid = np.unique(np.concatenate([np.linspace(0, t, 40_001), inner, inner * (1 + 1e-13)]))
        powered = np.interp(grid, self.t, self.rho**p)
        middle = 0.5 * (grid[1:] + grid[:-1])
        return np.sum(-np.diff(powered) * -np.expm1(-(t - middle) / tau))

    def multi_power(self, t, rate, beta, gamma, q=1.0):
        """The sum over nodes as the multi-power law writes it, of drops of rho^q."""
        total = 0.0
        x = self.lr_time(t)
        for k in range(1, len(self.t)):
            middle = 0.5 * (
                self.lr_time(max(self.t[k], 1e-9)) + self.lr_time(max(self.t[k - 1], 1e-9))
            )
            if middle < x and self.rho[k] != self.rho[k - 1]:
                jump = self.t[k] == self.t[k - 1]
                level = self.rho[k] if jump else 0.5 * (self.rho[k] + self.rho[k - 1])
                level = max(level, 0.003)
                grown = 1 + rate * level**-gamma * (x - middle)
                total += (self.rho[k - 1] ** q - self.rho[k] ** q) * (1 - grown**-beta)
        return total


def response(path, t, unit, step_size):
    kind, tau, p, gamma, *q = unit
    if kind == 0:
        return path.annealing(t, tau * step_size, p)
    return path.multi_power(t, tau / step_size, p, gamma, *q)


def covariance(u, kb, doubt):
    """Brownian motion on the clock u (1 + doubt u)."""
    low = np.minimum.outer(u, u)
    return kb**2 * low * (1 + doubt * low)


class Cells(NamedTuple):
    log_weight: np.ndarray  # (K,)
    mean: np.ndarray  # (K, n_at)
    sd: np.ndarray  # (K, n_at)


def cells(
    t_end,
    log_t,
    y,
    count,
    sigma,
    s,
    grid,
    log_unit,
    prior,
    b_scale,
    histories,
    futures,
    log_path,
    at,
    step_size,
):
    """Every cell's weight and the normal moments of its forecast (truncation to a > 0 included).

    Bins in any order; all targets beyond the data; `prior` is (mean, sd, log weight) of B.
    """
    log_weight, means, sds = [], [], []
    future = grid.future if len(histories) == 1 else grid.future_unknown
    for h, history in enumerate(histories):
        x_end = history.lr_time(t_end)
        x = np.array([history.lr_time(t) for t in np.exp(log_t)])
        x_at = np.array([futures[j][h].lr_time(t) for j, t in enumerate(at)])
        u, u_at = np.log(x_end / x), np.log(x_at / x_end)
        for k in range(len(grid.kbs)):
            c = covariance(u, grid.kbs[k] * s, grid.doubt) + np.diag(grid.temper * sigma**2 / count)
            inverse = np.linalg.inv(c)
            log_det = np.linalg.slogdet(c)[1]
            g_var = (
                grid.kbs[k] ** 2 * s**2 * u_at
                + grid.drift**2 * s**2 * np.maximum(u_at - grid.drift_from, 0) ** 5 / 20
            )
            for a, alpha in enumerate(grid.alphas):
                phi = (1 - (x / x_end) ** -alpha) / alpha
                phi_at = (1 - (x_at / x_end) ** -alpha) / alpha
                for j, unit in enumerate(grid.units):
                    d_end = response(history, t_end, unit, step_size)
                    d = np.array([response(history, t, unit, step_size) for t in np.exp(log_t)])
                    d_at = np.array(
                        [response(futures[i][h], t, unit, step_size) for i, t in enumerate(at)]
                    )
                    design = np.stack([np.ones_like(phi), -phi, -(d - d_end)], axis=1)
                    rows = np.stack([np.ones_like(phi_at), -phi_at, -(d_at - d_end)], axis=1)
                    for b_mean, b_sd, log_b in zip(*prior, strict=True):
                        b_mean, b_sd = b_scale * b_mean, b_scale * b_sd
                        mu = np.array([0, s, b_mean])
                        precision = np.diag([0, (grid.slope_sd * s) ** -2, b_sd**-2])
                        lam = design.T @ inverse @ design + precision
                        cov = np.linalg.inv(lam)
                        b = cov @ (design.T @ inverse @ y + precision @ mu)
                        quad = y @ inverse @ y + mu @ precision @ mu - b @ lam @ b
                        r = b[1] / np.sqrt(cov[1, 1])
                        log_weight.append(
                            log_path[h] + grid.log_kb[k] + grid.log_alpha[a] + log_unit[j]
                            + log_b - 0.5 * log_det - 0.5 * np.linalg.slogdet(lam)[1] - 0.5 * quad
                            - np.log(grid.slope_sd * s * b_sd) + log_ndtr(r)
                        )  # fmt: skip
                        lift = np.exp(-0.5 * r * r - log_ndtr(r)) / np.sqrt(2 * np.pi)
                        per_sd = rows @ cov[:, 1] / np.sqrt(cov[1, 1])
                        mean = rows @ b + per_sd * lift
                        var = np.einsum("ij,jk,ik->i", rows, cov, rows)
                        var -= per_sd**2 * lift * (lift + r)
                        # B (1 + future z): its variance given the mean and variance of B
                        c_b = cov[2, 1] / np.sqrt(cov[1, 1])
                        e_b = b[2] + c_b * lift
                        v_b = cov[2, 2] - c_b**2 * lift * (lift + r)
                        var += future**2 * (e_b**2 + v_b) * rows[:, 2] ** 2
                        means.append(mean)
                        sds.append(np.sqrt(var + g_var))
    return Cells(np.array(log_weight), np.array(means), np.array(sds))
