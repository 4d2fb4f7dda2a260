"""The factor of `calibrate_on=`, by hand, and the noise of an outcome in a backtest."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.backtests import backtesting, conformal
from lossfit.forecasts.question import Question
from tests.curves import power_runs


def frame(scores):
    """Forecasts by run whose outcomes lie so many half widths above the median."""
    rows = [
        {"run": run, "horizon_ratio": 2.0, "observed": 2 + score, "median": 2.0, "upper": 3.0,
         "lower": 1.0, "covered": score <= 1}
        for run, of_run in scores.items()
        for score in of_run
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def factor(monkeypatch):
    def of(scores, prob=0.8):
        made = SimpleNamespace(frame=frame(scores))
        monkeypatch.setattr(conformal, "backtest_question", lambda *_: made)
        finished = power_runs(len(scores))
        asked = lossfit.Runs.from_frame(
            pd.DataFrame({"step": [1.0, 2, 3, 4], "loss": [4, 3, 2, 2]})
        )
        question = Question.of(
            asked, "step", laws="power", calibrate_on=finished, prob=prob, priors=None
        )
        return conformal.calibrated(question, asked, ["run"], np.array([[8.0]]))[1].factor

    return of


def test_one_more_run_is_counted_whose_score_is_not_known(factor):
    """Of 10 runs, 80 % of 11 are 9 scores, not the 8 that are 80 % of 10."""
    scores = {f"run{k}": [0.5 + 0.1 * k] for k in range(10)}
    assert factor(scores) == pytest.approx(0.5 + 0.1 * 8)
    scores = {f"run{k}": [0.5 + 0.1 * k] for k in range(14)}
    assert factor(scores, prob=0.7) == pytest.approx(0.5 + 0.1 * 10)


def test_every_run_counts_once(factor):
    """A run with 90 forecasts does not outvote nine runs with one each."""
    scores = {f"run{k}": [1.0 + 0.1 * k] for k in range(9)}
    scores["run9"] = [0.1] * 90
    # 80 % of 11 are 8.8 runs: the long one and the 8 smallest of the others.
    assert factor(scores) == pytest.approx(1.0 + 0.1 * 7)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_the_noise_of_an_outcome_is_that_of_a_mean_of_its_points(monkeypatch):
    seen = {}

    def score(curves, observed, prob):
        seen["curves"] = curves
        return real_score(curves, observed, prob)

    def make_cases(*arguments, **options):
        seen["cases"] = real_cases(*arguments, **options)
        return seen["cases"]

    def curves_of(question, block, at, advance):
        made = real_curves(question, block, at, advance)
        made.curves[:] = 0.0
        made.sigma[:] = 1.0
        return made

    real_score, real_curves = backtesting.score, backtesting.curves_of
    real_cases = backtesting.make_cases
    monkeypatch.setattr(backtesting, "make_cases", make_cases)
    monkeypatch.setattr(backtesting, "score", score)
    monkeypatch.setattr(backtesting, "curves_of", curves_of)
    lossfit.backtest(power_runs(3), laws="power", draws=4000)
    points = seen["cases"].points
    assert points.min() <= 3
    np.testing.assert_allclose(seen["curves"].std(axis=1), 1 / np.sqrt(points), rtol=0.06)
