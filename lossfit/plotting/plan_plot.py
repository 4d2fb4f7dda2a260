"""The picture of a plan: loss against size along the budget, and where the optimum lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .style import BELOW, BLUE, DATA, GREEN, GREY, ORANGE, axes, finish, note, number_ticks

if TYPE_CHECKING:
    from ..plans.result import Plan

POINTS = 160
REACH = 6.0  # factor about the optimum that is always shown


@figure_options
def plot_plan(plan: Plan, *, ax: Any = None) -> Any:
    """Loss along the sizes that spend the budget, with band; the optimum's posterior below.

    Parameters
    ----------
    plan : Plan
        What `lossfit.plan` gave.

    Examples
    --------
    >>> import lossfit
    >>> allocation = lossfit.plan("chinchilla", compute=5.88e23, params=7e9)
    >>> ax = lossfit.plotting.plot_plan(allocation)
    """
    from .._base.summaries import quantiles
    from ..runs.labels import size_text

    ax = axes(ax)
    tail = (1 - plan.prob) / 2
    lower, median, upper = np.quantile(plan.params, [tail, 0.5, 1 - tail])
    ends = [median / REACH, median * REACH, lower, upper, plan.decision.params]
    if plan.choice is not None:
        ends.append(plan.choice.params)
    size = np.geomspace(min(ends) / 1.3, max(ends) * 1.3, POINTS)
    size = size[plan.problem.tokens_for(plan.compute, size) > 1]
    loss = plan.loss_at(size)
    band = quantiles(loss.T, (tail, 0.5, 1 - tail))
    if plan.surface.n_draws > 1:
        ax.fill_between(size, band[0], band[2], color=BLUE, alpha=0.2, linewidth=0,
                        label=f"{100 * plan.prob:g} % of surfaces", zorder=1)  # fmt: skip
    ax.plot(size, band[1], color=BLUE, linewidth=1.8, label="median", zorder=3)
    shown = [band[1]]
    ax.plot([plan.decision.params], [np.median(plan.decision.loss)], "o", color=GREEN, markersize=6,
            label=f"least expected loss: {size_text(plan.decision.params)}", zorder=5)  # fmt: skip
    if plan.choice is not None:
        choice = plan.choice
        ends_of_choice = quantiles(choice.loss[None], (tail, 0.5, 1 - tail))[:, 0]
        shown.append(ends_of_choice)
        error = None
        label = f"the choice: {size_text(choice.params)} on {size_text(choice.tokens)}"
        if plan.surface.n_draws > 1:
            error = np.abs(ends_of_choice[[0, 2], None] - ends_of_choice[1])
        ax.errorbar([choice.params], ends_of_choice[1:2], yerr=error, fmt="s", color=ORANGE,
                    markersize=6, capsize=4, zorder=6,
                    label=label)  # fmt: skip
    floor = float(np.min(band[0])) if plan.surface.n_draws > 1 else float(np.min(band[1]))
    curves = np.concatenate(shown)
    span = max(float(curves.max()) - floor, 1e-3)
    bottom = max(floor, float(band[1].min()) - span)
    base = bottom
    height = 0.16 * span
    if plan.surface.n_draws > 1:
        counts, edges = np.histogram(np.log(plan.params), 60, (np.log(size[0]), np.log(size[-1])))
        base = bottom - 1.6 * height
        ax.fill_between(np.exp(0.5 * (edges[1:] + edges[:-1])), base,
                        base + height * counts / max(counts.max(), 1),
                        step="mid", color=GREY, alpha=0.7, linewidth=0,
                        label="posterior of the best size", zorder=2)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(size[0], size[-1])
    ax.set_ylim(base - 0.05 * span, float(curves.max()) + 0.5 * span)
    number_ticks(ax)
    ax.set_xlabel("model parameters (the tokens follow from the budget)")
    lines = []
    seen = plan.surface.seen
    if seen is not None and size[-1] > seen.params[1]:
        edge = max(seen.params[1], float(size[0]))
        ax.axvspan(edge, size[-1], color="#f0f0f0", linewidth=0, zorder=0)
        lines.append("shaded: larger than any model of the table")
    if plan.unique_tokens is not None:
        repeated = plan.problem.params_for(plan.compute, plan.unique_tokens)
        if size[0] < repeated < size[-1]:
            ax.axvline(repeated, color=DATA, linewidth=0.8, linestyle=":", zorder=2)
            lines.append("left of the dotted line tokens repeat")
    note(ax, *lines)
    return finish(ax, f"{plan.compute:.2e} FLOP under {plan.problem.law.name}", BELOW)
