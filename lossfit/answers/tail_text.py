"""The best tail in words."""

from __future__ import annotations

import numpy as np

from .._base.numbers import decimals_of, estimate
from ..runs.broken import first_lines, without_forecast
from ..runs.labels import amount
from ..runs.schedule_words import peak_of
from .tails import BEST, QUIET, Tail


def text(tail: Tail) -> str:
    """A few readable lines."""
    table, draws = tail.frame, tail.curves.shape[1]
    percent = f"{100 * tail.prob:g} %"
    lines = [
        *first_lines(tail.broken),
        f"{tail.run.name}: the best tail from {amount(tail.start, tail.axis)} to "
        f"{amount(tail.total, tail.axis)}",
    ]
    if without_forecast(tail.broken, tail.run.name):
        return "\n".join([*lines, "  no forecast (tail.frame takes the run to go on as it did)"])
    lines.append(f"  {_shape(tail)}")
    width = max(map(len, tail.names))
    for _, r in table.iterrows():
        line = f"  {r['schedule']:<{width}}  ends at {estimate(r, draws)}"
        if r["schedule"] != BEST:
            low, high = r["gain_lower"], r["gain_upper"]
            places = decimals_of(high - low, draws)
            line += f"; the best saves {r['gain']:+.{places}f} "
            line += f"({low:+.{places}f} to {high:+.{places}f})"
        lines.append(line)
    lines.append(f"  Medians and {percent} intervals of the loss without noise.")
    if tail.below > 0:
        lines.append(
            f"  {100 * tail.below:.0f} % of the tail lie below {_rate(tail, tail.seen[0])}, "
            f"the lowest learning rate in the data."
        )
    if tail.within is not None:
        cost = tail.within.expected[0] - tail.expected[0]
        lines.append(
            f"  The best tail that stays at or above it ends {cost:.4f} higher, by the law."
        )
    lines += [f"  ! {flag}: {tail.meanings[flag]}" for flag in tail.flags if flag not in QUIET]
    return "\n".join(lines)


def line(tail: Tail) -> str:
    """The loss at the end, in a line."""
    best = tail.frame.iloc[0]
    return (
        f"Tail of {tail.run.name} from {amount(tail.start, tail.axis)} to "
        f"{amount(tail.total, tail.axis)}: loss {estimate(best)}"
    )


def _rate(tail: Tail, value: float) -> str:
    """A learning rate; a share of the peak where only the shape of the schedule is known."""
    relative = value > 0 and tail.run.lr is None and peak_of(tail.run) == 1
    return f"{value:.3g} of the peak" if relative else f"{value:.3g}"


def _shape(tail: Tail) -> str:
    """The tail in words: where it leaves the top, halves it, and ends."""
    fine = np.linspace(tail.start, tail.total, 2001)
    at, lr = tail._tails[BEST]
    rate = np.interp(fine, at, lr)
    top = rate[0]
    words = []
    for share, what in ((0.95, "is held to"), (0.5, "halves by"), (0.1, "is down to a tenth by")):
        under = np.flatnonzero(rate < share * top)
        if len(under):
            done = (fine[under[0]] - tail.start) / (tail.total - tail.start)
            words.append(f"{what} {100 * done:.0f} %")
    ends = f"ends at {_rate(tail, tail.lr[-1])}"
    return f"the rate of {_rate(tail, top)} " + ", ".join([*words, ends]) + " (shares of the tail)"
