"""Curves of a fitted run under other schedules.

The law is fitted to the run under the learning rate that it had, with other runs of its model or
alone: an equal stack of two responses (`joint`).  Under another schedule LR time and
response are computed again from the first step on; level, slope, exponent and strength of the
response stay.  What no law explains, the discrepancy g, has two parts.  Most of its variance is
common to the runs of a model and carries over to any schedule: what the data showed of it holds for
the other schedule too.  The rest belongs to each run: a run under another schedule has its own,
which grows away from the end of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.blas import one_blas_thread
from .._base.errors import DataError
from .._base.progress import patience
from .._base.ragged import Floats
from .._base.seeds import run_keys
from ..fits.window import WindowSpec
from ..forecasts.joint import Rate
from ..forecasts.rates import Plan, _Book, rates
from ..forecasts.sharing import Members, constants_from, fit_members, ramped, rate_of
from ..runs.logged_rate import axis_factor
from ..schedules.shapes import Schedule

if TYPE_CHECKING:
    from ..forecasts.learning import Priors
    from ..runs.collection import Runs
    from ..runs.run import Run

__all__ = ["FittedRun", "Scenario", "fit_models", "own_rate", "peak_of", "rate_under"]


class Scenario(NamedTuple):
    """Where a run is looked at, under which learning rate.

    Attributes
    ----------
    rate : Rate
        Relative to the peak of the run's own schedule.
    steps : ndarray, shape (n_at,)
        Optimiser steps.
    own : bool
        Whether this is the rate that the run had.
    """

    rate: Rate
    steps: Floats
    own: bool = False


def peak_of(run: Run) -> float:
    """The highest learning rate of a run's own schedule."""
    schedule = run.schedule
    if schedule is not None:
        return _peak(schedule)
    lr = run.lr
    assert lr is not None
    return float(np.nanmax(lr))


def _peak(schedule: Schedule) -> float:
    return max(schedule.peak, schedule.second) if schedule.kind == "two_stage" else schedule.peak


def rate_under(run: Run, schedule: Schedule, axis: str, step_size: float) -> Rate:
    """A schedule as a rate in steps, relative to the peak of the run's own.

    A schedule with another peak begins with a jump from the run's: the response counts from there.
    """
    book = _Book()
    path = book.schedule(schedule, axis_factor(run, schedule, axis))
    shapes, paths = book.arrays()
    first, last = shapes.offsets[paths.shape[path]], shapes.offsets[paths.shape[path] + 1]
    t = paths.start[path] + shapes.z[first:last] * paths.stretch[path]
    rate = ramped(Rate(np.maximum(t / step_size, 0.0), shapes.rho[first:last]))
    scale = _peak(schedule) / peak_of(run)
    if abs(scale - 1) < 1e-9:
        return rate
    rho = scale * rate.rho
    return Rate(np.append(0.0, rate.step), np.append(1.0, rho)) if rho[0] != 1 else rate


def own_rate(run: Run, single: Runs, axis: str, end: float, step_size: float) -> Rate:
    """The rate that a run had, and would go on with, in steps.

    Raises
    ------
    DataError
        It is not known.
    """
    paths = rates(single, axis, np.array([end]), np.array([[end]]), Plan())
    if len(paths.labels[0]) > 1:
        raise DataError(
            f"run {run.name!r}: the learning rate that it had is not known, so there is nothing "
            f"to compare with: give it with Runs.with_schedule(...) or an lr column"
        )
    past = int(paths.hypotheses.history[0, 0])
    coming = int(paths.hypotheses.future[0, 0, 0])
    rate = rate_of(paths, past, step_size)
    if coming == past:
        return rate
    # A logged rate, and the cosine or line that it follows from there on.
    form = rate_of(paths, coming, step_size)
    last = end / step_size
    done, ahead = rate.step <= last, form.step > last
    return Rate(
        np.concatenate([rate.step[done], form.step[ahead]]),
        np.concatenate([rate.rho[done], form.rho[ahead]]),
    )


class FittedRun:
    """A run, fitted with the other runs of its model or alone.

    Parameters
    ----------
    runs : Runs
        All runs of the model: it alone, or more.
    name : str
        The run that is asked about.
    model : str
        Name of the model, of which the draws depend.
    members : Members
        The fit.
    axis : str
    draws, seed : int
    level : callable, optional
        Draws of the run's own curve at places on the axis, shape (n_at, n_draws), by the law of
        `lossfit.extrapolate`: schedules then differ by the joint fit, from that level.
    """

    def __init__(
        self,
        runs: Runs,
        name: str,
        model: str,
        members: Members,
        axis: str,
        *,
        draws: int,
        seed: int,
        level: Callable[[Floats], Floats] | None = None,
    ) -> None:
        self.members = members
        self.run = runs[name]
        self.axis = axis
        i = runs.names.index(name)
        self.curve = i
        self.step_size, self.assumed = float(members.steps[i]), bool(members.assumed[i])
        self.start, self.end = float(members.start[i]), float(members.end[i])
        self.last = self.end / self.step_size
        self.rate = own_rate(self.run, runs.select([name]), axis, self.end, self.step_size)
        self.n_draws = draws
        self.level = level
        self.planned = _planned_end(self.run, axis)
        self.key = int(run_keys(seed, [model], "joint")[0])
        joint = members.joint
        self.draws_of_law = joint.laws(self.key, draws)
        b = self.draws_of_law.beta[:, 2]
        self.strength = np.array([b.mean(), b.std()])
        self.sigma, self.slope = joint.sigma, joint.data.slope

    def curves(self, scenarios: Sequence[Scenario]) -> list[Floats]:
        """Draws of the curves without noise, each of shape (n_at, n_draws)."""
        asked = [(one.rate, one.steps, self.curve if one.own else None) for one in scenarios]
        joint = self.members.joint
        if self.level is None:
            return joint.forecast_all(asked, self.key, self.n_draws)
        # Beyond the end of its own schedule a run has no level of its own.
        steps = np.unique(np.concatenate([one.steps for one in scenarios]))
        steps = steps[steps * self.step_size <= self.planned * (1 + 1e-9)]
        if not len(steps):
            return joint.forecast_all(asked, self.key, self.n_draws)
        *curves, own = joint.forecast_all(
            [*asked, (self.rate, steps, self.curve)], self.key, self.n_draws
        )
        level = self.level(steps * self.step_size)
        for one, drawn in zip(scenarios, curves, strict=True):
            here = np.isin(one.steps, steps)
            which = np.searchsorted(steps, one.steps[here])
            drawn[here] = level[which] if one.own else drawn[here] + (level - own)[which]
        return curves

    @property
    def seen(self) -> tuple[float, float]:
        """Lowest and highest relative rate within the windows of all the runs."""
        members = self.members
        return _seen(
            [
                (
                    rate_of(members.rates, int(members.rates.hypotheses.history[i, 0]), size),
                    members.start[i] / size,
                    members.end[i] / size,
                )
                for i, size in enumerate(members.steps)
            ]
        )


@patience("fitting the law of the learning rate")
@one_blas_thread()
def _planned_end(run: Run, axis: str) -> float:
    """Where a run's own schedule ends on the axis; its data, where it has no end."""
    schedule = run.schedule
    if schedule is not None and schedule.total is not None:
        return schedule.total * axis_factor(run, schedule, axis)
    return run.end(axis)


def fit_models(
    runs: Runs,
    models: Mapping[str, str],
    names: Sequence[str],
    axis: str,
    window: WindowSpec,
    learned: Mapping[str, Priors | None],
    *,
    draws: int,
    seed: int,
    level: Callable[[str, Floats], Floats],
) -> dict[str, FittedRun]:
    """Fit the runs of every model together; the asked runs by name.

    Parameters
    ----------
    runs : Runs
    models : dict by run
        Which model each run is of.
    names : sequence of str
        The runs that are asked about.
    axis, window
        As of `lossfit.extrapolate`.
    learned : dict by run
        What finished runs say about B, for the models of the asked runs.
    draws, seed : int
    level : callable
        From a run's name and places on the axis to draws of its own curve there, for runs that are
        fitted alone.
    """
    out = {}
    for model in dict.fromkeys(models[name] for name in names):
        runs_of_model = runs.select([name for name in runs.names if models[name] == model])
        asked = [name for name in runs_of_model.names if name in names]
        ends = np.array([[run.end(axis)] for run in runs_of_model])
        constants = constants_from(learned[asked[0]])
        members = fit_members(runs_of_model, axis, window, ends, Plan(), constants)
        for name in asked:
            out[name] = FittedRun(
                runs_of_model,
                name,
                model,
                members,
                axis,
                draws=draws,
                seed=seed,
                level=partial(level, name) if len(runs_of_model) == 1 else None,
            )
    return {name: out[name] for name in names}


def _seen(each: Sequence[tuple[Rate, float, float]]) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for rate, first, last in each:
        at = np.linspace(first, last, 400)
        rho = np.interp(at, rate.step, rate.rho)
        low, high = min(low, float(rho.min())), max(high, float(rho.max()))
    return low, high
