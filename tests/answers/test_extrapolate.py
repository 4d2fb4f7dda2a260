from __future__ import annotations

import json

import numpy as np
import pytest

import lossfit
from lossfit import DataError, LossfitWarning, laws, priors
from lossfit.forecasts import mixture
from tests.curves import power_runs

quiet = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
pytestmark = quiet


PLAIN = ("power", "power_linear")


def ask(runs, *args, **options):
    options.setdefault("draws", 200)
    options.setdefault("laws", PLAIN)
    return lossfit.extrapolate(runs, *args, **options)


@pytest.fixture(scope="module")
def runs():
    return power_runs(
        3, slope=0.2, params={"run0": 1e6, "run1": 2e6, "run2": 4e6}, tokens_per_step=100
    )


def test_the_frame_describes_the_draws(runs):
    answer = ask(runs, at=[1500, 2500], axis="step", prob=0.8)
    frame, draws = answer.frame, answer.draws
    assert list(frame.columns) == [
        "median", "lower", "upper", "horizon_ratio", "mean", "broken", "notes", "sd", "axis",
        "prob", "run", "at",
    ]  # fmt: skip
    assert draws.dims == ("run", "at", "draw")
    assert draws.sizes["draw"] == 200
    np.testing.assert_array_equal(frame["at"], [1500, 2500] * 3)
    np.testing.assert_allclose(frame["horizon_ratio"], [1.5, 2.5] * 3)
    flat = draws.values.reshape(6, -1)
    np.testing.assert_allclose(frame["mean"], flat.mean(1))
    np.testing.assert_allclose(frame["sd"], flat.std(1, ddof=1))
    np.testing.assert_allclose(
        frame[["lower", "median", "upper"]].T, np.quantile(flat, [0.1, 0.5, 0.9], axis=1)
    )
    assert (frame["prob"] == 0.8).all()
    np.testing.assert_allclose(answer.quantile([0.1, 0.5]).T, np.quantile(flat, [0.1, 0.5], axis=1))


def test_the_mixture_takes_turns_between_the_fits_of_the_laws(runs):
    answer = ask(runs, at=[1500, 2500], axis="step", random_seed=5)
    for k, law in enumerate(("power", "power_linear")):
        fit = lossfit.fit(runs, law, axis="step", draws=200, random_seed=5)
        curves = fit.predict([1500, 2500]).values[0]  # (draw, run, at)
        mine = answer.draws.sel(draw=answer.draws["law"] == law)
        np.testing.assert_array_equal(mine.values, curves[k::2].transpose(1, 2, 0))
        table = answer.by_law[answer.by_law["law"] == law]
        assert (table["weight"] == 0.5).all()
        np.testing.assert_allclose(table["median"], np.median(curves, axis=0).ravel())


def test_one_law_and_lists(runs):
    one = ask(runs, "run1", at=2e5, laws="power")
    assert one.axis == "tokens"
    assert list(one.by_law["law"]) == ["power"]
    np.testing.assert_array_equal(one.frame["median"], one.by_law["median"])
    three = ask(
        runs, "run1", at=2e5, laws=["power", laws.get("power_linear"), "power_offset"], draws=100
    )
    assert [int((three.draws["law"] == law).sum()) for law in three.by_law["law"]] == [34, 33, 33]
    for wrong, message in (
        (["power", "power"], "listed twice"),
        ([], "laws is empty"),
        ("cubic", "no law is called"),
    ):
        with pytest.raises(DataError, match=message):
            ask(runs, at=2e5, laws=wrong)


def test_priors_reach_the_laws_that_have_the_parameter(runs):
    free = ask(runs, "run0", at=3e5)
    pinned = ask(runs, "run0", at=3e5, priors={"B": priors.normal(0, 1e-6)})
    assert np.array_equal(free.by_law["median"] == pinned.by_law["median"], [True, False])
    with pytest.raises(DataError, match="priors name 'C'"):
        ask(runs, at=3e5, priors={"C": priors.normal(0, 1)})


def test_compute_is_gpu_hours_where_all_have_them_else_flops(runs):
    answer = ask(runs, compute_of="run2")
    assert (answer.axis, answer.names) == ("flops", ("run0", "run1"))
    np.testing.assert_allclose(answer.frame["at"], runs["run2"].end("flops"))
    np.testing.assert_allclose(answer.frame["horizon_ratio"], [4, 2])
    timed = power_runs(3, gpu_hours={"run0": 10.0, "run1": 20.0, "run2": 60.0})
    answer = ask(timed, "run1", compute_of="run2")
    assert answer.axis == "gpu_hours"
    np.testing.assert_allclose(answer.frame["horizon_ratio"], 3)
    partly = power_runs(3, gpu_hours={"run0": 10.0})
    with pytest.raises(
        DataError, match=r"compute_of= needs GPU-hours or FLOPs .*'run1' has no gpu_hours"
    ):
        ask(partly, "run0", compute_of="run1")
    with pytest.raises(DataError, match="compares GPU-hours or FLOPs, not 'step'"):
        ask(runs, compute_of="run2", axis="step")
    with pytest.raises(DataError, match="run3"):
        ask(runs, compute_of="run3")


def test_exactly_one_question(runs):
    with pytest.raises(DataError, match=r"give one of at= \(where\) and compute_of="):
        ask(runs, at=1.0, compute_of="run2")


def test_targets_by_run_may_differ_in_number(runs):
    answer = ask(runs, at={"run2": [1500, 2000, 3000], "run0": 1200}, axis="step")
    assert answer.names == ("run0", "run2")
    frame = answer.frame
    np.testing.assert_array_equal(frame["run"], ["run0"] + 3 * ["run2"])
    np.testing.assert_array_equal(frame["at"], [1200, 1500, 2000, 3000])
    assert np.isnan(answer.draws.values[0, 1:]).all()
    alone = ask(runs, "run2", at=[1500, 2000, 3000], axis="step")
    np.testing.assert_array_equal(frame["median"].iloc[1:], alone.frame["median"])
    assert len(answer.by_law) == 8
    assert len(answer.prob_below(2.0)) == 4
    with pytest.raises(DataError, match="at= has no value for run 'run1'"):
        ask(runs, ["run0", "run1"], at={"run0": 1200}, axis="step")
    with pytest.raises(DataError, match="run 'run0': axis values must be positive"):
        ask(runs, at={"run0": -1}, axis="step")
    with pytest.raises(DataError, match="other"):
        ask(runs, at={"other": 1}, axis="step")


def test_the_same_draw_is_the_same_curve(runs):
    """Curves of falling laws fall from target to target, draw by draw."""
    draws = ask(runs, at=[1500, 1600, 3000], axis="step").draws.values
    assert (np.diff(draws, axis=1) < 0).all()


def test_prob_below_compares_all_pairs(runs):
    answer = ask(runs, ["run0", "run1"], at=[1100, 4000], axis="step")
    final = answer.final_loss("run2")
    below = answer.prob_below("run2")
    for (run, at), value in below.items():
        mine = answer.draws.sel(run=run, at=at).values
        assert value == pytest.approx(np.mean(mine[:, None] < final[None, :]), abs=1e-12)
    level = float(np.median(answer.draws.sel(run="run0", at=4000)))
    assert answer.prob_below(level).loc[("run0", 4000)] == pytest.approx(0.5, abs=0.01)
    # a run at the end of its own data is as good as itself, draw by draw; later it is better
    own = ask(runs, "run0", at=[1000, 1010], axis="step").prob_below("run0")
    np.testing.assert_array_equal(own, [0, 1])
    with pytest.raises(DataError, match="needs a run or a loss"):
        answer.prob_below()
    with pytest.raises(DataError, match="compares with a run or a loss"):
        answer.prob_below([1, 2])


def test_prob_below_at_other_places(runs):
    answer = ask(runs, "run0", at=1100, axis="step")
    moved = answer.prob_below("run2", at=[1100, 4000])
    wanted = ask(runs, "run0", at=[1100, 4000], axis="step").prob_below("run2")
    np.testing.assert_array_equal(moved, wanted)
    assert moved.iloc[0] == answer.prob_below("run2")


def test_blocks_and_company_do_not_matter(runs, monkeypatch):
    whole = ask(runs, at=[1500], axis="step")
    monkeypatch.setattr(mixture, "BLOCK", 2)
    parts = ask(runs, at=[1500], axis="step", window={"run2": "auto"})
    np.testing.assert_array_equal(whole.draws, parts.draws)
    alone = ask(runs, "run2", at=1500, axis="step")
    np.testing.assert_array_equal(whole.draws.values[2], alone.draws.values[0])
    generator = ask(runs, "run2", at=1500, axis="step", random_seed=np.random.default_rng(0))
    assert not np.array_equal(generator.draws, alone.draws)
    # asked again later, for a comparison, the same curves come out
    np.testing.assert_array_equal(generator.final_loss("run2"), generator.final_loss("run2"))


def test_flags_say_how_far_and_where_the_line_leads():
    step = np.arange(1.0, 101)
    noise = np.random.default_rng(0).normal(0, 0.002, 100)
    runs = lossfit.Runs.from_arrays("step", step, 2 + step**-0.7 - 0.01 * step + noise)
    answer = ask(runs, at=[80, 150, 250, 400], window="all", laws="power_linear")
    rows = list(answer.frame["notes"])
    assert [("interpolation" in r, "far" in r, "untested" in r) for r in rows] == [
        (True, False, False), (False, False, False), (False, True, False), (False, True, True),
    ]  # fmt: skip
    assert [("below_zero" in r, "below_floor" in r) for r in rows] == [
        (False, True), (False, True), (True, True), (True, True),
    ]  # fmt: skip
    both = ask(runs, at=[400.0], window="all")
    assert "law_disagreement" in both.frame["notes"].iloc[0]


def test_one_warning_names_what_matters(runs):
    with pytest.warns(LossfitWarning) as caught:
        ask(runs, at=5000, axis="step")
    assert len(caught) == 1
    assert caught[0].filename.endswith("test_extrapolate.py")
    assert "far (run0, run1, run2)" in str(caught[0].message)


def test_what_only_laws_with_a_schedule_use_is_refused_for_others(runs):
    plan = lossfit.schedules.cosine(1.0, 5000)
    for name, value in (("schedule", plan), ("total", 1e6), ("siblings", runs)):
        with pytest.raises(DataError, match=f"{name}= was given, but power, power_linear do not"):
            ask(runs, at=1e6, **{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prob": 90}, "prob must be"),
        ({"draws": 3}, "draws must be a whole number of at least 10"),
        ({"run": "run7"}, "run7"),
        ({"axis": "miles"}, "no axis is called"),
        ({"window": {"run9": "all"}}, "that is not there"),
        ({"at": "soon"}, "is no axis value"),
    ],
)
def test_wrong_options_are_refused(runs, options, message):
    with pytest.raises(DataError, match=message):
        ask(runs, **{"at": 1e6, **options})


def test_the_answer_in_words(runs):
    text = str(ask(runs, "run0", compute_of="run2"))
    for part in (
        "run0 with the compute of run2", "4x its data", "90 % interval", "run2 ended at",
        "P(run0 below run2)", "Equal-weight mixture of power", "too narrow on real curves", "! far",
    ):  # fmt: skip
        assert part in text
    table = str(ask(runs, at=[1e5, 2e5, 3e5, 4e5]))
    assert "... and 2 more rows" in table
    assert max(map(len, table.splitlines())) < 200


def test_the_answer_as_json(runs):
    answer = ask(runs, compute_of="run2")
    data = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert data["schema"] == "lossfit.answer/1"
    assert set(data) == {
        "schema", "lossfit", "question", "laws", "engine", "rows", "broken", "by_law", "compare",
        "schedules",
        "record", "calibration_factor", "left_out",
    }  # fmt: skip
    assert [row["run"] for row in data["rows"]] == ["run0", "run1"]
    assert data["rows"][0]["median"] == answer.frame["median"].iloc[0]
    assert data["rows"][1]["prob_below"] == answer.prob_below().iloc[1]
    assert data["compare"]["run"] == "run2"
    assert ask(runs, at=1e6).to_dict()["compare"] is None


def test_many_runs_in_one_go():
    many = power_runs(300, ragged=False, points=40)
    answer = ask(many, at=[1500, 2000, 3000], draws=100)
    assert len(answer.frame) == 900
    assert "300 runs" in str(answer)


def test_the_answer_says_which_kernels_served(monkeypatch):
    runs = lossfit.load("llama2").select(["llama2-7B"])
    for engine in ("compiled", "uncompiled"):
        monkeypatch.setenv("LOSSFIT_ENGINE", engine)
        answer = lossfit.extrapolate(runs, at=2.2e12, draws=50)
        assert answer.to_dict()["engine"] == answer.engine == engine
        assert lossfit.fit(runs, "power", draws=20).settings.engine == engine


def test_a_schedule_in_a_word():
    runs = power_runs(1, points=100)
    end = float(runs["run0"].end("step"))
    where = {"at": 2 * end, "axis": "step", "draws": 100}
    plan = lossfit.schedules.cosine(1.0, 2 * end)
    expected = lossfit.extrapolate(runs, schedule=plan, **where).draws
    for word in ({"schedule": f"cosine@{2 * end:g}"}, {"schedule": "cosine", "total": 2 * end}):
        answer = lossfit.extrapolate(runs, **word, **where)
        np.testing.assert_array_equal(answer.draws, expected)
    with pytest.raises(DataError, match="needs an end: cosine@20k"):
        lossfit.extrapolate(runs, schedule="cosine", **where)
    with pytest.raises(DataError, match="no schedule is called 'cosin'"):
        lossfit.extrapolate(runs, schedule="cosin", **where)


def test_a_planned_end_in_a_word():
    runs = power_runs(1, points=100)
    end = float(runs["run0"].end("step"))
    where = {"at": 2 * end, "axis": "step", "draws": 100}
    expected = lossfit.extrapolate(runs, total=2 * end, **where).draws
    for total in (f"{2 * end / 1000:g}k", {"run0": f"{2 * end:g}"}):
        np.testing.assert_array_equal(
            lossfit.extrapolate(runs, total=total, **where).draws, expected
        )
