"""The draws of an answer as an array with coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..runs.labels import AXIS_UNITS

if TYPE_CHECKING:
    import xarray as xr

    from .answer import Answer


def draws_of(answer: Answer) -> xr.DataArray:
    """Draws of the loss curve without noise, dims (run, at, draw); see `Answer.draws`."""
    import xarray as xr

    n_draws = answer.mixed.curves.shape[2]
    shared = bool((answer.at == answer.at[0]).all())
    units = {"units": AXIS_UNITS[answer.axis], "long_name": answer.axis}
    laws = np.array([law.name for law in answer.question.laws])
    return xr.DataArray(
        answer.mixed.curves,
        dims=("run", "at", "draw"),
        coords={
            "run": list(answer.names),
            "at": (
                "at",
                answer.at[0] if shared else np.arange(answer.at.shape[1]),
                units if shared else {},
            ),
            "draw": np.arange(n_draws),
            "target": (("run", "at"), answer.at, units),
            "law": ("draw", laws[np.arange(n_draws) % len(laws)]),
        },
        name="loss",
        attrs={"axis": answer.axis},
    )
