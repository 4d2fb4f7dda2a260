"""A fit as ArviZ groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from ..runs.labels import AXIS_UNITS
from .arviz_adapter import to_datatree

if TYPE_CHECKING:
    import xarray as xr

    from .posterior import Fit

MOST_BYTES = 2 << 30


def datatree(fit: Fit, predictive: bool = True) -> Any:
    """See `Fit.to_datatree`."""
    return to_datatree(groups(fit, predictive), fit.posterior.attrs)


def groups(fit: Fit, predictive: bool = True) -> dict[str, xr.Dataset]:
    """The groups by name; those with a value for each draw and point only if asked for."""
    import xarray as xr

    from ..kernels.records import FIT

    draws = fit._needs_draws("posterior")
    x, loss, weight = fit.padded()
    attrs = fit.posterior.attrs
    coords = {"run": list(fit.runs.names), "obs": np.arange(x.shape[1])}
    observed = xr.Dataset({"loss": (("run", "obs"), loss)}, coords=coords, attrs=attrs)
    units = {"units": AXIS_UNITS[fit.axis]}
    constant = xr.Dataset(
        {
            fit.axis: (("run", "obs"), x, units),
            "weight": (("run", "obs"), weight),
            "window_start": ("run", fit.start, units),
            "window_end": ("run", fit.end, units),
            "n_points": ("run", fit.count.astype(np.int64)),
        },
        coords=coords,
        attrs=attrs,
    )
    stats: dict[str, Any] = {name: ("run", fit.info[name]) for name in FIT}
    out = {"posterior": fit.posterior, "observed_data": observed, "constant_data": constant}
    sample = {"chain": fit.posterior.chain, "draw": fit.posterior.draw}
    dims = ("chain", "draw", "run")
    if predictive:
        size = 2 * 8 * x.size * draws.shape[2]
        if size > MOST_BYTES:
            raise DataError(
                f"predictions for every draw and point would take {size / 2**30:.1f} GiB: select "
                f"some runs, or ask for to_datatree(predictive=False)"
            )
        curves = fit.curves(x)
        likelihood = log_likelihood(fit, curves, loss, weight)
        stats["log_likelihood"] = (dims, fit._by_chain(np.nansum(likelihood, axis=1)))
        observations = curves + _noise(fit, weight)
        for name, values in (
            ("posterior_predictive", observations),
            ("log_likelihood", likelihood),
        ):
            out[name] = xr.Dataset(
                {"loss": ((*dims, "obs"), fit._by_chain(values))},
                coords={**sample, **coords},
                attrs=attrs,
            )
    out["sample_stats"] = xr.Dataset(stats, coords={**sample, "run": coords["run"]}, attrs=attrs)
    return out


def log_likelihood(fit: Fit, curves: Floats, loss: Floats, weight: Floats) -> Floats:
    """Log density of each point under each draw, shape (n_runs, n_max, n_draws)."""
    from math import lgamma, log, pi

    from .settings import DOF

    draws = fit._needs_draws("log likelihood")
    spread = draws[:, None, -1] / np.sqrt(weight)[:, :, None]
    squares = ((loss[:, :, None] - curves) / spread) ** 2
    if fit.settings.noise == "student_t":
        norm = lgamma((DOF + 1) / 2) - lgamma(DOF / 2) - 0.5 * log(pi * DOF)
        return norm - np.log(spread) - 0.5 * (DOF + 1) * np.log1p(squares / DOF)
    return -0.5 * (squares + log(2 * pi)) - np.log(spread)


def _noise(fit: Fit, weight: Floats) -> Floats:
    """Noise of the observations, less for those of greater weight."""
    return fit.noise(weight.shape[1]) / np.sqrt(weight)[:, :, None]
