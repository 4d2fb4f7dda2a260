"""The picture of the best tail: learning rates, and what it saves over usual tails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from ..runs.labels import amount
from .style import BLUE, COLOURS, GREY, STYLES, finish, note, set_axis

if TYPE_CHECKING:
    from ..answers.tails import Tail


@figure_options
def plot_tail(tail: Tail, *, ax: Any = None, gains: bool = True) -> Any:
    """The learning rate of the best tail and of those that it is compared with.

    Parameters
    ----------
    tail : Tail
        What `lossfit.best_tail` gave.
    ax : matplotlib axes, optional
        For the learning rates; the gains are then left out.

    Returns
    -------
    matplotlib axes
        That of the learning rates.

    Examples
    --------
    >>> import lossfit
    >>> seven = lossfit.load("llama2").select(["llama2-7B"])
    >>> tail = lossfit.best_tail(seven, segments=8, draws=200)
    >>> ax = lossfit.plotting.plot_tail(tail)
    """
    from ..answers.tails import BEST

    beside = None
    if ax is None:
        from matplotlib import pyplot as plt

        if gains:
            _, (ax, beside) = plt.subplots(
                1, 2, figsize=(9.6, 4.3), layout="constrained", width_ratios=(3, 2)
            )
        else:
            ax = plt.subplots(figsize=(7.0, 4.3), layout="constrained")[1]
    set_axis(ax, tail.axis, tail.start, tail.total, "linear")
    colours = {}
    for i, (name, (at, lr)) in enumerate(tail._tails.items()):
        best = name == BEST
        colours[name] = BLUE if best else COLOURS[1 + (i - 1) % (len(COLOURS) - 1)]
        ax.plot(
            at, lr, color=colours[name], linewidth=2.2 if best else 1.2,
            linestyle="-" if best else STYLES[1 + (i - 1) % (len(STYLES) - 1)], label=name,
            zorder=4 if best else 3,
        )  # fmt: skip
    low = tail.seen[0]
    words = ""
    if tail.below > 0:
        ax.axhspan(0, low, color="#f0f0f0", linewidth=0, zorder=0)
        ax.axhline(low, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
        words = f"shaded: below all rates in the data ({low:.3g})"
    ax.set_ylim(0, 1.12 * max(float(lr.max()) for _, lr in tail._tails.values()))
    ax.set_ylabel("learning rate")
    note(ax, words)
    if beside is not None:
        _gains(beside, tail, colours)
    span = f"{amount(tail.start, tail.axis)} to {amount(tail.total, tail.axis)}"
    return finish(ax, f"{tail.run.name}: best tail, {span}", "lower left")


def _gains(ax: Any, tail: Tail, colours: dict[str, str]) -> None:
    table = tail.frame.iloc[1:]
    place = np.arange(len(table))[::-1]
    for y, (_, r) in zip(place, table.iterrows(), strict=True):
        colour = colours[r["schedule"]]
        ax.plot([r["gain_lower"], r["gain_upper"]], [y, y], color=colour, linewidth=2)
        ax.plot(r["gain"], y, "o", color=colour, markersize=5)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_yticks(place, list(table["schedule"]))
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set_xlabel(f"loss saved by the best tail (mean, {100 * tail.prob:g} %)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, axis="x", color="#e6e6e6", linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)
    ax.set_title("gain over usual tails", loc="left", fontsize="medium")
