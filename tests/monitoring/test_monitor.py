"""A monitor in a training loop: the same numbers as extrapolate, never an exception, no delay."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

import lossfit
from lossfit import DataError, Monitor
from lossfit.monitoring.points import Points

TOTAL = 2000
STEPS = np.arange(1, TOTAL + 1)
LOSS = 2.5 + 6 * STEPS**-0.4 + np.random.default_rng(0).normal(0, 0.02, TOTAL)
RATE = 1e-3 * (1 + np.cos(np.pi * STEPS / TOTAL)) / 2


def fed(monitor: Monitor, stop: int, start: int = 0, loss=LOSS, every: int = 1) -> Monitor:
    for k in range(start, stop, every):
        monitor.log(step=STEPS[k], loss=loss[k], lr=RATE[k])
    monitor.wait()
    return monitor


@pytest.fixture
def monitor():
    return Monitor(total=TOTAL, every=250, target=2.9)


@pytest.mark.parametrize("lr", [True, False])
@pytest.mark.parametrize("schedule", [True, False])
def test_the_answer_is_that_of_extrapolate(lr, schedule):
    plan = lossfit.schedules.cosine(1e-3, TOTAL) if schedule else None
    monitor = Monitor(total=TOTAL, every=250, schedule=plan, random_seed=3, draws=500)
    for k in range(600):
        monitor.log(step=k + 1, loss=LOSS[k], lr=RATE[k] if lr else None)
    monitor.wait()
    columns = {"step": STEPS[:500], "loss": LOSS[:500]} | ({"lr": RATE[:500]} if lr else {})
    with pytest.warns(lossfit.LossfitWarning):
        direct = lossfit.extrapolate(
            lossfit.Runs.from_frame(columns), at=TOTAL, axis="step", schedule=plan,
            total=None if schedule else TOTAL, random_seed=3, draws=500,
        )  # fmt: skip
    assert monitor.step == 500
    np.testing.assert_array_equal(monitor.answer.draws, direct.draws)


def test_a_long_run_is_kept_as_means():
    monitor = fed(Monitor(total=TOTAL, every=100, most=256), 1000)
    points = monitor._points
    assert (points.stride, points.logged) == (4, 1000)
    table, counts = points.table()
    assert len(table) <= 256
    assert counts.sum() == 1000
    for row, first in zip(table, range(0, 1000, 4), strict=True):
        np.testing.assert_allclose(row[0], STEPS[first : first + 4].mean())
        np.testing.assert_allclose(row[1], LOSS[first : first + 4].mean())
    with pytest.warns(lossfit.LossfitWarning):
        direct = lossfit.extrapolate(monitor.runs, at=TOTAL, axis="step", total=TOTAL)
    np.testing.assert_array_equal(monitor.answer.draws, direct.draws)
    whole = fed(Monitor(total=TOTAL, every=100), 1000)
    width = whole.metrics()["lossfit/upper"] - whole.metrics()["lossfit/lower"]
    moved = whole.metrics()["lossfit/final_loss"] - monitor.metrics()["lossfit/final_loss"]
    assert abs(moved) < 0.2 * width


def test_a_restart_in_a_long_run_keeps_whole_rows():
    points = Points(64)
    for k in range(1, 101):  # two points in a row from the 65th on
        points.add(float(k), 3.0, np.nan, np.nan)
    points.add(50.0, 2.0, np.nan, np.nan)  # takes the row of 49 and 50, but not that of 47 and 48
    table, counts = points.table()
    assert points.last_step == 50
    assert list(table[-2:, 0]) == [47.5, 50.0]
    assert list(counts[-2:]) == [2, 1]


def test_rows_never_exceed_their_number():
    points = Points(64)
    for k in range(5000):
        points.add(k + 1.0, 3.0, np.nan, np.nan)
        assert points.rows <= 64
    table, counts = points.table()
    assert points.stride == 128
    assert counts.sum() == 5000
    assert (table[:, 1] == 3.0).all()
    assert np.isnan(table[:, 2:]).all()


def test_the_line(monitor):
    assert monitor.line == "no points yet"
    assert monitor.answer is None
    assert monitor.metrics() == {}
    fed(monitor, 5)
    assert monitor.line == "step 5: 5 of 8 points so far"
    fed(monitor, 1100, 5)
    low, high = monitor.metrics()["lossfit/lower"], monitor.metrics()["lossfit/upper"]
    assert low < 2.5 + 6 * TOTAL**-0.4 < high
    frame = monitor.answer.frame.iloc[0]
    assert (frame["lower"], frame["upper"]) == (low, high)
    chance = monitor.answer.prob_below(2.9)
    assert monitor.prob_below == chance
    words = f"final loss {frame['median']:.2f} ({low:.2f}-{high:.2f}), P(<2.9)"
    assert monitor.line.startswith("step 1,000: ")
    assert words in monitor.line or words.replace(".2f", ".3f")[:20] in monitor.line
    assert repr(monitor) == f"<Monitor of 'run', {monitor.line}>"


def test_news_comes_where_it_is_due(monitor):
    said = [k + 1 for k in range(TOTAL) if monitor.log(step=STEPS[k], loss=LOSS[k], lr=RATE[k])]
    monitor.wait()
    assert said == list(range(250, TOTAL + 1, 250))
    assert monitor.step == TOTAL
    sparse = Monitor(total=TOTAL, every=250)  # not every step is logged
    said = [k + 1 for k in range(0, TOTAL, 70) if sparse.log(step=k + 1, loss=LOSS[k])]
    assert [step // 250 for step in said] == [2, 3, 4, 5, 6, 7]  # 8 points first


def test_scalars_of_other_libraries(monitor):
    values = [np.float32(3.0), np.array(3.0), np.array([3.0])[0], 3]
    for k, value in enumerate(values):
        assert not monitor.log(step=np.int64(k + 1), loss=value)
    for name in ("torch", "jax.numpy"):
        try:
            library = __import__(name, fromlist=["x"])
        except ImportError:
            continue
        tensor = library.tensor(3.0) if name == "torch" else library.asarray(3.0)
        monitor.log(step=monitor._points.last_step + 1, loss=tensor)
    assert monitor.problem == ""
    assert monitor._points.logged >= len(values)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"step": 1}, "log() takes step= and loss="),
        ({"loss": 1}, "log() takes step= and loss="),
        ({"step": "now", "loss": 1}, "could not convert string to float"),
        ({"step": 5, "loss": [1, 2]}, "TypeError"),
        ({"step": float("nan"), "loss": 1}, "step must be a number"),
        ({"step": -1, "loss": 1}, "step must be a number"),
    ],
)
def test_nothing_is_raised_into_a_loop(monitor, caplog, given, words):
    fed(monitor, 300)
    with caplog.at_level(logging.WARNING, "lossfit"):
        assert monitor.log(**given)
        assert not monitor.log(**given)  # told once
    assert words in monitor.problem
    assert len(caplog.records) == 1
    assert words in caplog.text
    assert "no newer forecast" in monitor.line
    fed(monitor, 600, 300)
    assert monitor.problem == ""
    assert monitor.step == 500


def test_a_forecast_that_fails_is_a_problem(monitor, monkeypatch, caplog):
    import lossfit.answers.extrapolation as extrapolation

    def fails(*_):
        raise ZeroDivisionError("of the kernel")

    monkeypatch.setattr(extrapolation, "answer_to", fails)
    fed(monitor, 600)
    assert monitor.problem == "ZeroDivisionError: of the kernel"
    assert len(caplog.records) == 1
    assert monitor.answer is None
    assert monitor.line.startswith("step 600: no forecast: ")


def test_a_run_that_goes_on_beyond_its_end(monitor):
    fed(monitor, TOTAL)
    for step in range(TOTAL + 1, TOTAL + 300):
        monitor.log(step=step, loss=2.8)
    monitor.wait()
    assert "before the data" in monitor.problem
    assert monitor.step == TOTAL


@pytest.mark.parametrize(
    ("kind", "words"), [("nan", "not finite"), ("up", "diverged"), ("zero", "logged as 0")]
)
def test_a_break_is_said_at_once(kind, words, caplog):
    loss = LOSS.copy()
    loss[700:] = {"nan": np.nan, "up": 7.5, "zero": 0.0}[kind]
    if kind == "up":
        loss[700:] += np.random.default_rng(1).normal(0, 0.3, TOTAL - 700)
    monitor = fed(Monitor(total=TOTAL, every=500), 700)
    assert monitor.broken == ""
    assert not monitor.advice.stop
    for k in range(700, 730):
        if monitor.log(step=STEPS[k], loss=loss[k], lr=RATE[k]):
            break
    assert k < 710
    assert words in monitor.broken
    assert words in monitor.line
    assert "no forecast holds" in monitor.line
    assert monitor.advice.stop
    assert "healthy public runs were called broken" in str(monitor.advice)
    assert words in caplog.text
    fed(monitor, 1200, k + 1, loss)
    assert monitor.broken  # and it stays said
    assert sum(record.levelno == logging.WARNING for record in caplog.records) <= 2


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_spike_is_no_break(size):
    loss = LOSS.copy()
    loss[700 : 700 + size] = 9.0
    monitor = fed(Monitor(total=TOTAL, every=100), 1500, loss=loss)
    assert monitor.broken == ""


def test_what_is_no_break_here():
    """A restart from a worse state is recovering: it has a forecast, and a note."""
    loss = LOSS.copy()
    loss[700:] += 2.0 * np.exp(-(STEPS[700:] - 700) / 150)
    monitor = fed(Monitor(total=TOTAL, every=100), 900, loss=loss)
    assert monitor.broken == ""
    assert "jumped up by a factor" in monitor.line
    assert "final loss" in monitor.line
    assert not monitor.advice.stop


def test_advice(monitor):
    fed(monitor, TOTAL)
    assert monitor.prob_below > 0.9
    assert not monitor.advice.stop
    hopeless = fed(Monitor(total=TOTAL, every=250, target=2.0), TOTAL)
    assert hopeless.advice.stop
    words = str(hopeless.advice)
    assert "stop: P(final loss < 2) is <0.001, below 0.01 for 5% of the run" in words
    assert "public runs this rule stopped" in words
    its = hopeless.advice.rates
    assert its.runs > 100
    assert its.threshold == 0.01
    assert 0 < its.wrong < 0.05 < its.caught


def test_one_forecast_alone_stops_nothing():
    """Below the threshold at 10 % of the run is not yet a twentieth of it; at 15 % it is."""
    monitor = fed(Monitor(total=TOTAL, every=100, target=0.1), 200)
    assert monitor.prob_below < 0.01
    assert not monitor.advice.stop
    assert not fed(monitor, 299, 200).advice.stop
    assert fed(monitor, 300, 299).advice.stop
    early = fed(Monitor(total=TOTAL, every=50, target=0.1), 150)
    assert not early.advice.stop


def test_a_restart_takes_points_back(monitor):
    fed(monitor, 900)
    for k in range(600, 1000):  # from the checkpoint at 600
        monitor.log(step=STEPS[k], loss=LOSS[k], lr=RATE[k])
    monitor.wait()
    straight = fed(Monitor(total=TOTAL, every=250, target=2.9), 1000)
    assert monitor.step == 1000
    np.testing.assert_array_equal(monitor.answer.draws, straight.answer.draws)


@pytest.mark.parametrize("way", ["state", "pickle", "deepcopy"])
def test_a_monitor_goes_on_from_a_checkpoint(way):
    monitor = fed(Monitor(total=TOTAL, every=250, target=2.9, most=256), 700)
    if way == "state":
        again = Monitor(total=TOTAL, every=250, target=2.9, most=256)
        again.load_state_dict(json.loads(json.dumps(monitor.state_dict())))
    else:
        again = pickle.loads(pickle.dumps(monitor)) if way == "pickle" else copy.deepcopy(monitor)
    again.wait()
    assert again.step == 500
    assert again.answer is not None
    fed(monitor, 1100, 700)
    fed(again, 1100, 700)
    assert again.step == 1000
    np.testing.assert_array_equal(again.answer.draws, monitor.answer.draws)
    assert again.line == monitor.line


def test_a_state_of_something_else(monitor):
    with pytest.raises(DataError, match="what state_dict of a Monitor gave"):
        monitor.load_state_dict({"epoch": 3})
    state = fed(Monitor(total=TOTAL, every=250, most=512), 600).state_dict()
    with pytest.raises(DataError, match="the state has 300 rows, and at most 256"):
        Monitor(total=TOTAL, most=256).load_state_dict(state)


def test_tokens():
    monitor = Monitor(total=TOTAL * 4096, target=2.9, axis="tokens")
    said = []
    for k in range(0, 1200, 10):
        if monitor.log(step=k + 1, loss=LOSS[k], lr=RATE[k], tokens=(k + 1) * 4096):
            said.append(k + 1)
    monitor.wait()
    assert monitor.answer.axis == "tokens"
    assert 15 < len(said) < 30  # of the 40 of a whole run
    assert monitor.metrics()["lossfit/lower"] < 2.787 < monitor.metrics()["lossfit/upper"]
    without = Monitor(total=TOTAL * 4096, axis="tokens")
    fed(without, 600)
    assert "tokens" in without.problem


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"total": 0}, "total must be a positive number"),
        ({"total": "many"}, "total must be a positive number"),
        ({"every": 0}, "every must be a number of steps"),
        ({"target": "low"}, "target must be a number"),
        ({"axis": "flops"}, "counts step or tokens"),
        ({"axis": "miles"}, "no axis is called"),
        ({"threshold": 0.3}, "threshold must be one of 0.005"),
        ({"most": 33}, "even number"),
        ({"prob": 2}, "prob must be"),
        ({"domain": "speech"}, "domain must be"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(DataError, match=words):
        Monitor(**{"total": TOTAL, **options})


def test_other_processes_do_nothing(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monitor = fed(Monitor(total=TOTAL, every=250), 600)
    assert not monitor.active
    assert monitor._points.logged == 0
    assert monitor.answer is None
    assert monitor.line == "not watched in this process"
    assert Monitor(total=TOTAL, active=True).active
    monkeypatch.setenv("RANK", "0")
    assert Monitor(total=TOTAL).active


def test_uncompiled_forecasts_do_not_block_the_loop(root):
    """With kernels that are never compiled: log returns at once, and the answer comes later."""
    code = (
        "import time, numpy as np, lossfit\n"
        "monitor = lossfit.Monitor(total=2000, every=100, draws=200)\n"
        "longest, begin = 0.0, time.perf_counter()\n"
        "for k in range(1, 301):\n"
        "    start = time.perf_counter()\n"
        "    monitor.log(step=k, loss=2.5 + 6 * k**-0.4 + 0.01 * (-1)**k)\n"
        "    longest = max(longest, time.perf_counter() - start)\n"
        "    time.sleep(0.001)\n"
        "monitor.wait()\n"
        "print(longest, monitor.step, monitor.answer.engine)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True,
        cwd=root, env={**os.environ, "PYTHONPATH": str(root), "LOSSFIT_ENGINE": "uncompiled"},
    )  # fmt: skip
    longest, step, engine = done.stdout.split()
    assert (float(step), engine) == (300, "uncompiled")
    assert float(longest) < 0.5  # a forecast takes a second or more


def test_a_log_call_costs_next_to_nothing():
    """The bars are those of benches/monitor.py on a quiet machine; here with a wide margin."""
    monitor = Monitor(total=TOTAL, every=500)
    begin = time.process_time()
    fed(monitor, TOTAL)
    assert (time.process_time() - begin) / TOTAL < 1e-3
    seconds = []
    for _ in range(20):
        begin = time.process_time()
        monitor.update()
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.025
