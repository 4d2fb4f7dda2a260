"""Curves that a law's prior allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import as_in, figure_options
from .._base.results import Scale
from ..fits.prior_curves import prior_predictive
from ..runs.checks import as_runs
from .style import BLUE, DATA, SKY, axes, bands, clip_loss, finish, note, one_run, set_axis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._base.seeds import Seed
    from ..fits.window import WindowSpec
    from ..laws import Law
    from ..laws.priors import Prior
    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs


@figure_options
@as_in(prior_predictive)
def plot_prior_predictive(
    runs: Runs,
    law: str | Law = "power_linear",
    run: str | None = None,
    *,
    ax: Any = None,
    scale: Scale = "auto",
    curves: int = 40,
    axis: AnyAxis = "auto",
    window: WindowSpec = "auto",
    draws: int = 4000,
    random_seed: Seed = 0,
    priors: Mapping[str, Prior] | None = None,
    until: float = 1.0,
) -> Any:
    """Curves from a law's prior at a run's scales, with bands, and the run's data on top.

    Parameters
    ----------
    runs : Runs
        The runs; one of them is drawn.
    curves : int
        Single curves to draw.
    draws : int
        Curves that the bands are made of.

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2")
    >>> ax = lossfit.plotting.plot_prior_predictive(runs, law="power", axis="tokens")
    """
    runs = as_runs(runs)
    name = runs.names[one_run(runs.names, run)]
    single = runs.select([name])
    drawn = prior_predictive(
        single, law, axis, window, draws, random_seed, priors=priors, until=until
    )
    along = drawn.attrs["axis"]
    x, values = drawn[along].values[0], drawn.values[0]
    ax = axes(ax)
    set_axis(ax, along, float(x[0]), float(x[-1]), scale)
    ax.plot(x, values[:, :curves], color=SKY, linewidth=0.6, alpha=0.6, zorder=2)
    edges = bands(ax, x, values, (0.5, 0.9), BLUE, "of prior curves")
    data = single[name]
    where = data.axis(along)
    inside = (where >= x[0]) & (where <= x[-1])
    ax.plot(where[inside], data.loss[inside], ".", color=DATA, markersize=4, label=name, zorder=5)
    # The prior is wide on purpose, so the inner band sets the limits, not the data.
    inner = np.quantile(values, (0.25, 0.75), axis=-1)
    note(ax, clip_loss(ax, data.loss[inside], inner, edges))
    return finish(ax, f"{name}: prior of {drawn.attrs['law']}", "upper left")
