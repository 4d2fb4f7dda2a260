from __future__ import annotations

import warnings

import numpy as np
import pytest

import lossfit
from lossfit import DataError, LossfitWarning
from lossfit.answers.arrival import arrivals


def test_first_arrivals_of_known_curves() -> None:
    at = np.geomspace(1, 100, 400)
    curves = np.stack([3 - np.log(at), 3 - 0.5 * np.log(at), np.full(400, 1.0)], axis=1)
    found = arrivals(curves, at, 1.5)
    assert found[0] == pytest.approx(np.exp(1.5), rel=1e-6)
    assert found[1] == pytest.approx(np.exp(3.0), rel=1e-6)
    assert found[2] == 1.0
    assert np.isinf(arrivals(curves, at, 0.1)[1])


def test_a_bump_counts_from_its_first_arrival() -> None:
    at = np.array([1.0, 2.0, 4.0, 8.0])
    found = arrivals(np.array([[2.0], [1.0], [3.0], [0.5]]), at, 1.5)
    assert found[0] == pytest.approx(np.sqrt(2))


def test_time_to_of_an_answer() -> None:
    runs = lossfit.load("llama2").until(0.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        answer = lossfit.extrapolate(runs, "llama2-7B", at=2e12, axis="tokens", draws=400)
    final = float(answer.frame["median"].iloc[0])
    table = answer.time_to([final + 0.03, final, final - 1.0]).set_index("loss")
    assert (table["run"] == "llama2-7B").all()
    soon = table.loc[final + 0.03]
    assert soon["lower"] <= soon["median"] <= soon["upper"]
    assert answer.ends[0] < soon["median"] < 2e12
    assert soon["prob_reached"] > 0.6
    assert table.loc[final, "prob_reached"] == pytest.approx(0.5, abs=0.12)
    assert table.loc[final - 1.0, "prob_reached"] == 0
    hours = answer.time_to(final + 0.03, axis="gpu_hours")["median"].iloc[0]
    run = runs["llama2-7B"]
    factor = run.end("gpu_hours") / run.end("tokens")
    assert hours == pytest.approx(soon["median"] * factor)
    wall = answer.time_to(final + 0.03, axis="hours", gpus=8)["median"].iloc[0]
    assert wall == pytest.approx(hours / 8)
    before = answer.time_to(float(run.loss[0]))
    assert before["upper"].iloc[0] < answer.ends[0]


def test_bad_targets() -> None:
    runs = lossfit.load("llama2").until(0.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossfitWarning)
        answer = lossfit.extrapolate(runs, "llama2-7B", at=2e12, axis="tokens", draws=50)
    with pytest.raises(DataError, match="finite losses"):
        answer.time_to(np.nan)
    with pytest.raises(DataError, match="give gpus="):
        answer.time_to(1.7, axis="hours")
    with pytest.raises(DataError, match="is one of"):
        answer.time_to(1.7, axis="furlongs")
