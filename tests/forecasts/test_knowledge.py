"""What contradicts the data is refused or flagged; `total=` is used beside a logged rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, schedules
from lossfit.forecasts.curve_rates import asked_rates
from lossfit.forecasts.knowledge import check_knowledge, check_targets, meant
from lossfit.forecasts.rates import Plan, rates
from lossfit.runs.logged_rate import ends_here
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
        (Plan(schedules.cosine(1.0, 2000), 3000.0), "step", "total=3000, but .* 2,000 steps"),
    ],
)
def test_knowledge_that_the_data_contradict_is_refused(runs, plan, axis, words):
    with pytest.raises(DataError, match=words):
        check_knowledge(plan, runs, runs.names, axis)


def test_tokens_on_the_axis_of_steps_are_told_as_such():
    runs = power_runs(1, end=10_000.0)
    for total, words in (
        (1e10, "; if it counts tokens, give tokens_per_step= and axis='tokens'"),
        (24e6, "; did you mean total=24,000?"),
        (1e7, ""),  # the data's own end would be no advice
        (10.0, "; did you mean total='10k'?"),
    ):
        assert meant(total, runs["run0"], "step") == words
    with pytest.raises(DataError, match=r"a million times the data .* if it counts tokens"):
        check_knowledge(Plan(None, 1e11), runs, runs.names, "step")


def test_knowledge_that_may_be_is_not_refused(runs):
    for plan in (Plan(), Plan(None, 990.0), Plan(None, 4e4), Plan(schedules.cosine(1.0, 2000))):
        check_knowledge(plan, runs, runs.names, "step")
    check_knowledge(Plan(None, {"run1": 500.0}), runs, ["run0"], "step")
    check_knowledge(Plan(schedules.cosine(1.0, 2000), 2010.0), runs, runs.names, "step")
    check_knowledge(Plan(schedules.constant(1.0), 2010.0), runs, runs.names, "step")


@pytest.mark.parametrize(
    ("at", "words"), [(1e-3, "before the first point"), (2e9, "no run makes|a million")]
)
def test_targets_that_no_forecast_can_serve_are_refused(runs, at, words):
    with pytest.raises(DataError, match=words):
        lossfit.extrapolate(runs, at=at, axis="step")
    check_targets(runs, runs.names, "step", np.array([[900.0, np.nan], [np.nan, 1e6]]))


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_no_function_is_a_way_round(runs):
    """Schedules that runs are said to have had, further targets, runs fitted together."""
    short, where = schedules.cosine(1.0, 300), {"at": 1500, "axis": "step", "draws": 50}
    for ask in (
        lambda: lossfit.what_if(runs, schedules=["constant"], own=short, axis="step"),
        lambda: lossfit.best_tail(runs, own="cosine@300", axis="step"),
        lambda: lossfit.backtest(runs, schedules=short, axis="step"),
        lambda: lossfit.race(runs, schedule=short, axis="step"),
    ):
        with pytest.raises(DataError, match=r"run 'run0' ends at 300 steps, before its data"):
            ask()
    answer = lossfit.extrapolate(runs, "run0", **where)
    for at, words in ((1e-3, "before the first point"), (2e9, "a million times the data")):
        with pytest.raises(DataError, match=words):
            answer.prob_below(2.0, at=at)
        with pytest.raises(DataError, match=words):
            lossfit.what_if(
                runs.with_schedule(schedules.cosine(1.0, 1000)), schedules=["constant"], at=at,
                axis="step", share=True,
            )  # fmt: skip


def made(runs, total, at=9000.0):
    return rates(runs, "step", np.array([5000.0]), np.array([[at]]), Plan(None, total))


def test_a_planned_end_is_used_beside_a_logged_rate():
    cosine = logged(schedules.cosine(1.0, 10_000, 100))
    agreed = made(cosine, 10_000.0)
    words = "cosine to 10,000 steps, down to 10 % of its peak (from the logged rate)"
    assert agreed.labels == [(words,)]
    assert not agreed.flags["total_disagrees"].any()
    assert made(cosine, None).labels == [(words,)]
    other = made(cosine, 20_000.0)
    assert len(other.labels[0]) == 5
    assert other.flags["total_disagrees"].all()
    line = made(logged(schedules.linear(1.0, 10_000, 0, 0.3)), 10_000.0)
    assert line.labels == [
        ("linear to 10,000 steps, down to 30 % of its peak (from the logged rate)",)
    ]
    held = made(logged(schedules.constant(1.0)), 10_000.0)
    assert len(held.labels[0]) == 5
    assert not held.flags["total_disagrees"].any()


def asked(runs, at, **plan):
    at = np.array([at], float)
    return asked_rates(runs, "step", np.array([5000.0]), at, Plan(**plan))


COSINE, COOLDOWN = schedules.cosine(1.0, 5000, 50), schedules.wsd(1.0, 5000, 50)
STEPS = schedules.from_points([0, 2499, 2500, 3999, 4000, 5000], [1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("rate", "plan", "longer"),
    [
        (None, {"total": 5000.0}, True),
        (None, {"total": 5090.0}, True),  # the last point lies a little before the end
        (None, {"total": 7000.0}, False),
        (None, {}, False),
        (COSINE, {}, True),
        (COSINE, {"total": 5000.0}, True),
        (COSINE, {"total": 10_000.0}, False),  # one of them is wrong
        (COOLDOWN, {}, True),
        (COOLDOWN, {"total": 5000.0}, True),
        (COOLDOWN, {"schedule": schedules.wsd(1.0, 9000, 50)}, True),
        (COOLDOWN, {"schedule": schedules.from_points([0, 4000, 5000], [1, 1, 0])}, False),
        (schedules.cosine(1.0, 9000), {}, False),
        (STEPS, {}, False),  # its rate has become small, but not come to nothing
        (STEPS, {"total": 5000.0}, True),
        (schedules.constant(1.0), {"total": 5000.0}, False),  # its decay may be to come
    ],
)
def test_a_finished_run_is_known_by_its_end(rate, plan, longer):
    """... whether the user, a schedule or the logged rate says where that is."""
    runs = logged(rate) if rate is not None else power_runs(1, end=5000.0)
    made = asked(runs, [4000, 5000, 9000], **plan)
    np.testing.assert_array_equal(made.longer, [[False, False, longer]])
    np.testing.assert_array_equal(made.flags["longer_plan"], made.longer)


def test_a_finished_run_is_known_by_its_own_schedule_under_another():
    runs = power_runs(1, end=5000.0).with_schedule(COSINE)
    assert asked(runs, [9000]).longer.all()
    assert asked(runs, [9000], schedule=COSINE.stretched(9000)).longer.all()
    # What goes on at the rate of its end is no longer plan, but what comes after that plan.
    after = schedules.from_points(np.append(np.arange(5001.0), 9000), np.append(
        COSINE(np.arange(5001.0)), COSINE(5000.0)))  # fmt: skip
    assert not asked(runs, [9000], schedule=after).longer.any()
    half = power_runs(1, end=5000.0).with_schedule(schedules.cosine(1.0, 8000))
    assert not asked(half, [9000], schedule=COSINE.stretched(9000)).longer.any()


def test_the_plan_of_a_finished_run_is_stretched_not_held():
    """The path to the target keeps its rate high until late, instead of staying at 0."""
    for runs in (logged(COOLDOWN), power_runs(1, end=5000.0)):
        made = asked(runs, [10_000.0], total=5000.0)
        assert made.flags["schedule_stretched"].all()
        for path in made.future:
            shape = made.paths.shape[path]
            rows = slice(*made.shapes.offsets[shape : shape + 2])
            z = made.shapes.z[rows] * made.paths.stretch[path] + made.paths.start[path]
            assert np.interp(6000.0, z, made.shapes.rho[rows]) > 0.34
    # Of an unfinished run too, whatever its rate does next.
    runs = logged(schedules.constant(1.0))
    made = asked(runs, [7000.0, 20_000.0], total=7000.0)
    np.testing.assert_array_equal(made.flags["schedule_stretched"], [[False, True]])
    assert not made.longer.any()


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize(
    ("rate", "ended"),
    [
        (COOLDOWN, True),
        (schedules.wsd(1.0, 5000, 50, shape="sqrt"), True),
        (schedules.linear(1.0, 5000, 50), True),
        (schedules.wsd(1.0, 5600, 50), False),
        (schedules.wsd(1.0, 5000, 50, final_ratio=0.01, shape="exponential"), False),
        (schedules.cosine(1.0, 5000, 50, 0.1), False),  # a form says so, not the end
        (STEPS, False),
        (schedules.from_points([0, 4870, 4871, 5000], [1, 1, 0.05, 0.05]), False),
        (schedules.constant(1.0), False),
    ],
)
def test_a_rate_that_comes_to_nothing_ends(rate, ended, every):
    t = np.arange(25.0, 5001.0, 25.0)[::-every][::-1]
    assert ends_here(t, rate(t)) == ended


@pytest.mark.parametrize("shape", ["linear", "sqrt"])
@pytest.mark.parametrize(("end", "total"), [(5600.0, None), (6500.0, None), (6500.0, 6500.0)])
@pytest.mark.parametrize("digits", [None, 2])
def test_a_cooldown_is_recognised_before_it_ends(shape, end, total, digits):
    """Straight or 1 - sqrt, from a rate that was held; where it ends, its fall says."""
    plan = schedules.wsd(3e-4, end, 50, decay=0.4, shape=shape)

    def rate(t):
        exact = plan(t)
        return exact if digits is None else [float(f"{r:.{digits - 1}e}") for r in exact]

    made = asked(logged(rate), [end], total=total)
    ((label,),) = made.labels
    assert label.startswith("wsd to ")
    assert made.plan[0] == pytest.approx(end, rel=0.02)
    assert not made.longer.any()


@pytest.mark.parametrize(
    ("rate", "total", "labels"),
    [
        (schedules.wsd(1.0, 6000, 50, 0.4, final_ratio=0.01, shape="exponential"), None, 5),
        (schedules.wsd(1.0, 20_000, 50), None, 5),  # held up to here
        (STEPS, None, 5),
        (schedules.wsd(1.0, 6000, 50, 0.4), 9000.0, 5),  # it ends before that
        (schedules.cosine(1.0, 9000, 50), None, 1),
        (schedules.from_points([0, 500, 3500, 4400, 4500, 5000], [1, 1, 1, 0.1, 1, 0.9]), None, 5),
    ],
)
def test_what_is_no_cooldown(rate, total, labels):
    made = asked(logged(rate), [9000.0], total=total)
    assert len(made.labels[0]) == labels
    assert not any(label.startswith("wsd to ") for label in made.labels[0])


def test_a_log_that_leaves_the_warm_up_out_is_recognised():
    plan = schedules.cosine(1.0, 8000, 900)
    step = np.arange(900.0, 5001.0, 25.0)
    frame = pd.DataFrame({"step": step, "loss": 2 + step**-0.3, "lr": plan(step)})
    made = asked(lossfit.Runs.from_frame(frame), [8000.0])
    ((label,),) = made.labels
    assert label == "cosine to 8,000 steps, down to 10 % of its peak (from the logged rate)"
    assert made.plan[0] == pytest.approx(8000, rel=1e-2)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_total_where_the_data_end_says_what_a_schedule_that_ends_there_says():
    step = np.arange(25.0, 5001.0, 25.0)
    loss = 2 + 3 * step**-0.3 + np.random.default_rng(0).normal(0, 0.003, len(step))
    runs = lossfit.Runs.from_arrays("step", step, loss)
    where = {"at": 10_000, "axis": "step"}
    named = lossfit.extrapolate(runs.with_schedule(COSINE), **where)
    ended = lossfit.extrapolate(runs, total=5000, **where)
    going = lossfit.extrapolate(runs, total=10_000, **where)
    gains = [float(loss[-20:].mean() - answer.frame["median"][0]) for answer in (named, ended)]
    assert gains[1] == pytest.approx(gains[0], rel=0.35)
    assert going.frame["median"][0] < ended.frame["median"][0]
    assert "longer_plan" in ended.frame["notes"][0]
    assert "stretched to the target" in str(ended)
    assert "under a longer plan" in str(ended)


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


def test_what_was_said_to_come_after_a_logged_rate_is_named():
    held = logged(schedules.constant(1.0))
    for plan, words in (
        (schedules.linear(1.0, 10_000), "linear to 10,000 steps (after the logged rate)"),
        (schedules.constant(1.0), "constant (after the logged rate)"),
    ):
        assert asked(held, [9000.0], schedule=plan).labels == [(words,)]


def run_under(plan: float, end: float) -> lossfit.Runs:
    """A run under a cosine to ``plan``, seen up to ``end``."""
    step = np.arange(100, end + 1, 100.0)
    rng = np.random.default_rng(0)
    loss = 2.5 + 1.2 * (step / 100) ** -0.3 + 0.003 * rng.normal(size=step.size)
    runs = lossfit.Runs.from_frame(pd.DataFrame({"step": step, "loss": loss, "run": "a"}))
    return runs.with_schedule(lossfit.schedules.cosine(peak=3e-4, total=plan))


def test_a_total_against_the_own_schedule_is_refused():
    with pytest.raises(DataError, match=r"total=30000, but its own schedule ends at 20,000 steps"):
        lossfit.extrapolate(run_under(20_000, 10_000), at=15_000, total=30_000)
    with pytest.raises(DataError, match="its own schedule ends at 20,000 steps"):
        lossfit.extrapolate(run_under(20_000, 10_000), at=15_000, total=15_000)
    lossfit.extrapolate(run_under(20_000, 10_000), at=15_000, total=20_000)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_finished_runs_longer_plan_ends_at_its_total():
    """In the middle of a plan the rate is higher, and so is the loss, than at its end."""
    runs = run_under(20_000, 20_000)
    at_its_end, midway = (
        np.median(lossfit.extrapolate(runs, at=30_000, **given).draws)
        for given in ({}, {"total": 60_000})
    )
    assert midway > at_its_end
    same = lossfit.extrapolate(runs, at=30_000, total=30_000).draws
    assert np.median(same) == pytest.approx(at_its_end, rel=1e-12)


def test_a_domain_that_no_law_asks_for_is_refused():
    for options in ({"laws": "power"}, {"share": True}):
        with pytest.raises(DataError, match="domain= is for the default law"):
            lossfit.extrapolate(run_under(20_000, 10_000), at=15_000, domain="text", **options)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_without_a_place_the_planned_end_is_asked_for():
    half = run_under(20_000, 10_000)
    assert lossfit.extrapolate(half).at.tolist() == [[20_000.0]]
    columns = {"step": half["a"].axis("step"), "loss": half["a"].loss}
    bare = lossfit.Runs.from_frame(pd.DataFrame({**columns, "run": "a"}))
    assert lossfit.extrapolate(bare, total=16_000).at.tolist() == [[16_000.0]]
    given = lossfit.schedules.cosine(peak=3e-4, total=14_000)
    assert lossfit.extrapolate(bare, schedule=given).at.tolist() == [[14_000.0]]
    rate = 3e-4 * np.cos(np.pi / 2 * np.arange(100, 10_001, 100) / 20_000) ** 2
    (place,) = lossfit.extrapolate(pd.DataFrame({**columns, "lr": rate})).at[0]
    assert place == pytest.approx(20_000, rel=0.02)
    with pytest.raises(DataError, match="nothing says where run 'a' is to end: give at="):
        lossfit.extrapolate(bare)
    with pytest.raises(DataError, match="total=24 ends before the data"):
        lossfit.extrapolate(bare, total=24)
    with pytest.raises(DataError, match="'a': at the end of the plan: give at="):
        lossfit.extrapolate(run_under(20_000, 20_000))
    with pytest.raises(DataError, match="not both"):
        lossfit.extrapolate(half, at=15_000, compute_of="a")
