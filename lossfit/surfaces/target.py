"""The posterior of a surface's parameters: coordinates, priors, likelihood, its local shape.

The model, for row i of a table with losses y_i::

    log y_i = log L(N_i, D_i) + sigma t_i,   t_i ~ Student-t with nu degrees of freedom

so the noise is a share of the loss and outliers do not pull.  Coordinates in which the posterior is
tame: logarithms of the exponents, of ``e = E / L0``, of the two other terms at the table's
geometric centre (``a = A N0^-alpha / L0``, ``b = B D0^-beta / L0``, with L0 the median loss), of
sigma and of nu.  A and B themselves are correlated with their exponents at 0.99 and more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln

from .._base.errors import DataError
from .._base.ragged import Floats
from ..laws._surface_law import SurfaceLaw
from ..laws.priors import Prior
from .table import Table

AMPLITUDE_SD = 1.0  # of the half-normal priors of e, a, b, in units of the median loss
SIGMA_MEDIAN, SIGMA_SD = 0.01, 1.5  # log-normal prior of sigma, a share of the loss
NU_SHAPE, NU_RATE = 2.0, 0.1  # gamma prior of nu (Juarez and Steel 2010)
NU_LOW, NU_HIGH = 1.0, 100.0
GAUSSIAN = 1e6  # degrees of freedom that stand for Gaussian noise
NU_EDGES = np.geomspace(NU_LOW, NU_HIGH, 10)
BLOCK = 1 << 20  # numbers in one temporary array

PRIOR_TEXT = (
    "E and the size and data terms at the table's centre: half-normal, sd the median loss; "
    "alpha, beta: {alpha}, {beta}; sigma (relative): log-normal(0.01, 1.5); nu: gamma(2, 0.1) on "
    "1 to 100"
)


@dataclass(frozen=True, eq=False)
class Target:
    """Log posterior of many parameter sets at once."""

    law: SurfaceLaw
    # of the law's nonlinear parameters: uniform, normal or log-normal, on
    # positive values
    priors: Mapping[str, Prior]
    noise: str  # {"student_t", "gaussian"}
    # log_n, log_d: shape (n,): logarithms of params and tokens less their means ``centre``
    log_n: Floats
    log_d: Floats
    log_y: Floats  # shape (n,): logarithm of the loss less that of ``level``
    centre: tuple[float, float]
    level: float
    table: Table

    @classmethod
    def of(cls, table: Table, law: SurfaceLaw, priors: Mapping[str, Prior], noise: str) -> Target:
        """The target for a table."""
        log_n, log_d = np.log(table.params), np.log(table.tokens)
        centre = float(log_n.mean()), float(log_d.mean())
        level = float(np.median(table.loss))
        return cls(
            law, priors, noise, log_n - centre[0], log_d - centre[1],
            np.log(table.loss / level), centre, level, table,
        )  # fmt: skip

    @property
    def nonlinear(self) -> tuple[str, ...]:
        """Names of the nonlinear parameters: the first coordinates."""
        return tuple(self.law.priors)

    def log_prior_nonlinear(self, logs: Floats) -> Floats:
        """Prior density of the nonlinear parameters' logarithms, shape (M,), for (M, k)."""
        out = np.zeros(len(logs))
        for k, name in enumerate(self.nonlinear):
            out += log_density_of_log(self.priors[name], logs[:, k])
        return out

    def log_prior_scales(self, u: Floats) -> Floats:
        """Prior density of (log e, log a, log b, log sigma), shape (M,), for (M, 4)."""
        with np.errstate(over="ignore"):
            squares = (np.exp(2 * u[:, :3]) / AMPLITUDE_SD**2).sum(axis=1)
        out = u[:, :3].sum(axis=1) - 0.5 * squares
        out += 3 * np.log(2 / (np.sqrt(2 * np.pi) * AMPLITUDE_SD))
        gap = (u[:, 3] - np.log(SIGMA_MEDIAN)) / SIGMA_SD
        return np.asarray(out - 0.5 * gap**2 - np.log(SIGMA_SD * np.sqrt(2 * np.pi)))

    def log_prior_nu(self, log_nu: Floats) -> Floats:
        """Prior density of log nu, up to its normaliser on (1, 100)."""
        nu = np.exp(log_nu)
        inside = (nu >= NU_LOW) & (nu <= NU_HIGH)
        value = NU_SHAPE * log_nu - NU_RATE * nu + NU_SHAPE * np.log(NU_RATE) - gammaln(NU_SHAPE)
        return np.where(inside, value, -np.inf)

    def log_mean(self, logs: Floats, u: Floats) -> Floats:
        """Logarithm of the law at every row over ``level``, shape (M, n)."""
        if self.law.repeats:
            values = {name: np.exp(logs[:, k : k + 1]) for k, name in enumerate(self.nonlinear)}
            values.update(self._amplitudes(values, u))
            mean = self.law.evaluate(
                values, self.table.params, self.table.tokens, self.table.unique_tokens
            )
            return np.asarray(np.log(mean / self.level))
        return np.asarray(np.log(sum(self._terms(logs, u))))

    def _terms(self, logs: Floats, u: Floats) -> tuple[Floats, Floats, Floats]:
        """The three terms of Chinchilla's law over ``level``: (M, 1), (M, n), (M, n)."""
        alpha, beta = np.exp(logs[:, :1]), np.exp(logs[:, 1:2])
        with np.errstate(over="ignore"):
            size = np.exp(u[:, 1:2] - alpha * self.log_n)
            data = np.exp(u[:, 2:3] - beta * self.log_d)
        return np.exp(u[:, :1]), size, data

    def _amplitudes(self, values: Mapping[str, Floats], u: Floats) -> dict[str, Floats]:
        """E, A, B in the loss's own units, shape (M, 1)."""
        return {
            "E": self.level * np.exp(u[:, :1]),
            "A": self.level * np.exp(u[:, 1:2] + values["alpha"] * self.centre[0]),
            "B": self.level * np.exp(u[:, 2:3] + values["beta"] * self.centre[1]),
        }

    def log_posterior(
        self,
        logs: Floats,  # shape (M, k): logarithms of the nonlinear parameters
        u: Floats,  # shape (M, 4): logarithms of e, a, b, sigma
        log_nu: Floats,  # shape (M,)
    ) -> Floats:
        """Log joint density of data and coordinates, shape (M,)."""
        out = self.log_prior_nonlinear(logs) + self.log_prior_scales(u)
        if self.noise == "student_t":
            out += self.log_prior_nu(log_nu)
        step = max(1, BLOCK // len(self.log_y))
        for first in range(0, len(logs), step):
            some = slice(first, first + step)
            out[some] += self._log_likelihood(logs[some], u[some], log_nu[some])
        return np.where(np.isfinite(out), out, -np.inf)

    def _log_likelihood(self, logs: Floats, u: Floats, log_nu: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            z = (self.log_y - self.log_mean(logs, u)) * np.exp(-u[:, 3:4])
            n = self.log_y.size
            if self.noise == "gaussian":
                return np.asarray(
                    -0.5 * (z * z).sum(axis=1) - n * (u[:, 3] + 0.5 * np.log(2 * np.pi))
                )
            nu = np.exp(log_nu)
            tails = np.log1p(z * z / nu[:, None]).sum(axis=1)
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(np.pi * nu)
        return np.asarray(n * (constant - u[:, 3]) - 0.5 * (nu + 1) * tails)

    def shape_at(
        self, logs: Floats, u: Floats, nu: Floats, joint: bool = False
    ) -> tuple[Floats, Floats]:
        """Gradient and expected curvature of the log posterior; Chinchilla's law only.

        Parameters
        ----------
        logs, u : ndarray, shape (M, 2) and (M, 4)
        nu : ndarray, shape (M,)
        joint : bool
            Whether with respect to all six coordinates or to ``u`` alone.

        Returns
        -------
        gradient : ndarray, shape (M, p)
        curvature : ndarray, shape (M, p, p)
            Fisher information of the rows plus the prior's part: positive definite.  For p = 4
            the order is that of ``u``; for p = 6 the exponents come first.
        """
        p = 6 if joint else 4
        gradient = np.empty((len(logs), p))
        curvature = np.zeros((len(logs), p, p))
        step = max(1, BLOCK // (4 * len(self.log_y)))
        for first in range(0, len(logs), step):
            some = slice(first, first + step)
            gradient[some], curvature[some] = self._shape(logs[some], u[some], nu[some], joint)
        return gradient, curvature

    def _shape(self, logs: Floats, u: Floats, nu: Floats, joint: bool) -> tuple[Floats, Floats]:
        floor, size, data = self._terms(logs, u)
        mean = floor + size + data
        parts = [floor / mean, size / mean, data / mean]
        if joint:
            alpha, beta = np.exp(logs[:, :1]), np.exp(logs[:, 1:2])
            parts = [-alpha * self.log_n * parts[1], -beta * self.log_d * parts[2], *parts]
        jacobian = np.stack(parts, axis=1)
        scale = np.exp(-u[:, 3])
        z = (self.log_y - np.log(mean)) * scale[:, None]
        weight = (nu[:, None] + 1) / (nu[:, None] + z * z)
        m = len(parts)
        gradient = np.empty((len(logs), m + 1))
        gradient[:, :m] = (jacobian @ (weight * z)[:, :, None])[:, :, 0] * scale[:, None]
        gradient[:, m] = (weight * z * z).sum(axis=1) - self.log_y.size
        gradient[:, m] -= (u[:, 3] - np.log(SIGMA_MEDIAN)) / SIGMA_SD**2
        curvature = np.zeros((len(logs), m + 1, m + 1))
        inner = jacobian @ jacobian.transpose(0, 2, 1)
        curvature[:, :m, :m] = inner * ((nu + 1) / (nu + 3) * scale**2)[:, None, None]
        curvature[:, m, m] = 2 * nu / (nu + 3) * self.log_y.size + 1 / SIGMA_SD**2
        # Half-normal prior and the Jacobian of the logarithm: u - exp(2u) / 2.  At a mode the
        # likelihood's gradient balances this one, which is why 1 + exp(2u) is the curvature.
        square = np.exp(2 * u[:, :3]) / AMPLITUDE_SD**2
        first = m - 3
        for k in range(3):
            gradient[:, first + k] += 1 - square[:, k]
            curvature[:, first + k, first + k] += 1 + square[:, k]
        if joint:
            for k, name in enumerate(self.nonlinear[:2]):
                slope, bend = shape_of_log(self.priors[name], logs[:, k])
                gradient[:, k] += slope
                curvature[:, k, k] += bend
        return gradient, curvature

    def values(self, logs: Floats, u: Floats, log_nu: Floats) -> dict[str, Floats]:
        """Parameters in their own units, each of shape (M,)."""
        values = {name: np.exp(logs[:, k : k + 1]) for k, name in enumerate(self.nonlinear)}
        out = {**self._amplitudes(values, u), **values}
        found = {name: np.asarray(out[name][:, 0]) for name in self.law.parameters}
        found["sigma"] = np.exp(u[:, 3])
        if self.noise == "student_t":
            found["nu"] = np.exp(log_nu)
        return found


def check_prior(name: str, prior: Any) -> Prior:
    """A prior of a nonlinear parameter, if it is one."""
    if not isinstance(prior, Prior) or prior.kind not in ("uniform", "normal", "lognormal"):
        raise DataError(
            f"{name} needs a lossfit.priors.uniform, normal or lognormal prior, got {prior!r}"
        )
    if prior.relative:
        raise DataError(f"the prior of {name} is absolute: leave out relative=True")
    return prior


def log_density_of_log(prior: Prior, logs: Floats) -> Floats:
    """Density of the logarithm of a positive parameter."""
    if prior.kind == "lognormal":
        gap = (logs - np.log(prior.first)) / prior.second
        return np.asarray(-0.5 * gap**2 - np.log(prior.second * np.sqrt(2 * np.pi)))
    value = np.exp(logs)
    if prior.kind == "normal":
        from scipy.special import ndtr

        gap = (value - prior.first) / prior.second
        area = prior.second * np.sqrt(2 * np.pi) * ndtr(prior.first / prior.second)
        return np.asarray(-0.5 * gap**2 - np.log(area) + logs)
    low = max(prior.first, 0.0)
    inside = (value > low) & (value < prior.second)
    return np.where(inside, logs - np.log(prior.second - low), -np.inf)


def middle(prior: Prior) -> tuple[float, float]:
    """Typical logarithm of a parameter and its spread under the prior."""
    if prior.kind == "lognormal":
        return float(np.log(prior.first)), prior.second
    if prior.kind == "normal":
        centre = max(prior.first, 0.2 * prior.second)
        return float(np.log(centre)), min(prior.second / centre, 1.0)
    low = max(prior.first, 1e-3 * prior.second)
    return 0.5 * float(np.log(low * prior.second)), float(np.log(prior.second / low)) / 5


def shape_of_log(prior: Prior, logs: Floats) -> tuple[Floats, Floats]:
    """Slope and (non-negative) curvature of `log_density_of_log`."""
    if prior.kind == "lognormal":
        gap = (logs - np.log(prior.first)) / prior.second**2
        return -gap, np.full_like(logs, 1 / prior.second**2)
    value = np.exp(logs)
    if prior.kind == "normal":
        slope = 1 - value * (value - prior.first) / prior.second**2
        return slope, np.maximum(value * (2 * value - prior.first) / prior.second**2, 0.1)
    return np.ones_like(logs), np.full_like(logs, 0.1)
