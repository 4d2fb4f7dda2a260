"""What contradicts the data is refused or flagged; `total=` is used beside a logged rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, schedules
from lossfit.forecasts.knowledge import check_knowledge, check_targets
from lossfit.forecasts.rates import Plan, rates
from tests.curves import power_runs


def logged(rate, n=200, end=5000.0):
    """One run of a learning rate that was logged with every point."""
    step = np.linspace(end / n, end, n)
    frame = pd.DataFrame({"step": step, "loss": 2 + step**-0.3, "lr": rate(step)})
    return lossfit.Runs.from_frame(frame)


@pytest.fixture(scope="module")
def runs():
    return power_runs(2, tokens_per_step=1000)  # 1,000 steps


@pytest.mark.parametrize(
    ("plan", "axis", "words"),
    [
        (Plan(None, 24.0), "step", "total=24 ends before the data of run 'run0'.*total='24k'"),
        (Plan(None, {"run1": 500.0}), "step", "run 'run1'"),
        (Plan(None, 2e6), "step", "looks like tokens"),
        (Plan(None, 2e9), "step", "more than a million times the data"),
        (Plan(schedules.cosine(1.0, 300)), "step", "ends at 300 steps, before its data"),
    ],
)
def test_knowledge_that_the_data_contradict_is_refused(runs, plan, axis, words):
    with pytest.raises(DataError, match=words):
        check_knowledge(plan, runs, runs.names, axis)


def test_knowledge_that_may_be_is_not_refused(runs):
    for plan in (Plan(), Plan(None, 990.0), Plan(None, 4e4), Plan(schedules.cosine(1.0, 2000))):
        check_knowledge(plan, runs, runs.names, "step")
    check_knowledge(Plan(None, {"run1": 500.0}), runs, ["run0"], "step")


@pytest.mark.parametrize(
    ("at", "words"), [(1e-3, "before the first point"), (2e9, "no run makes|a million")]
)
def test_targets_that_no_forecast_can_serve_are_refused(runs, at, words):
    with pytest.raises(DataError, match=words):
        lossfit.extrapolate(runs, at=at, axis="step")
    check_targets(runs, runs.names, "step", np.array([[900.0, np.nan], [np.nan, 1e6]]))


def made(runs, total, at=9000.0):
    return rates(runs, "step", np.array([5000.0]), np.array([[at]]), Plan(None, total))


def test_a_planned_end_is_used_beside_a_logged_rate():
    cosine = logged(schedules.cosine(1.0, 10_000, 100))
    agreed = made(cosine, 10_000.0)
    assert agreed.labels == [("cosine",)]
    assert not agreed.flags["total_disagrees"].any()
    assert made(cosine, None).labels == [("cosine",)]
    other = made(cosine, 20_000.0)
    assert len(other.labels[0]) == 5
    assert other.flags["total_disagrees"].all()
    line = made(logged(schedules.linear(1.0, 10_000, 0, 0.3)), 10_000.0)
    assert line.labels == [("linear",)]
    held = made(logged(schedules.constant(1.0)), 10_000.0)
    assert len(held.labels[0]) == 5
    assert not held.flags["total_disagrees"].any()


def test_data_beyond_the_end_of_the_run_s_schedule_are_flagged():
    runs = logged(schedules.constant(1.0)).with_schedule(schedules.cosine(1.0, 3000))
    assert made(runs, None).flags["schedule_over"].all()
    runs = logged(schedules.constant(1.0)).with_schedule(schedules.cosine(1.0, 4990))
    assert not made(runs, None).flags["schedule_over"].any()


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_plan_of_a_thousand_times_the_data_is_told_with_what_was_meant():
    runs = power_runs(2)  # 1,000 steps
    where = {"at": 1500, "axis": "step", "draws": 50}
    answer = lossfit.extrapolate(runs, "run0", total=2e6, **where)
    assert "total_far" in answer.frame["notes"][0]
    assert "did you mean total=2,000?" in answer.meanings["total_far"]
    assert "did you mean total=2,000?" in answer.warning
    race = lossfit.race(runs, axis="step", until=1500, total=2e6, draws=50)
    assert "did you mean total=2,000?" in race.warning
    usual = lossfit.extrapolate(runs, "run0", total=9e5, **where)
    assert "total_far" not in usual.frame["notes"][0]
