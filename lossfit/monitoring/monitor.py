"""A forecast from inside of a training loop: `Monitor`."""

from __future__ import annotations

import logging
import math
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.numbers import number_of
from .._base.progress import quiet
from .._base.ragged import Floats
from .._base.summaries import describe
from ..runs.axes import check_axis
from ..runs.schedule_words import shape_of
from .alarm import Alarm
from .points import Points
from .stopping import THRESHOLD, Advice, advise, hopeless_since, is_long
from .watching import LEAST_POINTS

if TYPE_CHECKING:
    from ..answers.answer import Answer
    from ..forecasts.question import Options, Question
    from ..runs.axes import Axis
    from ..runs.collection import Runs
    from ..runs.known import NumberByRun
    from ..schedules.shapes import Schedule

log = logging.getLogger("lossfit")

ANSWERS = 40  # in a run, where `every` is not given
AXES = ("step", "tokens")
KERNEL = ("curve_forecast", "_forecast_range")
STATE = "lossfit.monitor/1"


class Monitor:
    """The forecast of a run that is being trained, kept up to date by its training loop.

    Parameters
    ----------
    total : float
        Where the run will end, in units of the axis.
    every : int, optional
        Steps between two forecasts; by default a fortieth of the run.
    target : float, optional
        A loss: the line and the metrics say the probability of ending below it, and `advice`
        whether to stop.
    name : str
        Name of the run; draws depend on it and on the seed.
    axis : {"step", "tokens"}
        What ``total`` counts; with tokens, every `log` needs them.
    schedule : Schedule or str, optional
        The learning-rate schedule, or a word for it (``"cosine"``, to `total`), which says more
        than the rates logged so far.
    params : float, optional
        Model parameters, kept with the run.
    threshold : float
        Probability below which `advice` is to stop: 0.005, 0.01, 0.02, 0.05 or 0.1, for which the
        error rates are known.
    most : int
        Rows that are kept of the log; beyond, neighbouring points are averaged (see Notes).
    active : bool, optional
        Whether to do anything.  By default not in the processes of a distributed training whose
        environment variable ``RANK`` is above 0 (torchrun, Accelerate, DeepSpeed, Lightning);
        other launchers give ``active=rank == 0``.
    **options
        ``siblings``, ``priors``, ``calibrate_on``, ``ladder``, ``domain``, ``window``, ``prob``,
        ``draws``, ``random_seed`` as in `lossfit.extrapolate`.

    Raises
    ------
    DataError
        Options that cannot be, when it is made.  Nothing raises afterwards: what goes wrong in the
        loop is in `problem`, and once in the log of the logger ``lossfit``.

    Notes
    -----
    The answer is that of ``lossfit.extrapolate(monitor.runs, at=total, total=total)``, to the draw.

    A run of more than ``most`` points is kept as means of 2, 4, 8, ... neighbouring points, the
    same number in every row.

    `log` takes some microseconds; a forecast, every so many steps, some milliseconds once kernels
    are compiled.  Until they are (about a minute after the first use of an installation; ``lossfit
    warmup`` does it beforehand) forecasts are made by a thread in the background, and `log` does
    not wait for them: plain Python then shares the interpreter for a second or two a forecast.

    Points are looked at as they come too: a loss that is NaN three times, or stands far above its
    level for six points, is a break, which `line` and `advice` say at once.

    A step that is not above the last one takes back what was logged from there on, as a restart
    from a checkpoint does.  To go on after a restart, keep `state_dict` with the checkpoint; a
    monitor can be pickled too.

    Examples
    --------
    >>> import lossfit
    >>> monitor = lossfit.Monitor(total=2_000, every=500, target=2.9)
    >>> for step in range(1, 1_001):  # stands for a training loop
    ...     if monitor.log(step=step, loss=2.5 + 6 / (step + 10) ** 0.5, lr=3e-4):
    ...         line = monitor.line  # the forecast in a line
    >>> monitor.wait()
    True
    """

    def __init__(
        self,
        total: float,
        every: int | None = None,
        target: float | None = None,
        name: str = "run",
        axis: Axis = "step",
        *,
        schedule: Schedule | str | None = None,
        params: NumberByRun = None,
        threshold: float = THRESHOLD,
        most: int = 1024,
        active: bool | None = None,
        **options: Any,
    ) -> None:
        self.total = number_of(total, "total")
        if check_axis(axis) not in AXES:
            raise DataError(f"a monitor counts step or tokens, not {axis}")
        if every is not None and not (isinstance(every, (int, np.integer)) and every > 0):
            raise DataError(f"every must be a number of steps above 0, got {every!r}")
        if every is None and axis == "step":
            every = max(int(self.total // ANSWERS), 1)
        self.every = every
        self.target = None if target is None else number_of(target, "target", positive=False)
        self.name = str(name)
        self.axis = axis
        self.active = _is_first() if active is None else bool(active)
        self.threshold = threshold
        self._advice = advise(None, None, "", _known_threshold(threshold))
        if isinstance(schedule, str):
            schedule = shape_of(schedule, self.total, self.axis)
        self._options: Options = {**options, "schedule": schedule}  # type: ignore[typeddict-item]
        if schedule is None:
            self._options["total"] = self.total
        self._params = params
        self._points = Points(most)
        self._alarm = Alarm()
        self._break = ""
        self._note = ""  # of a run that changed its course, and may have a forecast
        self._question: Question | None = None
        self._answer: Answer | None = None
        self._moments: Floats = np.full(5, np.nan)
        self._prob_below: float | None = None
        self._since: float | None = None  # share of the run from which the target is out of reach
        self._answered = -math.inf  # step of the last answer
        self._next_position = 0.0  # of tokens, from which the next one is due
        self._problem = ""
        self._news = False
        self._lock = threading.Lock()
        self._waiting: tuple[Floats, Any, float] | None = None
        self._thread: threading.Thread | None = None
        self._compiled = False
        if self.active:
            self._prepare()

    # What a loop calls

    def log(
        self, step: Any = None, loss: Any = None, lr: Any = None, tokens: Any = None, **others: Any
    ) -> bool:
        """Take one point; never raises.

        Parameters
        ----------
        step : number
            Optimizer steps so far.
        loss : number
            The training loss there: a float, or anything that ``float()`` takes, such as a scalar
            of NumPy, PyTorch or JAX.
        lr : number, optional
            The learning rate of the step.
        tokens : number, optional
            Tokens so far.
        **others
            Further metrics, which are ignored: ``log(step=step, **metrics)`` works.

        Returns
        -------
        bool
            Whether there is something new in `line`.
        """
        if not self.active:
            return False
        try:
            return self._log(step, loss, lr, tokens)
        except Exception as error:
            return self._trouble(f"{type(error).__name__}: {error}")

    def update(self) -> bool:
        """Make a forecast of all points now, whatever ``every`` says; never raises.

        Returns
        -------
        bool
            Whether there is something new in `answer` and `line`.
        """
        if not self.active:
            return False
        try:
            self._ask()
        except Exception as error:
            return self._trouble(f"{type(error).__name__}: {error}")
        return self._take_news()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a forecast that is being made in the background.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        bool
            Whether none is left.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
            return not thread.is_alive()
        return True

    # What is known

    @property
    def answer(self) -> Answer | None:
        """The last forecast, None before there is one."""
        return self._answer

    @property
    def broken(self) -> str:
        """What broke in the run, "" while nothing did."""
        return self._break

    @property
    def problem(self) -> str:
        """Why there is no newer forecast, "" where all is well."""
        return self._problem

    @property
    def step(self) -> float:
        """Step of the last forecast; NaN before there is one."""
        return self._answered if math.isfinite(self._answered) else math.nan

    @property
    def prob_below(self) -> float | None:
        """Probability that the run ends below the target; None without one, or without answer."""
        return self._prob_below

    @property
    def advice(self) -> Advice:
        """Whether to stop the run, and how often such advice was wrong on public runs."""
        return self._advice

    @property
    def runs(self) -> Runs:
        """The run as it was logged, averaged where it is long: what the next forecast will see.

        Raises
        ------
        DataError
            Fewer than three usable points.
        """
        return self._runs_of(*self._points.table())

    @property
    def line(self) -> str:
        """One line for a progress bar: ``step 4,000: final loss 2.91 (2.85-2.98), P(<2.9) .38``."""
        if not self.active:
            return "not watched in this process"
        last = self._points.last_step
        if self._break:
            return f"step {last:,.0f}: {self._break}; no forecast holds"
        if self._answer is None:
            if self._problem:
                return f"step {max(last, 0):,.0f}: no forecast: {self._problem}"
            few = f"{self._points.logged} of {LEAST_POINTS} points so far"
            return f"step {max(last, 0):,.0f}: {few}" if self._points.rows else "no points yet"
        words = f"step {self._answered:,.0f}: final loss {_interval(*self._moments[2:])}"
        if self._prob_below is not None:
            words += f", P(<{self.target:g}) {_chance(self._prob_below)}"
        if self._note:
            words += f"; {self._note}"
        return f"{words} (no newer forecast: {self._problem})" if self._problem else words

    def metrics(self, prefix: str = "lossfit/") -> dict[str, float]:
        """The forecast as numbers for a tracker; {} before there is one.

        ``final_loss`` (median), ``lower``, ``upper``, ``prob_below_target`` where there is a
        target, ``broken`` (0 or 1).

        Parameters
        ----------
        prefix : str
            What the names begin with.

        Returns
        -------
        dict of str to float
            Numbers by name.
        """
        if self._answer is None:
            return {f"{prefix}broken": 1.0} if self._break else {}
        lower, median, upper = (float(value) for value in self._moments[2:])
        values = {"final_loss": median, "lower": lower, "upper": upper}
        if self._prob_below is not None:
            values["prob_below_target"] = self._prob_below
        values["broken"] = float(bool(self._break))
        return {f"{prefix}{key}": value for key, value in values.items()}

    def __repr__(self) -> str:
        return f"<Monitor of {self.name!r}, {self.line}>"

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """What was logged, as numbers and lists: to keep with a checkpoint.

        Returns
        -------
        dict
            Numbers, strings, lists and dicts, for `load_state_dict`.
        """
        return {
            "schema": STATE,
            "answered": self._answered if math.isfinite(self._answered) else None,
            "since": self._since,
            "points": self._points.state(),
            "recent": self._alarm.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, with the options of this monitor.

        Parameters
        ----------
        state : dict
            What `state_dict` gave.

        Raises
        ------
        DataError
            Something else than a state of a monitor.
        """
        if not isinstance(state, dict) or state.get("schema") != STATE:
            raise DataError("load_state_dict takes what state_dict of a Monitor gave")
        self._points.restore(state["points"])
        self._alarm.restore(state["recent"])
        self._answer, self._answered = None, -math.inf
        self._since = state["since"]
        if self.active and state["answered"] is not None:
            self.update()
            self._answered = float(state["answered"])

    def __getstate__(self) -> dict[str, Any]:
        unpicklable = ("_lock", "_thread", "_waiting", "_answer", "_question")
        kept = {key: value for key, value in self.__dict__.items() if key not in unpicklable}
        return {"kept": kept, "answered": self._answer is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["kept"])
        self._lock = threading.Lock()
        self._thread = self._waiting = self._answer = self._question = None
        self._compiled = False
        if self.active:
            self._prepare()
            if state["answered"]:
                step = self._answered
                self.update()
                self._answered = step

    # How it is done

    def _log(self, step: Any, loss: Any, lr: Any, tokens: Any) -> bool:
        if step is None or loss is None:
            return self._trouble("log() takes step= and loss=")
        at, value = float(step), float(loss)
        rate = math.nan if lr is None else float(lr)
        seen = math.nan if tokens is None else float(tokens)
        if not (math.isfinite(at) and at >= 0):
            return self._trouble(f"step must be a number, 0 or more, got {at:g}")
        before = self._points.last_step
        self._points.add(at, value, rate, seen)
        broken = self._alarm.add(at, value)
        if broken is not None and str(broken) != self._break:
            self._breaks(str(broken))
        if self._is_due(before, at):
            self._ask()
        return self._take_news()

    def _is_due(self, before: float, step: float) -> bool:
        if self._points.logged < LEAST_POINTS:
            return False
        if self.every is None:  # tokens: in fortieths of what was planned
            return not self._points.newest(self.axis) < self._next_position
        return step // self.every > max(before, 0) // self.every or (
            self.axis == "step" and before < self.total <= step
        )

    def _ask(self) -> None:
        """Forecast from the points of now: here, or in the background while that is slow."""
        snapshot = self._points.table()
        step = self._points.last_step
        self._next_position = self._points.newest(self.axis) + self.total / ANSWERS
        if not self._compiled:
            self._compiled = _are_compiled()
        if self._compiled:
            self._take(self._forecast(*snapshot), step)
            return
        with self._lock:
            self._waiting = (*snapshot, step)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="lossfit")
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                job, self._waiting = self._waiting, None
                if job is None:
                    self._thread = None
                    return
            try:
                self._take(self._forecast(*job[:2]), job[2])
            except Exception as error:
                self._trouble(f"{type(error).__name__}: {error}")

    def _forecast(self, table: Floats, points: Any) -> Answer | str:
        """The answer of some rows, or why there is none."""
        from ..answers.extrapolation import answer_to

        try:
            runs = self._runs_of(table, points)
            if len(runs[self.name]) < LEAST_POINTS:
                return f"{len(runs[self.name])} usable points so far; {LEAST_POINTS} are needed"
            if self._question is None:
                raise DataError("it was made for another process (active=False)")
            with quiet():
                return answer_to(self._question, runs, [self.name], np.array([[self.total]]))
        except DataError as error:
            return str(error)

    def _runs_of(self, table: Floats, points: Any) -> Runs:
        from ..runs.collection import Runs
        from ..runs.intake import clean
        from ..runs.known import Known
        from ..runs.raw import Raw

        step, loss, lr, tokens = table.T
        axes = {"step": step.copy()}
        if np.isfinite(tokens).any():
            axes["tokens"] = tokens.copy()
        raw = Raw(
            (self.name,),
            np.array([0, len(step)]),
            loss.copy(),
            axes,
            lr=lr.copy() if np.isfinite(lr).any() else None,
            precision=points.astype(float) if self._points.stride > 1 else None,
        )
        return Runs._of(clean(raw, Known(params=self._params)))

    def _take(self, answer: Answer | str, step: float) -> None:
        """Make an answer, or the reason why there is none, the monitor's."""
        if isinstance(answer, str):
            self._news |= self._trouble(answer)
            return
        curves = answer.mixed.curves[0, 0]
        self._moments = describe(answer.mixed.curves, answer.prob)[:, 0, 0]
        self._prob_below = None
        if self.target is not None:
            self._prob_below = float((curves < self.target).mean())
        self._answer, self._answered = answer, step
        self._problem = ""
        seen = self._alarm.look() if self._break else None  # else it would have said so
        words, hopeless = answer.broken.get(self.name, ("", False))
        before, self._note = self._break, "" if hopeless else words
        self._break = str(seen) if seen is not None else words if hopeless else ""
        if self._break and self._break != before:
            log.warning("%s: %s", self.name, self._break)
        share = float(answer.ends[0]) / self.total
        self._since = hopeless_since(self._since, share, self._prob_below, self.threshold)
        self._advise(is_long(self._since, share))
        self._news = True

    def _advise(self, long: bool = False) -> None:
        self._advice = advise(self._prob_below, self.target, self._break, self.threshold, long)

    def _breaks(self, words: str) -> None:
        self._break = words
        self._advise()
        self._news = True
        log.warning("%s: %s", self.name, words)

    def _trouble(self, words: str) -> bool:
        """Keep and tell once what went wrong; whether it is new."""
        if words == self._problem:
            return False
        self._problem = words
        log.warning("monitor of %s: %s", self.name, words)
        return True

    def _take_news(self) -> bool:
        news, self._news = self._news, False
        return news

    def _prepare(self) -> None:
        """Check the options, import and load what forecasts need, before training begins."""
        from ..forecasts.question import Question
        from ..runs.collection import Runs

        steps = np.linspace(0.02, 0.2, 24) * self.total
        example = Runs.from_arrays(
            self.axis, steps, 3 + (steps / self.total) ** -0.3, names=[self.name]
        )
        self._question = Question.of(example, self.axis, **self._options)
        self._compiled = _are_compiled()
        if self._compiled:
            from ..answers.extrapolation import answer_to

            answer_to(self._question, example, [self.name], np.array([[self.total]]))


def _are_compiled() -> bool:
    """Whether the kernel of forecasts is compiled; if not, another Python begins to."""
    from ..engine.serving import CURVE_SECONDS, engine_of, serve

    return engine_of(serve(*KERNEL, CURVE_SECONDS)) == "compiled"


def _is_first() -> bool:
    """Whether this is the first process of a training, or the only one."""
    return os.environ.get("RANK", "0") in ("0", "")


def _known_threshold(threshold: float) -> float:
    from .stopping import rates

    if threshold not in rates():
        known = ", ".join(f"{value:g}" for value in rates())
        raise DataError(f"threshold must be one of {known}, got {threshold!r}")
    return threshold


def _interval(lower: float, median: float, upper: float) -> str:
    """``2.91 (2.85-2.98)``: so many decimals that the interval has two digits."""
    width = upper - lower
    decimals = int(np.clip(1 - math.floor(math.log10(width)), 0, 6)) if width > 0 else 4
    low, middle, high = (f"{value:.{decimals}f}" for value in (lower, median, upper))
    dash = " to " if lower < 0 else "-"
    return f"{middle} ({low}{dash}{high})"


def _chance(prob: float) -> str:
    """``.38``, as probabilities are written in a short line."""
    return (
        f"{prob:.2f}".removeprefix("0") if 0.005 <= prob < 0.995 else ("<.01", ">.99")[prob > 0.5]
    )
