"""A fit's draws as labelled arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._base.ragged import Floats
from .._base.seeds import Seed
from ..runs.labels import AXIS_UNITS

if TYPE_CHECKING:
    import xarray as xr

    from .posterior import Fit


def posterior_dataset(fit: Fit, scaled: bool = False) -> xr.Dataset:
    """See `Fit.posterior` and `Fit.scaled_posterior`."""
    import xarray as xr

    from .. import __version__

    draws = fit._needs_draws("posterior")
    s = fit.settings
    values = draws.swapaxes(0, 1) if scaled else fit.law.in_axis_units(draws, fit.end)
    named = dict(zip(fit.parameters, values, strict=True))
    docs = {p.name: p.doc for p in fit.law.nonlinear} | {p.name: p.doc for p in fit.law.linear}
    docs["sigma"] = "standard deviation of the noise of a point of weight 1"
    if s.noise == "student_t":
        docs["sigma"] = "scale of the Student-t noise (4 degrees of freedom)"
    variables = {
        name: (("chain", "draw", "run"), fit._by_chain(named[name]), {"long_name": docs[name]})
        for name in fit.parameters
    }
    return xr.Dataset(
        variables,
        coords={
            "chain": np.arange(s.chains),
            "draw": np.arange(s.draws),
            "run": list(fit.runs.names),
            "x_ref": ("run", fit.end, {"units": AXIS_UNITS[s.axis]}),
        },
        attrs={
            "law": fit.law.name,
            "formula": fit.law.formula,
            "axis": s.axis,
            "units": "x_ref" if scaled else AXIS_UNITS[s.axis],
            "inference_library": "lossfit",
            "inference_library_version": __version__,
            "method": s.method,
            "noise": s.noise,
            "window": s.window,
            "device": s.device,
            "dtype": s.dtype,
            "random_seed": str(s.random_seed),
            "created_at": s.created_at,
        },
    )


def prediction(fit: Fit, points: Floats, noise: bool, random_seed: Seed | str) -> xr.DataArray:
    """See `Fit.predict`."""
    import xarray as xr

    grid = np.broadcast_to(points, (len(fit.runs), points.size))
    curves = fit.curves(grid)
    if noise:
        curves = curves + fit.noise(curves.shape[1], random_seed)
    s = fit.settings
    return xr.DataArray(
        fit._by_chain(curves),
        dims=("chain", "draw", "run", "at"),
        coords={
            "chain": np.arange(s.chains),
            "draw": np.arange(s.draws),
            "run": list(fit.runs.names),
            "at": ("at", points, {"long_name": s.axis, "units": AXIS_UNITS[s.axis]}),
        },
        name="loss",
        attrs={"long_name": "loss", "law": fit.law.name, "noise": str(bool(noise))},
    )
