"""The question: built once, from options that mean the same in every function."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, LossfitWarning
from lossfit.answers import answer as answers
from lossfit.forecasts.question import DEFAULTS, Options, Question
from tests.curves import power_runs

ASKED = (
    "laws", "schedule", "total", "siblings", "priors", "calibrate_on", "share", "ladder", "domain",
    "prob", "window", "draws", "device", "dtype", "random_seed",
)  # fmt: skip
LACKING = {
    "extrapolate": set(),
    "race": set(),
    "report": set(),
    "watch": set(),
    # The laws of other schedules, and runs whose end is known, are what these functions are for.
    "what_if": {"laws", "schedule", "total", "ladder"},
    "best_tail": {"laws", "schedule", "ladder"},
    "backtest": {"schedule", "total", "calibrate_on", "share", "ladder"},
}


def parameters(function):
    return inspect.signature(function).parameters


@pytest.mark.parametrize("name", LACKING)
def test_an_option_that_one_function_has_all_have(name):
    function = getattr(lossfit, name)
    own = parameters(function)
    assert set(Options.__annotations__) == set(ASKED) == set(DEFAULTS)
    assert set(ASKED) - set(own) == LACKING[name]
    assert "options" not in own
    for option in set(ASKED) & set(own):
        assert own[option].default == DEFAULTS[option], option
        told = inspect.getdoc(function)
        assert re.search(rf"^(?:\w+, )*{option}(?:, \w+)* : ", told, re.M), option


@pytest.mark.parametrize("name", LACKING)
def test_an_unknown_option_is_refused_as_python_does(name):
    ask = getattr(lossfit, name)
    needed = {"schedules": ["cosine"]} if name == "what_if" else {}
    for option in ["drawz", *sorted(LACKING[name] - {"total"})]:
        with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected .* '{option}'"):
            ask(lossfit.load("llama2"), **{option: 10}, **needed)
    if name != "backtest":  # whose options Python checks
        with pytest.raises(TypeError, match=r"Did you mean 'draws'\?"):
            ask(lossfit.load("llama2"), drawz=10, **needed)


@pytest.fixture(scope="module")
def answer():
    runs = power_runs(3, gpu_hours={"run0": 10.0, "run1": 20.0, "run2": 60.0})
    with pytest.warns(LossfitWarning):
        return lossfit.extrapolate(runs, ["run0"], compute_of="run2", draws=50)


def test_looking_at_an_answer_computes_nothing(answer, monkeypatch):
    def refuse(*_):
        raise AssertionError("a fit was made")

    monkeypatch.setattr(answers, "curves_of", refuse)
    text = str(answer)
    data = answer.to_dict()
    assert "P(run0 below run2)" in text
    assert [row["law"] for row in data["by_law"]] == ["learned"]
    assert answer.prob_below() == data["rows"][0]["prob_below"]
    assert np.isfinite(answer.frame["median"]).all()
    with pytest.raises(AssertionError, match="a fit was made"):
        _ = answer.by_law  # the other laws are asked for


def test_comparison_laws_are_fitted_when_they_are_asked_for(answer):
    assert list(answer.by_law["law"]) == ["learned", "power", "power_linear"]


def test_options_that_do_not_go_together():
    runs = power_runs(2)
    with pytest.raises(DataError, match="leave laws= out"):
        Question.of(runs, "step", share=True, laws="power")
    with pytest.raises(DataError, match="share= takes no calibrate_on="):
        Question.of(runs, "step", share=True, calibrate_on=runs)
    with pytest.raises(DataError, match="do not respond to the learning rate"):
        Question.of(runs, "step", laws="power", total=2000.0)
    with pytest.raises(DataError, match="window"):
        Question.of(runs, "step", window={"nosuch": (0.5, 1.0)})


def test_a_run_never_learns_from_itself_nor_from_those_of_its_model():
    runs = power_runs(3)
    learned = lossfit.learn_priors(runs)
    question = Question.of(runs, "step", priors=learned)
    assert question.learned("run1").names == ("run0", "run2")
    assert question.learned("another") is learned
    shared = Question.of(
        runs, "step", priors=learned, share={"run0": "a", "run1": "a", "run2": "b"}
    )
    assert shared.learned("run0").names == ("run2",)
    assert shared.learned("run2").names == ("run0", "run1")


def planned(end: float, start: int = 0) -> lossfit.Runs:
    step = np.arange(start + 10, start + 2000, 10)
    loss = 3 + 4.0 * step**-0.4
    frame = {"step": step, "loss": loss, "run": "a"}
    import pandas as pd

    return lossfit.Runs.from_frame(pd.DataFrame(frame), meta={"a": {"planned_steps": end}})


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_the_end_that_a_log_states_is_its_total():
    runs = planned(4000.0)
    stated = lossfit.extrapolate(runs, at=4000, axis="step")
    given = lossfit.extrapolate(runs, at=4000, axis="step", total=4000)
    np.testing.assert_array_equal(stated.draws.values, given.draws.values)
    other = lossfit.extrapolate(runs, at=4000, axis="step", total=8000)
    assert not np.array_equal(stated.draws.values, other.draws.values)
    # An end before the data says nothing of what comes; a schedule says more.
    assert Question.of(planned(1000.0), "step").plan.total is None
    known = runs.with_schedule(lossfit.schedules.cosine(1e-3, 5000))
    assert Question.of(known, "step").plan.total is None
    assert Question.of(runs, "step").plan.total == {"a": 4000.0}
    assert Question.of(runs, "step", schedule="wsd").plan.schedule["a"].total == 4000


@pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")
def test_a_word_for_a_schedule_means_the_same_everywhere():
    """A word, or words by run, instead of `lossfit.schedules`, through the one question."""
    runs = power_runs(2, points=80)
    end = runs["run0"].end("step")
    plan = lossfit.schedules.cosine(1.0, 2 * end)
    words = {"run0": f"cosine@{2 * end:g}", "run1": "cosine"}
    by_word = Question.of(runs, "step", schedule=words, total=2 * end).plan.schedule
    assert by_word == dict.fromkeys(runs.names, plan)
    assert Question.of(runs, "step", schedule="cosine", total=2 * end, asked=["run1"]).plan == (
        {"run1": plan}, 2 * end
    )  # fmt: skip
    assert runs.with_schedule(words["run0"])["run1"].schedule == plan
    with pytest.raises(DataError, match="no schedule is called 'wsd:3'"):
        Question.of(runs, "step", schedule="wsd:3@20k")
    with pytest.raises(DataError, match="run 'run7'"):
        Question.of(runs, "step", schedule={"run7": "wsd@20k"})
    four = Question.of(runs, "step", schedule=f"cosine:4@{2 * end:g}").plan.schedule
    assert four["run0"] == lossfit.schedules.cosine_restarts(1.0, 2 * end, 4)
    told, worded = (
        lossfit.race(runs, axis="step", until=2 * end, draws=100, schedule=given).curves
        for given in (plan, f"cosine@{2 * end:g}")
    )
    np.testing.assert_array_equal(told, worded)
    known = lossfit.backtest(runs.with_schedule(f"wsd@{end:g}"), draws=100).frame
    pd.testing.assert_frame_equal(known, lossfit.backtest(runs, schedules="wsd", draws=100).frame)
    other = lossfit.what_if(runs, schedules=["wsd", f"cosine:2@{2 * end:g}"], own=f"cosine@{end:g}")
    assert other.schedules["wsd"]["run0"].total == end
    tail = lossfit.best_tail(runs, 2 * end, run="run0", own="constant", segments=8)
    assert tail.schedule.total == 2 * end


def test_tokens_in_a_word_are_tokens():
    """2T names an end in tokens where no run has so many steps."""
    runs = power_runs(1, points=60).select(["run0"])
    end = runs["run0"].end("step")
    with_tokens = lossfit.Runs.from_frame(runs.frame, tokens_per_step=1e6)
    asked = Question.of(with_tokens, "step", schedule=f"wsd@{2e6 * end:g}")
    assert (asked.plan.schedule["run0"].axis, asked.plan.schedule["run0"].total) == (
        "tokens", 2e6 * end
    )  # fmt: skip
