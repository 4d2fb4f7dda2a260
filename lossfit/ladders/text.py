"""A ladder in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._base.numbers import estimate
from ..runs.labels import AXIS_UNITS, size_text, span

if TYPE_CHECKING:
    from .result import Ladder


def text(ladder: Ladder) -> str:
    """A few readable lines."""
    rungs, whole = ladder.rungs, ladder.readings.whole
    sizes = sorted(rung.params for rung in rungs)
    ends = [rung.end for rung in rungs]
    lines = [
        f"Ladder of {len(rungs)} runs: {size_text(sizes[0])} to {size_text(sizes[-1])} parameters, "
        f"{span(min(ends), max(ends), ladder.axis)}"
    ]
    lines += [f"  {row['parameter']:<6} {estimate(row)}" for _, row in ladder.frame.iterrows()]
    lines.append(
        f"  levels of runs scatter by {np.exp(whole.scales[1]):.2%} of the reducible loss, noise "
        f"{np.exp(whole.scales[3]):.2%} of the loss; X counts {AXIS_UNITS[ladder.axis]} at the "
        f"peak rate"
    )
    lines += [f"  ! {flag}: {note}" for flag, note in ladder.notes.items()]
    return "\n".join(lines)
