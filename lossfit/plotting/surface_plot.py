"""The picture of a surface: isoFLOP slices with their data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .._base.errors import DataError
from .style import BELOW, COLOURS, GREY, STYLES, axes, finish, note, number_ticks

if TYPE_CHECKING:
    from ..surfaces.result import Surface

MOST_SLICES = 6
NEAR = 0.25  # of a factor e from a slice's compute within which a row is drawn on it
POINTS = 120


@figure_options
def plot_surface(
    surface: Surface, *, ax: Any = None, compute: Sequence[float] | None = None
) -> Any:
    """Loss against model size along budgets, with the band of the surface and the table's rows.

    Parameters
    ----------
    surface : Surface
        What `lossfit.fit_surface` or `lossfit.surfaces.published` gave.

    Returns
    -------
    matplotlib axes
        Rows within a factor of 1.28 of a budget are moved along the surface to it, and drawn in
        its colour; rows without a budget near are grey.

    Examples
    --------
    >>> import lossfit
    >>> surface = lossfit.surfaces.published("chinchilla", draws=200)
    >>> ax = lossfit.plotting.plot_surface(surface, compute=[1e21, 1e22])
    """
    from .._base.summaries import quantiles
    from ..laws.chinchilla import optimum
    from ..laws.coupled import inner

    if surface.table is None and compute is None:
        raise DataError("published constants have no table to choose budgets from: give compute=")
    ax = axes(ax)
    table = surface.table
    budgets = np.sort(np.asarray(compute, float)) if compute is not None else _budgets(surface)
    values = {name: np.median(draws) for name, draws in surface.values.items()}
    used = np.zeros(0 if table is None else len(table), bool)
    tail = (1 - surface.prob) / 2
    shown, rows, low, high = [], [], [], []
    for k, budget in enumerate(budgets):
        colour = COLOURS[k % len(COLOURS)]
        centre = float(optimum(budget, inner(values))[0])
        if table is not None:
            near = np.abs(np.log(table.compute / budget)) < NEAR
            used |= near
            n = table.params[near]
        else:
            near, n = used, np.empty(0)
        ends = np.append(n, [centre / 3, centre * 3])
        size = np.geomspace(ends.min() / 1.1, ends.max() * 1.1, POINTS)
        lower, median, upper = quantiles(
            surface.losses(size, budget / (6 * size)).T, (tail, 0.5, 1 - tail)
        )
        if surface.n_draws > 1:
            ax.fill_between(size, lower, upper, color=colour, alpha=0.25, linewidth=0, zorder=1)
        ax.plot(
            size, median, color=colour, linewidth=1.5, linestyle=STYLES[k % len(STYLES)],
            label=f"{budget:.1e} FLOP", zorder=3,
        )  # fmt: skip
        low.append(size[0])
        high.append(size[-1])
        shown.append(median)
        if table is not None and near.any():
            here = np.median(surface.losses(n, budget / (6 * n)), axis=0)
            middle = np.median(surface.losses(n, table.tokens[near]), axis=0)
            moved = table.loss[near] * here / middle
            ax.plot(n, moved, ".", color=colour, markersize=5, zorder=4)
            rows.append(moved)
        best = float(np.median(surface.losses(centre, budget / (6 * centre))))
        ax.plot([centre], [best], "v", color=colour, markersize=5, markeredgecolor="white",
                zorder=5)  # fmt: skip
    if table is not None and (~used).any():
        rest = table.params[~used]
        rows.append(table.loss[~used])
        ax.plot(rest, table.loss[~used], ".", color=GREY, markersize=2.5, label="other rows",
                zorder=2)  # fmt: skip
    # The curves and nearly all rows: an outlier would press the rest into a line.
    inside = [np.quantile(np.concatenate(rows), [0.005, 0.98])] if rows else []
    losses = np.concatenate([*shown, *inside]) if len(budgets) else np.concatenate(inside)
    span = np.ptp(losses)
    ax.set_xscale("log")
    ax.set_xlim(min(low), max(high))
    ax.set_ylim(losses.min() - 0.05 * span, losses.max() + 0.25 * span)
    ax.set_xlabel("model parameters")
    number_ticks(ax)
    lines = [f"band: {100 * surface.prob:g} % of surfaces"] if surface.n_draws > 1 else []
    if table is not None:
        outside = int((np.concatenate(rows) > ax.get_ylim()[1]).sum()) if rows else 0
        lines += [f"rows above the frame: {outside}"] if outside else []
    lines.append("triangles: least loss for the budget")
    note(ax, *lines)
    return finish(ax, f"{surface.law.name}: loss along budgets", BELOW)


def _budgets(surface: Surface) -> Any:
    """Budgets with most rows near, apart from each other."""
    table = surface.table
    assert table is not None
    log_c = np.log(table.compute)
    left = np.ones(len(log_c), bool)
    budgets: list[float] = []
    while left.any() and len(budgets) < MOST_SLICES:
        near = (np.abs(log_c[:, None] - log_c[None]) < NEAR) & left[None]
        near[~left] = False
        k = int(near.sum(axis=1).argmax())
        if near[k].sum() < (3 if budgets else 1):
            break
        budgets.append(float(np.exp(np.median(log_c[near[k]]))))
        left &= np.abs(log_c - np.log(budgets[-1])) > 2 * NEAR
    return np.sort(np.array(budgets))
