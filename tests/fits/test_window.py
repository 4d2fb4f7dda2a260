from __future__ import annotations

import numpy as np
import pytest

import lossfit
from lossfit import DataError, Runs, schedules
from lossfit.fits.window import rule_of, select
from tests.curves import power_runs


def chosen(runs, window, keep_spikes=False, axis="step"):
    """Axis values in the window of each run."""
    flat = runs.flat(axis)
    found = select(flat, runs.names, rule_of(window, runs), 0, len(runs), keep_spikes=keep_spikes)
    x = flat.x[found.rows]
    parts = np.split(x, np.cumsum(found.n_points)[:-1])
    for part, start, end in zip(parts, found.start, found.end, strict=True):
        assert (part[0], part[-1]) == (start, end)
    return parts


def test_auto_drops_the_first_30_percent_of_the_axis():
    runs = power_runs(3)
    for run, x in zip(runs, chosen(runs, "auto"), strict=True):
        full = run.axis("step")
        np.testing.assert_array_equal(x, full[full >= 0.3 * full[-1] * (1 - 1e-12)])


def test_auto_never_starts_before_1_2_times_the_warm_up():
    runs = power_runs(2, tokens_per_step=10).with_schedule(
        {
            "run0": schedules.cosine(1e-3, 1000, warmup=500),
            "run1": schedules.cosine(1e-3, 10_000, warmup=4000, axis="tokens"),
        }
    )
    first, second = chosen(runs, "auto")
    assert first[0] >= 600 > first[0] - 1000 / 60
    assert second[0] >= 480 > second[0] - 1000 / 67


def test_too_few_points_fall_back_to_the_last_25():
    runs = Runs.from_arrays("step", np.geomspace(1, 1e6, 40), np.linspace(4, 2, 40))
    assert np.sum(runs["0"].axis("step") >= 3e5) < 12
    np.testing.assert_array_equal(chosen(runs, "auto")[0], runs["0"].axis("step")[-25:])
    short = Runs.from_arrays("step", np.arange(1.0, 9), np.linspace(4, 2, 8))
    assert len(chosen(short, "auto")[0]) == 8
    both = runs + Runs.from_arrays("step", np.arange(1.0, 101), np.linspace(4, 2, 100), names=["b"])
    assert [len(x) for x in chosen(both, "auto")] == [25, 71]


def test_all_shares_and_by_run():
    runs = power_runs(3)
    everything = chosen(runs, "all")
    assert [len(x) for x in everything] == [60, 67, 74]
    middle = chosen(runs, (0.5, 0.8))
    for x in middle:
        assert x[0] >= 500 - 1e-9
        assert x[-1] <= 800 + 1e-9
    mixed = chosen(runs, {"run1": "all", "run2": (0.5, 0.8)})
    np.testing.assert_array_equal(mixed[0], chosen(runs, "auto")[0])
    np.testing.assert_array_equal(mixed[1], everything[1])
    np.testing.assert_array_equal(mixed[2], middle[2])


def test_zero_and_spikes_are_left_out_but_student_t_keeps_spikes():
    x = np.arange(0.0, 60)
    loss = 2 + (x + 1) ** -0.5
    loss += np.random.default_rng(0).normal(0, 0.002, 60)
    loss[40] += 1
    runs = Runs.from_arrays("step", x, loss)
    assert runs["0"].spike[40]
    used = chosen(runs, "all")[0]
    np.testing.assert_array_equal(used, np.delete(x, [0, 40]))
    np.testing.assert_array_equal(chosen(runs, "all", keep_spikes=True)[0], x[1:])
    fit = lossfit.fit(runs, "power", window="all", noise="student_t", draws=50)
    assert fit.count[0] == 59
    with pytest.warns(lossfit.LossfitWarning, match="spike"):
        assert lossfit.fit(runs, "power", window="all", draws=50).count[0] == 58


@pytest.mark.parametrize(
    "window", ["late", (0.5,), (0.8, 0.3), (-0.1, 1), (0.2, 1.2), (0, "end"), 0.5, None]
)
def test_what_is_no_window_is_refused(window):
    with pytest.raises(DataError, match="'auto', 'all' or two shares"):
        rule_of(window, power_runs(1))


def test_messages_name_the_run_and_the_fix():
    runs = power_runs(2)
    with pytest.raises(DataError, match=r"run 'run0' has 1 points .*widen the window"):
        chosen(runs, (0.999, 1.0))
    with pytest.raises(DataError, match="a run 'other' that is not there"):
        rule_of({"other": "all"}, runs)
    with pytest.raises(DataError, match="the window of run 'run1' must be"):
        rule_of({"run1": "none"}, runs)
