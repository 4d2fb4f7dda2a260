from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossfit
from lossfit import DataError, Runs, schedules


def two_runs() -> pd.DataFrame:
    step = np.arange(1.0, 21.0)
    a = pd.DataFrame({"run": "a", "step": step, "loss": 3 / step + 2})
    b = pd.DataFrame({"run": "b", "step": step[:12] * 10, "loss": 4 / step[:12] + 1})
    return pd.concat([b, a], ignore_index=True)


def test_names_keep_the_order_of_first_appearance_and_rows_may_interleave():
    frame = two_runs()
    mixed = frame.sort_values("step", kind="stable")
    runs = Runs.from_frame(mixed)
    assert runs.names == ("a", "b")
    assert Runs.from_frame(frame).names == ("b", "a")
    assert runs["b"] == Runs.from_frame(frame)["b"]
    np.testing.assert_array_equal(runs["b"].axis("step"), np.arange(1, 13) * 10)


def test_a_frame_is_not_changed_and_runs_do_not_follow_it(curve):
    before = curve.copy()
    runs = Runs.from_frame(curve)
    loss = runs["run"].loss.copy()
    pd.testing.assert_frame_equal(curve, before)
    curve.loc[:, "loss"] = 0.5
    np.testing.assert_array_equal(runs["run"].loss, loss)


def test_axes_follow_from_what_is_known():
    runs = Runs.from_frame(
        two_runs(), params={"a": 5e6, "b": 7e6}, tokens_per_step=100, gpu_hours={"a": 40.0}
    )
    assert runs.axes == ("tokens", "step", "flops")
    a, b = runs["a"], runs["b"]
    np.testing.assert_allclose(a.axis("tokens"), np.arange(1, 21) * 100)
    np.testing.assert_allclose(a.axis("flops"), 6 * 5e6 * np.arange(1, 21) * 100)
    np.testing.assert_allclose(a.axis("gpu_hours"), np.arange(1, 21) * 2)
    assert a.axes == ("tokens", "step", "gpu_hours", "flops")
    assert b.axes == ("tokens", "step", "flops")
    assert b.end("flops") == 6 * 7e6 * 120 * 100
    assert (b.params, b.tokens_per_step) == (7e6, 100)
    with pytest.raises(DataError, match=r"run 'b' has no gpu_hours .*gpu_hours=.*total"):
        b.axis("gpu_hours")
    with pytest.raises(DataError, match="run 'b' has no gpu_hours"):
        runs.flat("gpu_hours")


def test_step_follows_from_tokens_and_tokens_from_flops():
    runs = Runs.from_arrays("tokens", np.arange(1.0, 9), 5 / np.arange(1.0, 9), tokens_per_step=2)
    np.testing.assert_allclose(runs["0"].axis("step"), np.arange(1, 9) / 2)
    runs = Runs.from_arrays("flops", np.arange(1.0, 9) * 6e4, np.ones(8), params=1000)
    np.testing.assert_allclose(runs["0"].axis("tokens"), np.arange(1, 9) * 10)


@pytest.mark.parametrize(
    ("keywords", "axis", "words"),
    [
        ({}, "tokens", "tokens_per_step="),
        ({}, "flops", r"params= \(model parameters\) and tokens_per_step="),
        ({"params": 1e9}, "flops", "give tokens_per_step="),
        ({"tokens_per_step": 1e3}, "flops", r"give params= \(model parameters\), or a column"),
        ({}, "gpu_hours", "gpu_hours="),
        ({}, "days", "there are tokens, step, gpu_hours, flops"),
    ],
)
def test_a_missing_axis_says_what_would_give_it(curve, keywords, axis, words):
    with pytest.raises(DataError, match=words):
        Runs.from_frame(curve, **keywords)["run"].axis(axis)


def test_total_gpu_hours_keep_their_meaning_in_a_shortened_run(curve):
    runs = Runs.from_frame(curve, gpu_hours=80.0)
    half = runs.until(0.5)
    assert runs["run"].end("gpu_hours") == pytest.approx(80)
    assert half["run"].end("gpu_hours") == pytest.approx(40)
    assert len(half["run"]) == 20


def test_until_takes_a_share_of_each_run_or_axis_values():
    runs = Runs.from_frame(two_runs(), tokens_per_step=10)
    half = runs.until(0.5)
    assert (half["a"].end("step"), half["b"].end("step")) == (10, 60)
    assert runs.until(1.0) == runs
    cut = runs.until({"tokens": 1200, "step": 155})
    assert len(cut["a"]) == 20
    assert len(cut["b"]) == 12
    assert runs.until({"tokens": 1e9}) == runs
    with pytest.raises(DataError, match="run 'b' has 1 points up to there"):
        runs.until({"step": 15})
    for wrong in (0, -0.5, 1.5, float("nan"), "half", True):
        with pytest.raises(DataError, match="until"):
            runs.until(wrong)
    with pytest.raises(DataError, match="no axis is called 'week'"):
        runs.until({"week": 1})


def test_a_shortened_run_shows_nothing_of_its_rest(curve):
    curve.loc[30, "loss"] += 1.0
    full, half = Runs.from_frame(curve), Runs.from_frame(curve).until(0.5)
    assert full["run"].spike.sum() == 1
    alone = Runs.from_frame(curve.iloc[:20])
    assert half == alone
    assert [flag.flag for flag in half["run"].flags] == []


def test_select_keeps_the_asked_order_and_names_look_alikes():
    runs = lossfit.load("llama2")
    assert runs.select(["llama2-70B", "llama2-7B"]).names == ("llama2-70B", "llama2-7B")
    assert runs.select(["llama2-70B"])["llama2-70B"] == runs["llama2-70B"]
    with pytest.raises(DataError, match="no run 'llama2-7b'; did you mean 'llama2-7B'"):
        runs["llama2-7b"]
    with pytest.raises(DataError, match="'llama2-7B' is selected twice"):
        runs.select(["llama2-7B", "llama2-7B"])
    with pytest.raises(DataError, match="at least one"):
        runs.select([])
    assert "llama2-7B" in runs
    assert "x" not in runs
    assert [run.name for run in runs] == list(runs.names)


def test_runs_are_immutable(curve):
    runs = Runs.from_frame(curve, gpu_hours=1.0, tokens_per_step=10.0)
    run = runs["run"]
    *columns, even = runs.flat("tokens")
    assert even is True
    for array in (run.loss, run.weight, run.spike, run.axis("gpu_hours"), *columns):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError, match="immutable"):
        runs.names = ("x",)
    with pytest.raises(TypeError, match="from_frame"):
        Runs()
    frame = runs.frame
    frame["loss"] = 0.0
    assert run.loss[0] > 1


def test_flat_gives_the_logged_axis_without_a_copy(curve):
    runs = Runs.from_frame(curve)
    flat = runs.flat("step")
    assert np.shares_memory(flat.x, runs.flat("step").x)
    assert np.shares_memory(flat.loss, runs["run"].loss)
    np.testing.assert_array_equal(flat.offsets, [0, 40])


def test_the_frame_reads_back_as_the_same_runs():
    frame = two_runs()
    frame["lr"] = 1e-3
    frame["count"] = np.arange(len(frame)) % 3 + 1
    runs = Runs.from_frame(frame, params={"a": 1e6})
    back = Runs.from_frame(runs.frame)
    assert back.names == runs.names
    for name in runs.names:
        np.testing.assert_array_equal(back[name].loss, runs[name].loss)
        np.testing.assert_allclose(back[name].weight, runs[name].weight)
        np.testing.assert_array_equal(back[name].lr, runs[name].lr)
        assert back[name].params == runs[name].params
    assert list(runs.frame) == ["run", "step", "loss", "lr", "params", "weight", "spike"]
    assert pd.api.types.is_string_dtype(runs.frame["run"])


def test_pickle_and_equality(curve):
    runs = Runs.from_frame(curve, schedules=schedules.constant(1e-3), meta={"run": {"team": "x"}})
    again = pickle.loads(pickle.dumps(runs))
    assert again == runs
    assert not again["run"].loss.flags.writeable
    assert pickle.loads(pickle.dumps(runs["run"])) == runs["run"]
    changed = curve.copy()
    changed.loc[3, "loss"] += 1e-9
    assert Runs.from_frame(changed) != Runs.from_frame(curve)
    assert Runs.from_frame(curve) != Runs.from_frame(curve, params=1e6)


def test_adding_collections():
    a = lossfit.load("llama1")
    b = Runs.from_frame(two_runs())
    both = a + b
    assert both.names == (*a.names, *b.names)
    assert both["llama1-7B"] == a["llama1-7B"]
    assert both["a"] == b["a"]
    assert both["llama1-65B"].schedule == a["llama1-65B"].schedule
    assert both.axes == ("step",)
    with pytest.raises(DataError, match="both collections have a run 'b'"):
        b + b


def test_schedules_are_given_by_run():
    runs = Runs.from_frame(two_runs())
    cosine = schedules.cosine(1e-3, 100)
    changed = runs.with_schedule({"a": cosine})
    assert (changed["a"].schedule, changed["b"].schedule, runs["a"].schedule) == (
        cosine,
        None,
        None,
    )
    everywhere = changed.with_schedule(schedules.constant(1e-4))
    assert everywhere["a"].schedule == everywhere["b"].schedule == schedules.constant(1e-4)
    with pytest.raises(DataError, match="schedules names run 'A', which is not there"):
        runs.with_schedule({"A": cosine})
    with pytest.raises(DataError, match=r"lossfit\.schedules"):
        runs.with_schedule({"a": 1e-3})


def test_weights_are_relative_precisions_with_mean_one(curve):
    curve["se"] = np.where(curve.index < 20, 0.1, 0.2)
    weight = Runs.from_frame(curve)["run"].weight
    assert weight.mean() == pytest.approx(1)
    assert weight[0] / weight[-1] == pytest.approx(4)
    counted = curve.drop(columns="se").assign(count=np.where(curve.index < 20, 8, 2))
    np.testing.assert_allclose(Runs.from_frame(counted)["run"].weight, weight)
    assert (Runs.from_frame(curve.drop(columns="se"))["run"].weight == 1).all()
    half = Runs.from_frame(curve).until({"step": 3000.0})
    assert half["run"].weight.mean() == pytest.approx(1)


def test_from_arrays_and_from_frame_agree():
    frame = two_runs()
    flat = Runs.from_arrays("step", frame["step"], frame["loss"], [0, 12, 32], ["b", "a"])
    assert flat == Runs.from_frame(frame)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(3, 60), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_runs_are_cleaned_alike_alone_and_among_others(lengths, seed, spoil):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    x = np.concatenate([np.cumsum(rng.integers(1, 9, n)) for n in lengths]).astype(float)
    loss = np.round(2 + 5 * x**-0.5 + rng.normal(0, 0.02, len(x)), rng.integers(3, 8))
    loss[rng.random(len(x)) < 0.03] += 3
    if spoil:
        long = rng.random(len(x)) < 0.1
        long &= np.repeat(np.array(lengths) > 20, lengths)
        loss[long] = np.nan
    runs = Runs.from_arrays("step", x, loss, offsets)
    for i, run in enumerate(runs):
        rows = slice(offsets[i], offsets[i + 1])
        alone = Runs.from_arrays("step", x[rows], loss[rows], names=[run.name])
        assert alone[run.name] == run
        assert alone[run.name].flags == run.flags
        assert (np.diff(run.axis("step")) > 0).all()


def test_the_table_on_the_screen_names_runs_and_flags():
    text = repr(lossfit.load("llama"))
    assert "8 runs, 654 points; axes: tokens, step, gpu_hours, flops" in text
    assert "llama2-70B" in text
    page = Runs.from_frame(two_runs().replace({"run": {"a": "<b>"}}))._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "20 points" in repr(Runs.from_frame(two_runs())["a"])
    many = Runs.from_arrays("step", np.tile([1.0, 2, 3], 40), np.ones(120), np.arange(41) * 3)
    assert "... and 28 more" in repr(many)


def test_names_may_be_any_text():
    frame = two_runs().replace({"run": {"a": "größe/7B 🚀", "b": " b "}})
    assert Runs.from_frame(frame).names == (" b ", "größe/7B 🚀")
    numbered = two_runs().replace({"run": {"a": "1", "b": "2"}}).astype({"run": int})
    assert Runs.from_frame(numbered).names == ("2", "1")


@pytest.mark.slow
def test_a_hundred_thousand_runs_take_seconds():
    import time

    total, points = 100_000, 32
    x = np.tile(np.arange(1.0, points + 1), total)
    loss = 2 + 3 * x**-0.5 + np.random.default_rng(0).normal(0, 0.01, len(x))
    start = time.perf_counter()
    runs = Runs.from_arrays("step", x, loss, np.arange(total + 1) * points)
    half = runs.until(0.5)
    assert time.perf_counter() - start < 20  # about 1 s; a loop over runs would take minutes
    assert len(half) == total
