"""The picture of an answer: data, curve, intervals, target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .._base.results import Scale
from .._base.summaries import central
from ..forecasts.mixture import curves_of
from ..runs.broken import without_forecast
from .style import (
    BLUE,
    COLOURS,
    DATA,
    GREY,
    ORANGE,
    STYLES,
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
    from ..answers.answer import Answer

MOST_PANELS = 6
# Flags of places at which the curve is that of another plan than the run has.
OTHER_PLAN = ("longer_plan", "schedule_stretched")


@figure_options
def plot_answer(
    answer: Answer,
    *,
    ax: Any = None,
    run: str | None = None,
    scale: Scale = "auto",
    probs: Sequence[float] | None = None,
) -> Any:
    """Data of one run, its curve to the target with bands, the laws' medians, and the compared run.

    Parameters
    ----------
    answer : Answer
        What `lossfit.extrapolate` gave.
    run : str, optional
        Which run of the answer; the first by default.
    probs : sequence of float, optional
        Probabilities of the bands of the loss curve (no noise); 0.5 and the answer's by default.

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2")
    >>> answer = lossfit.extrapolate(runs, run="llama2-7B", at=4e12, axis="tokens")
    >>> ax = lossfit.plotting.plot_answer(answer)
    """
    ax = axes(ax)
    r = one_run(answer.names, run)
    name = answer.names[r]
    single = answer.runs.select([name])
    data = single[name]
    x, loss = data.axis(answer.axis), data.loss
    end = float(answer.ends[r])
    # A run without a forecast is drawn as far as it was logged.
    hopeless = without_forecast(answer.broken, name)
    is_drawn = answer.at[r] <= end if hopeless else ~np.isnan(answer.at[r])
    at = answer.at[r][is_drawn]
    last = max([*at.tolist(), end])
    positive = x > 0
    low = float(x[positive][0])
    chosen = tuple(probs) if probs is not None else (0.5, answer.prob)
    start = _window_start(answer, name)
    # The targets are places of the curve, so that their markers lie on it.
    grid = np.unique(np.append(grid_between(start, last), at[at >= start]))
    mixed = curves_of(answer.question, single, grid[None])
    set_axis(ax, answer.axis, low, last, scale)
    used = positive & (x >= start)
    ax.plot(x[used], loss[used], ".", color=DATA, markersize=4, label=name, zorder=3)
    left = positive & ~used
    if left.any():
        ax.plot(x[left], loss[left], ".", color=GREY, markersize=3, label="not fitted", zorder=3)
    shown = [loss[positive]]
    edges = bands(ax, grid, mixed.curves[0], chosen, BLUE, "of curves", median=False)
    _median(ax, answer, grid, mixed, end)
    others, beside = answer.question, mixed
    if answer.question.comparison is not None:
        others = answer.question.comparison
        beside = curves_of(others, single, grid[None])
    if others is not answer.question or len(others.laws) > 1:
        for k, law in enumerate(others.laws):
            colour = COLOURS[2 + k % (len(COLOURS) - 2)]
            median = beside.by_law[k, 3, 0]
            dash = STYLES[3 + k % (len(STYLES) - 3)]
            ax.plot(
                grid, median, linestyle=dash, color=colour, linewidth=1.2,
                label=f"{law.name} alone", zorder=2,
            )  # fmt: skip
    if answer.compute_of is not None:
        shown.append(_other(ax, answer, low))
    targets = answer.mixed.curves[r][is_drawn]
    lower, median, upper = central(targets, answer.prob) if len(at) else np.empty((3, 0))
    error = np.stack([median - lower, upper - median])
    if len(at):
        ax.errorbar(
            at, median, yerr=error, fmt="o", color=BLUE, markersize=5, capsize=4, linewidth=1.5,
            zorder=5,
        )  # fmt: skip
    reach = np.concatenate([edges.ravel(), lower, upper])
    middle = median if len(at) else loss[positive]
    cut = clip_loss(ax, np.concatenate(shown), middle, reach)
    note(ax, mark_beyond(ax, end, last), cut)
    if hopeless:
        title = f"{name}: {answer.broken[name][0]}: no forecast"
    elif len(at) == 1:
        low_text, high_text = float(lower[0]), float(upper[0])
        title = (
            f"{name} {_where(answer)}: {median[0]:.2f} "
            f"({100 * answer.prob:g} %: {low_text:.2f} to {high_text:.2f})"
        )
    else:
        title = f"{name}, {len(at)} targets"
    return finish(ax, title, "lower left")


def plot_answers(
    answer: Answer, *, scale: Scale = "auto", probs: Sequence[float] | None = None
) -> Any:
    """A figure with a panel for each run of an answer (the first 6).

    Parameters
    ----------
    answer : Answer
        What `lossfit.extrapolate` gave.
    scale : {"auto", "log", "linear"}
        As in `plot_answer`.
    probs : sequence of float, optional
        As in `plot_answer`.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each run.

    Examples
    --------
    >>> import lossfit
    >>> answer = lossfit.extrapolate(lossfit.load("llama2"), at=4e12, axis="tokens")
    >>> figure = lossfit.plotting.plot_answers(answer)
    """
    from matplotlib import pyplot as plt

    names = answer.names[:MOST_PANELS]
    columns = 1 if len(names) == 1 else 2
    rows = -(-len(names) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(7.0 * columns, 4.3 * rows), layout="constrained", squeeze=False
    )
    for panel, name in zip(panels.ravel(), names, strict=False):
        plot_answer(answer, ax=panel, run=name, scale=scale, probs=probs)
    for panel in panels.ravel()[len(names) :]:
        panel.remove()
    if len(answer.names) > len(names):
        figure.supxlabel(f"the first {len(names)} of {len(answer.names):,} runs", fontsize="small")
    return figure


def _median(ax: Any, answer: Answer, grid: Any, mixed: Any, end: float) -> None:
    """The median: of the data, of the run's plan, and of plans that end where it is drawn."""
    middle = np.median(mixed.curves[0], axis=-1)
    never = np.zeros(grid.size, bool)
    planned_there = never.copy()
    for flag in OTHER_PLAN:
        planned_there |= mixed.row_flags.get(flag, never[None])[0]
    inside = grid <= end * (1 + 1e-9)
    parts = (
        (inside, "-", "median"),
        (~inside & ~planned_there, (0, (4, 1.5)), "median, forecast"),
        (~inside & planned_there, ":", "median, had the run been planned to end there"),
    )
    for where, dash, label in parts:
        if where.any():
            joined = where.copy()
            joined[:-1] |= where[1:] & (inside | planned_there)[:-1] & ~where[:-1]
            ax.plot(
                grid[joined], middle[joined], color=BLUE, linewidth=1.8, linestyle=dash,
                label=label, zorder=4,
            )  # fmt: skip


def _where(answer: Answer) -> str:
    return f"with the compute of {answer.compute_of}" if answer.compute_of else "at the target"


def _window_start(answer: Answer, name: str) -> float:
    if answer.mixed.forecasts:
        return float(answer.mixed.forecasts[0].start[answer.names.index(name)])
    from ..fits.window import rule_of, select

    single = answer.runs.select([name])
    flat = single.flat(answer.axis)
    rule = rule_of(answer.question.window_of(single), single)
    return float(select(flat, single.names, rule, 0, 1, keep_spikes=False).start[0])


def _other(ax: Any, answer: Answer, low: float) -> np.ndarray[Any, Any]:
    """The run whose compute was asked for; gives the losses shown."""
    assert answer.compute_of is not None
    other = answer.runs[answer.compute_of]
    x, loss = other.axis(answer.axis), other.loss
    ahead = x >= low
    ax.plot(x[ahead], loss[ahead], "-", color=ORANGE, linewidth=1.2, label=other.name, zorder=2)
    ax.plot(x[-1:], loss[-1:], "s", color=ORANGE, markersize=5, zorder=5)
    return np.asarray(loss[ahead])
