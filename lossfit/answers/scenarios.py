"""Curves of a run under other schedules than its own.

A run *by itself* has the draws of `lossfit.extrapolate` under its own schedule.  Another schedule
moves each of them by what a draw of the run's response makes of the difference between the two
rates, from the first step on (`lossfit.forecasts.response_draws`).  So the level, what no law
explains, and the widening or narrowing that was learned or calibrated are the own schedule's in
every draw, and a difference between schedules is the response alone.

Runs *together* (``share=``) have one law, fitted to all runs of their model (`joint`).  What no law
explains has two parts there.  Most of its variance is common to the runs of a model and carries
over to any schedule: what the data showed of it holds for the other schedule too.  The rest belongs
to each run: a run under another schedule has its own, which grows away from the end of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._base.blas import one_blas_thread
from .._base.errors import DataError
from .._base.progress import patience
from .._base.ragged import Bools, Floats
from .._base.seeds import run_keys
from ..forecasts.curve_rates import asked_rates
from ..forecasts.forecasting import step_sizes
from ..forecasts.law_draws import LawDraws
from ..forecasts.mixture import curves_of
from ..forecasts.path_book import PathBook
from ..forecasts.rates import Plan, rates
from ..forecasts.response_draws import in_order, response_draws
from ..forecasts.responses import Rate, rate_along
from ..forecasts.sharing import Members, constants_from, fit_members, rate_of
from ..runs.logged_rate import axis_factor
from ..runs.schedule_words import highest, peak_of
from ..schedules.shapes import Schedule

if TYPE_CHECKING:
    from ..forecasts.question import Question
    from ..runs.collection import Runs
    from ..runs.run import Run


class Scenario(NamedTuple):
    """Where a run is looked at, under which learning rate."""

    rate: Rate  # relative to the peak of the run's own schedule
    at: Floats  # shape (n_at,): places on the axis
    own: bool = False  # whether this is the rate that the run had


class Drawn(NamedTuple):
    """Curves of a run under some scenarios."""

    # each of shape (n_at, n_draws): without noise; the same draw is the same law
    curves: list[Floats]
    # each of shape (n_at,): what the forecast of the run's
    # own schedule says of the places
    flags: list[dict[str, Bools]]


@dataclass(frozen=True, eq=False)
class FittedRun:
    """A run that was fitted, by itself (`Alone`) or with the others of its model (`Together`)."""

    run: Run
    axis: str
    step_size: float  # axis units in an optimiser step
    assumed: bool  # whether it counts no steps
    # start, end: of its window, on the axis
    start: float
    end: float
    rate: Rate  # the rate that it had, and will have
    laws: LawDraws  # draws of the law that differences between schedules come from
    strength: tuple[float, float]  # posterior mean and sd of B
    sigma: float  # noise sd of a point
    # lowest and highest relative rate within the windows of all that was fitted
    seen: tuple[float, float]
    fitted: int  # how many runs were fitted together

    @property
    def last(self) -> float:
        """Steps at the end of the data."""
        return self.end / self.step_size

    def drawn(self, scenarios: Sequence[Scenario]) -> Drawn:
        """Curves under some scenarios that belong together, draw by draw."""
        raise NotImplementedError

    def laws_at(self, at: float) -> LawDraws:
        """The laws, at the level that the curves have at a place."""
        raise NotImplementedError

    def curves(self, scenarios: Sequence[Scenario]) -> list[Floats]:
        """Those curves alone."""
        return self.drawn(scenarios).curves


@dataclass(frozen=True, eq=False)
class Alone(FittedRun):
    """A run by itself."""

    single: Runs = field(kw_only=True)  # the run
    question: Question = field(kw_only=True)  # of `lossfit.extrapolate`

    def drawn(self, scenarios: Sequence[Scenario]) -> Drawn:
        """See `FittedRun`."""
        every = np.unique(np.concatenate([scenario.at for scenario in scenarios]))
        mixed = curves_of(self.question, self.single, every[None], parameters=True)
        own, hypothesis = mixed.curves[0], _hypotheses(mixed.forecasts[0].parameters)
        moved = any(not scenario.own for scenario in scenarios)
        by_law = self._own_law(every, hypothesis) if moved else own
        curves, flags = [], []
        for scenario in scenarios:
            which = np.searchsorted(every, scenario.at)
            loss = own[which]
            if not scenario.own:
                under = self.laws.under(scenario.rate, scenario.at / self.step_size)
                loss = self.laws.moved(loss, under - by_law[which])
            curves.append(loss)
            flags.append({name: has[0, which] for name, has in mixed.row_flags.items()})
        return Drawn(curves, flags)

    def laws_at(self, at: float) -> LawDraws:
        """See `FittedRun`."""
        every = np.array([at])
        mixed = curves_of(self.question, self.single, every[None], parameters=True)
        own = mixed.curves[0, 0]
        by_law = self._own_law(every, _hypotheses(mixed.forecasts[0].parameters))[0]
        level = (np.log(own) if self.laws.log else own) - by_law
        beta = self.laws.beta + np.stack(
            [level, np.zeros_like(level), np.zeros_like(level)], axis=1
        )
        return self.laws._replace(beta=beta)

    def _own_law(self, at: Floats, hypothesis: Floats) -> Floats:
        """The law under the paths of the forecast itself, shape (n_at, n_draws)."""
        known = asked_rates(
            self.single, self.axis, np.array([self.end]), at[None], self.question.plan
        )
        out = np.empty((len(at), len(hypothesis)))
        future = known.future.reshape(len(at), -1)
        for h, past in enumerate(known.history):
            draws = hypothesis == h
            paths = np.where(at > self.end, future[:, h], past)
            for path in np.unique(paths):
                here = paths == path
                rate = rate_along(known.shapes, known.paths, int(path), self.step_size)
                under = self.laws.under(rate, at[here] / self.step_size)
                out[np.ix_(here, draws)] = under[:, draws]
        return out


@dataclass(frozen=True, eq=False)
class Together(FittedRun):
    """A run, fitted with the other runs of its model."""

    members: Members = field(kw_only=True)  # the fit
    curve: int = field(kw_only=True)  # which of its curves the run is
    key: int = field(kw_only=True)  # of the random numbers

    def drawn(self, scenarios: Sequence[Scenario]) -> Drawn:
        """See `FittedRun`."""
        asked = [
            (one.rate, one.at / self.step_size, self.curve if one.own else None)
            for one in scenarios
        ]
        n_draws = len(self.laws.beta)
        curves = self.members.joint.forecast_all(asked, self.key, n_draws)
        apart = self.members.apart
        return Drawn(curves, [{"runs_disagree": np.full(len(s.at), apart)} for s in scenarios])

    def laws_at(self, at: float) -> LawDraws:
        """See `FittedRun`."""
        return self.laws


def _hypotheses(parameters: Floats) -> Floats:
    """Which hypothesis on the learning rate each draw of a forecast has."""
    from ..kernels.curve_data import PARAMETERS

    return np.asarray(parameters[0, PARAMETERS.index("hypothesis")])


def rate_under(run: Run, schedule: Schedule, axis: str, step_size: float) -> Rate:
    """A schedule as a rate in steps, relative to the peak of the run's own.

    A schedule with another peak begins with a jump from the run's: the response counts from there.
    """
    book = PathBook()
    path = int(book.schedule(schedule, np.array([axis_factor(run, schedule, axis)]))[0])
    rate = rate_along(*book.arrays(), path, step_size)
    scale = highest(schedule) / peak_of(run)
    if abs(scale - 1) < 1e-9:
        return rate
    rho = scale * rate.rho
    return Rate(np.append(0.0, rate.step), np.append(1.0, rho)) if rho[0] != 1 else rate


def own_rate(run: Run, single: Runs, axis: str, end: float, step_size: float) -> Rate:
    """The rate that a run had, and would go on with, in steps.

    Raises `DataError`: it is not known.
    """
    paths = rates(single, axis, np.array([end]), np.array([[end]]), Plan())
    if len(paths.labels[0]) > 1:
        raise DataError(
            f"run {run.name!r}: the learning rate that it had is not known, so there is nothing "
            f"to compare with: give it with own= (--own), such as own='cosine@20k', or an lr column"
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


@patience("fitting the law of the learning rate")
@one_blas_thread()
def fit_alone(
    question: Question,  # of `lossfit.extrapolate`, calibrated
    runs: Runs,
    names: Sequence[str],  # the runs that are asked about
) -> dict[str, FittedRun]:
    """Fit runs by themselves."""
    from ..kernels.curve_data import PARAMETERS

    axis = question.axis
    out: dict[str, FittedRun] = {}
    for name in names:
        single = runs.select([name])
        run = single[name]
        end = run.end(axis)
        sizes, assumed = step_sizes(single, axis)
        size = float(sizes[0])
        rate = own_rate(run, single, axis, end, size)
        learned = question.learned(name)
        strength = learned.strength if learned is not None and learned.used else None
        window = question.window_of(single)
        made = response_draws(
            single, axis, window, question.plan, rate, size, strength,
            draws=question.draws, seed=question.seed, domain=question.domain,
        )  # fmt: skip
        own = curves_of(question, single, np.array([[end]]), parameters=True).forecasts[0]
        planned = asked_rates(single, axis, np.array([end]), np.array([[end]]), question.plan)
        coming = own.parameters[0, PARAMETERS.index("coming_strength")]
        laws = in_order(made.laws, rate, end / size, float(planned.plan[0]) / size, coming)
        out[name] = Alone(
            run=run,
            axis=axis,
            step_size=size,
            assumed=bool(assumed[0]),
            start=float(own.start[0]),
            end=end,
            rate=rate,
            laws=laws,
            strength=made.strength,
            sigma=float(own.sigma[0]),
            seen=_seen([(rate, made.start / size, end / size)]),
            fitted=1,
            single=single,
            question=question,
        )
    return out


@patience("fitting the runs of each model together")
@one_blas_thread()
def fit_together(
    question: Question,  # with the model of each run
    runs: Runs,
    names: Sequence[str],  # the runs that are asked about
) -> dict[str, FittedRun]:
    """Fit the runs of every model together; the asked runs by name."""
    models: Mapping[str, str] = question.models or {}
    axis = question.axis
    out: dict[str, FittedRun] = {}
    for model in dict.fromkeys(models[name] for name in names):
        runs_of_model = runs.select([name for name in runs.names if models[name] == model])
        asked = [name for name in runs_of_model.names if name in names]
        ends = np.array([[run.end(axis)] for run in runs_of_model])
        constants = constants_from(question.learned(asked[0]))
        members = fit_members(runs_of_model, axis, question.window, ends, Plan(), constants)
        key = int(run_keys(question.seed, [model], "joint")[0])
        laws = members.joint.laws(key, question.draws)
        b = laws.beta[:, 2]
        seen = _seen(
            [
                (
                    rate_of(members.rates, int(members.rates.hypotheses.history[i, 0]), size),
                    members.start[i] / size,
                    members.end[i] / size,
                )
                for i, size in enumerate(members.steps)
            ]
        )
        for name in asked:
            i = runs_of_model.names.index(name)
            size, end = float(members.steps[i]), float(members.end[i])
            run = runs_of_model[name]
            out[name] = Together(
                run=run,
                axis=axis,
                step_size=size,
                assumed=bool(members.assumed[i]),
                start=float(members.start[i]),
                end=end,
                rate=own_rate(run, runs_of_model.select([name]), axis, end, size),
                laws=laws,
                strength=(float(b.mean()), float(b.std())),
                sigma=float(members.joint.sigma),
                seen=seen,
                fitted=len(runs_of_model),
                members=members,
                curve=i,
                key=key,
            )
    return {name: out[name] for name in names}


def _seen(each: Sequence[tuple[Rate, float, float]]) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for rate, first, last in each:
        at = np.linspace(first, last, 400)
        rho = np.interp(at, rate.step, rate.rho)
        low, high = min(low, float(rho.min())), max(high, float(rho.max()))
    return low, high
