"""What the flags of an answer say of its runs and of what was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..fits.flags import ANSWER_MEANINGS, FIT_MEANINGS
from ..forecasts.knowledge import meant
from ..forecasts.rates import chosen
from ..runs.broken import left_out_text
from ..runs.cleaning import MEANINGS
from ..runs.labels import amount
from ..runs.logged_rate import history_of, warmed
from ..runs.rate_falls import CONSTANT

if TYPE_CHECKING:
    from ..forecasts.question import Question
    from ..runs.collection import Runs

BLIND = ("no_plan", "schedule_unknown")


def meanings_of(
    question: Question,
    runs: Runs,
    flags: Mapping[str, Iterable[str]],  # dict by run: flags of the asked runs
) -> dict[str, str]:
    """A sentence for each flag."""
    out = {**MEANINGS, **FIT_MEANINGS, **ANSWER_MEANINGS}
    for flag in BLIND:
        named = [name for name, of_run in flags.items() if flag in of_run and name in runs]
        read: set[str] = set()
        for name in named:
            read.add(_read(question, runs, name))
            if "" in read:
                break
        if read and "" not in read:
            rate = read.pop() if len(read) == 1 else "its logged learning rate ends with the data"
            out[flag] = f"{rate}; what comes after is not known: the answer averages over " + (
                "ways on and ends; total= (the planned end) or schedule= would sharpen it"
                if flag == "no_plan"
                else "five ways from there to the planned end; schedule= would sharpen it"
            )
    far = [name for name, of_run in flags.items() if "total_far" in of_run and name in runs]
    total = chosen(question.plan.total, far[0]) if far else None
    if total is not None:
        end = runs[far[0]].end(question.axis)
        doubt = meant(float(total), runs[far[0]], question.axis) or "; is it meant in their unit?"
        out["total_far"] = (
            f"total={total:,.10g} is {total / end:,.0f} times the data of {far[0]!r}, which reach "
            f"{amount(end, question.axis)}{doubt}"
        )
    if question.by_default:
        out["siblings_unused"] = (
            "siblings= changed nothing: the planned end of the run must be known (schedule=, or "
            "total=), and at least two siblings need 25 points before the same share of their "
            "plan; laws='annealing' takes their response to the learning rate without that"
        )
    if question.left_out:
        out["broken_left_out"] = left_out_text(question.left_out)
    if question.priors is not None:
        advice = "; siblings= "
        out["response_from_prior"] = out["response_from_prior"].partition(advice)[0]
    return out


def unheard(question: Question, name: str) -> bool:
    """Whether a run would have learned from others that were left out because they broke."""
    return bool(question.left_out.keys() - {name})


def unlearned(question: Question, name: str) -> bool:
    """Whether siblings were given in vain for a run."""
    if question.priors is None:
        return False
    if question.by_default:  # which takes what they say of its errors, and of B with these
        return name not in (question.moves or {})
    learned = question.learned(name)
    return learned is None or not learned.used


def _read(question: Question, runs: Runs, name: str) -> str:
    """What was logged of a run's learning rate, "" for nothing that counts."""
    run = runs[name]
    if run.schedule is not None or not run.has(question.axis):
        return ""
    history = history_of(run, question.axis)
    if history is None:
        return ""
    _, rho = warmed(*history)
    if rho.min() > 1 - CONSTANT:
        return "the logged learning rate is constant up to the end of the data"
    return f"the logged learning rate is at {rho[-1]:.0%} of its peak at the end of the data"
