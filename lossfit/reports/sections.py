"""The sections of a report: what is read, beside what the figures draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..answers import answer_text
from ..fits.flags import ANSWER_MEANINGS, FIT_MEANINGS, QUIET
from ..forecasts.record import record_of
from ..runs.axes import check_axis
from ..runs.broken import first_lines, without_forecast
from ..runs.cleaning import MEANINGS
from ..runs.labels import AXIS_LABELS, AXIS_UNITS, amount, ratio_text, span
from .parts import Section, figure, run_cell
from .phases_part import phases_section as phased
from .race_part import race_section as raced
from .tables import Cell, flag_list, name, number, paragraph, safe, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..answers.answer import Answer
    from ..fits.posterior import Fit
    from ..forecasts.question import Options
    from ..laws import Law, ScheduleLaw
    from ..runs.collection import Runs
    from .curves import Band, Drawing

NO_HEADLINE = '<p class="number" id="headline" aria-live="polite"><span>No forecast</span></p>'
MOST_ROWS = 5_000  # of a table
MOST_FITS = 250  # runs whose parameters are listed
DROPPED = ("missing", "not_finite", "duplicate_step", "restart", "unusable_axis")
ALL_MEANINGS = {**MEANINGS, **FIT_MEANINGS, **ANSWER_MEANINGS}
DIAGNOSED_LAW = "power_linear"


@dataclass(frozen=True)
class Context:
    """What the sections are made from."""

    answer: Answer
    shown: Runs  # the runs that have the answer's axis, those of the answer first
    banded: Runs  # those that have bands
    place: dict[str, int]  # from names to positions on the page, of the runs that are drawn
    found: list[Band]
    reasons: dict[str, str]  # what each run's target is, where the reader did not say
    options: Options  # the options of the question, for a race of the runs too
    most_phases: int  # runs whose phases are looked at


def default_title(answer: Answer) -> str:
    """What the page is about."""
    names = answer.runs.names
    return f"Training loss of {names[0] if len(names) == 1 else f'{len(names):,} runs'}"


def page_data(
    answer: Answer,
    picture: Drawing,
    band_list: Sequence[Band],
    beside: Sequence[Law | ScheduleLaw],
    known: dict[str, int],
) -> dict[str, Any]:
    """What the figures draw, but for what sections add."""
    laws = [*answer.question.laws, *beside] if len(answer.question.laws) == 1 else [None, *beside]
    farthest = float(answer.frame["horizon_ratio"].max())
    menu = []
    for i, (band, law) in enumerate(zip(band_list, laws, strict=True)):
        own = i == 0 and law is not None
        share = answer.record_at(farthest) if own else record_of(band.law, farthest)
        menu.append(
            {
                "n": band.law,
                "f": "equal-weight mixture" if law is None else law.formula,
                "r": None if np.isnan(share) else round(100 * share),
            }
        )
    other = answer.compute_of
    return {
        "schema": "lossfit.report/1",
        "axis": answer.axis,
        "axes": {a: {"label": AXIS_LABELS[a], "units": AXIS_UNITS[a]} for a in picture.axes},
        "prob": answer.prob,
        "laws": menu,
        "focus": known.get(_best(answer)["run"], 0),
        "other": known.get(other) if other is not None else None,
        "runs": [run.data for run in picture.runs],
    }


def answer_section(context: Context) -> Section:
    """What was asked and what is known of it, first in words."""
    answer = context.answer
    rows = answer.frame
    lines = [f'<p class="question">{safe(answer_text.question_text(answer))}</p>']
    lines += [paragraph(line) for line in first_lines(answer.broken)]
    lines += _one(answer) if len(rows) == 1 else _several(context)
    lines.append(f'<ul class="basis">{"".join(f"<li>{safe(x)}</li>" for x in _basis(answer))}</ul>')
    flags: dict[str, list[str]] = {}
    for run, flags_of_row in zip(rows["run"], rows["notes"], strict=True):
        for flag in _flags(answer, run, flags_of_row):
            if run not in flags.setdefault(flag, []):
                flags[flag].append(run)
    if flags:
        lines.append("<h3>Beware</h3>" + flag_list(flags, answer.meanings, len(answer.names)))
    printed = safe(answer_text.text(answer))
    lines.append(f"<details><summary>As printed</summary><pre>{printed}</pre></details>")
    return Section("answer", "Answer", "\n".join(lines))


def picture_section(context: Context) -> Section:
    """The answer drawn, and row by row; below the controls."""
    lines = []
    lines.append(
        figure(
            "focus",
            "Loss of the chosen run against compute, with bands and the interval at its target",
            "",
            "wide",
        )
    )
    lines.append(f"<noscript>{_still(context.answer)}</noscript>")
    if len(context.answer.frame) > 1:
        lines.append(_answer_table(context))
    return Section("picture", "", "\n".join(lines))


def _still(answer: Answer) -> str:
    """The picture for readers without JavaScript."""
    from matplotlib.figure import Figure

    from ..plotting.answer_plot import plot_answer
    from ..plotting.html import image

    drawing = Figure(figsize=(7.0, 4.3), layout="constrained")
    plot_answer(answer, ax=drawing.add_subplot(), run=_best(answer)["run"])
    return image(drawing, "The curve of the run, its forecast and the interval at its target")


def _best(answer: Answer) -> Any:
    """The row of the frame with the lowest median, of runs with a forecast where there are any."""
    rows = _told(answer)
    return answer.frame.loc[(rows if len(rows) else answer.frame)["median"].idxmin()]


def _told(answer: Answer) -> Any:
    """The rows of the frame whose run has a forecast."""
    frame = answer.frame
    return frame[[not without_forecast(answer.broken, run) for run in frame["run"]]]


def _flags(answer: Answer, run: str, flags: tuple[str, ...]) -> list[str]:
    """The flags of a row that are shown: of a run without a forecast that it broke."""
    hopeless = without_forecast(answer.broken, run)
    return [f for f in flags if f not in QUIET and (f == "broken" or not hopeless)]


def _interval(answer: Answer, lower: float, upper: float) -> str:
    return f"{100 * answer.prob:g} % interval {lower:.3f} to {upper:.3f}"


def _one(answer: Answer) -> list[str]:
    """The answer to a question about one place of one run."""
    row = answer.frame.iloc[0]
    if without_forecast(answer.broken, row["run"]):
        return [NO_HEADLINE]
    out = [_headline(row["median"], safe(_interval(answer, row["lower"], row["upper"])))]
    run = answer.runs[answer.names[0]]
    facts = [f"The data of {name(run.name)} end at a loss of {float(run.loss[-1]):.3f}."]
    if answer.compute_of is not None:
        final = answer.final_loss(answer.compute_of)
        below = answer_text.probability(answer.prob_below(), final.size)
        facts = [
            f"{name(answer.compute_of)} ended at {float(np.median(final)):.3f}.",
            f"P({name(run.name)} below {name(answer.compute_of)}) = {safe(below)}.",
            *facts,
        ]
    out.append(f'<p class="facts">{" ".join(facts)}</p>')
    if "law_disagreement" in row["notes"]:
        out.append(paragraph("These data can't tell which law to follow: see each law's own band."))
    return out


def _several(context: Context) -> list[str]:
    """The shape of an answer that has many rows: the table has them."""
    answer = context.answer
    best = _best(answer)
    out = []
    if context.reasons:
        count: dict[str, int] = {}
        for what in context.reasons.values():
            count[what] = count.get(what, 0) + 1
        where = " and ".join(
            f"{what} ({n:,} run{'s' if n > 1 else ''})" for what, n in count.items()
        )
        out.append(paragraph(f"Nothing was asked, so this is each run at {where}."))
    if without_forecast(answer.broken, best["run"]):
        return [*out, NO_HEADLINE]
    where = safe(amount(float(best["at"]), answer.axis))
    words = (
        f"{safe(_interval(answer, best['lower'], best['upper']))}, the lowest of "
        f"{len(_told(answer)):,}: {name(best['run'])} at {where}"
    )
    return [*out, _headline(best["median"], words)]


def _headline(median: float, words: str) -> str:
    """The answer's number; the page puts that of another run here when it is chosen."""
    return (
        f'<p class="number" id="headline" aria-live="polite"><strong>{median:.3f}</strong> '
        f"<span>{words}</span></p>"
    )


def _basis(answer: Answer) -> list[str]:
    """Law, schedule and record, as the printed answer says them."""
    if not len(_told(answer)):
        return []
    return [line.strip() for line in answer_text.mixture_text(answer).split("\n") if line.strip()]


def _answer_table(context: Context) -> str:
    answer = context.answer
    frame = answer.frame.head(MOST_ROWS)
    head = ["run", f"at ({AXIS_UNITS[answer.axis]})", "ratio", "last loss", "median"]
    head += [f"{100 * answer.prob:g} % from", "to"]
    below = None
    if answer.compute_of is not None:
        head.append(f"P(below {answer.compute_of})")
        below = np.atleast_1d(np.asarray(answer.prob_below(), float))
    head.append("flags")
    last = {n: float(answer.runs[n].loss[-1]) for n in answer.names}
    unit = AXIS_UNITS[answer.axis]
    rows, which = [], []
    for i, row in enumerate(frame.itertuples(index=False)):
        at, told = float(row.at), not without_forecast(answer.broken, row.run)
        cells = [
            run_cell(row.run),
            Cell(safe(amount(at, answer.axis).removesuffix(f" {unit}")), at),
            Cell(safe(ratio_text(float(row.horizon_ratio))), float(row.horizon_ratio)),
            number(last[row.run], ".3f"),
            number(row.median, ".3f") if told else Cell("no forecast"),
            *(number(end if told else np.nan, ".3f") for end in (row.lower, row.upper)),
        ]
        if below is not None:
            share = float(below[i])
            words = answer_text.probability(share, answer.question.draws) if told else ""
            cells.append(Cell(safe(words), share if told else None))
        cells.append(Cell(safe(", ".join(_flags(answer, row.run, row.notes)))))
        rows.append(cells)
        which.append(context.place.get(row.run, -1))
    caption = "The answer, run by run; the ratio is that of the place to the end of the data"
    more = len(answer.frame) - len(frame)
    if more > 0:
        caption += f"; {more:,} more rows are in the answer's frame"
    return table(caption, head, rows, runs=which, kind="answers")


def bands_section(context: Context, picture: Drawing) -> Section:
    """All curves, and bands of some."""
    answer = context.answer
    text = [
        paragraph(
            f"Bands hold {100 * answer.prob:g} % of the posterior: the darker one is the loss "
            f"curve, the lighter one a logged point (posterior predictive). They start where the "
            f"fitted window starts."
        )
    ]
    small = []
    if picture.shown < picture.total:
        small.append(
            f"Points are thinned for drawing: {picture.shown:,} of {picture.total:,} are shown, "
            f"of each strip of the axis the lowest and the highest loss."
        )
    if len(context.banded) < len(context.shown):
        small.append(f"Bands were made for the first {len(context.banded):,} runs.")
    if len(picture.runs) < len(context.shown):
        small.append(f"The first {len(picture.runs):,} of {len(context.shown):,} runs are drawn.")
    text += [paragraph(" ".join(small), "small")] if small else []
    text.append(
        figure("curves", "Loss of all runs against compute, with bands of some", "", "wide")
    )
    return Section("bands", "Curves and bands", "\n".join(text))


def diagnostics_section(context: Context) -> Section:
    """Flags, what was dropped, fits, residuals."""
    answer = context.answer
    runs = context.banded
    fit = _diagnosed(context)
    text = []
    runs_of_flag: dict[str, list[str]] = {}
    for run in answer.runs:
        for flag in run.flags:
            runs_of_flag.setdefault(flag.flag, []).append(run.name)
    for run_name, flags in zip(runs.names, fit.flags, strict=True):
        for flag_name in flags:
            if flag_name in FIT_MEANINGS:
                runs_of_flag.setdefault(flag_name, []).append(run_name)
    of = len(answer.runs)
    text.append("<h3>Flags of the data and of the fits</h3>")
    text.append(flag_list(runs_of_flag, ALL_MEANINGS, of) or paragraph("None."))
    text.append("<h3>What was dropped</h3>")
    text += _dropped(context)
    text.append("<h3>Residuals</h3>")
    text.append(
        figure(
            "residuals",
            "Loss minus the median curve of the chosen run, within its window",
            "",
            "wide low",
        )
    )
    text.append("<h3>Fits</h3>")
    text.append(_fit_table(context, fit))
    text.append(_parameter_table(context, fit))
    return Section("diagnostics", "Diagnostics and flags", "\n".join(text), made=fit)


def _diagnosed(context: Context) -> Fit:
    """A plain law's fit of the runs that have bands, whose residuals are told of."""
    from ..fits.fitting import fit_quietly

    question = context.answer.question
    return fit_quietly(
        context.banded,
        DIAGNOSED_LAW,
        question.axis,
        question.window_of(context.banded),
        min(question.draws, 400) if len(context.banded) > 200 else question.draws,
        "cpu",
        question.seed,
    )


def _dropped(context: Context) -> list[str]:
    frame = context.answer.runs.flags
    lost = frame[frame["flag"].isin(DROPPED)]
    dropped = int(lost["count"].sum())
    spikes = int(frame.loc[frame["flag"] == "spike", "count"].sum())
    total = sum(len(run) for run in context.answer.runs)
    out = [
        paragraph(
            f"{total:,} points were kept; {dropped:,} row{' was' if dropped == 1 else 's were'} "
            f"dropped, and "
            f"{spikes:,} spike{'' if spikes == 1 else 's'} kept but left out of fits."
        )
    ]
    if not len(frame):
        return out
    rows, which = [], []
    for row in frame.head(MOST_ROWS).itertuples(index=False):
        about = row.run if isinstance(row.run, str) else None
        rows.append(
            [
                run_cell(about) if about is not None else Cell("all"),
                Cell(safe(row.flag)),
                number(row.count, ",.0f"),
                Cell(safe(row.detail)),
            ]
        )
        which.append(context.place.get(about, -1) if about is not None else -2)
    caption = "What cleaning did"
    if len(frame) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS:,} of {len(frame):,} rows)"
    body = table(caption, ["run", "flag", "count", "detail"], rows, runs=which)
    return [*out, f"<details><summary>What cleaning did, row by row</summary>{body}</details>"]


def _fit_table(context: Context, fit: Fit) -> str:
    """A row a run: points, window, noise, autocorrelation, response."""
    head = ["run", "points", "in window", "window", "noise sd"]
    band = context.found[0]
    forecasts = context.answer.mixed.forecasts
    response = {}
    if forecasts:
        head += ["B (mean)", "B (sd)"]
        for run_name, (mean, sd) in zip(context.answer.names, forecasts[0].strength, strict=True):
            response[run_name] = (float(mean), float(sd))
    head += ["residual rho", "effective points", "flags"]
    rows, which = [], []
    table_ = fit.diagnostics
    for i, (run_name, row) in enumerate(
        zip(context.banded.names, table_.itertuples(index=False), strict=True)
    ):
        cells = [
            run_cell(run_name),
            number(len(context.banded[run_name]), ",.0f"),
            number(row.n_points, ",.0f"),
            Cell(safe(span(row.window_start, row.window_end, fit.axis)), float(row.window_start)),
            number(float(band.sigma[i]), ".2g"),
        ]
        if forecasts:
            mean, sd = response.get(run_name, (np.nan, np.nan))
            cells += [number(mean, ".2f"), number(sd, ".2f")]
        cells += [
            number(row.rho1, ".2f"),
            number(row.n_eff, ",.0f"),
            Cell(safe(", ".join(f for f in row.notes if f in FIT_MEANINGS))),
        ]
        rows.append(cells)
        which.append(context.place[run_name])
    note = (
        f"Noise sd is that of a point of weight 1 under {band.law}. "
        + (
            "B is the response to a fall of the learning rate from its peak to 0. "
            if forecasts
            else ""
        )
        + f"Window, rho (lag-1 autocorrelation of residuals) and the independent points that they "
        f"are worth are those of {fit.law.name}, fitted for this: rho above 0.5 says that this "
        f"law misses part of the curve."
    )
    return paragraph(note, "small") + table("Fits, run by run", head, rows, runs=which)


def _parameter_table(context: Context, fit: Fit) -> str:
    listed = fit if len(fit.runs) <= MOST_FITS else fit.select(fit.runs.names[:MOST_FITS])
    summary = listed.summary(context.answer.prob, scaled=True)
    percent = f"{100 * context.answer.prob:g} %"
    rows, which = [], []
    for (run_name, parameter), row in summary.iterrows():
        rows.append(
            [
                run_cell(str(run_name)),
                Cell(safe(parameter)),
                *(number(float(row[k])) for k in ("mean", "sd", "lower", "upper")),
            ]
        )
        which.append(context.place[str(run_name)])
    head = ["run", "parameter", "mean", "sd", f"{percent} from", "to"]
    caption = f"Parameters of {fit.law.name}: {fit.law.formula}, x over the end of the window"
    if len(listed.runs) < len(fit.runs):
        caption += f" (the first {len(listed.runs):,} of {len(fit.runs):,} runs)"
    body = table(caption, head, rows, runs=which)
    return f"<details><summary>Parameters of {safe(fit.law.name)}</summary>{body}</details>"


def notes(context: Context, picture: Drawing, left_out: list[str], n_shown: int) -> list[str]:
    """How the page was made."""
    from .. import __version__
    from ..runs.labels import names_text

    question = context.answer.question
    laws = "; ".join(f"{law.name}: {law.formula}" for law in question.laws)
    out = [
        f"lossfit {__version__}; law of the answer {laws}; axis {question.axis}, window "
        f"{question.window}, {question.draws:,} draws, random seed {question.seed}.",
        "Intervals are of the loss curve, without observation noise, and equal-tailed.",
        "Bands have draws of their own: at a target they differ from the answer's interval by the "
        "error of its draws.",
        "Another axis than the answer's is a change of units: within the data as logged, beyond "
        "them at the run's mean rate.",
    ]
    if left_out:
        out.append(f"Not drawn, as they have no {question.axis}: {names_text(left_out, 10)}.")
    return out


def race_section(context: Context) -> Section:
    """Who leads, who overtakes whom."""
    axis = context.answer.axis
    wanted = check_axis(axis) if axis in ("gpu_hours", "flops") else "auto"
    return raced(context.answer.runs, wanted, context.place, context.options)


def phases_section(context: Context) -> Section:
    """Where a phase hands over to the next."""
    asked = {
        "schedule": context.options["schedule"],
        "prob": context.options["prob"],
        "random_seed": context.options["random_seed"],
        "draws": min(context.options["draws"], 400),
    }
    return phased(context.shown, context.answer.axis, context.place, context.most_phases, asked)
