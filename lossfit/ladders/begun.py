"""A run that has begun, forecast by its own curve and by the ladder of its smaller sisters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Bools, Floats
from .._base.seeds import run_keys
from .notes import MOST_RHAT
from .pooling import half_width, ranks

if TYPE_CHECKING:
    from ..runs.collection import Runs
    from ..runs.run import Run

HAND_OVER = 0.25  # share of the way to a place at which the ladder's variance counts double
STRANGE = 2.0  # sds off the ladder from which its variance counts for more


def own_share(own: Floats, ladder: Floats, done: Floats, off: float) -> Floats:
    """Weight of the run's own forecast at each place, shape (k,).

    Parameters
    ----------
    own, ladder : ndarray, shape (k, D)
    done : ndarray, shape (k,)
        Share of the way to the place that the run has gone.
    off : float
        How far the run's data lie from what the ladder says of them, in sds.

    Notes
    -----
    In proportion to precision.  The ladder's variance counts for more the more of the run there is
    (its sisters say little that the run itself does not, from about a quarter on), and where the
    run does not fit in with them; all of it without a jump.
    """
    trust = (1 + (done / HAND_OVER) ** 4) * max(1.0, (off / STRANGE) ** 2)
    first = half_width(own) ** 2
    second = half_width(ladder) ** 2 * trust
    return np.asarray(second / np.maximum(first + second, 1e-300))


def blended(own: Floats, ladder: Floats, share: Floats) -> Floats:
    """Averages of the quantiles of two sets of draws (k, D), in the order of the ladder's."""
    out = np.empty_like(ladder)
    for k, weight in enumerate(share):
        mixed = weight * np.sort(own[k]) + (1 - weight) * np.sort(ladder[k])
        out[k] = mixed[ranks(ladder[k])]
    return out


def joined(
    ladder: Any, question: Any, runs: Runs, at: Floats, curves: Floats
) -> tuple[Floats, dict[str, Bools]]:
    """The runs' own curves (R, T, D) with the ladder's; which rows they share.

    Raises `DataError`: a run of the ladder itself; a run without params, or with too few points
    yet.
    """
    out = curves.copy()
    shared, unsettled = np.zeros(at.shape, bool), np.zeros(at.shape, bool)
    for r, run in enumerate(runs):
        if run.name in ladder.runs:
            raise DataError(
                f"run {run.name!r} is one of the ladder's: leave it out of the ladder to ask what "
                f"the others say of it"
            )
        factor = run.end(ladder.axis) / run.end(question.axis)
        end = run.end(question.axis)
        beyond = np.flatnonzero(at[r] > end * (1 + 1e-9))
        if not beyond.size:
            continue
        places = at[r, beyond] * factor
        order = np.argsort(places)
        given = planned_run(run, question.plan)
        fitted, rung = ladder.begun(given, float(places.max()))
        seed = int(run_keys(question.seed, [run.name], "ladder")[0])
        draws = np.empty((len(places), curves.shape[2]))
        draws[order] = fitted.curves(rung, places[order], seed, curves.shape[2])
        own = curves[r, beyond]
        share = own_share(own, draws, rung.end / places, float(fitted.whole.off[-1]))
        out[r, beyond] = blended(own, draws, share)
        shared[r, beyond] = True
        unsettled[r, beyond] = fitted.whole.rhat > MOST_RHAT
    return out, {"ladder": shared, "ladder_not_converged": unsettled}


def planned_run(run: Run, plan: Any) -> Run:
    """The run under the schedule that the question gives it, if it gives one."""
    schedule = plan.schedule
    if isinstance(schedule, dict):
        schedule = schedule.get(run.name)
    if schedule is None:
        return run
    alone: Any = run.alone()
    planned: Run = alone.with_schedule(schedule)[run.name]
    return planned
