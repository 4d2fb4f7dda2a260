from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import lossfit
from lossfit import DataError, schedules
from lossfit.backtests.cases import make_cases
from lossfit.backtests.scores import score
from lossfit.cli.main import main
from tests.curves import power_runs
from tests.forecasts.test_forecast import PLAN, annealed

mpl.use("Agg")

from matplotlib import pyplot as plt

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


@pytest.fixture(scope="module")
def harness(shared):
    """The study's own cases and scores."""
    folder = shared / "prototypes"
    if not folder.is_dir():
        pytest.skip("shared/prototypes is not there")
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("harness", folder / "backtest_harness.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["harness"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(folder))


@pytest.mark.shared
@pytest.mark.parametrize(
    "source", ["gemstones", "xlstm2k", "llama", "mpl", "modded", "nano4090", "lrsched"]
)
def test_cases_and_scores_are_those_of_the_protocol(harness, shared, source):
    theirs = harness.one_view(harness.load_runs(shared / "data/curves", source))[:25]
    runs = lossfit.Runs.from_arrays(
        "step",
        np.concatenate([r.t for r in theirs]),
        np.concatenate([r.loss for r in theirs]),
        np.concatenate([[0], np.cumsum([len(r.t) for r in theirs])]),
        [r.name for r in theirs],
    )
    cases = make_cases(runs, "step", (0.3, 0.5, 0.7), (1.25, 2.0, "end"), "known")
    expected = [
        (f"{c.run.name}@{c.cutoff:g}", t.horizon, t.at, t.observed, t.points)
        for r in theirs
        for c in harness.cases_of(r)
        for t in c.targets
    ]
    names = [cases.runs.names[i] for i in cases.case]
    assert list(zip(names, cases.horizon, strict=True)) == [e[:2] for e in expected]
    np.testing.assert_allclose(cases.at, [e[2] for e in expected])
    np.testing.assert_allclose(cases.observed, [e[3] for e in expected])
    np.testing.assert_allclose(cases.points, [e[4] for e in expected])
    assert len(cases.skipped) == sum(not harness.cases_of(r) for r in theirs)
    draws = np.random.default_rng(0).normal(cases.observed[:, None], 0.1, (len(names), 300))
    found = score(draws, cases.observed, 0.9)
    for i in range(0, len(names), 7):
        one = harness.score(draws[i], cases.observed[i])
        assert found.crps[i] == pytest.approx(one["crps"], rel=1e-9)
        assert found.pit[i] == one["pit"]
        assert list(found.cover[:, i]) == [one[f"cover{q}%"] for q in (50, 80, 90, 95)]


def test_a_backtest_of_runs_that_follow_the_law():
    runs = annealed(20, seed=4).with_schedule(PLAN)
    check = lossfit.backtest(runs, draws=400)
    assert len(check.frame) == 20 * (3 + 2 + 3)  # 2x lies beyond the end for a cut at 70 %
    summary = check.summary()
    assert list(summary.index) == ["1.25x", "2x", "end"]
    assert (summary["cover90"] > 0.8).all()
    assert (summary["crps"] < 0.02).all()
    row = check.frame.iloc[0]
    assert (row["run"], row["cutoff"], row["horizon"]) == ("run0", 0.3, "1.25x")
    assert row["covered"] == row["cover90"]
    assert row["horizon_ratio"] == pytest.approx(1.25, abs=0.02)
    assert "Backtest of learned on step: 160 forecasts of 20 runs" in str(check)
    data = json.loads(json.dumps(check.to_dict(), allow_nan=False))
    assert data["schema"] == "lossfit.check/1"
    assert len(data["rows"]) == 160


def test_a_forecast_never_sees_the_future():
    """Nothing of a case's forecast changes when its future does."""
    runs = annealed(3)
    frame = runs.frame
    late = frame["step"] > 10_000
    other = frame.assign(loss=frame["loss"] + late * 0.3)
    kept, changed = (
        lossfit.backtest(
            lossfit.Runs.from_frame(f).with_schedule(PLAN), cutoffs=(0.5,), draws=200
        ).frame
        for f in (frame, other)
    )
    np.testing.assert_array_equal(kept["median"], changed["median"])
    assert not np.allclose(kept["observed"], changed["observed"])


def test_what_is_known_of_the_schedule():
    runs = annealed(4, lr=True)
    known = lossfit.backtest(runs, cutoffs=(0.5,), horizons="end", draws=200)
    by_schedule = lossfit.backtest(
        annealed(4).with_schedule(PLAN), cutoffs=(0.5,), horizons="end", draws=200
    )
    np.testing.assert_allclose(known.frame["median"], by_schedule.frame["median"], atol=3e-3)
    masked = lossfit.backtest(runs, cutoffs=(0.5,), horizons="end", schedules="masked", draws=200)
    none = lossfit.backtest(runs, cutoffs=(0.5,), horizons="end", schedules="none", draws=200)
    assert all("schedule_unknown" in flags for flags in masked.frame["notes"])
    assert all("no_plan" in flags for flags in none.frame["notes"])
    # Of five schedules most end higher than the cosine to 0 that these runs followed.
    assert masked.frame["median"].mean() > known.frame["median"].mean()


def test_a_schedule_that_is_given_leaves_those_alone_that_are_known():
    runs = annealed(1, lr=True)
    known = lossfit.backtest(runs, cutoffs=(0.5,), draws=100)
    given = lossfit.backtest(runs, cutoffs=(0.5,), draws=100, schedules="constant")
    np.testing.assert_array_equal(given.frame["median"], known.frame["median"])


def test_groups_are_averaged_first():
    runs = annealed(6, seed=2).with_schedule(PLAN)
    of = {name: "a" if name in ("run0", "run1", "run2", "run3") else "b" for name in runs.names}
    check = lossfit.backtest(runs, group=of, draws=200)
    each = check.summary("group")["crps"].unstack()
    np.testing.assert_allclose(check.summary()["crps"], each.mean()[check.summary().index])
    same = lossfit.backtest(runs, group=lambda name: of[name], draws=200)
    assert list(same.frame["group"]) == list(check.frame["group"])
    assert "lowest 90 % coverage of a group" in str(check)


def test_groups_are_an_entry_of_meta():
    check = lossfit.backtest(lossfit.load("llama"), group="family", draws=100)
    assert (check.frame["group"] == check.frame["run"].str.partition("-")[0]).all()
    assert (check.summary()["groups"] == 2).all()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "runs.csv"
    annealed(3, lr=True).frame.drop(columns="spike").to_csv(path, index=False)
    return path


def test_the_command_is_the_function(log, tmp_path):
    picture = tmp_path / "check.png"
    words = ["backtest", str(log), "--cutoff", "0.5", "--horizon", "1.5", "--horizon", "end"]
    words += ["--prob", "0.8", "--draws", "100", "--seed", "3", "--siblings", "others"]
    done = CliRunner().invoke(main, [*words, "--json", "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    check = lossfit.backtest(
        lossfit.load(log), (0.5,), (1.5, "end"), siblings="others", prob=0.8, draws=100,
        random_seed=3,
    )  # fmt: skip
    assert data == json.loads(json.dumps(check.to_dict()))
    assert plt.imread(picture).std() > 0.02
    told = CliRunner().invoke(main, words)
    assert str(check) in told.stdout


def test_the_command_takes_groups(log):
    done = CliRunner().invoke(
        main, ["backtest", "llama", "--group", "family", "--draws", "50", "--json"]
    )
    groups = {row["group"] for row in json.loads(done.stdout)["groups"]}
    assert groups == {"llama1", "llama2"}
    refused = CliRunner().invoke(main, ["backtest", str(log), "--group", "family"])
    assert refused.exit_code == 2
    assert "has no such entry" in refused.stderr


def test_the_picture_shows_the_scores():
    runs = annealed(8, seed=6).with_schedule(PLAN)
    of = {name: "a" if name in ("run0", "run1") else "b" for name in runs.names}
    check = lossfit.backtest(runs, group=of, draws=200)
    figure = check.plot().figure
    coverage, pit, errors = figure.axes
    summary = check.summary()
    lines = {line.get_label(): line for line in coverage.lines}
    for horizon in summary.index:
        words = "the run's end" if horizon == "end" else f"{horizon} the data"
        x, y = lines[words].get_data()
        # The interval's ends are interpolated between draws, the PIT is not: a draw may tip a case.
        np.testing.assert_allclose(
            y[np.isclose(x, 0.9)], summary.loc[horizon, "cover90"], atol=1 / 12
        )
    assert "8 independent" in coverage.get_legend().get_texts()[0].get_text()
    for line in pit.lines[:-1]:  # the last is the line at 0
        excess = line.get_ydata()
        assert excess[-1] == pytest.approx(0)
        assert np.abs(excess).max() < 1
    frame = check.frame
    low, high = errors.get_ylim()
    assert low < (frame["lower"] - frame["median"]).min()
    assert high > (frame["upper"] - frame["median"]).max()
    assert sum(len(line.get_xdata()) for line in errors.lines[1:]) == len(frame)
    # Groups count alike, however many runs they have: all of `a` is covered, none of `b`.
    pit_of = frame["group"].map({"a": 0.5, "b": 0.001})
    halved = replace(check, frame=frame.assign(pit=pit_of)).plot()
    for line in halved.lines[1:]:
        np.testing.assert_allclose(line.get_ydata(), 0.5)
    plt.close("all")


def test_the_noise_of_an_outcome_is_in_the_units_of_the_cut_run():
    """Points that count more after the cutoff than before: the same noise per unit of weight."""
    step = np.arange(1, 401) * 50.0
    count = np.where(step <= 10_000, 1.0, 9.0)
    noise = np.random.default_rng(0).normal(0, 0.05, 400) / np.sqrt(count)
    frame = pd.DataFrame({"step": step, "loss": 2 + 3 * step**-0.3 + noise, "count": count})
    cases = make_cases(lossfit.Runs.from_frame(frame), "step", (0.5,), ("end",), "none")
    assert cases.points.item() == pytest.approx(count[step >= 0.98 * 20_000].sum())


def test_siblings_are_others_only():
    runs = annealed(5, strength=0.01, noise=5e-4, seed=3).with_schedule(PLAN)
    alone = lossfit.backtest(runs, draws=300).summary()
    taught = lossfit.backtest(runs, siblings="others", draws=300).summary()
    assert (taught["crps"] < alone["crps"]).all()
    given = lossfit.backtest(runs, siblings=runs, draws=300).summary()
    np.testing.assert_allclose(given["crps"], taught["crps"])


def test_runs_without_a_forecast_are_reported():
    runs = annealed(1).with_schedule(PLAN) + lossfit.Runs.from_frame(
        power_runs(1, points=30).frame.assign(run="short")
    )
    check = lossfit.backtest(runs, draws=100)
    assert check.skipped["run"].tolist() == ["short"]
    assert "fewer than 25 points" in check.skipped["reason"].item()
    assert "1 runs gave no forecast" in str(check)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutoffs": ()}, "cutoffs must be different shares"),
        ({"cutoffs": (0.5, 1.2)}, "cutoffs must be"),
        ({"horizons": (0.9,)}, "horizons must be above 1"),
        ({"horizons": ("later",)}, "above 1 or 'end'"),
        ({"horizons": 0.5}, "above 1 or 'end'"),
        ({"cutoffs": (0.5, 0.5000001)}, "cutoffs must be different"),
        ({"horizons": (1.25, 1.2500001)}, "horizons must be different"),
        ({"laws": "power", "siblings": "others"}, "power do not respond to the learning rate"),
        ({"schedules": "hidden"}, "schedules must be 'known'"),
        ({"group": "source"}, "has no such entry"),
        ({"group": {"run0": "a"}}, "no entry for run 'run1'"),
        ({"siblings": "all"}, "siblings must be runs or 'others'"),
        ({"cutoffs": (0.01,)}, "no run gives a forecast; run 'run0': fewer than 25 points"),
    ],
)
def test_wrong_options_are_refused(options, message):
    runs = annealed(2).with_schedule(schedules.constant(1e-3))
    with pytest.raises(DataError, match=message):
        lossfit.backtest(runs, **options)


def test_calibrate_on_widens_what_was_too_narrow():
    """With a prior of B that is wrong and sure of itself the intervals miss."""
    runs = annealed(30, strength=0.5, seed=5).with_schedule(PLAN)
    asked, finished = runs.select(runs.names[:10]), runs.select(runs.names[10:])
    half = asked.until(0.5)
    true = np.array([run.loss[-5:].mean() for run in asked])

    def covered(frame):
        return ((frame["lower"] < true) & (true < frame["upper"])).mean()

    law = {"laws": "annealing"}
    plain = lossfit.extrapolate(half, at=20_000, draws=400, **law)
    told = lossfit.extrapolate(half, at=20_000, draws=400, calibrate_on=finished, **law)
    assert covered(plain.frame) < 0.5
    assert covered(told.frame) >= 0.8
    assert told.calibration.factor > 1.5
    assert "widened by a factor" in str(lossfit.extrapolate(
        half, "run0", at=20_000, draws=200, calibrate_on=finished, **law
    ))  # fmt: skip
    assert all("calibrated" in flags for flags in told.frame["notes"])
    few = lossfit.extrapolate(
        half, at=20_000, draws=200, calibrate_on=finished.select(["run12"]), **law
    )
    assert few.calibration.factor is None
    assert all("not_calibrated" in flags for flags in few.frame["notes"])
    np.testing.assert_allclose(few.frame["median"], plain.frame["median"], atol=0.02)
