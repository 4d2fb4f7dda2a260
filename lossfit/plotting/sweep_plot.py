"""The picture of a sweep: a parameter over its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .._base.errors import DataError
from .style import BLUE, DATA, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..sweep.result import SweepResult

BINS = 60


@figure_options
def plot_sweep(result: SweepResult, *, ax: Axes | None = None, parameter: str | None = None) -> Any:
    """Posterior medians of a parameter over all runs of a store.

    Parameters
    ----------
    result : SweepResult
        What `lossfit.fit_to` gave.

    Raises
    ------
    DataError
        No such parameter.

    Examples
    --------
    >>> import lossfit, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = lossfit.fit_to(
    ...         f"{folder}/sweep.zarr", lossfit.load("llama2"), axis="tokens", draws=100
    ...     )
    ...     ax = lossfit.plotting.plot_sweep(result, parameter="alpha")
    """
    frame = result.frame
    names = list(dict.fromkeys(frame["parameter"]))
    parameter = names[0] if parameter is None else parameter
    if parameter not in names:
        raise DataError(f"the store has no parameter {parameter!r}; it has {', '.join(names)}")
    ax = axes(ax)
    values = frame["median"][frame["parameter"] == parameter].to_numpy(float)
    values = values[np.isfinite(values)]
    ax.hist(values, BINS, color=BLUE, alpha=0.6)
    ax.axvline(float(np.median(values)), color=DATA, linewidth=1.2, label="their median")
    ax.set_xlabel(f"posterior median of {parameter}")
    ax.set_ylabel("runs")
    return finish(ax, f"{len(values):,} fitted runs", "upper right")
