"""The tail of a schedule that minimises the posterior expected loss at its end.

The law's expected loss at the end T is, over draws of its parameters,

    E[level] - sum_s E[a; s] phi_s(x(T)) - sum_u E[B; u] D_u(T)

with the sums over the shapes (alpha, x0) and responses u that the draws have.  The tail is a
relative rate rho, straight between knots; x(T) is linear in it, the annealing response is linear in
rho^p, and the multi-power response is a sum over the pieces of the tail of their drops times a
function of the LR time left: so the gradient is exact and costs as much as the value.  Knots crowd
towards the end, where rates change fast.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from .._base.ragged import Floats
from ..forecasts.joint_data import Rate
from ..forecasts.joint_features import _changes, basis, lr_time
from ..forecasts.law_draws import LawDraws

__all__ = ["Found", "Problem", "knots_between", "search", "tail_rate"]

FINE = 4  # pieces of a segment
TINY = 1e-9
ROUNDS = 3
NEAR = 1e-3  # a root of rho so near the floor, in units of the top, is at it


class Found(NamedTuple):
    """A tail that was found.

    Attributes
    ----------
    step, rho : ndarray, shape (n_knots,)
        Knots in steps, and the relative rate there.
    value : float
        Expected loss at the end.
    """

    step: Floats
    rho: Floats
    value: float


def knots_between(start: float, end: float, segments: int) -> Floats:
    """Knots that crowd towards the end, shape (segments + 1,)."""
    left = 1 - np.arange(segments + 1) / segments
    return np.asarray(end - (end - start) * left**2)


def tail_rate(before: Rate, start: float, step: Floats, rho: Floats) -> Rate:
    """The rate before `start`, then the tail."""
    done = before.step < start
    here = float(np.interp(start, before.step, before.rho))
    return Rate(
        np.concatenate([before.step[done], [start], step]),
        np.concatenate([before.rho[done], [here], rho]),
    )


class Problem:
    """The expected loss at the end of a tail, and its gradient.

    Parameters
    ----------
    laws : LawDraws
    before : Rate
        What the run has up to the start of the tail.
    step : ndarray, shape (n_knots,)
        Knots in steps: the first is the start, the last the end.
    """

    def __init__(self, laws: LawDraws, before: Rate, step: Floats) -> None:
        from ..kernels.paths import LOWEST_RATE, MULTI_POWER

        self.laws, self.before, self.step = laws, before, step
        self.lowest = LOWEST_RATE
        n = len(laws.shape)
        start, end = float(step[0]), float(step[-1])
        self.slopes = np.bincount(laws.shape, laws.beta[:, 1], len(laws.shapes)) / n
        strength = np.bincount(laws.unit, laws.beta[:, 2], len(laws.units)) / n
        self.level = float(laws.beta[:, 0].mean())
        used = strength != 0
        fast = used & (laws.units[:, 0] == MULTI_POWER)
        slow = used & ~fast
        self.slow, self.slow_b = laws.units[slow], strength[slow]
        self.fast, self.fast_b = laws.units[fast], strength[fast]
        if self.fast.shape[1] < 5:
            self.fast = np.pad(self.fast, ((0, 0), (0, 1)), constant_values=1.0)
        # Fine nodes: rho there is `spread` times rho at the knots.
        share = np.arange(FINE) / FINE
        fine = (step[:-1, None] + np.diff(step)[:, None] * share).ravel()
        self.fine = np.append(fine, end)
        m = len(self.fine)
        self.spread = np.zeros((m, len(step)))
        k = np.repeat(np.arange(len(step) - 1), FINE)
        rows = np.arange(m - 1)
        self.spread[rows, k] = 1 - np.tile(share, len(step) - 1)
        self.spread[rows, k + 1] = np.tile(share, len(step) - 1)
        self.spread[-1, -1] = 1.0
        gap = np.diff(self.fine)
        self.area = np.zeros(m)  # x(T) - x(start) = area . rho
        self.area[:-1] += gap / 2
        self.area[1:] += gap / 2
        # LR time from the middle of each piece to the end: left @ rho.
        half = np.zeros((m - 1, m))
        i = np.arange(m - 1)
        half[i, i], half[i, i + 1] = gap / 8, 3 * gap / 8
        whole = np.zeros((m - 1, m))
        whole[i, i], whole[i, i + 1] = gap / 2, gap / 2
        after = np.cumsum(whole[::-1], axis=0)[::-1]
        self.left = half
        self.left[:-1] += after[1:]
        held = tail_rate(before, start, np.array([start]), np.array([self.rate_before]))
        self.x0 = float(lr_time(held, np.array([start]))[0])
        no_shape = np.array([[1.0, 0.0]])
        self.slow_history = (
            basis(held, np.array([end]), 1.0, no_shape, self.slow)[1][0] if len(self.slow) else
            np.zeros(0)
        )  # fmt: skip
        tau = self.slow[:, 1:2]
        to_end = np.exp(-(end - self.fine) / tau)
        self.slow_first = 1 - to_end[:, 0]
        self.slow_piece = 1 - np.diff(to_end, axis=1) * tau / gap
        self.held = held

    @property
    def rate_before(self) -> float:
        """The relative rate at the start of the tail, before it."""
        return float(np.interp(self.step[0], self.before.step, self.before.rho))

    def value(self, v: Floats) -> tuple[float, Floats]:
        """Expected loss and gradient, as functions of the square roots of rho at the knots.

        The root keeps the gradient finite where rho is 0: powers p of rho are 0.5 or more.
        """
        rho = self.spread @ (v * v)
        safe = np.maximum(rho, TINY)
        slope = np.zeros(len(rho))  # dE / d rho at the fine nodes
        x = self.x0 + float(self.area @ rho)
        phi, d_phi = self._phi(x)
        total = self.level - float(self.slopes @ phi)
        slope -= float(self.slopes @ d_phi) * self.area
        top = self.rate_before
        for p in np.unique(self.slow[:, 2]) if len(self.slow) else ():
            of_power = self.slow[:, 2] == p
            b, q = self.slow_b[of_power], safe**p
            piece = b @ self.slow_piece[of_power]
            first = float(b @ self.slow_first[of_power])
            total -= float(b @ self.slow_history[of_power]) + first * (top**p - q[0])
            total -= float(piece @ (q[:-1] - q[1:]))
            d_q = np.zeros(len(q))
            d_q[0] += first
            d_q[:-1] -= piece
            d_q[1:] += piece
            slope += d_q * p * safe ** (p - 1)
        for p in np.unique(self.fast[:, 4]) if len(self.fast) else ():
            value, part = self._multi_power(rho, safe, x, float(p))
            total -= value
            slope -= part
        return total, (self.spread.T @ slope) * 2 * v

    def _phi(self, x: float) -> tuple[Floats, Floats]:
        """The power law at an LR time, and its derivative, by shape."""
        from ..forecasts.joint_features import NEAREST

        alpha, x0 = self.laws.shapes.T
        whole = 1 + x0
        ratio = np.maximum(x / self.laws.reference + x0, NEAREST) / whole
        phi = -np.expm1(-alpha * np.log(ratio)) / alpha * whole
        return phi, ratio ** (-alpha - 1) / self.laws.reference

    def _multi_power(self, rho: Floats, safe: Floats, x: float, p: float) -> tuple[float, Floats]:
        """Sum of B times the multi-power responses with this p, and its slope in rho."""
        of_power = self.fast[:, 4] == p
        c, beta, gamma = (self.fast[of_power, i][:, None] for i in (1, 2, 3))
        b = self.fast_b[of_power][:, None]
        slope = np.zeros(len(rho))
        # What changed before: its response grows with the LR time of the tail.
        level, drop, at = _changes(self.held, p)
        since = np.maximum(x - at, 0.0)
        total = 0.0
        if len(drop):
            grown = 1 + c * level**-gamma * since
            total += float((b * (1 - grown**-beta) * drop).sum())
            slope += self.area * float(
                (b * drop * beta * grown ** (-beta - 1) * c * level**-gamma).sum()
            )
        # The jump at the start, at the rate after it.
        top = self.rate_before
        level = np.append(max(float(rho[0]), self.lowest), np.maximum((rho[1:] + rho[:-1]) / 2,
                                                                      self.lowest))  # fmt: skip
        since = np.append(float(self.area @ rho), self.left @ rho)
        q = safe**p
        drop = np.append(max(top, TINY) ** p - q[0], q[:-1] - q[1:])
        steep = c * level**-gamma
        grown = 1 + steep * since
        response = 1 - grown**-beta
        total += float((b * response * drop).sum())
        weight = (b * response).sum(axis=0)
        d_q = np.zeros(len(q))
        d_q[0] -= weight[0]
        d_q[:-1] += weight[1:]
        d_q[1:] -= weight[1:]
        slope += d_q * p * safe ** (p - 1)
        common = b * drop * beta * grown ** (-beta - 1)
        by_since = (common * steep).sum(axis=0)
        slope += by_since[0] * self.area + by_since[1:] @ self.left
        by_level = (common * (-gamma * steep / level * since)).sum(axis=0)
        by_level = np.where(level > self.lowest, by_level, 0.0)
        slope[0] += by_level[0]
        slope[:-1] += by_level[1:] / 2
        slope[1:] += by_level[1:] / 2
        return total, slope


def search(
    problem: Problem, floor: float, top: float, starts: list[Floats], iterations: int = 400
) -> Found:
    """The best non-increasing tail between two bounds.

    Sequential quadratic programming (SLSQP) from every start; the best is kept.

    Parameters
    ----------
    problem : Problem
    floor, top : float
        Bounds of the relative rate.
    starts : list of ndarray, shape (n_knots,)
        Relative rates to begin from.
    iterations : int
        Of each search, at most.
    """
    n = len(problem.step)
    low, high = float(np.sqrt(max(floor, 0.0))), float(np.sqrt(top))
    falls = LinearConstraint(np.eye(n)[:-1] - np.eye(n)[1:], 0.0, np.inf)

    def descend(v: Floats) -> tuple[float, Floats]:
        solution = minimize(
            problem.value, v, jac=True, method="SLSQP", bounds=[(low, high)] * n,
            constraints=[falls], options={"maxiter": iterations, "ftol": 1e-10},
        )  # fmt: skip
        v = np.clip(np.minimum.accumulate(solution.x), low, high)
        v = np.where(v - low < NEAR * high, low, v)
        return float(problem.value(v)[0]), v

    solutions = []
    for start in starts:
        v = np.sqrt(np.clip(np.minimum.accumulate(start), floor, top))
        # Off the bounds, where the gradient in v is 0 at rho = 0.
        solutions.append(descend(np.clip(v, low + 0.02 * (high - low), high)))
    value, v = min(solutions, key=lambda candidate: candidate[0])
    for _ in range(ROUNDS):
        # The response to very low rates is not convex: the floor may be reached earlier.
        sooner = [np.where(np.arange(n) >= k, low, v) for k in range(1, n)]
        trial = min(((float(problem.value(candidate)[0]), i) for i, candidate in enumerate(sooner)))
        if not trial[0] < value - 1e-9:
            break
        again = descend(sooner[trial[1]])
        value, v = min((trial[0], sooner[trial[1]]), again, key=lambda candidate: candidate[0])
    return Found(problem.step, v * v, value)
