"""The rules of `lossfit.runs.cleaning` against plain loops that are written from its words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lossfit import DataError
from lossfit.runs import cleaning
from lossfit.runs.cleaning import inspect, usable_rows
from tests.oracles.forecast_draws import marked


def random_losses(n, rng):
    """A curve with noise, tails, ties and now and then a point that is absurd."""
    y = 2 + 3 * np.arange(1, n + 1) ** -0.4 + 10 ** rng.uniform(-4, -1) * rng.standard_t(1.2, n)
    if rng.random() < 0.3:
        y[rng.integers(n)] *= 10 ** rng.uniform(1.5, 4)
    if rng.random() < 0.3:
        y[0] *= rng.choice([90.0, 150.0, 1000.0])
    if rng.random() < 0.2:
        y[rng.random(n) < 0.9] = 0.0
    return y * rng.choice([-1.0, 1.0])


@pytest.mark.parametrize("n", [*range(1, 20), 33, 60])
def test_spikes(n):
    rng = np.random.default_rng(n)
    y = np.stack([random_losses(n, rng) for _ in range(150)])
    found = cleaning._spikes(y)
    expected = np.stack([marked(row) for row in y])
    np.testing.assert_array_equal(found, expected)
    assert n < 4 or found.any()


def test_spikes_at_their_threshold():
    """Ten points 0, 1, 0, 1, ...: the MAD is 1, and 8 MAD and 0.1 % of the loss are the limit."""
    y = np.tile([0.0, 1.0], 20)
    for off, is_spike in ((8.9, False), (9.1, True)):
        y[20] = off  # the running median there is 1, and 0.1 % of the loss is next to nothing
        assert cleaning._spikes(y[None])[0, 20] == is_spike
    flat = np.full(40, 5.0)
    for off, is_spike in ((5.00499, False), (5.00502, True)):
        flat[20] = off
        assert cleaning._spikes(flat[None])[0, 20] == is_spike


def plain_tail(bad):
    """How many rows the tail of a run has, 0 if it counts as none."""
    good = [i for i, is_bad in enumerate(bad) if not is_bad]
    if len(good) < 2 or not bad[-1]:
        return 0
    longest = max(b - a for a, b in pairwise(good))
    tail = len(bad) - 1 - good[-1]
    return tail if tail >= max(3, 0.05 * len(bad), 3 * longest) else 0


def plain_restart(x):
    """Rows that a reader of the log would hold on to, row by row."""
    kept: list[int] = []
    for row, step in enumerate(x):
        while kept and x[kept[-1]] >= step:
            kept.pop()
        kept.append(row)
    return kept


def random_log(rng):
    """Axis and losses of one run: gaps, a restart, ties, and perhaps an end of NaN."""
    n = int(rng.integers(0, 60))
    x = np.cumsum(rng.integers(0, 3, n)).astype(float)
    if n > 20 and rng.random() < 0.5:
        back = int(rng.integers(5, n - 5))
        x[back:] -= rng.integers(0, 8)
    x = np.maximum(x, 0)
    loss = 3 + rng.random(n)
    loss[rng.random(n) < 0.1] = np.nan
    loss[rng.random(n) < 0.1] = np.inf
    x[rng.random(n) < 0.05] = np.nan
    if rng.random() < 0.6:
        loss[n - int(rng.integers(0, 12)) :] = np.nan if n else 0
    return x, loss


@pytest.mark.parametrize("seed", range(40))
def test_rows_of_several_runs(seed):
    rng = np.random.default_rng(seed)
    logs = [random_log(rng) for _ in range(4)]
    names = ("a", "b", "c", "d")
    offsets = np.cumsum([0, *(len(x) for x, _ in logs)])
    x, loss = (np.concatenate([log[k] for log in logs]) for k in (0, 1))
    given = x.copy(), loss.copy()
    told, kept = [], []
    for name, first, (t, y) in zip(names, offsets, logs, strict=False):
        lost = [i for i in range(len(t)) if np.isnan(t[i]) or np.isnan(y[i])]
        endless = [i for i in range(len(t)) if i not in lost and not np.isfinite(t[i] + y[i])]
        rest = [i for i in range(len(t)) if i not in lost and i not in endless]
        own = plain_restart(t[rest])
        kept += [int(first) + rest[i] for i in own]
        down = int((np.diff(t[rest]) < 0).sum())
        ties = sum(t[rest[i]] == t[rest[i + 1]] for i in range(len(rest) - 1) if i not in own)
        tail = plain_tail(
            [np.isfinite(a) and not np.isfinite(b) for a, b in zip(t, y, strict=True)]
        )
        told += [(name, "missing", len(lost)), (name, "not_finite", len(endless))]
        told += [(name, "tail_not_finite", tail), (name, "duplicate_step", ties)]
        told += [(name, "restart", len(rest) - len(own) - ties)] if down else []
    keep, flags = usable_rows(names, x, loss, offsets, lambda run: "step", "row {}".format)
    assert np.flatnonzero(keep).tolist() == kept
    wanted = {(name, flag): count for name, flag, count in told if count or flag == "restart"}
    assert {(flag.run, flag.flag): flag.count for flag in flags} == wanted
    np.testing.assert_array_equal(x, given[0])
    np.testing.assert_array_equal(loss, given[1])


def test_words_for_rows_name_the_run_the_row_and_the_number():
    offsets = np.array([0, 3, 6, 9])
    x, loss = np.tile([1.0, 2.0, 3.0], 3), np.ones(9)
    loss[4], loss[8] = np.nan, -np.inf
    _, flags = usable_rows(("a", "b", "c"), x, loss, offsets, str, str)
    assert [flag.detail for flag in flags] == [
        "1 row: the loss or the axis is blank or NaN",
        "1 row: the loss or the axis is infinite",
    ]
    assert [flag.run for flag in flags] == ["b", "c"]
    for run, row in (("a", 0), ("a", 2), ("b", 3), ("c", 6), ("c", 8)):
        wrong = x.copy()
        wrong[row] = -7.0
        number = "abc".index(run)
        match = f"run '{run}', at {row}: axis {number} is -7; it must be 0 or more"
        with pytest.raises(DataError, match=match):
            usable_rows(
                ("a", "b", "c"), wrong, np.ones(9), offsets, "axis {}".format, "at {}".format
            )


@pytest.mark.parametrize(
    ("rows", "gap", "tail", "counts"),
    [
        (40, 0, 2, False), (40, 0, 3, True),  # three rows at least
        (200, 0, 9, False), (200, 0, 10, True),  # a twentieth of the run
        (40, 1, 5, False), (40, 1, 6, True),  # three times the distance of the farthest neighbours
        (40, 3, 11, False), (40, 3, 12, True),
    ],
)  # fmt: skip
def test_a_tail_is_longer_than_other_gaps(rows, gap, tail, counts):
    loss = np.full(rows, 2.0)
    loss[10 : 10 + gap] = np.nan
    loss[rows - tail :] = np.nan
    x = np.arange(1.0, rows + 1)
    keep, flags = usable_rows(("a",), x, loss, np.array([0, rows]), str, str)
    of_tail = [flag for flag in flags if flag.flag == "tail_not_finite"]
    assert [flag.count for flag in of_tail] == [tail] * counts
    if counts:
        words = f"the loss is NaN or infinite from {rows - tail + 1} on ({tail} rows)"
        assert of_tail[0].detail == words
    assert keep.sum() == rows - gap - tail


def test_restarts_in_words():
    x = np.array([1.0, 2, 3, 4, 2.5, 3.5, 3.5, 5, 6, 7])
    _, flags = usable_rows(("a",), x, np.ones(10), np.array([0, 10]), "step".format, str)
    assert [(flag.flag, flag.count, flag.detail) for flag in flags] == [
        ("duplicate_step", 1, "1 row dropped: a later row has the same step (first: 3.5)"),
        (
            "restart",
            2,
            "1 restart (first back to step 2.5): 2 rows logged before and run again dropped",
        ),
    ]


@pytest.mark.parametrize(
    ("points", "falls", "refused"), [(10, 3, False), (10, 4, True), (40, 8, False), (40, 9, True)]
)
def test_rows_that_fall_too_often_are_in_no_order(points, falls, refused):
    """Up to three falls, or a fifth of the rows, are restarts."""
    x = np.arange(1.0, points + 1) * 2
    x[2 * np.arange(1, falls + 1)] -= 3
    if not refused:
        usable_rows(("a",), x, np.ones(points), np.array([0, points]), "step".format, str)
        return
    match = (
        rf"run 'a', 2: step goes down at {falls} of {points} rows, so .* sort them by step first"
    )
    with pytest.raises(DataError, match=match):
        usable_rows(("a",), x, np.ones(points), np.array([0, points]), "step".format, str)


def plain_decimals(y):
    for decimals in range(5):
        if all(float(f"{value:.{decimals}f}") == value for value in y):
            return decimals
    return -1


@pytest.mark.parametrize("decimals", [0, 1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("single", [False, True])
def test_decimals(decimals, single):
    rng = np.random.default_rng(decimals)
    y = np.round(rng.uniform(1.1, 9.9, (30, 25)), decimals)
    y[:, 0] = np.round(1.0 + 10.0**-decimals, decimals)  # which has no fewer
    if single:
        y = y.astype(np.float32).astype(float)
    expected = decimals if decimals <= 4 else -1
    assert cleaning._decimals(y).tolist() == [expected] * 30
    if not single:
        assert plain_decimals(y[0]) == expected
    small = np.full((1, 5), 1e-8)  # has no decimals to speak of, but is no 0
    assert cleaning._decimals(small).tolist() == [-1]


def plain_correlation(y):
    """Lag-one correlation of the differences of the second half, less their straight line."""
    half = y[len(y) // 2 :]
    step = np.array([b - a for a, b in pairwise(half)])
    middle = np.median(step)
    far = np.abs(step - middle)
    step = np.where(far > 20 * np.median(far), middle, step)
    time = np.arange(len(step))
    step = step - np.polyval(np.polyfit(time, step, 1), time)
    spread = np.median(np.abs(step))
    step = np.clip(step, -5 * spread, 5 * spread)
    return (step[1:] * step[:-1]).sum() / (step**2).sum()


@pytest.mark.parametrize("points", [50, 51, 120])
def test_what_is_smoothed(points):
    rng = np.random.default_rng(points)
    y = 2 + np.arange(1, points + 1) ** -0.3 + rng.normal(0, 0.01, (40, points))
    for row, weight in zip(y, np.linspace(0, 0.9, 40), strict=True):
        for i in range(1, points):
            row[i] = weight * row[i - 1] + (1 - weight) * row[i]
    y[::3, -5] += 1.0
    y[1::3, -9] += 0.06  # it is cut to five spreads
    rho = cleaning._difference_correlation(y)
    np.testing.assert_allclose(rho, [plain_correlation(row) for row in y], rtol=1e-6, atol=1e-9)
    names = tuple(map(str, range(40)))
    seen = inspect(names, np.tile(np.arange(1.0, points + 1), 40), y.ravel(),
                   np.arange(41) * points)  # fmt: skip
    limit = -0.25 + (2 / points) ** 0.5
    told = {flag.run for flag in seen.flags if flag.flag == "smoothed"}
    assert told == {name for name, value in zip(names, rho, strict=True) if value > limit}
    assert 0 < len(told) < 40
    words = next(flag for flag in seen.flags if flag.flag == "smoothed")
    assert words.detail.startswith(
        f"neighbouring differences correlate at {rho[int(words.run)]:.2f} (independent noise: -0.5)"
    )
    assert words.count == points


def test_shorter_runs_are_not_judged():
    y = np.linspace(3, 2, 49)
    assert not [f for f in inspect(("a",), y, y, np.array([0, 49])).flags if f.flag == "smoothed"]


def test_flags_of_what_is_kept_name_their_run():
    """Zero axis, losses of 0 or less, a constant run, rounding: each in its own run, counted."""
    x = np.r_[0.0, 1, 2, np.arange(1, 5), np.arange(1, 6), np.arange(1, 5)]
    loss = np.r_[3.12345, 2.5, 2.25, 2, 0, -1, -1.123456, np.full(5, 2.5), 3.25, 2.5, 2.125, 2]
    seen = inspect(("a", "b", "c", "d"), x, loss, np.array([0, 3, 7, 12, 16]))
    assert [(flag.run, flag.flag, flag.count, flag.detail) for flag in seen.flags] == [
        ("a", "zero_axis", 1, "1 row at axis 0: kept, but no power law can use them"),
        (
            "b",
            "nonpositive_loss",
            3,
            "3 rows with loss <= 0: kept, but not a cross-entropy in nats",
        ),
        ("c", "constant", 5, "every loss is 2.5"),
        ("d", "rounded", 4, "losses have 3 decimals: rounding noise of sd 2.9e-04"),
    ]
    assert seen.decimals.tolist() == [-1, -1, 1, 3]
    assert not seen.spike.any()
