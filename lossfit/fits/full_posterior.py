"""The posterior density of all parameters of a run, with nothing integrated out: plain numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..laws.priors import KIND_CODES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..kernels.driver import PriorTable
    from ..laws import Law

    Array = NDArray[np.float64]


class LogPosterior:
    """Log posterior density of all parameters of one run, for many parameter sets at once.

    The prior is the normal-inverse-gamma one of the library: ``sigma**2 ~ InverseGamma(shape, shape
    * scale**2)`` and ``linear | sigma ~ Normal(mean, (sd * sigma / scale)**2)``, the whole cut to
    ``linear >= lower``, times the priors of the nonlinear parameters, cut to their bounds.

    Parameters
    ----------
    law : Law
    x, y, weight : ndarray, shape (n_points,)
        Scaled axis, loss and weights.
    table : PriorTable
    run : int
        Row of the table.
    dof : float or None
        Degrees of freedom of Student-t noise; None for Gaussian noise.

    Notes
    -----
    The walkers move in other coordinates than the parameters: the curve's values at as many points
    of the window as there are linear parameters (instead of these), and logarithms of sigma and of
    positive nonlinear parameters.  The data pin the values down whatever the exponent is, where
    amplitude, asymptote and exponent lie on a thin curved ridge along which an ensemble needs
    10,000 steps to decorrelate.  The density includes the Jacobian, so this changes the speed only.
    """

    def __init__(
        self,
        law: Law,
        x: Array,
        y: Array,
        weight: Array,
        table: PriorTable,
        run: int,
        dof: float | None,
    ) -> None:
        self.law, self.x, self.y, self.weight, self.dof = law, x, y, weight, dof
        self.nonlinear = table.nonlinear[run]
        self.mean, self.sd, self.lower = table.mean[run], table.sd[run], table.lower[run]
        self.shape, self.scale = table.sigma[run]
        self.n_nonlinear, self.n_linear = len(self.nonlinear), self.mean.size
        self.log = [k for k in range(self.n_nonlinear) if self.nonlinear[k, 0] > 0]
        self.anchors = np.exp(np.linspace(np.log(x[0]), np.log(x[-1]), self.n_linear))

    def columns(self, x: Array, nonlinear: Array) -> Array:
        """Columns (n_sets, n_points, n_linear) of the law for nonlinear parameters (d, n_sets)."""
        units = np.eye(self.n_linear)
        each = [
            self.law.evaluate(x, nonlinear, np.outer(e, np.ones(nonlinear.shape[1]))) for e in units
        ]
        return np.stack(each, axis=-1).transpose(1, 0, 2)

    def residuals(self, theta: Array) -> Array:
        """Loss minus curve (n_points, n_sets), for parameters (n_sets, n_parameters)."""
        d = self.n_nonlinear
        return np.asarray(
            self.y[:, None] - self.law.evaluate(self.x, theta[:, :d].T, theta[:, d:-1].T)
        )

    def to_walkers(self, theta: Array) -> Array:
        """Coordinates of the walkers from (..., log sigma); both (n_sets, n_parameters)."""
        d = self.n_nonlinear
        out = theta.copy()
        matrix = self.columns(self.anchors, theta[:, :d].T)
        out[:, d:-1] = np.einsum("spk,sk->sp", matrix, theta[:, d:-1])
        out[:, self.log] = np.log(theta[:, self.log])
        return out

    def to_parameters(self, walkers: Array) -> tuple[Array, Array]:
        """Parameters (..., log sigma) from coordinates of the walkers, and the log Jacobian.

        Returns
        -------
        theta : ndarray, shape (n_sets, n_parameters)
        log_jacobian : ndarray, shape (n_sets,)
            Log of d(parameters)/d(coordinates); NaN where the coordinates mean no parameters.
        """
        d = self.n_nonlinear
        theta = walkers.copy()
        jacobian = walkers[:, self.log].sum(axis=1)
        with np.errstate(over="ignore"):
            theta[:, self.log] = np.exp(walkers[:, self.log])
        inside = np.all(
            (theta[:, :d] > self.nonlinear[:, 0]) & (theta[:, :d] < self.nonlinear[:, 1]), axis=1
        )
        jacobian[~inside] = np.nan
        if inside.any():
            matrix = self.columns(self.anchors, theta[inside, :d].T)
            log_det = np.linalg.slogdet(matrix)[1]
            usable = np.isfinite(log_det)
            rows = np.flatnonzero(inside)[usable]
            solved = np.linalg.solve(matrix[usable], walkers[rows, d:-1][:, :, None])
            theta[rows, d:-1] = solved[:, :, 0]
            jacobian[inside] -= log_det
            jacobian[~np.isfinite(jacobian)] = np.nan
        return theta, jacobian

    def log_prior(self, theta: Array) -> Array:
        """Log prior density of (..., log sigma) up to a constant, -inf outside the support."""
        d = self.n_nonlinear
        log_sigma = theta[:, -1]
        ratio = np.exp(log_sigma) / self.scale
        # Density of log sigma: that of sigma^2 times d(sigma^2)/d(log sigma).
        out = -2 * self.shape * log_sigma - self.shape / ratio**2
        linear = theta[:, d:-1]
        z = (linear - self.mean) / (self.sd * ratio[:, None])
        out += np.sum(-0.5 * z**2, axis=1) - self.n_linear * np.log(ratio)
        allowed = np.all(linear >= self.lower, axis=1)
        for k, (low, high, code, first, second) in enumerate(self.nonlinear):
            value = theta[:, k]
            inside = (value > low) & (value < high)
            if code == KIND_CODES["normal"]:
                out += -0.5 * ((value - first) / second) ** 2
            elif code == KIND_CODES["lognormal"]:
                inside &= value > 0
                log_value = np.log(np.where(inside, value, 1.0))
                out += -0.5 * ((log_value - np.log(first)) / second) ** 2 - log_value
            else:
                inside &= (value >= first) & (value <= second)
            allowed &= inside
        return np.where(allowed, out, -np.inf)

    def log_posterior(self, theta: Array) -> Array:
        """Log density of (nonlinear, linear, log sigma) up to a constant, shape (n_sets,)."""
        out = self.log_prior(theta)
        good = np.isfinite(out)
        if good.any():
            inside = theta[good]
            log_sigma = inside[:, -1]
            squares = self.weight[:, None] * self.residuals(inside) ** 2 / np.exp(2 * log_sigma)
            if self.dof is None:
                likelihood = -0.5 * squares.sum(axis=0)
            else:
                likelihood = -0.5 * (self.dof + 1) * np.log1p(squares / self.dof).sum(axis=0)
            out[good] += likelihood - self.y.size * log_sigma
        return np.where(np.isnan(out), -np.inf, out)

    def __call__(self, walkers: Array) -> Array:
        """Log density in the coordinates of the walkers."""
        theta, jacobian = self.to_parameters(walkers)
        out = np.full(len(walkers), -np.inf)
        good = np.isfinite(jacobian)
        if good.any():
            out[good] = self.log_posterior(theta[good]) + jacobian[good]
        return out
