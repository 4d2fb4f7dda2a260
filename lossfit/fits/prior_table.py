"""A law's priors as numbers: one row a run, in the scaled units of the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._base.errors import DataError
from ..laws.priors import KIND_CODES, Prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..kernels.driver import PriorTable
    from ..laws import Law, Nonlinear


def prior_table(
    law: Law,
    # loss, noise: shape (n_runs,): scales of the loss and of its noise
    # (`lossfit.kernels.scales.run_scales`)
    loss: NDArray[np.float64],
    noise: NDArray[np.float64],
    # x_start, x_ref: shape (n_runs,): first and last axis value in the window, in units of the axis
    x_start: NDArray[np.float64],
    x_ref: NDArray[np.float64],
) -> PriorTable:
    """Priors of a law for runs of given scales.

    Raises `DataError`: if an absolute prior of an offset does not meet the parameter's bounds.

    Returns
    -------
    PriorTable
        Relative priors are multiplied by the run's scale of that parameter.  Absolute ones are
        taken as they are: in units of the loss for linear parameters (whose columns are scaled to
        the end of the window) and for sigma, in units of the axis for an offset.
    """
    from ..kernels.driver import PriorTable

    n_runs = loss.size
    nonlinear = np.empty((n_runs, len(law.nonlinear), 5))
    for k, parameter in enumerate(law.nonlinear):
        nonlinear[:, k] = _nonlinear_rows(law, parameter, x_start / x_ref, x_ref)
    mean = np.empty((n_runs, len(law.linear)))
    sd = np.empty_like(mean)
    lower = np.empty_like(mean)
    for k, linear in enumerate(law.linear):
        scale = loss if linear.prior.relative else np.ones(n_runs)
        mean[:, k] = linear.prior.first * scale
        sd[:, k] = linear.prior.second * scale
        lower[:, k] = 0.0 if linear.positive else -np.inf
    sigma = np.empty((n_runs, 2))
    sigma[:, 0] = law.sigma.first
    sigma[:, 1] = law.sigma.second * (noise if law.sigma.relative else 1.0)
    return PriorTable(nonlinear=nonlinear, mean=mean, sd=sd, lower=lower, sigma=sigma)


def _nonlinear_rows(
    law: Law, parameter: Nonlinear, start: NDArray[np.float64], x_ref: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows (low, high, kind, first, second) of one nonlinear parameter, shape (n_runs, 5)."""
    prior: Prior = parameter.prior
    bounds = start if parameter.unit == "start" else np.ones_like(start)
    scale = np.ones_like(start)
    if parameter.unit == "start":
        scale = start if prior.relative else 1.0 / x_ref
    rows = np.empty((start.size, 5))
    rows[:, 0] = parameter.low * bounds
    rows[:, 1] = parameter.high * bounds
    rows[:, 2] = KIND_CODES[prior.kind]
    rows[:, 3] = prior.first * scale
    # The second number of a log-normal is a spread of logarithms, which has no unit.
    rows[:, 4] = prior.second * (1.0 if prior.kind == "lognormal" else scale)
    if prior.kind == "uniform":
        empty = (rows[:, 3] >= rows[:, 1]) | (rows[:, 4] <= rows[:, 0])
        if empty.any():
            r = int(np.argmax(empty))
            raise DataError(
                f"law {law.name!r}: the uniform prior of {parameter.name}, ({rows[r, 3]:g}, "
                f"{rows[r, 4]:g}), lies outside its bounds ({rows[r, 0]:g}, "
                f"{rows[r, 1]:g}); widen it"
            )
        # The kernels know a uniform prior by its bounds alone.
        rows[:, 0] = np.maximum(rows[:, 0], rows[:, 3])
        rows[:, 1] = np.minimum(rows[:, 1], rows[:, 4])
    elif prior.kind == "lognormal" and (rows[:, 1] <= 0).any():
        raise DataError(
            f"law {law.name!r}: {parameter.name} has no positive value within its bounds, "
            f"so it cannot have a lognormal prior"
        )
    return rows
