"""The phases on a report: a verdict for each run, and the shape of the chosen one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError, LossfitWarning
from .._base.summaries import central
from ..runs.axes import check_axis
from ..runs.broken import without_forecast
from ..runs.known import for_runs
from ..runs.labels import AXIS_UNITS, amount
from ..runs.logged_rate import history_of
from .curves import packed
from .parts import Section, figure, run_cell
from .tables import Cell, flag_list, number, paragraph, safe, table

if TYPE_CHECKING:
    from ..phase_models.result import Phases, RunPhases
    from ..runs.collection import Runs

PLACES = 80
RARE = 0.05  # a phase less probable than this has no place worth telling
TITLE = "Phases"


def phases_section(
    runs: Runs,  # the most wanted first
    axis: str,
    place: dict[str, int],  # from names to positions on the page
    most: int,  # runs that are looked at
    asked: Mapping[str, Any],  # keywords for `lossfit.phases`
) -> Section:
    """Where the power law hands over to a line, and where the end flattens."""
    if most < 1:
        return Section("phases", TITLE, "", why="Phases were not asked for.")
    try:
        from ..phase_models.build import phases
        from ..phase_models.result import PHASE_MEANINGS, verdict_of
    except ImportError as error:
        return Section("phases", TITLE, "", why=f"No phases in this version of lossfit ({error}).")

    def of_run(name: str) -> dict[str, Any]:
        # A schedule is given for what comes; of what was, the run's own tells, if it is known.
        run = runs[name]
        known = run.schedule is not None or history_of(run, axis) is not None
        return {**asked, "schedule": None if known else for_runs(asked.get("schedule"), [name])}

    each: list[Phases] = []
    reasons: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        for run in runs.names[:most]:  # one by one: a short run must not cost the others
            try:
                each.append(phases(runs.select([run]), axis=check_axis(axis), **of_run(run)))
            except DataError as error:
                reasons.append(str(error))
    if not each:
        return Section("phases", TITLE, "", why=f"No phases: {reasons[0]}")
    results = [phases.by_run[0] for phases in each]
    made = replace(
        each[0], runs=runs.select([result.name for result in results]), by_run=tuple(results)
    )
    text = [
        paragraph(
            "Is there a power-law phase, then nearly a line, then a flat end? The first number "
            "is the posterior probability that the phase exists, the place is where it begins if "
            "it does."
        )
    ]
    flags: dict[str, list[str]] = {}
    for name, noted in made.flags.items():
        for flag in noted:
            flags.setdefault(flag, []).append(name)
    text.append(flag_list(flags, PHASE_MEANINGS, len(results)))
    text.append(_table(made, [verdict_of(result) for result in results], place))
    small = []
    if len(runs) > most:
        small.append(f"The first {most:,} of {len(runs):,} runs were looked at.")
    small += reasons
    text += [paragraph(" ".join(small), "small")] if small else []
    text.append(figure("phase", "The chosen run with its phases shaded", "", "wide"))
    text.append(f"<details><summary>As printed</summary><pre>{safe(made)}</pre></details>")
    told = [result for result in results if not without_forecast(made.broken, result.name)]
    data = {"phases": [_data(result, place.get(result.name), made.prob) for result in told]}
    return Section("phases", TITLE, "\n".join(text), data, made=made)


def _table(made: Phases, verdicts: list[str], place: dict[str, int]) -> str:
    axis = made.axis
    unit = AXIS_UNITS[axis]
    percent = f"{100 * made.prob:g} %"
    head = ["run", "in words", "P(line)", f"line from ({unit})", percent, "P(flat end)"]
    head += [f"flat end from ({unit})", percent]
    rows, which = [], []
    frame = made.frame
    for name, verdict in zip(made.names, verdicts, strict=True):
        which.append(place.get(name, -1))
        if without_forecast(made.broken, name):
            rows.append([run_cell(name), Cell(safe(made.broken[name][0])), *[Cell("")] * 6])
            continue
        cells = [run_cell(name), Cell(safe(verdict))]
        for row in frame[frame["run"] == name].itertuples(index=False):
            cells.append(number(row.prob_exists, ".2f"))
            if row.prob_exists < RARE or not np.isfinite(row.median):
                cells += [Cell(""), Cell("")]
                continue
            words = [
                amount(float(v), axis).removesuffix(f" {unit}")
                for v in (row.lower, row.median, row.upper)
            ]
            cells.append(Cell(safe(words[1]), float(row.median)))
            cells.append(Cell(safe(f"{words[0]} to {words[2]}"), float(row.lower)))
        rows.append(cells)
    return table("Phases, run by run", head, rows, runs=which, kind="phases")


def _data(result: RunPhases, place: int | None, prob: float) -> dict[str, Any]:
    """What the figure draws: shares of the run's end, a band, and where phases begin."""
    places = np.unique(np.linspace(0, len(result.places) - 1, PLACES).round().astype(int))
    band = central(result.curves[places], prob)
    begins = []
    for what, draws, exists in (
        ("line", result.handover, result.prob_linear),
        ("tip", result.tip, result.prob_tip),
    ):
        finite = draws[~np.isnan(draws)]
        if exists >= RARE and finite.size:
            at = [float(v) / result.end for v in central(finite, prob)]
            begins.append({"n": what, "p": round(exists, 4), "x": at})
    return {
        "i": place,
        "x": packed(result.places[places] / result.end),
        "b": packed(band),
        "t": packed(result.t / result.end),
        "y": packed(result.y),
        "begins": begins,
    }
