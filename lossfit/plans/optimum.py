"""Where the loss is least under a budget, for every draw of a surface at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .._base.ragged import Floats
from ..laws import SurfaceLaw
from ..laws.chinchilla import optimum as closed_form
from ..laws.coupled import inner
from ..surfaces.missed import Correction

FLOPS_PER_PARAM_TOKEN = 6.0
FLOPS_PER_PARAM_SERVED = 2.0
HALF_WIDTH = 9.0  # of the first look in log params, about Chinchilla's optimum
NODES = 181
ROUGH_HALF, ROUGH_NODES = 4.5, 241  # where what the law misses makes the loss rough
ZOOMS, ZOOM_NODES = 3, 21
SECANTS = 12
BUDGETS, COARSE = 61, 41  # budgets and sizes at which the least loss is tabulated
BUDGET_RANGE = (-7.0, 3.0)  # of these budgets, in e-folds of the one asked about


@dataclass(frozen=True, eq=False)
class Problem:
    """A surface's draws and what constrains a choice."""

    law: SurfaceLaw
    values: Mapping[str, Floats]  # shape (draws,)
    unique_tokens: float | None  # tokens that there are; more are repeats
    # tokens that the model will serve; each costs 2 FLOP a parameter out of the budget
    inference_tokens: float
    missed: Correction | None = None  # what the law misses, in every draw

    @property
    def closed(self) -> bool:
        """Whether the optimum has a closed form."""
        return self.unique_tokens is None and not self.inference_tokens and self.missed is None

    def tokens_for(self, compute: ArrayLike, params: ArrayLike) -> Floats:
        """Training tokens that the budget leaves for a size; 0 or less where it leaves none."""
        n = np.asarray(params, float)
        served = FLOPS_PER_PARAM_SERVED * self.inference_tokens
        return np.asarray((np.asarray(compute, float) / n - served) / FLOPS_PER_PARAM_TOKEN)

    def params_for(self, compute: float, tokens: float) -> float:
        """The size that a budget allows for so many training tokens."""
        each = FLOPS_PER_PARAM_TOKEN * tokens + FLOPS_PER_PARAM_SERVED * self.inference_tokens
        return compute / each

    def cost(self, params: float, tokens: float) -> float:
        """FLOP of training and serving."""
        return params * (
            FLOPS_PER_PARAM_TOKEN * tokens + FLOPS_PER_PARAM_SERVED * self.inference_tokens
        )

    def loss(self, params: Floats, tokens: Floats) -> Floats:
        """Loss of every draw: (draws, k) from params and tokens that broadcast with it.

        Infinite where there are no tokens.
        """
        values = {name: self.values[name][:, None] for name in self.law.parameters}
        safe = np.maximum(tokens, 1.0)
        unique = safe if self.unique_tokens is None else np.full(1, self.unique_tokens)
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            out = self.law.evaluate(values, params, safe, unique)
        if self.missed is not None:
            out = self.missed.applied(out, params, safe)
        return np.where(np.broadcast_to(tokens >= 1.0, out.shape), out, np.inf)

    def best(self, compute: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Size, tokens and loss of the optimum of every draw, each of shape (draws,).

        Parameters
        ----------
        compute : float or ndarray, shape (draws,)

        Notes
        -----
        In closed form for laws that are taken for true.  Else a grid in log params and three zooms
        about its least node: to 1e-4 in log params, where the loss is flat.
        """
        budget = np.broadcast_to(np.asarray(compute, float), self.values["E"].shape)
        start, tokens = closed_form(budget, inner(self.values))
        if self.closed:
            return start, tokens, self.loss(start[:, None], tokens[:, None])[:, 0]
        centre = np.log(start)
        if self.inference_tokens:
            most = np.log(budget / (FLOPS_PER_PARAM_SERVED * self.inference_tokens))
            centre = np.minimum(centre, most - 0.5)
        half, nodes = (HALF_WIDTH, NODES) if self.missed is None else (ROUGH_HALF, ROUGH_NODES)
        for _ in range(ZOOMS + 1):
            log_n = centre[:, None] + half * np.linspace(-1, 1, nodes)
            n = np.exp(log_n)
            loss = self.loss(n, self.tokens_for(budget[:, None], n))
            k = loss.argmin(axis=1)
            row = np.arange(len(k))
            centre, least = log_n[row, k], loss[row, k]
            half, nodes = 2 * half / (nodes - 1), ZOOM_NODES
        n = np.exp(centre)
        return n, self.tokens_for(budget, n), least

    def decide(self, compute: float, sizes: Floats) -> tuple[float, float]:
        """Size and tokens of least posterior expected loss.

        Parameters
        ----------
        sizes : ndarray
            The draws' optima: the decision lies among them.
        """
        low, high = np.log(np.quantile(sizes, [0.002, 0.998])) + np.array([-0.5, 0.5])
        nodes = NODES
        for _ in range(ZOOMS + 1):
            log_n = np.linspace(low, high, nodes)
            n = np.exp(log_n)
            expected = self.loss(n[None], self.tokens_for(compute, n)[None]).mean(axis=0)
            k = int(expected.argmin())
            step = (high - low) / (nodes - 1)
            low, high, nodes = log_n[k] - step, log_n[k] + step, ZOOM_NODES
        best = float(np.exp(log_n[k]))
        return best, float(self.tokens_for(compute, best))

    def equivalent(self, loss: Floats, compute: float) -> Floats:
        """The budget whose optimum has a given loss, for every draw: shape (draws,).

        The reducible loss of the optimum is close to a power of the budget, so a secant in the
        logarithms of both converges at once; exactly so for Chinchilla's law.  With what a law
        misses it is no power: then the least losses of a row of budgets are looked through.
        """
        if self.missed is not None:
            return self._first_budget(loss, compute)
        floor = self.values["E"]
        target = np.log(np.maximum(loss - floor, 1e-300))
        x0 = np.full(len(floor), np.log(compute))
        y0 = np.log(self.best(np.exp(x0))[2] - floor)
        slope = np.full(len(floor), -0.15)
        for _ in range(SECANTS):
            step = np.clip((target - y0) / slope, -4.0, 4.0)
            x1 = x0 + step
            y1 = np.log(self.best(np.exp(x1))[2] - floor)
            moved = np.abs(step) > 1e-4
            slope = np.where(moved, (y1 - y0) / np.where(moved, step, 1.0), slope)
            slope = np.clip(np.nan_to_num(slope, nan=-0.15), -2.0, -1e-3)
            x0, y0 = x1, y1
            if np.abs(target - y0).max() < 1e-6:
                break
        return np.asarray(np.exp(x0))

    def _first_budget(self, loss: Floats, compute: float) -> Floats:
        """The smallest budget of a table whose least loss is at or below a loss, (draws,)."""
        log_c = np.log(compute) + np.linspace(*BUDGET_RANGE, BUDGETS)
        least = np.empty((len(loss), BUDGETS))
        for k, budget in enumerate(np.exp(log_c)):
            start, _ = closed_form(np.full(len(loss), budget), inner(self.values))
            sizes = np.exp(np.log(start)[:, None] + np.linspace(-3.0, 3.0, COARSE))
            least[:, k] = self.loss(sizes, self.tokens_for(budget, sizes)).min(axis=1)
        least = np.minimum.accumulate(least, axis=1)
        good = least <= loss[:, None]
        first = np.where(good.any(axis=1), good.argmax(axis=1), BUDGETS - 1)
        row, before = np.arange(len(loss)), np.maximum(first - 1, 0)
        high, low = least[row, before], least[row, first]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.clip((high - loss) / (high - low), 0.0, 1.0)
        share = np.where(first == before, 0.0, np.nan_to_num(share, nan=1.0))
        return np.asarray(np.exp(log_c[before] + share * (log_c[first] - log_c[before])))
