"""A ladder: curves of unseen sizes, the frontier, a begun run beside its forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError, warn
from .._base.frames import answer_first
from .._base.numbers import estimate, number_of
from .._base.ragged import Bools, Floats
from .._base.results import Result, Scale
from .._base.seeds import Seed, run_keys, seed_integer
from .._base.summaries import MOMENTS, check_prob, describe
from .._base.views import view
from ..runs.checks import axis_values, whole
from ..runs.labels import amount, size_text
from ..runs.run import Run
from ..schedules.shapes import Schedule
from .answer import LadderAnswer, answer_of
from .core import Readings, readings
from .curve import DrawnCurve, LadderCurve
from .notes import target_notes
from .rows import Rung
from .rungs import planned, rung_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..forecasts.question import Question
    from ..runs.collection import Runs
    from ..surfaces.result import Surface

FLOPS_PER_PARAM_TOKEN = 6.0
LEVEL_DRAWS = 0.002  # noise of a run's end, where its log tells none


@dataclass(frozen=True, eq=False, repr=False)
class Ladder(Result):
    """Finished runs of several sizes, and what they say of others; made by `fit_ladder`.

    Attributes
    ----------
    runs : Runs
        The finished runs.
    rungs : list of Rung
        The same with their sizes and clocks, as the law takes them.
    readings : Readings
        Posteriors of the ladder's law.
    axis : {"tokens", "step"}
        The axis of the curves.
    prob : float
        Probability of the intervals.
    random_seed : int
        Seed of the draws.
    notes : dict of str to str
        What a careful reader would want to know: a sentence for each flag.

    Examples
    --------
    >>> import lossfit
    >>> runs = lossfit.load("llama2").select(["llama2-7B", "llama2-13B", "llama2-34B"])
    >>> ladder = lossfit.fit_ladder(runs)
    >>> [rung.name for rung in ladder.rungs]
    ['llama2-7B', 'llama2-13B', 'llama2-34B']
    >>> unseen = ladder.curve(params=7e10, run="70B", end=2e12)  # takes part in a race
    """

    _keys = ("parameter",)
    _view = "ladder"
    _transient = {"_begun": dict}  # noqa: RUF012

    runs: Runs
    rungs: list[Rung]
    readings: Readings
    axis: str
    prob: float
    random_seed: int
    notes: Mapping[str, str]
    _begun: dict[Any, Readings] = field(default_factory=dict)

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the notes."""
        return tuple(self.notes)

    @property
    def largest(self) -> float:
        """The largest size."""
        return max(rung.params for rung in self.rungs)

    def extrapolate(
        self,
        params: float,
        at: ArrayLike,
        schedule: Schedule | None = None,
        run: str | None = None,
        *,
        tokens_per_step: float | None = None,
        prob: float | None = None,
        draws: int = 1000,
        random_seed: Seed = 0,
    ) -> LadderAnswer:
        """The loss of a model of a size that was never trained.

        Parameters
        ----------
        params : float
            Model parameters.
        at : float or sequence of float
            Places of the ladder's axis on the run's one curve.
        schedule : Schedule, optional
            The learning-rate schedule of the run.  By default that of the largest run, stretched to
            end at the last place.
        run : str, optional
            What to call it.
        tokens_per_step : float, optional
            Batch in tokens; the largest run's by default.
        prob : float, optional
            Probability of the intervals; the ladder's own by default.
        draws : int
            Draws of the curve.
        random_seed : int, numpy.random.Generator or None
            As in `lossfit.extrapolate`.

        Returns
        -------
        LadderAnswer
            With frame, draws, quantile, prob_below, time_to and plot, as of any answer.

        Raises
        ------
        DataError
            Numbers that are not positive; a target before all data of the ladder.

        Warns
        -----
        LossfitWarning
            Sizes far beyond the ladder, and the ladder's own flags.
        """
        seed, draws = seed_integer(random_seed), whole(draws, "draws", 10)
        prob = check_prob(self.prob if prob is None else prob)
        where = np.sort(axis_values(at))
        first = min(float(run.axis(self.axis)[0]) for run in self.runs)
        if where[0] < first:
            raise DataError(
                f"the target {amount(float(where[0]), self.axis)} lies before the first point of "
                f"every run of the ladder ({amount(first, self.axis)}): check the unit of at="
            )
        curve = self.curve(params, schedule, run, end=float(where[-1]),
                           tokens_per_step=tokens_per_step)  # fmt: skip
        notes = target_notes(self.rungs, curve.params, curve.rung.clock.at(where)[0],
                             curve.stretched)  # fmt: skip
        drawn = DrawnCurve(curve, draws, seed)
        answer = answer_of(self, curve.name, curve.params, where, drawn, notes, prob, draws, seed)
        warn("ladder", answer.warning)
        return answer

    def curve(
        self,
        params: float,
        schedule: Schedule | None = None,
        run: str | None = None,
        *,
        end: float | None = None,
        tokens_per_step: float | None = None,
    ) -> LadderCurve:
        """The curve of a size that was never trained; stands where a run stands in a race.

        Parameters
        ----------
        params : float
            Model parameters.
        schedule : Schedule, optional
            Its learning-rate schedule; by default that of the largest run, stretched to `end`.
        run : str, optional
            Its name.
        end : float, optional
            Where it ends on the ladder's axis; by default the end of the schedule, or of the
            longest run.
        tokens_per_step : float, optional
            Batch in tokens; the largest run's by default.

        Returns
        -------
        LadderCurve
            For the list of runs that `lossfit.race` takes.

        Raises
        ------
        DataError
            Numbers that are not positive; what is no schedule.
        """
        params = number_of(params, "params")
        largest = max(self.rungs, key=lambda rung: (rung.params, rung.end))
        batch = largest.batch
        if tokens_per_step is not None:
            batch = 1.0 if self.axis == "step" else number_of(tokens_per_step, "tokens_per_step")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise DataError(
                f"schedule must be one of lossfit.schedules, got {type(schedule).__name__}"
            )
        if end is None:
            end = max(rung.end for rung in self.rungs)
            if schedule is not None and schedule.total is not None:
                factor = 1.0 if schedule.axis == self.axis else batch
                end = schedule.total * factor
        clock, stretched = planned(self.rungs, self.runs, self.axis, end, schedule, batch)
        rung = Rung(
            size_text(params) if run is None else str(run), params, np.array([end]),
            np.array([np.nan]), clock, batch,
        )  # fmt: skip
        return LadderCurve(self, rung, stretched)

    def begun(self, run: Run, total: float | None = None) -> tuple[Readings, Rung]:
        """The ladder's readings with a begun run among its rows, and that run as a rung.

        Parameters
        ----------
        run : Run
            With params; it must have begun under a schedule that is known, or the ladder's.
        total : float, optional
            Axis value to which it is to be forecast.

        Returns
        -------
        tuple of (Readings, Rung)
            Posteriors of the law given the run too, and the run as the law takes it.
        """
        rung, scheduled, _ = rung_of(run, self.axis, total)
        if not scheduled and any(r.clock.kind != "constant" for r in self.rungs):
            end = rung.end if total is None else max(total, rung.end)
            clock, _ = planned(self.rungs, self.runs, self.axis, end, None, rung.batch)
            rung = Rung(rung.name, rung.params, rung.tokens, rung.loss, clock, rung.batch)
        others = [r for r in self.rungs if r.name != run.name]
        key = (
            run.name,
            len(rung.tokens),
            float(rung.loss.sum()),
            rung.clock.kind,
            rung.clock.tokens[-1],
        )
        if key not in self._begun:
            seed = int(run_keys(self.random_seed, [run.name], "begun")[0])
            self._begun[key] = readings(others, seed, rung)
        return self._begun[key], rung

    def joined(
        self, question: Question, runs: Runs, at: Floats, curves: Floats
    ) -> tuple[Floats, dict[str, Bools]]:
        """The curves of begun runs, pooled with what the ladder says of them.

        Parameters
        ----------
        question : Question
            What was asked of the runs.
        runs : Runs
            The begun runs.
        at : ndarray, shape (R, T)
            Places on the axis of the question.
        curves : ndarray, shape (R, T, D)
            Draws of the runs' own forecasts.

        Returns
        -------
        curves : ndarray, shape (R, T, D)
            The pooled draws.
        flags : dict of str to ndarray of bool, shape (R, T)
            Where each flag holds.
        """
        from .begun import joined

        return joined(self, question, runs, at, curves)

    def track(self, run: Run | Runs, prob: float | None = None) -> pd.DataFrame:
        """Where a begun run lies in what the ladder alone forecast for it.

        Parameters
        ----------
        run : Run, or Runs of one run
            The begun run.
        prob : float, optional
            Probability of the interval; the ladder's own by default.

        Returns
        -------
        pandas.DataFrame
            A row a place: the axis, loss (mean of the run's points around it), lower, median, upper
            of the forecast, ``quantile`` of the loss in it, and ``outside`` the interval.
        """
        import pandas as pd

        from .rows import thinned

        begun = run if isinstance(run, Run) else next(iter(run))
        prob = check_prob(self.prob if prob is None else prob)
        rung, _, _ = rung_of(begun, self.axis)
        rows = thinned([rung])
        if begun.name in self.runs:
            raise DataError(f"run {begun.name!r} is one of the ladder's: track a run that is not")
        draws = self.readings.curves(rung, rows.tokens, self.random_seed, 1000, True)
        lower, median, upper = np.quantile(draws, [(1 - prob) / 2, 0.5, (1 + prob) / 2], axis=1)
        return pd.DataFrame(
            {
                self.axis: rows.tokens,
                "loss": rows.loss,
                "lower": lower,
                "median": median,
                "upper": upper,
                "quantile": (draws < rows.loss[:, None]).mean(axis=1),
                "outside": (rows.loss < lower) | (rows.loss > upper),
            }
        )

    def frontier(
        self,
        compute: ArrayLike | None = None,
        schedule: Schedule | None = None,
        *,
        prob: float | None = None,
        draws: int = 500,
    ) -> pd.DataFrame:
        """The best size and tokens for budgets, every size planned to end on its budget.

        Parameters
        ----------
        compute : float or sequence of float, optional
            FLOP, 6 x params x tokens; by default nine, up to four times the ladder's largest.
        schedule : Schedule, optional
            Its kind is stretched to every length; by default the largest run's.
        prob : float, optional
            Probability of the intervals; the ladder's own by default.
        draws : int
            Draws of the law.

        Returns
        -------
        pandas.DataFrame
            A row a budget: compute, then params, tokens and loss of the best choice, each with
            _lower and _upper.
        """
        from .frontier import frontier

        prob = check_prob(self.prob if prob is None else prob)
        return frontier(self, compute, schedule, prob, whole(draws, "draws", 10))

    def surface(self, *, prob: float | None = None, draws: int = 1000) -> Surface:
        """Final losses by size and tokens, for `lossfit.plan` and `Surface.predict`.

        Every size is planned to end at its tokens, under the largest run's schedule stretched to
        each length; known from half of the ladder's sizes and lengths to ten times them.

        Parameters
        ----------
        prob : float, optional
            Probability of the intervals; the ladder's own by default.
        draws : int
            Draws of the law.

        Returns
        -------
        Surface
            What `fit_surface` would give, of the ladder's law.
        """
        from .surface import surface_of

        prob = check_prob(self.prob if prob is None else prob)
        return surface_of(self, prob, whole(draws, "draws", 10))

    def units(self, params: float, axis: str) -> float:
        """Units of another axis in one of the ladder's, for a model of some size.

        Parameters
        ----------
        params : float
            Model parameters.
        axis : {"tokens", "step", "gpu_hours", "flops"}
            The other axis.

        Returns
        -------
        float
            Units of `axis` in one unit of the ladder's.

        Raises
        ------
        DataError
            If the runs do not have that axis.
        """
        if axis == self.axis:
            return 1.0
        if axis == "flops" and self.axis == "tokens":
            return FLOPS_PER_PARAM_TOKEN * params
        if axis == "step" and self.axis == "tokens":
            return 1 / max(self.rungs, key=lambda rung: rung.params).batch
        if axis == "gpu_hours" and self.axis == "tokens":
            rates = [
                run.end("gpu_hours") / run.end("flops")
                for run in self.runs
                if run.has("gpu_hours") and run.has("flops")
            ]
            if rates:
                return float(np.median(rates)) * FLOPS_PER_PARAM_TOKEN * params
        raise DataError(
            f"the ladder's runs do not tell {axis} of a model that was never trained: use "
            f"{self.axis}" + (" or flops" if self.axis == "tokens" else "")
        )

    def final_loss(self, name: str, draws: int = 1000) -> Floats:
        """Draws of a run's mean loss over its last 2 %, by the noise that the ladder found.

        Parameters
        ----------
        name : str
            One of the ladder's runs.
        draws : int
            How many.

        Returns
        -------
        ndarray, shape (draws,)
            The mean loss at the end of the run.

        Raises
        ------
        DataError
            If there is no run of that name.
        """
        from .rows import thinned

        rung = next((r for r in self.rungs if r.name == name), None)
        if rung is None:
            raise DataError(
                f"unknown run {name!r}: the ladder has {', '.join(r.name for r in self.rungs)}"
            )
        end = float(thinned([rung]).loss[-1])
        noise = float(np.exp(self.readings.whole.scales[3])) * end
        rng = np.random.default_rng(int(run_keys(self.random_seed, [name], "end")[0]))
        return np.asarray(end + noise * rng.standard_normal(draws))

    def _line(self) -> str:
        sizes = sorted(rung.params for rung in self.rungs)
        numbers = ", ".join(f"{r['parameter']} {estimate(r)}" for _, r in self.frame.iterrows())
        return (
            f"Ladder of {len(self.rungs)} runs, {size_text(sizes[0])} to {size_text(sizes[-1])}: "
            f"{numbers}"
        )

    @property
    def frame(self) -> pd.DataFrame:
        """One row a parameter of the law: median, lower, upper, mean, notes, sd, prob, parameter.

        E (in the unit of the loss), and the exponents alpha (of size), beta (of the cumulative
        learning rate) and gamma (how the two join).
        """
        import pandas as pd

        names, draws = self._parameters()
        moments = describe(draws, self.prob)
        frame = pd.DataFrame({"parameter": names})
        for name, values in zip(MOMENTS, moments, strict=True):
            frame[name] = values
        frame["prob"] = self.prob
        frame["notes"] = pd.Series([self.flags] * len(frame), dtype=object)
        return answer_first(frame, self._keys)

    def _parameters(self) -> tuple[list[str], Floats]:
        """Names of the parameters that are shown, and their draws, shape (4, draws)."""
        whole = self.readings.whole
        rows = [whole.level * np.exp(whole.theta[:, 0])]
        rows += [np.exp(whole.theta[:, 3 + k]) for k in range(3)]
        return ["E", "alpha", "beta", "gamma"], np.stack(rows)

    def _row_draws(self) -> Floats:
        return self._parameters()[1]

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """The ladder as plain data for JSON; ``schema`` names its form."""
        from .. import __version__
        from .._base.records import rows_of

        return {
            "schema": "lossfit.ladder/1",
            "lossfit": __version__,
            "axis": self.axis,
            "runs": [
                {"run": rung.name, "params": rung.params, "end": rung.end} for rung in self.rungs
            ],
            "prob": self.prob,
            "random_seed": self.random_seed,
            "rows": rows_of(self.frame),
            "notes": dict(self.notes),
        }

    @figure_options
    def plot(self, ax: Axes | None = None, *, scale: Scale = "log") -> Axes:
        """Curves of the runs, and what the law makes of them."""
        axes: Axes = view("ladder.plot")(self, ax=ax, scale=scale)
        return axes
