"""Picture of a run's phases: the curve, the phases shaded, the posterior of the break points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .._base.results import Scale
from .._base.summaries import central
from .style import BLUE, DATA, GREEN, ORANGE, SKY, axes, finish, one_run, set_axis

if TYPE_CHECKING:
    from ..phase_models.result import Phases

LEAST = 0.05  # probability of a phase that is drawn
HEIGHT = 0.22  # of the axes that the posteriors take


@figure_options
def plot_phases(
    phases: Phases, *, ax: Any = None, run: str | None = None, scale: Scale = "linear"
) -> Any:
    """Points, the mean curve with its band, the phases shaded, and where they begin.

    Parameters
    ----------
    phases : Phases
        What `lossfit.phases` gave.

    Examples
    --------
    >>> import lossfit
    >>> phases = lossfit.phases(lossfit.load("llama2").select(["llama2-7B"]), draws=100)
    >>> ax = lossfit.plotting.plot_phases(phases)
    """
    ax = axes(ax)
    result = phases.by_run[one_run(phases.names, run)]
    lower, median, upper = central(result.curves, phases.prob)
    data = phases.runs[result.name]
    x, loss = data.axis(phases.axis), data.loss
    keep = ~data.spike & (x >= result.places[0] * 0.999)
    set_axis(ax, phases.axis, float(result.places[0]), result.end, scale)
    ax.plot(x[keep], loss[keep], ".", color=DATA, markersize=3, label=result.name, zorder=3)
    ax.fill_between(
        result.places, lower, upper, color=BLUE, alpha=0.25, linewidth=0, zorder=2,
        label=f"{100 * phases.prob:g} % of curves",
    )  # fmt: skip
    ax.plot(result.places, median, color=BLUE, linewidth=1.4, zorder=4, label="phases, median")
    starts = [(float(result.places[0]), SKY, "power law", 1.0)]
    for draws, colour, name, exists in (
        (result.handover, GREEN, "line", result.prob_linear),
        (result.tip, ORANGE, "tip", result.prob_tip),
    ):
        finite = draws[~np.isnan(draws)]
        if exists >= LEAST and finite.size:
            starts.append((float(np.median(finite)), colour, name, exists))
            _posterior(ax, finite, colour, exists)
    edges = [start for start, *_ in starts[1:]] + [result.end]
    for (start, colour, name, exists), stop in zip(starts, edges, strict=True):
        label = f"{name}: P(exists) {exists:.2f}" if colour != SKY else name
        ax.axvspan(
            start, stop, color=colour, alpha=0.13 * max(exists, 0.2), linewidth=0, zorder=0,
            label=label,
        )  # fmt: skip
    seen = loss[keep]
    span = float(seen.max() - seen.min()) or 1.0
    ax.set_ylim(float(seen.min()) - 0.35 * span, float(seen.max()) + 0.08 * span)
    title = result.name
    if "schedule_explains" in result.flags:
        title += ": the schedule alone predicts held-out parts better"
    elif "cannot_tell" in result.flags:
        title += ": phases or schedule, these data can't tell"
    elif result.gain is not None:
        title += ": phases predict held-out parts better than the schedule alone"
    finish(ax, title, "upper right")
    ax.grid(False)  # the shades are enough
    return ax


def _posterior(ax: Any, draws: np.ndarray[Any, Any], colour: str, exists: float) -> None:
    """A histogram of a break point at the foot of the axes, as high as its probability."""
    log = ax.get_xscale() == "log"
    count, edges = np.histogram(np.log(draws) if log else draws, bins=30)
    height = HEIGHT * exists * count / count.max()
    ax.stairs(
        height, np.exp(edges) if log else edges, color=colour, fill=True, alpha=0.55,
        transform=ax.get_xaxis_transform(), zorder=1,
    )  # fmt: skip
