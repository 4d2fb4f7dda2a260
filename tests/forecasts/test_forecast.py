"""The default answer: laws that respond to the learning rate, through `extrapolate`."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, LossfitWarning, schedules
from lossfit.forecasts.learning import strength_from
from tests.curves import power_runs

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")


def ask(runs, *args, **options):
    options.setdefault("draws", 400)
    if "share" not in options:
        options.setdefault("laws", "annealing")
    return lossfit.extrapolate(runs, *args, **options)


def annealed(
    n_runs=6,
    *,
    strength=0.2,
    total=20_000,
    until=1.0,
    seed=0,
    noise=0.003,
    lr=False,
    plan=None,
    every=100,
):
    """Runs whose loss responds to a cosine: L0 + A x^-0.4 - B D, tau 600 steps, on rho^0.65."""
    rng = np.random.default_rng(seed)
    plan = plan or schedules.cosine(1e-3, total, 200, 0.0)
    fine = np.arange(1.0, total + 1)
    rho = plan(np.maximum(fine, 200)) / 1e-3
    x = np.cumsum(rho)
    drop = -np.diff(rho**0.65, prepend=1.0)
    memory = 0.0
    response = np.empty(len(fine))
    fallen = np.cumsum(drop)
    decay = np.exp(-1 / 600)
    for i, d in enumerate(drop):
        memory = memory * decay + d
        response[i] = fallen[i] - memory
    frames, names = [], [f"run{r}" for r in range(n_runs)]
    step = np.arange(float(every), until * total + 1, every)
    at = step.astype(int) - 1
    loss, offsets, rates = [], [0], []
    for _ in names:
        b = strength * np.exp(rng.normal(0, 0.1))
        curve = 2 + rng.uniform(8, 12) * x[at] ** -0.4 - b * response[at]
        loss.append(curve + rng.normal(0, noise, len(step)))
        offsets.append(offsets[-1] + len(step))
        rates.append(plan(step))
    flat = np.tile(step, n_runs)
    if lr:
        import pandas as pd

        frames = pd.DataFrame(
            {
                "run": np.repeat(names, len(step)),
                "step": flat,
                "loss": np.concatenate(loss),
                "lr": np.concatenate(rates),
            }
        )
        return lossfit.Runs.from_frame(frames)
    return lossfit.Runs.from_arrays("step", flat, np.concatenate(loss), offsets, names)


PLAN = schedules.cosine(1e-3, 20_000, 200, 0.0)


def truth(runs):
    return np.array([run.loss[-5:].mean() for run in runs])


def test_a_known_schedule_foresees_the_fall_at_its_end():
    runs = annealed().with_schedule(PLAN)
    half = runs.until(0.5)
    answer = ask(half, at=20_000)
    frame, true = answer.frame, truth(runs)
    assert ((frame["lower"] < true) & (true < frame["upper"])).sum() >= 5
    # A law that knows of no schedule misses the fall.
    blind = ask(half, at=20_000, laws="power").frame
    assert (blind["lower"] > true).all()
    error = np.abs(frame["median"] - true).mean()
    assert error < 0.3 * np.abs(blind["median"].to_numpy() - true).mean()
    assert list(answer.by_law["law"].unique()) == ["annealing"]


def test_the_schedule_may_come_from_any_door():
    half = annealed(2).until(0.5)
    own = ask(half.with_schedule(PLAN), at=20_000).frame
    given = ask(half, at=20_000, schedule=PLAN).frame
    np.testing.assert_array_equal(own["median"], given["median"])
    by_run = ask(half, at=20_000, schedule={"run0": PLAN, "run1": PLAN}).frame
    np.testing.assert_array_equal(own["median"], by_run["median"])
    step = np.arange(0, 20_001, 50)
    points = ask(half, at=20_000, schedule=schedules.from_points(step, PLAN(step))).frame
    np.testing.assert_allclose(points["median"], own["median"], atol=2e-3)
    # A logged rate that follows a cosine is continued as one.
    logged = annealed(2, lr=True).until(0.5)
    answer = ask(logged, at=20_000)
    assert answer.mixed.forecasts[0].shares[0].keys() == {
        "cosine to 20,000 steps, down to 0 (from the logged rate)"
    }
    np.testing.assert_allclose(answer.frame["median"], own["median"], atol=4e-3)


def test_units_of_the_axis_do_not_matter():
    runs = annealed(2).with_schedule(PLAN).until(0.5)
    frame = runs.frame
    frame["tokens"] = frame["step"] * 1e6
    both = lossfit.Runs.from_frame(frame, schedules=PLAN)
    by_step = ask(runs, at=20_000).frame
    by_tokens = ask(both, at=20_000e6, axis="tokens").frame
    np.testing.assert_allclose(by_step["median"], by_tokens["median"], atol=1e-9)


def test_an_unknown_schedule_is_averaged_over():
    half = annealed(3).until(0.5)
    answer = ask(half, at=20_000, total=20_000)
    shares = answer.mixed.forecasts[0].shares[0]
    assert set(shares) == {name for name, _ in lossfit.forecasts.rates.MENU}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["cosine_0"] > shares["wsd_30"]
    assert all("schedule_unknown" in flags for flags in answer.frame["notes"])
    known = ask(half.with_schedule(PLAN), at=20_000)
    spread = answer.frame["upper"] - answer.frame["lower"]
    assert (spread > known.frame["upper"] - known.frame["lower"]).all()
    blind = ask(half, at=20_000)
    assert all("no_plan" in flags for flags in blind.frame["notes"])
    assert "total= would sharpen it" in str(blind)
    # Within the data nothing is said of the future.
    inside = ask(half, at=5_000)
    assert all(flags == ("interpolation",) for flags in inside.frame["notes"])


@pytest.mark.parametrize("growth", [1, 2])
def test_a_logged_rate_with_restarts_goes_on_so(growth):
    t = np.arange(25.0, 9_000.0, 25.0)
    plan = lossfit.schedules.cosine_restarts(3e-4, 20_000, 5, 200, 0.1, growth)
    loss = 2.5 + 2 * (t / 1000) ** -0.4 + np.random.default_rng(0).normal(0, 0.01, len(t))
    frame = pd.DataFrame({"step": t, "loss": loss, "lr": plan(t)})
    logged, places = lossfit.Runs.from_frame(frame), [12_000, 20_000, 40_000]
    told = lossfit.Runs.from_frame(frame.drop(columns="lr"), schedules=plan)
    given, read = ask(told, at=places), ask(logged, at=places, total=20_000)
    np.testing.assert_allclose(read.draws.mean("draw"), given.draws.mean("draw"), rtol=2e-3)
    assert "restarts" in str(read)
    for answer in (given, read):
        beyond = ["schedule_stretched" in notes for notes in answer.frame["notes"]]
        assert beyond == [False, False, True]
    # Two cycles that differ as no cosines do, and one rate that only rises, are no restarts.
    other = frame.assign(lr=np.where(t < 4_000, 3e-4 * (1 - t / 8_000), 3e-4))
    assert "restarts" not in str(ask(lossfit.Runs.from_frame(other), at=places))


def test_a_logged_rate_that_is_constant_stays_so_unless_told():
    constant = schedules.constant(1e-3, 200)
    runs = annealed(2, lr=True, plan=constant).until(0.5)
    answer = ask(runs, at=20_000)
    assert all("schedule_held" in flags for flags in answer.frame["notes"])
    told = ask(runs, at=20_000, schedule=schedules.wsd(1e-3, 20_000, 200))
    assert (told.frame["median"] < answer.frame["median"] - 0.07).all()
    assert all("response_from_prior" in flags for flags in told.frame["notes"])
    planned = ask(runs, at=20_000, total=20_000)
    assert planned.mixed.forecasts[0].shares[0].keys() == {
        n for n, _ in lossfit.forecasts.rates.MENU
    }
    middle = planned.frame["median"]
    assert ((told.frame["median"] < middle) & (middle < answer.frame["median"])).all()


def test_beyond_its_end_a_schedule_is_stretched():
    runs = annealed(2).with_schedule(PLAN)
    far = ask(runs, at=60_000)
    assert all({"schedule_stretched", "far"} <= set(f) for f in far.frame["notes"])
    given = ask(runs, at=60_000, schedule=PLAN.stretched(60_000))
    np.testing.assert_array_equal(far.frame["median"], given.frame["median"])
    assert "stretched to the target" in str(ask(runs, "run0", at=60_000))


def test_siblings_teach_the_strength_of_the_response():
    """In a domain where B is 20 times smaller the shipped prior is far off."""
    runs = annealed(6, strength=0.01, noise=5e-4).with_schedule(PLAN)
    half = runs.until(0.5)
    true = truth(runs)
    alone = ask(half, at=20_000)
    taught = ask(half, at=20_000, siblings=runs)
    error = np.abs(alone.frame["median"] - true).mean()
    assert np.abs(taught.frame["median"] - true).mean() < 0.5 * error
    assert ((taught.frame["lower"] < true) & (true < taught.frame["upper"])).sum() >= 4
    learned = lossfit.learn_priors(runs)
    assert learned.strength.mean == pytest.approx(0.01, rel=0.5)
    np.testing.assert_array_equal(
        ask(half, "run0", at=20_000, priors=learned).frame["median"],
        ask(half, "run0", at=20_000, siblings=runs).frame["median"],
    )
    # A run never learns from itself.
    assert "run0" not in learned.without("run0").used
    with pytest.raises(DataError, match="not both"):
        ask(half, at=20_000, siblings=runs, priors=learned)


def test_learned_priors_say_why_a_run_was_not_used():
    good = annealed(3).with_schedule(PLAN)
    short = power_runs(1, points=30)
    frame = lossfit.learn_priors(good + _renamed(short, "short")).frame.set_index("run")
    assert frame.loc["short", "reason"] == "fewer than 40 points"
    assert frame["used"].tolist() == [True, True, True, False]
    unknown = lossfit.learn_priors(_renamed(power_runs(1), "plain"))
    assert unknown.used == ()
    assert "shipped prior" in repr(unknown)
    assert unknown.frame["reason"].tolist() == ["its schedule is not known"]
    answer = ask(good.until(0.5), at=20_000, siblings=_renamed(power_runs(1), "plain"))
    assert all("siblings_unused" in flags for flags in answer.frame["notes"])


def _renamed(runs, name):
    return lossfit.Runs.from_frame(runs.frame.assign(run=name))


def test_strength_from_pools_the_runs():
    rng = np.random.default_rng(0)
    slope = np.full(30, 1e-4)
    b = 0.02 * np.exp(rng.normal(0, 0.3, 30))
    many = strength_from(b, 0.05 * b, slope, 0.19)
    assert many.mean == pytest.approx(0.02, rel=0.15)
    assert many.sds[0] == pytest.approx(0.3, abs=0.1)
    few = strength_from(b[:2], 0.05 * b[:2], slope[:2], 0.19)
    assert few.sds[0] > many.sds[0]
    # One run that is unlike the others does not decide.
    odd = strength_from(np.append(b, 2.0), np.append(0.05 * b, 0.1), np.full(31, 1e-4), 0.19)
    assert odd.mean == pytest.approx(many.mean, rel=0.1)
    # Runs that know nothing leave the shipped prior.
    vague = strength_from(np.full(3, 0.1), np.full(3, 10.0), slope[:3], 0.19)
    assert vague.mean == pytest.approx(0.19, rel=0.1)


def test_draws_do_not_depend_on_company():
    runs = annealed(4).with_schedule(PLAN).until(0.5)
    together = ask(runs, at=[15_000, 20_000], random_seed=3)
    alone = ask(runs, "run2", at=[15_000, 20_000], random_seed=3)
    np.testing.assert_array_equal(together.draws.values[2], alone.draws.values[0])
    # Targets in any order give the same rows.
    turned = ask(runs, "run2", at=[20_000, 15_000], random_seed=3)
    np.testing.assert_array_equal(turned.draws.values[0, ::-1], alone.draws.values[0])


def test_multi_power_and_mixtures():
    runs = annealed(2).with_schedule(PLAN)
    half = runs.until(0.5)
    multi = ask(half, at=20_000, laws="multi_power")
    np.testing.assert_allclose(multi.frame["median"], truth(runs), atol=0.1)
    both = ask(half, at=20_000, laws=["annealing", "multi_power", "power"])
    assert list(dict.fromkeys(both.by_law["law"])) == ["annealing", "multi_power", "power"]
    np.testing.assert_allclose(both.by_law["weight"], 1 / 3)
    with pytest.raises(DataError, match=r"needs a learning-rate schedule"):
        lossfit.fit(half, "annealing")
    with pytest.raises(DataError, match=r"no law is called 'cubic'; there are .*annealing"):
        ask(half, at=20_000, laws="cubic")


def test_bad_plans_are_refused():
    half = annealed(1).until(0.5)
    for options, message in (
        ({"schedule": 3e-4}, "must be made with lossfit.schedules"),
        ({"schedule": {"other": PLAN}}, "'other', which is not there"),
        ({"total": -1}, "total must be a positive number"),
        ({"schedule": schedules.cosine(1.0, 1e9, axis="tokens")}, "give tokens_per_step"),
    ):
        with pytest.raises(DataError, match=message):
            ask(half, at=20_000, **options)


def test_smoothed_logs_are_corrected_for():
    runs = annealed(1, noise=0.01, every=20).with_schedule(PLAN)
    loss = runs["run0"].loss
    smooth = np.empty_like(loss)
    state = loss[0]
    for i, value in enumerate(loss):
        state = 0.8 * state + 0.2 * value
        smooth[i] = state
    logged = lossfit.Runs.from_arrays("step", runs["run0"].axis("step"), smooth, schedules=PLAN)
    answer = ask(logged, at=25_000)
    assert "smoothed_noise" in answer.frame["notes"].item()
    assert answer.mixed.forecasts[0].memory[0] == pytest.approx(0.8, abs=0.15)


def test_the_headline():
    """Study: median 1.70 to 1.73, 90 % 1.58 to 1.79, P at most .05; single laws .3 to 1.9."""
    runs = lossfit.load("llama2")
    others = runs.select(["llama2-13B", "llama2-34B", "llama2-70B"])
    answer = ask(runs, run="llama2-7B", compute_of="llama2-70B", siblings=others, draws=4000)
    row = answer.frame.iloc[0]
    assert 1.68 < row["median"] < 1.745
    assert 1.55 < row["lower"] < 1.68
    assert 1.74 < row["upper"] < 1.84
    assert answer.prob_below() < 0.05
    assert {"far", "untested", "schedule_stretched"} <= set(row["notes"])
    text = str(answer)
    for part in ("untested", "cosine, stretched to the target"):
        assert part in text
    with pytest.warns(LossfitWarning, match="untested"):
        lossfit.extrapolate(runs, run="llama2-7B", compute_of="llama2-70B", draws=100)


def test_the_answer_is_plain_data():
    answer = ask(annealed(2).with_schedule(PLAN).until(0.5), at=20_000)
    data = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert data["laws"][0]["name"] == "annealing"
    assert {row["law"] for row in data["by_law"]} == {"annealing"}


def test_runs_that_share_a_model_are_fitted_together():
    """What two schedules teach serves a third."""
    plans = {
        "a": schedules.constant(1e-3, 200),
        "b": schedules.cosine(1e-3, 20_000, 200, 0.1),
        "c": schedules.wsd(1e-3, 20_000, 200, 0.3),
    }
    parts = []
    for name, plan in plans.items():
        one = annealed(1, plan=plan, seed=7, noise=0.002)  # one seed: one model
        parts.append(lossfit.Runs.from_frame(one.frame.assign(run=name), schedules=plan))
    runs = parts[0] + parts[1]
    target = parts[2]["c"]
    at = target.axis("step")[-50:]
    answer = ask(runs, "a", at=at, axis="step", schedule={"a": plans["c"]}, share=True, draws=1000)
    miss = np.abs(answer.frame["median"] - target.loss[-50:])
    assert miss.mean() < 0.01
    frame = answer.frame
    inside = (frame["lower"] - 0.004 < target.loss[-50:]) & (
        target.loss[-50:] < frame["upper"] + 0.004
    )
    assert inside.mean() > 0.8
    alone = ask(runs, "a", at=at, axis="step", schedule={"a": plans["c"]}, draws=1000).frame
    width = (frame["upper"] - frame["lower"]).iloc[-1]
    assert width < 0.5 * (alone["upper"] - alone["lower"]).iloc[-1]
    again = ask(runs, "a", at=at[-1], axis="step", schedule={"a": plans["c"]}, share=True)
    assert "Fitted together with the 2 runs" in str(again)
    assert 0 <= again.prob_below("b") <= 1
    by_dict = ask(
        runs, "a", at=at, axis="step", schedule={"a": plans["c"]}, share={"a": "m", "b": "m"},
        draws=1000,
    )  # fmt: skip
    np.testing.assert_allclose(by_dict.frame["median"], frame["median"], atol=5e-3)
    unknown = lossfit.Runs.from_frame(runs.frame.assign(run="d").iloc[:200])
    for options, message in (
        ({"share": True, "laws": "power"}, "leave laws= out"),
        ({"share": {"a": "m"}}, "no entry for run 'b'"),
        ({"share": "model"}, "no entry for run 'a'"),
        ({"share": True, "calibrate_on": runs}, "leave one of them out"),
    ):
        with pytest.raises(DataError, match=message):
            ask(runs, "a", at=20_000, axis="step", **options)
    with pytest.raises(DataError, match="that of run 'd' is not known"):
        ask(runs + unknown, "a", at=20_000, axis="step", share=True)


@pytest.mark.parametrize("seed", range(4))
def test_odd_runs_get_finite_answers(seed):
    """Constant, zero, negative, huge and tiny losses, few points, odd schedules: never a NaN."""
    rng = np.random.default_rng(seed)
    for _ in range(25):
        n = int(rng.choice([3, 4, 5, 8, 13, 30, 100]))
        t = np.sort(rng.choice(np.arange(1, 10 * n + 1), n, replace=False)) * 10 ** rng.uniform(
            -3, 9
        )
        loss = [
            np.full(n, 3.0), np.zeros(n), rng.normal(-1, 0.1, n), rng.normal(0, 1, n) * 1e8,
            1e-8 * (2 + t**-0.1), np.linspace(1, 5, n), np.abs(rng.standard_cauchy(n)),
            2 + 1e6 * (np.arange(n) == n - 1), np.round(3 - 0.1 * np.log(t), 1),
        ][rng.integers(9)]  # fmt: skip
        end = t[-1]
        options = [
            {}, {"total": 2 * end}, {"laws": "multi_power", "total": 3 * end},
            {"schedule": schedules.cosine(1.0, 1.5 * end)},
            {"schedule": schedules.wsd(1.0, 1.01 * end, 0, 0.3)},
            {"schedule": schedules.from_points([0, end], [1, 0.0])},
            {"schedule": schedules.from_points([0], [0.0])},
            {"schedule": schedules.two_stage(1.0, 0.1, float(t[0]))},
        ][rng.integers(8)]  # fmt: skip
        runs = lossfit.Runs.from_arrays("step", t, loss)
        at = np.maximum(end * np.array([0.3, 1, 1.0001, 2, 100.0]), t[0])
        options = {"laws": str(rng.choice(["learned", "annealing"])), **options}
        assert np.isfinite(ask(runs, at=at, draws=20, **options).draws.values).all()


def test_rounding_is_noise():
    runs = annealed(1, noise=0.0).with_schedule(PLAN)
    rounded = lossfit.Runs.from_arrays(
        "step", runs["run0"].axis("step"), runs["run0"].loss.round(2), schedules=PLAN
    )
    answer = ask(rounded.until(0.5), at=20_000)
    assert answer.mixed.sigma[0, 0] >= 0.01 / 12**0.5
    exact = ask(runs.until(0.5), at=20_000)
    assert answer.frame["median"].item() == pytest.approx(exact.frame["median"].item(), abs=0.02)


def test_the_default_s_headline():
    """The 7B at the 70B's compute, and what is compared with it when that is asked for."""
    answer = lossfit.extrapolate(lossfit.load("llama2"), "llama2-7B", compute_of="llama2-70B")
    row = answer.frame.iloc[0]
    assert 1.55 < row["lower"] < row["median"] < row["upper"] < 1.76
    assert answer.prob_below() < 0.05
    medians = answer.by_law.set_index("law")["median"]
    assert medians["power_linear"] < 0.8 < 1.4 < medians["power"] < 1.6


def test_an_answer_of_the_default_at_a_place_depends_on_no_other():
    runs = annealed(2).with_schedule(PLAN).until(0.5)
    many = lossfit.extrapolate(runs, at=[8_000, 12_000, 20_000, 40_000], draws=200)
    for k, place in enumerate((8_000, 12_000, 20_000, 40_000)):
        alone = lossfit.extrapolate(runs, at=place, draws=200)
        np.testing.assert_array_equal(alone.mixed.curves[:, 0], many.mixed.curves[:, k])


@pytest.mark.parametrize(
    ("knowledge", "flag", "hypotheses"),
    [({"schedule": PLAN}, None, 1), ({"total": 20_000}, "schedule_unknown", 5), ({}, "no_plan", 5)],
)
def test_what_the_default_is_told(knowledge, flag, hypotheses):
    runs = annealed(2)
    answer = lossfit.extrapolate(runs.until(0.5), at=20_000, draws=400, **knowledge)
    frame = answer.frame
    assert ((frame["lower"] < truth(runs)) & (truth(runs) < frame["upper"])).all()
    assert all(len(shares) == hypotheses for shares in answer.mixed.forecasts[0].shares)
    assert flag is None or all(flag in flags for flags in frame["notes"])


def test_an_explicit_window_is_the_default_s_too():
    runs = annealed(2).with_schedule(PLAN).until(0.5)
    whole = lossfit.extrapolate(runs, at=20_000, draws=100)
    mixed = lossfit.extrapolate(runs, at=20_000, draws=100, window={"run1": (0.5, 1.0)})
    np.testing.assert_array_equal(mixed.mixed.curves[0], whole.mixed.curves[0])
    assert not np.array_equal(mixed.mixed.curves[1], whole.mixed.curves[1])
    part = lossfit.extrapolate(runs, at=20_000, draws=100, window=(0.5, 1.0))
    np.testing.assert_array_equal(part.mixed.curves[1], mixed.mixed.curves[1])
