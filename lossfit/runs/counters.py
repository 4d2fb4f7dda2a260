"""Step counters that begin again, ranks that log the same steps, and second runs in one log.

A log's axis should rise.  Where it falls, one of four things happened, and each is said in a flag:

1. the counter counts within an epoch, or began at 0 after a resume, and training went on: the
   later steps are carried on from the earlier ones (``counter``);
2. the run was resumed from a checkpoint in its middle: what was run again replaces what it repeats
   (``restart``, the rule of `lossfit.runs.cleaning`);
3. another run was written into the same log: it becomes a run of its own (``other_run``);
4. several ranks write the same steps: their mean is read (``ranks``).

The counter goes on where the epoch rises, or where the loss after it lies nearer to the loss before
it than to that of the first start.  Two runs are never merged: where nothing tells, they are two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from .._base.ragged import Bools, Floats, Ints, spans
from .cleaning import MINIMUM_POINTS, Flag
from .raw import Raw

NEAR = 5  # points before and after a fall that are compared
APART = 4.0  # standard deviations that the end must lie from the start, to tell them apart
SHARE = 0.9  # of the steps that are logged by several ranks
GROUPS = 8
BACK = 0.8  # of the way to the least step that a counter goes which begins again
PERIODS = 3  # starts over that show a counter within epochs where losses tell nothing


@dataclass
class _Part:
    """Rows of one run, by their number, with their axis values."""

    rows: Ints
    x: Floats
    loss: Floats


def untangled(
    raw: Raw,
    x: Floats,  # shape (N,): values of the axis that each run is read along
    axes: list[str],  # length R: the name of that axis
) -> tuple[Raw, Floats, list[str]]:
    """The rows with axes that go on, each run by itself.

    Returns
    -------
    raw : Raw
    x : ndarray
    axes : list of str
    """
    usable = np.isfinite(x) & np.isfinite(raw.loss) & (x >= 0)
    if usable.all():
        offsets, usable_x = raw.offsets, x
    else:
        offsets, usable_x = np.searchsorted(np.flatnonzero(usable), raw.offsets), x[usable]
    fall = np.flatnonzero(usable_x[1:] <= usable_x[:-1]) + 1
    starts = np.zeros(len(usable_x) + 1, dtype=bool)
    starts[offsets] = True
    fall = fall[~starts[fall]]
    if not len(fall) and raw.rank is None:
        return raw, x, axes
    tangled = set(np.unique(np.searchsorted(offsets, fall, side="right") - 1).tolist())
    if raw.rank is not None:
        tangled = set(range(len(raw.names)))
    parts: list[tuple[str, _Part, str]] = []
    flags = list(raw.flags)
    names = set(raw.names)
    for run, name in enumerate(raw.names):
        whole = np.arange(raw.offsets[run], raw.offsets[run + 1])
        part = _Part(whole, x[whole].copy(), raw.loss[whole].copy())
        if run not in tangled:
            parts.append((name, part, axes[run]))
            continue
        epoch = raw.axes["epoch"][whole] if "epoch" in raw.axes else None
        rank = None if raw.rank is None else raw.rank[whole]
        pieces, new_flags = _of_ranks(name, axes[run], part, epoch, rank)
        flags += new_flags
        for i, piece in enumerate(pieces):
            title = name if not i else _new_name(name, names)
            names.add(title)
            parts.append((title, piece, axes[run]))
    return _rebuilt(raw, parts, flags)


def _new_name(name: str, names: set[str]) -> str:
    return next(t for k in range(2, len(names) + 3) if (t := f"{name} ({k})") not in names)


def _rebuilt(
    raw: Raw, parts: list[tuple[str, _Part, str]], flags: list[Flag]
) -> tuple[Raw, Floats, list[str]]:
    take = np.concatenate([part.rows for _, part, _ in parts])
    x = np.concatenate([part.x for _, part, _ in parts])
    axes = {axis: values[take] for axis, values in raw.axes.items()}
    offsets = spans(np.array([len(part.rows) for _, part, _ in parts]))
    for i, (_, _, axis) in enumerate(parts):
        axes[axis][offsets[i] : offsets[i + 1]] = x[offsets[i] : offsets[i + 1]]

    def of(values: Floats | None) -> Floats | None:
        return None if values is None else values[take]

    where = raw.where
    return (
        replace(
            raw,
            names=tuple(name for name, _, _ in parts),
            offsets=offsets,
            loss=np.concatenate([part.loss for _, part, _ in parts]),
            axes=axes,
            lr=of(raw.lr),
            params=of(raw.params),
            precision=of(raw.precision),
            rank=None,
            where=lambda row: where(int(take[row])),
            flags=flags,
        ),
        x,
        [axis for _, _, axis in parts],
    )


def _of_ranks(
    name: str, axis: str, part: _Part, epoch: Floats | None, rank: Floats | None
) -> tuple[list[_Part], list[Flag]]:
    """The runs in one log's rows."""
    ranks = np.unique(rank[~np.isnan(rank)]) if rank is not None else np.zeros(0)
    if rank is None or len(ranks) < 2:
        single, flags = _without_repeats(name, axis, part)
        if epoch is not None:
            epoch = epoch[np.searchsorted(part.rows, single.rows)]
        pieces, more = _carried_on(name, axis, single, epoch)
        return pieces, [*flags, *more]
    by_rank = []
    flags = []
    for value in ranks:
        own = rank == value
        piece = _Part(part.rows[own], part.x[own], part.loss[own])
        pieces, new_flags = _carried_on(name, axis, piece, None if epoch is None else epoch[own])
        if len(pieces) > 1:
            break
        by_rank.append(pieces[0])
        flags += [flag for flag in new_flags if value == ranks[0]]
    common = [np.isin(piece.x, by_rank[0].x).mean() for piece in by_rank[1:] if len(piece.x)]
    if len(by_rank) < len(ranks) or not common or np.mean(common) < SHARE / 2:
        # Ranks that took turns: processes that followed one another.
        return _carried_on(name, axis, part, epoch)
    whole = _Part(
        np.concatenate([p.rows for p in by_rank]),
        np.concatenate([p.x for p in by_rank]),
        np.concatenate([p.loss for p in by_rank]),
    )
    order = np.argsort(whole.x, kind="stable")
    merged, count = _mean(_Part(whole.rows[order], whole.x[order], whole.loss[order]))
    words = f"{len(ranks)} ranks log the same {axis}: the mean of their losses is read"
    return [merged], [*flags, Flag(name, "ranks", count, words)]


def _mean(part: _Part) -> tuple[_Part, int]:
    """One row for equal neighbouring axis values, with the mean loss; how many were averaged."""
    first = np.append(True, part.x[1:] != part.x[:-1])
    group = np.cumsum(first) - 1
    known = ~np.isnan(part.loss)
    total = np.bincount(group[known], weights=part.loss[known], minlength=group[-1] + 1)
    count = np.bincount(group[known], minlength=group[-1] + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, total / count, np.nan)
    rows = part.rows[first]
    return _Part(rows, part.x[first], mean), int(len(part.x) - first.sum())


def _without_repeats(name: str, axis: str, part: _Part) -> tuple[_Part, list[Flag]]:
    """The mean of rows where nearly every step is logged the same number of times at once."""
    known = np.isfinite(part.x) & np.isfinite(part.loss)
    x = part.x[known]
    if len(x) < 2 * GROUPS:
        return part, []
    first = np.flatnonzero(np.append(True, np.diff(x) != 0))
    sizes = np.diff(np.append(first, len(x)))
    usual = int(np.median(sizes))
    if usual < 2 or len(sizes) < GROUPS or (sizes == usual).mean() < SHARE:
        return part, []
    loss = part.loss[known]
    if float(np.mean(loss[1:][np.diff(x) == 0] != loss[:-1][np.diff(x) == 0])) < 0.5:
        return part, []  # the same line twice
    unique = _Part(part.rows[known], x, loss)
    merged, count = _mean(unique)
    words = f"each {axis} is logged {usual} times, as by {usual} ranks: their mean is read"
    return merged, [Flag(name, "ranks", count, words)]


def _carried_on(
    name: str, axis: str, part: _Part, epoch: Floats | None
) -> tuple[list[_Part], list[Flag]]:
    """Rows whose counter begins again: carried on, or taken for another run."""
    known = np.flatnonzero(np.isfinite(part.x) & np.isfinite(part.loss) & ~(part.x < 0))
    x, loss = part.x[known], part.loss[known]
    falls = np.flatnonzero(np.diff(x) < 0) + 1
    if not len(falls):
        return [part], []
    bounds = [0, *falls.tolist(), len(x)]
    stride = _stride(x)
    rises = _rises(epoch, known, falls)
    low = float(x.min())
    back = x[falls - 1] - x[falls]
    at_start = (x[falls] <= low + 1.5 * stride) & (back >= BACK * (x[falls - 1] - low))
    if len(x) < GROUPS and not rises.all():
        return [part], []
    if (~at_start).any() and at_start.mean() < 0.8:
        return [part], []  # resumed in its middle, or in no order
    periodic = len(falls) >= PERIODS - 1 and _alike(x, bounds)
    kinds = [
        "middle" if not at_start[i] else "on" if rises[i] else _kind(x, loss, bounds, i, periodic)
        for i in range(len(falls))
    ]
    if "on" not in kinds and "other" not in kinds:
        return [part], []
    period = _period(x, bounds, kinds, stride)
    shift = np.zeros(len(x))
    run = np.zeros(len(x), dtype=int)
    offset, number, begins = 0.0, 0, []
    for i, kind in enumerate(kinds):
        start, stop = bounds[i + 1], bounds[i + 2]
        if kind == "on":
            last = x[bounds[i + 1] - 1] + offset
            offset = offset + period if period else last + stride - x[start]
        elif kind == "other":
            offset, number = 0.0, number + 1
            begins.append(start)
        shift[start:stop] = offset
        run[start:stop] = number
    return _split(name, axis, part, known, shift, run, kinds, begins)


def _split(
    name: str,
    axis: str,
    part: _Part,
    known: Ints,
    shift: Floats,
    run: Ints,
    kinds: list[str],
    begins: list[int],
) -> tuple[list[_Part], list[Flag]]:
    """The parts, with rows that hold nothing beside the one before them."""
    nearest = np.clip(np.searchsorted(known, np.arange(len(part.x)), side="right") - 1, 0, None)
    whole_shift, whole_run = shift[nearest], run[nearest]
    x = part.x + whole_shift
    flags = []
    count = kinds.count("on")
    if count:
        first = known[np.flatnonzero(shift != 0)[0]]
        words = (
            f"{axis} begins again {count} time{'s' * (count > 1)} (first after "
            f"{part.x[first - 1]:g}) while training goes on: carried on, to {np.nanmax(x):g}"
        )
        flags.append(Flag(name, "counter", count, words))
    pieces, short = [], 0
    for number in range(int(run[-1]) + 1):
        own = whole_run == number
        if (run == number).sum() < MINIMUM_POINTS:
            short += int((run == number).sum())
            continue
        pieces.append(_Part(part.rows[own], x[own], part.loss[own]))
    if len(pieces) > 1:
        losses = part.loss[known]
        words = (
            f"{axis} begins again at {part.x[known[begins[0]]]:g} with the loss of a start "
            f"({losses[begins[0]]:.4g}, after {losses[begins[0] - 1]:.4g}): "
            f"read as {len(pieces)} runs"
        )
        flags.append(Flag(name, "other_run", len(pieces) - 1, words))
    if short:
        words = f"{short} points of starts that were broken off: left out"
        flags.append(Flag(name, "short_run", short, words))
    return pieces or [part], flags


def _stride(x: Floats) -> float:
    gaps = np.diff(x)
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if len(gaps) else 1.0


def _rises(epoch: Floats | None, known: Ints, falls: Ints) -> Bools:
    """At which falls the epoch goes up."""
    if epoch is None:
        return np.zeros(len(falls), dtype=bool)
    values = epoch[known]
    with np.errstate(invalid="ignore"):
        return np.asarray(values[falls] > values[falls - 1])


def _alike(x: Floats, bounds: list[int]) -> bool:
    """Whether the pieces end and begin alike, as those of a counter within epochs do."""
    pieces = [x[a:b] for a, b in pairwise(bounds)][:-1]
    ends = np.array([piece[-1] for piece in pieces])
    return len(pieces) >= PERIODS - 1 and float(np.ptp(ends)) <= 0.02 * float(ends.max())


def _kind(x: Floats, loss: Floats, bounds: list[int], i: int, periodic: bool) -> str:
    """What happened at the i-th fall, to the counter's start: "on", "other" or "again"."""
    before = slice(bounds[i], bounds[i + 1])
    after = slice(bounds[i + 1], bounds[i + 2])
    common, first, second = np.intersect1d(x[before], x[after], return_indices=True)
    if len(common) >= MINIMUM_POINTS:
        same = loss[before][first] == loss[after][second]
        if same.mean() >= 0.8:
            return "again"
    k = min(NEAR, before.stop - before.start, after.stop - after.start)
    now = float(np.median(loss[after][:k]))
    end = float(np.median(loss[before][-k:]))
    start = float(np.median(loss[: bounds[1]][:k]))
    piece = loss[before]
    # Of a point from the mean of its neighbours, which the trend hardly moves.
    bend = np.abs(piece[1:-1] - (piece[:-2] + piece[2:]) / 2)
    noise = float(np.median(bend)) / 0.826 if len(bend) else 0.0
    if abs(end - start) > APART * noise:
        return "on" if abs(now - end) < abs(now - start) else "other"
    return "on" if periodic else "other"


def _period(x: Floats, bounds: list[int], kinds: list[str], stride: float) -> float:
    """Steps of an epoch, where all falls but the last come after as many; 0 if they do not."""
    if not kinds or any(kind != "on" for kind in kinds) or not _alike(x, bounds):
        return 0.0
    ends = [x[stop - 1] for stop in bounds[1:-1]]
    return float(max(ends)) + stride - float(x[0])
