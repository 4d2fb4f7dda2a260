"""What a log, or a schedule of points, says of the learning rate: warm-up, history, form."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints, counts
from ..schedules import kinds
from ..schedules.shapes import Schedule

if TYPE_CHECKING:
    from .collection import Runs
    from .run import Run

WARM = 0.98  # of the peak: where a logged warm-up ends
WARM_SHARE = 0.25  # and it ends within this share of the log
MOST_NODES = 512
MATCH = 0.01  # a logged rate follows a form within this rms share of the peak
FORM_POINTS = 64  # of a logged rate that are looked at for its form
CONSTANT = 0.02  # a logged rate that moved less is constant
BEFORE_END = 0.02  # of the data: a plan may end so little before they do, or after
LAST = 0.05  # of a log: the part that shows whether its rate comes to nothing
HELD, FELL = 0.02, 0.2  # of the peak: within which a rate is held, and what shows a cooldown
HELD_SHARE = 0.2  # of a log, for which a rate must have been held before a cooldown
LATE = 2.0  # spacings of the points: a log that begins so late left something out
STRAIGHT = 0.1  # of its fall: rms from a straight line that this part may be off
LOW = 0.1  # of the peak: the highest rate from which it does
LEAP = 0.3  # of the peak: a logged rate that rises so much at once starts a cycle
STARTS = 5  # places between two points where a cosine may have begun
GROWTHS = (1.0, 1.5, 2.0, 3.0)  # of a cycle over the one before


def warmed(t: Floats, rate: Floats) -> tuple[Floats, Floats]:
    """Points of a logged rate relative to its peak, the warm-up counted at the peak."""
    if len(t) > MOST_NODES:
        grid = np.linspace(t[0], t[-1], MOST_NODES)
        t, rate = grid, np.interp(grid, t, rate)
    peak = float(rate.max())
    rho = rate / peak if peak > 0 else np.ones_like(rate)
    first = _warm_rows(rho)
    rho = rho.copy()
    rho[:first] = rho[first]
    return t, rho


def _warm_rows(rho: Floats) -> int:
    """How many rows at the start are warm-up."""
    first = int(np.argmax(rho >= WARM))
    rising = bool((np.diff(rho[: first + 1]) >= 0).all())
    return first if rising and first <= max(WARM_SHARE * len(rho), 1) else 0


def history_of(run: Run, axis: str) -> tuple[Floats, Floats] | None:
    """Axis values and logged learning rate, or None where too little of it was logged."""
    lr = run.lr
    if lr is None:
        return None
    x = run.axis(axis)
    usable = np.isfinite(lr) & (x > 0)
    # A rate that was logged for a part of the run only says nothing of the rest.
    if usable.sum() < 3 or x[usable][-1] < 0.97 * x[-1] or usable.mean() < 0.5:
        return None
    if not lr[usable].max() > 0:
        return None
    return x[usable], np.maximum(lr[usable], 0.0)  # some schedulers end at -5e-12


def has_rate(runs: Runs) -> Bools:
    """Which runs have a logged learning rate, shape (n_runs,)."""
    lr, offsets = runs._columns.lr, runs._columns.offsets
    return np.zeros(len(runs), bool) if lr is None else counts(~np.isnan(lr), offsets) > 0


def by_schedule(runs: Runs) -> list[tuple[Schedule | None, Ints]]:
    """The runs' own schedules, and which runs have each."""
    schedules = runs._columns.schedules
    if not schedules:
        return [(None, np.arange(len(runs)))]
    which = np.fromiter(map(id, map(schedules.get, runs.names)), np.int64, len(runs))
    order = np.argsort(which, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(which[order])) + 1)
    return [(schedules.get(runs.names[rows[0]]), rows) for rows in groups]


def warmup_in(schedule: Schedule) -> float:
    """End of a schedule's warm-up in units of its own axis, 0 for none."""
    if schedule.kind != "points":
        return schedule.warmup
    return _warm_end(np.asarray(schedule.steps), np.asarray(schedule.rates))


def _warm_end(t: Floats, rate: Floats) -> float:
    if not rate.max() > 0:
        return 0.0
    rows = _warm_rows(rate / rate.max())
    return float(t[rows]) if rows else 0.0


def warmup_of(run: Run, axis: str) -> float:
    """End of the warm-up on the axis, 0 where none is known."""
    schedule = run.schedule
    if schedule is not None:
        warmup = warmup_in(schedule)
        return warmup * axis_factor(run, schedule, axis) if warmup else 0.0
    history = history_of(run, axis)
    return 0.0 if history is None else _warm_end(*history)


def warmups_of(runs: Runs, axis: str) -> Floats:
    """`warmup_of` of every run, shape (n_runs,)."""
    out, rated = np.zeros(len(runs)), has_rate(runs)
    for schedule, rows in by_schedule(runs):
        if schedule is None:
            for r in rows[rated[rows]].tolist():
                out[r] = warmup_of(runs[runs.names[r]], axis)
        elif warmup := warmup_in(schedule):
            out[rows] = warmup * axis_factors(runs, rows, schedule, axis)
    return out


def axis_factors(runs: Runs, rows: Ints, schedule: Schedule, axis: str) -> Floats:
    """`axis_factor` of the runs of these numbers, shape (n,)."""
    if schedule.axis == axis:
        return np.ones(len(rows))
    (own, has), (values, _) = runs._axis(schedule.axis), runs._axis(axis)
    for r in rows[~has[rows]].tolist():
        axis_factor(runs[runs.names[r]], schedule, axis)  # raises
    last = runs._columns.offsets[1:][rows] - 1
    return np.asarray(values[last] / own[last])


def axis_factor(run: Run, schedule: Schedule, axis: str) -> float:
    """Units of the axis in a unit of the schedule's axis."""
    if schedule.axis == axis:
        return 1.0
    if not run.has(schedule.axis):
        raise DataError(
            f"run {run.name!r}: its schedule counts {schedule.axis}, which the run does not have: "
            f"give tokens_per_step=, or a schedule with axis={axis!r}"
            if axis in ("step", "tokens")
            else f"run {run.name!r}: its schedule counts {schedule.axis}, which the run does not "
            f"have: give tokens_per_step="
        )
    return float(run.end(axis) / run.end(schedule.axis))


def form_of(t: Floats, rho: Floats, warmup: float) -> Schedule | None:
    """The cosine, straight line or cooldown that a logged rate has followed, if it has."""
    forms = [_form_from(t, rho, start) for start in _starts(t, warmup)]
    starts, late, after = _origins(t, rho, warmup)
    forms += [_line_from(warmup, late, after), _laid_over(starts, late, after, None)]
    return _nearest([*forms, *_cooldowns(t, rho, warmup, None)])


def _starts(t: Floats, warmup: float) -> tuple[float, ...]:
    """Where a schedule's main part may have begun: a log may leave out the warm-up."""
    if len(t) > 1 and t[0] - warmup > LATE * np.median(np.diff(t)):
        return warmup, float(t[0])
    return (warmup,)


def _peak_row(t: Floats, rho: Floats, warmup: float) -> int:
    """The last row of a warm-up that comes to `WARM` of the peak a little before its end."""
    row = min(int(np.searchsorted(t, warmup)), len(t) - 1)
    while warmup > 0 and row + 1 < len(t) and rho[row + 1] > rho[row]:
        row += 1
    return row


def _origins(t: Floats, rho: Floats, warmup: float) -> tuple[Floats, Floats, Floats]:
    """Where a cosine with a warm-up may have begun, and the points after it.

    Some schedulers count the cosine from the end of the warm-up, which lies between the last point
    that surely warms and the first that falls; others from step 0, with the warm-up laid over it.
    """
    top = _peak_row(t, rho, warmup)
    starts = np.zeros(1)
    if warmup > 0 and 0 < top < len(t) - 1:
        starts = np.append(starts, np.linspace(t[top - 1], t[top + 1], STARTS))
    return starts, t[top + 1 :], rho[top + 1 :]


def _nearest(forms: Iterable[tuple[float, Schedule | None]]) -> Schedule | None:
    named = [form for form in forms if form[1] is not None]
    return min(named, key=lambda form: form[0])[1] if named else None


def _form_from(t: Floats, rho: Floats, warmup: float) -> tuple[float, Schedule | None]:
    """How far a logged rate is from a cosine or line that began at some place, and that form."""
    main = t >= warmup
    t, rho = t[main], rho[main]
    if len(t) < 8 or rho.min() > 1 - CONSTANT:
        return MATCH, None
    if len(t) > FORM_POINTS:
        sample = np.linspace(0, len(t) - 1, FORM_POINTS).round().astype(int)
        t, rho = t[sample], rho[sample]
    best, form = MATCH, None
    grid = t[-1] * np.geomspace(1.0, 20.0, 120)
    for _ in range(3):  # each round looks closer around the best end so far
        z = np.clip((t - warmup) / (grid[:, None] - warmup), 0, 1)
        wave = (1 + np.cos(np.pi * z)) / 2
        # rho = f + (1 - f) wave, least squares in f for each end
        a = 1 - wave
        final = ((rho - wave) * a).sum(1) / np.maximum((a * a).sum(1), 1e-12)
        final = np.clip(final, 0.0, 1.0)[:, None]
        misses = np.sqrt(np.mean((final + (1 - final) * wave - rho) ** 2, axis=1))
        i = int(np.argmin(misses))
        if misses[i] < best:
            best = float(misses[i])
            total = float(grid[i])
            form = kinds.cosine(1.0, total, warmup, float(final[i, 0]), axis="tokens")
        grid = np.linspace(grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)], 20)
    best = _dear(best, 2, len(t))
    miss, line = _line_from(warmup, t, rho)
    return (miss, line) if line is not None and miss < best else (best, form)


def _line_from(warmup: float, t: Floats, rho: Floats) -> tuple[float, Schedule | None]:
    """How far a rate is from a straight line to 0, and that line."""
    if len(t) < 8 or np.ptp(rho) < CONSTANT:
        return MATCH, None
    line = np.polyfit(t, rho, 1)
    miss = float(np.sqrt(np.mean((np.polyval(line, t) - rho) ** 2)))
    zero = float(-line[1] / line[0]) if line[0] < 0 else 0.0
    began = float(np.polyval(line, warmup))  # no lower than what was logged
    if miss >= MATCH or zero <= t[-1] * 0.999 or began < 1 - CONSTANT:
        return MATCH, None
    end = max(zero, float(t[-1]))
    return _dear(miss, 2, len(t)), kinds.linear(1.0, end, warmup, 0.0, axis="tokens")


def _dear(miss: Any, free: Any, n: int) -> Any:
    """A miss, larger the more was free to make it small: BIC's price, as a factor of the rms."""
    return miss * n ** (free / (2 * n))


def _laid_over(
    starts: Floats, t: Floats, rho: Floats, total: float | None
) -> tuple[float, Schedule | None]:
    """How far a rate is from a cosine that began at one of `starts`, and that cosine.

    With a planned end, or from a straight line.  Its height is that of the logged peak or free (the
    form's ``peak``), its last rate 0 or free: what is free has its price.
    """
    if len(t) < 8 or np.ptp(rho) < CONSTANT or (total is not None and not total > starts.max()):
        return MATCH, None
    if len(t) > FORM_POINTS:
        sample = np.linspace(0, len(t) - 1, FORM_POINTS).round().astype(int)
        t, rho = t[sample], rho[sample]
    if total is None:
        return _closest(kinds.cosine, starts, t, rho, t[-1] * np.geomspace(1.0, 20.0, 48), 4)
    ends = np.array([total])
    makes = (kinds.cosine, kinds.linear)
    return min((_closest(make, starts, t, rho, ends, 1) for make in makes), key=lambda b: b[0])


def _closest(
    make: Callable[..., Schedule], starts: Floats, t: Floats, rho: Floats, ends: Floats, rounds: int
) -> tuple[float, Schedule | None]:
    """The cosine or line to one of some ends; each round looks closer around the best so far."""
    best: tuple[float, Schedule | None] = (MATCH, None)
    # The end was free unless it was planned, and the start unless it is 0.
    free = np.array([0, 1, 1, 2]) + (rounds > 1) + (starts[:, None] > 0)
    first = starts[:, None, None]
    grids = np.broadcast_to(ends, (len(starts), 1, len(ends)))  # from round 2 on one for each way
    for _ in range(rounds):
        z = np.clip((t - first[..., None]) / (grids - first)[..., None], 0, 1)
        wave = (1 + np.cos(np.pi * z)) / 2 if make is kinds.cosine else 1 - z
        low, fall, misses = _least_squares(wave, rho)
        # It began no lower than what was logged, and its second half looks like other decays.
        misses[(fall <= 0) | (low + fall < 1 - MATCH) | (z[..., 0] > 0.5)] = np.inf
        nearest = misses.argmin(-1)[..., None]
        low, fall, misses = (
            np.take_along_axis(a, nearest, -1)[..., 0] for a in (low, fall, misses)
        )
        grids = np.broadcast_to(grids, (*free.shape, grids.shape[-1]))
        dear = np.where(misses < MATCH, _dear(misses, free, len(t)), np.inf)
        s, k = np.unravel_index(int(dear.argmin()), dear.shape)
        if dear[s, k] < (np.inf if best[1] is None else best[0]):
            peak, end = float(low[s, k] + fall[s, k]), float(grids[s, k, nearest[s, k, 0]])
            last = float(low[s, k]) / peak
            best = float(dear[s, k]), make(peak, end, float(starts[s]), last, axis="tokens")
        sides = (np.clip(nearest + d, 0, grids.shape[-1] - 1) for d in (-1, 1))
        below, above = (np.take_along_axis(grids, side, -1)[..., 0] for side in sides)
        grids = np.linspace(below, above, 20, axis=-1)
    return best


def _least_squares(wave: Floats, rho: Floats) -> tuple[Floats, Floats, Floats]:
    """`low` and `fall` in ``rho = low + fall wave``, and the rms that is left, (n, 4, n_ends).

    First with low + fall = 1 (the height), then without; each first with low = 0, then low >= 0.
    """
    shape = (len(wave), 4, wave.shape[2])
    # Means of the products are all that is needed, and far smaller than the waves.
    mean, square, product = (
        np.broadcast_to(m, shape)
        for m in (wave.mean(-1), (wave * wave).mean(-1), wave @ rho / len(rho))
    )
    level, power = rho.mean(), (rho * rho).mean()
    low, fall = np.zeros(shape), np.ones(shape)
    over, under = level - product - mean + square, 1 - 2 * mean + square
    low[:, 1] = np.clip(over[:, 1] / np.maximum(under[:, 1], 1e-12), 0, 1)
    fall[:, 1] = 1 - low[:, 1]
    to_nothing = product / np.maximum(square, 1e-12)
    fall[:, 2] = to_nothing[:, 2]
    slope = (product - mean * level) / np.maximum(square - mean * mean, 1e-12)
    low[:, 3] = np.maximum(level - slope * mean, 0)[:, 3]
    fall[:, 3] = np.where(low > 0, slope, to_nothing)[:, 3]
    left = power + low * low + fall * fall * square
    left += 2 * (low * fall * mean - low * level - fall * product)
    return low, fall, np.sqrt(np.maximum(left, 0))


def ends_here(t: Floats, rho: Floats) -> bool:
    """Whether a logged rate comes to nothing where its log ends, as the rate of a whole run does.

    Its last stretch is a straight line to 0 there; a step down, or a decay that goes on, is none.
    """
    if rho[-1] <= 1e-6:  # some go on at 0
        return True
    last = min(int(np.searchsorted(t, t[-1] - LAST * (t[-1] - t[0]))), len(t) - 3)
    if len(t) < 8 or rho[-1] > LOW:
        return False
    x, y = t[last:], rho[last:]
    line = np.polyfit(x, y, 1)
    off = float(np.sqrt(np.mean((np.polyval(line, x) - y) ** 2)))
    straight = off <= STRAIGHT * float(np.ptp(y))
    return straight and line[0] < 0 and bool(rho[-1] <= -line[0] * BEFORE_END * t[-1])


def form_to(t: Floats, rho: Floats, warmup: float, total: float) -> Schedule | None:
    """The cosine, line or cooldown to a planned end that a logged rate has followed, if it has.

    Its last value is free; a rate that has hardly moved yet may become anything.
    """
    forms = [_form_between(t, rho, start, total) for start in _starts(t, warmup)]
    laid = _laid_over(*_origins(t, rho, warmup), total)
    return _nearest([*forms, laid, *_cooldowns(t, rho, warmup, total)])


def _cooldowns(
    t: Floats, rho: Floats, warmup: float, total: float | None
) -> list[tuple[float, Schedule | None]]:
    """How far a rate that was held, and then fell, is from a straight or 1 - sqrt cooldown.

    Such a fall, or its square, is a straight line: where it began and where it will end, the line
    says.  Without a planned end it is taken to go to 0.
    """
    held = np.flatnonzero((t >= warmup) & (rho >= 1 - HELD))
    if not len(held) or t[held[-1]] - max(t[0], warmup) < HELD_SHARE * t[-1]:
        return []
    last = int(held[-1])
    x, fall = t[last + 1 :], 1 - rho[last + 1 :]
    flat = (rho[:last] >= 1 - HELD) | (t[:last] < warmup)
    if len(x) < 8 or fall[-1] < FELL or not flat.all():
        return []
    out: list[tuple[float, Schedule | None]] = []
    for shape, power in (("linear", 1.0), ("sqrt", 2.0)):
        slope, level = np.polyfit(x, fall**power, 1)
        start = -level / slope if slope > 0 else np.inf
        if not warmup < start < x[0]:
            continue
        end = start + 1 / slope if total is None else total
        final = 0.0 if total is None else 1 - (max(slope * (total - start), 0.0)) ** (1 / power)
        if end < t[-1] * 0.999 or final < -HELD:
            continue
        end, final = max(float(end), float(t[-1])), float(np.clip(final, 0.0, 1.0))
        form = kinds.wsd(
            1.0, end, warmup, decay=1 - float(start) / end, final_ratio=final, shape=shape,
            axis="tokens",
        )  # fmt: skip
        out.append((float(np.sqrt(np.mean((form(x) - 1 + fall) ** 2))), form))
    return [(_dear(miss, 2, len(x)), form) for miss, form in out if miss < MATCH]


def _form_between(
    t: Floats, rho: Floats, warmup: float, total: float
) -> tuple[float, Schedule | None]:
    main = t >= warmup
    t, rho = t[main], rho[main]
    if len(t) < 8 or rho.min() > 1 - CONSTANT or not total > warmup:
        return MATCH, None
    z = np.clip((t - warmup) / (total - warmup), 0, 1)
    best, form = MATCH, None
    for make, wave in ((kinds.cosine, (1 + np.cos(np.pi * z)) / 2), (kinds.linear, 1 - z)):
        a = 1 - wave  # rho = f + (1 - f) wave
        final = float(np.clip(((rho - wave) @ a) / max(float(a @ a), 1e-12), 0, 1))
        miss = float(np.sqrt(np.mean((final + (1 - final) * wave - rho) ** 2)))
        if miss < best:
            best, form = miss, make(1.0, total, warmup, final, axis="tokens")
    return _dear(best, 1, len(t)), form


def restarts_of(
    # t, rho: shape (n,): as `warmed` gives them
    t: Floats,
    rho: Floats,
    warmup: float,  # its end
    total: float,  # where the schedule is to end
) -> Schedule | None:
    """The cosine with warm restarts that a logged rate has followed up to now, if it has."""
    main = t >= warmup
    t, rho = t[main], rho[main]
    starts = np.flatnonzero(np.diff(rho) > LEAP) + 1
    if len(t) < 8 or not len(starts) or not total > warmup:
        return None
    best, form = MATCH, None
    # A cycle starts between two points of the log: where, the others tell.
    first = np.linspace(t[starts[0] - 1], t[min(starts[0] + 1, len(t) - 1)], 65) - warmup
    rises = np.flatnonzero(np.diff(rho) > 0)
    t, rho = np.delete(t, [rises, rises + 1]), np.delete(rho, [rises, rises + 1])
    if len(t) < 8:
        return None
    for growth in GROWTHS:
        for cycle in first[first > 0]:
            number = (total - warmup) / cycle
            if growth > 1:
                number = float(np.log1p(number * (growth - 1)) / np.log(growth))
            unit = kinds.cosine_restarts(1.0, total, number, warmup, growth=growth, axis="tokens")
            wave = unit(t)
            a = 1 - wave  # rho = f + (1 - f) wave
            final = float(np.clip(((rho - wave) @ a) / max(float(a @ a), 1e-12), 0, 1))
            miss = float(np.sqrt(np.mean((final + (1 - final) * wave - rho) ** 2)))
            if miss < best:
                best, form = miss, replace(unit, final_ratio=final)
    return form
