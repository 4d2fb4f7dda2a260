"""The picture of a what-if: data, the run's own curve, and its curves under other schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .._base.results import Scale
from .._base.summaries import central
from .style import (
    BLUE,
    COLOURS,
    DATA,
    STYLES,
    clip_loss,
    finish,
    grid_between,
    mark_beyond,
    note,
    one_run,
    set_axis,
)

if TYPE_CHECKING:
    from ..answers.what_ifs import WhatIf

MOST = 6  # schedules in a picture
POINTS = 80


@figure_options
def plot_what_if(
    answer: WhatIf,
    *,
    ax: Any = None,
    run: str | None = None,
    schedules: Sequence[str] | None = None,
    scale: Scale = "auto",
    rates: bool = True,
) -> Any:
    """Data of one run, its curve with a band, those under other schedules, and the schedules.

    Parameters
    ----------
    answer : WhatIf
        What `lossfit.what_if` gave.
    ax : matplotlib axes, optional
        For the losses; the learning rates are then left out.

    Returns
    -------
    matplotlib axes
        That of the losses.

    Examples
    --------
    >>> import lossfit
    >>> seven = lossfit.load("llama2").select(["llama2-7B"])
    >>> answer = lossfit.what_if(seven, schedules=["constant", "wsd"], draws=200)
    >>> ax = lossfit.plotting.plot_what_if(answer)
    """
    from ..answers.what_if_rows import OWN, curves_under, scenarios_of

    name = answer.names[one_run(answer.names, run)]
    engine = answer._engines[name]
    chosen = list(schedules if schedules is not None else answer.schedules)[:MOST]
    below = None
    if ax is None:
        from matplotlib import pyplot as plt

        if rates:
            _, (ax, below) = plt.subplots(
                2, 1, figsize=(7.0, 5.6), layout="constrained", height_ratios=(3, 1), sharex=True
            )
        else:
            ax = plt.subplots(figsize=(7.0, 4.3), layout="constrained")[1]
    data = answer.runs[name]
    x, loss = data.axis(answer.axis), data.loss
    low = float(max(x[x > 0][0], engine.start))
    asked = {key: [r.at for r in answer.rows if r.run == name and r.schedule == key]
             for key in (OWN, *chosen)}  # fmt: skip
    last = max(max(places) for places in asked.values())
    end = float(x[-1])
    set_axis(ax, answer.axis, low, max(last, end), scale)
    ahead = x >= low
    ax.plot(x[ahead], loss[ahead], ".", color=DATA, markersize=3, label=name, zorder=3)
    edges, medians = [], []
    for i, key in enumerate((OWN, *chosen)):
        colour = BLUE if key == OWN else COLOURS[1 + (i - 1) % (len(COLOURS) - 1)]
        grid = np.unique(np.append(grid_between(low, max(asked[key]), POINTS), asked[key]))
        grid = grid[grid >= low]
        schedule = answer._schedule_of(name, key)
        lower, median, upper = central(curves_under(engine, schedule, grid), answer.prob)
        ax.fill_between(grid, lower, upper, color=colour, alpha=0.15, linewidth=0, zorder=1)
        label = "own schedule" if key == OWN else key
        dash = STYLES[i % len(STYLES)]
        ax.plot(grid, median, color=colour, linewidth=1.5, linestyle=dash, label=label, zorder=4)
        at = np.array(asked[key])
        if key != OWN and len(at) <= 3:
            value = np.interp(at, grid, [lower, median, upper][1])
            ax.plot(at, value, "o", color=colour, markersize=4, zorder=5)
        edges.append(np.concatenate([lower, upper]))
        medians.append(median)
        if below is not None:
            steps = np.linspace(0.0, grid[-1], 400) / engine.step_size
            _, scenario = scenarios_of(engine, schedule, grid[-1:])[0]
            rate = np.interp(steps, scenario.rate.step, scenario.rate.rho)
            below.plot(steps * engine.step_size, rate, color=colour, linewidth=1.2, linestyle=dash)
    cut = clip_loss(ax, loss[ahead], np.concatenate(medians), np.concatenate(edges))
    note(ax, mark_beyond(ax, end, last), cut, f"bands: {100 * answer.prob:g} %")
    if below is not None:
        below.set_ylabel("lr / peak")
        below.set_ylim(bottom=0)
        below.set_xlabel(ax.get_xlabel())
        ax.set_xlabel("")
        below.spines[["top", "right"]].set_visible(False)
        below.grid(True, color="#e6e6e6", linewidth=0.6, zorder=0)
    return finish(ax, f"{name} under other learning-rate schedules", "lower left")
