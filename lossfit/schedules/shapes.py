"""Learning-rate schedules: functions of the step that cover the future too.

A schedule is called with a step (a number or an array) and gives the learning rate::

    schedule = lossfit.schedules.cosine(peak=3e-4, total=500_000, warmup=2000)
    schedule(250_000)

Every schedule but `from_points` starts with a linear warm-up from 0, ``peak * step / warmup`` for
``step < warmup``.  After ``total`` the last value is held.  With ``t`` the step, ``w`` the warm-up,
``T`` the total and ``d = (1 - decay) * T`` the start of a decay, the main parts are

=============  ===========================================================================
cosine         final + (peak - final) * (1 + cos(pi * (t - w) / (T - w))) / 2
linear         peak + (final - peak) * (t - w) / (T - w)
wsd            peak until d; then with u = (t - d) / (T - d)
               linear: peak + (final - peak) * u; exponential: peak * final_ratio ** u;
               sqrt, or 1-sqrt: peak + (final - peak) * sqrt(u)
two_stage      first until the switch, then second
restarts       a cosine that starts again from the peak after every cycle
=============  ===========================================================================

(formulas of cosine, two-stage and WSD: Luo et al. 2025, arXiv 2503.12811, section 2; the cooldown
by 1 - sqrt(u): Haegele et al. 2024, arXiv 2405.18392).

A *stretched* cosine is one whose length is not the run's: `cosine_cycle` makes it from the run's
length, and `Schedule.stretched` from another schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError
from .._base.numbers import is_number
from .._base.ragged import Floats

SHAPES = ("linear", "exponential", "sqrt")
MOST_NODES = 8192


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule; make one with the functions of `lossfit.schedules`.

    Attributes
    ----------
    kind : {"constant", "cosine", "linear", "wsd", "two_stage", "restarts", "points"}
        The family.
    peak : float
        The highest learning rate (the rate itself for a constant schedule).
    total : float or None
        Where the schedule ends; None where it has no end.
    warmup : float
        Length of the linear warm-up from 0.
    final_ratio : float
        Final rate as a share of the peak.
    decay : float
        Share of ``total`` taken by the decay (``wsd``).
    shape : {"linear", "exponential", "sqrt"}
        Form of that decay.
    second, switch : float
        Second rate and where it starts (``two_stage``; ``peak`` is the first).
    cycle, growth : float
        Length of the first cycle, and of each over the one before (``restarts``).
    steps, rates : tuple of float
        The points of ``from_points``.
    axis : {"step", "tokens"}
        What the schedule is a function of.

    Examples
    --------
    >>> import lossfit
    >>> schedule = lossfit.schedules.cosine(peak=3e-4, total=1000, warmup=100)
    >>> round(float(schedule(100)), 6)
    0.0003
    """

    kind: str
    peak: float
    total: float | None = None
    warmup: float = 0.0
    final_ratio: float = 1.0
    decay: float = 0.0
    shape: str = "linear"
    second: float = math.nan
    switch: float = math.nan
    cycle: float = math.nan
    growth: float = 1.0
    steps: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    axis: str = "step"

    def __eq__(self, other: object) -> bool:
        # By hand, because NaN (a field that the kind does not use) is not equal to itself.
        if self is other:
            return True
        return isinstance(other, Schedule) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        values = self.__getstate__().values()
        return tuple(str(v) if isinstance(v, float) else v for v in values)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _points(self) -> tuple[Floats, Floats]:
        """Steps and rates of points as arrays."""
        return np.asarray(self.steps, np.float64), np.asarray(self.rates, np.float64)

    def __call__(self, step: ArrayLike) -> Floats:
        """Learning rate at the given steps.

        Parameters
        ----------
        step : array_like
            Steps (or tokens, as `axis` says), 0 or more, of any shape.

        Returns
        -------
        ndarray
            Learning rates, of the same shape.
        """
        t = np.asarray(step, dtype=np.float64)
        if self.kind == "points":
            return np.asarray(np.interp(t, *self._points))
        main = np.asarray(self._main(t))
        if self.warmup > 0:
            main = np.where(t < self.warmup, main * np.clip(t / self.warmup, 0.0, 1.0), main)
        return main

    def _main(self, t: Floats) -> Floats:
        """The rate without warm-up; at steps of the warm-up the rate that it leads to."""
        peak, final = self.peak, self.peak * self.final_ratio
        if self.kind == "two_stage":
            return np.where(t < self.switch, peak, self.second)
        if self.kind == "constant" or self.total is None:
            return np.full(t.shape, peak)
        if self.kind == "restarts":
            u = self._in_cycle(np.clip(t, self.warmup, self.total))
            return final + (peak - final) * (1 + np.cos(np.pi * u)) / 2
        start = (1 - self.decay) * self.total if self.kind == "wsd" else self.warmup
        u = np.clip((t - start) / (self.total - start), 0.0, 1.0)
        if self.kind == "cosine":
            return final + (peak - final) * (1 + np.cos(np.pi * u)) / 2
        if self.shape == "exponential":
            return np.asarray(peak * self.final_ratio**u)
        return peak + (final - peak) * (np.sqrt(u) if self.shape == "sqrt" else u)

    def _in_cycle(self, t: Floats) -> Floats:
        """Share of its cycle that is over at each step; 1 at the end of the last one."""
        assert self.total is not None
        after, growth = (t - self.warmup) / self.cycle, self.growth
        if growth == 1:
            number = np.floor(after)
            share = after - number
        else:
            number = np.floor(np.log1p(after * (growth - 1)) / math.log(growth) + 1e-12)
            share = (after - (growth**number - 1) / (growth - 1)) / growth**number
        return np.where((t >= self.total) & (share < 1e-9), 1.0, np.clip(share, 0.0, 1.0))

    def nodes(self, each: int) -> Floats:
        """Steps between which the rate of ``restarts`` is nearly straight.

        Parameters
        ----------
        each : int
            How many in a cycle; of very many cycles fewer, but three.

        Returns
        -------
        ndarray
            Increasing steps, up to the end.
        """
        assert self.total is not None
        lengths: list[float] = []
        at = self.warmup
        while at < self.total * (1 - 1e-9):
            lengths.append(self.cycle * self.growth ** len(lengths))
            at += lengths[-1]
        each = max(min(each, MOST_NODES // len(lengths)), 3)
        starts = self.warmup + np.append(0.0, np.cumsum(lengths)[:-1])
        # Up to just before the next start: a jump takes a place of its own.
        inside = np.linspace(0.0, 1.0, each) * (1 - 1e-9)
        steps = (starts[:, None] + np.array(lengths)[:, None] * inside).ravel()
        return np.append(steps[steps < self.total * (1 - 1e-9)], self.total * (1 - 1e-9))

    def stretched(self, total: float) -> Schedule:
        """The same kind of schedule with another length.

        The peak, the warm-up (in steps), the final ratio and the share of the decay stay.  Points
        are stretched as a whole; cycles keep their lengths, and there are more of them.  A schedule
        without an end (constant, two-stage) stays as it is.

        Parameters
        ----------
        total : float
            The new length, in the units of the schedule's axis.

        Returns
        -------
        Schedule
            A new schedule.

        Raises
        ------
        DataError
            If the new length leaves no room after the warm-up.
        """
        if self.total is None:
            return self
        total = positive(total, "total")
        if self.kind == "points":
            steps = tuple(step * (total / self.total) for step in self.steps)
            return replace(self, steps=steps, total=total)
        return checked(replace(self, total=total))

    def scaled(self, factor: float, axis: str) -> Schedule:
        """The same schedule as a function of ``factor`` x its axis.

        ``schedule.scaled(tokens_per_step, "tokens")`` is the schedule by tokens.

        Parameters
        ----------
        factor : float
            Units of the new axis in one of this schedule's, such as tokens in a step.
        axis : {"step", "tokens"}
            What the new schedule is a function of.

        Returns
        -------
        Schedule
            A new schedule.
        """
        factor = positive(factor, "factor")
        return replace(
            self,
            total=None if self.total is None else self.total * factor,
            warmup=self.warmup * factor,
            switch=self.switch * factor,
            cycle=self.cycle * factor,
            steps=tuple(step * factor for step in self.steps),
            axis=axis_of(axis),
        )

    def __str__(self) -> str:
        words = [self.kind.replace("_", " "), f"peak {self.peak:g}"]
        if self.kind == "two_stage":
            words.append(f"then {self.second:g} from {self.axis} {self.switch:g}")
        if self.total is not None:
            words.append(f"to {self.axis} {self.total:g}")
        if self.kind == "restarts":
            words.append(f"first cycle {self.cycle:g}, each {self.growth:g} times the last")
        if self.kind in ("cosine", "linear", "wsd", "restarts"):
            words.append(f"final ratio {self.final_ratio:g}")
        if self.kind == "wsd":
            words.append(f"{self.shape} decay over the last {self.decay:.0%}")
        if self.warmup:
            words.append(f"warm-up {self.warmup:g}")
        return ", ".join(words)


def positive(value: float, what: str) -> float:
    """A positive number as a float."""
    if not is_number(value) or value <= 0:
        raise DataError(f"a schedule's {what} must be a positive number, got {value!r}")
    return float(value)


def axis_of(axis: str) -> str:
    """What a schedule is a function of."""
    if axis not in ("step", "tokens"):
        raise DataError(f"a schedule's axis is 'step' or 'tokens', got {axis!r}")
    return axis


def checked(s: Schedule) -> Schedule:
    """The schedule with its numbers checked and made floats."""
    axis_of(s.axis)
    values: dict[str, float] = {"peak": positive(s.peak, "peak")}
    for name in ("warmup", "final_ratio", "decay"):
        value = getattr(s, name)
        if not is_number(value) or value < 0:
            raise DataError(f"a schedule's {name} must be 0 or more, got {value!r}")
        values[name] = float(value)
    if s.kind == "two_stage":
        values["second"] = positive(s.second, "second rate")
        values["switch"] = positive(s.switch, "switch")
    for name in ("final_ratio", "decay"):
        if values[name] > 1:
            raise DataError(f"a schedule's {name} is a share, 0 to 1, got {values[name]:g}")
    if s.kind not in ("constant", "two_stage"):
        total = 0.0 if s.total is None else s.total
        values["total"] = positive(total, "total")
        if values["total"] <= values["warmup"]:
            raise DataError(
                f"a schedule's total must exceed its warm-up, got total {total:g} and warm-up "
                f"{values['warmup']:g}"
            )
    if s.kind == "restarts":
        values["cycle"] = positive(s.cycle, "cycle")
        values["growth"] = positive(s.growth, "growth")
        if values["growth"] < 1:
            raise DataError(f"a schedule's growth is 1 or more, got {s.growth:g}")
    if s.kind == "wsd":
        if s.shape not in SHAPES:
            raise DataError(f"no decay is called {s.shape!r}; there are {', '.join(SHAPES)}")
        if s.shape == "exponential" and not values["final_ratio"] > 0:
            raise DataError("an exponential decay never reaches 0: give final_ratio above 0")
        if not values["decay"] > 0:
            raise DataError("a wsd schedule needs decay above 0; without one use constant")
        if (1 - values["decay"]) * values["total"] < values["warmup"]:
            raise DataError("a wsd schedule's decay starts before its warm-up ends: shorten one")
    return replace(s, **values)  # type: ignore[arg-type]
