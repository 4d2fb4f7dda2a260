"""Priors from a project's finished runs: `learn_priors`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ._ragged import Floats
from .checks import as_runs, choose_axis
from .errors import DataError
from .forecasting import forecast
from .laws import ResponseStrength, ScheduleLaw, find
from .rates import Plan, history_of
from .window import WindowSpec

if TYPE_CHECKING:
    import pandas as pd

    from .run import Run
    from .runs import Runs

__all__ = ["Priors", "learn_priors", "strength_from"]

LEAST_POINTS = 40
LEAST_FALL = 0.7  # the learning rate must have fallen below this share of its peak
WELL_KNOWN = 0.35  # relative sd of B below which a run counts
BROAD = 3.0  # relative sd of the prior under which a run's own B is found
LEAST_RUNS = 2
INFLATE = 1.1
SPREADS = (0.2, 0.8)


@dataclass(frozen=True, eq=False)
class Priors:
    """What finished runs say about the next one; made by `learn_priors`.

    Attributes
    ----------
    strength : ResponseStrength
        Prior of B, the loss won by taking the learning rate from its peak to 0.
    used : tuple of str
        The runs that it was learned from; empty if too few were usable, and then it is the
        shipped prior.
    b, b_sd : ndarray, shape (n_runs,)
        B of every finished run under a broad prior, and its posterior sd; NaN where the run could
        not tell (see `reasons`).
    names, reasons : tuple of str, length n_runs
        The finished runs, and why one was not used ("" if it was).
    """

    strength: ResponseStrength
    used: tuple[str, ...]
    names: tuple[str, ...]
    b: Floats
    b_sd: Floats
    reasons: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each finished run: run, B, sd, used, reason."""
        import pandas as pd

        used = [not reason for reason in self.reasons]
        return pd.DataFrame(
            {"run": self.names, "B": self.b, "sd": self.b_sd, "used": used, "reason": self.reasons}
        )

    def without(self, name: str) -> Priors:
        """The same without one of the runs, which must not learn from itself."""
        return self.only([other for other in self.names if other != name])

    def only(self, names: Sequence[str]) -> Priors:
        """What these runs alone say."""
        if tuple(names) == self.names:
            return self
        chosen = set(names)
        keep = [i for i, name in enumerate(self.names) if name in chosen]
        return _priors(
            tuple(self.names[i] for i in keep),
            self.b[keep],
            self.b_sd[keep],
            tuple(self.reasons[i] for i in keep),
        )

    def __repr__(self) -> str:
        if not self.used:
            return (
                f"Priors: none of {len(self.names)} runs is enough to learn from; the shipped prior "
                f"(B about {self.strength.mean:.3g})"
            )
        return (
            f"Priors from {len(self.used)} of {len(self.names)} runs: B about "
            f"{self.strength.mean:.3g} (relative sd {self.strength.sds[-1]:.2f})"
        )


def learn_priors(
    finished_runs: Runs | pd.DataFrame, *, axis: str = "auto", window: WindowSpec = "auto"
) -> Priors:
    """What a project's finished runs say about its next one.

    The strength of the response to the learning rate differs between domains by more than 10 times
    (on text it is 0.1 to 0.3 nats), and a run says nothing of its own before its learning rate
    falls: finished runs of the same project do.

    Parameters
    ----------
    finished_runs : Runs or pandas.DataFrame
        Runs that went through their schedule, which must be known (``with_schedule`` or an ``lr``
        column).
    axis : str
        As in `lossfit.extrapolate`.
    window : WindowSpec
        Part of the runs that is fitted.

    Returns
    -------
    Priors
        For ``lossfit.extrapolate(..., priors=...)``.  Runs that cannot tell (fewer than 40 points,
        schedule unknown, learning rate that did not fall below 70 % of its peak, B known worse
        than to 35 %) are listed with the reason in ``Priors.frame``; with fewer than two usable runs
        the shipped prior is returned.

    Raises
    ------
    DataError
        Input that cannot be used.

    Notes
    -----
    B0 is the median of the runs' B on the log scale; its spread the scaled median absolute
    deviation, inflated by 10 % and kept within 0.2 to 0.8.
    """
    runs = as_runs(finished_runs)
    axis = choose_axis(runs, axis)
    b, sd = np.full(len(runs), np.nan), np.full(len(runs), np.nan)
    reasons = [_unfit(run, axis) for run in runs]
    chosen = [name for name, reason in zip(runs.names, reasons, strict=True) if not reason]
    if chosen:
        law = find("annealing")
        assert isinstance(law, ScheduleLaw)
        broad = replace(law.strength, scales=(1.0,), sds=(BROAD,), weights=(1.0,))
        some = runs.select(chosen)
        ends = np.array([[run.end(axis)] for run in some])
        found = forecast(
            some, law, axis, window, ends, Plan(), broad.components, draws=4000, seed=0
        )
        for name, (mean, spread) in zip(chosen, found.strength, strict=True):
            i = runs.names.index(name)
            b[i], sd[i] = mean, spread
            if not mean > 0:
                reasons[i] = "its loss did not respond to the fall of the learning rate"
            elif spread > WELL_KNOWN * mean:
                reasons[i] = f"its B is known to {spread / mean:.0%} only"
    return _priors(runs.names, b, sd, tuple(reasons))


def _unfit(run: Run, axis: str) -> str:
    """Why a run can say nothing of B, "" if it may."""
    if len(run.loss) < LEAST_POINTS:
        return f"fewer than {LEAST_POINTS} points"
    schedule = run.schedule
    if schedule is not None:
        if not run.has(schedule.axis):
            raise DataError(
                f"run {run.name!r}: its schedule counts {schedule.axis}, which the run does not "
                f"have: give tokens_per_step="
            )
        x = run.axis(schedule.axis)
        rate = schedule(np.linspace(0.0, float(x[-1]), 400))
    else:
        logged = history_of(run, axis)
        if logged is None:
            return "its schedule is not known"
        rate = logged[1]
    peak = int(np.argmax(rate))
    if not rate[peak:].min() < LEAST_FALL * rate[peak]:
        return f"its learning rate did not fall below {LEAST_FALL:.0%} of its peak"
    return ""


def _priors(names: tuple[str, ...], b: Floats, sd: Floats, reasons: tuple[str, ...]) -> Priors:
    good = np.array([not reason for reason in reasons], bool)
    strength = strength_from(b[good], sd[good])
    used = tuple(n for n, ok in zip(names, good, strict=True) if ok) if strength else ()
    if strength is None:
        law = find("annealing")
        assert isinstance(law, ScheduleLaw)
        strength = law.strength
    return Priors(strength, used, names, b, sd, reasons)


def strength_from(b: Floats, sd: Floats) -> ResponseStrength | None:
    """Prior of B from the B of some runs, None if there are fewer than two.

    Parameters
    ----------
    b, sd : ndarray, shape (n_runs,)
        Posterior means (positive) and sds.
    """
    if len(b) < LEAST_RUNS:
        return None
    logs = np.log(b)
    middle = float(np.median(logs))
    spread = INFLATE * 1.4826 * float(np.median(np.abs(logs - middle)))
    sd = float(np.clip(spread, *SPREADS))
    return ResponseStrength(float(np.exp(middle)), (1.0,), (sd,), (1.0,))
