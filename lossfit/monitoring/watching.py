"""Follows a growing log and answers again as points arrive: `watch`.

For stopping early: the probability that the run ends below a target loss, and that it ends below
what a reference run reached.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError, LossfitWarning
from .._base.numbers import is_number
from .._base.options import check_names
from .._base.ragged import Floats
from .._base.results import Result, Scale
from .._base.summaries import prob_less
from ..forecasts.question import Options, spelt_out, takes
from ..forecasts.rates import chosen
from ..runs.axes import check_axis
from ..runs.broken import TAIL, without_forecast
from ..runs.known import Known
from ..runs.labels import amount
from .reference import reference_of
from .tailing import AGAIN, Log

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..answers.answer import Answer
    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs
    from ..runs.known import NumberByRun
    from ..runs.run import Run
    from ..schedules.shapes import Schedule

LEAST_POINTS = 8  # fewer say too little of a curve and its noise
READING = 4.0  # times what a look took: the least wait until the next
SCHEMA = "lossfit.watch/1"


@dataclass(frozen=True, eq=False, repr=False)
class Update(Result):
    """What is known of a run that is being watched; `watch` gives one as points arrive.

    Attributes
    ----------
    path : str
        The log.
    run : str
        Name of the run; "" as long as nothing can be read.
    points, new_points : int
        Usable points so far, and those since the update before.
    axis : str
        The axis of the forecast.
    position, loss : float
        Where the run is on the axis, and its last logged loss; NaN without an answer.
    at : float
        Where it will end.
    target : float or None
        The loss asked about.
    prob_below : float or None
        The probability that the run's loss at its end is below the target.
    reference : str or None
        The run compared with.
    prob_ahead, prob_behind : float or None
        The probability that this run's loss at its end is below that of the reference at its own,
        and that of the contrary.
    answer : Answer or None
        The whole answer; None where there is a problem.
    finished : bool
        Whether the run has reached its end.
    problem : str
        Why there is no answer, "" where there is one.
    note : str
        What happened to the log: that it was started again, or rotated; "" mostly.

    Examples
    --------
    >>> import lossfit, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lossfit.load("llama2").select(["llama2-7B"]).frame.to_csv(f"{folder}/log.csv")
    ...     updates = lossfit.watch(f"{folder}/log.csv", at=4e12, axis="tokens", once=True)
    ...     update = next(updates)
    >>> update.points
    102
    """

    _keys = ("run", "at")

    path: str
    run: str = ""
    points: int = 0
    new_points: int = 0
    axis: str = ""
    position: float = math.nan
    loss: float = math.nan
    at: float = math.nan
    target: float | None = None
    prob_below: float | None = None
    reference: str | None = None
    prob_ahead: float | None = None
    prob_behind: float | None = None
    answer: Answer | None = None
    finished: bool = False
    problem: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the loss at the end."""
        return self._of("median")

    @property
    def lower(self) -> float:
        """Lower end of the interval of the loss at the end."""
        return self._of("lower")

    @property
    def upper(self) -> float:
        """Upper end of that interval."""
        return self._of("upper")

    @property
    def prob(self) -> float:
        """Probability of the interval."""
        return math.nan if self.answer is None else self.answer.prob

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the answer."""
        return () if self.answer is None else tuple(self.answer.frame["notes"].iloc[0])

    @property
    def broken(self) -> str:
        """What broke in the run, "" for nothing."""
        return "" if self.answer is None else self.answer.broken.get(self.run, ("", False))[0]

    @property
    def arrival(self) -> float:
        """Where the curve reaches the target (median); infinite where it does not, NaN unasked."""
        if self.answer is None or self.target is None:
            return math.nan
        return float(self.answer.time_to(self.target)["median"].iloc[0])

    def _of(self, column: str) -> float:
        return math.nan if self.answer is None else float(self.answer.frame[column].iloc[0])

    def _text(self) -> str:
        words = [f"{self.note}; "] if self.note else []
        if self.answer is None:
            return "".join([*words, f"{self.run or self.path}: {self.problem}"])
        if self.broken:
            words.append(f"! {self.broken}; ")
        words.append(
            f"{self.run}: {self.points:,} points to {amount(self.position, self.axis)}, loss "
            f"{self.loss:.4f}; "
        )
        if without_forecast(self.answer.broken, self.run):
            return "".join([*words, "no forecast", "; finished" * self.finished])
        words.append(
            f"at {amount(self.at, self.axis)} {self.median:.4f} "
            f"[{self.lower:.4f}, {self.upper:.4f}] ({100 * self.prob:g} %)"
        )
        if self.prob_below is not None:
            words.append(f"; P(below {self.target:g}) {self.prob_below:.3f}")
            arrival = self.arrival
            if np.isfinite(arrival):
                words.append(f", reached at about {amount(arrival, self.axis)}")
        if self.prob_behind is not None:
            words.append(f"; P(beaten by {self.reference}) {self.prob_behind:.3f}")
        if self.finished:
            words.append("; finished")
        return "".join(words)

    def _line(self) -> str:
        return f"<Update {self._text()}>"

    @property
    def frame(self) -> pd.DataFrame:
        """The answer's frame, a row.

        Raises
        ------
        DataError
            There is no answer; `problem` says why.
        """
        if self.answer is None:
            raise DataError(f"there is no answer: {self.problem}")
        return self.answer.frame

    def _row_draws(self) -> Floats | None:
        return None if self.answer is None else self.answer._row_draws()

    def _checked(self) -> None:
        if self.answer is not None:
            super()._checked()

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """The update as plain data for JSON, schema ``lossfit.watch/1``."""
        from .. import __version__

        answered = self.answer is not None
        # Of a run without a forecast no number says where it goes, as in the print.
        told = self.answer is not None and not without_forecast(self.answer.broken, self.run)
        return {
            "schema": SCHEMA,
            "lossfit": __version__,
            "path": self.path,
            "run": self.run,
            "points": self.points,
            "new_points": self.new_points,
            "axis": self.axis,
            "position": self.position if answered else None,
            "loss": self.loss if answered else None,
            "at": self.at if answered else None,
            "median": self.median if told else None,
            "lower": self.lower if told else None,
            "upper": self.upper if told else None,
            "prob": self.prob if answered else None,
            "target": self.target,
            "prob_below": self.prob_below if told else None,
            "reference": self.reference,
            "prob_ahead": self.prob_ahead if told else None,
            "prob_behind": self.prob_behind if told else None,
            "finished": self.finished,
            "notes": [flag for flag in self.flags if told or flag == "broken"],
            "broken": self.broken or None,
            "problem": self.problem or None,
            "note": self.note or None,
        }

    @figure_options
    def plot(
        self, ax: Axes | None = None, *, scale: Scale = "auto", probs: Sequence[float] | None = None
    ) -> Axes:
        """Data, curve and intervals up to the end; see `lossfit.plotting.plot_answer`."""
        if self.answer is None:
            raise DataError(f"there is nothing to plot: {self.problem}")
        return self.answer.plot(ax=ax, scale=scale, probs=probs)


@takes(Options)
def watch(
    path: str | os.PathLike[str],
    run: str | None = None,
    *,
    at: float | None = None,
    target: float | None = None,
    reference: Run | Runs | str | os.PathLike[str] | None = None,
    axis: AnyAxis = "auto",
    format: str | None = None,
    loss: str = "train",
    columns: Mapping[str, str] | None = None,
    params: NumberByRun = None,
    tokens_per_step: NumberByRun = None,
    gpu_hours: NumberByRun = None,
    interval: float = 5.0,
    once: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    **options: Unpack[Options],
) -> Iterator[Update]:
    """Follow a growing log and answer again as points arrive.

    Parameters
    ----------
    path : str or path
        The log, or a folder with one; it need not be there yet.
    run : str, optional
        Which run of the log; by default all of them, an update for each.
    at : float, optional
        Where on the axis the loss is asked for; by default at the run's end.
    target : float, optional
        A loss: the updates say the probability of ending below it.
    reference : Run, Runs, str or path, optional
        A run to compare with: a run of the log, a path or a collection with one run, or
        ``"PATH:RUN"``.  Its loss is that at the end of its own data.
    axis : str
        As in `lossfit.extrapolate`.
    format, loss : str, optional
        As in `lossfit.load`.
    columns : dict, optional
        As in `lossfit.load`.
    params, tokens_per_step, gpu_hours : float or dict by run, optional
        As in `lossfit.load`.
    interval : float
        Seconds between two looks at the log.
    once : bool
        Answer for what is there, and stop.
    sleep : callable
        What waits for so many seconds, for tests.
    **options
        See `lossfit.forecasts.question.Options`.

    Returns
    -------
    iterator of Update
        One when points have arrived, or when what prevents an answer has changed.  After the
        run has reached its end there are no more.

    Raises
    ------
    DataError
        Options that cannot be; no such reference; with ``once``, a log that cannot be read.  What
        may pass, such as a log that is not there yet or half written, is an update with a
        ``problem``.

    Notes
    -----
    Only what was added to a log is read from the disk; each look still parses all of it, and a log
    that takes long to parse is looked at less often, so that no more than a fifth of the time goes
    into that.  A last line without its end is left until it is whole.  Where another file takes the
    place of the log, or it becomes shorter, its points follow those of the old one if the run goes
    on (a rotated log), and replace them if it begins again (`lossfit.monitoring.tailing`).

    A run that breaks is told at the next look, NaN losses included (`Update.broken`).

    Examples
    --------
    >>> import lossfit, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lossfit.load("llama2").select(["llama2-7B"]).frame.to_csv(f"{folder}/log.csv")
    ...     for update in lossfit.watch(
    ...         f"{folder}/log.csv", at=4e12, axis="tokens", target=1.7, once=True
    ...     ):
    ...         chance = update.prob_below
    >>> 0 <= chance <= 1
    True
    """
    check_names(options, Options.__annotations__, "watch")
    total: Any = options.pop("total", None)
    schedule = options.pop("schedule", None)
    numbers = {"at": at, "target": target}
    if isinstance(total, Mapping):
        numbers |= {f"total of run {name!r}": value for name, value in total.items()}
    else:
        numbers["total"] = total
    for name, value in numbers.items():
        if value is not None and not (is_number(value) and (name == "target" or value > 0)):
            raise DataError(f"{name} must be a {'' if name == 'target' else 'positive '}number")
    if not (is_number(interval) and interval >= 0):
        raise DataError(f"interval must be seconds, 0 or more, got {interval!r}")
    question = _Watched(
        run=run, at=at, total=total, target=target, axis=axis, schedule=schedule, options=options
    )
    reading = {
        "format": format,
        "loss": loss,
        "columns": columns,
        "known": Known(params=params, tokens_per_step=tokens_per_step, gpu_hours=gpu_hours),
    }
    if os.fspath(path) in ("", "-"):
        raise DataError(f"watch follows a file or a folder, not {os.fspath(path)!r}: give its path")
    given = reference_of(reference)
    return _updates(Log(Path(os.fspath(path)), reading), question, given, interval, once, sleep)


def _updates(
    log: Log,
    question: _Watched,
    reference: Runs | str | None,
    interval: float,
    once: bool,
    sleep: Callable[[float], None],
) -> Iterator[Update]:
    # Points and place of each run at its last update, and losses after it that are no numbers.
    seen: dict[str, tuple[int, float, int]] = {}
    finished: set[str] = set()
    problem = ""
    final: dict[str, tuple[str, Floats]] = {}  # the reference by axis: it does not change
    while True:
        note = ""
        happened, begun = "", time.monotonic()
        try:
            runs, happened = log.read(whole=once)
        except DataError as error:
            if once:
                raise
            if str(error) != problem:
                problem = str(error)
                yield Update(str(log.path), problem=problem)
            runs = None
        took = time.monotonic() - begun
        if runs is not None:
            if happened and seen:
                note = happened
            if happened == AGAIN:
                seen.clear()
                finished.clear()
            for one in question.runs_of(runs, reference):
                # A restart may have taken points away, and losses that are no numbers add none.
                state = (len(one), float(one.axis(one.axes[0])[-1]), _ends_in_nothing(one))
                if seen.get(one.name) == state or one.name in finished:
                    continue
                if len(one) < LEAST_POINTS:
                    words = f"{len(one)} points so far; {LEAST_POINTS} are needed"
                    if once:
                        raise DataError(f"run {one.name!r}: {words}")
                    if words != problem:
                        problem = words
                        yield Update(str(log.path), one.name, len(one), problem=words, note=note)
                    continue
                before = seen.get(one.name, (0, 0.0, 0))[0]
                update = question.update(log, runs, one, reference, final, before, note)
                seen[one.name] = state
                problem = note = ""
                if update.finished:
                    finished.add(one.name)
                yield update
            if finished and finished >= {one.name for one in question.runs_of(runs, reference)}:
                return
        if once:
            return
        sleep(max(interval, READING * took))


@dataclass(frozen=True)
class _Watched:
    """What is asked of every state of the log."""

    run: str | None
    at: float | None
    total: NumberByRun
    target: float | None
    axis: str
    schedule: Any
    options: Options

    def runs_of(self, runs: Runs, reference: Runs | str | None) -> list[Run]:
        """The runs to answer for."""
        if self.run is not None:
            return [runs[self.run]]
        return [one for one in runs if one.name != reference or len(runs) == 1]

    def update(
        self,
        log: Log,
        runs: Runs,
        one: Run,
        reference: Runs | str | None,
        final: dict[str, tuple[str, Floats]],
        before: int,
        note: str,
    ) -> Update:
        """The answer for one run as it is."""
        from ..runs.checks import choose_axis

        alone = runs.select([one.name])
        axis = choose_axis(alone, self.axis)
        company = runs if self.options.get("share") else alone
        asked = self.schedule if company is runs else chosen(self.schedule, one.name)
        schedule = spelt_out(asked, company, None, self.total, axis)
        end, known = self._end(one, axis, chosen(schedule, one.name))
        at = end if self.at is None else self.at
        answer = self._answer(company, one.name, axis, at, None if known else end, schedule)
        curves: Floats = np.asarray(answer.draws.values[0, 0])
        compared: tuple[str, Floats] | None = None
        if reference is not None:
            if axis not in final or isinstance(reference, str):
                final[axis] = self._final(runs, reference, axis)
            compared = final[axis]
        x = one.axis(axis)
        spacing = float(np.median(np.diff(x))) if len(x) > 1 else 0.0
        ahead = None if compared is None else float(prob_less(curves, compared[1]))
        return Update(
            path=str(log.path),
            run=one.name,
            points=len(one),
            new_points=len(one) - before,
            axis=axis,
            position=float(x[-1]),
            loss=float(one.loss[-1]),
            at=float(at),
            target=None if self.target is None else float(self.target),
            prob_below=None if self.target is None else float((curves < self.target).mean()),
            reference=None if compared is None else compared[0],
            prob_ahead=ahead,
            prob_behind=None if compared is None else float(prob_less(compared[1], curves)),
            answer=answer,
            finished=bool(x[-1] + 1.5 * spacing > end),
            note=note,
        )

    def _answer(
        self, runs: Runs, name: str, axis: str, at: float, total: float | None, plan: Any
    ) -> Answer:
        from ..answers.extrapolation import extrapolate

        with warnings.catch_warnings():
            # The flags are in every update; a warning for each would drown them.
            warnings.simplefilter("ignore", LossfitWarning)
            options: Options = {**self.options, "total": total, "schedule": plan}
            return extrapolate(runs, name, at=at, axis=check_axis(axis), **options)

    def _final(self, runs: Runs, reference: Runs | str, axis: str) -> tuple[str, Floats]:
        """Name of the reference and draws of its loss at the end of its data."""
        other = runs.select([reference]) if isinstance(reference, str) else reference
        one = next(iter(other))
        if not one.has(axis):
            raise DataError(
                f"the reference {one.name!r} has no {axis}, which the log is followed on: give "
                "axis= or what makes it known"
            )
        known = one.schedule is not None or one.lr is not None
        end = one.end(axis)
        alone = replace(self, options={**self.options, "share": None})
        answer = alone._answer(other, one.name, axis, end, None if known else end, None)
        return one.name, np.asarray(answer.draws.values[0, 0])

    def _end(self, one: Run, axis: str, plan: Schedule | None) -> tuple[float, bool]:
        """Where a run will end on the axis, and whether its schedule says so.

        Raises `DataError`: nothing says it.
        """
        from ..forecasts.knowledge import planned_end

        plan = plan or one.schedule
        total = chosen(self.total, one.name)
        end = planned_end(one, axis, plan, total, by_rate=self.at is None)
        if end is None and self.at is not None:
            return float(self.at), plan is not None
        if end is not None:
            if total is not None or (plan is not None and plan.total):
                return end, plan is not None
            return end, not (one.meta.get("planned_steps") and one.has("step"))
        raise DataError(
            f"run {one.name!r}: neither its log nor a schedule says where it will end: give "
            f"total=, its end in {axis}, or at="
        )


def _ends_in_nothing(one: Run) -> int:
    """How many losses at the end of a run are NaN or infinite."""
    return sum(flag.count for flag in one.flags if flag.flag == TAIL)
