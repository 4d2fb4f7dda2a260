"""Several runs on one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._base.documented import figure_options
from .._base.results import Scale
from ..runs.checks import as_runs, choose_axis
from .style import COLOURS, STYLES, axes, finish, set_axis

if TYPE_CHECKING:
    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs

MOST_NAMED = 12


@figure_options
def plot_runs(runs: Runs, axis: AnyAxis = "auto", *, ax: Any = None, scale: Scale = "log") -> Any:
    """Loss of several runs along one axis, e.g. of compute.

    Parameters
    ----------
    runs : Runs
        The runs.
    axis : str
        ``"auto"`` prefers what runs of different sizes can be compared by: GPU-hours, then FLOPs;
        else the first axis that all runs have.

    Examples
    --------
    >>> import lossfit
    >>> ax = lossfit.plotting.plot_runs(lossfit.load("llama2"), axis="gpu_hours")
    """
    runs = as_runs(runs)
    ax = axes(ax)
    if axis == "auto" and len(runs) > 1:
        axis = next((a for a in ("gpu_hours", "flops") if a in runs.axes), axis)
    axis = choose_axis(runs, axis)
    flat = runs.flat(axis)
    positive = flat.x[flat.x > 0]
    set_axis(ax, axis, float(positive.min()), float(positive.max()), scale)
    many = len(runs) > MOST_NAMED
    for i, run in enumerate(runs):
        x = run.axis(axis)
        keep = (x > 0) & ~run.spike
        style: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": STYLES[i % len(STYLES)],
        }
        if many:
            style = {"color": COLOURS[0], "alpha": max(0.05, min(0.5, 30 / len(runs)))}
        ax.plot(x[keep], run.loss[keep], linewidth=1.3, label=None if many else run.name, **style)
        if not many:
            ax.plot(x[keep][-1:], run.loss[keep][-1:], "o", color=style["color"], markersize=4)
    title = f"{len(runs):,} runs" if len(runs) > 1 else runs.names[0]
    spikes = int(flat.spike.sum())
    if spikes:
        title += f" ({spikes} spike{'s' if spikes > 1 else ''} left out)"
    return finish(ax, title, "upper right")
