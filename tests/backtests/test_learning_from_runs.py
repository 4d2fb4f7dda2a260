"""What finished runs of a project change in answers of the default law."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lossfit

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")

END = 10_000.0
DRAWS = 400


def project(n: int, drop: float = 0.03, spread: float = 0.003) -> lossfit.Runs:
    """Runs that all fall by about `drop` after 60 % of their plan, which no law foresees."""
    frames = []
    t = np.arange(50.0, END + 1, 50.0)
    for i in range(n):
        rng = np.random.default_rng(i)
        late = np.clip((t / END - 0.6) / 0.2, 0, 1)
        loss = (2.4 + 14 * t**-0.45) * np.exp(-(drop + rng.normal(0, spread)) * late)
        loss = loss * np.exp(rng.normal(0, 0.003, len(t)))
        frames.append(pd.DataFrame({"run": f"run{i}", "step": t, "loss": loss}))
    plan = lossfit.schedules.constant(1.0)
    frame = pd.concat(frames)
    return lossfit.Runs.from_frame(frame, schedules=dict.fromkeys(frame["run"].unique(), plan))


def ask(runs: lossfit.Runs, run: str = "run0", **options: object) -> lossfit.Answer:
    return lossfit.extrapolate(
        runs.until(0.5), run, at=END, total=END, draws=DRAWS, axis="step", **options
    )


def truth(runs: lossfit.Runs, run: str = "run0") -> float:
    return float(runs[run].loss[-5:].mean())


@pytest.fixture(scope="module")
def runs() -> lossfit.Runs:
    return project(14)


def test_siblings_move_the_default_towards_what_they_did(runs):
    others = runs.select(runs.names[1:])
    alone, taught = ask(runs), ask(runs, siblings=others)
    off = [float(a.frame["median"].iloc[0]) - truth(runs) for a in (alone, taught)]
    assert off[0] > 0.03  # nobody could know of the fall
    assert abs(off[1]) < 0.6 * off[0]
    assert taught.frame["lower"].iloc[0] < truth(runs) < taught.frame["upper"].iloc[0]


def test_siblings_that_err_little_narrow_the_default(runs):
    steady = project(14, drop=0.0, spread=0.0)
    others = steady.select(steady.names[1:])
    width = [
        float((a.frame["upper"] - a.frame["lower"]).iloc[0])
        for a in (ask(steady), ask(steady, siblings=others))
    ]
    assert width[1] < 0.8 * width[0]


def test_a_run_never_learns_from_itself(runs):
    with_own = ask(runs, siblings=runs)
    without = ask(runs, siblings=runs.select(runs.names[1:]))
    np.testing.assert_array_equal(with_own.draws, without.draws)


def annealed(strength: float, n: int = 8) -> lossfit.Runs:
    """Runs under a cosine whose loss answers to the rate so much, in shares of the loss."""
    t, frames = np.arange(50.0, END + 1, 50.0), []
    plan = lossfit.schedules.cosine(1.0, END, 100)
    rate = plan(t)
    for i in range(n):
        rng = np.random.default_rng(i)
        loss = (2.4 + 10 * t**-0.45) * np.exp(strength * rate**0.65 + rng.normal(0, 0.003, len(t)))
        frames.append(pd.DataFrame({"run": f"run{i}", "step": t, "loss": loss}))
    frame = pd.concat(frames)
    return lossfit.Runs.from_frame(frame, schedules=dict.fromkeys(frame["run"].unique(), plan))


@pytest.mark.parametrize("strength", [0.01, 0.12])
def test_siblings_tell_of_the_response(strength):
    """B of the asked run moves to theirs, from data that end before its rate has fallen."""
    runs = annealed(strength)
    begun = runs.until(0.4)
    others = runs.select(runs.names[1:])
    alone, taught = (
        lossfit.extrapolate(begun, "run0", at=END, axis="step", draws=DRAWS, **more)
        for more in ({}, {"siblings": others})
    )
    b = [answer.mixed.forecasts[0].strength[0] for answer in (alone, taught)]
    true = strength * float(runs["run0"].loss[-1])
    assert abs(b[1][0] - true) < 0.9 * abs(b[0][0] - true)
    assert taught.question.moves is not None
    counts = taught.question.moves["run0"].strengths
    assert counts.sum() == pytest.approx(7)  # a vote a run


@pytest.mark.parametrize("most", [20_000, 40])
def test_siblings_say_the_same_whoever_is_asked_beside(most, monkeypatch):
    """Where runs are references themselves, few backtests (8 for run0) or many (56 for all)."""
    monkeypatch.setattr("lossfit.backtests.references.MOST_BACKTESTS", most)
    runs = annealed(0.05)
    options = {"at": END, "axis": "step", "draws": 50, "siblings": runs}
    begun = runs.until(0.4)
    alone, together = (lossfit.extrapolate(begun, names, **options) for names in ("run0", None))
    np.testing.assert_array_equal(alone.draws.sel(run="run0"), together.draws.sel(run="run0"))


def test_siblings_of_a_few_points_change_nothing(runs):
    short = lossfit.Runs.from_frame(
        runs.frame.drop(columns="spike").groupby("run").nth(slice(None, None, 12)),
        schedules={n: runs[n].schedule for n in runs.names},
    )
    told = ask(runs, siblings=short)
    assert "siblings_unused" in told.frame["notes"].iloc[0]


def test_nothing_of_a_run_s_own_future_reaches_its_answer(monkeypatch):
    """Neither through its errors, nor through what its siblings learn of B, few runs or many."""
    runs = annealed(0.05)
    other = runs["run0"].loss.copy()
    other[150:] *= 0.9
    frame = runs.frame.drop(columns="spike")
    frame.loc[frame["run"] == "run0", "loss"] = other
    changed = lossfit.Runs.from_frame(frame, schedules={n: runs[n].schedule for n in runs.names})
    for most in (20_000, 0):
        monkeypatch.setattr("lossfit.backtests.references.MOST_BACKTESTS", most)
        rows = []
        for every in (runs, changed):
            check = lossfit.backtest(
                every, siblings="others", cutoffs=(0.5,), horizons=(1.25,), draws=100, axis="step"
            )
            of_run = check.frame.set_index("run").loc["run0"]
            rows.append(of_run[["lower", "median", "upper"]].to_numpy(float))
        np.testing.assert_array_equal(*rows)


def test_calibrate_on_at_the_asked_run_s_own_share(runs):
    """Cut at half, finished runs err as the asked one does; at 30 and 70 % they would not."""
    others = runs.select(runs.names[1:])
    alone, told = ask(runs), ask(runs, calibrate_on=others)
    assert told.calibration is not None
    assert told.calibration.runs == 13
    assert told.calibration.forecasts == 26  # 2x and the end, of one cut
    assert told.calibration.covered == 0
    assert told.calibration.factor > 1.5
    width = [float((a.frame["upper"] - a.frame["lower"]).iloc[0]) for a in (alone, told)]
    assert width[1] / width[0] == pytest.approx(told.calibration.factor, rel=0.05)
    assert told.frame["lower"].iloc[0] < truth(runs)


def test_calibrate_on_and_siblings_compose(runs):
    """Siblings move the median; the width is then calibrate_on's alone."""
    others = runs.select(runs.names[1:])
    both = ask(runs, siblings=others, calibrate_on=others)
    taught = ask(runs, siblings=others)
    assert both.calibration is not None
    assert both.calibration.factor is not None
    np.testing.assert_allclose(
        both.frame["median"], taught.frame["median"], atol=0.03 * truth(runs)
    )
    assert abs(float(both.frame["median"].iloc[0]) - truth(runs)) < 0.6 * abs(
        float(ask(runs).frame["median"].iloc[0]) - truth(runs)
    )


def test_too_few_runs_calibrate_nothing(runs):
    few = ask(runs, calibrate_on=runs.select(runs.names[1:6]))
    assert few.calibration is not None
    assert few.calibration.factor is None
    np.testing.assert_array_equal(few.draws, ask(runs).draws)
    others = runs.select(runs.names[1:])  # and take nothing of what siblings say of the width
    both = ask(runs, siblings=others, calibrate_on=runs.select(runs.names[1:6]))
    np.testing.assert_array_equal(both.draws, ask(runs, siblings=others).draws)
