"""Advice to stop a run early, with how often the same rule was wrong on public runs.

The rule: from a tenth of the run on, stop when the probability of ending below the target has been
under a threshold in all forecasts over a twentieth of the run (one forecast alone is wrong nearly
twice as often).  How often that was wrong, and what it saved, was measured by
``python -m benches.early_stop``, whose table is ``stopping_rates.json`` beside this file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

THRESHOLD = 0.01  # of P(below the target): stop below it
FIRST, SPAN = 0.1, 0.05  # of the run: no advice before, and how long a forecast must hold


@dataclass(frozen=True)
class Rates:
    """How a threshold did on public runs whose ends are known."""

    threshold: float
    runs: int  # runs, each with targets above and below the loss at its end
    wrong: float  # share of cases that would have reached the target and were stopped
    caught: float  # share of cases that did not reach it and were stopped
    saved: float  # mean share of the run that was saved in these
    false_breaks: float  # share of healthy runs that were ever said to be broken


@cache
def rates() -> dict[float, Rates]:
    """The measured table, by threshold."""
    text = files(__package__).joinpath("stopping_rates.json").read_text(encoding="utf-8")
    table = json.loads(text)
    shared = {"runs": table["runs"], "false_breaks": table["false_breaks"]}
    return {row["threshold"]: Rates(**row, **shared) for row in table["rows"]}


@dataclass(frozen=True)
class Advice:
    """Whether to stop a run, why, and how often such advice was wrong."""

    stop: bool
    # the probability or the break that it rests on; "" where nothing speaks for stopping
    reason: str
    rates: Rates  # what the rule did on public runs

    def __str__(self) -> str:
        if not self.stop:
            return f"go on{f': {self.reason}' if self.reason else ''}"
        its = self.rates
        if not self.reason.startswith("P("):
            return (
                f"stop: {self.reason} ({100 * its.false_breaks:.2g} % of {its.runs} healthy public "
                "runs were called broken at some time)"
            )
        return (
            f"stop: {self.reason} (on {its.runs} public runs this rule stopped "
            f"{100 * its.wrong:.2g} % of those that would have got there and "
            f"{100 * its.caught:.2g} % of those that would not, saving {100 * its.saved:.0f} % of "
            "their steps)"
        )


def hopeless_since(
    before: float | None,  # what this said at the forecast before
    share: float,  # how much of the run there is at this forecast
    prob_below: float | None,
    threshold: float,
) -> float | None:
    """Where the forecasts that are all below the threshold began; None if the last is not."""
    if prob_below is None or prob_below >= threshold or share < FIRST:
        return None
    return share if before is None else before


def is_long(since: float | None, share: float) -> bool:
    """Whether forecasts have been below the threshold for long enough to stop."""
    return since is not None and share - since >= SPAN * (1 - 1e-6)


def advise(
    prob_below: float | None,  # probability of ending below the target
    target: float | None,
    broken: str,  # what broke, "" for nothing
    threshold: float = THRESHOLD,  # one of those of `rates`
    long: bool = False,  # whether the probability has been below the threshold for long enough
) -> Advice:
    """Advice from what is known of a run.

    Examples
    --------
    >>> advise(0.4, 2.9, "").stop
    False
    >>> advise(0.001, 2.9, "", long=True).stop
    True
    """
    its = rates()[threshold]
    if broken:
        return Advice(True, broken, its)
    if prob_below is None or target is None:
        return Advice(False, "", its)
    chance = f"{prob_below:.2g}" if 0.001 <= prob_below <= 0.99 else "<0.001"
    reason = f"P(final loss < {target:g}) is {'>0.99' if prob_below > 0.99 else chance}"
    if prob_below < threshold and long:
        return Advice(True, f"{reason}, below {threshold:g} for {SPAN:.0%} of the run", its)
    return Advice(False, reason, its)
