"""What the figures of a report draw: thinned points, bands by law, in little memory.

Points are thinned to what a screen shows.  Axis values travel as shares of the run's end, so that
one array serves every axis on which the run advances in proportion.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._base.ragged import Floats, Ints
from .._base.seeds import run_keys
from .._base.summaries import quantiles
from ..fits.window import rule_of, select
from ..forecasts.mixture import curves_of
from ..laws import ScheduleLaw
from ..plotting.style import grid_between
from ..runs.axes import AXES

if TYPE_CHECKING:
    from ..forecasts.question import Question
    from ..laws import Law
    from ..runs.collection import Runs
    from ..runs.run import Run

MOST_POINTS = 150_000  # drawn on a page, over all runs
MOST_EACH, LEAST_EACH = 1200, 48  # and of one run
MOST_SPIKES = 60  # of one run
KNOTS = 48  # of the relation between two axes that do not advance in proportion
MANY, FEWER_DRAWS = 200, 400  # from so many runs on, bands are made from fewer draws
BLOCK_VALUES = 1 << 23  # draws of curves held at a time: 64 MiB


class Band(NamedTuple):
    """What a law says of R runs at the T places of their grids; NaN where a grid is shorter."""

    law: str
    # shape (5, R, T): lower and upper edge and median of the loss curve, then lower and upper edge
    # of a point of weight 1: the posterior predictive
    curves: Floats
    sigma: Floats  # shape (R,): median of the noise of a point


@dataclass(frozen=True)
class Drawn:
    """One run as it is drawn: plain data for JSON."""

    data: dict[str, Any]
    # shown, total: points drawn and points of the run
    shown: int
    total: int


@dataclass(frozen=True)
class Drawing:
    """All runs that are drawn."""

    runs: tuple[Drawn, ...]
    axes: tuple[str, ...]  # the axes that some of them have

    @property
    def shown(self) -> int:
        """Points drawn."""
        return sum(run.shown for run in self.runs)

    @property
    def total(self) -> int:
        """Points there are."""
        return sum(run.total for run in self.runs)


def packed(values: ArrayLike) -> str:
    """Numbers as base64 of little-endian float32: 5.3 characters each, 7 digits."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode("ascii")


def points_each(n_runs: int) -> int:
    """How many points of a run are drawn at most."""
    return int(np.clip(MOST_POINTS // max(n_runs, 1), LEAST_EACH, MOST_EACH))


def thinned(x: Floats, loss: Floats, most: int) -> Ints:
    """Rows that look like all rows: of each strip of the axis the lowest and the highest loss.

    Strips are even in the axis for one half and even in its logarithm for the other, as the page
    draws both.

    Parameters
    ----------
    x, loss : ndarray, shape (n,)
        Positive, increasing; and its loss.
    most : int
        About how many rows to keep.

    Returns
    -------
    ndarray of int
        Increasing; the first and the last row are there.
    """
    n = len(x)
    if n <= most:
        return np.arange(n)
    strips = max(most // 4, 1)
    edges = np.concatenate(
        [np.linspace(x[0], x[-1], strips + 1), np.geomspace(x[0], x[-1], strips + 1)]
    )
    strip = np.searchsorted(np.unique(edges)[1:-1], x, side="right")
    order = np.lexsort((loss, strip))
    first = np.flatnonzero(np.diff(strip[order], prepend=-1))
    last = np.append(first[1:], n) - 1
    return np.unique(np.concatenate([[0, n - 1], order[first], order[last]]))


def bands(
    runs: Runs,
    question: Question,  # of the answer
    beside: Sequence[Law | ScheduleLaw],
    last: Floats,  # shape (R,): where the curves end
    at: Floats,  # shape (R, K): targets, NaN where a run has fewer
    count: int,  # places on each grid
) -> tuple[Floats, list[Band], list[Floats]]:
    """Bands of runs from the start of their windows on, by the answer and by other laws.

    Returns
    -------
    grid : ndarray, shape (R, T)
    bands : list of Band
        The answer's first.
    targets : list of ndarray, shape (3, R, K)
        Lower edge, median, upper edge of each at the targets.
    """
    lead = question.laws[0]
    window = question.window_of(runs)
    rule = (
        rule_of(window, runs, drop=lead.first)
        if isinstance(lead, ScheduleLaw)
        else rule_of(window, runs)
    )
    start = select(runs.flat(question.axis), runs.names, rule, 0, len(runs), keep_spikes=True).start
    ends = np.array([run.end(question.axis) for run in runs])
    grid = np.full((len(runs), count), np.nan)
    for r, (low, end, high) in enumerate(zip(start, ends, last, strict=True)):
        places = _places(float(low), float(end), float(high), count)
        grid[r, : len(places)] = places
    where = np.concatenate([grid, at], axis=1)
    questions = [question, *(question.to(law) for law in beside)]
    names = [" + ".join(law.name for law in question.laws), *(law.name for law in beside)]
    out, targets = [], []
    if len(runs) > MANY:
        questions = [replace(asked, draws=min(asked.draws, FEWER_DRAWS)) for asked in questions]
    for name, asked in zip(names, questions, strict=True):
        mixed, sigma = _curves(runs, asked, where)
        out.append(Band(name, mixed[:, :, :count], sigma))
        targets.append(mixed[:3, :, count:])
    return grid, out, targets


def _places(low: float, end: float, high: float, count: int) -> Floats:
    """Where a band is computed: from `low` to `high`, the end of the data among them."""
    if high <= end:
        return grid_between(low, end, count)
    inside = count // 2
    return np.unique(
        np.concatenate([grid_between(low, end, inside), grid_between(end, high, count - inside)])
    )


def _curves(runs: Runs, question: Question, where: Floats) -> tuple[Floats, Floats]:
    """Bands at places, shape (5, R, T), and the noise, shape (R,); a block of runs at a time."""
    n_runs, n_at = where.shape
    out, noise = np.empty((5, n_runs, n_at)), np.empty(n_runs)
    tail = (1 - question.prob) / 2
    z = np.stack(
        [
            np.random.default_rng(int(key)).standard_normal(question.draws)
            for key in run_keys(question.seed, runs.names, "report")
        ]
    )
    step = max(1, BLOCK_VALUES // (n_at * question.draws))
    for first in range(0, n_runs, step):
        block_rows = slice(first, min(first + step, n_runs))
        block = runs if step >= n_runs else runs.select(runs.names[block_rows])
        mixed = curves_of(question, block, where[block_rows])
        noise[block_rows] = np.median(mixed.sigma, axis=1)
        out[[0, 1, 2], block_rows] = quantiles(mixed.curves, (tail, 0.5, 1 - tail))
        # One standard normal number a draw, the same at every place: the edges are then smooth, and
        # each place alone has the predictive distribution.
        noisy = mixed.curves + (mixed.sigma * z[block_rows])[:, None, :]
        out[[3, 4], block_rows] = quantiles(noisy, (tail, 1 - tail))
    return out, noise


def drawing(
    runs: Runs, axis: str, grid: Floats, band_list: Sequence[Band], rows: dict[str, int]
) -> Drawing:
    """Every run as plain data for the page.

    Parameters
    ----------
    runs : Runs
        The runs that have the axis.
    axis : str
        Of the bands.
    grid : ndarray, shape (B, T)
    found : sequence of Band
        Of the B runs that have bands.
    rows : dict
        From the names of these to their rows.
    """
    most = points_each(len(runs))
    drawn = []
    for run in runs:
        x = run.axis(axis)
        end = float(x[-1])
        usable = (x > 0) & ~run.spike
        share, loss = x[usable] / end, run.loss[usable]
        keep = thinned(share, loss, most) if len(share) else np.arange(0)
        spikes = np.flatnonzero((x > 0) & run.spike)
        spikes = spikes[np.argsort(-run.loss[spikes], kind="stable")[:MOST_SPIKES]]
        data: dict[str, Any] = {
            "n": run.name,
            "e": {a: run.end(a) for a in run.axes},
            "x": packed(share[keep]),
            "y": packed(loss[keep]),
            "m": len(run),
        }
        if len(spikes):
            data["sx"], data["sy"] = (
                packed(x[np.sort(spikes)] / end),
                packed(run.loss[np.sort(spikes)]),
            )
        bent = _bent(run, axis)
        if bent:
            data["w"] = bent
        if run.name in rows:
            r = rows[run.name]
            good = ~np.isnan(grid[r])
            data["g"] = packed(grid[r, good] / end)
            data["b"] = [packed(item.curves[:, r][:, good]) for item in band_list]
        drawn.append(Drawn(data, len(keep), int(usable.sum())))
    axes = tuple(a for a in AXES if any(a in item.data["e"] for item in drawn))
    return Drawing(tuple(drawn), axes)


def _bent(run: Run, axis: str) -> dict[str, list[str]]:
    """Axes on which the run does not advance in proportion: shares of both at some knots."""
    x = run.axis(axis)
    share = x / x[-1]
    out = {}
    for other in run.axes:
        if other == axis:
            continue
        y = run.axis(other)
        own_curve = y / y[-1]
        seen = (share > 1e-3) & (own_curve > 0)
        if not seen.any() or np.abs(own_curve[seen] / share[seen] - 1).max() < 1e-3:
            continue
        rows = np.flatnonzero((share > 0) & (own_curve > 0))
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, KNOTS).round().astype(int))]
        out[other] = [packed(share[rows]), packed(own_curve[rows])]
    return out
