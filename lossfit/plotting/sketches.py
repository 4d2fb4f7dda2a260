"""Small pictures of results for notebooks, of what they hold: nothing is fitted or forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .check_plot import draw_coverage
from .phases_plot import plot_phases
from .priors_plot import plot_priors
from .style import BLUE, COLOURS, DATA, GREY, STYLES, finish, ladder_style, number_ticks, set_axis
from .tail_plot import plot_tail

if TYPE_CHECKING:
    from .._base.results import Result

MOST_POINTS = 300
MOST_RUNS = 8
SMALL = "x-small"


def sketch(result: Result, ax: Any) -> bool:
    """Draw what a result holds; gives whether there was something to draw."""
    for kind in type(result).__mro__:
        draw = SKETCHES.get(kind.__name__)
        if draw is not None:
            drawn = draw(result, ax) is not False
            _small(ax)
            return drawn
    return False


def _small(ax: Any) -> None:
    ax.set_title("")
    ax.tick_params(labelsize=SMALL)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(SMALL)
    legend = ax.get_legend()
    if legend is not None:
        for text in legend.get_texts():
            text.set_fontsize("xx-small")
    for words in list(ax.texts):
        words.set_visible(False)


def _points(ax: Any, x: Any, loss: Any, **style: Any) -> None:
    """Data, of long runs every so many points."""
    step = max(1, len(x) // MOST_POINTS)
    ax.plot(x[::step], loss[::step], ".", markersize=2, **{"color": DATA, **style})


def _interval(ax: Any, row: Any, at: float, colour: str, label: str | None = None) -> None:
    """A marker at the median with its interval."""
    ax.plot([at, at], [row["lower"], row["upper"]], color=colour, linewidth=1.5, zorder=4)
    ax.plot([at], [row["median"]], "o", color=colour, markersize=4, label=label, zorder=5)


def _curve(ax: Any, runs: Any, name: str, axis: str, frame: Any, label: str) -> None:
    """A run's data and intervals beyond them, one label a row of the frame."""
    run = runs[name]
    x, loss = run.axis(axis), run.loss
    keep = (x > 0) & ~run.spike
    x, loss = x[keep], loss[keep]
    set_axis(ax, axis, float(x[0]), max(float(frame["at"].max()), float(x[-1])), "auto")
    _points(ax, x, loss)
    for k, (_, row) in enumerate(frame.iterrows()):
        words = str(row[label]) if label else None
        _interval(ax, row, float(row["at"]), COLOURS[k % len(COLOURS)] if label else BLUE, words)
    late = loss[len(loss) // 10 :]
    low = min(float(late.min()), float(frame["lower"].min()))
    high = max(float(late.max()), float(frame["upper"].max()))
    margin = 0.06 * (high - low or 1.0)
    ax.set_ylim(low - margin, high + margin)
    finish(ax, "", "upper right" if label else None)


def _answer(answer: Any, ax: Any) -> None:
    rows = answer.frame
    name = answer.names[0]
    _curve(ax, answer.runs, name, answer.axis, rows[rows["run"] == name], "")


def _ladder_answer(answer: Any, ax: Any) -> None:
    last = float(np.nanmax(answer.at))
    _rungs(answer.ladder, ax, last)
    for _, row in answer.frame.iterrows():
        _interval(ax, row, float(row["at"]), BLUE)
    finish(ax, "", None)


def _rungs(ladder: Any, ax: Any, last: float = 0.0) -> None:
    """Curves of the runs of a ladder, within what is fitted."""
    rungs = sorted(ladder.rungs, key=lambda rung: rung.params)
    low, high = min(r.start for r in rungs), max(max(r.end for r in rungs), last)
    set_axis(ax, ladder.axis, low, high, "log")
    for k, rung in enumerate(rungs):
        used = rung.tokens >= rung.start
        _points(ax, rung.tokens[used], rung.loss[used], **ladder_style(k, len(rungs)))


def _ladder(ladder: Any, ax: Any) -> None:
    _rungs(ladder, ax)
    finish(ax, "", None)


def _what_if(answer: Any, ax: Any) -> None:
    name = answer.names[0]
    rows = answer.frame[answer.frame["run"] == name].head(MOST_RUNS)
    _curve(ax, answer.runs, name, answer.axis, rows, "schedule")


def _tail(tail: Any, ax: Any) -> None:
    plot_tail(tail, ax=ax)


def _race(race: Any, ax: Any) -> None:
    set_axis(ax, race.axis, float(race.at[0]), race.until, "log")
    middle = np.median(race.curves, axis=-1)
    for k, r in enumerate(race.kept[:MOST_RUNS]):
        style = {"color": COLOURS[k % len(COLOURS)], "linestyle": STYLES[k % len(STYLES)]}
        ax.plot(race.at, middle[k], linewidth=1.1, label=race.names[r], **style)
    top = np.nanquantile(middle, 0.98)
    ax.set_ylim(top=top)
    finish(ax, "", "upper right")


def _plan(plan: Any, ax: Any) -> None:
    if plan.surface.n_draws > 1:
        ax.hist(np.log10(plan.params), 40, color=BLUE, alpha=0.6)
    ax.axvline(np.log10(plan.decision.params), color=DATA, linewidth=1.2)
    ax.set_xlabel("best size (log10 of parameters); line: least expected loss")
    ax.set_ylabel("draws")
    finish(ax, "", None)


def _surface(surface: Any, ax: Any) -> bool | None:
    table = surface.table
    if table is None:
        return False
    ax.set_xscale("log")
    points = ax.scatter(table.params, table.loss, c=np.log10(table.compute), s=6, cmap="viridis")
    ax.figure.colorbar(points, ax=ax, label="log10 FLOP")
    ax.set_xlim(table.params.min() / 1.3, table.params.max() * 1.3)
    number_ticks(ax)
    ax.set_xlabel("model parameters")
    finish(ax, "", None)
    return None


def _fit(fit: Any, ax: Any) -> None:
    run = fit.runs[fit.runs.names[0]]
    x, loss = run.axis(fit.axis), run.loss
    keep = (x >= 0.5 * fit.start[0]) & (x > 0) & ~run.spike
    set_axis(ax, fit.axis, float(x[keep][0]), float(x[-1]), "auto")
    _points(ax, x[keep], loss[keep])
    ax.axvspan(float(fit.start[0]), float(fit.end[0]), color=BLUE, alpha=0.1, linewidth=0,
               label="fitted")  # fmt: skip
    finish(ax, "", "upper right")


def _priors(priors: Any, ax: Any) -> bool | None:
    if not np.isfinite(priors.b).any():
        return False
    plot_priors(priors, ax=ax)
    return None


def _sweep(result: Any, ax: Any) -> None:
    counts = {"fitted": result.fitted, "failed": result.failed, **result.flags}
    names = list(counts)[:MOST_RUNS]
    ax.barh(names[::-1], [counts[name] for name in names][::-1], color=GREY)
    ax.set_xlabel("runs")
    finish(ax, "", None)


def _of_answer(result: Any, ax: Any) -> bool:
    return result.answer is not None and sketch(result.answer, ax)


#: What draws a result, by the name of its class.
SKETCHES: dict[str, Callable[[Any, Any], bool | None]] = {
    "Answer": _answer,
    "Check": lambda check, ax: draw_coverage(check, ax),
    "Fit": _fit,
    "Ladder": _ladder,
    "LadderAnswer": _ladder_answer,
    "Phases": lambda phases, ax: plot_phases(phases, ax=ax),
    "Plan": _plan,
    "Priors": _priors,
    "Race": _race,
    "Report": _of_answer,
    "Surface": _surface,
    "SweepResult": _sweep,
    "Tail": _tail,
    "Update": _of_answer,
    "WhatIf": _what_if,
}
