"""The race on a report: words, what the figures draw, overtakings as a table."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError, LossfitWarning
from ..answers.answer_text import probability
from ..runs.axes import AnyAxis, check_axis
from ..runs.labels import AXIS_LABELS, AXIS_UNITS, amount
from .curves import FEWER_DRAWS, packed
from .parts import Section, figure, run_cell
from .tables import Cell, number, paragraph, safe, table

if TYPE_CHECKING:
    import pandas as pd

    from ..forecasts.question import Options
    from ..races.result import Race
    from ..runs.collection import Runs

MOST_RACED = 12  # runs with a band of their own
MOST_COMPARED = 24  # runs among which overtakings are looked for
LEAST = 0.05  # probability of an overtaking that is listed
LEADS = 0.01  # of leading somewhere, to be in the picture
PLACES = 120
MOST_MARKS = 40


def race_section(
    runs: Runs,
    axis: AnyAxis,  # of the race; "auto" takes GPU-hours, FLOPs or what the runs share
    place: dict[str, int],  # from names to positions on the page
    options: Options,  # of the question
) -> Section:
    """Who leads, who overtakes whom."""
    if len(runs) < 2:
        return Section("race", "Race", "", why="A race needs at least two runs.")
    try:
        from ..races.build import race
    except ImportError as error:
        return Section("race", "Race", "", why=f"No race in this version of lossfit ({error}).")
    if len(runs) > MOST_COMPARED:
        options = {**options, "draws": min(options["draws"], FEWER_DRAWS)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LossfitWarning)
            made = race(runs, axis=axis, **options)
    except DataError as error:
        return Section("race", "Race", "", why=f"No race: {error}")
    best = _leading(made)
    overtakes = _overtakes(made, best)
    text = str(made).split("\n")
    broken = [line for line in text if line.startswith("! ")]
    words = [line.strip() for line in text if line.startswith("  ") and line[2] not in " !"]
    words = [line for line in words if not line.endswith(":")]
    axis_label = AXIS_LABELS[made.axis]
    html = [paragraph(line) for line in broken]
    html.append(f'<p class="question">{safe(text[len(broken)])}</p>')
    html += [paragraph(line) for line in words]
    html.append(figure("race-loss", f"Race of the runs along {axis_label}", "", "wide"))
    html.append(figure("race-leader", f"Probability of leading along {axis_label}", "", "wide low"))
    html.append(_table(made, overtakes, place))
    html.append(
        f"<details><summary>As printed</summary><pre>{safe(chr(10).join(text))}</pre></details>"
    )
    raced = {made.axis: _data(made, best, overtakes, place)}
    if len(runs) <= MOST_COMPARED:
        raced.update(_elsewhere(runs, made.axis, place, {**options, "draws": made.question.draws}))
    data = {"race": {"axis": made.axis, "on": raced}}
    return Section("race", "Race", "\n".join(html), data, made=made)


def _elsewhere(runs: Runs, axis: str, place: dict[str, int], options: Options) -> dict[str, Any]:
    """The race on the other axes that all runs have, for the figures."""
    from ..races.build import race

    options = {**options, "draws": min(options["draws"], FEWER_DRAWS)}
    out = {}
    for other in runs.axes:
        if other == axis:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LossfitWarning)
                made = race(runs, axis=check_axis(other), **options)
        except DataError:  # the schedule, or a planned end, is not on this axis
            continue
        best = _leading(made)
        out[other] = _data(made, best, _overtakes(made, best), place)
    return out


def _leading(race: Race) -> list[str]:
    """The runs that count: kept, and leading somewhere or the lowest at the end of their data."""
    most = race.leads[:, race.kept].max(axis=0)
    order = np.argsort(-most, kind="stable")
    return [race.names[race.kept[k]] for k in order[:MOST_COMPARED]]


def _overtakes(race: Race, best: list[str]) -> pd.DataFrame | None:
    """Overtakings among these runs, the most probable first."""
    if len(best) < 2:
        return None
    table = race.overtakes(best, least=LEAST)
    if not len(table):
        return None
    return table.sort_values(["prob_ever", "median"], ascending=[False, True], kind="stable")


def _table(race: Race, overtakes: pd.DataFrame | None, place: dict[str, int]) -> str:
    if overtakes is None:
        return ""  # which the words say
    percent = f"{100 * race.prob:g} %"
    unit = AXIS_UNITS[race.axis]
    head = ["overtaker", "overtakes", "rank", "probability", f"at ({unit}), median"]
    head += [f"{percent} from", "to", "within the data", "the other passes back"]
    draws = race.curves.shape[2]
    rows, which = [], []

    def where(value: float) -> Cell:
        if not np.isfinite(value):
            return Cell("")
        return Cell(safe(amount(value, race.axis).removesuffix(f" {unit}")), value)

    def chance(value: float) -> Cell:
        return Cell(safe(probability(value, draws)), value) if np.isfinite(value) else Cell("")

    for row in overtakes.itertuples(index=False):
        inside = row.prob_inside / row.prob_ever if row.prob_ever else np.nan
        rows.append(
            [
                run_cell(row.overtaker),
                run_cell(row.overtaken),
                number(row.rank, "d"),
                chance(row.prob_ever),
                where(row.median),
                where(row.lower),
                where(row.upper),
                number(100 * inside, ".0f", " %"),
                chance(row.prob_returns),
            ]
        )
        which.append(place.get(row.overtaker, -1))
    return table(
        f"Overtakings on {AXIS_LABELS[race.axis]}, the most probable first", head, rows, runs=which
    )


def _data(
    race: Race, best: list[str], overtakes: pd.DataFrame | None, place: dict[str, int]
) -> dict[str, Any]:
    """What the two figures draw."""
    places = np.unique(np.linspace(0, len(race.at) - 1, PLACES).round().astype(int))
    frame = race.frame
    column = {n: i for i, n in enumerate(race.names)}
    curves = []
    for name in best[:MOST_RACED]:
        rows = frame[frame["run"] == name]
        keep = np.unique(np.linspace(0, len(rows) - 1, PLACES).round().astype(int))
        rows = rows.iloc[keep]
        curves.append(
            {
                "n": name,
                "i": place.get(name),
                "x": packed(rows["at"]),
                "b": packed(rows[["lower", "median", "upper"]].to_numpy().T),
                "end": float(race.ends[column[name]]),
            }
        )
    leads = race.leads[places]
    shown = [n for n in best[:MOST_RACED] if leads[:, column[n]].max() >= LEADS]
    rest = leads.sum(axis=1) - leads[:, [column[n] for n in shown]].sum(axis=1)
    out: dict[str, Any] = {
        "axis": race.axis,
        "label": AXIS_LABELS[race.axis],
        "at": packed(race.at[places]),
        "curves": curves,
        "leaders": [
            {"n": n, "i": place.get(n), "c": best.index(n), "p": packed(leads[:, column[n]])}
            for n in shown
        ],
        "frontier": _line(race.frontier(), places),
        "truncated": _line(race.truncated_frontier(), places),
    }
    if rest.max() >= LEADS:
        out["rest"] = packed(np.maximum(rest, 0))
    if overtakes is not None:
        medians = {n: frame[frame["run"] == n] for n in best}
        marks = []
        for row in overtakes.head(MOST_MARKS).itertuples(index=False):
            curve = medians[row.overtaken]
            loss = float(np.interp(np.log(row.median), np.log(curve["at"]), curve["median"]))
            marks.append(
                {
                    "a": row.overtaker,
                    "b": row.overtaken,
                    "k": int(row.rank),
                    "p": round(row.prob_ever, 4),
                    "x": [row.lower, row.median, row.upper],
                    "y": round(loss, 5),
                    "in": row.prob_inside >= 0.5 * row.prob_ever,
                }
            )
        out["marks"] = marks
    return out


def _line(frame: pd.DataFrame, places: np.ndarray[Any, Any]) -> dict[str, str]:
    rows = np.unique(np.minimum(places, len(frame) - 1))
    part = frame.iloc[rows]
    return {"x": packed(part["at"]), "b": packed(part[["lower", "median", "upper"]].to_numpy().T)}
