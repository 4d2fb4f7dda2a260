"""`report`: asks the questions and writes the page."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from .. import laws as registry
from .._base.documented import figure_options
from .._base.errors import DataError, LossfitWarning, warn
from .._base.options import check_names
from .._base.progress import patience
from .._base.results import Result, Scale
from .._base.seeds import seed_integer
from .._base.summaries import check_prob
from ..forecasts.question import DEFAULTS, Options, spelt_out, takes
from ..laws import Law, ScheduleLaw
from ..runs.broken import without_forecast
from ..runs.checks import as_runs, choose_axis, whole
from .content import Content
from .curves import MANY, bands, drawing
from .ladder_part import arrivals_section, ladder_section

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .._base.ragged import Floats
    from ..answers.answer import Answer
    from ..runs.axes import AnyAxis
    from ..runs.collection import Runs
    from ..runs.known import NumberByRun, Schedules
    from .curves import Band

#: Laws that the page can switch to beside the answer's, and those added where runs are fewer.
MENU_LAWS = ("learned", "power", "power_linear")
MORE_LAWS = (("multi_power", 200), ("broken_power", 20))  # and up to how many runs
MOST_DRAWN = 5_000  # runs with points on the page
MOST_BANDS = 1_000  # and with bands
GRID, GRID_OF_MANY = 64, 28  # places of a band
PLAN_MARGIN = 1.02  # a plan that ends so little beyond the data has been carried out
LEAST_AHEAD = 2.0  # where nothing is planned: this many times the data


@dataclass(frozen=True, eq=False, repr=False)
class Report(Result):
    """A page that was written; made by `lossfit.report`.

    Attributes
    ----------
    path : Path
        The file.
    answer : Answer
        What the page says first.
    runs : Runs
        All runs of the page.
    size : int
        Bytes of the file.
    missing : dict
        Sections that are not there, and why.
    race, phases : object or None
        What these sections show.

    Examples
    --------
    >>> import lossfit, tempfile
    >>> seven = lossfit.load("llama2").select(["llama2-7B"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = lossfit.report(seven, f"{folder}/seven.html", at=4e12, axis="tokens")
    >>> page.answer.names
    ('llama2-7B',)
    """

    _keys = ("run", "at")

    path: Path
    answer: Answer
    runs: Runs
    size: int
    missing: dict[str, str] = field(default_factory=dict)
    race: Any = None
    phases: Any = None

    @property
    def frame(self) -> pd.DataFrame:
        """The answer's frame, a row a run and target."""
        return self.answer.frame

    @property
    def prob(self) -> float:
        """Probability of the intervals."""
        return self.answer.prob

    def _row_draws(self) -> Floats:
        return self.answer._row_draws()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON.

        Returns
        -------
        dict
            The keys of the answer's, and ``page`` with path, size and missing.
        """
        page = {"path": str(self.path), "size": self.size, "missing": dict(self.missing)}
        return {**self.answer.to_dict(), "page": page}

    @figure_options
    def plot(
        self, ax: Axes | None = None, *, run: str | None = None, scale: Scale = "auto"
    ) -> Axes:
        """The picture of the answer; see `lossfit.plotting.plot_answer`."""
        return self.answer.plot(ax, run=run, scale=scale)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def _text(self) -> str:
        lines = [f"{self.path}: {_count(self.runs)}, {self.size / 1e6:.1f} MB"]
        lines += [f"  without {name}: {why}" for name, why in self.missing.items()]
        return "\n".join(lines)

    def _of_the_data(self) -> list[str]:
        return self.answer._of_the_data()

    def _line(self) -> str:
        return f"Report of {_count(self.runs)} in {self.path}: {self.answer._line()}"


@takes(Options)
def report(
    runs: Runs | pd.DataFrame | str | os.PathLike[str] | Sequence[Any],
    path: str | os.PathLike[str] = "report.html",
    *,
    run: str | Sequence[str] | None = None,
    at: ArrayLike | Mapping[str, ArrayLike] | None = None,
    compute_of: str | None = None,
    target: ArrayLike | None = None,
    axis: AnyAxis = "auto",
    beside: Sequence[str | Law | ScheduleLaw] | str = "auto",
    title: str | None = None,
    most_phases: int = 8,
    progress: bool = False,
    **options: Unpack[Options],
) -> Report:
    """Write one self-contained page about runs: the answer first, then what it rests on.

    The page has the answer with its interval, record and flags; the race of the runs; their curves
    with posterior predictive bands; their phases; diagnostics and what cleaning dropped.  Its
    figures have hover, zoom, a choice of axis and of law.  It needs no network and asks for none.
    The same seed gives the same page, byte by byte.

    Parameters
    ----------
    runs : Runs, pandas.DataFrame, path or sequence of paths
        The runs, or what `lossfit.load` reads.
    path : path
        The file to write.
    run : str or sequence of str, optional
        As in `lossfit.extrapolate`.
    at : float, sequence of float, or dict by run, optional
        As in `lossfit.extrapolate`.  Without ``at`` and ``compute_of`` the question is each run's
        loss at the end of its plan (its schedule, or ``total``), or at twice its data where nothing
        beyond the data is planned.
    compute_of : str, optional
        As in `lossfit.extrapolate`.
    target : float or sequence of float, optional
        Losses: a section says when they are reached.
    axis : str
        As in `lossfit.extrapolate`.
    beside : "auto" or sequence of laws
        Laws that the figures can switch to; ``"auto"``: learned, power and power_linear, and
        multi_power for up to 200 runs, broken_power for up to 20.
    title : str, optional
        Heading of the page.
    most_phases : int
        Runs whose phases are looked at, about a second each.
    progress : bool
        Show a bar.
    **options
        See `lossfit.forecasts.question.Options`.

    Returns
    -------
    Report
        Where the page is, and the answer that it shows.

    Raises
    ------
    DataError
        Input that cannot be used; a file that cannot be written.

    Warns
    -----
    LossfitWarning
        Once, if the answer has flags that matter; the page spells them out too.

    Examples
    --------
    >>> import lossfit, tempfile
    >>> seven = lossfit.load("llama2").select(["llama2-7B"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = lossfit.report(seven, f"{folder}/seven.html", at=4e12, axis="tokens")
    >>> page.path.name
    'seven.html'
    """
    check_names(options, Options.__annotations__, "report")
    from .page import written

    runs = _loaded(runs)
    options = {**DEFAULTS, **options}
    check_prob(options["prob"])
    most_phases = whole(most_phases, "most_phases", 0)
    options["random_seed"] = seed_integer(options["random_seed"])
    reasons: dict[str, str] = {}
    if at is None and compute_of is None:
        names = [run] if isinstance(run, str) else list(run or runs.names)
        asked_runs = runs.select(names)
        axis = choose_axis(asked_runs, axis)
        total = options["total"]
        plans = spelt_out(options["schedule"], asked_runs, None, total, axis)
        at, reasons = plan_ends(asked_runs, axis, plans, total)
    from ..answers.extrapolation import extrapolate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        answer = extrapolate(
            runs, run, at=at, compute_of=compute_of, axis=axis, progress=progress, **options
        )
        content = _content(answer, target, beside, reasons, options, title, most_phases)
    size = written(Path(path), content)
    warn("report", answer.warning)
    made = {section.key: section.made for section in content.sections}
    missing = {s.title.lower(): s.why for s in content.sections if s.why}
    return Report(Path(path), answer, runs, size, missing, made.get("race"), made.get("phases"))


def _count(runs: Runs) -> str:
    return f"{len(runs):,} run{'' if len(runs) == 1 else 's'}"


def _loaded(runs: Any) -> Runs:
    """Runs as they are, from a frame, or from what `load` reads."""
    paths = isinstance(runs, (str, os.PathLike)) or (
        isinstance(runs, Sequence) and not isinstance(runs, (bytes, bytearray))
    )
    if paths or hasattr(runs, "read"):
        from ..sources import load

        return load(runs)
    return as_runs(runs)


def plan_ends(
    runs: Runs, axis: str, schedule: Schedules, total: NumberByRun
) -> tuple[dict[str, float], dict[str, str]]:
    """Where each run's plan ends on the axis, and in words what that place is.

    A schedule given beats the run's own, and both beat ``total``; a plan that ends within 2 % of
    the data has been carried out, and twice the data are asked for.
    """
    from ..runs.known import numbers
    from ..runs.logged_rate import axis_factor

    totals = numbers(total, runs.names, "total") if total is not None else None
    at, words = {}, {}
    for i, run in enumerate(runs):
        end = run.end(axis)
        own = schedule.get(run.name) if isinstance(schedule, Mapping) else schedule
        own = run.schedule if own is None else own
        ends = [np.nan]
        if own is not None and own.total:
            ends.append(own.total * axis_factor(run, own, axis))
        if totals is not None:
            ends.append(float(totals[i]))
        planned = next((e for e in ends if np.isfinite(e)), np.nan)
        if planned > PLAN_MARGIN * end:
            at[run.name], words[run.name] = float(planned), "the end of its plan"
        else:
            at[run.name], words[run.name] = LEAST_AHEAD * end, "twice its data"
    return at, words


def menu(answer: Answer, beside: Any, n_runs: int) -> list[Law | ScheduleLaw]:
    """The laws that the page can switch to beside the answer's own."""
    if isinstance(beside, str):
        if beside != "auto":
            raise DataError(f"beside must be 'auto' or a list of laws, got {beside!r}")
        beside = [*MENU_LAWS, *(law for law, most in MORE_LAWS if n_runs <= most)]
    own = [law.name for law in answer.question.laws]
    if len(own) > 1:
        own = []  # a mixture: its parts are worth a look
    registered = [registry.find(law) for law in beside]
    return [law for law in registered if law.name not in own]


@patience("computing the report")
def _content(
    answer: Answer,
    target: ArrayLike | None,
    beside: Any,
    reasons: dict[str, str],
    options: Options,
    title: str | None,
    most_phases: int,
) -> Content:
    """Everything that the page says and draws."""
    from . import sections as parts

    runs, axis = answer.runs, answer.axis
    have = [run.name for run in runs if run.has(axis)]
    first = [*answer.names, *(n for n in have if n not in set(answer.names))]
    shown = runs if first == list(runs.names) else runs.select(first)
    left_out = [run.name for run in runs if not run.has(axis)]
    drawn = shown if len(shown) <= MOST_DRAWN else shown.select(shown.names[:MOST_DRAWN])
    chosen = menu(answer, beside, min(len(shown), MOST_BANDS))
    banded = shown if len(shown) <= MOST_BANDS else shown.select(shown.names[:MOST_BANDS])
    try:
        made = _banded(answer, banded, chosen)
    except DataError:  # a run that nothing was asked about may be too short for a band
        if len(banded) <= len(answer.names):
            raise
        banded = shown.select(answer.names[:MOST_BANDS])
        made = _banded(answer, banded, chosen)
    at, grid, band_list, targets = made
    rows = {n: i for i, n in enumerate(banded.names)}
    picture = drawing(drawn, axis, grid, band_list, rows)
    _put_targets(picture, answer, [band.law for band in band_list], targets, at)
    known = {drawn_run.data["n"]: i for i, drawn_run in enumerate(picture.runs)}
    data = parts.page_data(answer, picture, band_list, chosen, known)
    context = parts.Context(answer, shown, banded, known, band_list, reasons, options, most_phases)
    ladder = options.get("ladder")
    all_sections = [
        parts.answer_section(context),
        parts.picture_section(context),
        *([] if target is None else [arrivals_section(answer, np.atleast_1d(target), known)]),
        *([] if ladder is None else [ladder_section(ladder, answer)]),
        parts.race_section(context),
        parts.bands_section(context, picture),
        parts.phases_section(context),
        parts.diagnostics_section(context),
    ]
    for section in all_sections:
        data.update(section.data)
    notes = parts.notes(context, picture, left_out, len(shown))
    heading = title or parts.default_title(answer)
    return Content(answer, heading, reasons, data, all_sections, notes)


def _banded(
    answer: Answer, runs: Runs, beside: Sequence[Law | ScheduleLaw]
) -> tuple[Floats, Floats, list[Band], list[Floats]]:
    """Targets (NaN for runs without), and what `bands` gives."""
    n_asked = min(len(answer.names), len(runs))
    at = np.full((len(runs), answer.at.shape[1]), np.nan)
    at[:n_asked] = answer.at[:n_asked]
    ends = np.array([run.end(answer.axis) for run in runs])
    for r, name in enumerate(answer.names[:n_asked]):
        if without_forecast(answer.broken, name):  # drawn as far as it was logged
            at[r, ~(at[r] <= ends[r])] = np.nan
    last = np.fmax(np.fmax.reduce(at, axis=1), ends)
    count = GRID if len(runs) <= MANY else GRID_OF_MANY
    return at, *bands(runs, answer.question, beside, last, at, count)


def _put_targets(
    picture: Any, answer: Answer, names: list[str], targets: list[Floats], at: Floats
) -> None:
    """The intervals at the targets by law, as [share, then lower, median, upper a law].

    The answer's own numbers, and those of the laws that it compares itself, are taken from the
    answer.
    """
    own = {
        (row.run, row.at): [row.lower, row.median, row.upper]
        for row in answer.frame.itertuples(index=False)
    }
    compared: dict[tuple[str, str, float], list[float]] = {}
    if len(names) > 1 and len(picture.runs) <= MANY:  # else the fits of the bands will do
        for row in answer.by_law.itertuples(index=False):
            compared[(row.law, row.run, row.at)] = [row.lower, row.median, row.upper]
    for r, drawn_run in enumerate(picture.runs[: len(at)]):
        run, out = drawn_run.data["n"], []
        if without_forecast(answer.broken, run):
            drawn_run.data["no"] = answer.broken[run][0]
        end = drawn_run.data["e"][answer.axis]
        for k in np.flatnonzero(~np.isnan(at[r])):
            place = float(at[r, k])
            intervals = []
            for i, law in enumerate(names):
                triple = own.get((run, place)) if i == 0 else compared.get((law, run, place))
                if triple is None:
                    triple = [float(v) for v in targets[i][:, r, k]]
                intervals.append([round(float(v), 6) for v in triple])
            out.append([place / end, intervals])
        if out:
            drawn_run.data["t"] = out
