"""Curves that the priors of a law allow, before the data speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .. import laws
from .._base.documented import as_in
from .._base.ragged import Floats
from .._base.seeds import Seed, run_keys, seed_integer
from ..laws.priors import KIND_CODES
from ..runs.checks import as_runs, choose_axis, whole
from ..runs.labels import AXIS_UNITS
from .fitting import fit
from .preparing import Source
from .window import WindowSpec, rule_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..kernels.driver import PriorTable
    from ..laws import Law
    from ..laws.priors import Prior
    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs

POINTS = 100


@as_in(fit)
def prior_predictive(
    runs: Runs | pd.DataFrame,
    law: str | Law = "power_linear",
    axis: AnyAxis = "auto",
    window: WindowSpec = "auto",
    draws: int = 200,
    random_seed: Seed = 0,
    *,
    priors: Mapping[str, Prior] | None = None,
    until: float = 1.0,
) -> xr.DataArray:
    """Loss curves drawn from a law's prior, at the scales of each run.

    Parameters
    ----------
    runs : Runs or pandas.DataFrame
        The runs; of their data only the scales of loss, noise and window are used.
    draws : int
        Curves for each run.
    random_seed : int, numpy.random.Generator or None
        Draws depend on it and on the run's name only.
    until : float
        Where the curves end, as a multiple of the window's end.

    Returns
    -------
    xarray.DataArray, dims (run, point, draw)
        Loss without noise, at 100 points evenly spread in the logarithm of the axis; the coordinate
        of the axis's name has dims (run, point).

    Examples
    --------
    >>> import lossfit
    >>> curves = lossfit.prior_predictive(lossfit.load("llama2"), law="power", axis="tokens")
    >>> curves.dims
    ('run', 'point', 'draw')
    """
    import xarray as xr

    from ..engine.serving import predict_batch

    runs = as_runs(runs)
    chosen = laws.get(law).with_priors(priors)
    axis = choose_axis(runs, axis)
    count = whole(draws, "draws", 1)
    seed = seed_integer(random_seed)
    n_runs = len(runs)
    ready = Source(runs.flat(axis), runs.names, chosen, rule_of(window, runs), 0, n_runs).all()
    keys = run_keys(seed, runs.names, "prior")
    sets = np.stack(
        [
            prior_draws(ready.table, r, count, np.random.default_rng(int(k)))
            for r, k in enumerate(keys)
        ]
    )
    share = np.linspace(0, 1, POINTS)
    first, last = np.log(ready.start / ready.end)[:, None], np.log(until)
    scaled = np.exp(first + (last - first) * share)
    return xr.DataArray(
        predict_batch(chosen.program, sets, scaled),
        dims=("run", "point", "draw"),
        coords={
            "run": list(runs.names),
            axis: (("run", "point"), scaled * ready.end[:, None], {"units": AXIS_UNITS[axis]}),
        },
        name="loss",
        attrs={"law": chosen.name, "axis": axis},
    )


def prior_draws(
    table: PriorTable,
    run: int,  # row of the table
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Scaled parameters from the prior of one run.

    Returns
    -------
    ndarray, shape (n_parameters, draws)
        Nonlinear, linear, sigma.

    Notes
    -----
    The normal-inverse-gamma prior is cut to the positive region as a whole, so sigma is drawn with
    weight P(linear >= lower | sigma), by rejection, and the linear parameters from cut normals.
    """
    from scipy.special import ndtr, ndtri

    shape, scale = table.sigma[run]
    mean, sd, lower = table.mean[run], table.sd[run], table.lower[run]
    sigma = np.empty(0)
    best = 0.0
    while sigma.size < draws:
        trial = scale * np.sqrt(shape / rng.gamma(shape, size=8 * draws))
        inside = np.prod(ndtr((mean - lower) / (sd * trial[:, None] / scale)), axis=1)
        best = max(best, float(inside.max()))
        sigma = np.append(sigma, trial[rng.uniform(size=trial.size) * best < inside])
    sigma = sigma[:draws]
    spread = sd[:, None] * sigma / scale
    # Upper tails keep their digits where the mean is far below the bound.
    tail = ndtr((mean - lower)[:, None] / spread)
    linear = mean[:, None] - spread * ndtri(tail * rng.uniform(size=spread.shape))
    nonlinear = [_cut(row, rng.uniform(size=draws)) for row in table.nonlinear[run]]
    return np.vstack([*nonlinear, linear, sigma])


def _cut(row: Floats, u: Floats) -> Floats:
    """Quantiles of a nonlinear parameter's prior within its bounds."""
    from scipy.special import ndtr, ndtri

    low, high, code, first, second = row
    if code == KIND_CODES["uniform"]:
        low, high = max(low, first), min(high, second)
        return np.asarray(low + u * (high - low))
    log = code == KIND_CODES["lognormal"]
    centre = np.log(first) if log else first
    edges = np.array([max(low, 0.0), high]) if log else np.array([low, high])
    with np.errstate(divide="ignore"):
        z = ((np.log(edges) if log else edges) - centre) / second
    p = ndtr(z)
    value = centre + second * ndtri(p[0] + u * (p[1] - p[0]))
    return np.asarray(np.exp(value) if log else value)
