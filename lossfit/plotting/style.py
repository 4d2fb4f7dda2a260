"""What the figures share: colours, axes, limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Floats
from .._base.results import Scale
from .._base.terminal import printable
from ..runs.labels import AXIS_LABELS, PREFIXES, ratio_text

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW = "#56B4E9", "#E69F00"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, "#000000")
DATA, GREY = "#222222", "#999999"
# Lines of a picture differ by these too: in a grey print, and for readers who see no colours.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (8, 3)))
LOG_FROM = 4.0  # ratio of the ends of the axis from which it is drawn in the logarithm
LARGEST_EXTRA = 1.0  # how far, in spans of the data, a band may stretch the loss axis


def axes(ax: Any) -> Any:
    """The axes given, or new ones."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(7.0, 4.3), layout="constrained")[1]


def ladder_style(k: int, count: int) -> dict[str, Any]:
    """Colours from light to dark with size: the order of runs is read off a grey print."""
    from matplotlib import colormaps

    return {"color": colormaps["viridis_r"](0.15 + 0.85 * (k / max(count - 1, 1)))}


def one_run(names: Sequence[str], run: str | None) -> int:
    """Position of the run to draw; the first by default."""
    if run is None:
        return 0
    if run not in names:
        raise DataError(f"there is no run {run!r} here; there are {', '.join(names[:10])}")
    return list(names).index(run)


def grid_between(low: float, high: float, count: int = 96) -> Floats:
    """Points to draw a curve at: half even in the logarithm, half on the axis."""
    even = np.linspace(low, high, count // 2)
    both = np.concatenate([even, np.geomspace(low, high, count - even.size)])
    return np.unique(np.clip(both, low, high))


def set_axis(ax: Any, axis: str, low: float, high: float, scale: Scale) -> None:
    """Scale, limits, ticks and label of the axis of compute."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if scale not in ("auto", "log", "linear"):
        raise DataError(f"scale must be 'auto', 'log' or 'linear', got {scale!r}")
    log = scale == "log" or (scale == "auto" and high / low > LOG_FROM)
    ax.set_xscale("log" if log else "linear")
    if log:
        margin = (high / low) ** 0.03
        ax.set_xlim(low / margin, high * margin)
        wide = high / low > 300
        ax.xaxis.set_major_locator(
            LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=12)
        )
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.02 * (high - low)
        ax.set_xlim(max(low - margin, 0), high + margin)
    if axis != "flops":
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    ax.set_xlabel(AXIS_LABELS[axis])


def _short(value: float) -> str:
    """A tick: 500B, 2T, 20k."""
    for size, letter in (*PREFIXES, (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def number_ticks(ax: Any) -> None:
    """Sizes on a logarithmic axis as 100M, 7B."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_xlim()
    subs = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=14))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def end_labels(
    ax: Any,  # with its final limits
    ends: Sequence[tuple[float, float, str, Any]],  # (x, y, name, colour) of each
) -> None:
    """Names at the right ends of lines, apart from each other: a legend that needs no colours."""
    low, high = ax.get_ylim()
    gap = 0.045 * (high - low)
    ordered = sorted(ends, key=lambda end: end[1])
    places = [min(max(y, low), high) for _, y, _, _ in ordered]
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + gap)
    for k in range(len(places) - 1, -1, -1):  # what was pushed over the top comes down again
        most = high if k == len(places) - 1 else places[k + 1] - gap
        places[k] = min(places[k], most)
    for (_, _, name, colour), place in zip(ordered, places, strict=True):
        ax.annotate(
            plain(name), (1.0, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize="small", color=colour,
            annotation_clip=False,
        )  # fmt: skip


def bands(
    ax: Any,
    x: Floats,
    draws: Floats,  # shape (n_at, n_draws)
    probs: Sequence[float],
    colour: str,
    what: str,
    median: bool = True,  # whether to draw the median
) -> Floats:
    """Draw equal-tailed bands and the median.

    Returns
    -------
    ndarray, shape (2, n_at)
        Lower and upper edge of the widest band.
    """
    from .._base.summaries import quantiles

    widest = max(probs)
    for prob in sorted(probs, reverse=True):
        lower, upper = quantiles(draws, ((1 - prob) / 2, (1 + prob) / 2))
        alpha = 0.18 if prob == widest else 0.32
        label = f"{100 * prob:g} % {what}"
        ax.fill_between(
            x, lower, upper, color=colour, alpha=alpha, linewidth=0, label=label, zorder=1
        )
        if prob == widest:
            edges = np.stack([lower, upper])
    if median:
        middle = quantiles(draws, (0.5,))[0]
        ax.plot(x, middle, color=colour, linewidth=1.8, label="median", zorder=4)
    return edges


def clip_loss(ax: Any, data: Floats, curve: Floats, wanted: Floats) -> str:
    """Limits of the loss axis: all of the data and of the curve, and bands up to as far again.

    A band that goes further would press the data into a line; it is cut, and the note given back
    says how far it goes ("" if nothing is cut).
    """
    low, high = float(np.nanmin(data)), float(np.nanmax(data))
    span = (high - low) or abs(high) or 1.0
    least, most = float(np.nanmin(wanted)), float(np.nanmax(wanted))
    bottom = min(low, max(least, low - LARGEST_EXTRA * span), float(np.nanmin(curve)))
    top = max(high, min(most, high + 0.3 * LARGEST_EXTRA * span), float(np.nanmax(curve)))
    margin = 0.05 * (top - bottom)
    ax.set_ylim(bottom - margin, top + margin)
    notes = []
    if least < bottom - margin:
        notes.append(f"down to {least:.3g}")
    if most > top + margin:
        notes.append(f"up to {most:.3g}")
    return f"loss axis cut: bands go {' and '.join(notes)}" if notes else ""


def mark_beyond(ax: Any, end: float, last: float) -> str:
    """Shade the part beyond the data; gives the note that says so ("" if there is none)."""
    if last <= end * 1.0001:
        return ""
    ax.axvspan(end, ax.get_xlim()[1], color="#f0f0f0", linewidth=0, zorder=0)
    ax.axvline(end, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    return f"shaded: beyond the data, to {ratio_text(last / end)}"


def note(ax: Any, *lines: str) -> None:
    """Small print at the upper right, where a falling loss leaves room."""
    text = "\n".join(line for line in lines if line)
    if not text:
        return
    ax.annotate(
        text,
        (0.99, 0.985),
        xycoords="axes fraction",
        ha="right",
        va="top",
        fontsize="small",
        color="#555555",
        zorder=6,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
    )


def plain(text: str) -> str:
    """A name as it is drawn: without control codes, and with dollars that begin no formula."""
    return printable(text).replace("$", r"\$")


SHORT = 26  # letters of a label, of which three stand side by side below the axes
BELOW = "below"  # where a legend stands that would hide lines


def finish(ax: Any, title: str, legend: str | None = "best") -> Any:
    """Loss label, title, light frame, legend.

    The legend stands under the axes where ``"below"`` says so, and where it would hide lines in
    the corner named.
    """
    if not ax.get_ylabel():
        ax.set_ylabel("loss")
    ax.set_title(plain(title), loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#e6e6e6", linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)
    handles, labels = ax.get_legend_handles_labels()
    labels = [plain(label) for label in labels]
    if legend is None or not handles:
        return ax
    if legend != BELOW:
        box = ax.legend(
            handles, labels, loc=legend, fontsize="small",
            frameon=True, framealpha=0.85, edgecolor="none", handlelength=2.6,
        )  # fmt: skip
        if legend == "best" or not _hides(ax, box.get_window_extent()):
            return ax
    longest = max(map(len, labels))
    ax.legend(
        handles, labels, loc="upper center", fontsize="small",
        bbox_to_anchor=(0.5, -0.15), ncols=min(len(handles), 3 if longest <= SHORT else 2),
        frameon=False, handlelength=2.6,
    )  # fmt: skip
    return ax


def _hides(ax: Any, box: Any) -> bool:
    """Whether a point of a line lies in the box."""
    points = np.concatenate([line.get_xydata() for line in ax.lines])
    x, y = ax.transData.transform(points[np.isfinite(points).all(axis=1)]).T
    return bool(((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).any())
