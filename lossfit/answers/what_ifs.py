"""The same run under another learning-rate schedule: `what_if`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import ArrayLike

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError, warn
from .._base.frames import answer_first, word_column
from .._base.options import check_names
from .._base.ragged import Floats
from .._base.results import Result, Scale
from .._base.summaries import describe
from .._base.views import view
from ..backtests.conformal import Calibration
from ..fits.flags import ANSWER_MEANINGS
from ..forecasts.question import LawOptions, Question, takes
from ..runs.broken import broken_runs, words_of
from ..runs.checks import as_runs, axis_values, choose_axis
from ..runs.schedule_words import with_own
from ..schedules.shapes import Schedule
from .fitted import DISTANCE_MEANINGS, check_known, fitted, question_of
from .meanings import meanings_of, unheard
from .scenarios import FittedRun
from .what_if_rows import OWN, all_places, asked_schedules, curves_under, rows_of_run, schedule_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs
    from ..runs.known import ScheduleByRun
    from ..runs.run import Run

SCHEMA = "lossfit.what_if/1"

MEANINGS = {
    "response_unsure": "these data say little of how the loss responds to the learning rate (B is "
    "known worse than to 35 %): share=True with runs of the model under other schedules, or "
    "siblings=, would sharpen the answer",
    "rate_below_data": "the learning rate falls below all that the data have seen: what that wins "
    "is the law's guess",
    "peak_differs": "the schedule has another peak than the run's, for which no law here was "
    "checked",
    "schedule_held": "the place lies beyond the end of a schedule, whose last rate is held there",
    "schedule_stretched": "the place lies beyond the end of the schedule, which is stretched to "
    "end there, as if it had been planned so: the run's own and the others alike",
    **DISTANCE_MEANINGS,
    "steps_unknown": "the run counts no steps: it is taken to have made 20,000 up to its end, "
    "which only matters for how fast the loss responds to the learning rate",
    "siblings_unused": ANSWER_MEANINGS["siblings_unused"],
}
QUIET = frozenset({"steps_unknown"})


class _Row(NamedTuple):
    run: str
    schedule: str
    at: float
    flags: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class WhatIf(Result):
    """Runs under other schedules; made by `lossfit.what_if`.

    Attributes
    ----------
    runs : Runs
        All runs of the question.
    names : tuple of str
        The runs that were asked about.
    schedules : dict of str to Schedule or dict by run
        What was asked.
    axis : str
    prob : float
    rows : list of (run, schedule, at, flags)
    curves : ndarray, shape (n_rows, n_draws)
        Draws of the loss without noise; the same draw of a run is the same law in all rows.
    own : ndarray, shape (n_rows, n_draws)
        The run's own schedule at the same places, draw by draw.
    shared : bool
        Whether runs of a model were fitted together.
    strength : dict by run of (mean, sd)
        Posterior of B, the loss won by taking the learning rate from its peak to 0.
    calibration : Calibration or None
        What ``calibrate_on`` did.
    question : Question
        Laws, window, seed and so on.

    Examples
    --------
    >>> import lossfit
    >>> seven = lossfit.load("llama2").select(["llama2-7B"])
    >>> answer = lossfit.what_if(seven, schedules=["constant", "wsd"], draws=200)
    >>> answer.curve("llama2-7B", "wsd", at=[1e12, 1.5e12]).shape  # places, draws
    (2, 200)
    """

    _keys = ("run", "schedule", "at")
    _view = "what_if"

    runs: Runs
    names: tuple[str, ...]
    schedules: Mapping[str, Any]
    axis: str
    prob: float
    rows: list[_Row]
    curves: Floats
    own: Floats
    shared: bool
    strength: dict[str, tuple[float, float]]
    calibration: Calibration | None
    question: Question

    @cached_property
    def _engines(self) -> dict[str, FittedRun]:
        """The fits by run: the answer's own, or made again after reading it from a file."""
        places = {
            name: np.unique([row.at for row in self.rows if row.run == name]) for name in self.names
        }
        return fitted(self.question, self.runs, self.names, places).runs

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a run, schedule and place; the schedule ``"own"`` is the one that the run had.

        Columns median, lower, upper, then horizon_ratio, mean, difference,
        difference_lower, difference_upper (to the run's own schedule at the same place: below 0 is
        better; median and interval over joint draws), prob_better, broken (what broke in the run,
        in words, or None), notes (a tuple of flags), sd, axis, prob, run, schedule and at.
        """
        import pandas as pd

        low, high = self._tails
        mean, sd, lower, median, upper = describe(self.curves, self.prob)
        gap = self.curves - self.own
        edges = np.quantile(gap, [low, 0.5, high], axis=1)
        ends = {name: self.runs[name].end(self.axis) for name in self.names}
        own = np.array([row.schedule == OWN for row in self.rows])
        frame = pd.DataFrame(
            {
                "run": [row.run for row in self.rows],
                "schedule": [row.schedule for row in self.rows],
                "axis": self.axis,
                "at": [row.at for row in self.rows],
                "horizon_ratio": [row.at / ends[row.run] for row in self.rows],
                "mean": mean,
                "sd": sd,
                "lower": lower,
                "median": median,
                "upper": upper,
                "prob": self.prob,
                "difference": edges[1],
                "difference_lower": edges[0],
                "difference_upper": edges[2],
                "prob_better": np.where(own, np.nan, (gap < 0).mean(axis=1)),
                "broken": word_column(words_of(self.broken, (row.run for row in self.rows))),
                "notes": pd.Series([row.flags for row in self.rows], dtype=object),
            }
        )
        return answer_first(frame, self._keys)

    def _row_draws(self) -> Floats:
        return self.curves

    @property
    def _tails(self) -> tuple[float, float]:
        return (1 - self.prob) / 2, (1 + self.prob) / 2

    @property
    def sigma(self) -> dict[str, float]:
        """Noise sd of a single logged point, by run; it is not in the intervals."""
        return {name: float(engine.sigma) for name, engine in self._engines.items()}

    def differences(self, to: str = OWN) -> pd.DataFrame:
        """Differences of the schedules to one of them at the same places, jointly over draws.

        Parameters
        ----------
        to : str
            A schedule of the question, by default the one that the runs had.  Rows are those
            places at which both were asked for.

        Returns
        -------
        pandas.DataFrame
            Columns median, lower, upper, mean, prob_better (the probability that the schedule's
            loss is lower), sd, axis, prob, to, run, schedule, at.

        Raises
        ------
        DataError
            No such schedule, or no place at which another was asked for too.
        """
        import pandas as pd

        if to != OWN and to not in self.schedules:
            raise DataError(
                f"no schedule is called {to!r}; there are {', '.join([OWN, *self.schedules])}"
            )
        known = {(row.run, row.at): self.curves[i] for i, row in enumerate(self.rows)
                 if row.schedule == to}  # fmt: skip
        out = []
        for i, row in enumerate(self.rows):
            other = self.own[i] if to == OWN else known.get((row.run, row.at))
            if row.schedule == to or other is None:
                continue
            gap = self.curves[i] - other
            mean, sd, lower, median, upper = describe(gap[None], self.prob)[:, 0]
            out.append(
                {
                    "run": row.run,
                    "schedule": row.schedule,
                    "to": to,
                    "axis": self.axis,
                    "at": row.at,
                    "mean": mean,
                    "sd": sd,
                    "lower": lower,
                    "median": median,
                    "upper": upper,
                    "prob": self.prob,
                    "prob_better": float((gap < 0).mean()),
                }
            )
        if not out:
            raise DataError(f"no other schedule was asked for where {to!r} was: give at=")
        return answer_first(pd.DataFrame(out), ("to", *self._keys))

    @property
    def draws(self) -> xr.DataArray:
        """Draws of the loss without noise, dims (run, schedule, at, draw).

        The same draw of a run is the same law under every schedule.  Coordinates: names of the runs
        and schedules (``"own"`` first); ``target`` (run, schedule, at), the axis values, NaN where
        a schedule has fewer places than another; where all have the same, these are ``at`` too.
        """
        import xarray as xr

        schedules = [OWN, *self.schedules]
        places: dict[tuple[str, str], list[int]] = {}
        for i, row in enumerate(self.rows):
            places.setdefault((row.run, row.schedule), []).append(i)
        most = max(map(len, places.values()))
        shape = (len(self.names), len(schedules), most)
        values = np.full((*shape, self.curves.shape[1]), np.nan)
        target = np.full(shape, np.nan)
        for (run, schedule), rows in places.items():
            here = (self.names.index(run), schedules.index(schedule), slice(len(rows)))
            values[here] = self.curves[rows]
            target[here] = [self.rows[i].at for i in rows]
        shared = bool((target == target[0, 0]).all())
        return xr.DataArray(
            values,
            dims=("run", "schedule", "at", "draw"),
            coords={
                "run": list(self.names),
                "schedule": schedules,
                "at": target[0, 0] if shared else np.arange(most),
                "draw": np.arange(values.shape[3]),
                "target": (("run", "schedule", "at"), target),
            },
            name="loss",
            attrs={"axis": self.axis},
        )

    def curve(self, run: str, schedule: str, at: ArrayLike) -> Floats:
        """Draws of a run's curve under one of the schedules.

        Parameters
        ----------
        run : str
            A run that was asked about.
        schedule : str
            One of the schedules, or "own".
        at : float or sequence of float
            Places on the axis.

        Returns
        -------
        ndarray, shape (n_at, n_draws)
            Losses without noise.
        """
        engine = self._engines[run]
        return curves_under(engine, self._schedule_of(run, schedule), axis_values(at))

    def _schedule_of(self, run: str, schedule: str) -> Schedule | None:
        """None for the run's own."""
        return None if schedule == OWN else schedule_of(self.schedules[schedule], run, schedule)

    def summary(self) -> pd.DataFrame:
        """The frame without notes and axis, losses rounded to 4 decimals.

        Returns
        -------
        pandas.DataFrame
            A row a run and schedule.
        """
        return self.frame.drop(columns=["axis", "prob", "notes"]).round(4)

    @property
    def warning(self) -> str:
        """What the one `LossfitWarning` says; "" for nothing."""
        from ..fits.flags import warning_text

        flags = [tuple(f for f in row.flags if f not in QUIET) for row in self.rows]
        return warning_text([row.run for row in self.rows], flags, self.meanings)

    @cached_property
    def meanings(self) -> dict[str, str]:
        """What each flag says, of these runs and of what was given."""
        flags = {name: [f for row in self.rows if row.run == name for f in row.flags]
                 for name in self.names}  # fmt: skip
        return {**meanings_of(self.question, self.runs, flags), **MEANINGS}

    @cached_property
    def broken(self) -> dict[str, tuple[str, bool]]:
        """Runs that broke: what happened, and whether no forecast holds for the run."""
        return broken_runs(self.runs, self.names, self.axis)

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON.

        Keys schema, lossfit (version), question, broken (what broke, by run), left_out (the same of
        runs of which nothing was learned), rows and strength.
        """
        from .. import __version__
        from .._base.records import rows_of

        return {
            "schema": SCHEMA,
            "lossfit": __version__,
            "question": {
                "axis": self.axis,
                "prob": self.prob,
                "shared": self.shared,
                "schedules": {
                    name: {run: str(self._schedule_of(run, name)) for run in self.names}
                    for name in self.schedules
                },
            },
            "broken": {name: words for name, (words, _) in self.broken.items()},
            "left_out": dict(self.question.left_out),
            "rows": rows_of(self.frame),
            "strength": {name: {"mean": m, "sd": s} for name, (m, s) in self.strength.items()},
        }

    @figure_options
    def plot(
        self,
        ax: Axes | None = None,
        *,
        run: str | None = None,
        schedules: Sequence[str] | None = None,
        scale: Scale = "auto",
        rates: bool = True,
    ) -> Axes:
        """Data, curves with bands and schedules; see `lossfit.plotting.plot_what_if`."""
        axes: Axes = view("what_if.plot")(
            self, ax=ax, run=run, schedules=schedules, scale=scale, rates=rates
        )
        return axes


@takes(LawOptions)
def what_if(
    runs: Runs | Run | pd.DataFrame,
    run: str | Sequence[str] | None = None,
    *,
    schedules: Mapping[str, Any] | Sequence[str] | Schedule,
    at: ArrayLike | Mapping[str, ArrayLike] | None = None,
    axis: AnyAxis = "auto",
    own: ScheduleByRun = None,
    **options: Unpack[LawOptions],
) -> WhatIf:
    """The loss that runs would have had under other learning-rate schedules.

    Parameters
    ----------
    runs : Runs, Run or pandas.DataFrame
        The runs; the learning rate that each one had must be known (``Runs.with_schedule`` or an
        ``lr`` column).
    run : str or sequence of str, optional
        Which of them to ask about; by default all.
    schedules : dict of str to Schedule, sequence of str, or Schedule
        The schedules by name, followed from the first step on: not only in the future.  A value may
        be a dict by run, or a word as in `lossfit.extrapolate`: that kind with the run's own peak
        and warm-up, and its own end where the word says none.  A list of such words will do.
    at : float, sequence of float, or dict by schedule, optional
        Where on the axis; by default the end of each schedule, or of the run's own for one that has
        none.
    axis : str
        As in `lossfit.extrapolate`.
    own : Schedule, str, or dict of these by run, optional
        The schedule that the runs had, where neither they nor their logs say.
    **options
        See `lossfit.forecasts.question.LawOptions`.

    Returns
    -------
    WhatIf
        A row a run and schedule, each compared with the run's own; ``differences`` is draw by
        draw.

    Raises
    ------
    DataError
        A learning rate that is not known, a schedule that is none, input that does not fit
        together; the message names the run and the fix.

    Warns
    -----
    LossfitWarning
        Once, if the answer has flags that matter.

    Notes
    -----
    Without ``share`` a run's own schedule has the draws of `lossfit.extrapolate`, at every place
    (beyond its end it is stretched there, as there).  So is another schedule: beyond its end it is
    a plan to the place, like the own one.  Another schedule moves each draw by what the
    run's response to the learning rate makes of the difference between the two rates, from the
    first step on; nothing else of the draw changes (`lossfit.answers.scenarios`).  With ``share``
    all schedules have one law that is fitted to the runs of the model together.
    docs/how_we_checked_it.md says how far such answers were right.

    Examples
    --------
    >>> import lossfit
    >>> seven = lossfit.load("llama2").select(["llama2-7B"])
    >>> short = lossfit.schedules.cosine(3e-4, 250_000, 2000)  # ends at 1 T tokens
    >>> answer = lossfit.what_if(seven, schedules={"cosine to 1T": short}, draws=200)
    >>> answer.frame["schedule"].tolist()
    ['own', 'cosine to 1T']
    """
    check_names(options, LawOptions.__annotations__, "what_if")
    runs = with_own(as_runs(runs), own)
    names = runs.names
    if run is not None:
        names = runs.select([run] if isinstance(run, str) else list(run)).names
    axis = choose_axis(runs.select(names), axis)
    question = question_of(runs, axis, **options)
    for name in names:
        check_known(runs, name, axis)
    asked = asked_schedules(schedules, runs, names)
    places = {name: all_places(runs[name], axis, asked, at) for name in names}
    fits = fitted(question, runs, names, {name: np.unique(np.concatenate([*each.values()]))
                                          for name, each in places.items()})  # fmt: skip
    rows: list[_Row] = []
    curves: list[Floats] = []
    bases: list[Floats] = []
    broken = broken_runs(runs, names, axis)
    for name in names:
        extra = (*(["broken"] if name in broken else []), *fits.flags)
        extra += ("broken_left_out",) if unheard(question, name) else ()
        asked_rows, values, base = rows_of_run(fits.runs[name], asked, places[name], extra)
        rows += [_Row(*row) for row in asked_rows]
        curves.append(values)
        bases.append(base)
    answer = WhatIf(
        runs=runs,
        names=tuple(names),
        schedules=asked,
        axis=axis,
        prob=question.prob,
        rows=rows,
        curves=np.concatenate(curves),
        own=np.concatenate(bases),
        shared=options.get("share") not in (None, False),
        strength={name: fit.strength for name, fit in fits.runs.items()},
        calibration=fits.calibration,
        question=question,
    )
    answer.__dict__["_engines"] = fits.runs
    warn("what if", answer.warning)
    return answer
