"""A study of Optuna with trials whose ends are known."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

import lossfit
from lossfit import DataError

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: make integrations")

from lossfit.integrations.optuna import (  # noqa: E402 (only where there is Optuna)
    LossfitPruner,
    prob_of_beating,
)

TOTAL = 200
STEPS = np.arange(4, TOTAL + 1, 4)


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def curve(level: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.005, len(STEPS))
    return level + 2 * STEPS**-0.5 + noise


def run_trial(study, losses) -> int:
    """Report a trial until it is pruned; the number of reports."""
    trial = study.ask()
    for k, (step, loss) in enumerate(zip(STEPS.tolist(), losses.tolist(), strict=True), 1):
        trial.report(loss, step)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return k
    study.tell(trial, losses[-1])
    return len(losses)


def test_bad_trials_are_stopped_and_the_best_is_kept():
    study = optuna.create_study(pruner=LossfitPruner(TOTAL))
    levels = [2.0, 3.0, 1.9, 2.6, 1.8, 2.2]
    reports = [run_trial(study, curve(level, k)) for k, level in enumerate(levels)]
    assert [count == len(STEPS) for count in reports] == [True, False, True, False, True, False]
    assert max(count for count in reports if count < len(STEPS)) < 0.6 * len(STEPS)
    assert study.best_value == pytest.approx(curve(1.8, 4)[-1])


def test_nothing_is_stopped_without_reason():
    study = optuna.create_study(pruner=LossfitPruner(TOTAL))
    assert run_trial(study, curve(3.0)) == len(STEPS)  # nothing to compare with
    assert run_trial(study, curve(2.99, 1)) == len(STEPS)
    late = optuna.create_study(pruner=LossfitPruner(TOTAL, warmup=0.5))
    run_trial(late, curve(2.0))
    assert run_trial(late, curve(9.0)) >= 0.5 * len(STEPS)
    patient = optuna.create_study(pruner=LossfitPruner(TOTAL, finished=3))
    run_trial(patient, curve(2.0))
    assert run_trial(patient, curve(9.0)) == len(STEPS)


def test_a_trial_that_breaks_is_stopped():
    study = optuna.create_study(pruner=LossfitPruner(TOTAL))
    run_trial(study, curve(2.0))
    losses = curve(1.5, 1)
    losses[30:] = 9.0 + 0.3 * np.random.default_rng(0).normal(size=len(losses) - 30)
    assert 30 < run_trial(study, losses) < 42
    losses = curve(1.5, 1)
    losses[30:] = np.nan
    trial = study.ask()
    for step, loss in zip(STEPS[:31].tolist(), losses[:31].tolist(), strict=True):
        trial.report(loss, step)
    assert trial.should_prune()


def test_running_trials_are_compared_in_one_batch(monkeypatch):
    study = optuna.create_study(pruner=LossfitPruner(TOTAL, finished=0))
    trials = [study.ask() for _ in range(3)]
    curves = [curve(level, k) for k, level in enumerate((2.0, 2.6, 2.05))]
    batches = []
    from lossfit.integrations import optuna as module

    def counted(runs, *rest):
        batches.append(len(runs))
        return prob_of_beating(runs, *rest)

    monkeypatch.setattr(module, "prob_of_beating", counted)
    pruned = set()
    for k, step in enumerate(STEPS.tolist()):
        for number, trial in enumerate(trials):
            if number not in pruned and step < TOTAL:
                trial.report(float(curves[number][k]), step)
                if trial.should_prune():
                    pruned.add(number)
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    assert 1 in pruned
    assert 0 not in pruned
    assert max(batches) == 3


def test_the_probability_is_that_of_the_draws():
    frames = {name: curve(level, k) for k, (name, level) in enumerate((("a", 2.0), ("b", 2.02)))}
    runs = lossfit.Runs.from_frame(
        [
            {"run": name, "step": float(s), "loss": v}
            for name, losses in frames.items()
            for s, v in zip(STEPS[:25], losses[:25], strict=True)
        ]
    )
    answer = lossfit.extrapolate(runs, at=TOTAL, axis="step", total=TOTAL, draws=500)
    finals = answer.draws.values[:, 0]
    assert prob_of_beating(runs, "b", TOTAL, 2.1) == np.mean(finals[1] < np.minimum(finals[0], 2.1))
    assert prob_of_beating(runs.select(["b"]), "b", TOTAL, np.inf) == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"total": 0}, "total must be"),
        ({"prob": 1}, "prob must be"),
        ({"warmup": 1}, "warmup must be"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(DataError, match=words):
        LossfitPruner(**{"total": TOTAL, **options})


def test_a_study_that_maximises():
    study = optuna.create_study(direction="maximize", pruner=LossfitPruner(TOTAL))
    with pytest.raises(DataError, match="minimise a loss"):
        run_trial(study, curve(2.0))


def test_a_forecast_that_cannot_be_made_stops_nothing(caplog, monkeypatch):
    from lossfit.integrations import optuna as module

    def fails(*_):
        raise DataError("not so")

    monkeypatch.setattr(module, "prob_of_beating", fails)
    study = optuna.create_study(pruner=LossfitPruner(TOTAL))
    run_trial(study, curve(2.0))
    with caplog.at_level(logging.WARNING, "lossfit"):
        assert run_trial(study, curve(9.0)) == len(STEPS)
    assert "the trial 1 goes on: not so" in caplog.text
