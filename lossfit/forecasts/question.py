"""What is asked of runs, and how it is to be answered: built once, from a function's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict, TypeVar, Unpack

import numpy as np

from .. import laws as registry
from .._base.documented import documented, entries_of, sections_of
from .._base.errors import DataError
from .._base.options import check_names, described
from .._base.ragged import Bools, Floats
from .._base.seeds import Seed, seed_integer
from .._base.summaries import check_prob
from .._base.units import amount_of
from ..engine.devices import Place, Work, cpu_seconds, place
from ..fits.block import work_of
from ..fits.window import rule_of
from ..laws import GridLaw, Law, ScheduleLaw
from ..runs.broken import left_out
from ..runs.checks import as_runs, whole
from ..runs.known import NumberByRun, ScheduleByRun, Schedules, for_runs, numbers, schedules_by_run
from ..runs.limits import AXIS_LIMIT
from ..runs.schedule_words import schedules_of
from .domain import DOMAINS
from .learning import Priors, learn_priors
from .moves import Moves, Widths
from .rates import Plan, chosen
from .sharing import Share, models_of

if TYPE_CHECKING:
    import pandas as pd

    from ..fits.window import WindowSpec
    from ..laws.priors import Prior
    from ..runs.collection import Runs

AUTO_LAWS = ("learned",)
COMPARED_LAWS = ("power", "power_linear")  # beside the default answer, for comparison

F = TypeVar("F", bound=Callable[..., Any])
LawSpec: TypeAlias = str | Law | ScheduleLaw | Sequence[str | Law | ScheduleLaw]


class Sisters(Protocol):
    """A ladder of finished runs of other sizes; see `lossfit.ladders.Ladder`."""

    def joined(
        self, question: Question, runs: Runs, at: Floats, curves: Floats
    ) -> tuple[Floats, dict[str, Bools]]:
        """Curves (R, T, D) of begun runs with what the ladder says of them, and row flags."""
        ...


class LawOptions(TypedDict, total=False):
    """What questions to the default law take; see `Options`."""

    siblings: Runs | pd.DataFrame | None
    priors: Priors | Mapping[str, Prior] | None
    calibrate_on: Runs | pd.DataFrame | None
    share: Share
    domain: str
    prob: float
    window: WindowSpec
    draws: int
    device: str
    dtype: str
    random_seed: Seed


class Options(LawOptions, total=False):
    """The options that functions with a forecast share, in the words of their documentation.

    Attributes
    ----------
    laws : "auto", str, Law, ScheduleLaw or sequence of these
        ``"auto"`` is ``"learned"``, the law that responds to the learning rate and whose
        intervals were checked on runs that it had not seen (docs/calibration.md); power and
        power_linear are shown beside it in `Answer.by_law`.  Several laws are mixed with equal
        weights.
    schedule : Schedule, str, or dict of these by run, optional
        The learning-rate schedule that leads to the targets; or a word for it: cosine, linear, wsd,
        1-sqrt, constant, or cosine:4 for four cycles, with its end (``"cosine@20k"``, or `total`);
        or a CSV of steps and rates.  By default the run's own
        (``Runs.with_schedule``, or its logged ``lr``), stretched to a target beyond its end: the
        loss *had it been planned to end there*.
    total : float or dict by run, optional
        Planned end of the run on the axis, where its schedule is not known: the answer then
        averages over five schedules that end there (`lossfit.forecasts.rates.MENU`).  By default
        the end that the log states (``run.meta["planned_steps"]``), if it does.
    siblings : Runs or pandas.DataFrame, optional
        Finished runs of the same project, from which the prior of the response to the learning rate
        is learned (`lossfit.learn_priors`); a run never learns from itself.
    priors : Priors or dict of Prior, optional
        What `lossfit.learn_priors` found; or, in `extrapolate`, `race` and `report` for the laws
        that take them, priors by parameter name.
    calibrate_on : Runs or pandas.DataFrame, optional
        Finished runs on which the same question is backtested; intervals are widened or narrowed
        to what held there (`lossfit.backtests.conformal`).
    share : bool, str or dict by run, optional
        Runs of one model under different schedules are fitted together: True where all runs are of
        one model; the name of an entry of ``meta``, or a dict, that says which model each run is
        of.  Every schedule must be known, and ``laws`` be "auto": the fit is an equal stack of the
        annealing and the multi-power response (`lossfit.forecasts.joint`).
    ladder : Ladder, optional
        Finished runs of other sizes (`lossfit.fit_ladder`), for a large run that has begun: its own
        forecast is pooled with what the ladder says of it, by precision.  The ladder counts for
        less the more of the run there is.
    domain : {"auto", "text", "other"}
        Whether the runs are of language models on text, where the default law knows more; by
        default their names and curves tell.
    prob : float
        Probability of the intervals.
    window : WindowSpec
        Part of the runs that is fitted (`lossfit.fits.window`).
    draws : int
        Draws of the curve for each run.
    device : str
        Where to compute, as in `lossfit.fit`.
    dtype : str
        In which precision, as in `lossfit.fit`.
    random_seed : int, numpy.random.Generator or None
        A run's draws depend on it and on the run's (or model's) name only.
    """

    laws: LawSpec
    schedule: ScheduleByRun
    total: NumberByRun
    ladder: Sisters | None


#: Of `Options`, in the order in which they are shown.
DEFAULTS: Options = {
    "laws": "auto",
    "schedule": None,
    "total": None,
    "siblings": None,
    "priors": None,
    "calibrate_on": None,
    "share": None,
    "ladder": None,
    "domain": "auto",
    "prob": 0.9,
    "window": "auto",
    "draws": 1000,
    "device": "auto",
    "dtype": "auto",
    "random_seed": 0,
}


#: For functions that take some of the options under their own names.
option_words = documented(entries_of(sections_of(Options.__doc__).get("Attributes", "")))


def takes(options: type) -> Callable[[F], F]:
    """Show the options of a function as its parameters; see `lossfit._base.options.described`."""
    return described(options, Options.__doc__, DEFAULTS)


@dataclass(frozen=True, eq=False)
class Question:
    """How the curves of an answer are made; the same question gives the same draws.

    Attributes
    ----------
    axis : str
    laws : tuple of Law or ScheduleLaw
        With their priors.
    compared : tuple of Law
        For comparison with the answer, when that is asked for.
    plan : Plan
        Schedules and planned ends.
    window : WindowSpec
    priors : Priors, dict by run, or None
        Learned from finished runs; a run of these is left out of what is used for it.
    calibrate_on : Runs or None
        Finished runs on which intervals are calibrated (`lossfit.backtests.conformal`).
    models : dict by run, or None
        Which model each run is of, where runs of a model are fitted together.
    company : Runs or None
        All runs of the question, for these joint fits.
    ladder : Ladder or None
        Finished runs of other sizes, with which the runs' own curves are pooled.
    widths : dict by run, or None
        Calibrated factors on the distances of draws from their median
        (`lossfit.backtests.conformal`).
    domain : {"auto", "text", "other"}
        What the default law is told of the runs.
    moves : dict by run, or None
        What siblings say to the default law (`lossfit.backtests.references`).
    prob : float
        Probability of the intervals.
    draws : int
        Draws of the mixture.
    seed : int
    device, dtype : str
        As they were asked for.
    n_runs : int, optional
        How many runs the question is about: whether a GPU pays.
    """

    axis: str
    laws: tuple[Law | ScheduleLaw, ...]
    compared: tuple[Law, ...] = ()
    plan: Plan = field(default_factory=Plan)
    window: WindowSpec = "auto"
    priors: Priors | Mapping[str, Priors] | None = None
    calibrate_on: Runs | None = None
    models: Mapping[str, str] | None = None
    company: Runs | None = None
    ladder: Sisters | None = None
    widths: Mapping[str, Widths] | None = None
    domain: str = "auto"
    moves: Mapping[str, Moves] | None = None
    prob: float = 0.9
    draws: int = 1000
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    n_runs: int | None = None

    @classmethod
    def of(
        cls,
        runs: Runs,  # all runs of the question
        axis: str,  # an axis that those have which are asked about
        asked: Sequence[str] | None = None,  # those, if not all are
        **options: Unpack[Options],  # see `Options`
    ) -> Question:
        """Check the options of a function.

        Raises `DataError`: options that make no sense or do not fit together.
        And `DeviceError`: a device that cannot be used for these laws.
        """
        check_names(options, DEFAULTS, "Question.of")
        given: Options = {**DEFAULTS, **options}
        domain, window, ladder = given["domain"], given["window"], given["ladder"]
        schedule, total = given["schedule"], given["total"]
        calibrate_on = given["calibrate_on"]
        if domain not in DOMAINS:
            raise DataError(f"domain must be {', '.join(map(repr, DOMAINS))}, got {domain!r}")
        rule_of(window, runs)  # a window for a run that is not there must not pass unseen
        numbers(total, runs.names, "total", AXIS_LIMIT)
        schedule = spelt_out(schedule, runs, asked, total, axis)
        total = _in_numbers(total)
        schedules_by_run(schedule, runs.names)
        plan = Plan(schedule, _with_stated_ends(runs, axis, schedule, total))
        learned, by_parameter = _priors(given["siblings"], given["priors"])
        chosen, compared = laws_of(given["laws"], by_parameter)
        refuse_unused(chosen, {"schedule": schedule, "total": total, "siblings": learned})
        models = models_of(runs, given["share"])
        if models is not None:  # a run that broke tells nothing of the others of its model
            models |= {name: f"{name} (broken)" for name in left_out(runs, axis)}
        if models is not None and [law.name for law in chosen] != list(AUTO_LAWS):
            raise DataError("share= fits the default law: leave laws= out")
        default = any(law.name in AUTO_LAWS for law in chosen)
        if domain != "auto" and (models is not None or not default):
            raise DataError("domain= is for the default law: leave it out with share= and laws=")
        if models is not None and calibrate_on is not None:
            raise DataError("share= takes no calibrate_on= yet: leave one of them out")
        if ladder is not None and not hasattr(ladder, "joined"):
            raise DataError(
                f"ladder= takes what lossfit.fit_ladder gives, got {type(ladder).__name__}"
            )
        if ladder is not None and calibrate_on is not None:
            raise DataError("ladder= takes no calibrate_on= yet: leave one of them out")
        question = cls(
            axis=axis,
            laws=chosen,
            compared=compared,
            plan=plan,
            window=window,
            priors=learned,
            calibrate_on=None if calibrate_on is None else as_runs(calibrate_on),
            models=models,
            company=None if models is None else runs,
            ladder=ladder,
            domain=domain,
            prob=check_prob(given["prob"]),
            draws=whole(given["draws"], "draws", 10),
            seed=seed_integer(given["random_seed"]),
            device=given["device"],
            dtype=given["dtype"],
            n_runs=len(runs),
        )
        question.check_places()
        return question

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Runs of which nothing is learned, because they broke, and what broke in each.

        Of ``siblings``, ``calibrate_on``, and the runs that would be fitted together.
        """
        out = {} if self.company is None else left_out(self.company, self.axis)
        if isinstance(self.priors, Priors):
            out |= self.priors.left_out
        if self.calibrate_on is not None:
            out |= left_out(self.calibrate_on, self.axis)
        return out

    @property
    def weights(self) -> Floats:
        """Weight of each law."""
        return np.full(len(self.laws), 1 / len(self.laws))

    @property
    def by_default(self) -> bool:
        """Whether the default law answers, for each run by itself."""
        return self.models is None and [law.name for law in self.laws] == list(AUTO_LAWS)

    @property
    def responds(self) -> bool:
        """Whether a law responds to the learning rate."""
        return any(isinstance(law, ScheduleLaw) for law in self.laws)

    def place(self, law: Law | ScheduleLaw) -> Place:
        """Where a law's part is computed.

        Raises `DeviceError`: the device cannot be used, or not for this law.
        """
        if self.models is not None:
            work = Work.JOINT
        elif isinstance(law, ScheduleLaw):
            work = Work.FORECAST if isinstance(law, GridLaw) else Work.CURVE_FORECAST
        else:
            work = work_of(law, "quadrature" if len(law.nonlinear) <= 2 else "ensemble", "gaussian")
        seconds = None
        if self.n_runs is not None:
            seconds = cpu_seconds(work, self.n_runs, self.draws)
        return place(work, self.device, self.dtype, seconds)

    def check_places(self) -> None:
        """Raise what `place` raises, before anything is computed."""
        for law in self.laws:
            self.place(law)
        if self.comparison is not None:
            self.comparison.check_places()

    def to(self, *laws: Law | ScheduleLaw) -> Question:
        """The same question to other laws, each run by itself."""
        return replace(
            self,
            laws=laws,
            compared=(),
            models=None,
            company=None,
            widths=None,
            calibrate_on=None,
            ladder=None,
            moves=None,
        )

    @property
    def comparison(self) -> Question | None:
        """The same question to the compared laws."""
        return self.to(*self.compared) if self.compared else None

    def learned(self, name: str) -> Priors | None:
        """What finished runs say of a run: never itself, nor one that it is fitted with."""
        if not isinstance(self.priors, Priors):
            return None if self.priors is None else self.priors.get(name)
        own = {name} if self.models is None else self._members[self.models[name]]
        others = tuple(other for other in self.priors.names if other not in own)
        return self.priors if others == self.priors.names else _only(self.priors, others)

    @cached_property
    def _members(self) -> dict[str, set[str]]:
        """The runs of each model."""
        members: dict[str, set[str]] = {}
        for name, model in (self.models or {}).items():
            members.setdefault(model, set()).add(name)
        return members

    def window_of(self, runs: Runs) -> WindowSpec:
        """The window for some of the runs: a dict may name others."""
        window: WindowSpec = for_runs(self.window, runs)
        return window


def spelt_out(
    schedule: ScheduleByRun, runs: Runs, names: Sequence[str] | None, total: NumberByRun, axis: str
) -> Schedules:
    """`schedules_of`; a word without an end takes ``total=``, or the end that the log states."""
    ends = _with_stated_ends(runs, axis, None, _in_numbers(total))
    return schedules_of(schedule, runs, names, ends, axis)


def _with_stated_ends(
    runs: Runs, axis: str, schedule: ScheduleByRun, total: NumberByRun
) -> NumberByRun:
    """``total=``, and the end that the log states for runs of which nothing else is known.

    An end before the data is left out: the log was continued beyond it.
    """
    if total is not None and not isinstance(total, Mapping):
        return total
    ends = dict(total or {})
    for name, known in runs._columns.meta.items():
        planned, run = known.get("planned_steps"), runs[name]
        if planned is None or name in ends or not (run.has("step") and run.has(axis)):
            continue
        if run.schedule is not None or chosen(schedule, name) is not None:
            continue
        if planned >= run.end("step"):
            ends[run.name] = float(planned) * run.end(axis) / run.end("step")
    return ends or None


def _in_numbers(total: NumberByRun) -> NumberByRun:
    """Planned ends as numbers, where they were written as 4T or 20k."""
    if isinstance(total, Mapping):
        return {name: amount_of(v) if isinstance(v, str) else v for name, v in total.items()}
    return amount_of(total) if isinstance(total, str) else total


@lru_cache(maxsize=1024)
def _only(priors: Priors, names: tuple[str, ...]) -> Priors:
    return priors.only(names)


def _priors(
    siblings: Runs | pd.DataFrame | None, priors: Priors | Mapping[str, Prior] | None
) -> tuple[Priors | None, Mapping[str, Prior] | None]:
    """Priors learned from finished runs, and those of parameters by name."""
    if siblings is not None and isinstance(priors, Priors):
        raise DataError("give siblings= or the priors= learned from them, not both")
    by_parameter = None if isinstance(priors, Priors) else priors
    learned = priors if isinstance(priors, Priors) else None
    return learn_priors(siblings) if siblings is not None else learned, by_parameter


def refuse_unused(laws: Sequence[Law | ScheduleLaw], given: Mapping[str, Any]) -> None:
    """What is given for laws that respond to the learning rate must reach one.

    Raises `DataError`: a keyword in `given` that is not None, where no law responds.
    """
    if any(isinstance(law, ScheduleLaw) for law in laws):
        return
    for word, value in given.items():
        if value is not None:
            raise DataError(
                f"{word}= was given, but {', '.join(law.name for law in laws)} do not respond to "
                f"the learning rate: leave it out, or use laws='auto'"
            )


def laws_of(
    laws: LawSpec, priors: Mapping[str, Prior] | None
) -> tuple[tuple[Law | ScheduleLaw, ...], tuple[Law, ...]]:
    """The laws of a mixture and those compared with it.

    Priors are replaced in each law that has a parameter of that name.

    Raises `DataError`: no law, a law twice, or a prior for a parameter that none of them has.
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
