"""What flags and the record say is true of what was read and of what was given."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit.forecasts.falling import shows_no_fall
from tests.curves import power_runs

pytestmark = pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
ADVICE = "siblings= (finished runs"


def begun_and_others() -> tuple[lossfit.Runs, lossfit.Runs]:
    runs = lossfit.load("llama1")
    others = runs.select([name for name in runs.names if name != "llama1-65B"])
    return runs.select(["llama1-65B"]).until(0.4), others


def logged(rate: np.ndarray) -> lossfit.Runs:
    step = np.arange(10.0, 10 * len(rate) + 1, 10)
    noise = np.random.default_rng(0).normal(0, 0.01, len(rate))
    table = {"run": "run", "step": step, "loss": 2.5 + 6 * step**-0.35 + noise, "lr": rate}
    return lossfit.Runs.from_frame(pd.DataFrame(table))


def test_siblings_that_change_nothing_are_said():
    begun, others = begun_and_others()
    where = {"at": 1.4e12, "axis": "tokens", "draws": 200}
    plain = lossfit.extrapolate(begun, **where)
    assert ADVICE in str(plain)
    given = lossfit.extrapolate(begun, siblings=others, **where)
    np.testing.assert_array_equal(given.draws, plain.draws)
    assert "siblings_unused" in given.frame["notes"][0]
    assert "25 points before the same share" in given.warning
    assert "response_from_prior" in given.frame["notes"][0]
    assert ADVICE not in str(given)
    # Two of them have 25 points at half of their plans.
    half = lossfit.load("llama1").select(["llama1-65B"]).until(0.5)
    used = lossfit.extrapolate(half, siblings=others, **where)
    assert "siblings_unused" not in used.frame["notes"][0]
    assert not np.array_equal(used.draws, lossfit.extrapolate(half, **where).draws)


def test_a_race_says_so_too():
    begun, others = begun_and_others()
    both = begun + lossfit.load("llama2").select(["llama2-7B"]).until(0.3)
    race = lossfit.race(both, axis="tokens", until=1.2e12, siblings=others, draws=100)
    assert "siblings_unused" in race.flags["llama1-65B"]
    assert "siblings= changed nothing" in str(race)


def test_siblings_count_where_a_logged_rate_says_the_end():
    total = 4000
    cosine = lossfit.schedules.cosine(3e-4, total, 0, 0.1)
    finished = logged(cosine(np.arange(10.0, total + 1, 10)))
    frames = [finished.frame.assign(run=name) for name in "abc"]
    siblings = sum(
        (lossfit.Runs.from_frame(f) for f in frames[1:]), lossfit.Runs.from_frame(frames[0])
    )
    begun = finished.until(0.5)
    answer = lossfit.extrapolate(begun, at=total, axis="step", siblings=siblings, draws=100)
    assert "siblings_unused" not in answer.frame["notes"][0]
    free = lossfit.Runs.from_frame(begun.frame.drop(columns="lr"))
    answer = lossfit.extrapolate(free, at=total, axis="step", siblings=siblings, draws=100)
    assert "siblings_unused" in answer.frame["notes"][0]


def test_a_logged_rate_is_not_said_to_be_unknown():
    constant = logged(np.full(100, 3e-4))
    text = str(lossfit.extrapolate(constant, at="2x", draws=100))
    assert "no_plan: the logged learning rate is constant up to the end of the data; what" in text
    text = str(lossfit.extrapolate(constant, at=2000, axis="step", total=2000, draws=100))
    assert "schedule_unknown: the logged learning rate is constant up to the end" in text
    # Neither a cosine nor a line.
    steps = logged(np.where(np.arange(100) < 50, 3e-4, 1e-4))
    text = str(lossfit.extrapolate(steps, at="2x", draws=100))
    assert "no_plan: the logged learning rate is at 33% of its peak" in text
    bare = lossfit.Runs.from_frame(constant.frame.drop(columns="lr"))
    assert "no_plan: neither the learning-rate" in str(
        lossfit.extrapolate(bare, at="2x", draws=100)
    )
    # Of several runs that differ nothing is said that holds for one only.
    both = constant + lossfit.Runs.from_frame(bare.frame.assign(run="bare"))
    assert "no_plan (2 of 2 rows): neither" in str(lossfit.extrapolate(both, at="2x", draws=100))


def test_the_record_says_which_runs_it_is_of():
    begun, _ = begun_and_others()
    few = str(lossfit.extrapolate(begun, at=1.4e12, axis="tokens", draws=100))
    assert "runs that do not look like language models: 30 points or fewer do not tell" in few
    many = lossfit.load("llama2").select(["llama2-7B"]).until(0.5)
    assert "runs that look like language models" in str(
        lossfit.extrapolate(many, at=2e12, axis="tokens", draws=100)
    )


def test_the_record_is_of_each_situation():
    """Of rows of several kinds each kind has its line, and its farthest horizon a name."""
    finished = lossfit.load("llama2").select(["llama2-7B", "llama2-13B"])
    cut = lossfit.Runs.from_frame(
        finished.frame[["run", "step", "tokens", "loss"]], tokens_per_step=4e6
    )
    half = finished.until(0.5)
    plans = {"llama2-7B": half["llama2-7B"].schedule}
    mixed = lossfit.Runs.from_frame(half.frame[["run", "step", "tokens", "loss"]], schedules=plans)
    ask = {"axis": "tokens", "draws": 50}
    answer = lossfit.extrapolate(mixed, at=[1.25e12, 2e12], **ask)
    known, nothing = answer.records
    assert known.startswith("Record of 2 of 4 rows: on ")
    assert "with the schedule known" in known
    assert "at 2x the data held" in known
    assert "with no plan known" in nothing
    by_law = answer.by_law[answer.by_law["law"] == "learned"].set_index(["run", "at"])["record"]
    assert by_law.nunique() == 4  # each row has its own
    assert answer.to_dict()["record"] == f"{known} {nothing}"
    stretched = lossfit.extrapolate(mixed, "llama2-7B", at=4e12, **ask)
    assert "never checked at this horizon" in stretched.records[0]
    assert "for a plan stretched beyond its end" in str(stretched)
    longer = lossfit.extrapolate(finished, "llama2-7B", at=4e12, **ask)
    assert "for finished runs under a longer plan" in longer.records[0]
    assert lossfit.extrapolate(cut, at=1e12, **ask).records == []  # within the data


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"laws": ["annealing", "multi_power"]}, "never checked for a mixture of these laws"),
        ({"laws": "multi_power"}, "never checked for a plan stretched beyond its end"),
        ({"share": True}, "runs fitted together were checked on two projects"),
    ],
)
def test_the_record_is_none_where_nothing_was_checked(options, words):
    runs = lossfit.load("llama2").select(["llama2-7B"])
    answer = lossfit.extrapolate(runs, at=4e12, axis="tokens", draws=50, **options)
    assert words in str(answer)
    if "share" in options:  # what answered is said, and nothing else
        assert "Law learned" not in str(answer)
        assert "Fitted together with no other run of its model" in str(answer)


def test_the_record_of_calibrated_intervals_is_told_apart():
    runs = power_runs(12)
    answer = lossfit.extrapolate(
        runs.until(0.5), "run0", at=1000, axis="step", draws=50, calibrate_on=runs
    )
    assert "Calibrated:" in str(answer)
    assert "The record is that of intervals before this." in str(answer)


def table(loss: np.ndarray, step: np.ndarray) -> lossfit.Runs:
    return lossfit.Runs.from_frame(pd.DataFrame({"run": "run", "step": step, "loss": loss}))


def test_a_counter_that_began_elsewhere_is_said():
    step = np.arange(50.0, 10_001, 50)
    loss = 2.5 + 6 * step**-0.35 + np.random.default_rng(0).normal(0, 0.01, len(step))
    late = str(lossfit.extrapolate(table(loss, step + 1e6), at="2x", draws=100))
    assert "count from its own start (subtract 1,000,000): no forecast" in late.splitlines()[0]
    # A log that falls no faster than late in a run may be the last part of one.
    slow = 2.5 + 0.02 * (loss - loss[-1])
    late = lossfit.extrapolate(table(slow, step + 1e6), at="2x", draws=100)
    assert "short_span" in late.frame["notes"][0]
    assert "count from its start" in str(late)
    usual = lossfit.extrapolate(table(loss, step), at="2x", draws=100)
    assert "short_span" not in usual.frame["notes"][0]


def test_small_losses_have_digits():
    step = np.arange(50.0, 10_001, 50)
    loss = 2.5 + 6 * step**-0.35 + np.random.default_rng(0).normal(0, 0.01, len(step))
    text = str(lossfit.extrapolate(table(1e-6 * loss, step), at="2x", draws=100))
    found = re.search(r"loss there: (\S+) \(90 % interval (\S+) to (\S+)\)", text)
    assert len(set(found.groups())) == 3
    assert re.search(r"takes 0\.0000000[1-9]\d* off", text)


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_runs_of_few_points_and_of_one_loss_are_said():
    step = np.arange(1.0, 41)
    names = ["three", "same", "fine"]
    loss = [3.0, 2.5, 2.3, *np.full(40, 2.5), *(2 + step**-0.5)]
    runs = lossfit.Runs.from_arrays(
        "step", np.concatenate([[1.0, 2, 3], step, step]), loss, [0, 3, 43, 83], names
    )
    notes = lossfit.extrapolate(runs, at="2x", axis="step").frame.set_index("run")["notes"]
    assert "few_points" in notes["three"]
    assert "constant" in notes["same"]
    assert not {"few_points", "constant"} & set(notes["fine"])


@pytest.mark.parametrize("seed", range(4))
def test_a_loss_that_does_not_fall_is_said(seed):
    """... of answers; `tests/forecasts/test_falling.py` has how often."""
    step = np.arange(10.0, 3001, 10)
    noise = np.random.default_rng(seed).standard_t(2, len(step))
    falls = 3 + step**-0.3 + 0.003 * noise
    level = 3 + 0.05 * noise
    rises = level + step / 3e5
    few = level[:39]
    runs = lossfit.Runs.from_arrays(
        "step",
        np.concatenate([step, step, step, step[:39]]),
        np.concatenate([falls, rises, level, few]),
        [0, 300, 600, 900, 939],
        ["falls", "rises", "level", "few"],
    )
    frame = lossfit.extrapolate(runs, at="2x", draws=50, window="all").frame.set_index("run")
    said = {name for name, notes in frame["notes"].items() if "no_fall" in notes}
    assert said - {"level"} == {"rises"}
    assert ("level" in said) == bool(shows_no_fall(level, np.array([0, 300]))[0])
