"""The picture of a backtest: calibration, PIT, forecasts against outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .style import COLOURS, GREY, MARKERS, STYLES, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..backtests.backtesting import Check

LEVELS = np.linspace(0.05, 0.95, 19)
MOST_BARS = 400  # forecasts drawn; more hide each other
PANELS = (11.0, 3.9)  # inches


@figure_options
def plot_check(check: Check, *, ax: Axes | None = None, panels: bool = True) -> Any:
    """Coverage against the nominal level; beside it the PIT and the outcomes.

    Parameters
    ----------
    check : Check
        What `lossfit.backtest` gave.
    ax : matplotlib axes, optional
        For the coverage; the others are then left out.

    Returns
    -------
    matplotlib axes
        That of the coverage.  Coverage and PIT weigh forecasts as the summary does: groups alike,
        then forecasts within a group.

    Examples
    --------
    >>> import lossfit
    >>> check = lossfit.backtest(lossfit.load("llama2"), axis="tokens", draws=200)
    >>> ax = lossfit.plotting.plot_check(check)
    """
    if ax is not None or not panels:
        return draw_coverage(check, axes(ax))
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=PANELS, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    draw_coverage(check, left)
    _pit(middle, check)
    _errors(right, check)
    laws = ", ".join(check.laws)
    figure.suptitle(
        f"{len(check.frame):,} forecasts by {laws}", fontsize="medium", x=0.01, ha="left"
    )
    return left


def _looks(check: Check) -> dict[str, tuple[str, Any, str]]:
    """Colour, dash and marker of each horizon."""
    return {
        horizon: (COLOURS[i % len(COLOURS)], STYLES[i % len(STYLES)], MARKERS[i % len(MARKERS)])
        for i, horizon in enumerate(check.summary().index)
    }


def draw_coverage(check: Check, ax: Any) -> Any:
    """Share of outcomes within intervals of every probability."""
    frame, weight = check.frame, _weights(check)
    ax.plot([0, 1], [0, 1], "-", color=GREY, linewidth=1)
    runs = max(int(frame["run"].nunique()), 1)
    band = 1.64 * np.sqrt(LEVELS * (1 - LEVELS) / runs)
    ax.fill_between(
        LEVELS, LEVELS - band, LEVELS + band, color=GREY, alpha=0.25, linewidth=0,
        label=f"90 % of what {runs:,} independent\nruns would show",
    )  # fmt: skip
    for horizon, (colour, dash, marker) in _looks(check).items():
        rows = (frame["horizon"] == horizon).to_numpy()
        off = np.abs(frame["pit"].to_numpy()[rows] - 0.5) * 2
        share = [float(np.average(off <= level, weights=weight[rows])) for level in LEVELS]
        ax.plot(LEVELS, share, color=colour, linestyle=dash, marker=marker, markersize=3.5,
                linewidth=1.4, label=_words(horizon), clip_on=False)  # fmt: skip
    ax.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="probability of the interval",
        ylabel="share of outcomes within it",
    )  # fmt: skip
    return finish(ax, "Coverage", "upper left")


def _words(horizon: str) -> str:
    return "the run's end" if horizon == "end" else f"{horizon} the data"


def _weights(check: Check) -> np.ndarray[Any, Any]:
    """Each group counts the same at a horizon."""
    frame = check.frame
    size = frame.groupby(["group", "horizon"])["run"].transform("size")
    return np.asarray(1.0 / size.to_numpy())


def _pit(ax: Any, check: Check) -> None:
    """The distribution function of the PIT less that of a uniform one: flat is calibrated."""
    frame, weight = check.frame, _weights(check)
    at = np.linspace(0, 1, 201)
    most = 0.1
    for horizon, (colour, dash, _) in _looks(check).items():
        rows = (frame["horizon"] == horizon).to_numpy()
        pit, own = frame["pit"].to_numpy()[rows], weight[rows]
        below = np.array([float(np.average(pit <= place, weights=own)) for place in at])
        ax.plot(at, below - at, color=colour, linestyle=dash, linewidth=1.4)
        most = max(most, float(np.abs(below - at).max()))
    ax.axhline(0, color=GREY, linewidth=1)
    ax.set(
        xlim=(0, 1), ylim=(-1.1 * most, 1.1 * most), xlabel="share of draws below the outcome",
        ylabel="excess of outcomes that low",
    )  # fmt: skip
    finish(ax, "PIT: flat at 0 is calibrated", None)


def _errors(ax: Any, check: Check) -> None:
    """Outcomes less the median, with the interval, sorted by its width."""
    frame = check.frame
    rows = frame.iloc[np.argsort(frame["upper"] - frame["lower"], kind="stable")]
    if len(rows) > MOST_BARS:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, MOST_BARS).astype(int)]
    x = np.arange(len(rows))
    middle = rows["median"].to_numpy()
    low, high = rows["lower"].to_numpy() - middle, rows["upper"].to_numpy() - middle
    error = rows["observed"].to_numpy() - middle
    ax.axhline(0, color=GREY, linewidth=1)
    thick = np.clip(150 / len(rows), 0.8, 4)
    for horizon, (colour, _, marker) in _looks(check).items():
        here = (rows["horizon"] == horizon).to_numpy()
        ax.vlines(x[here], low[here], high[here], color=colour, alpha=0.3, linewidth=thick)
        ax.plot(x[here], error[here], marker, color=colour, markersize=2.5 + 0.5 * thick)
    # Every interval in full, whichever arm is longer; an outcome far off must not flatten them.
    reach = 1.1 * max(np.quantile(np.abs(error), 0.99), -low.min(), high.max())
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(
        ylim=(-reach, reach), xlabel="forecasts, the narrowest first",
        ylabel="outcome less median (loss)",
    )  # fmt: skip
    finish(ax, f"Outcomes and {100 * check.prob:g} % intervals", None)
