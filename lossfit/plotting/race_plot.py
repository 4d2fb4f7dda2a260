"""Pictures of a race: curves with their frontier and crossings, and who leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.documented import figure_options
from .._base.errors import DataError
from .._base.results import Scale
from .._base.summaries import central
from ..runs.labels import AXIS_UNITS, amount
from .style import BELOW, COLOURS, DATA, GREY, axes, end_labels, finish, note, plain, set_axis

if TYPE_CHECKING:
    from ..races.result import Race

MOST_NAMED = 12
MARKED = 0.5  # probability of a crossing that is marked
LEAST_SHARE = 0.02  # of a lead that is named
TALL = 0.3  # share of an area that has room for a name


def colours_of(race: Race) -> dict[str, str]:
    """A colour for each run, the same in both pictures; those that lead most get the first."""
    names = race.names
    palette: tuple[Any, ...] = COLOURS
    if len(names) > len(COLOURS):
        from matplotlib import colormaps

        palette = (*COLOURS, *colormaps["tab20b"].colors)  # type: ignore[attr-defined]
        order = np.argsort(-race.leads.max(axis=0), kind="stable")
        names = tuple(names[r] for r in order)
    return {name: palette[i % len(palette)] for i, name in enumerate(names)}


@figure_options
def plot_race(
    race: Race,
    *,
    ax: Any = None,
    scale: Scale = "log",
    data: bool = True,
    frontier: bool = True,
    truncated: bool = True,
    crossings: bool = True,
    forecast: bool = True,
) -> Any:
    """Loss against compute: data, curves with bands, the frontier, and where runs overtake.

    Parameters
    ----------
    race : Race
        What `lossfit.race` gave.

    Examples
    --------
    >>> import lossfit
    >>> race = lossfit.race(lossfit.load("llama2"), axis="gpu_hours", draws=200)
    >>> ax = lossfit.plotting.plot_race(race)
    """
    ax = axes(ax)
    colour = colours_of(race)
    set_axis(ax, race.axis, float(race.at[0]), race.until, scale)
    many = len(race.kept) > MOST_NAMED
    shown, ends = [], []
    for k, r in enumerate(race.kept):
        name = race.names[r]
        x = race.at
        beyond = race._beyond[k]
        lower, median, upper = central(race.curves[k], race.prob)
        finite = np.isfinite(median)
        inside = finite & ~beyond
        style: dict[str, Any] = {"color": colour[name], "linewidth": 0.7 if many else 1.4}
        if data and not many:
            run = race.runs[name]
            keep = ~run.spike & (run.axis(race.axis) > 0)
            ax.plot(
                run.axis(race.axis)[keep], run.loss[keep], ".", color=colour[name], markersize=2.5,
                alpha=0.35, zorder=2,
            )  # fmt: skip
        ax.plot(x[inside], median[inside], zorder=4, **style)
        shown.append(median[inside])
        far = finite & (x >= x[inside][-1]) if forecast and inside.any() else finite & False
        if far.sum() > 1:
            ax.plot(x[far], median[far], linestyle=(0, (4, 2)), zorder=3, **style)
            shown.append(median[far])
        drawn = finite if forecast else inside
        if drawn.any():
            ends.append((float(x[drawn][-1]), float(median[drawn][-1]), name, colour[name]))
        band = finite if forecast else inside
        if not many:
            ax.fill_between(
                x[band], lower[band], upper[band], color=colour[name], alpha=0.15, linewidth=0,
                zorder=1,
            )  # fmt: skip
    if frontier:
        table = race.frontier(forecast=False)
        ax.plot(
            table["at"], table["median"], color=DATA, linewidth=4.5, alpha=0.22, zorder=1.5,
            label="frontier of the data", solid_capstyle="round",
        )  # fmt: skip
    if truncated and len(race.kept) > 1:
        bias = race.bias(forecast=False)
        if (bias["prob_positive"] > 0.5).any():
            table = race.frontier(truncated=True, forecast=False)
            ax.plot(
                table["at"], table["median"], color=DATA, linewidth=1.0, linestyle=":", zorder=5,
                label="had overtaken runs been stopped",
            )  # fmt: skip
    if crossings and 1 < len(race.kept) <= MOST_NAMED:
        _crossings(ax, race, forecast, colour)
    _limits(ax, np.concatenate(shown))
    if not many:
        end_labels(ax, ends)
    if forecast and race._beyond.any():
        bands = "" if many else f"; bands: {100 * race.prob:g} % of curves"
        note(ax, f"dashed: forecasts{bands}")
    if many:
        ax.plot([], [], color=GREY, label=f"{len(race.kept):,} of {len(race.names):,} runs")
    return finish(ax, _title(race), BELOW)


def _crossings(ax: Any, race: Race, forecast: bool, colour: dict[str, str]) -> None:
    """A mark at the median place of each probable overtaking, with its interval."""
    table = race.overtakes(forecast=forecast, least=MARKED)
    first = True
    for _, row in table.iterrows():
        k = [race.names[r] for r in race.kept].index(row["overtaker"])
        curve = np.median(race.curves[k], axis=-1)
        finite = np.isfinite(curve)
        height = np.interp(np.log(row["median"]), np.log(race.at[finite]), curve[finite])
        ax.plot([row["lower"], row["upper"]], [height, height], color=DATA, linewidth=1.0, zorder=6)
        ax.plot(
            [row["median"]], [height], "o", markersize=5, zorder=7,
            markerfacecolor=colour[row["overtaker"]], markeredgecolor="white", markeredgewidth=0.8,
            label="overtaking, in the colour of the overtaker" if first else None,
        )  # fmt: skip
        first = False


def _limits(ax: Any, losses: np.ndarray[Any, Any]) -> None:
    """Loss axis: the curves, but for the steepest hundredth of their beginnings."""
    low, high = float(np.min(losses)), float(np.quantile(losses, 0.99))
    margin = 0.06 * ((high - low) or 1.0)
    ax.set_ylim(low - margin, high + 2 * margin)


def _title(race: Race) -> str:
    final = race.leads[-1]
    best = int(final.argmax())
    share = f"{final[best]:.2f}" if final[best] < 0.995 else "above 0.99"
    return f"{race.names[best]} leads at {amount(race.until, race.axis)}: probability {share}"


@figure_options
def plot_leader(race: Race, *, ax: Any = None, scale: Scale = "log", forecast: bool = True) -> Any:
    """Probability that each run leads, stacked, against compute.

    Parameters
    ----------
    race : Race
        What `lossfit.race` gave.

    Examples
    --------
    >>> import lossfit
    >>> race = lossfit.race(lossfit.load("llama2"), axis="gpu_hours", draws=200)
    >>> ax = lossfit.plotting.plot_leader(race)
    """
    ax = axes(ax)
    table = race.leader(forecast=forecast).dropna()
    if not len(table):
        raise DataError("no run exists anywhere in the race")
    colour = colours_of(race)
    top = table.max().sort_values(ascending=False)
    named = [n for n in table.columns if top[n] >= LEAST_SHARE and n in top.index[:MOST_NAMED]]
    rest = 1 - table[named].sum(axis=1)
    stacks = [table[name].to_numpy() for name in named]
    labels, shades = [plain(name) for name in named], [colour[name] for name in named]
    if (rest > 1e-6).any():
        stacks.append(rest.to_numpy())
        labels.append(f"{table.shape[1] - len(named):,} others")
        shades.append("#dddddd")
    set_axis(ax, race.axis, float(race.at[0]), race.until, scale)
    ax.stackplot(table.index, stacks, labels=labels, colors=shades, alpha=0.85, linewidth=0)
    for r in race.kept:
        end = float(race.ends[r])
        if forecast and race.names[r] in named and end < race.until * (1 - 1e-9):
            ax.axvline(end, color="white", linewidth=1.0, linestyle=":")
    ax.set_ylim(0, 1)
    ax.set_ylabel("probability of leading")
    finish(ax, f"Who has the lowest loss for the same {AXIS_UNITS[race.axis]}", None)
    if forecast and race._beyond.any():
        ax.set_xlabel(f"{ax.get_xlabel()} (dotted: where the data of a run end)")
    _inside(ax, table.index.to_numpy(), stacks, labels)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=4, fontsize="small",
              frameon=False)  # fmt: skip
    return ax


def _inside(ax: Any, at: Any, stacks: list[Any], labels: list[str]) -> None:
    """Names in the areas that are high enough: these need no colours to be told apart.

    A name stands in the middle of the widest part, upright where it is wider than that.
    """
    base = np.zeros(len(at))
    x = ax.transData.transform(np.column_stack([at, base]))[:, 0]
    for share, label in zip(stacks, labels, strict=True):
        edges = np.flatnonzero(np.diff(share >= TALL, prepend=False, append=False))
        if edges.size:
            first, last = x[edges[::2]], x[edges[1::2] - 1]
            widest = int((last - first).argmax())
            k = int(np.abs(x - (first[widest] + last[widest]) / 2).argmin())
            words = ax.text(
                at[k], base[k] + share[k] / 2, label, ha="center", va="center",
                fontsize="small", color="white", clip_on=True,
                bbox={"facecolor": "#00000055", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
            if words.get_window_extent().width > last[widest] - first[widest]:
                words.set_rotation("vertical")
        base = base + share
