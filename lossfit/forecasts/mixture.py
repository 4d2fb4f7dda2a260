"""Curves of several laws, mixed with equal weights, for many runs.

Runs are fitted in blocks and the parameters' draws dropped again: what is kept are the curves at
the targets.  A run's draws depend on the seed and its name only, so asking again (for a plot, or
for another target) gives draws of the same posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import laws as registry
from .._base.errors import DataError
from .._base.ragged import Bools, Floats
from .._base.summaries import describe
from ..engine.devices import Place, place
from ..fits.fitting import fit_quietly, work_of
from ..laws import Law, ScheduleLaw
from ..runs.known import for_runs
from .forecasting import Forecasted, forecast, priors_by_run
from .learning import Priors
from .rates import Plan
from .sharing import forecast_shared

if TYPE_CHECKING:
    from ..fits.window import WindowSpec
    from ..kernels.forecast_driver import ResponsePrior
    from ..laws.priors import Prior
    from ..runs.collection import Runs

__all__ = ["AUTO_LAWS", "COMPARED_LAWS", "Mixed", "Recipe", "mixed_laws", "refuse_unused"]

AUTO_LAWS = ("annealing",)
COMPARED_LAWS = ("power", "power_linear")  # beside the default answer, for comparison
BLOCK = 2000  # runs whose parameters are held at a time


class Mixed(NamedTuple):
    """Curves at the targets of R runs, T targets each, for D draws and L laws.

    Attributes
    ----------
    curves : ndarray, shape (R, T, D)
        Draw i comes from law i modulo L: any leading part is balanced too.
    sigma : ndarray, shape (R, D)
        Noise of the same draws.
    by_law : ndarray, shape (L, 5, R, T)
        Mean, sd, lower, median and upper of each law, from D draws each.
    below_floor : ndarray of bool, shape (L, R, T)
        Where a law's median curve lies below the median of its own E.
    flags : list (by law) of lists (by run) of tuples of str
        Flags of the fits.
    row_flags : dict of str to ndarray of bool, shape (R, T)
        Flags of the rows.
    forecasts : list of Forecasted
        What laws with a schedule say of themselves (without their draws).
    """

    curves: Floats
    sigma: Floats
    by_law: Floats
    below_floor: Bools
    flags: list[list[tuple[str, ...]]]
    row_flags: dict[str, Bools]
    forecasts: list[Forecasted]


@dataclass(frozen=True)
class Recipe:
    """How the curves of an answer are made; the same recipe gives the same draws.

    Attributes
    ----------
    laws : tuple of Law or ScheduleLaw
        With their priors.
    axis : str
    window : WindowSpec
    draws : int
        Draws of the mixture.
    seed : int
    prob : float
        Probability of the intervals by law.
    device, dtype : str
        As they were asked for.
    plan : Plan
        Schedules and planned ends.
    priors : Priors, dict by run, or None
        Learned from finished runs.
    compared : tuple of Law
        Shown beside the answer, with weight 0.
    models : dict by run, or None
        Which model each run is of, where runs of a model are fitted together.
    company : Runs or None
        All runs of the question, for these joint fits.
    widen : float
        Factor on the distance of draws from their median (conformal calibration).
    """

    laws: tuple[Law | ScheduleLaw, ...]
    axis: str
    window: WindowSpec
    draws: int
    seed: int
    prob: float
    device: str
    plan: Plan = field(default_factory=Plan)
    priors: Priors | Mapping[str, Priors] | None = None
    compared: tuple[Law, ...] = ()
    models: Mapping[str, str] | None = None
    company: Runs | None = None
    widen: float = 1.0
    dtype: str = "auto"

    @property
    def weights(self) -> Floats:
        """Weight of each law."""
        return np.full(len(self.laws), 1 / len(self.laws))

    def place(self, law: Law | ScheduleLaw) -> Place:
        """Where a law's part is computed.

        Raises
        ------
        DeviceError
            The device cannot be used, or not for this law.
        """
        if self.models is not None:
            work = "a joint fit"
        elif isinstance(law, ScheduleLaw):
            work = f"a forecast by {law.name}"
        else:
            work = work_of(law, "quadrature" if len(law.nonlinear) <= 2 else "ensemble", "gaussian")
        return place(work, self.device, self.dtype)

    def check_places(self) -> None:
        """Raise what `place` raises, before anything is computed."""
        for law in self.laws:
            self.place(law)
        if self.comparison is not None:
            self.comparison.check_places()

    @property
    def comparison(self) -> Recipe | None:
        """The same question to the compared laws."""
        if not self.compared:
            return None
        return replace(self, laws=self.compared, compared=(), models=None, company=None, widen=1.0)

    def curves(
        self, runs: Runs, at: Floats, progress: Callable[[int], None] | None = None
    ) -> Mixed:
        """Fit the runs and evaluate the mixture.

        Parameters
        ----------
        runs : Runs
        at : ndarray, shape (R, T)
            Targets in units of the axis; NaN gives NaN.
        progress : callable, optional
            Called with a number of runs times laws that were finished.
        """
        n_runs, n_at = at.shape
        n_laws = len(self.laws)
        alone = n_laws == 1 and isinstance(self.laws[0], ScheduleLaw)
        curves = np.empty((n_runs, 0 if alone else n_at, self.draws))
        sigma = np.empty((n_runs, self.draws))
        by_law = np.empty((n_laws, 5, n_runs, n_at))
        floor = np.zeros((n_laws, n_runs, n_at), bool)
        flags: list[list[tuple[str, ...]]] = [[] for _ in self.laws]
        row_flags: dict[str, Bools] = {}
        forecasts: list[Forecasted] = []
        for k, law in enumerate(self.laws):
            mixed = slice(k, None, n_laws)
            if isinstance(law, ScheduleLaw):  # it keeps no parameters: no need of blocks
                found = self._forecast(runs, law, at, progress)
                by_law[k] = describe(found.curves, self.prob)
                if alone:
                    curves = found.curves
                else:
                    curves[:, :, mixed] = found.curves[:, :, mixed]
                sigma[:, mixed] = found.sigma[:, None]
                flags[k] = [()] * n_runs
                for name, where in found.flags.items():
                    row_flags[name] = row_flags.get(name, False) | where
                forecasts.append(replace(found, curves=found.curves[:, :, :0]))
                continue
            for first in range(0, n_runs, BLOCK):
                some = slice(first, min(first + BLOCK, n_runs))
                block = runs if n_runs <= BLOCK else runs.select(runs.names[some])
                fit = fit_quietly(
                    block, law, self.axis, self._window(block), self.draws, self.device,
                    self.seed, chains=1, dtype=self.dtype,
                )  # fmt: skip
                mine = fit.curves(at[some])
                assert fit.draws is not None
                if "E" in law.parameters:
                    asymptote = fit.draws[:, law.parameters.index("E")]
                    floor[k, some] = (
                        np.median(mine, axis=-1) < np.median(asymptote, axis=-1)[:, None]
                    )
                flags[k] += fit.flags
                by_law[k][:, some] = describe(mine, self.prob)
                curves[some, :, mixed] = mine[:, :, mixed]
                sigma[some, mixed] = fit.draws[:, -1, mixed]
                if progress is not None:
                    progress(len(block))
        if self.widen != 1.0:
            middle = np.median(curves, axis=-1, keepdims=True)
            curves = middle + self.widen * (curves - middle)
        return Mixed(curves, sigma, by_law, floor, flags, row_flags, forecasts)

    def _forecast(
        self, runs: Runs, law: ScheduleLaw, at: Floats, progress: Callable[[int], None] | None
    ) -> Forecasted:
        if self.models is not None:
            assert self.company is not None
            found = forecast_shared(
                self.company, self.models, runs.names, self.axis, self.window, at, self.plan,
                draws=self.draws, seed=self.seed,
            )  # fmt: skip
            if progress is not None:
                progress(len(runs))
            return found
        return forecast(
            runs,
            law,
            self.axis,
            self._window(runs),
            at,
            Plan(*(for_runs(given, runs) for given in self.plan)),
            lambda level: self._strength(law, runs.names, level),
            draws=self.draws,
            seed=self.seed,
            where=self.place(law),
            progress=progress,
        )

    def _strength(self, law: ScheduleLaw, names: tuple[str, ...], level: Floats) -> ResponsePrior:
        """The prior of the response for some runs."""
        each = []
        for name in names:
            learned = self.priors
            if isinstance(learned, Mapping):
                learned = learned.get(name)
            if learned is not None and learned.used:
                weights = learned.unit_weights
                if len(weights) != len(law.units):  # another law's
                    weights = law.unit_weights
                each.append((learned.strength, weights))
            else:
                each.append((law.strength, law.unit_weights))
        return priors_by_run(each, level)

    def _window(self, runs: Runs) -> WindowSpec:
        """The window for a block of runs: a dict may name runs of other blocks."""
        found: WindowSpec = for_runs(self.window, runs)
        return found


def refuse_unused(laws: Sequence[Law | ScheduleLaw], given: Mapping[str, Any]) -> None:
    """What is given for laws that respond to the learning rate must reach one.

    Raises
    ------
    DataError
        A keyword in `given` that is not None, where no law responds.
    """
    if any(isinstance(law, ScheduleLaw) for law in laws):
        return
    for word, value in given.items():
        if value is not None:
            raise DataError(
                f"{word}= was given, but {', '.join(law.name for law in laws)} do not respond to "
                f"the learning rate: leave it out, or use laws='auto'"
            )


def mixed_laws(
    laws: str | Law | ScheduleLaw | Sequence[str | Law | ScheduleLaw],
    priors: Mapping[str, Prior] | None,
) -> tuple[tuple[Law | ScheduleLaw, ...], tuple[Law, ...]]:
    """The laws of a mixture and those compared with it.

    Priors are replaced in each law that has a parameter of that name.

    Raises
    ------
    DataError
        No law, a law twice, or a prior for a parameter that none of them has.
    """
    compared: list[Law] = []
    if isinstance(laws, str) and laws == "auto":
        chosen = [registry.find(name) for name in AUTO_LAWS]
        compared = [registry.get(name) for name in COMPARED_LAWS]
    elif isinstance(laws, (str, Law, ScheduleLaw)):
        chosen = [registry.find(laws)]
    else:
        chosen = [registry.find(law) for law in laws]
    if not chosen:
        raise DataError("laws is empty; give 'auto', a name or a list of names")
    names = [law.name for law in chosen]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"the law {name!r} is listed twice")
    priors = dict(priors or {})
    plain = [law for law in (*chosen, *compared) if isinstance(law, Law)]
    known = {p for law in plain for p in (*law.parameters, "sigma")}
    for name in priors:
        if name not in known:
            raise DataError(
                f"priors name {name!r}, which is no parameter of "
                f"{', '.join(law.name for law in plain) or 'a law that takes them'}; they have "
                f"{', '.join(sorted(known)) or 'none'}"
            )

    def replaced(law: Law) -> Law:
        return law.with_priors({n: p for n, p in priors.items() if n in (*law.parameters, "sigma")})

    return (
        tuple(replaced(law) if isinstance(law, Law) else law for law in chosen),
        tuple(replaced(law) for law in compared),
    )
