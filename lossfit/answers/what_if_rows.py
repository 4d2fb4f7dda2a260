"""The rows of a what-if: which schedule, where, and what there is to say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats, Ints
from ..forecasts.rate_groups import STRETCH_MARGIN
from ..runs.checks import axis_values
from ..runs.logged_rate import axis_factor
from ..runs.schedule_words import highest, own_end, peak_of, schedules_of
from ..schedules.shapes import Schedule
from .fitted import LOWER, distance_flags, is_unsure
from .scenarios import FittedRun, Scenario, rate_under

if TYPE_CHECKING:
    from ..runs.collection import Runs
    from ..runs.run import Run

OWN = "own"  # the schedule that the run had


def asked_schedules(given: Any, runs: Runs, names: Sequence[str]) -> dict[str, Any]:
    """Schedules by name, words spelt out by run."""
    if isinstance(given, Schedule):
        given = {str(given.kind): given}
    elif isinstance(given, str):
        given = {given: given}
    elif not isinstance(given, Mapping):
        try:
            given = {str(kind): kind for kind in given}
        except TypeError:
            raise DataError(
                "schedules= is a dict of lossfit.schedules by name, such as "
                "{'linear': lossfit.schedules.linear(...)}"
            ) from None
    if not given:
        raise DataError("schedules= is empty: give at least one, such as {'wsd': schedule}")
    out: dict[str, Any] = {}
    for name, value in given.items():
        if not isinstance(name, str) or name == OWN:
            raise DataError(
                f"a schedule cannot be called {name!r}: {OWN!r} is the one that the run had"
            )
        if isinstance(value, str):
            value = schedules_of(value, runs, names)
        each = value.values() if isinstance(value, Mapping) else [value]
        if isinstance(value, Mapping):
            lacking = [run for run in names if run not in value]
            if lacking:
                raise DataError(f"schedules[{name!r}] has none for run {lacking[0]!r}")
            for run in value:
                _ = runs[run]
        for kind in each:
            if not isinstance(kind, Schedule):
                raise DataError(
                    f"schedules[{name!r}] must be made with lossfit.schedules, e.g. "
                    f"lossfit.schedules.linear(...); got {type(kind).__name__}"
                )
        out[name] = value
    return out


def schedule_of(value: Any, run: str, name: str) -> Schedule:
    """One run's part of what was given under a name."""
    schedule = value[run] if isinstance(value, Mapping) else value
    assert isinstance(schedule, Schedule), name
    return schedule


def scenarios_of(
    engine: FittedRun,
    schedule: Schedule | None,  # None is the run's own
    at: Floats,
) -> list[tuple[Ints, Scenario]]:
    """A run under a schedule: which places, and the scenario of these.

    Beyond its end a schedule is stretched to each place, as the forecast of a run by itself does
    with the run's own: so both are plans to that place.
    """
    every = np.arange(len(at))
    if schedule is None or schedule == engine.run.schedule:
        return [(every, Scenario(engine.rate, at, True))]

    def under(some: Schedule, which: Ints) -> tuple[Ints, Scenario]:
        rate = rate_under(engine.run, some, engine.axis, engine.step_size)
        return which, Scenario(rate, at[which], False)

    beyond = _beyond(engine, schedule, at)
    if not beyond.any():
        return [under(schedule, every)]
    factor = axis_factor(engine.run, schedule, engine.axis)
    out = [under(schedule, every[~beyond])] if not beyond.all() else []
    for place in np.unique(at[beyond]).tolist():
        out.append(under(schedule.stretched(place / factor), np.flatnonzero(at == place)))
    return out


def _beyond(engine: FittedRun, schedule: Schedule, at: Floats) -> Bools:
    """Which places another schedule is stretched to."""
    if schedule.total is None or engine.fitted > 1:
        return np.zeros(len(at), bool)
    factor = axis_factor(engine.run, schedule, engine.axis)
    return np.asarray(at > schedule.total * factor * (1 + STRETCH_MARGIN))


def curves_under(engine: FittedRun, schedule: Schedule | None, at: Floats) -> Floats:
    """Draws of a run's curve under a schedule, shape (n_at, n_draws)."""
    parts = scenarios_of(engine, schedule, at)
    return _in_places(len(at), parts, engine.curves([scenario for _, scenario in parts]))


def _in_places(
    n: int, parts: Sequence[tuple[Ints, Scenario]], curves: Sequence[Floats]
) -> Floats:  # fmt: skip
    out = np.empty((n, curves[0].shape[1]))
    for (which, _), values in zip(parts, curves, strict=True):
        out[which] = values
    return out


def _end_of(run: Run, axis: str, schedule: Schedule | None) -> float:
    """Where a schedule ends on the axis; the run's own, or its data, where it has no end."""
    if schedule is not None and schedule.total is not None:
        return schedule.total * axis_factor(run, schedule, axis)
    return own_end(run, axis)


def all_places(
    run: Run, axis: str, asked: Mapping[str, Any], at: Any
) -> dict[str, Floats]:  # fmt: skip
    """Where each schedule of a run is asked for."""
    chosen: dict[str, Schedule | None] = {OWN: None}
    chosen.update({name: schedule_of(value, run.name, name) for name, value in asked.items()})
    if isinstance(at, Mapping):
        for name in at:
            if name not in chosen:
                raise DataError(f"at= names a schedule {name!r} that is not asked for")
    return {name: _places(run, axis, name, one, at) for name, one in chosen.items()}


def _places(run: Run, axis: str, name: str, schedule: Schedule | None, at: Any) -> Floats:
    if at is None or (isinstance(at, Mapping) and name == OWN and name not in at):
        return np.array([_end_of(run, axis, schedule)])
    if isinstance(at, Mapping):
        if name not in at:
            raise DataError(f"at= has no value for schedule {name!r}")
        return axis_values(at[name])
    return axis_values(at)


def rows_of_run(
    engine: FittedRun,
    asked: Mapping[str, Any],
    places: Mapping[str, Floats],
    extra: tuple[str, ...],
) -> tuple[list[tuple[str, str, float, tuple[str, ...]]], Floats, Floats]:
    """Rows of a run, their curves, and its own schedule's at the same places."""
    run = engine.run
    chosen: dict[str, Schedule | None] = {OWN: None}
    chosen.update({name: schedule_of(value, run.name, name) for name, value in asked.items()})
    parts = {name: scenarios_of(engine, one, places[name]) for name, one in chosen.items()}
    others = [one for some in parts.values() for _, one in some if not one.own]
    every = np.unique(np.concatenate(list(places.values())))
    drawn = engine.drawn([Scenario(engine.rate, every, True), *others])
    under_others = iter(drawn.curves[1:])
    rows, curves, own = [], [], []
    for name, some in parts.items():
        at = places[name]
        which = np.searchsorted(every, at)
        own.append(drawn.curves[0][which])
        if some[0][1].own:
            curves.append(own[-1])
        else:
            curves.append(_in_places(len(at), some, [next(under_others) for _ in some]))
        flags: list[list[str]] = [[] for _ in at]
        for some_places, scenario in some:
            for i in some_places.tolist():
                flags[i] = _flags(engine, chosen[name], scenario, float(at[i]))
        for k, place, said in zip(which, at.tolist(), flags, strict=True):
            if some[0][1].own:
                of_own = (flag for flag, has in drawn.flags[0].items() if has[k])
                said += [flag for flag in of_own if flag not in said]
            rows.append((run.name, name, float(place), (*said, *extra)))
    return rows, np.concatenate(curves), np.concatenate(own)


def _flags(
    engine: FittedRun, schedule: Schedule | None, scenario: Scenario, at: float
) -> list[str]:
    flags = distance_flags(engine, at)
    run = engine.run
    if engine.fitted > 1:
        either = schedule or run.schedule
        ends = either is None or either.total is not None
        if ends and at > _end_of(run, engine.axis, schedule) * (1 + STRETCH_MARGIN):
            flags.append("schedule_held")
    elif schedule is not None and not scenario.own and _beyond(engine, schedule, np.array([at])):
        flags.append("schedule_stretched")
    if not scenario.own:
        if is_unsure(engine):
            flags.append("response_unsure")
        before = np.linspace(0.0, at / engine.step_size, 400)
        lowest = float(np.interp(before, scenario.rate.step, scenario.rate.rho).min())
        if lowest < engine.seen[0] - LOWER:
            flags.append("rate_below_data")
        assert schedule is not None
        if abs(np.log(highest(schedule) / peak_of(run))) > 0.02:
            flags.append("peak_differs")
    if engine.assumed:
        flags.append("steps_unknown")
    return flags
