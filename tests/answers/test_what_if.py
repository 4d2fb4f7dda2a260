"""Runs under other schedules: `lossfit.what_if`."""

from __future__ import annotations

import json
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

mpl.use("Agg")

import lossfit
from benches import multipower
from benches import what_if as bench
from lossfit import DataError, LossfitWarning, schedules
from lossfit.answers.scenarios import rate_under
from lossfit.answers.what_ifs import OWN, WhatIf, what_if
from lossfit.cli.what_if import command
from lossfit.forecasts.joint import fit_jointly
from lossfit.forecasts.responses import Rate, basis, rate_along
from lossfit.forecasts.sharing import disagree, fit_members
from lossfit.kernels.paths import Paths, Shapes
from lossfit.runs.schedule_words import standard_schedule

TOTAL = 20_000
PLANS = {
    "cosine": schedules.cosine(3e-4, TOTAL, 500),
    "constant": schedules.constant(3e-4, 500),
    "wsd": schedules.wsd(3e-4, TOTAL, 500, decay=0.3, final_ratio=0.1),
    "linear": schedules.linear(3e-4, TOTAL, 500, final_ratio=0.05),
    "short": schedules.cosine(3e-4, TOTAL / 2, 500),
}


def nodes(plan: schedules.Schedule) -> Rate:
    """A schedule on a fine grid, the warm-up at the peak."""
    step = np.arange(0.0, 2 * TOTAL, 20)
    rho = plan(step) / 3e-4
    rho[step <= plan.warmup] = 1.0
    return Rate(step, rho)


def truth(plan: schedules.Schedule, step: np.ndarray) -> np.ndarray:
    """A curve of the annealing law on rho^0.65, tau between the grid's values."""
    unit = np.array([[0.0, 300.0, 0.65, 0.0]])
    phi, response = basis(nodes(plan), step, TOTAL, np.array([[0.45, 0.0]]), unit)
    return 3.2 - 0.11 * phi[:, 0] - 0.16 * response[:, 0]


def simulated(names: tuple[str, ...], seed: int = 0, end: float = TOTAL) -> lossfit.Runs:
    rng = np.random.default_rng(seed)
    step = np.arange(600, end + 1, 100.0)
    frames = [
        pd.DataFrame({"run": name, "step": step, "loss": truth(PLANS[name], step)
                      + 0.0015 * rng.standard_normal(len(step))})
        for name in names
    ]  # fmt: skip
    return lossfit.Runs.from_frame(
        pd.concat(frames), schedules={name: PLANS[name] for name in names}
    )


@pytest.fixture(scope="module")
def pair() -> lossfit.Runs:
    return simulated(("cosine", "constant"))


@pytest.fixture(scope="module")
def asked(pair) -> WhatIf:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        return what_if(
            pair, "cosine", share=True, schedules={n: PLANS[n] for n in ("wsd", "linear", "short")}
        )


# ------------------------------------------------------------------ against truth


def test_finds_the_truth_under_other_schedules(asked):
    table = asked.frame.set_index("schedule")
    for name, end in (("wsd", TOTAL), ("linear", TOTAL), ("short", TOTAL / 2)):
        row = table.loc[name]
        real = truth(PLANS[name], np.array([end]))[0]
        own = truth(PLANS["cosine"], np.array([end]))[0]
        assert row["at"] == end
        assert row["lower"] <= real <= row["upper"]
        assert abs(row["median"] - real) < 0.008
        assert row["difference_lower"] <= real - own <= row["difference_upper"]
        # Draws belong together: a difference is known better than two losses of their own.
        assert row["difference_upper"] - row["difference_lower"] < 2 * (row["upper"] - row["lower"])
    assert table.loc["wsd", "prob_better"] > 0.99


def test_it_is_about_the_past_too():
    """Half of the run is there; the other schedule ended inside the data."""
    runs = simulated(("cosine",), 3, end=0.75 * TOTAL)
    with pytest.warns(LossfitWarning, match="rate_below_data"):
        answer = what_if(runs, schedules={"short": PLANS["short"]}, at=TOTAL / 2)
    row = answer.frame.set_index("schedule").loc["short"]
    assert row["horizon_ratio"] < 1
    gap = truth(PLANS["short"], np.array([TOTAL / 2])) - truth(
        PLANS["cosine"], np.array([TOTAL / 2])
    )
    assert gap[0] < 0
    assert row["difference_lower"] <= gap[0] <= row["difference_upper"]
    assert row["upper"] - row["lower"] > 3 * np.ptp(
        answer.frame.set_index("schedule").loc[OWN, ["lower", "upper"]]
    )


def test_a_pair_of_schedules_knows_more_than_one(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        one = what_if(pair, "constant", schedules={"wsd": PLANS["wsd"]}).frame.iloc[1]
        two = what_if(pair, "constant", schedules={"wsd": PLANS["wsd"]}, share=True).frame.iloc[1]
    assert "response_unsure" in one["notes"]
    assert "response_unsure" not in two["notes"]
    assert two["sd"] < 0.5 * one["sd"]


def test_siblings_tell_a_run_what_lowering_the_rate_wins(pair):
    known = simulated(("cosine", "wsd", "linear"), 9)
    known = lossfit.Runs.from_frame(
        known.frame.assign(run="old " + known.frame["run"]),
        schedules={f"old {n}": PLANS[n] for n in known.names},
    )
    options = {"schedules": {"linear": PLANS["linear"]}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        plain = what_if(pair, "constant", **options)
        helped = what_if(pair, "constant", siblings=known, **options)
    assert helped.strength["constant"][1] < 0.8 * plain.strength["constant"][1]
    assert helped.frame["sd"].iloc[1] < plain.frame["sd"].iloc[1]


@pytest.mark.shared
@pytest.mark.parametrize("size", bench.SIZES)
def test_bars_of_the_multi_power_curves(shared, size):
    runs = bench.multipower(shared / "data" / "curves", size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        found = bench.held_out(runs, bench.TRAIN, "step")
    assert len(found) == 6
    mae, r2, cover, _, _ = np.mean(list(found.values()), axis=0)
    assert mae <= bench.MAE[size]
    assert r2 >= bench.R2
    assert bench.COVERAGE[0] <= cover <= bench.COVERAGE[1]


@pytest.mark.parametrize("name", ["7.7M", "12.8M"])
def test_bars_of_the_cosine_ablation(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        guess, read, predicted, seen = bench.ranking(bench.budget(name))
    assert guess == read
    assert np.abs(predicted - seen).max() <= bench.ERROR


def test_runs_without_steps_have_steps_of_one_size():
    """Runs of a model that end at different places: their clocks must agree."""
    runs = bench.budget("7.7M")
    ends = np.array([[run.end("tokens")] for run in runs])
    assert np.ptp(ends) > 0
    members = fit_members(runs, "tokens", "auto", ends, lossfit.forecasts.rates.Plan())
    assert members.assumed.all()
    assert np.ptp(members.steps) == 0


def raised(runs: lossfit.Runs, name: str, by: float) -> lossfit.Runs:
    frame = runs.frame[["run", "step", "loss"]].copy()
    frame.loc[frame["run"] == name, "loss"] += by
    return lossfit.Runs.from_frame(frame, schedules={n: PLANS[n] for n in runs.names})


def test_runs_of_several_sizes_are_not_one_model(pair):
    frame = pair.frame[["run", "step", "loss"]]
    plans = {name: PLANS[name] for name in pair.names}
    for params, good in (({"cosine": 7e9, "constant": 7.3e9}, True),
                         ({"cosine": 7e9, "constant": 70e9}, False)):  # fmt: skip
        runs = lossfit.Runs.from_frame(frame, schedules=plans, params=params)
        for ask in (
            lambda **o: what_if(runs, schedules={"wsd": PLANS["wsd"]}, draws=20, **o),  # noqa: B023
            lambda **o: lossfit.extrapolate(runs, at=TOTAL, draws=20, **o),  # noqa: B023
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LossfitWarning)
                if good:
                    ask(share=True)
                    continue
                with pytest.raises(DataError, match="run 'cosine' has 7e\\+09 parameters and run"):
                    ask(share=True)
                ask(share={"cosine": "small", "constant": "large"})


def test_runs_that_disagree_are_flagged():
    runs = simulated(("cosine", "constant", "wsd"), 4)
    for by in (0.0, 0.05):
        asked = raised(runs, "constant", by)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", LossfitWarning)
            answer = what_if(asked, "wsd", schedules={"linear": PLANS["linear"]}, share=True)
            shared = lossfit.extrapolate(asked, "wsd", at=TOTAL, share=True)
        words = " ".join(str(one.message) for one in caught)
        assert ("runs_disagree" in answer.frame["notes"].iloc[0]) == (by > 0)
        assert ("runs_disagree" in shared.frame["notes"].iloc[0]) == (by > 0)
        assert ("off the curve of the others" in words) == (by > 0)


@pytest.mark.shared
@pytest.mark.parametrize("size", bench.SIZES)
def test_real_runs_of_a_model_do_not_disagree(shared, size):
    found = multipower.curves(shared / "data" / "curves", size)
    names = list(found)
    rng = np.random.default_rng(1)
    for count in (2, 3, 5, 9):
        chosen = rng.choice(names, count, replace=False)
        assert not disagree(fit_jointly([found[n] for n in chosen]), chosen)


# ------------------------------------------------------------------ behaviour


def test_the_own_schedule_is_the_own_schedule(pair):
    answer = what_if(pair, "cosine", share=True, schedules={"same": PLANS["cosine"]}, at=[5e3, 2e4])
    same = answer.frame[answer.frame["schedule"] == "same"]
    assert (same[["difference", "difference_lower", "difference_upper"]] == 0).all(axis=None)
    noise = np.interp([5e3, 2e4], pair["cosine"].axis("step"), pair["cosine"].loss)
    assert np.abs(same["median"].to_numpy() - noise).max() < 0.006


def test_differences_between_schedules(asked):
    table = asked.differences("wsd")
    assert list(table["schedule"]) == ["own", "linear"]  # short ends elsewhere
    rows = {row.schedule: i for i, row in enumerate(asked.rows)}
    gap = asked.curves[rows["linear"]] - asked.curves[rows["wsd"]]
    assert table["mean"].iloc[1] == pytest.approx(gap.mean())
    assert table["prob_better"].iloc[1] == pytest.approx((gap < 0).mean())
    own = asked.differences()
    assert set(own["schedule"]) == {"wsd", "linear", "short"}
    with pytest.raises(DataError, match="no schedule is called 'wds'"):
        asked.differences("wds")


def test_same_seed_same_answer_in_any_company(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        options = {"schedules": {"wsd": PLANS["wsd"]}, "random_seed": 5, "draws": 200}
        both = what_if(pair, **options)
        again = what_if(pair.select(["constant", "cosine"]), **options)
        single = what_if(pair.select(["cosine"]), **options)
        other = what_if(pair, **{**options, "random_seed": 6})
    key = ["run", "schedule", "at"]
    a, b = both.frame.set_index(key)["mean"], again.frame.set_index(key)["mean"]
    np.testing.assert_array_equal(a, b[a.index])
    c = single.frame.set_index(key)["mean"]
    np.testing.assert_array_equal(c, a[c.index])
    assert (a != other.frame.set_index(key)["mean"]).all()


def test_words_lists_and_dicts_by_run(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        answer = what_if(pair, schedules=["linear", "1-sqrt"], share=True, draws=50)
        by_run = what_if(
            pair, schedules={"x": {n: schedules.linear(3e-4, TOTAL, 500) for n in pair.names}},
            share=True, draws=50,
        )  # fmt: skip
    assert set(answer.frame["schedule"]) == {"own", "linear", "1-sqrt"}
    a = answer.frame[answer.frame["schedule"] == "linear"].iloc[0]
    assert a["mean"] == by_run.frame[by_run.frame["schedule"] == "x"].iloc[0]["mean"]
    made = standard_schedule(pair["cosine"], "1-sqrt")
    assert made == schedules.one_minus_sqrt(3e-4, TOTAL, 500)


def test_a_logged_rate_will_do():
    runs = simulated(("cosine", "wsd"), 4)
    frame = runs.frame[["run", "step", "loss"]].copy()
    frame["lr"] = np.concatenate([run.schedule(run.axis("step")) for run in runs])
    logged = lossfit.Runs.from_frame(frame)
    assert logged["cosine"].schedule is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        options = {"schedules": {"linear": PLANS["linear"]}, "share": True}
        a = what_if(runs, "cosine", **options).frame
        b = what_if(logged, "cosine", **options).frame
    np.testing.assert_allclose(a["mean"], b["mean"], atol=0.002)


def test_another_peak_counts_from_the_runs_own(pair):
    run = pair["cosine"]
    low = rate_under(run, schedules.constant(1.5e-4, 500), "step", 1.0)
    unit = np.array([[0.0, 300.0, 1.0, 0.0]])
    _, response = basis(low, np.array([10_000.0]), TOTAL, np.array([[0.5, 0.0]]), unit)
    assert response[0, 0] == pytest.approx(0.5, abs=1e-6)
    with pytest.warns(LossfitWarning, match="peak_differs"):
        answer = what_if(run, schedules={"half": schedules.cosine(1.5e-4, TOTAL, 500)})
    assert "peak_differs" in answer.frame["notes"].iloc[1]


def test_flags(pair):
    with pytest.warns(LossfitWarning, match="rate_below_data"):
        answer = what_if(
            pair.select(["cosine"]),
            schedules={"to 0": schedules.linear(3e-4, TOTAL, 500)},
            at=[TOTAL, 2.5 * TOTAL, 17.0 * TOTAL],
        )
    flags = list(answer.frame["notes"])
    assert "rate_below_data" in flags[3]
    assert "rate_below_data" not in flags[0]
    assert "far" in flags[4]
    assert "schedule_stretched" in flags[1]
    assert "schedule_stretched" in flags[4]
    assert "untested" in flags[5]
    assert answer.frame["horizon_ratio"].iloc[-1] == pytest.approx(17.0)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_logged_rate_tells_where_the_run_would_end(pair):
    """A word without an end, and places that nobody named, go by the cosine that was logged."""
    frame = pair.select(["cosine"]).frame.drop(columns=["lr"], errors="ignore")
    frame = frame[frame["step"] <= TOTAL / 2].assign(lr=lambda f: PLANS["cosine"](f["step"]))
    cut = lossfit.Runs.from_frame(frame)
    made = standard_schedule(cut["cosine"], "wsd")
    assert made.total == pytest.approx(TOTAL, rel=1e-3)
    answer = what_if(cut, schedules=["wsd"], draws=50)
    assert [row.at for row in answer.rows] == pytest.approx([TOTAL, TOTAL], rel=1e-3)
    tail = lossfit.best_tail(cut, segments=4, draws=50)
    assert (tail.start, tail.total) == pytest.approx((TOTAL / 2, TOTAL), rel=1e-3)
    whole = frame.assign(lr=schedules.cosine(3e-4, TOTAL / 2, 500)(frame["step"]))
    run = lossfit.Runs.from_frame(whole)["cosine"]
    assert standard_schedule(run, "wsd").total == TOTAL / 2  # of its data: a form is near them


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_beyond_its_end_a_schedule_is_a_plan_to_the_place(pair):
    """Like the run's own: a held one would have been compared with a stretched one."""
    run, at = pair.select(["cosine"]), 2 * TOTAL
    short, long = (schedules.wsd(3e-4, total, 500) for total in (TOTAL, at))
    answer = what_if(run, schedules={"short": short, "long": long}, at=[TOTAL, at], draws=100)
    values = {(row.schedule, row.at): answer.curves[i] for i, row in enumerate(answer.rows)}
    np.testing.assert_array_equal(values["short", at], values["long", at])
    assert (values["short", TOTAL] != values["long", TOTAL]).all()
    noted = {(row.schedule, row.at) for row in answer.rows if "schedule_stretched" in row.flags}
    assert noted == {("own", at), ("short", at)}
    np.testing.assert_array_equal(answer.curve("cosine", "short", [at])[0], values["short", at])


def test_text_plot_and_draws(asked):
    text = str(asked)
    assert "cosine under other learning-rate schedules" in text
    assert "vs own schedule:" in text
    assert "fitted together" in text
    ax = asked.plot()
    assert {line.get_label() for line in ax.lines} >= {"own schedule", "wsd", "cosine"}
    mpl.pyplot.close("all")
    assert asked.draws.dims == ("run", "schedule", "at", "draw")
    one = asked.draws.sel(run="cosine", schedule="wsd")
    assert float(one.median()) == asked.frame.set_index("schedule").loc["wsd", "median"]
    assert float(one["target"][0]) == TOTAL
    curve = asked.curve("cosine", "wsd", [1e4, 2e4])
    assert curve.shape == (2, 1000)
    row = asked.frame.set_index("schedule").loc["wsd"]
    assert np.median(curve[1]) == pytest.approx(row["median"], abs=0.002)
    assert asked.summary()["median"].notna().all()


def test_plain_data_and_command_line(asked, tmp_path):
    data = json.loads(json.dumps(asked.to_dict(), allow_nan=False))
    assert data["schema"] == "lossfit.what_if/1"
    assert data["rows"][0]["prob_better"] is None
    assert data["question"]["schedules"]["wsd"]["cosine"].startswith("wsd, peak 0.0003")
    path = tmp_path / "picture.png"
    words = [
        "llama2",
        "-r",
        "llama2-7B",
        "--schedule",
        "cosine@250k",
        "--schedule",
        "linear",
        "--draws",
        "50",
    ]
    result = CliRunner().invoke(command, [*words, "--plot", str(path)])
    assert result.exit_code == 0, result.output
    assert "cosine@250k  at 1T tokens" in result.output
    assert path.stat().st_size > 10_000
    result = CliRunner().invoke(command, [*words, "--json"])
    rows = json.loads(result.stdout)["rows"]
    assert [row["schedule"] for row in rows] == ["own", "cosine@250k", "linear"]
    assert CliRunner().invoke(command, ["llama2", "--schedule", "cosin"]).exit_code == 2


@pytest.mark.parametrize(
    ("step", "made"),
    [([0, 100, 100, 300], [0, 100, 101, 300]), ([0, 9, 9, 9.5], [0, 9, 9.25, 9.5])],
)
def test_jumps_are_made_over_a_step(step, made):
    shapes = Shapes(np.array(step, float), np.array([1.0, 1.0, 0.3, 0.3]), np.array([0, 4]))
    rate = rate_along(shapes, Paths(np.zeros(1, np.int64), np.zeros(1), np.ones(1)), 0, 1.0)
    np.testing.assert_array_equal(rate.step, made)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedules": {}}, "schedules= is empty"),
        ({"schedules": {"own": PLANS["wsd"]}}, "cannot be called 'own'"),
        ({"schedules": {"x": 3.0}}, "must be made with lossfit.schedules"),
        ({"schedules": ["wds"]}, "no schedule is called 'wds'"),
        ({"schedules": {"x": {"cosine": PLANS["wsd"]}}}, "has none for run 'constant'"),
        ({"schedules": {"x": PLANS["wsd"]}, "at": {"y": 3}}, "names a schedule 'y'"),
        ({"schedules": {"x": PLANS["wsd"]}, "at": -1}, "positive"),
        ({"schedules": {"x": PLANS["wsd"]}, "run": "none"}, "none"),
        ({"schedules": {"x": PLANS["wsd"]}, "priors": 3}, "learn_priors"),
    ],
)
def test_bad_questions(pair, options, words):
    with pytest.raises(DataError, match=words):
        what_if(pair, **options)


def test_a_run_whose_rate_is_not_known(curve):
    with pytest.raises(DataError, match=r"own= \(--own\), .* or an lr column"):
        what_if(curve.assign(run="a"), schedules={"x": PLANS["wsd"]})


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_shared_runs_have_one_answer_whatever_is_asked_beside():
    """`extrapolate` and `what_if` give a shared run the same draws, and targets need no other."""
    runs = simulated(("cosine", "constant"), end=14_000)
    places = [9_000, 18_000, TOTAL]
    question = {"axis": "step", "share": True, "draws": 300}
    alone = lossfit.extrapolate(runs, run="cosine", at=places[1], **question)
    several = lossfit.extrapolate(runs, run="cosine", at=places, **question)
    np.testing.assert_array_equal(alone.draws.values[0, 0], several.draws.values[0, 1])
    other = what_if(runs, "cosine", schedules=["wsd"], at=places, **question)
    own = [i for i, row in enumerate(other.rows) if row.schedule == "own"]
    np.testing.assert_allclose(other.curves[own], several.draws.values[0], rtol=1e-12)
    one = runs.select(["cosine"])  # nothing to share with: the same law all the same
    by_itself = lossfit.extrapolate(one, at=TOTAL, **question).draws.values[0]
    moved = what_if(one, schedules=["wsd"], at=TOTAL, **question)
    np.testing.assert_allclose(moved.curves[:1], by_itself, rtol=1e-12)
