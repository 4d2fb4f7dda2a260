"""The kinds of learning-rate schedules; `lossfit.schedules.shapes` has their formulas."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .._base.documented import documented, entries_of
from .._base.errors import DataError
from .._base.numbers import is_number
from .shapes import Schedule, axis_of, checked, positive

ALIASES = {"1-sqrt": "sqrt", "one_minus_sqrt": "sqrt"}

schedule_options = documented(
    entries_of(
        """
axis : {"step", "tokens"}
    What lengths are measured in, and the schedule is called with.
"""
    ),
    Returns="Schedule\n    Call it with steps for the learning rate there.",
    Raises="DataError\n    A number out of range.",
)


@schedule_options
def constant(peak: float, warmup: float = 0, *, axis: str = "step") -> Schedule:
    """One learning rate for ever, after the warm-up.

    Parameters
    ----------
    peak : float
        The learning rate.
    warmup : float
        Steps of linear warm-up from 0.

    Examples
    --------
    >>> import lossfit
    >>> float(lossfit.schedules.constant(3e-4)(1_000_000))
    0.0003
    """
    return checked(Schedule("constant", peak, warmup=warmup, axis=axis))


@schedule_options
def cosine(
    peak: float, total: float, warmup: float = 0, final_ratio: float = 0.1, *, axis: str = "step"
) -> Schedule:
    """Half a cosine from the peak to ``final_ratio * peak`` at ``total``.

    Parameters
    ----------
    peak : float
        Highest learning rate.
    total : float
        Step at which the final rate is reached (warm-up included).
    warmup : float
        Steps of linear warm-up.
    final_ratio : float
        Final rate over peak, 0 to 1.

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.cosine(peak=3e-4, total=20_000, warmup=200)
    >>> round(float(schedule(20_000)), 6)  # a tenth of the peak
    3e-05
    """
    return checked(Schedule("cosine", peak, total, warmup, final_ratio, axis=axis))


@schedule_options
def linear(
    peak: float, total: float, warmup: float = 0, final_ratio: float = 0.0, *, axis: str = "step"
) -> Schedule:
    """A straight line from the peak to ``final_ratio * peak`` at ``total``.

    Parameters
    ----------
    peak : float
        Highest learning rate.
    total : float
        Step at which the final rate is reached (warm-up included).
    warmup : float
        Steps of linear warm-up.
    final_ratio : float
        Final rate over peak, 0 to 1.

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.linear(peak=3e-4, total=20_000)
    >>> float(schedule(10_000))
    0.00015
    """
    return checked(Schedule("linear", peak, total, warmup, final_ratio, axis=axis))


@schedule_options
def wsd(
    peak: float,
    total: float,
    warmup: float = 0,
    decay: float = 0.2,
    final_ratio: float = 0.0,
    shape: str = "linear",
    *,
    axis: str = "step",
) -> Schedule:
    """Warm-up, stable, decay: the peak until the last ``decay`` of the run, then down.

    Parameters
    ----------
    peak, total, warmup : float
        As in `cosine`.
    decay : float
        Share of ``total`` that the decay takes, 0 to 1.
    final_ratio : float
        As in `cosine`.
    shape : {"linear", "exponential", "sqrt"}
        Form of the decay; an exponential one needs ``final_ratio > 0``; ``"1-sqrt"`` is ``"sqrt"``.

    Raises
    ------
    DataError
        A number out of range or an unknown shape.

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.wsd(peak=3e-4, total=20_000, decay=0.2)
    >>> float(schedule(16_000)), float(schedule(18_000))
    (0.0003, 0.00015)
    """
    shape = ALIASES.get(shape, shape)
    return checked(Schedule("wsd", peak, total, warmup, final_ratio, decay, shape, axis=axis))


@schedule_options
def one_minus_sqrt(
    peak: float,
    total: float,
    warmup: float = 0,
    decay: float = 0.2,
    final_ratio: float = 0.0,
    *,
    axis: str = "step",
) -> Schedule:
    """The peak until the last ``decay`` of the run, then down by 1 - sqrt; `wsd` of that shape.

    Parameters
    ----------
    peak, total, warmup : float
        As in `cosine`.
    decay : float
        Share of ``total`` that the decay takes, 0 to 1.
    final_ratio : float
        As in `cosine`.

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.one_minus_sqrt(peak=3e-4, total=20_000)
    >>> float(schedule(20_000))
    0.0
    """
    return wsd(peak, total, warmup, decay, final_ratio, "sqrt", axis=axis)


@schedule_options
def cosine_cycle(
    peak: float,
    length: float,
    cycle: float = 1.0,
    warmup: float = 0,
    final_ratio: float = 0.1,
    *,
    axis: str = "step",
) -> Schedule:
    """A cosine whose cycle is ``cycle`` times the length of the run.

    With ``cycle=1`` the cosine ends with the run.  A run that ends at `length` under a longer cycle
    ends with its learning rate still high (Hoffmann et al. 2022, arXiv 2203.15556, figure A1).

    Parameters
    ----------
    peak : float
        As in `cosine`.
    length : float
        Length of the run.
    cycle : float
        Length of the cosine over that of the run.
    warmup, final_ratio : float
        As in `cosine`.

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.cosine_cycle(peak=3e-4, length=10_000, cycle=2)
    >>> schedule.total
    20000.0
    """
    return cosine(
        peak, positive(length, "length") * positive(cycle, "cycle"), warmup, final_ratio, axis=axis
    )


@schedule_options
def cosine_restarts(
    peak: float,
    total: float,
    cycles: float,
    warmup: float = 0,
    final_ratio: float = 0.0,
    growth: float = 1.0,
    *,
    axis: str = "step",
) -> Schedule:
    """Cosines that each start again from the peak: warm restarts (SGDR, arXiv 1608.03983).

    Parameters
    ----------
    peak : float
        Learning rate at the start of each cycle.
    total : float
        Step at which the last cycle ends.
    cycles : float
        How many cycles there are; the last may be cut off.
    warmup : float
        Steps of linear warm-up from 0, before the first cycle.
    final_ratio : float
        Rate at the end of a cycle, as a share of the peak.
    growth : float
        Length of each cycle over that of the one before, 1 or more (PyTorch's ``T_mult``).

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.cosine_restarts(3e-4, total=1000, cycles=4)
    >>> float(schedule(250)), float(schedule(375))
    (0.0003, 0.00015)
    """
    number, growth = positive(cycles, "number of cycles"), positive(growth, "growth")
    lengths = number if growth == 1 else (growth**number - 1) / (growth - 1)
    # What is no number is refused below.
    cycle = (positive(total, "total") - (warmup if is_number(warmup) else 0)) / lengths
    schedule = Schedule(
        "restarts", peak, total, warmup, final_ratio, cycle=cycle, growth=growth, axis=axis
    )
    return checked(schedule)


def stretched(schedule: Schedule, total: float) -> Schedule:
    """The same kind of schedule with another length; see `Schedule.stretched`.

    Parameters
    ----------
    schedule : Schedule
        Any schedule.
    total : float
        The new length, in the units of the schedule's axis.

    Returns
    -------
    Schedule
        A new schedule.

    Examples
    --------
    >>> import lossfit
    >>> short = lossfit.schedules.cosine(peak=3e-4, total=10_000, warmup=200)
    >>> lossfit.schedules.stretched(short, 40_000).total
    40000.0
    """
    if not isinstance(schedule, Schedule):
        raise DataError(f"stretched needs a schedule, got {type(schedule).__name__}")
    return schedule.stretched(total)


@schedule_options
def two_stage(
    first: float, second: float, switch: float, warmup: float = 0, *, axis: str = "step"
) -> Schedule:
    """The first rate until the step ``switch``, the second from there on.

    Parameters
    ----------
    first : float
        Learning rate before `switch`.
    second : float
        Learning rate from there on.
    switch : float
        Step at which the rate changes.
    warmup : float
        Steps of linear warm-up from 0 to `first`.

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.two_stage(3e-4, 1e-4, switch=8000)
    >>> float(schedule(7999)), float(schedule(8000))
    (0.0003, 0.0001)
    """
    schedule = Schedule("two_stage", first, warmup=warmup, second=second, switch=switch, axis=axis)
    return checked(schedule)


@schedule_options
def from_points(step: Iterable[float], lr: Iterable[float], *, axis: str = "step") -> Schedule:
    """Straight lines between given points; the first and the last value are held beyond them.

    Parameters
    ----------
    step, lr : array_like, shape (n,)
        Increasing steps and the learning rates there, n >= 1.

    Raises
    ------
    DataError
        Arrays of different lengths, steps that do not increase, numbers that are not finite or
        negative; the message names the point.

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.from_points([0, 100, 1000], [0, 3e-4, 1e-4])
    >>> float(schedule(50)), float(schedule(5000))
    (0.00015, 0.0001)
    """
    steps, rates = np.asarray(step, dtype=np.float64), np.asarray(lr, dtype=np.float64)
    if steps.ndim != 1 or steps.shape != rates.shape or not len(steps):
        raise DataError(
            f"from_points needs as many steps as rates, at least one; got shapes {steps.shape} "
            f"and {rates.shape}"
        )
    bad = np.flatnonzero(~(np.isfinite(steps) & np.isfinite(rates)) | (rates < 0))
    if not len(bad):
        bad = np.flatnonzero(np.diff(steps, prepend=-np.inf) <= 0)
    if len(bad):
        i = int(bad[0])
        raise DataError(
            f"from_points: point {i} (step {steps[i]:g}, lr {rates[i]:g}) must have a finite step "
            "above the one before and a rate of 0 or more"
        )
    return Schedule(
        "points",
        float(rates.max()),
        total=float(steps[-1]),
        steps=tuple(steps.tolist()),
        rates=tuple(rates.tolist()),
        axis=axis_of(axis),
    )
