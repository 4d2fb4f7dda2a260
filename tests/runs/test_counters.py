"""Counters that begin again, ranks and second runs: nothing is lost, and what was done is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossfit import Runs


def curve(x, noise: float = 0.01, seed: int = 0, level: float = 3.0) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    rng = np.random.default_rng(seed)
    return level + 4 * (1 + x / 50) ** -0.5 + rng.normal(0, noise, len(x))


def of(step, loss, **columns) -> Runs:
    return Runs.from_frame({"step": step, "loss": loss, **columns})


def flags_of(runs: Runs, name: str = "run") -> dict[str, int]:
    return {flag.flag: flag.count for flag in runs[name].flags}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 6), st.integers(8, 40), st.integers(1, 50), st.booleans(), st.booleans(),
    st.integers(0, 99),
)  # fmt: skip
def test_a_counter_within_epochs_is_carried_on(epochs, n, stride, from_zero, told, seed):
    within = np.arange(n) * stride + (0 if from_zero else stride)
    whole = np.concatenate([within + epoch * n * stride for epoch in range(epochs)])
    loss = curve(whole / stride * 20, 0.005, seed)
    columns = {"epoch": np.repeat(np.arange(epochs), n)} if told else {}
    runs = of(np.tile(within, epochs), loss, **columns)
    np.testing.assert_array_equal(runs["run"].axis("step"), whole)
    np.testing.assert_array_equal(runs["run"].loss, loss)
    assert flags_of(runs)["counter"] == epochs - 1


@settings(max_examples=60, deadline=None)
@given(st.integers(10, 60), st.integers(10, 60), st.integers(0, 99))
def test_a_second_run_in_one_log_is_a_run_of_its_own(first, second, seed):
    a, b = np.arange(1, first + 1) * 10, np.arange(1, second + 1) * 10
    loss = np.concatenate([curve(a, seed=seed), curve(b, seed=seed + 1)])
    runs = of(np.concatenate([a, b]), loss)
    assert runs.names == ("run", "run (2)")
    np.testing.assert_array_equal(runs["run"].loss, loss[:first])
    np.testing.assert_array_equal(runs["run (2)"].loss, loss[first:])
    assert flags_of(runs)["other_run"] == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 60), st.floats(0.2, 0.9), st.integers(0, 99))
def test_a_resume_in_the_middle_drops_its_overlap_only(n, share, seed):
    back = max(int(n * share), 4)
    again = min(back + 5, n)  # five points were logged after the checkpoint, and are logged again
    step = np.concatenate([np.arange(1, again + 1), np.arange(back + 1, n + 6)]) * 10
    loss = curve(step, seed=seed)
    runs = of(step, loss)
    np.testing.assert_array_equal(runs["run"].axis("step"), np.arange(1, n + 6) * 10)
    assert flags_of(runs).get("restart", 0) == again - back


def test_the_same_run_again_is_one_run():
    step = np.arange(1, 41) * 10
    loss = curve(step)
    runs = of(np.concatenate([step[:20], step]), np.concatenate([loss[:20], loss]))
    np.testing.assert_array_equal(runs["run"].loss, loss)
    assert flags_of(runs) == {"restart": 20}


@pytest.mark.parametrize("order", ["together", "interleaved", "apart"])
def test_ranks_are_averaged(order):
    step = np.arange(1, 31) * 10
    losses = np.array([curve(step, 0.05, rank) for rank in range(4)])
    rows = [(rank, s, losses[rank, i]) for i, s in enumerate(step) for rank in range(4)]
    if order == "interleaved":  # no two steps in the same order, and some ranks ahead
        rng = np.random.default_rng(1)
        rows = sorted(rows, key=lambda row: row[1] + rng.uniform(0, 15))
    if order == "apart":
        rows = sorted(rows, key=lambda row: row[0])
    rank, x, loss = map(np.array, zip(*rows, strict=True))
    if order == "interleaved":  # each rank logs its own steps in order
        for k in range(4):
            own = np.flatnonzero(rank == k)
            by_step = own[np.argsort(x[own], kind="stable")]
            x[own], loss[own] = x[by_step], loss[by_step]
    runs = of(x, loss, rank=rank)
    np.testing.assert_array_equal(runs["run"].axis("step"), step)
    np.testing.assert_allclose(runs["run"].loss, losses.mean(axis=0))
    assert flags_of(runs)["ranks"] == 90
    if order == "together":  # found without the column too
        np.testing.assert_allclose(of(x, loss)["run"].loss, losses.mean(axis=0))


def test_processes_that_followed_one_another_are_no_ranks():
    step = np.arange(1, 41) * 10
    loss = curve(step)
    runs = of(step, loss, rank=np.repeat([11, 12], 20))
    np.testing.assert_array_equal(runs["run"].loss, loss)


def test_a_start_that_was_broken_off_is_left_out_with_a_flag():
    step = np.arange(1, 31) * 10
    x = np.concatenate([step[:2], step])
    loss = np.concatenate([[7.9, 7.8], curve(step)])
    runs = of(x, loss)
    assert len(runs) == 1
    np.testing.assert_array_equal(runs["run"].loss, loss[2:])
    assert set(flags_of(runs)) & {"short_run", "restart"}


@pytest.mark.parametrize(
    ("epoch", "places", "words"),
    [
        (np.repeat(np.arange(1.0, 21), 10), np.arange(1, 201) / 10, "10 to an epoch"),
        (np.repeat(np.arange(20.0), 10)[:195], np.arange(1, 196) / 10, "10 to an epoch"),
        (np.round(np.arange(1, 201) / 300, 2), np.arange(1, 201) / 300, "3 to a value"),
    ],
)
def test_epochs_that_many_rows_share_are_parted_by_their_order(epoch, places, words):
    loss = 2 + np.arange(1, len(epoch) + 1) ** -0.5
    run = next(iter(Runs.from_frame(pd.DataFrame({"epoch": epoch, "loss": loss}))))
    np.testing.assert_allclose(run.axis("epoch"), places, atol=0.006)
    np.testing.assert_array_equal(run.loss, loss)
    (detail,) = [flag.detail for flag in run.flags if flag.flag == "epoch_axis"]
    assert words in detail


def test_two_rows_an_epoch_may_be_of_two_ranks():
    frame = pd.DataFrame({"epoch": np.repeat(np.arange(1.0, 21), 2), "loss": np.linspace(4, 2, 40)})
    run = next(iter(Runs.from_frame(frame)))
    np.testing.assert_array_equal(run.axis("epoch"), np.arange(1, 21))
    assert run.flags[0].flag == "ranks"
