"""The schedule that the law would choose: `best_tail`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from .._base.blas import one_blas_thread
from .._base.documented import figure_options, plain_data
from .._base.errors import DataError, warn
from .._base.frames import answer_first, word_column
from .._base.numbers import is_number
from .._base.options import check_names
from .._base.progress import patience
from .._base.ragged import Floats
from .._base.results import Result
from .._base.summaries import describe
from .._base.views import view
from ..fits.flags import ANSWER_MEANINGS
from ..forecasts.question import LawOptions, takes
from ..forecasts.responses import Rate
from ..runs.broken import broken_runs, left_out_text, without_forecast, words_of
from ..runs.checks import as_runs, axis_values, choose_axis, whole
from ..runs.labels import amount
from ..runs.logged_rate import warmup_of
from ..runs.schedule_words import own_end, peak_of, with_own
from ..schedules import kinds as make
from ..schedules.shapes import Schedule
from .fitted import (
    DISTANCE_MEANINGS,
    LOWER,
    check_known,
    distance_flags,
    fitted,
    is_unsure,
    question_of,
)
from .meanings import unheard
from .scenarios import FittedRun, Scenario
from .search import Problem, knots_between, search, tail_rate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs
    from ..runs.known import ScheduleByRun
    from ..runs.run import Run

BEST = "best"
COOLDOWN = 0.2  # share of the tail that the cooldown of the compared wsd and 1-sqrt takes
COSINE_FINAL = 0.1  # of the peak: where the compared cosine ends
HIGH = 0.5  # of the peak: a run whose rate is lower at its end is not taken to go on
NODES = 200  # of a compared tail
IDLE, RESTS = 0.01, 0.05  # a rate below this share of the tail's first, for this share of the tail
SCHEMA = "lossfit.tail/1"

MEANINGS = {
    "rate_below_data": "the best tail goes below every learning rate in the data: what that wins "
    "is the law's guess",
    "idle": "the best tail rests at a rate of nearly 0 long before it ends, where nothing is "
    "trained: these data can't tell how soon the loss follows the rate; let it fall later",
    "rate_above_data": "the best tail stays above every learning rate in the data for a part",
    "response_unsure": "these data say little of how the loss responds to the learning rate (B is "
    "known worse than to 35 %): the shape of the tail follows the prior",
    **DISTANCE_MEANINGS,
    "one_run": "the law saw one schedule only, and optima lie where laws are wrong: runs under "
    "other schedules (share=True) would sharpen it",
    "steps_unknown": "the run counts no steps: it is taken to have made 20,000 up to its end, and "
    "how steeply the best tail ends depends on that",
    "siblings_unused": "fewer than two of the sibling runs could tell how the loss responds to the "
    "learning rate: the shipped prior was used",
    **{name: ANSWER_MEANINGS[name] for name in ("calibrated", "not_calibrated", "broken")},
}
QUIET = frozenset({"steps_unknown"})


@dataclass(frozen=True, eq=False, repr=False)
class Tail(Result):
    """The tail that minimises the posterior expected final loss; made by `lossfit.best_tail`.

    Attributes
    ----------
    run : Run
    axis : str
    start, total : float
        Where the tail begins and ends on the axis.
    at, lr : ndarray, shape (n_knots,)
        Knots of the tail on the axis, and the learning rate there.
    floor, peak : float
        Bounds of the learning rate.
    schedule : Schedule
        The whole schedule, with what the run has before the tail; for `lossfit.what_if`,
        ``Runs.with_schedule`` or a training script (``schedule(step)``).
    prob : float
    names : tuple of str
        ``"best"`` and the tails that it is compared with.
    curves : ndarray, shape (n_names, n_draws)
        Draws of the loss at the end; the same draw is the same law.
    expected : ndarray, shape (n_names,)
        The law's expected loss, which is what was minimised.
    flags : tuple of str
    seen : tuple of float
        Lowest and highest learning rate in the data.
    below : float
        Share of the tail that is below the lowest one.
    left_out : dict of str
        Runs of which nothing was learned, because they broke, and what broke in each.
    within : Tail or None
        The best tail that stays at or above the lowest rate of the data, where this one does not.

    Examples
    --------
    >>> import lossfit
    >>> seven = lossfit.load("llama2").select(["llama2-7B"])
    >>> tail = lossfit.best_tail(seven, segments=8, draws=200)
    >>> tail.names[0], len(tail.names)
    ('best', 6)
    """

    _keys = ("run", "schedule", "at")
    _view = "tail"

    run: Run
    axis: str
    start: float
    total: float
    at: Floats
    lr: Floats
    floor: float
    peak: float
    schedule: Schedule
    prob: float
    names: tuple[str, ...]
    curves: Floats
    expected: Floats
    flags: tuple[str, ...]
    seen: tuple[float, float]
    below: float
    within: Tail | None
    _tails: Mapping[str, tuple[Floats, Floats]]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a tail: the best one and those that it is compared with.

        Columns median, lower, upper, mean (the loss at the end, without noise), gain,
        gain_lower, gain_upper (mean and interval of the loss that the best tail saves over this
        one, over joint draws), prob_better (that it saves any), expected (the law's expected
        loss), broken (what broke in the run, in words, or None), notes (a tuple of flags), sd,
        axis, prob, run, schedule and at.
        """
        import pandas as pd

        mean, sd, lower, median, upper = describe(self.curves, self.prob)
        gain = self.curves - self.curves[0]
        low, high = np.quantile(gain, [(1 - self.prob) / 2, (1 + self.prob) / 2], axis=1)
        best = np.array([name == BEST for name in self.names])
        frame = pd.DataFrame(
            {
                "run": self.run.name,
                "schedule": self.names,
                "axis": self.axis,
                "at": self.total,
                "mean": mean,
                "sd": sd,
                "lower": lower,
                "median": median,
                "upper": upper,
                "prob": self.prob,
                "gain": gain.mean(axis=1),
                "gain_lower": low,
                "gain_upper": high,
                "prob_better": np.where(best, np.nan, (gain > 0).mean(axis=1)),
                "expected": self.expected,
                "broken": word_column(words_of(self.broken, [self.run.name] * len(self.names))),
                "notes": pd.Series([self.flags] * len(self.names), dtype=object),
            }
        )
        return answer_first(frame, self._keys)

    def _row_draws(self) -> Floats:
        return self.curves

    @cached_property
    def broken(self) -> dict[str, tuple[str, bool]]:
        """Whether the run broke: what happened, and whether no forecast holds for it."""
        return broken_runs(self.runs, [self.run.name], self.axis)

    @property
    def tail(self) -> pd.DataFrame:
        """The tail: columns at (units of the axis), lr and ratio (to the run's peak)."""
        import pandas as pd

        return pd.DataFrame({"at": self.at, "lr": self.lr, "ratio": self.lr / peak_of(self.run)})

    def gain(self, over: str = "cosine") -> tuple[float, float, float]:
        """Mean, lower and upper end of the interval of what the best tail saves over another.

        Parameters
        ----------
        over : str
            One of ``names``.

        Returns
        -------
        tuple of three float
            In the unit of the loss; above zero where the best tail is better.
        """
        if over not in self.names:
            raise DataError(f"no tail is called {over!r}; there are {', '.join(self.names)}")
        r = self.frame.iloc[self.names.index(over)]
        return float(r["gain"]), float(r["gain_lower"]), float(r["gain_upper"])

    def summary(self) -> pd.DataFrame:
        """The frame without axis and notes, rounded to 4 decimals.

        Returns
        -------
        pandas.DataFrame
            A row a tail.
        """
        return self.frame.drop(columns=["run", "axis", "at", "prob", "notes"]).round(4)

    @property
    def warning(self) -> str:
        """What the one `LossfitWarning` says; "" for nothing."""
        from ..fits.flags import warning_text

        flags = tuple(flag for flag in self.flags if flag not in QUIET)
        return warning_text([self.run.name], [flags], self.meanings)

    @property
    def meanings(self) -> dict[str, str]:
        """What each flag says, of this run and of what was given."""
        said = {"broken_left_out": left_out_text(self.left_out)} if self.left_out else {}
        return {**MEANINGS, **said}

    @property
    def runs(self) -> Any:
        """The run, as a collection of its own."""
        return self.run.alone()

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON.

        Keys schema, lossfit (version), run, axis, start, total, prob, broken (what broke in the
        run, by name), left_out (what broke in runs of which nothing was learned), tail (its knots),
        rows and within (the loss that staying within the data's rates costs, or null).
        """
        from .. import __version__
        from .._base.records import rows_of

        within = self.within
        return {
            "schema": SCHEMA,
            "lossfit": __version__,
            "run": self.run.name,
            "axis": self.axis,
            "start": self.start,
            "total": self.total,
            "prob": self.prob,
            "broken": {name: words for name, (words, _) in self.broken.items()},
            "left_out": dict(self.left_out),
            "tail": rows_of(self.tail),
            "rows": rows_of(self.frame),
            "within": None if within is None else float(within.expected[0] - self.expected[0]),
        }

    @figure_options
    def plot(self, ax: Axes | None = None, *, gains: bool = True) -> Axes:
        """The tail beside those that it is compared with; see `lossfit.plotting.plot_tail`."""
        axes: Axes = view("tail.plot")(self, ax=ax, gains=gains)
        return axes


@takes(LawOptions)
def best_tail(
    runs: Runs | Run | pd.DataFrame,
    total: float | None = None,
    *,
    run: str | None = None,
    start: float | None = None,
    floor: float = 0.0,
    peak: float | None = None,
    axis: AnyAxis = "auto",
    own: ScheduleByRun = None,
    segments: int = 48,
    **options: Unpack[LawOptions],
) -> Tail:
    """The non-increasing learning rate that minimises the expected final loss.

    Parameters
    ----------
    runs : Runs, Run or pandas.DataFrame
        The run, whose learning rate must be known; with ``share`` other runs of the model too.
    total : float, optional
        Where the run is to end on the axis; by default where its own schedule ends, stated or
        recognised in the logged rate, or else its data.
    run : str, optional
        Which run the tail is for; the first by default.
    start : float, optional
        Where the tail begins: before it the run's own learning rate is kept.  By default the end of
        the data where the run can go on from there (``total`` lies beyond, and its rate is still
        half of the peak or more), else the end of the warm-up.
    floor, peak : float
        Bounds of the learning rate, in its own units.  By default ``peak`` is the run's rate at
        ``start``.
    axis : str
        As in `lossfit.extrapolate`.
    own : Schedule, str, or dict of these by run, optional
        As in `lossfit.what_if`.
    segments : int
        Straight pieces of the tail, 2 to 128; they crowd towards the end.
    **options
        See `lossfit.forecasts.question.LawOptions`.

    Returns
    -------
    Tail
        With the gain over five usual tails from the same start, over joint draws: a cosine to 10 %
        of where it begins, a cosine and a straight line to ``floor``, and the rate held and then
        taken to ``floor`` over the last 20 % by a straight line (wsd) or by 1 - sqrt.

    Raises
    ------
    DataError
        A learning rate that is not known, bounds or places that do not fit together.

    Warns
    -----
    LossfitWarning
        Once, if there are flags that matter: above all where the tail leaves the learning rates in
        the data.

    Notes
    -----
    The expectation is over the draws of `lossfit.what_if`; its gradient is exact
    (`lossfit.answers.search`), and the search (SLSQP) begins from the compared tails.  With
    ``share`` the discrepancy, which depends on the place and not on the schedule, is in the
    intervals and not in what is minimised.  Such optima are as good
    as the law: Luo et al. 2025 (arXiv 2503.12811) found a late decay, like WSD's, by theirs, and
    checked it by training.

    Examples
    --------
    >>> import lossfit
    >>> seven = lossfit.load("llama2").select(["llama2-7B"])
    >>> tail = lossfit.best_tail(seven, segments=8, draws=200)
    >>> mean, lower, upper = tail.gain("cosine")
    >>> rate = tail.schedule(400_000)  # the learning rate at that step
    """
    check_names(options, LawOptions.__annotations__, "best_tail")
    runs = with_own(as_runs(runs), own)
    name = runs.names[0] if run is None else runs.select([run]).names[0]
    axis = choose_axis(runs.select([name]), axis)
    segments = whole(segments, "segments", 2)
    if segments > 128:
        raise DataError(f"segments must be 128 at most, got {segments}")
    question = question_of(runs, axis, **options)
    check_known(runs, name, axis)
    end = own_end(runs[name], axis) if total is None else float(_single(total, "total"))
    fits = fitted(question, runs, [name], {name: np.array([end])})
    engine = fits.runs[name]
    begin = _start(engine, start, end)
    low, top = _bounds(engine, begin, floor, peak)
    tail = _solve(engine, begin, end, low, top, segments, question.prob, fits.flags)
    lowest = engine.seen[0]
    if "rate_below_data" in tail.flags and low < lowest < top:
        within = _solve(engine, begin, end, lowest, top, segments, question.prob, fits.flags)
        tail = replace(tail, within=within)
    if unheard(question, name):
        flags = (*tail.flags, "broken_left_out")
        tail = replace(tail, flags=flags, left_out=question.left_out)
    if without_forecast(tail.broken, name):  # other flags would be about a curve that ended
        tail = replace(tail, flags=("broken",))
    elif tail.broken:
        tail = replace(tail, flags=("broken", *tail.flags))
    warn("best tail", tail.warning)
    return tail


def _start(engine: FittedRun, start: float | None, end: float) -> float:
    """Where the tail begins on the axis."""
    run, axis = engine.run, engine.axis
    if start is None:
        here = float(np.interp(engine.last, engine.rate.step, engine.rate.rho))
        goes_on = end > engine.end * 1.001 and here >= HIGH
        begin = engine.end if goes_on else max(warmup_of(run, axis), 1e-3 * end)
    else:
        begin = float(_single(start, "start"))
    if not begin < end * (1 - 1e-9):
        raise DataError(
            f"the tail must begin before it ends, got start {amount(begin, axis)} and total "
            f"{amount(end, axis)}"
        )
    return begin


def _single(value: Any, what: str) -> float:
    values = axis_values(value)
    if len(values) != 1:
        raise DataError(f"{what} is one place on the axis, got {value!r}")
    return float(values[0])


def _bounds(
    engine: FittedRun, begin: float, floor: float, peak: float | None
) -> tuple[float, float]:
    """Bounds relative to the run's peak."""
    unit = peak_of(engine.run)
    here = float(np.interp(begin / engine.step_size, engine.rate.step, engine.rate.rho))
    for value, what in ((floor, "floor"), (here * unit if peak is None else peak, "peak")):
        if not is_number(value) or value < 0:
            raise DataError(f"{what} must be a learning rate of 0 or more, got {value!r}")
    low, top = float(floor) / unit, here if peak is None else float(peak) / unit
    if not low < top:
        raise DataError(
            f"the learning rate must be free to move: floor {low * unit:g} is not below "
            f"{'the rate at the start' if peak is None else 'peak'}, {top * unit:g}; give another "
            f"floor=, peak= or start="
        )
    return low, top


def _compared(step: Floats, top: float, low: float) -> dict[str, tuple[Floats, Floats]]:
    """Usual tails from the top: steps and relative rates."""
    start, end = step[0], step[-1]
    u = 1 - (1 - np.linspace(0, 1, NODES + 1)) ** 1.5
    at = start + (end - start) * u
    final = max(low, COSINE_FINAL * top)
    z = np.clip((u - (1 - COOLDOWN)) / COOLDOWN, 0.0, 1.0)
    wave = (1 + np.cos(np.pi * u)) / 2
    out = {"cosine": (at, final + (top - final) * wave)}
    if low < final:
        out["cosine to floor"] = (at, low + (top - low) * wave)
    out["linear"] = (at, top + (low - top) * u)
    out["wsd"] = (at, top + (low - top) * z)
    out["1-sqrt"] = (at, top + (low - top) * np.sqrt(z))
    return out


@patience("searching for the best tail")
@one_blas_thread()
def _solve(
    engine: FittedRun,
    begin: float,
    end: float,
    low: float,
    top: float,
    segments: int,
    prob: float,
    more_flags: tuple[str, ...],
) -> Tail:
    size = engine.step_size
    step = knots_between(begin / size, end / size, segments)
    last = np.array([end])
    laws = engine.laws_at(end)
    problem = Problem(laws, engine.rate, step)
    others = _compared(step, top, low)
    starts = [np.interp(step, at, rho) for at, rho in others.values()]
    solution = search(problem, low, top, starts)
    tails = {BEST: (problem.fine, problem.spread @ solution.rho), **others}
    rates = {name: tail_rate(engine.rate, float(step[0]), *tail) for name, tail in tails.items()}
    curves = np.concatenate(engine.curves([Scenario(rate, last) for rate in rates.values()]))
    expected = [laws.expected(rate, end / size) for rate in rates.values()]
    unit = peak_of(engine.run)
    seen = engine.seen
    flags, below = _flags(engine, problem.fine, tails[BEST][1], end)
    flags += more_flags
    return Tail(
        run=engine.run,
        axis=engine.axis,
        start=begin,
        total=end,
        at=solution.step * size,
        lr=solution.rho * unit,
        floor=low * unit,
        peak=top * unit,
        schedule=_schedule(engine, rates[BEST], begin, tails[BEST]),
        prob=prob,
        names=tuple(rates),
        curves=curves,
        expected=np.array(expected),
        flags=tuple(flags),
        seen=(seen[0] * unit, seen[1] * unit),
        below=below,
        within=None,
        _tails={name: (at * size, rho * unit) for name, (at, rho) in tails.items()},
    )


def _flags(engine: FittedRun, at: Floats, rho: Floats, end: float) -> tuple[list[str], float]:
    """Flags, and the share of the tail below all rates of the data."""
    flags = []
    low, high = engine.seen
    # The share of the steps: between nodes the rate is a straight line.
    fine = np.linspace(at[0], at[-1], 2001)
    rate = np.interp(fine, at, rho)
    below = float((rate < low - 1e-6).mean())
    if rho.min() < low - LOWER:
        flags.append("rate_below_data")
    else:
        below = 0.0
    if (rate < IDLE * rate[0]).mean() > RESTS:
        flags.append("idle")
    if rho.max() > high + LOWER:
        flags.append("rate_above_data")
    flags += distance_flags(engine, end)
    if is_unsure(engine):
        flags.append("response_unsure")
    if engine.fitted < 2:
        flags.append("one_run")
    if engine.assumed:
        flags.append("steps_unknown")
    return flags, below


def _schedule(engine: FittedRun, rate: Rate, begin: float, tail: tuple[Floats, Floats]) -> Schedule:
    """The whole schedule in the units of the run's own."""
    run, size, unit = engine.run, engine.step_size, peak_of(engine.run)
    own = run.schedule
    axis = own.axis if own is not None else ("step" if run.has("step") else "tokens")
    factor = run.end(engine.axis) / run.end(axis)  # units of the fit's axis in one of the schedule
    warmup = warmup_of(run, axis)
    start = begin / factor
    before = np.unique(np.append(np.linspace(warmup, start, 64), np.linspace(0, warmup, 2)))
    before = before[before < start * (1 - 1e-9)]
    if own is not None:
        lr = own(before)
        here = float(own(start))
    else:
        lr = unit * np.interp(before * factor / size, rate.step, rate.rho)
        here = lr[-1] if len(lr) else unit * tail[1][0]
    at, rho = tail[0] * size / factor, tail[1] * unit
    gap = 1e-9 * at[-1]
    if abs(here - rho[0]) > 1e-6 * unit and at[0] > gap:
        # A jump: points cannot coincide, so it takes a billionth of the run.
        before, lr = np.append(before[before < at[0] - gap], at[0] - gap), np.append(
            lr[: (before < at[0] - gap).sum()], here
        )  # fmt: skip
    return make.from_points(np.append(before, at), np.append(lr, rho), axis=axis)
