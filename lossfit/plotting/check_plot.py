"""The picture of a backtest: calibration, PIT, forecasts against outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import COLOURS, GREY

if TYPE_CHECKING:
    from ..backtests.backtesting import Check

__all__ = ["plot_check"]

LEVELS = np.linspace(0.05, 0.95, 19)
BINS = 10
MOST_BARS = 400  # forecasts drawn; more hide each other


def plot_check(check: Check, *, figure: Any = None) -> Any:
    """Three panels: coverage against the nominal level, PIT histogram, forecast errors.

    Parameters
    ----------
    check : Check
    figure : matplotlib figure, optional

    Returns
    -------
    matplotlib.figure.Figure
        Coverage and PIT weigh forecasts as the summary does: groups alike, then forecasts within a
        group.
    """
    from matplotlib import pyplot as plt

    if figure is None:
        figure = plt.figure(figsize=(13.0, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    frame = check.frame
    horizons = list(check.summary().index)
    colours = {h: COLOURS[i % len(COLOURS)] for i, h in enumerate(horizons)}
    weight = _weights(check)
    left.plot([0, 1], [0, 1], "-", color=GREY, linewidth=1)
    runs = max(int(frame["run"].nunique()), 1)
    band = 1.64 * np.sqrt(LEVELS * (1 - LEVELS) / runs)
    left.fill_between(
        LEVELS, LEVELS - band, LEVELS + band, color=GREY, alpha=0.25, linewidth=0,
        label=f"90 % of what {runs:,} independent\nruns would show",
    )  # fmt: skip
    for horizon in horizons:
        rows = (frame["horizon"] == horizon).to_numpy()
        off = np.abs(frame["pit"].to_numpy()[rows] - 0.5) * 2
        share = [float(np.average(off <= level, weights=weight[rows])) for level in LEVELS]
        left.plot(LEVELS, share, ".-", color=colours[horizon], label=horizon, clip_on=False)
    left.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="probability of the interval",
        ylabel="share of outcomes within it", title="Coverage",
    )  # fmt: skip
    left.legend(fontsize="small", loc="best")
    edges = np.linspace(0, 1, BINS + 1)
    for horizon in horizons:
        rows = (frame["horizon"] == horizon).to_numpy()
        height, _ = np.histogram(frame["pit"][rows], edges, weights=weight[rows])
        middle.stairs(height / height.sum() * BINS, edges, color=colours[horizon], linewidth=1.8)
    middle.axhline(1, color=GREY, linewidth=1)
    middle.set(
        xlim=(0, 1), ylim=(0, None), xlabel="share of draws below the outcome",
        ylabel="density", title="PIT: flat is calibrated",
    )  # fmt: skip
    _errors(right, check, colours)
    laws = ", ".join(check.laws)
    figure.suptitle(f"{len(frame):,} forecasts by {laws}", fontsize="medium")
    return figure


def _weights(check: Check) -> np.ndarray[Any, Any]:
    """Each group counts the same at a horizon."""
    frame = check.frame
    size = frame.groupby(["group", "horizon"])["run"].transform("size")
    return np.asarray(1.0 / size.to_numpy())


def _errors(ax: Any, check: Check, colours: dict[str, str]) -> None:
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
    for horizon, colour in colours.items():
        at_this = (rows["horizon"] == horizon).to_numpy()
        ax.vlines(
            x[at_this],
            low[at_this],
            high[at_this],
            color=colour,
            alpha=0.3,
            linewidth=thick,
        )
        ax.plot(x[at_this], error[at_this], ".", color=colour, markersize=3 + thick)
    # Every interval in full, whichever arm is longer; an outcome far off must not flatten them.
    reach = 1.1 * max(np.quantile(np.abs(error), 0.99), -low.min(), high.max())
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(
        ylim=(-reach, reach), xlabel="forecasts, the narrowest first",
        ylabel="outcome less median (loss)",
        title=f"Outcomes and {100 * check.prob:g} % intervals",
    )  # fmt: skip
