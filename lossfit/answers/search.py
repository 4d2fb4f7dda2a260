"""The tail of a schedule that minimises the posterior expected loss at its end.

Draw i of a law has the loss f(y_i) at the end T, with

    y_i = level_i - a_i phi_i(x(T)) - B_i D_i(T)

and f the exponential where y is a logarithm, else nothing.  The tail is a relative rate rho,
straight between knots; x(T) is linear in it, the annealing response is linear in rho^p, and the
multi-power response is a sum over the pieces of the tail of their drops times a function of the LR
time left: so the gradient is exact and costs as much as the value.  Knots crowd towards the end,
where rates change fast.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from .._base.ragged import Bools, Floats
from ..forecasts.law_draws import LawDraws
from ..forecasts.responses import NEAREST, Rate, basis, lr_time, refined

FINE = 4  # pieces of a segment
TINY = 1e-9
ROUNDS = 3
NEAR = 1e-3  # a root of rho so near the floor, in units of the top, is at it


class Found(NamedTuple):
    """A tail that was found."""

    # step, rho: shape (n_knots,): knots in steps, and the relative rate there
    step: Floats
    rho: Floats
    value: float  # expected loss at the end


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
        start, end = float(step[0]), float(step[-1])
        used = np.bincount(laws.unit, minlength=len(laws.units)) > 0
        fast = laws.units[:, 0] == MULTI_POWER
        self.is_fast, self.is_slow = np.flatnonzero(used & fast), np.flatnonzero(used & ~fast)
        self.slow, self.fast = laws.units[self.is_slow], laws.units[self.is_fast]
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
        self.changes = _changes(held)

    @property
    def rate_before(self) -> float:
        """The relative rate at the start of the tail, before it."""
        return float(np.interp(self.step[0], self.before.step, self.before.rho))

    def value(self, v: Floats) -> tuple[float, Floats]:
        """Expected loss and gradient, as functions of the square roots of rho at the knots.

        The root keeps the gradient finite where rho is 0: powers p of rho are 0.5 or more.
        """
        laws = self.laws
        rho = self.spread @ (v * v)
        safe = np.maximum(rho, TINY)
        x = self.x0 + float(self.area @ rho)
        phi, d_phi = self._phi(x)
        response = np.zeros(len(laws.units))
        response[self.is_slow] = self._annealing(safe)
        response[self.is_fast], parts = self._multi_power(rho, safe, x)
        y = laws.curves(phi[None], response[None])[0]
        loss = np.exp(y) if laws.log else y
        # What the mean loss gains by a little more of each phi and response.
        weight = np.asarray((loss if laws.log else np.ones(len(y))) / len(y))
        of_phi = np.bincount(laws.shape, weight * laws.beta[:, 1], len(laws.shapes))
        of_response: Floats = np.bincount(
            laws.unit, weight * laws.beta[:, 2], len(laws.units)
        ).astype(np.float64)
        slope = -float(of_phi @ d_phi) * self.area
        slope -= self._annealing_slope(safe, of_response[self.is_slow])
        slope -= self._multi_power_slope(rho, safe, parts, of_response[self.is_fast])
        return float(loss.mean()), (self.spread.T @ slope) * 2 * v

    def _phi(self, x: float) -> tuple[Floats, Floats]:
        """The power law at an LR time, and its derivative, by shape."""
        alpha, x0 = self.laws.shapes.T
        whole = 1 + x0
        ratio = np.maximum(x / self.laws.reference + x0, NEAREST) / whole
        phi = -np.expm1(-alpha * np.log(ratio)) / alpha * whole
        return phi, ratio ** (-alpha - 1) / self.laws.reference

    def _annealing(self, safe: Floats) -> Floats:
        """Annealing responses at the end."""
        q = safe ** self.slow[:, 2:3]
        top = self.rate_before ** self.slow[:, 2]
        first = self.slow_first * (top - q[:, 0])
        falls = (self.slow_piece * (q[:, :-1] - q[:, 1:])).sum(axis=1)
        return np.asarray(self.slow_history + first + falls)

    def _annealing_slope(self, safe: Floats, b: Floats) -> Floats:
        """The derivative in rho of their sum with weights b."""
        p = self.slow[:, 2:3]
        d_q = np.zeros((len(b), len(safe)))
        d_q[:, 0] -= self.slow_first
        d_q[:, :-1] += self.slow_piece
        d_q[:, 1:] -= self.slow_piece
        return np.asarray(b @ (d_q * p * safe ** (p - 1)))

    def _multi_power(self, rho: Floats, safe: Floats, x: float) -> tuple[Floats, _Parts]:
        """Multi-power responses at the end, and what their slope needs."""
        _, c, beta, gamma, q = self.fast.T[..., None]
        # What changed before: its response grows with the LR time of the tail.
        level, before, after, at = self.changes
        since = np.maximum(x - at, 0.0)
        past_steep, past_drop = c * level**-gamma, before**q - after**q
        past = 1 + past_steep * since
        # The jump at the start, at the rate after it; then the pieces of the tail.
        level = np.append(rho[0], (rho[1:] + rho[:-1]) / 2)
        inside = level > self.lowest
        level = np.maximum(level, self.lowest)
        since = np.append(float(self.area @ rho), self.left @ rho)
        powered = safe**q
        top = max(self.rate_before, TINY) ** q
        drop = np.concatenate([top, powered[:, :-1]], axis=1) - powered
        steep = c * level**-gamma
        grown = 1 + steep * since
        value = ((1 - past**-beta) * past_drop).sum(axis=1) + ((1 - grown**-beta) * drop).sum(
            axis=1
        )
        return value, _Parts(past_steep, past_drop, past, level, inside, since, drop, steep, grown)

    def _multi_power_slope(self, rho: Floats, safe: Floats, parts: _Parts, b: Floats) -> Floats:
        """The derivative in rho of their sum with weights b."""
        _, _, beta, gamma, q = self.fast.T[..., None]
        p, b = parts, b[:, None]
        of_past = b * p.past_drop * beta * p.past ** (-beta - 1) * p.past_steep
        slope = self.area * float(of_past.sum())
        weight = b * (1 - p.grown**-beta)
        d_q = -weight
        d_q[:, :-1] += weight[:, 1:]
        slope += (d_q * q * safe ** (q - 1)).sum(axis=0)
        common = b * p.drop * beta * p.grown ** (-beta - 1)
        by_since = (common * p.steep).sum(axis=0)
        slope += by_since[0] * self.area + by_since[1:] @ self.left
        by_level = (common * (-gamma * p.steep / p.level * p.since)).sum(axis=0)
        by_level = np.where(p.inside, by_level, 0.0)
        slope[0] += by_level[0]
        slope[:-1] += by_level[1:] / 2
        slope[1:] += by_level[1:] / 2
        return slope


class _Parts(NamedTuple):
    """Of the multi-power responses to the changes before the tail and to its pieces."""

    past_steep: Floats
    past_drop: Floats
    past: Floats
    level: Floats
    inside: Bools
    since: Floats
    drop: Floats
    steep: Floats
    grown: Floats


def _changes(rate: Rate) -> tuple[Floats, Floats, Floats, Floats]:
    """Changes of a rate: the level that each counts at, rho before and after, and LR time."""
    from ..kernels.paths import LOWEST_RATE

    rate = refined(rate)
    before, after = rate.rho[:-1], rate.rho[1:]
    area = lr_time(rate, rate.step)
    level = np.where(np.diff(rate.step) > 0, 0.5 * (before + after), after)
    moved = np.abs(before - after) > 1e-9
    level = np.maximum(level, LOWEST_RATE)
    at = 0.5 * (area[1:] + area[:-1])
    return level[moved], before[moved], after[moved], at[moved]


def search(
    problem: Problem,
    # floor, top: bounds of the relative rate
    floor: float,
    top: float,
    starts: list[Floats],  # shape (n_knots,): relative rates to begin from
    iterations: int = 400,  # of each search, at most
) -> Found:
    """The best non-increasing tail between two bounds.

    Sequential quadratic programming (SLSQP) from every start; the best is kept.
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
