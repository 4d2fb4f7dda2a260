from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossfit import DataError, Runs
from lossfit._base import ragged
from lossfit._base.ragged import blocks, counts, gather, spans
from lossfit.runs import cleaning
from lossfit.runs.cleaning import MEANINGS, usable_rows


def flags_of(runs: Runs, name: str = "run") -> dict[str, int]:
    return {flag.flag: flag.count for flag in runs[name].flags}


def of(step, loss, **more) -> Runs:
    return Runs.from_frame(pd.DataFrame({"step": step, "loss": loss, **more}))


def test_missing_and_infinite_rows_are_dropped_and_counted():
    step = [1, 2, 3, np.nan, 5, 6, 7]
    runs = of(step, [5.123451, np.nan, np.inf, 4.5, 4.412341, 4.3, -np.inf])
    assert flags_of(runs) == {"missing": 2, "not_finite": 2}
    np.testing.assert_array_equal(runs["run"].axis("step"), [1, 5, 6])
    assert "2 rows" in runs["run"].flags[0].detail


@pytest.mark.parametrize("blank", ["", " ", "nan", "NaN", "None", "N/A", "null", "-", None])
def test_blanks_in_text_columns_are_missing(blank):
    runs = of(["1", "2", "3", "4"], ["5.123451", blank, "4.5", " 4.25 "])
    assert flags_of(runs) == {"missing": 1}
    np.testing.assert_array_equal(runs["run"].loss, [5.123451, 4.5, 4.25])


def test_the_later_of_duplicated_steps_is_kept():
    runs = of([1, 2, 2, 2, 3, 4], [5, 4.3, 4.1, 4.200001, 3, 2])
    assert flags_of(runs) == {"duplicate_step": 2}
    np.testing.assert_array_equal(runs["run"].loss, [5, 4.200001, 3, 2])
    assert "(first: 2)" in runs["run"].flags[0].detail


def test_after_a_restart_the_later_rows_are_kept():
    step = [10, 20, 30, 40, 50, 30, 40, 50, 60]
    runs = of(step, [9.00001, 8, 7, 6, 5, 7.5, 6.5, 5.5, 4.5])
    assert flags_of(runs) == {"restart": 3}
    np.testing.assert_array_equal(runs["run"].loss, [9.00001, 8, 7.5, 6.5, 5.5, 4.5])
    assert "1 restart (first back to step 30): 3 rows" in runs["run"].flags[0].detail


def test_two_restarts_and_a_duplicate():
    step = [1, 2, 3, 4, 3, 4, 5, 2.5, 2.5, 6, 7, 8, 9, 10]
    loss = 20 / (1 + np.array(step)) + np.arange(14) * 1e-6
    runs = of(step, loss)
    assert flags_of(runs) == {"duplicate_step": 1, "restart": 5}
    np.testing.assert_array_equal(runs["run"].axis("step"), [1, 2, 2.5, 6, 7, 8, 9, 10])
    assert runs["run"].loss[2] == loss[8]


def test_a_restart_that_drops_nothing_else_is_still_told():
    # The run before the fall was logged up to step 9 only by the row that is logged again.
    assert flags_of(of([1, 2, 3, 9, 5, 6, 7], np.arange(7) + 0.000001)) == {"restart": 1}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=6, max_size=40), st.integers(0, 9))
def test_restart_rule_against_a_plain_loop(steps, seed):
    names, offsets = ("run",), np.array([0, len(steps)])
    x = np.array(steps, dtype=float)

    def rule(loss):
        return usable_rows(names, x, loss, offsets, lambda run: "step", "row {}".format)

    if (np.diff(steps) < 0).sum() > max(3, len(steps) // 5):
        with pytest.raises(DataError, match="not in log order"):
            rule(np.ones(len(steps)))
        return
    kept: list[int] = []  # rows a reader of the log would hold on to, row by row
    for row, step in enumerate(steps):
        while kept and steps[kept[-1]] >= step:
            kept.pop()
        kept.append(row)
    loss = np.random.default_rng(seed).random(len(steps)) + 1
    keep, flags = rule(loss)
    np.testing.assert_array_equal(np.flatnonzero(keep), kept)
    found = {flag.flag: flag.count for flag in flags}
    dropped = found.get("duplicate_step", 0) + found.get("restart", 0)
    assert dropped == len(steps) - len(kept)


def test_rows_out_of_order_are_refused_rather_than_thrown_away(curve):
    shuffled = curve.sample(frac=1, random_state=0)
    with pytest.raises(
        DataError, match=r"run 'run', row \d+ .*not in log order: sort them by step"
    ):
        Runs.from_frame(shuffled)


def test_a_point_at_zero_is_kept_and_told():
    runs = of([0, 1, 2, 3], [11.123451, 5, 4, 3])
    assert flags_of(runs) == {"zero_axis": 1}
    assert len(runs["run"]) == 4
    with pytest.raises(DataError, match="2 usable points"):
        of([0, 1, 2], [11, 5, 4])


def test_losses_of_zero_or_less_are_kept_and_told():
    assert flags_of(of([1, 2, 3], [0.123451, 0, -0.1])) == {"nonpositive_loss": 2}


def test_a_constant_curve_is_told():
    runs = of(np.arange(1, 11), np.full(10, 2.5))
    assert flags_of(runs) == {"constant": 10}
    assert "2.5" in runs["run"].flags[0].detail


def test_spikes_are_marked_and_kept():
    rng = np.random.default_rng(0)
    x = np.arange(1, 201) * 10.0
    loss = 2 + 8 * x**-0.4 + rng.normal(0, 0.01, 200)
    loss[[60, 150]] += [0.3, -0.3]
    loss[199] += 0.3
    runs = of(x, loss)
    assert np.flatnonzero(runs["run"].spike).tolist() == [60, 150, 199]
    assert flags_of(runs)["spike"] == 3
    assert len(runs["run"]) == 200
    assert runs.frame["spike"].sum() == 3


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.01, 0.2])
def test_clean_curves_have_no_spikes(noise):
    rng = np.random.default_rng(3)
    total, points = 400, 250
    x = np.tile(np.arange(1, points + 1) * 20.0, total)
    loss = 2 + 30 * x**-0.5 + rng.normal(0, 1, len(x)) * noise
    runs = Runs.from_arrays("step", x, loss, np.arange(total + 1) * points)
    assert runs.flat("step").spike.sum() <= 2  # of 100,000 points


@pytest.mark.parametrize("points", [16, 31, 65, 66, 67, 200])
@pytest.mark.parametrize("piece", [3, 64])
def test_spikes_of_a_long_run_are_those_of_its_pieces(monkeypatch, points, piece):
    rng = np.random.default_rng(points)
    y = 3 + 0.05 * rng.standard_t(1.5, (20, points))
    whole = cleaning._spikes(y)
    assert whole.any()
    monkeypatch.setattr(cleaning, "PIECE", piece)
    np.testing.assert_array_equal(cleaning._spikes(y), whole)


def test_rows_of_long_runs_are_counted_as_those_of_short_ones(monkeypatch):
    mask = np.random.default_rng(0).random(5000) < 0.3
    mask[[0, 1700]] = True
    offsets = np.array([0, 0, 1700, 1700, 5000])
    expected = [0, mask[:1700].sum(), 0, mask[1700:].sum()]
    for rows in (0, 10_000):
        monkeypatch.setattr(ragged, "COUNTED", rows)
        assert counts(mask, offsets).tolist() == expected


def test_the_fall_at_the_end_of_a_cosine_is_no_spike():
    x = np.arange(1, 31.0)
    loss = 3 - 0.5 * (x / 30) ** 8 + np.random.default_rng(1).normal(0, 1e-4, 30)
    assert not of(x, loss)["run"].spike.any()


def test_rounded_losses_are_told_with_their_decimals():
    loss = np.array([2.1706, 2.1, 2.0554, 2.03])
    runs = of([1, 2, 3, 4], loss)
    assert flags_of(runs) == {"rounded": 4}
    assert runs["run"].decimals == 4
    assert "sd 2.9e-05" in runs["run"].flags[0].detail
    assert of([1, 2, 3, 4], np.round(loss, 2))["run"].decimals == 2
    assert of([1, 2, 3, 4], loss + 1e-5)["run"].decimals is None


@pytest.mark.parametrize(("weight", "told"), [(0.0, 0), (0.7, 20), (0.9, 20), (0.99, 20)])
def test_moving_averages_are_told(weight, told):
    rng = np.random.default_rng(5)
    total, points = 20, 2000
    x = np.arange(1, points + 1) * 10.0
    loss = 2 + 10 * x**-0.4 + rng.normal(0, 0.03, (total, points))
    for i in range(1, points):
        loss[:, i] = weight * loss[:, i - 1] + (1 - weight) * loss[:, i]
    runs = Runs.from_arrays("step", np.tile(x, total), loss.ravel(), np.arange(total + 1) * points)
    assert (runs.flags["flag"] == "smoothed").sum() == told


def test_an_axis_that_does_not_increase_is_left_out_of_its_run_only():
    step = np.arange(1.0, 11)
    frame = pd.DataFrame(
        {
            "run": ["a"] * 10 + ["b"] * 10,
            "step": [*step, *step],
            "gpu_hours": [*step, 1, 2, 3, 3, 5, 6, 7, 8, 9, 10],
            "loss": np.random.default_rng(0).random(20) + 2,
        }
    )
    runs = Runs.from_frame(frame)
    assert runs["a"].has("gpu_hours")
    assert not runs["b"].has("gpu_hours")
    assert flags_of(runs, "b") == {"unusable_axis": 1}
    frame.loc[3, "gpu_hours"] = np.nan
    runs = Runs.from_frame(frame, gpu_hours={"a": 30.0})
    assert flags_of(runs, "a") == {"unusable_axis": 1}
    assert runs["a"].end("gpu_hours") == pytest.approx(30)


def test_a_run_is_read_along_the_axis_that_it_has():
    frame = pd.DataFrame(
        {
            "run": ["a"] * 4 + ["b"] * 4,
            "step": [1, 2, 3, 4] + [np.nan] * 4,
            "tokens": [np.nan] * 4 + [10, 20, 30, 40],
            "loss": [4.00001, 3, 2, 1] * 2,
        }
    )
    runs = Runs.from_frame(frame)
    assert (runs["a"].axes, runs["b"].axes, runs.axes) == (("step",), ("tokens",), ())
    assert runs.flags.empty


def test_values_by_keyword_that_the_log_makes_needless_are_told(curve):
    curve = curve.assign(tokens=curve["step"] * 7, params=5e6, gpu_hours=curve["step"] / 3)
    runs = Runs.from_frame(curve, tokens_per_step=8, params=6e6, gpu_hours=99)
    assert [flag.flag for flag in runs["run"].flags] == ["unused"] * 3
    assert runs["run"].params == 5e6
    assert runs["run"].end("tokens") == 28_000


def test_unknown_columns_are_told_once(curve):
    runs = Runs.from_frame(curve.assign(colour=1, grad_norm=0.5))
    flag = runs.flags.iloc[0]
    assert (flag["flag"], flag["count"], flag["detail"]) == (
        "ignored_columns",
        2,
        "colour, grad_norm",
    )
    assert pd.isna(flag["run"])


def test_every_flag_has_a_meaning():
    assert all(len(meaning) > 20 for meaning in MEANINGS.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 9))
def test_ragged_helpers_against_plain_loops(lengths, seed):
    offsets = spans(np.array(lengths))
    rng = np.random.default_rng(seed)
    mask = rng.random(offsets[-1]) < 0.5
    parts = [mask[offsets[i] : offsets[i + 1]] for i in range(len(lengths))]
    np.testing.assert_array_equal(counts(mask, offsets), [part.sum() for part in parts])
    flat = np.arange(offsets[-1])
    seen = []
    for runs, rows in blocks(offsets):
        matrix = flat[rows].reshape(len(runs), -1)
        for run, row in zip(runs, matrix, strict=True):
            np.testing.assert_array_equal(row, flat[offsets[run] : offsets[run + 1]])
            seen.append(run)
    assert sorted(seen) == [i for i, length in enumerate(lengths) if length]
    index, inner = gather(offsets[:-1], offsets[1:])
    np.testing.assert_array_equal(index, flat)
    np.testing.assert_array_equal(inner, offsets)
