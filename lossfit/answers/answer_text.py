"""An answer in words, and as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.numbers import DRAWS, decimals_of, estimate, interval_text
from .._base.records import rows_of
from .._base.summaries import central
from ..fits.flags import QUIET
from ..forecasts.logged_groups import LOGGED
from ..laws import ScheduleLaw
from ..runs.broken import first_lines, without_forecast
from ..runs.labels import AXIS_UNITS, amount, ratio_text

if TYPE_CHECKING:
    from .answer import Answer

SCHEMA = "lossfit.answer/1"
ROWS_SHOWN = 10
CAVEAT = (
    "Intervals of laws without a schedule are known to be too narrow on real curves "
    "(docs/calibration.md)."
)


def text(answer: Answer) -> str:
    """A few readable lines."""
    rows = answer.rows
    broken = first_lines(answer.broken)
    if len(rows) == 1:
        lines = [*broken, question_text(answer), *_one(answer)]
    else:
        lines = [*broken, question_text(answer), *_many(answer)]
    if not all(without_forecast(answer.broken, name) for name in answer.names):
        lines.append(mixture_text(answer))
    return "\n".join([*lines, *_flag_lines(answer)])


def line(answer: Answer) -> str:
    """The numbers of an answer in a line."""
    rows = answer.rows
    first = rows[0]
    words = f"Answer for {first['run']} at {amount(float(first['at']), answer.axis)}: "
    if without_forecast(answer.broken, str(first["run"])):
        words += f"no forecast ({answer.broken[str(first['run'])][0]})"
    else:
        estimated = estimate(first, answer.mixed.curves.shape[2])
        words += f"{estimated}, {100 * answer.prob:g} % interval"
    more = len(rows) - 1
    return f"{words}; {more:,} more row{'s' * (more > 1)}" if more else words


def question_text(answer: Answer) -> str:
    """What was asked, in a line."""
    axis = answer.axis
    rows = answer.rows
    who = answer.names[0] if len(answer.names) == 1 else f"{len(answer.names):,} runs"
    if answer.compute_of is not None:
        where = amount(float(rows[0]["at"]), axis)
        kind = "GPU-hours" if axis == "gpu_hours" else "FLOP = 6 x params x tokens"
        out = f"{who} with the compute of {answer.compute_of}: {where}"
        out += "" if axis == "gpu_hours" else f" ({kind})"
    elif len(rows) == 1:
        out = f"{who} at {amount(float(rows[0]['at']), axis)}"
    else:
        out = f"{who} on {AXIS_UNITS[axis]}"
    if len(rows) == 1:
        ratio = float(rows[0]["horizon_ratio"])
        out += f", {ratio_text(ratio)} its data" + _tokens(answer, ratio)
    return out


def _tokens(answer: Answer, ratio: float) -> str:
    """The same place in tokens, which most readers think in."""
    run = answer.runs[answer.names[0]]
    if answer.axis == "tokens" or not run.has("tokens"):
        return ""
    return f" ({amount(ratio * run.end('tokens'), 'tokens')})"


def _places(row: Any, draws: int = DRAWS) -> int:
    """Decimals of a row's numbers."""
    return decimals_of(float(row["upper"] - row["lower"]), draws)


def probability(value: float, draws: int) -> str:
    """A probability from so many draws: never 0 or 1."""
    if value < 1 / draws:
        return f"below {1 / draws:g}"
    if value > 1 - 1 / draws:
        return f"above {1 - 1 / draws:g}"
    return f"{value:.3f}" if value < 0.1 or value > 0.9 else f"{value:.2f}"


def _one(answer: Answer) -> list[str]:
    row = answer.rows[0]
    if without_forecast(answer.broken, str(row["run"])):
        return ["  no forecast (answer.frame takes the run to go on as its last points do)"]
    run = answer.runs[answer.names[0]]
    draws = answer.mixed.curves.shape[2]
    places = _places(row, draws)
    out = [
        f"  loss there: {row['median']:.{places}f} ({100 * answer.prob:g} % interval "
        f"{interval_text(row['lower'], row['upper'], places)}); "
        f"its data end at {float(run.loss[-1]):.{max(places, 3)}f}"
    ]
    if "law_disagreement" in row["notes"]:
        out.append("  these data can't tell which law to follow: read each law's own answer below")
    if answer.compute_of is not None:
        other = answer.compute_of
        final = answer.final_loss(other)
        lower, median, upper = central(final, answer.prob)
        out += [
            f"  {other} ended at "
            f"{estimate({'median': median, 'lower': lower, 'upper': upper}, final.size)}",
            f"  P({answer.names[0]} below {other}) = "
            f"{probability(answer.prob_below(), final.size)}",
        ]
    by_law = answer.rows_by_law
    if len(by_law) > 1:
        width = max(len(r["law"]) for r in by_law)
        out += ["  by law:"]
        for r in by_law:
            out.append(f"    {r['law']:<{width}}  {estimate(r, draws)}")
    return out


def _many(answer: Answer) -> list[str]:
    shown = answer.rows[:ROWS_SHOWN]
    unit, draws = AXIS_UNITS[answer.axis], answer.mixed.curves.shape[2]
    head = ["run", "at", "ratio", "median", f"{100 * answer.prob:g} % interval"]
    body = [
        [
            str(row["run"]),
            amount(float(row["at"]), answer.axis).removesuffix(f" {unit}"),
            ratio_text(float(row["horizon_ratio"])),
            *(
                ("-", "no forecast")
                if without_forecast(answer.broken, str(row["run"]))
                else (
                    f"{row['median']:.{_places(row, draws)}f}",
                    interval_text(row["lower"], row["upper"], _places(row, draws)),
                )
            ),
        ]
        for row in shown
    ]
    if answer.compute_of is not None:
        head.append(f"P(below {answer.compute_of})")
        below = np.atleast_1d(np.asarray(answer.prob_below()))[: len(body)]
        for line, value in zip(body, below, strict=True):
            line.append(probability(float(value), answer.question.draws))
    widths = [max(len(row[k]) for row in (head, *body)) for k in range(len(head))]
    lines = [
        "  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in (head, *body)
    ]
    more = int(np.sum(~np.isnan(answer.at))) - len(shown)
    if more > 0:
        lines.append(f"  ... and {more:,} more rows in answer.frame")
    return lines


def mixture_text(answer: Answer) -> str:
    """What the answer's laws and schedules are, in lines."""
    laws, models = answer.question.laws, answer.question.models
    law = laws[0]
    if len(laws) > 1:
        named = " and ".join(f"{law.name} ({law.formula})" for law in laws)
        caveat = "" if all(isinstance(law, ScheduleLaw) for law in laws) else f" {CAVEAT}"
        lines = [f"Equal-weight mixture of {named}.{caveat}"]
    elif not isinstance(law, ScheduleLaw):
        return f"  One law, {law.name} ({law.formula}). {CAVEAT}"
    elif models is not None:
        together = sum(models[name] == models[answer.names[0]] for name in models)
        who = f"the {together} runs of its model" if together > 1 else "no other run of its model"
        lines = [
            f"Fitted together with {who}: an equal stack of the annealing and the multi-power "
            f"response; schedule: {_schedule(answer)}."
        ]
    else:
        lines = [f"Law {law.name}: {law.formula}; schedule: {_schedule(answer)}."]
    if len(answer.rows) == 1 and len(laws) == 1:
        lines += _strength(answer)
    lines += answer.records
    if answer.calibration is not None:
        lines.append(str(answer.calibration))
        if answer.calibration.factor is not None and answer.records:
            lines[-1] += " The record is that of intervals before this."
    return "\n".join(f"  {line}" for line in lines)


def _schedule(answer: Answer) -> str:
    """What is assumed of the learning rate, in words."""
    found = [one for block in answer.mixed.forecasts for one in block.shares]
    if len(found) > 1:
        kinds = dict.fromkeys(name for one in found for name in one)
        if len(kinds) > 1:  # ends differ by run: they stand in `to_dict`
            kinds = dict.fromkeys(name.split()[0] if LOGGED in name else name for name in kinds)
        return ", ".join(list(kinds)[:6])
    shares = found[0]
    stretched = "schedule_stretched" in answer.rows[-1]["notes"]
    end = ", stretched to the target" if stretched else ""
    if len(shares) == 1:
        (kind,) = shares
        return kind + end
    best = sorted(shares.items(), key=lambda item: -item[1])
    return "averaged over " + ", ".join(f"{name} {share:.0%}" for name, share in best[:6]) + end


def _strength(answer: Answer) -> list[str]:
    """What the answer says of the response to the learning rate."""
    block = answer.mixed.forecasts[0]
    fall = float(block.falls[0, 0])
    row = answer.rows[0]
    if not np.isfinite(fall) or abs(fall) < min(5e-4, 0.01 * float(row["upper"] - row["lower"])):
        return []
    mean, sd = block.strength[0]
    places = max(_places(row) - 1, 2)
    text = f"the change of the learning rate from here to there takes {fall:.{places + 1}f} off"
    if fall < 0:
        text = f"the change of the learning rate from here to there adds {-fall:.{places + 1}f}"
    return [
        f"Of this, {text} (B {mean:.{places}f} +- {sd:.{places}f} for a fall from the peak to 0)."
    ]


def _flag_lines(answer: Answer) -> list[str]:
    total = int(answer._there.sum())
    count: dict[str, int] = {}
    for r, t in np.argwhere(answer._there):
        hopeless = without_forecast(answer.broken, answer.names[r])
        for flag in answer._flags[r][t]:
            if flag not in QUIET and (flag == "broken" or not hopeless):
                count[flag] = count.get(flag, 0) + 1
    lines = []
    for flag, n in count.items():
        share = "" if total == 1 else f" ({n:,} of {total:,} rows)"
        lines.append(f"  ! {flag}{share}: {answer.meanings.get(flag, 'see Runs.flags')}")
    return lines


def as_dict(answer: Answer) -> dict[str, Any]:
    """See `Answer.to_dict`."""
    from .. import __version__

    question = answer.question
    compare: dict[str, Any] | None = None
    rows = rows_of(answer.rows)
    if answer.compute_of is not None:
        final = answer.final_loss(answer.compute_of)
        lower, median, upper = (float(v) for v in central(final, answer.prob))
        compare = {
            "run": answer.compute_of,
            "final_loss": {"lower": lower, "median": median, "upper": upper},
        }
        below = np.atleast_1d(np.asarray(answer.prob_below(), float))
        for row, value in zip(rows, below, strict=True):
            row["prob_below"] = float(value)
    return {
        "schema": SCHEMA,
        "lossfit": __version__,
        "question": {
            "axis": answer.axis,
            "compute_of": answer.compute_of,
            "prob": answer.prob,
            "window": str(question.window),
            "draws": question.draws,
            "random_seed": question.seed,
            "device": question.place(question.laws[0]).device,
            "dtype": question.place(question.laws[0]).dtype,
        },
        "laws": [
            {"name": law.name, "formula": law.formula, "weight": float(weight)}
            for law, weight in zip(question.laws, question.weights, strict=True)
        ],
        "engine": answer.engine,
        "rows": rows,
        "broken": {name: words for name, (words, _) in answer.broken.items()},
        "left_out": dict(answer.question.left_out),
        "by_law": rows_of(answer.rows_by_law),
        "compare": compare,
        "schedules": {
            name: shares
            for block in answer.mixed.forecasts[:1]
            for name, shares in zip(answer.names, block.shares, strict=True)
        },
        "record": " ".join(answer.records) or None,
        "calibration_factor": answer.calibration.factor if answer.calibration else None,
    }
