"""Pictures of a ladder: its curves with the law's, and the band of a size never trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .._base.results import Scale
from .style import (
    BELOW,
    BLUE,
    GREY,
    axes,
    bands,
    finish,
    grid_between,
    ladder_style,
    note,
    set_axis,
)

if TYPE_CHECKING:
    from ..ladders.answer import LadderAnswer
    from ..ladders.result import Ladder

POINTS = 60
DRAWS = 200
MOST_CURVES = 12


@figure_options
def plot_ladder(ladder: Ladder, *, ax: Any = None, scale: Scale = "log") -> Any:
    """Curves of the runs, with the law's draws along each."""
    ax = axes(ax)
    rungs = sorted(ladder.rungs, key=lambda rung: (rung.params, rung.end))
    if len(rungs) > MOST_CURVES:
        pick = np.linspace(0, len(rungs) - 1, MOST_CURVES).round().astype(int)
        rungs = [rungs[k] for k in pick]
    low = min(rung.start for rung in rungs)
    high = max(rung.end for rung in rungs)
    set_axis(ax, ladder.axis, low, high, scale)
    for k, rung in enumerate(rungs):
        style = ladder_style(k, len(rungs))
        used = rung.tokens >= rung.start
        ax.plot(rung.tokens[used], rung.loss[used], linewidth=1, label=rung.name, **style)
        at = grid_between(rung.start, rung.end, POINTS)
        middle = np.median(ladder.readings.curves(rung, at, ladder.random_seed, DRAWS), axis=1)
        ax.plot(at, middle, linestyle="--", linewidth=1.2, **style)
    note(ax, "dashed: what the ladder would say of a new run of that size")
    return finish(ax, f"A ladder of {len(ladder.rungs)} runs", BELOW)


def plot_unseen(
    answer: LadderAnswer,
    *,
    ax: Any = None,
    scale: Scale = "log",  # {"auto", "log", "linear"}
    # probabilities of the bands; 0.5 and the answer's by default
    probs: Sequence[float] | None = None,
) -> Any:
    """The ladder's curves in grey, and the band of the unseen run up to its last place."""
    ax = axes(ax)
    ladder = answer.ladder
    assert ladder is not None
    last = float(np.nanmax(answer.at))
    low = min(rung.start for rung in ladder.rungs)
    set_axis(ax, answer.axis, low, max(last, max(rung.end for rung in ladder.rungs)), scale)
    for k, rung in enumerate(ladder.rungs):
        used = rung.tokens >= rung.start
        label = "runs of the ladder" if k == 0 else None
        ax.plot(rung.tokens[used], rung.loss[used], color=GREY, linewidth=0.8, label=label)
    targets = answer.at[0]
    at = np.unique(np.append(grid_between(min(0.04 * last, low), last, POINTS), targets))
    curves = answer.curves_at(answer.names[0], at)
    chosen = (0.5, answer.prob) if probs is None else tuple(probs)
    bands(ax, at, curves, chosen, BLUE, f"of the curve of {answer.names[0]}")
    medians = np.median(curves[np.searchsorted(at, targets)], axis=1)
    ax.plot(targets, medians, "o", color=BLUE, markersize=5, zorder=5)
    lines = [f"{flag}" for flag in answer.target_notes]
    note(ax, *lines)
    return finish(ax, f"{answer.names[0]}, never trained", BELOW)
