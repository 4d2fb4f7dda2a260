"""Figures of a fit: data with bands, residuals, pairs of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .._base.results import Scale
from .style import (
    BLUE,
    DATA,
    GREY,
    ORANGE,
    axes,
    bands,
    clip_loss,
    finish,
    grid_between,
    mark_beyond,
    note,
    one_run,
    set_axis,
)

if TYPE_CHECKING:
    from ..fits.posterior import Fit


@figure_options
def plot_fit(
    fit: Fit,
    run: str | None = None,
    *,
    ax: Any = None,
    until: float | None = None,
    scale: Scale = "auto",
    probs: Sequence[float] = (0.5, 0.9),
    noise: bool = True,
) -> Any:
    """Data of a run with posterior predictive bands, its window and what lies beyond the data.

    Parameters
    ----------
    fit : Fit
        What `lossfit.fit` gave.

    Examples
    --------
    >>> import lossfit
    >>> fit = lossfit.fit(lossfit.load("llama2"), law="power", axis="tokens", draws=200)
    >>> ax = lossfit.plotting.plot_fit(fit, "llama2-13B")
    """
    ax = axes(ax)
    r = one_run(fit.runs.names, run)
    name = fit.runs.names[r]
    fit_of_run = fit.select([name])
    data = fit.runs[name]
    x, loss = data.axis(fit.axis), data.loss
    end = float(x[-1])
    last = 1.3 * end if until is None else float(until)
    positive = x > 0
    grid = grid_between(float(fit_of_run.start[0]), max(last, float(fit_of_run.end[0])))
    curves = fit_of_run.curves(grid[None])
    values = curves + fit_of_run.noise(grid.size) if noise else curves
    # What came long before the window would press the rest together.
    low = max(float(x[positive][0]), 0.5 * float(fit_of_run.start[0]))
    positive &= x >= low
    set_axis(ax, fit.axis, low, max(last, end), scale)
    used = np.asarray(fit_of_run.window_rows())
    spikes = data.spike & positive & ~used
    left = positive & ~used & ~spikes
    ax.plot(x[used], loss[used], ".", color=DATA, markersize=4, label="fitted", zorder=3)
    if left.any():
        ax.plot(x[left], loss[left], ".", color=GREY, markersize=3, label="not fitted", zorder=3)
    if spikes.any():
        ax.plot(x[spikes], loss[spikes], "x", color=ORANGE, markersize=5, label="spikes", zorder=3)
    edges = bands(ax, grid, values[0], probs, BLUE, "of observations" if noise else "of curves")
    median = np.median(values[0], axis=-1)
    cut = clip_loss(ax, loss[positive & ~spikes], median, edges)
    if fit_of_run.start[0] > x[positive][0]:
        ax.axvline(float(fit_of_run.start[0]), color=GREY, linewidth=0.8, linestyle="--", zorder=1)
    start = "dashed: start of the window" if fit_of_run.start[0] > x[positive][0] else ""
    note(ax, mark_beyond(ax, end, last), start, cut)
    return finish(ax, f"{name}: {fit.law.formula}", "lower left")


@figure_options
def plot_residuals(
    fit: Fit, run: str | None = None, *, ax: Any = None, scale: Scale = "auto"
) -> Any:
    """Standardised residuals of a run along its axis, with the lines between which 95 % should lie.

    Parameters
    ----------
    fit : Fit
        What `lossfit.fit` gave.

    Examples
    --------
    >>> import lossfit
    >>> fit = lossfit.fit(lossfit.load("llama2"), law="power", axis="tokens", draws=200)
    >>> ax = lossfit.plotting.plot_residuals(fit)
    """
    ax = axes(ax)
    name = fit.runs.names[one_run(fit.runs.names, run)]
    fit_of_run = fit.select([name])
    table = fit_of_run.residuals()
    x, z = table[fit.axis].to_numpy(), table["standardised"].to_numpy()
    limit = 1.96
    if fit.settings.noise == "student_t":
        from scipy.stats import t

        limit = float(t.ppf(0.975, 4))
    set_axis(ax, fit.axis, float(x[0]), float(x[-1]), scale)
    ax.axhspan(
        -limit, limit, color=BLUE, alpha=0.12, linewidth=0, label="95 % of independent noise"
    )
    ax.axhline(0, color=BLUE, linewidth=1)
    ax.plot(x, z, "-", color=GREY, linewidth=0.7, zorder=2)
    ax.plot(x, z, ".", color=DATA, markersize=4, zorder=3)
    reach = max(3.5, 1.1 * float(np.abs(z).max()))
    ax.set_ylim(-reach, 1.25 * reach)
    ax.set_ylabel("residual / sigma")
    row = fit_of_run.diagnostics.iloc[0]
    title = (
        f"{name}: lag-1 autocorrelation {row['rho1']:.2f}, "
        f"worth {row['n_eff']:.0f} of {row['n_points']} points"
    )
    return finish(ax, title, "upper right")


@figure_options
def plot_pair(fit: Fit, run: str | None = None, var_names: Sequence[str] | None = None) -> Any:
    """Posterior of pairs of parameters of a run, drawn by ArviZ.

    Parameters
    ----------
    fit : Fit
        What `lossfit.fit` gave.
    var_names : sequence of str, optional
        All by default.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each pair.

    Notes
    -----
    Parameters are those for the axis divided by the end of the window: amplitudes are then sizes of
    their terms there, of the order of the loss, where in units of the axis they span decades.

    Examples
    --------
    >>> import lossfit
    >>> fit = lossfit.fit(lossfit.load("llama2"), law="power", axis="tokens", draws=200)
    >>> figure = lossfit.plotting.plot_pair(fit, var_names=["E", "alpha"])
    """
    import xarray as xr

    from ..fits.arviz_adapter import plot_pair as draw

    name = fit.runs.names[one_run(fit.runs.names, run)]
    fit_of_run = fit.select([name])
    values = fit_of_run._by_chain(fit_of_run._needs_draws("posterior"))[:, :, 0]
    posterior = xr.Dataset(
        {p: (("chain", "draw"), values[:, :, k]) for k, p in enumerate(fit_of_run.parameters)},
        coords={"chain": np.arange(values.shape[0]), "draw": np.arange(values.shape[1])},
    )
    names = list(var_names) if var_names is not None else list(fit_of_run.parameters)
    figure = draw(posterior, names)
    figure.suptitle(f"{name}: {fit.law.formula}, x = {fit.axis} / {fit_of_run.end[0]:.3g}")
    return figure
