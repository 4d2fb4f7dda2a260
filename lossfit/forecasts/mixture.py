"""Curves of several laws, mixed with equal weights, for many runs.

Runs are fitted in blocks and the parameters' draws dropped again: what is kept are the curves at
the targets.  A run's draws depend on the seed and its name only, so asking again (for a plot, or
for another target) gives draws of the same posterior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._base.ragged import Bools, Floats
from .._base.summaries import describe
from ..fits.fitting import fit_quietly
from ..laws import GridLaw, ScheduleLaw
from ..runs.known import for_runs
from .curve_forecast import forecast_curves
from .forecasting import Forecasted, forecast, priors_by_run
from .moves import stretched
from .rates import Plan
from .sharing import forecast_shared

if TYPE_CHECKING:
    from ..kernels.forecast_driver import ResponsePrior
    from ..runs.collection import Runs
    from .question import Question

BLOCK = 2000  # runs whose parameters are held at a time


@dataclass(frozen=True, eq=False)
class Mixed:
    """Curves at the targets of R runs, T targets each, for D draws and L laws."""

    # shape (R, T, D): draw i comes from law i modulo L: any leading part is balanced too
    curves: Floats
    sigma: Floats  # shape (R, D): noise of the same draws
    # shape (L, R, T): where a law's median curve lies below the median of its own E
    below_floor: Bools
    # by law and run: flags of the fits
    flags: list[list[tuple[str, ...]]]
    row_flags: dict[str, Bools]  # shape (R, T): flags of the rows
    forecasts: list[Forecasted]  # what laws with a schedule say of themselves (without their draws)
    # "compiled" or "uncompiled" for each law: which kernels served; () where nothing was asked
    engines: tuple[str, ...] = ()
    prob: float = 0.9  # probability of the intervals
    # shape (L, 5, R, T) or None: `by_law` where the curves are not the draws of one law as they
    # are
    apart: Floats | None = None

    @cached_property
    def by_law(self) -> Floats:
        """Mean, sd, lower, median and upper of each law, from D draws each: (L, 5, R, T).

        Sorting the draws takes longer than all else that Python does, so it waits for a table.
        """
        return describe(self.curves, self.prob)[None] if self.apart is None else self.apart

    @cached_property
    def below_zero(self) -> Bools:
        """Where the median of a law lies below 0, shape (R, T)."""
        if self.apart is None and not (self.curves < 0).any():
            return np.zeros(self.curves.shape[:2], bool)
        return np.asarray((self.by_law[:, 3] < 0).any(axis=0))


def curves_of(
    question: Question,
    runs: Runs,
    at: Floats,  # shape (R, T): targets in units of the axis; NaN gives NaN
    # called with a number of runs times laws that were finished
    progress: Callable[[int], None] | None = None,
    *,
    parameters: bool = False,  # whether to keep the parameters of the default law's draws
) -> Mixed:
    """Fit the runs and evaluate the mixture."""
    n_runs, n_at = at.shape
    n_laws = len(question.laws)
    alone = n_laws == 1 and isinstance(question.laws[0], ScheduleLaw)
    curves = np.empty((n_runs, 0 if alone else n_at, question.draws))
    sigma = np.empty((n_runs, question.draws))
    as_drawn = alone and question.widths is None and question.ladder is None
    by_law = None if as_drawn else np.empty((n_laws, 5, n_runs, n_at))
    floor = np.zeros((n_laws, n_runs, n_at), bool)
    flags: list[list[tuple[str, ...]]] = [[] for _ in question.laws]
    row_flags: dict[str, Bools] = {}
    forecasts: list[Forecasted] = []
    engines: list[str] = []
    for k, law in enumerate(question.laws):
        mixed = slice(k, None, n_laws)
        if isinstance(law, ScheduleLaw):  # it keeps no parameters: no need of blocks
            found = _forecast(question, runs, law, at, progress, parameters)
            if by_law is not None:
                by_law[k] = describe(found.curves, question.prob)
            if alone:
                curves = found.curves
            else:
                curves[:, :, mixed] = found.curves[:, :, mixed]
            sigma[:, mixed] = found.sigma[:, None]
            flags[k] = [()] * n_runs
            for name, where in found.flags.items():
                row_flags[name] = row_flags.get(name, False) | where
            forecasts.append(replace(found, curves=found.curves[:, :, :0]))
            engines.append(found.engine)
            continue
        for first in range(0, n_runs, BLOCK):
            some = slice(first, min(first + BLOCK, n_runs))
            block = runs if n_runs <= BLOCK else runs.select(runs.names[some])
            fit = fit_quietly(
                block,
                law,
                question.axis,
                question.window_of(block),
                question.draws,
                question.device,
                question.seed,
                chains=1,
                dtype=question.dtype,
            )
            mine = fit.curves(at[some])
            assert fit.draws is not None
            if "E" in law.parameters:
                asymptote = fit.draws[:, law.parameters.index("E")]
                floor[k, some] = np.median(mine, axis=-1) < np.median(asymptote, axis=-1)[:, None]
            flags[k] += fit._plain_flags
            assert by_law is not None
            by_law[k][:, some] = describe(mine, question.prob)
            curves[some, :, mixed] = mine[:, :, mixed]
            sigma[some, mixed] = fit.draws[:, -1, mixed]
            if first == 0:
                engines.append(fit.settings.engine)
            if progress is not None:
                progress(len(block))
    if question.widths is not None:
        flat = runs.flat(question.axis)
        log_ratio = np.log(at / flat.x[flat.offsets[1:] - 1][:, None])
        in_logs = np.zeros(n_runs, bool)
        if question.by_default:
            in_logs = forecasts[0].unit == 0
        curves = stretched(curves, question.widths, runs.names, log_ratio, in_logs)
    if question.ladder is not None:
        curves, more = question.ladder.joined(question, runs, at, curves)
        row_flags.update(more)
    return Mixed(
        curves, sigma, floor, flags, row_flags, forecasts, tuple(engines), question.prob, by_law
    )


def _forecast(
    question: Question,
    runs: Runs,
    law: ScheduleLaw,
    at: Floats,
    progress: Callable[[int], None] | None,
    parameters: bool,
) -> Forecasted:
    if question.models is not None:
        assert question.company is not None
        found = forecast_shared(
            question.company,
            question.models,
            runs.names,
            question.axis,
            question.window,
            at,
            question.plan,
            draws=question.draws,
            seed=question.seed,
            learned={name: question.learned(name) for name in runs.names},
        )
        if progress is not None:
            progress(len(runs))
        return found
    plan = Plan(*(for_runs(given, runs) for given in question.plan))
    if not isinstance(law, GridLaw):
        return forecast_curves(
            runs,
            question.axis,
            question.window_of(runs),
            at,
            plan,
            draws=question.draws,
            seed=question.seed,
            domain=question.domain,
            parameters=parameters,
            moves=question.moves,
            where=question.place(law),
            progress=progress,
        )
    return forecast(
        runs,
        law,
        question.axis,
        question.window_of(runs),
        at,
        plan,
        lambda level: _strength(question, law, runs.names, level),
        draws=question.draws,
        seed=question.seed,
        where=question.place(law),
        progress=progress,
    )


def _strength(
    question: Question, law: GridLaw, names: tuple[str, ...], level: Floats
) -> ResponsePrior:
    """The prior of the response for some runs."""
    each = []
    for name in names:
        learned = question.learned(name)
        if learned is not None and learned.used:
            weights = learned.unit_weights
            if len(weights) != len(law.units):  # another law's
                weights = law.unit_weights
            each.append((learned.strength, weights))
        else:
            each.append((law.strength, law.unit_weights))
    return priors_by_run(each, level)
