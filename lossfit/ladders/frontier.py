"""The best size for a budget, by a ladder: every size planned to end on its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .._base.errors import DataError
from .._base.ragged import Floats
from ..runs.checks import axis_values
from ..schedules.shapes import Schedule
from .rows import Rung
from .rungs import planned

if TYPE_CHECKING:
    import pandas as pd

    from .parts import LadderParts

FLOPS_PER_PARAM_TOKEN = 6.0
BUDGETS, SIZES = 9, 25
BEYOND = 4.0  # times the ladder's largest size and compute
LEAST_TOKENS = 0.1  # of the shortest run


def ends_at(
    ladder: LadderParts, params: Floats, tokens: Floats, schedule: Schedule | None, draws: int
) -> Floats:
    """Joint draws of the final losses of runs planned to end at some tokens, shape (k, draws)."""
    largest = max(ladder.rungs, key=lambda rung: (rung.params, rung.end))
    rungs = []
    for size, end in zip(params, tokens, strict=True):
        given = (
            schedule if schedule is None or schedule.total is None else _to(schedule, end, ladder)
        )
        clock, _ = planned(ladder.rungs, ladder.runs, ladder.axis, end, given, largest.batch)
        rungs.append(
            Rung("", float(size), np.array([end]), np.array([np.nan]), clock, largest.batch)
        )
    return ladder.readings.ends_of(rungs, ladder.random_seed, draws)


def _to(schedule: Schedule, end: float, ladder: LadderParts) -> Schedule:
    batch = max(ladder.rungs, key=lambda rung: rung.params).batch
    return schedule.stretched(end if schedule.axis == ladder.axis else end / batch)


def frontier(
    ladder: LadderParts,
    compute: ArrayLike | None,
    schedule: Schedule | None,
    prob: float,
    draws: int,
) -> pd.DataFrame:
    """See `Ladder.frontier`."""
    import pandas as pd

    if ladder.axis != "tokens":
        raise DataError("compute is 6 x params x tokens: fit the ladder on tokens")
    costs = [FLOPS_PER_PARAM_TOKEN * rung.params * rung.end for rung in ladder.rungs]
    if compute is None:
        budgets = np.geomspace(min(costs), BEYOND * max(costs), BUDGETS)
    else:
        budgets = axis_values(compute)
    sizes = np.array([rung.params for rung in ladder.rungs])
    grid = np.geomspace(0.5 * sizes.min(), BEYOND * sizes.max(), SIZES)
    shortest = LEAST_TOKENS * min(rung.end for rung in ladder.rungs)
    tail = (1 - prob) / 2
    rows = []
    for budget in budgets:
        tokens = budget / (FLOPS_PER_PARAM_TOKEN * grid)
        inside = tokens >= shortest
        if inside.sum() < 3:
            raise DataError(
                f"a budget of {budget:.3g} FLOP is too small for the ladder's sizes: give more"
            )
        losses = ends_at(ladder, grid[inside], tokens[inside], schedule, draws)
        best = losses.argmin(axis=0)
        chosen, least = grid[inside][best], losses.min(axis=0)
        row = {"compute": budget}
        for name, values in (
            ("params", chosen),
            ("tokens", budget / (FLOPS_PER_PARAM_TOKEN * chosen)),
            ("loss", least),
        ):
            low, middle, high = np.quantile(values, [tail, 0.5, 1 - tail])
            row |= {name: middle, f"{name}_lower": low, f"{name}_upper": high}
        rows.append(row)
    return pd.DataFrame(rows)
