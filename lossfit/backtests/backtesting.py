"""Pretend that runs stopped early, predict their known future, score the intervals: `backtest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .._base.documented import figure_options, plain_data
from .._base.errors import DataError
from .._base.frames import answer_first, word_column
from .._base.progress import bar
from .._base.results import Result
from .._base.seeds import Seed, run_keys
from .._base.views import view
from ..forecasts.learning import Priors, learn_priors
from ..forecasts.mixture import curves_of
from ..forecasts.question import Question, option_words, refuse_unused
from ..forecasts.rates import Plan
from ..laws import ScheduleLaw
from ..runs.broken import first_lines, left_out_for, left_out_text, words_of
from ..runs.checks import as_runs, choose_axis
from ..runs.schedule_words import with_own
from .cases import END, Cases, Knowledge, make_cases
from .references import Standing, moves_of
from .scores import LEVELS, score

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..fits.window import WindowSpec
    from ..laws import Law
    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs
    from ..runs.known import ScheduleByRun

SCHEMA = "lossfit.check/1"
KNOWLEDGE = ("known", "masked", "none")
Group = str | Mapping[str, str] | Callable[[str], str] | None


@dataclass(frozen=True, eq=False, repr=False)
class Check(Result):
    """What a backtest found; made by `lossfit.backtest`.

    Attributes
    ----------
    frame : pandas.DataFrame
        A row for each forecast: median, lower, upper, then group, horizon_ratio, observed,
        points, covered (by lower to upper), crps, log_score, pit, width (of the 90 % interval),
        error (of the median), cover50, cover80, cover90, cover95, broken (what broke in the whole
        run, in words, or None), notes (a tuple of flags), run, cutoff, horizon and at.
    skipped : pandas.DataFrame
        The runs that gave no forecast, and the reason; among them those that broke, so that they do
        not go on as they went (`left_out`).
    axis : str
        The axis of the forecasts.
    prob : float
        Probability of lower to upper.
    laws : tuple of str
        What forecast.

    Examples
    --------
    >>> import lossfit
    >>> check = lossfit.backtest(lossfit.load("llama2"), axis="tokens", draws=200)
    >>> table = check.summary()  # coverage, CRPS, width and error by horizon
    """

    _keys = ("run", "cutoff", "horizon", "at")

    frame: pd.DataFrame
    skipped: pd.DataFrame
    axis: str
    prob: float
    laws: tuple[str, ...]

    def summary(self, by: str = "horizon") -> pd.DataFrame:
        """Mean scores, within a group first and then over groups.

        Parameters
        ----------
        by : {"horizon", "group"}
            A row for each horizon; or for each group and horizon.

        Returns
        -------
        pandas.DataFrame
            Columns cover50, cover80, cover90, cover95 (shares), crps, log_score, width (of the 90 %
            interval), error, bias, forecasts, runs, groups.
        """
        if by not in ("horizon", "group"):
            raise DataError(f"by must be 'horizon' or 'group', got {by!r}")
        names = [f"cover{100 * level:.0f}" for level in LEVELS]
        names += ["crps", "log_score", "width", "error", "bias"]
        table = self.frame.assign(bias=self.frame["median"] - self.frame["observed"])
        table[names[:4]] = table[names[:4]].astype(float)
        horizons = list(dict.fromkeys(sorted(table["horizon"], key=_horizon_order)))
        within = table.groupby(["group", "horizon"], sort=False)
        each = within[names].mean()
        each["forecasts"] = within.size()
        each["runs"] = within["run"].nunique()
        if by == "group":
            groups = list(dict.fromkeys(table["group"]))
            order = [(g, h) for g in groups for h in horizons if (g, h) in each.index]
            return each.loc[order]
        over = each.groupby("horizon", sort=False)
        out = over[names].mean()
        out["forecasts"] = over["forecasts"].sum()
        out["runs"] = table.groupby("horizon")["run"].nunique()
        out["groups"] = over.size()
        return out.loc[horizons]

    @property
    def left_out(self) -> dict[str, str]:
        """The runs that broke, so that they do not count, and what broke in each."""
        return left_out_for(zip(self.skipped["run"], self.skipped["reason"], strict=True))

    @property
    def _kept(self) -> dict[str, str]:
        """What broke in runs that count."""
        if "broken" not in self.frame:  # read from an older file
            return {}
        words = zip(self.frame["run"], self.frame["broken"], strict=True)
        return {name: broken for name, broken in words if broken is not None}

    def _text(self) -> str:
        table = self.summary()
        worst = self.summary("group")["cover90"]
        groups = self.frame["group"].nunique()
        lines = [
            *first_lines(
                {name: (words, True) for name, words in self.left_out.items()},
                consequence="left out",
                where="check.skipped",
            ),
            *first_lines(
                {name: (words, False) for name, words in self._kept.items()},
                consequence="it counts, though broken",
                where="check.frame",
            ),
            f"Backtest of {', '.join(self.laws)} on {self.axis}: {len(self.frame):,} forecasts of "
            f"{self.frame['run'].nunique():,} runs in {groups} group{'s' * (groups > 1)}",
            "  horizon  coverage of 50/80/90/95 %   CRPS    width   |error|",
        ]
        for horizon, row in table.iterrows():
            cover = "/".join(f"{100 * row[f'cover{100 * level:.0f}']:.0f}" for level in LEVELS)
            lines.append(
                f"  {horizon!s:<8} {cover:<27} {row['crps']:.4f}  {row['width']:.3f}   "
                f"{row['error']:.4f}"
            )
        if self.frame["group"].nunique() > 1:
            group, horizon = worst.idxmin()
            lines.append(
                f"  lowest 90 % coverage of a group: {100 * worst.min():.0f} % ({group}, {horizon})"
            )
        others = len(self.skipped) - len(self.left_out)
        if others:
            lines.append(f"  {others:,} runs gave no forecast (check.skipped says why)")
        return "\n".join(lines)

    def _line(self) -> str:
        cover = self.summary()["cover90"].mean()
        return (
            f"Check of {len(self.frame):,} forecasts by {', '.join(self.laws)}: 90 % intervals "
            f"held {100 * cover:.0f} % of the outcomes"
        )

    @plain_data
    def to_dict(self) -> dict[str, Any]:
        """The backtest as plain data for JSON: schema, question, summary, rows, skipped."""
        from .. import __version__
        from .._base.records import rows_of

        return {
            "schema": SCHEMA,
            "lossfit": __version__,
            "question": {"axis": self.axis, "prob": self.prob, "laws": list(self.laws)},
            "summary": rows_of(self.summary().reset_index()),
            "groups": rows_of(self.summary("group").reset_index()),
            "rows": rows_of(self.frame),
            "skipped": rows_of(self.skipped),
        }

    @figure_options
    def plot(self, ax: Axes | None = None, *, panels: bool = True) -> Axes:
        """Calibration, PIT and forecasts against outcomes; see `lossfit.plotting.plot_check`."""
        axes: Axes = view("check.plot")(self, ax=ax, panels=panels)
        return axes


def _horizon_order(horizon: str) -> float:
    return np.inf if horizon == END else float(horizon.removesuffix("x"))


@option_words
def backtest(
    runs: Runs | pd.DataFrame,
    cutoffs: Sequence[float] = (0.3, 0.5, 0.7),
    horizons: Sequence[float | str] = (1.25, 2.0, "end"),
    laws: str | Law | ScheduleLaw | Sequence[str | Law | ScheduleLaw] = "auto",
    siblings: Runs | pd.DataFrame | str | None = None,
    group: Group = None,
    prob: float = 0.9,
    random_seed: Seed = 0,
    *,
    axis: AnyAxis = "auto",
    window: WindowSpec = "auto",
    priors: Priors | None = None,
    domain: str = "auto",
    schedules: Knowledge | ScheduleByRun = "known",
    draws: int = 1000,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool = False,
) -> Check:
    """Pretend that runs stopped early, predict their known future, and score the intervals.

    Parameters
    ----------
    runs : Runs or pandas.DataFrame
        Finished runs.  Branches of one run and two views of one run (train and validation loss) are
        not independent: pass one of them.
    cutoffs : sequence of float
        Shares of a run at which it is cut.
    horizons : sequence of float or "end"
        Multiples of the cut point, and the run's end.
    siblings : Runs, pandas.DataFrame or "others", optional
        Finished runs from which priors are learned; ``"others"`` means the other runs of the same
        group.  A run never learns from itself.
    group : str, dict by run or callable, optional
        What runs share (a project, a source): the name of an entry of ``meta``, a dict, or a
        function of the name.  Scores are averaged within a group first, because its runs share
        noise.  By default all runs are one group.
    prob : float
        Probability of ``lower`` to ``upper``.
    random_seed : int, numpy.random.Generator or None
        Draws depend on it, on the run's name and on the cut.
    axis : str
        As in `lossfit.extrapolate`.
    priors : Priors, optional
        What `lossfit.learn_priors` gave, instead of `siblings`.
    schedules : {"known", "masked", "none"}, Schedule, str, or dict of these by run
        What the forecast is told of the learning rate: the schedule to the end where the run has
        one (else its planned end); the planned end only; nothing.  Or the schedule that the runs
        had, where they do not say: ``"cosine"`` is one to the end of each run's data.
    draws : int
        Draws of each forecast.
    progress : bool
        Show a bar.

    Returns
    -------
    Check
        A row a forecast, and what the intervals held: print it, or see ``check.summary()``.

    Raises
    ------
    DataError
        Options that make no sense; no run gives a forecast.
    DeviceError
        A GPU is asked for and cannot be used; the message names what is missing and the fix.

    Notes
    -----
    The outcome is a mean over a small window (`cases`), and the noise of that mean is part
    of the forecast.

    Examples
    --------
    >>> import lossfit
    >>> finished = lossfit.load("llama2")
    >>> check = lossfit.backtest(finished, axis="tokens", siblings="others", draws=200)
    >>> check.frame[["run", "cutoff", "horizon", "observed", "lower", "upper", "covered"]].shape[1]
    7
    """
    runs = as_runs(runs)
    axis = choose_axis(runs, axis)
    cutoffs, horizons = _checked(cutoffs, horizons)
    if not isinstance(schedules, str) or schedules not in KNOWLEDGE:
        ends = {run.name: run.end(axis) for run in runs}
        try:
            runs = with_own(runs, schedules, ends, axis)
        except DataError as error:
            words = ", ".join(map(repr, KNOWLEDGE))
            raise DataError(f"schedules must be {words} or a schedule: {error}") from None
        knowledge: Knowledge = "known"
    else:
        knowledge = cast("Knowledge", schedules)
    groups = _groups(runs, group)
    others = isinstance(siblings, str)
    if others and siblings != "others":
        raise DataError(f"siblings must be runs or 'others', got {siblings!r}")
    question = Question.of(
        runs,
        axis,
        laws=laws,
        siblings=None if isinstance(siblings, str) else siblings,
        priors=priors,
        domain=domain,
        prob=prob,
        window=window,
        draws=draws,
        device=device,
        dtype=dtype,
        random_seed=random_seed,
    )
    refuse_unused(question.laws, {"siblings": siblings})
    if others and priors is not None:
        raise DataError("give siblings= or the priors= learned from them, not both")
    cases = make_cases(runs, axis, cutoffs, horizons, knowledge)
    if cases.runs is None:
        broken = left_out_for(cases.skipped)
        if len(broken) == len(cases.skipped):
            raise DataError(f"no run gives a forecast: {left_out_text(broken)}")
        name, reason = next(each for each in cases.skipped if each[0] not in broken)
        raise DataError(
            f"no run gives a forecast; run {name!r}: {reason}: log more points, or choose other "
            f"cutoffs and horizons"
        )
    learned: Mapping[str, Priors | None] | None = None
    if others:
        learned = _of_the_group(learn_priors(runs), groups, cases)
    elif question.priors is not None:
        learned = {name: question.learned(name) for name in dict.fromkeys(cases.names)}
    if question.by_default and learned is not None:
        question = _moved(question, cases, runs if others else siblings, learned)
    question = _of_cases(question, cases, learned)
    return _scored(cases, question, groups, knowledge == "none", progress)


def backtest_question(
    runs: Runs, question: Question, cutoffs: Sequence[float], horizons: Sequence[float | str]
) -> Check:
    """Backtest a question as it is, priors and all; its plan is that of the runs.

    A run never learns from itself.
    """
    cutoffs, horizons = _checked(cutoffs, horizons)
    cases = make_cases(runs, question.axis, cutoffs, horizons, "known")
    if cases.runs is None:
        raise DataError("no run gives a forecast")
    by_run = {name: question.learned(name) for name in dict.fromkeys(cases.names)}
    if isinstance(question.window, Mapping):  # it says nothing of other runs
        question = replace(question, window="auto")
    if question.moves:
        behind = zip(cases.runs.names, cases.names, strict=True)
        by_case = {case: question.moves[run] for case, run in behind if run in question.moves}
        question = replace(question, moves=by_case)
    own = _of_cases(question, cases, by_run)
    return _scored(cases, own, dict.fromkeys(runs.names, "all"), False, False)


def _moved(
    question: Question, cases: Cases, finished: Any, learned: Mapping[str, Priors | None]
) -> Question:
    """The question with what finished runs say of the default law's errors, by case."""
    asked = {}
    assert cases.runs is not None
    priors = question.priors
    if isinstance(priors, Priors) and priors.runs is not None:
        finished = priors.runs
    for case, run, cutoff in zip(cases.runs.names, cases.names, cases.cutoffs, strict=True):
        of_run = learned[run]
        if of_run is not None:
            asked[case] = Standing(cutoff, of_run.names)

    def frame(*options: Any) -> pd.DataFrame:
        return backtest_question(*options).frame

    return replace(question, moves=moves_of(question, as_runs(finished), asked, frame))


def _of_cases(
    question: Question, cases: Cases, learned: Mapping[str, Priors | None] | None
) -> Question:
    """A question of runs as one of their cases: what was said by run is said by case."""
    assert cases.runs is not None
    behind = dict(zip(cases.runs.names, cases.names, strict=True))
    priors = None
    if question.responds and learned is not None:
        priors = {c: prior for c, run in behind.items() if (prior := learned[run]) is not None}
    window = question.window
    if isinstance(window, Mapping):
        window = {case: window[run] for case, run in behind.items() if run in window}
    plan = Plan(None, cases.totals or None) if question.responds else Plan()
    return replace(question, plan=plan, priors=priors, window=window)


def _of_the_group(learned: Priors, groups: Mapping[str, str], cases: Cases) -> dict[str, Priors]:
    """What the other runs of its group say of each run."""
    members: dict[str, list[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, []).append(name)
    return {
        name: learned.only([other for other in members[groups[name]] if other != name])
        for name in dict.fromkeys(cases.names)
    }


def _scored(
    cases: Cases, question: Question, groups: dict[str, str], alone: bool, progress: bool
) -> Check:
    """Forecast and score; with `alone` every target is asked by itself."""
    import pandas as pd

    runs = cases.runs
    assert runs is not None
    order = np.argsort(cases.case, kind="stable")
    first = np.searchsorted(cases.case[order], np.arange(len(runs)))
    column = np.empty(len(order), np.int64)
    column[order] = np.arange(len(order)) - first[cases.case[order]]
    at = np.full((len(runs), int(column.max()) + 1), np.nan)
    at[cases.case, column] = cases.at
    ends = runs.flat(question.axis).x[runs.flat(question.axis).offsets[1:] - 1]
    curves = np.empty((len(order), question.draws))
    sigma = np.empty((len(order), question.draws))
    flags: list[tuple[str, ...]] = [()] * len(order)
    with bar(len(runs) * len(question.laws), "backtesting", progress) as advance:
        sets = (
            [np.arange(at.shape[1])] if not alone else [np.array([j]) for j in range(at.shape[1])]
        )
        for columns in sets:
            has_target = ~np.isnan(at[:, columns]).all(axis=1)
            block = (
                runs
                if has_target.all()
                else runs.select([n for n, ok in zip(runs.names, has_target, strict=True) if ok])
            )
            mixed = curves_of(question, block, at[has_target][:, columns], advance)
            place = np.cumsum(has_target) - 1
            rows = np.flatnonzero(np.isin(column, columns))
            r, t = place[cases.case[rows]], column[rows] - columns[0]
            curves[rows], sigma[rows] = mixed.curves[r, t], mixed.sigma[r]
            for name, where in mixed.row_flags.items():
                for i in rows[where[r, t]].tolist():
                    flags[i] += (name,)
            if any(map(any, mixed.flags)):
                for i, j in zip(rows.tolist(), r.tolist(), strict=True):
                    flags[i] += tuple(dict.fromkeys(flag for law in mixed.flags for flag in law[j]))
    rng_keys = run_keys(question.seed, runs.names, "backtest noise")
    noise = np.empty_like(curves)
    last = np.append(first[1:], len(order))
    for key, a, b in zip(rng_keys.tolist(), first.tolist(), last.tolist(), strict=True):
        noise[order[a:b]] = np.random.default_rng(key).standard_normal((b - a, question.draws))
    curves += noise * sigma / np.sqrt(cases.points)[:, None]
    found_scores = score(curves, cases.observed, question.prob)
    names = np.array(cases.names, dtype=object)[cases.case]
    cover = {f"cover{100 * level:.0f}": found_scores.cover[k] for k, level in enumerate(LEVELS)}
    frame = pd.DataFrame(
        {
            "run": names,
            "group": [groups[name] for name in names],
            "cutoff": np.array(cases.cutoffs)[cases.case],
            "horizon": list(cases.horizon),
            "at": cases.at,
            "horizon_ratio": cases.at / ends[cases.case],
            "observed": cases.observed,
            "points": cases.points,
            "lower": found_scores.lower,
            "median": found_scores.median,
            "upper": found_scores.upper,
            "covered": (found_scores.lower <= cases.observed)
            & (cases.observed <= found_scores.upper),
            "crps": found_scores.crps,
            "log_score": found_scores.log_score,
            "pit": found_scores.pit,
            "width": found_scores.width,
            "error": np.abs(found_scores.median - cases.observed),
            **cover,
        }
    )
    frame["broken"] = word_column(words_of(cases.broken, frame["run"]))
    frame["notes"] = pd.Series(flags, dtype=object)
    return Check(
        answer_first(frame, Check._keys),
        pd.DataFrame(cases.skipped, columns=["run", "reason"]),
        question.axis,
        question.prob,
        tuple(law.name for law in question.laws),
    )


def _checked(
    cutoffs: Sequence[float], horizons: Sequence[float | str]
) -> tuple[tuple[float, ...], tuple[float | str, ...]]:
    try:
        shares = tuple(float(c) for c in cutoffs)
    except (TypeError, ValueError):
        shares = ()
    if not shares or not all(0 < c < 1 for c in shares) or not _told_apart(shares):
        raise DataError(f"cutoffs must be different shares between 0 and 1, got {cutoffs!r}")
    places: list[float | str] = []
    for horizon in [horizons] if isinstance(horizons, str | float | int) else horizons:
        if horizon == END:
            places.append(END)
            continue
        try:
            places.append(float(horizon))
        except (TypeError, ValueError):
            places.append(np.nan)
        if not 1 < float(places[-1]) < np.inf:
            raise DataError(f"horizons must be above 1 or 'end', got {horizon!r}")
    if not places or not _told_apart(places):
        raise DataError(f"horizons must be different, and at least one; got {horizons!r}")
    return shares, tuple(places)


def _told_apart(values: Sequence[float | str]) -> bool:
    """Whether their names in cases and frames (six digits) differ."""
    return len({v if isinstance(v, str) else f"{v:g}" for v in values}) == len(values)


def _groups(runs: Runs, group: Group) -> dict[str, str]:
    """The group of each run."""
    if group is None:
        return dict.fromkeys(runs.names, "all")
    out = {}
    for name in runs.names:
        if callable(group):
            out[name] = str(group(name))
        elif isinstance(group, Mapping):
            if name not in group:
                raise DataError(f"group= has no entry for run {name!r}")
            out[name] = str(group[name])
        else:
            meta = runs[name].meta
            if group not in meta:
                known = ", ".join(map(repr, meta)) or "nothing"
                raise DataError(
                    f"group={group!r}: the meta of run {name!r} has no such entry, it has {known}; "
                    f"give a dict by run or a function of the name"
                )
            out[name] = str(meta[group])
    return out
