"""The factor of `calibrate_on=`, by hand, and the noise of an outcome in a backtest."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.backtests import backtesting, conformal
from lossfit.forecasts.moves import stretched
from lossfit.forecasts.question import Question
from tests.curves import power_runs


def frame(scores):
    """Forecasts by run whose outcomes lie so many half widths above the median."""
    rows = [
        {"run": run, "cutoff": 0.5 + k / 1000, "horizon": "2x", "horizon_ratio": 2.0,
         "observed": 2 + score, "median": 2.0, "upper": 3.0, "lower": 1.0, "covered": score <= 1}
        for run, of_run in scores.items()
        for k, score in enumerate(of_run)
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


@pytest.fixture
def calibrate(monkeypatch):
    """Calibrates one question on frames by cut; what was asked of the backtests is kept."""

    def of(
        frames, at=8.0, names=("run",), finished=("a", "b"), share=None, priors=None, laws="power",
        **options,
    ):  # fmt: skip
        asked = []

        def backtest_question(runs, question, cuts, horizons):
            asked.append((runs.names, question, cuts, horizons))
            made = frames[len(asked) - 1]
            if made is None:
                raise lossfit.DataError("too short")
            return SimpleNamespace(frame=made)

        monkeypatch.setattr(conformal, "backtest_question", backtest_question)
        monkeypatch.setattr(conformal, "share_of_plan", lambda *_: share)
        each = [
            pd.DataFrame({"run": n, "step": [1.0, 2, 3, 4], "loss": [4, 3, 2, 2]}) for n in names
        ]
        runs = lossfit.Runs.from_frame(pd.concat(each))
        many = pd.concat(power_runs(1).frame.assign(run=name) for name in finished)
        question = Question.of(
            runs, "step", laws=laws, calibrate_on=lossfit.Runs.from_frame(many), prob=0.8,
            priors=priors, **options,
        )  # fmt: skip
        targets = np.atleast_2d(np.asarray(at, float))
        return (*conformal.calibrated(question, runs, list(names), targets), asked)

    return of


def widened(question):
    """The distance from the median, at 2x, of a draw of "run" that lay 1 off it."""
    if question.widths is None:
        return 1.0
    curves = np.array([[[1.0, 2.0, 3.0]]])
    none = np.zeros(1, bool)
    made = stretched(curves, question.widths, ["run"], np.array([[math.log(2)]]), none)
    return float(made[0, 0, 2] - 2)


def many(count=10, score=1.5, **columns):
    return frame({f"r{k}": [score] for k in range(count)}).assign(**columns)


@pytest.mark.parametrize(("log_ratio", "near"), [(0.0, True), (0.34, True), (-0.23, True),
                                                 (0.35, False), (-0.24, False)])  # fmt: skip
def test_only_backtests_at_about_the_same_horizon_count(calibrate, log_ratio, near):
    """Asked at 8 of 4: ends of runs count where 2 is the nearest of 1.25, 2 and 4."""
    made = many(horizon="end", horizon_ratio=2 * np.exp(log_ratio))
    question, done, asked = calibrate([made])
    assert asked[0][3] == conformal.HORIZONS
    assert (done.factor is not None) == near
    assert (done.runs, done.forecasts) == ((10, 10) if near else (0, 0))
    assert widened(question) == pytest.approx(1.5 if near else 1.0)


@pytest.mark.parametrize(("count", "enough"), [(9, False), (10, True)])
def test_ten_runs_are_needed(calibrate, count, enough):
    made = many(count)
    made.loc[len(made)] = made.iloc[0]  # a second forecast of one of them is no further run
    made.loc[len(made) - 1, "cutoff"] = 0.7
    question, done, _ = calibrate([made])
    assert (done.runs, done.forecasts) == (count, count + 1)
    assert (done.factor is not None) == enough
    assert np.isnan(done.covered) == (not enough)
    words = str(done)
    if enough:
        assert words == (
            "Calibrated: widened by a factor of 1.50, because 80 % intervals held 0 % of 11 "
            "outcomes of 10 finished runs."
        )
    else:
        assert words.startswith("Not calibrated: calibrate_on gave forecasts of 9 runs near")
        assert words.endswith("10 are needed.")
        assert question.widths is None


@pytest.mark.parametrize(("score", "factor"), [(0.1, 0.5), (0.5, 0.5), (0.7, 0.7), (3.9, 3.9),
                                               (9.0, 4.0)])  # fmt: skip
def test_factors_have_limits(calibrate, score, factor):
    _, done, _ = calibrate([many(score=score)])
    assert done.factor == pytest.approx(factor)
    assert ("narrowed" in str(done)) == (factor < 1)
    assert done.covered == (1.0 if score <= 1 else 0.0)


def test_distances_are_in_arms_of_their_own_side(calibrate):
    """Below the median the lower arm counts, above the upper one."""
    below = many(observed=2 - 1.75, lower=0.7, upper=9.0)
    assert calibrate([below])[1].factor == pytest.approx(1.75 / 1.3)
    above = many(observed=2 + 0.75, lower=-9.0, upper=2.5)
    assert calibrate([above])[1].factor == pytest.approx(0.75 / 0.5)
    nothing = many(observed=2.0, lower=2.0, upper=2.0)
    assert calibrate([nothing])[1].factor == 0.5


def test_where_runs_are_cut(calibrate):
    """At the asked run's own share of its plan; where that gives too few, at the usual ones."""
    usual = (0.3, 0.5, 0.7)
    own = (conformal.rounded(0.6),)
    everywhere = pd.concat([many(horizon=f"{x:g}x", horizon_ratio=x) for x in conformal.RATIOS])
    _, done, asked = calibrate([everywhere], share=0.6)
    assert [cuts for _, _, cuts, _ in asked] == [own]
    assert (done.factor, done.runs, done.forecasts) == (1.5, 10, 10)
    _, done, asked = calibrate([many(9), many(12)], share=0.6)
    assert [cuts for _, _, cuts, _ in asked] == [own, usual]
    assert done.runs == 12
    _, done, asked = calibrate([many(), many(12, score=3.0)], share=0.6)  # own comes first
    assert (done.runs, done.factor) == (10, 1.5)
    _, done, asked = calibrate([None, many(11)], share=0.6)
    assert (len(asked), done.runs) == (2, 11)
    _, done, asked = calibrate([many(11)])
    assert [cuts for _, _, cuts, _ in asked] == [usual]
    question, done, asked = calibrate([None, None], share=0.6)
    assert (done.factor, done.runs, done.forecasts, question.widths) == (None, 0, 0, None)
    _, done, _ = calibrate([many(4), None], share=0.6)  # what little there was is told
    assert (done.factor, done.runs) == (None, 4)


def test_what_is_asked_of_the_finished_runs(calibrate):
    """A run's own errors tell it nothing, and nothing is widened or learned twice."""
    made = many(11)
    made.loc[made["run"] == "r0", "run"] = "a"
    question, done, asked = calibrate([made], names=("run", "a"), at=[[8.0], [8.0]])
    names, plain, _, _ = asked[0]
    assert (names, len(asked)) == (("a", "b"), 1)
    assert (plain.widths, plain.calibrate_on, plain.moves, plain.compared) == (None, None, None, ())
    assert question.calibrate_on is not None
    np.testing.assert_array_equal(done.factors, [[1.5], [1.5]])
    assert calibrate([made.iloc[1:]], names=("run", "a"), at=[[8.0], [8.0]])[1].runs == 10
    question, done, _ = calibrate([made.iloc[:10]], names=("run", "a"), at=[[8.0], [8.0]])
    np.testing.assert_array_equal(done.factors, [[1.5], [np.nan]])
    assert set(question.widths) == {"run"}


def test_a_factor_depends_on_no_other_target_nor_run(calibrate):
    """Each horizon has a factor of its own, and places between them what lies between."""
    made = pd.concat(
        [many(score=score, horizon=f"{x:g}x", horizon_ratio=x) for x, score in ((1.25, 1), (2, 3))]
    )
    together = calibrate([made], at=[[5.0, 8.0, 12.0, 80.0]])[1].factors[0]
    np.testing.assert_allclose(together[:2], [1.0, 3.0])
    assert np.isnan(together[3])  # no finished run went so far
    for at, factor in zip((5.0, 8.0, 12.0, 80.0), together, strict=True):
        assert calibrate([made], at=at)[1].factors == pytest.approx(factor, nan_ok=True)
    between = calibrate([made], at=4 * math.sqrt(1.25 * 2))[1]
    assert between.factor == pytest.approx(2.0)
    words = str(calibrate([made], at=[[5.0, 8.0]])[1])
    assert "narrowed or widened by factors of 1.00 to 3.00" in words
    assert "20 outcomes of 10 finished runs" in words


def test_targets_inside_the_data_ask_for_no_calibration(calibrate):
    question, done, asked = calibrate([], at=[[3.0, 4.0]])
    assert (asked, done.factor, question.widths) == ([], None, None)
    _, done, _ = calibrate([many()], at=[[2.0, 8.0]])
    np.testing.assert_array_equal(done.factors, [[np.nan, 1.5]])


def test_widening_takes_no_loss_below_zero(calibrate):
    """The default law's distances are those of logarithms, in the scores and in the draws."""
    made = many(12, observed=8.0, median=2.0, upper=4.0, lower=1.0)
    question, done, _ = calibrate([made], laws="auto")
    assert done.factor == pytest.approx(2.0)  # log 4 over log 2
    assert calibrate([made])[1].factor == pytest.approx(3.0)  # 6 over 2
    curves = np.array([[[0.5, 1.0, 2.0]]])
    logs = np.ones(1, bool)
    out = stretched(curves, question.widths, ["run"], np.array([[math.log(2)]]), logs)
    np.testing.assert_allclose(out, [[[0.25, 1.0, 4.0]]])


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
