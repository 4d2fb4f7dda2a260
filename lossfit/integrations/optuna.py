"""A pruner for Optuna that stops trials by their forecasts.

`benches/pruning.py` compares it with median stopping and successive halving on public curves.
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError, LossfitWarning
from .._base.ragged import Floats
from ..monitoring.watching import LEAST_POINTS
from ._library import library

if TYPE_CHECKING:
    from ..runs.collection import Runs

__all__ = ["LossfitPruner", "prob_of_beating"]

log = logging.getLogger("lossfit")

_optuna = library("optuna", "optuna")


class LossfitPruner(_optuna.pruners.BasePruner):
    """Stops a trial whose loss at its end is hardly the best of the study.

    Trials report their loss, ``trial.report(loss, step)``.  At each step that is due, the reporting
    trial and those still running are forecast to ``total`` in one batch.  The trial is stopped
    where the probability that it beats the best is under ``prob``: that it ends below the best
    finished loss, and below the front-runner of the other running trials.

    Parameters
    ----------
    total : int
        Steps of a whole trial.
    prob : float
        Probability of beating the best, below which a trial is stopped.
    warmup : float
        Share of a trial before which none is stopped.
    every : int, optional
        Steps between two forecasts of a trial; by default a twentieth of ``total``.
    finished : int
        Trials that must be finished before any is stopped.
    random_seed : int

    Raises
    ------
    DataError
        Options that cannot be.

    Notes
    -----
    Fewer than eight reports of a trial say too little: it goes on.  So does a trial of which no
    forecast can be made, with a line in the log of ``lossfit``.  A loss that is NaN or broke stops
    the trial.  The study must minimise the loss.

    Examples
    --------
    >>> from lossfit.integrations.optuna import LossfitPruner  # doctest: +SKIP
    >>> study = optuna.create_study(pruner=LossfitPruner(total=2_000))  # doctest: +SKIP
    """

    def __init__(
        self,
        total: int,
        *,
        prob: float = 0.05,
        warmup: float = 0.1,
        every: int | None = None,
        finished: int = 1,
        random_seed: int = 0,
    ) -> None:
        if not total > 0:
            raise DataError(f"total must be a number of steps above 0, got {total!r}")
        if not 0 < prob < 1:
            raise DataError(f"prob must be a probability between 0 and 1, got {prob!r}")
        if not 0 <= warmup < 1:
            raise DataError(f"warmup must be a share of the trial, 0 to 1, got {warmup!r}")
        self.total, self.prob, self.warmup = int(total), float(prob), float(warmup)
        self.every = max(self.total // 20, 1) if every is None else int(every)
        self.finished, self.random_seed = int(finished), int(random_seed)

    def prune(self, study: Any, trial: Any) -> bool:
        """Whether to stop the trial; called by ``trial.should_prune()``."""
        if study.direction.name != "MINIMIZE":
            raise DataError("LossfitPruner is for studies that minimise a loss")
        step = trial.last_step
        values = trial.intermediate_values
        if step is None or step < self.warmup * self.total or step >= self.total:
            return False
        if not np.isfinite(values[step]):
            return True
        earlier = [s for s in values if s < step]
        if len(values) < LEAST_POINTS or (
            earlier and max(earlier) // self.every == step // self.every
        ):
            return False
        ended, running = self._others(study, trial)
        if len(ended) < self.finished:
            return False
        curves = {"this": values, **running}
        try:
            return self._chance(curves, min(ended.values(), default=np.inf)) < self.prob
        except DataError as error:
            log.warning("the trial %d goes on: %s", trial.number, error)
            return False

    def _others(self, study: Any, trial: Any) -> tuple[dict[int, float], dict[str, Any]]:
        """Best losses of trials that have ended, and the reports of those that run."""
        states = _optuna.trial.TrialState
        ended: dict[int, float] = {}
        running: dict[str, Any] = {}
        for other in study.get_trials(deepcopy=False):
            if other.number == trial.number:
                continue
            if other.state == states.COMPLETE:
                ended[other.number] = float(other.value)
            elif other.state == states.RUNNING and len(other.intermediate_values) >= LEAST_POINTS:
                running[str(other.number)] = other.intermediate_values
        return ended, running

    def _chance(self, curves: dict[str, Any], best: float) -> float:
        runs = runs_of(curves)
        if "this" not in runs:
            return 1.0
        return prob_of_beating(runs, "this", self.total, best, self.random_seed)


def runs_of(curves: dict[str, dict[int, float]]) -> Runs:
    """Reported losses as runs; those of fewer usable points than a forecast needs are left out."""
    from ..runs.collection import Runs

    rows = []
    for name, values in curves.items():
        usable = [(s, v) for s, v in sorted(values.items()) if s > 0 and np.isfinite(v)]
        if len(usable) >= LEAST_POINTS:
            rows += [{"run": name, "step": float(s), "loss": float(v)} for s, v in usable]
    if not rows:
        raise DataError(f"{LEAST_POINTS} reports with steps above 0 are needed")
    return Runs.from_frame(rows)


def prob_of_beating(
    runs: Runs, name: str, total: float, best: float, random_seed: int = 0
) -> float:
    """Probability that a running trial ends below the best.

    Parameters
    ----------
    runs : Runs
        The trials that are running; they are forecast in one batch.
    name : str
        The one that is asked about.
    total : float
        Steps of a whole trial.
    best : float
        The best loss so far of a finished trial; infinite without one.
    random_seed : int

    Returns
    -------
    float
        That its loss at the end is below ``best``, and below that of the other running trial whose
        median is lowest; 0 for a run that broke.
    """
    from ..answers.extrapolation import extrapolate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        answer = extrapolate(
            runs, at=total, axis="step", total=total, draws=500, random_seed=random_seed
        )
    if answer.broken.get(name, ("", False))[1]:
        return 0.0
    finals: Floats = np.asarray(answer.draws.values[:, 0])
    own = finals[answer.names.index(name)]
    bar = np.full(len(own), best)
    others = [k for k, other in enumerate(answer.names) if other != name]
    if others:
        first = min(others, key=lambda k: float(np.median(finals[k])))
        bar = np.minimum(bar, finals[first])
    return float((own < bar).mean())
