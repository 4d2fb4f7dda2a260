"""Malformed input: each case ends in a `DataError` in plain words, or in a flag with a count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lossfit
from lossfit import DataError, Runs
from lossfit.sources._console_steps import carried_on

STEP = [1, 2, 3, 4, 5, 6]
LOSS = [5.01, 4.02, 3.53, 3.24, 3.05, 2.91]


def frame(**columns) -> pd.DataFrame:
    return pd.DataFrame({"run": "a", "step": STEP, "loss": LOSS} | columns)


FRAMES = {
    "text in the loss": (
        frame(loss=[5.01, 4.02, "diverged", 3.24, 3.05, 2.91]),
        r"run 'a', row 2: loss 'diverged' is not a number: correct it, or leave the cell blank",
    ),
    "text in the axis": (
        frame(step=[1, 2, 3, "four", 5, 6]),
        r"run 'a', row 3: step 'four' is not a number",
    ),
    "text in a column that is not needed": (
        frame(lr=[1e-3, "warm", 1, 1, 1, 1]),
        r"run 'a', row 1: lr 'warm' is not a number",
    ),
    "decimal commas": (
        frame(loss=["5,01", "4,02", "3,53", "3,24", "3,05", "2,91"]),
        r"row 0: loss '5,01' is not a number: write numbers with a decimal point",
    ),
    "a list in a cell": (
        frame(loss=pd.Series([5.01, [4, 2], 3, 3, 3, 3], dtype=object)),
        r"run 'a', row 1: loss '\[4, 2\]' is not a number",
    ),
    "truth values": (frame(loss=[True] * 6), "column 'loss' holds bool, not numbers"),
    "dates": (
        frame(step=pd.date_range("2026-01-01", periods=6)),
        "column 'step' holds datetime64.*convert it first",
    ),
    "complex numbers": (frame(loss=[1j] * 6), "column 'loss' holds complex128, not numbers"),
    "a complex number among others": (
        frame(loss=pd.Series([5.01, 1j, 3, 3, 3, 3], dtype=object)),
        r"run 'a', row 1: loss '1j' is not a number",
    ),
    "time spans": (
        frame(step=pd.to_timedelta(STEP, unit="h")),
        "column 'step' holds timedelta64.*convert it first",
    ),
    "a negative axis": (
        frame(step=[-1, 2, 3, 4, 5, 6]),
        r"run 'a', row 0 \(step=-1\): step is -1; it must be 0 or more: correct or delete that row",
    ),
    "newest row first": (
        frame(step=STEP[::-1]),
        r"run 'a', row 1 \(step=5\): step goes down at 5 of 6 rows.*sort them by step first",
    ),
    "two points": (frame().head(2), "run 'a' has 2 usable points .* 3 are needed: log more"),
    "one run too short": (
        pd.concat([frame(), frame(run="b").head(1)]),
        "run 'b' has 1 usable point .* 3 are needed",
    ),
    "nothing but NaN": (
        frame(loss=np.nan),
        "run 'a' has no usable points .*Its log: 6 rows: the loss or the axis is blank",
    ),
    "everything at step 0": (frame(step=0), "run 'a' has no usable points .*same step"),
    "no rows": (frame().head(0), "there are no rows"),
    "no columns": (pd.DataFrame(), "no column 'loss'; it has no columns"),
    "no loss": (
        frame().rename(columns={"loss": "lust"}),
        "no column 'loss'; the columns are 'run', 'step', 'lust'; did you mean 'lust'.*--loss",
    ),
    "no axis": (
        frame().rename(columns={"step": "count of it"}),
        "no column of steps, tokens or epochs .* columns={'step': 'count of it'}",
    ),
    "a column twice": (
        pd.DataFrame([[1, 2, 3]] * 4, columns=["step", "loss", "loss"]),
        "column 'loss' is there twice",
    ),
    "a row without a run": (
        frame(run=["a", "a", None, "a", "a", "a"]),
        r"row 2: the run has no name \(1 such rows\): fill in the column 'run'",
    ),
    "an empty run name": (frame(run=["a", " ", "a", "a", "a", "a"]), "row 1: the run has no name"),
    "a run by number and by text": (
        frame(run=pd.Series([1, 1, 1, "1", "1", "1"], dtype=object)),
        "two runs are called '1': rename one",
    ),
    "parameters that change": (
        frame(params=[1e9, 1e9, np.nan, 2e9, 1e9, 1e9]),
        r"run 'a', row 3 \(step=4\): params changes from 1e\+09 to 2e\+09; it is one number",
    ),
    "parameters below zero": (frame(params=-1.0), "run 'a': params is -1; it must be a positive"),
    "a standard error of zero": (
        frame(se=[0.1, 0.1, 0, 0.1, 0.1, 0.1]),
        r"run 'a', row 2 \(step=3\): se, count or weight must be a positive number in every row",
    ),
    "a count that is missing": (
        frame(count=[1, 1, 1, np.nan, 1, 1]),
        r"run 'a', row 3 \(step=4\): se, count or weight must be a positive number",
    ),
    "two kinds of weights": (frame(se=0.1, count=3), "one of the columns se and count, not both"),
    "not a frame": ([1, 2, 3], "give a pandas, polars or pyarrow table, .*; got a list of"),
}


@pytest.mark.parametrize(("given", "words"), FRAMES.values(), ids=FRAMES.keys())
def test_frames(given, words):
    with pytest.raises(DataError, match=words) as error:
        Runs.from_frame(given)
    assert error.value.__cause__ is None
    assert "\n" not in str(error.value)


FLAGGED = {
    "numbers as text": (frame(loss=list(map(str, LOSS))), {"rounded": 6}),
    "spaces and blanks": (
        frame(loss=[" 5.01", "4.02 ", "", "n/a", "3.05", "2.911119"]),
        {"missing": 2},
    ),
    "infinite losses": (frame(loss=[np.inf, 4.000001, 3.5, 3.2, 3, -np.inf]), {"not_finite": 2}),
    "numbers too large for a float": (
        frame(loss=["1e999", "4.000001", "3.5", "3.2", "3.1", "3"]),
        {"not_finite": 1},
    ),
    "a restart": (frame(step=[1, 2, 3, 2, 3, 4]), {"restart": 2, "rounded": 4}),
    "a step twice": (frame(step=[1, 2, 2, 3, 4, 5]), {"duplicate_step": 1, "rounded": 5}),
    "one value for ever": (frame(loss=2.5), {"constant": 6}),
    "a run that diverged to zero": (
        frame(loss=[5.000001, 4, 3, 0, 0, 0]),
        {"nonpositive_loss": 3},
    ),
    "an axis with holes": (
        frame(tokens=[1, 2, np.nan, 4, 5, 6]),
        {"unusable_axis": 1, "rounded": 6},
    ),
    "an axis that falls": (
        frame(gpu_hours=[1, 2, 1, 4, 5, 6]),
        {"unusable_axis": 1, "rounded": 6},
    ),
}


@pytest.mark.parametrize(("given", "flags"), FLAGGED.values(), ids=FLAGGED.keys())
def test_frames_that_can_be_used_are_flagged(given, flags):
    run = Runs.from_frame(given)["a"]
    assert {flag.flag: flag.count for flag in run.flags} == flags
    assert np.isfinite(run.loss).all()


FILES = {
    "empty": (b"", "is empty: give a log with at least three points"),
    "only blank lines": (b"\n \n\n", "is empty"),
    "a header alone": (b"step,loss\n", "there are no rows"),
    "prose": (b"all is well\nmore tomorrow\n", "not a table: its first line must name columns"),
    "numbers without a header": (
        b"1,5\n2,4\n3,3\n",
        "no column 'loss'; the columns are 'column 1', 'column 2': say which",
    ),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0\0", "binary file of a kind that lossfit does not read"),
    "another encoding": (
        "step,loss\n1,größe\n".encode("latin-1"),
        "line 2 of .*: loss 'gr.*e' is not a number",
    ),
    "half a UTF-16 character": (b"\xff\xfes\0t", "not utf-16 text|not a table"),
    "a line with too many cells": (b"step,loss\n1,2\n2,3,4,5\n3,1\n", "line 3"),
    "an open quote": (b'step,loss\n1,"2\n2,3\n', "x.csv"),
    "a repeated column": (b"step,loss,loss\n1,2,3\n", "column 'loss' is there twice"),
    "text in a cell": (b"step,loss\n1,2\n2,NotANumber\n3,1\n", "run 'x', line 3 of .*'NotANumber'"),
    "broken JSON": (b'{"step": 1, "loss": 2}\n{"step": 2, "loss"\n', "line 2: not valid JSON"),
    "JSON that is no object": (b'{"step": 1, "loss": 2}\n3\n', "line 2: not an object"),
    "a JSON array of numbers": (
        b"[1, 2, 3]",
        "no column 'loss'; the columns are 'value': .*loss='value'",
    ),
    "an empty JSON array": (b"[]", "valid JSON, an empty array"),
    "nested JSON": (
        b'{"step": 1, "loss": {"train": [2]}}\n' * 3,
        "no column 'loss'; the columns are 'step', 'loss/train'; did you mean",
    ),
    "deep JSON": (b"[" * 100_000, "not valid JSON"),
}


@pytest.mark.parametrize(("data", "words"), FILES.values(), ids=FILES.keys())
def test_files(tmp_path, data, words):
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words) as error:
        lossfit.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


CALLS = {
    "no such file": (lambda: lossfit.load("there/is/none.csv"), "no file there/is/none.csv"),
    "no such collection": (lambda: lossfit.load("llama-2"), "'llama-2'; did you mean 'llama2'"),
    "a folder": (lambda: lossfit.load("/"), "/ is a directory: give the log files in it"),
    "an empty path": (lambda: lossfit.load(""), "the path is empty"),
    "no paths": (lambda: lossfit.load([]), "at least one path"),
    "a number as a path": (lambda: lossfit.load(3), "got int"),
    "a number among paths": (lambda: lossfit.load(["llama1", 3]), "got 3"),
    "a NUL in a path": (lambda: lossfit.load("a\0b.csv"), "cannot be read|no file"),
    "a collection twice": (lambda: lossfit.load(["llama2", "llama"]), "both .* 'llama2-7B'"),
    "keywords for no run": (
        lambda: Runs.from_frame(frame(), params={"A": 1e9}),
        "params names run 'A', which is not there",
    ),
    "a negative keyword": (
        lambda: Runs.from_frame(frame(), tokens_per_step=-1),
        "tokens_per_step must be a positive number",
    ),
    "a keyword of text": (
        lambda: Runs.from_frame(frame(), gpu_hours={"a": "many"}),
        "gpu_hours of run 'a' must be a positive number.*'many'",
    ),
    "meta that is no dict": (
        lambda: Runs.from_frame(frame(), meta={"a": 3}),
        "meta of run 'a' must be a dict",
    ),
    "arrays of two lengths": (
        lambda: Runs.from_arrays("step", STEP, LOSS[:-1]),
        r"flat and of one length, got shapes \(6,\) and \(5,\)",
    ),
    "arrays of text": (lambda: Runs.from_arrays("step", STEP, ["a"] * 6), "loss must be an array"),
    "offsets beyond the end": (
        lambda: Runs.from_arrays("step", STEP, LOSS, [0, 9]),
        "offsets must rise from 0 to the number of points, 6",
    ),
    "broken offsets": (
        lambda: Runs.from_arrays("step", STEP, LOSS, [0, 2.5, 6]),
        "offsets must be a flat array of integers",
    ),
    "names for other runs": (
        lambda: Runs.from_arrays("step", STEP, LOSS, names=["a", "b"]),
        "2 names for 1 runs",
    ),
    "an unknown axis": (lambda: Runs.from_arrays("week", STEP, LOSS), "no axis is called 'week'"),
    "an empty run among others": (
        lambda: Runs.from_arrays("step", STEP, LOSS, [0, 6, 6]),
        "run '1' has no usable points",
    ),
}


@pytest.mark.parametrize(("call", "words"), CALLS.values(), ids=CALLS.keys())
def test_calls(call, words):
    with pytest.raises(DataError, match=words):
        call()


def test_a_table_of_counts_with_units_and_losses_that_are_infinite(tmp_path):
    path = tmp_path / "train.log"
    rows = "\n".join(f"{k}k       {5 - k / 10:.2f}   -inf" for k in range(1, 9))
    path.write_text(f"training on 8 devices\nstep      train_loss   grad\n{rows}\n9k  -inf  1.0\n")
    run = lossfit.load(path)["train"]
    np.testing.assert_array_equal(run.axis("step"), 1000.0 * np.arange(1, 9))
    np.testing.assert_allclose(run.loss, 5 - np.arange(1, 9) / 10)


def test_epochs_that_are_infinite():
    step, total = np.array([10.0, 20.0, 10.0, 20.0]), np.full(4, 50.0)
    epoch = np.array([-np.inf, -np.inf, 1.0, 1.0])
    steps, end = carried_on(step, total, epoch, 2.0)
    assert not np.isfinite(steps[:2]).any()
    assert end == 100
