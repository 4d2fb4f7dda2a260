"""From the rows of logs, as they were read, to clean flat columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints, counts, spans
from .axes import AXES, Columns
from .cleaning import MINIMUM_POINTS, Flag, inspect, usable_rows
from .counters import untangled
from .known import Known, NumberByRun, meta_by_run, numbers, schedules_by_run
from .limits import (
    AXIS_LIMIT,
    NUMBER_LIMIT,
    WEIGHT_LIMIT,
    check_axis_values,
    check_losses,
    check_names,
)
from .raw import Raw

# A log is read along the axis with the most values; among equals, steps show restarts best.
ORDER = ("step", "tokens", "flops", "gpu_hours")
# Along one of these only where it has none of the others.
LAST_RESORT = ("epoch", "hours", "record")
LEAST_SHARED = 4  # rows of a whole epoch that show their order; fewer may be of ranks


def join(raws: Sequence[Raw]) -> Raw:
    """The rows of several logs in one.

    Raises `DataError`: a run of the same name in two of them.
    """
    if len(raws) == 1:
        return raws[0]
    starts = spans(np.array([len(raw.loss) for raw in raws]))
    names = tuple(name for raw in raws for name in raw.names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"run {twice[0]!r} is in two of the logs: rename one of them")

    def rows(parts: list[Floats | None]) -> Floats | None:
        if all(part is None for part in parts):
            return None
        filled = zip(parts, raws, strict=True)
        return np.concatenate([np.full(len(r.loss), np.nan) if p is None else p for p, r in filled])

    def where(row: int) -> str:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        return raws[part].where(row - int(starts[part]))

    axes = {axis: rows([raw.axes.get(axis) for raw in raws]) for axis in AXES}
    flags = [flag for raw in raws for flag in raw.flags]
    return Raw(
        names=names,
        offsets=spans(np.concatenate([np.diff(raw.offsets) for raw in raws])),
        loss=np.concatenate([raw.loss for raw in raws]),
        axes={axis: values for axis, values in axes.items() if values is not None},
        lr=rows([raw.lr for raw in raws]),
        params=rows([raw.params for raw in raws]),
        precision=rows([raw.precision for raw in raws]),
        rank=rows([raw.rank for raw in raws]),
        where=where,
        flags=flags,
    )


def clean(raw: Raw, known: Known) -> Columns:
    """Apply the rules of `lossfit.runs.cleaning` and join what the user knows.

    Raises `DataError`: as the rules say; and: a run with fewer than three usable points, parameters
    that change within a run, a weight that is not positive, a keyword that names no run.
    """
    names, offsets = raw.names, raw.offsets
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two runs are called {twice!r}: rename one")
    check_names(names)
    base, x = _along(raw)
    raw, x, base = _going_on(raw, x, base)
    names, offsets = raw.names, raw.offsets
    keep, flags = usable_rows(names, x, raw.loss, offsets, lambda run: AXES[base[run]], raw.where)
    _enough(names, counts(keep & (x > 0), offsets), flags)
    rows = np.flatnonzero(keep)
    # What was given stays as it is: a run never shares memory with it.
    taken: Ints | slice = slice(None) if len(rows) == len(keep) else rows
    offsets = spans(counts(keep, offsets))
    x, loss = x[taken], np.array(raw.loss[taken])
    check_losses(names, loss, offsets, lambda row: raw.where(int(rows[row])))
    check_axis_values(names, x, offsets, base, lambda row: raw.where(int(rows[row])))
    axes = {axis: np.array(values[taken]) for axis, values in raw.axes.items()}
    logged, has, unusable = _further_axes(names, offsets, axes, base)
    params, unused = _params(raw, rows, offsets, known.params)
    tokens_per_step = numbers(known.tokens_per_step, names, "tokens_per_step")
    total_hours = numbers(known.gpu_hours, names, "gpu_hours")
    both = has.get("step", False) & has.get("tokens", np.zeros(len(names), dtype=bool))
    unused += [
        Flag(names[i], "unused", 1, "tokens_per_step: the log has both step and tokens")
        for i in np.flatnonzero(both & np.isfinite(tokens_per_step))
    ]
    if "gpu_hours" in has:
        unused += [
            Flag(names[i], "unused", 1, "gpu_hours: the log's own column is used")
            for i in np.flatnonzero(has["gpu_hours"] & np.isfinite(total_hours))
        ]
    seen = inspect(names, x, loss, offsets)
    by_run: dict[str | None, tuple[Flag, ...]] = {}
    for flag in (*raw.flags, *flags, *unusable, *unused, *seen.flags):
        by_run[flag.run] = (*by_run.get(flag.run, ()), flag)
    return Columns(
        names=names,
        offsets=offsets,
        loss=loss,
        weight=_weights(raw, rows, offsets),
        lr=None if raw.lr is None or np.isnan(raw.lr).all() else np.array(raw.lr[taken]),
        logged=logged,
        has=has,
        base=base,
        params=params,
        tokens_per_step=tokens_per_step,
        gpu_rate=total_hours / x[offsets[1:] - 1],
        spike=seen.spike,
        decimals=seen.decimals,
        schedules=schedules_by_run(known.schedules, names),
        meta=meta_by_run(known.meta, names),
        flags=by_run,
    )


def _along(raw: Raw) -> tuple[Ints, Floats]:
    """The axis each log is read along (index into AXES, shape (R,)) and its values (N,)."""
    present = [axis for axis in (*ORDER, *LAST_RESORT) if axis in raw.axes]
    if not present:
        raise DataError(f"the runs need an axis: give one of {', '.join(AXES)}")
    codes = np.array([AXES.index(axis) for axis in present])
    total = len(raw.names)
    if len(present) == 1:
        return np.full(total, codes[0]), raw.axes[present[0]]
    filled = np.array([counts(~np.isnan(raw.axes[axis]), raw.offsets) for axis in present])
    for i, axis in enumerate(present):
        if axis in LAST_RESORT:  # a few points along another axis go before
            earlier = filled[:i].max(axis=0, initial=0) >= MINIMUM_POINTS
            filled[i] = np.where(earlier, -1, filled[i])
    best = filled.argmax(axis=0)
    if not best.any():
        return codes[best], raw.axes[present[0]]
    x = raw.axes[present[0]].copy()
    lengths = np.diff(raw.offsets)
    for i, axis in enumerate(present[1:], start=1):
        rows = np.repeat(best == i, lengths)
        x[rows] = raw.axes[axis][rows]
    return codes[best], x


def _going_on(raw: Raw, x: Floats, base: Ints) -> tuple[Raw, Floats, Ints]:
    """Axes that begin again carried on, epochs counted from 1, and what is said of both."""
    raw, x, parted = _parted_epochs(raw, x, base)
    raw, x, axes = untangled(raw, x, [AXES[code] for code in base])
    base = np.array([AXES.index(axis) for axis in axes])
    flags = list(raw.flags)
    for run in np.flatnonzero(base >= AXES.index(LAST_RESORT[0])):
        axis, name = AXES[base[run]], raw.names[run]
        rows = slice(int(raw.offsets[run]), int(raw.offsets[run + 1]))
        own = x[rows]
        known = own[np.isfinite(own)]
        words = {
            "epoch": "the log has no steps: its axis is the epoch",
            "hours": "the log has no steps: its axis is the time since it began, in hours",
            "record": "the log says nothing of steps: its axis is the number of the row",
        }[axis]
        if axis == "epoch" and len(known) and (known == np.rint(known)).all() and 0 in known:
            shifted = own + 1
            x, values = x.copy(), raw.axes[axis].copy()
            x[rows] = values[rows] = shifted
            raw = replace(raw, axes={**raw.axes, axis: values})
            words += ", counted from 1 (in the log from 0)"
        words += parted.get(name, "") if axis == "epoch" else ""
        flags.append(Flag(name, f"{axis}_axis", len(known), words))
    return replace(raw, flags=flags), x, base


def _parted_epochs(raw: Raw, x: Floats, base: Ints) -> tuple[Raw, Floats, dict[str, str]]:
    """Epochs that many rows in order share, parted by the rows' order, and the words for it.

    Whole epochs, or fractions written with few decimals: rows of one value lie evenly in what it
    stands for, and those of a last one that was cut as far apart as the others'.
    """
    words: dict[str, str] = {}
    for run in np.flatnonzero(base == AXES.index("epoch")):
        rows = np.arange(raw.offsets[run], raw.offsets[run + 1])
        rows = rows[np.isfinite(x[rows]) & np.isfinite(raw.loss[rows])]
        known = x[rows]
        if raw.rank is not None or len(known) < MINIMUM_POINTS or (np.diff(known) < 0).any():
            continue
        values, which, many = np.unique(known, return_inverse=True, return_counts=True)
        whole = bool((values == np.rint(values)).all())
        usual = float(np.median(many))
        if len(values) < MINIMUM_POINTS or usual < (LEAST_SHARED if whole else 2):
            continue
        size = 1.0 if whole else float(np.diff(values).min())
        high = values + (float(values[0] == 0) if whole else size / 2)
        low = np.maximum(high - size, 0.0)
        place = np.arange(len(known)) - (np.cumsum(many) - many)[which] + 1.0
        among = many.astype(np.float64)
        among[-1] = max(among[-1], usual)
        x, epoch = x.copy(), raw.axes["epoch"].copy()
        x[rows] = epoch[rows] = low[which] + (high - low)[which] * place / among[which]
        raw = replace(raw, axes={**raw.axes, "epoch": epoch})
        words[raw.names[run]] = (
            f", parted by the order of the rows ({usual:g} to {'an epoch' if whole else 'a value'})"
        )
    return raw, x, words


def _enough(names: tuple[str, ...], points: Ints, flags: list[Flag]) -> None:
    short = np.flatnonzero(points < MINIMUM_POINTS)
    if not len(short):
        return
    name, count = names[short[0]], int(points[short[0]])
    lost = "; ".join(flag.detail for flag in flags if flag.run == name)
    others = f" ({len(short) - 1} more runs are too short)" if len(short) > 1 else ""
    raise DataError(
        f"run {name!r} has {count or 'no'} usable point{'s' if count != 1 else ''} with a loss and "
        f"an axis above 0; {MINIMUM_POINTS} are needed: log more of it or leave the run out"
        f"{f'. Its log: {lost}' if lost else ''}{others}"
    )


def _further_axes(
    names: tuple[str, ...], offsets: Ints, axes: dict[str, Floats], base: Ints
) -> tuple[dict[str, Floats], dict[str, Bools], list[Flag]]:
    """Axes that each run has in full and increasing; the others blanked, with a flag."""
    logged: dict[str, Floats] = {}
    has: dict[str, Bools] = {}
    flags: list[Flag] = []
    first = np.zeros(int(offsets[-1]), dtype=bool)
    first[offsets[:-1]] = True
    for axis, values in axes.items():
        if (base == AXES.index(axis)).all():
            logged[axis], has[axis] = values, np.ones(len(names), dtype=bool)
            continue
        bad = ~((values >= 0) & (values <= AXIS_LIMIT))
        bad |= (values > 0) & (values < 1 / AXIS_LIMIT)
        bad[1:] |= (values[1:] <= values[:-1]) & ~first[1:]
        absent = counts(~np.isnan(values), offsets) == 0
        wrong = counts(bad, offsets)
        told = axis not in LAST_RESORT  # these are at hand by the way, and no one asked for them
        for run in np.flatnonzero((wrong > 0) & ~absent & told):
            words = (
                f"{axis} left out: {wrong[run]} of {offsets[run + 1] - offsets[run]} rows are "
                "missing, negative or do not increase"
            )
            flags.append(Flag(names[run], "unusable_axis", int(wrong[run]), words))
        has[axis] = wrong == 0
        if not has[axis].all():
            values[np.repeat(~has[axis], np.diff(offsets))] = np.nan
        if has[axis].any():
            logged[axis] = values
        else:
            del has[axis]
    return logged, has, flags


def _params(raw: Raw, rows: Ints, offsets: Ints, known: NumberByRun) -> tuple[Floats, list[Flag]]:
    """Model parameters of each run: the log's column, else the keyword."""
    given = numbers(known, raw.names, "params")
    if raw.params is None:
        return given, []
    column = raw.params[rows]
    starts = offsets[:-1]
    low, high = np.fmin.reduceat(column, starts), np.fmax.reduceat(column, starts)
    differ = np.flatnonzero(low != high)
    differ = differ[~np.isnan(low[differ])]
    if len(differ):
        run = int(differ[0])
        values = column[offsets[run] : offsets[run + 1]]
        known_here = values[~np.isnan(values)]
        at = int(np.flatnonzero(~np.isnan(values) & (values != known_here[0]))[0])
        raise DataError(
            f"run {raw.names[run]!r}, {raw.where(int(rows[offsets[run] + at]))}: params changes "
            f"from {known_here[0]:g} to {values[at]:g}; it is one number for a run: correct it, or "
            "give the parts different run names"
        )
    wrong = np.flatnonzero((low < 1 / NUMBER_LIMIT) | (low > NUMBER_LIMIT))
    if len(wrong):
        run = int(wrong[0])
        limit = f" of at most {NUMBER_LIMIT:g}" if low[run] > 0 else ""
        raise DataError(
            f"run {raw.names[run]!r}: params is {low[run]:g}; it must be a positive number{limit}: "
            "correct it or leave it blank"
        )
    unused = np.flatnonzero(~np.isnan(low) & ~np.isnan(given) & (low != given))
    flags = [
        Flag(raw.names[i], "unused", 1, "params: the log's own column is used") for i in unused
    ]
    return np.where(np.isnan(low), given, low), flags


def _weights(raw: Raw, rows: Ints, offsets: Ints) -> Floats:
    """Relative precision with mean 1 in each run; ones where none is given."""
    if raw.precision is None:
        return np.ones(len(rows))
    weight = raw.precision[rows]
    lengths = np.diff(offsets)
    none = counts(~np.isnan(weight), offsets) == 0
    weight[np.repeat(none, lengths)] = 1.0
    bad = np.flatnonzero(~((weight >= 1 / WEIGHT_LIMIT) & (weight <= WEIGHT_LIMIT)))
    if len(bad):
        row = int(bad[0])
        run = int(np.searchsorted(offsets, row, side="right")) - 1
        raise DataError(
            f"run {raw.names[run]!r}, {raw.where(int(rows[row]))}: se, count or weight must be a "
            "positive number in every row of a run, or blank in all of them"
        )
    mean = np.add.reduceat(weight, offsets[:-1]) / lengths
    weight /= np.repeat(mean, lengths)
    return weight
