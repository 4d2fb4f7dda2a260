"""Windows found and taken in one compiled pass, against the rule written with masks."""

from __future__ import annotations

import numpy as np
import pytest

from lossfit.kernels import windows as compiled
from lossfit.kernels.uncompiled import windows as plain
from lossfit.kernels.windows import Log, Shares


def by_hand(x, spike, low, high, warm, auto, keep_spikes):
    """Rows of one run that its window has."""
    usable = x > 0
    if not keep_spikes:
        usable &= spike == 0
    end = x[-1]
    rows = usable & (x >= low * end * (1 - 1e-12)) & (x <= high * end * (1 + 1e-12))
    if auto and rows.sum() < 12:
        rows = usable & (x >= warm * end)
        if rows.sum() < 3:
            rows = usable
        rows = np.isin(np.arange(len(x)), np.flatnonzero(rows)[-25:])
    return np.flatnonzero(rows)


def random_logs(seed, n_runs=150):
    """Even, uneven and short logs, with zeros, equal axis values and spikes; and their rules."""
    rng = np.random.default_rng(seed)
    logs, rules = [], []
    for _ in range(n_runs):
        n = int(rng.integers(1, 120))
        x = np.sort(rng.uniform(0, 100, n))
        if rng.random() < 0.3:
            x = np.linspace(x[0], x[-1], n)
        if rng.random() < 0.3:
            x = np.floor(x)
        if rng.random() < 0.2:
            x[: n // 3] = 0
        if rng.random() < 0.2:
            x = np.exp(x - x[-1])
        share = rng.choice([0.0, 0.05, 0.6, 1.0], p=[0.4, 0.4, 0.1, 0.1])
        logs.append((x, (rng.random(n) < share).astype(np.uint8)))
        auto = rng.random() < 0.6
        low, high = (0.3, 1.0) if auto else np.sort(rng.choice(np.arange(21) / 20, 2, False))
        warm = rng.choice([0.0, 0.1, 0.5, 0.99])
        rules.append((max(low, warm) if auto else low, high, warm, int(auto)))
    return logs, rules


@pytest.mark.parametrize("keep_spikes", [False, True])
@pytest.mark.parametrize("kernels", [compiled, plain])
def test_windows_are_those_of_the_rule(kernels, keep_spikes):
    logs, rules = random_logs(1 + keep_spikes)
    offsets = np.concatenate([[0], np.cumsum([len(x) for x, _ in logs])])
    x, spike = (np.concatenate(parts) for parts in zip(*logs, strict=True))
    rng = np.random.default_rng(5)
    log = Log(x, rng.normal(3, 1, len(x)), rng.uniform(0.5, 2, len(x)), spike)
    low, high, warm, auto = (np.array(part) for part in zip(*rules, strict=True))
    found = kernels.find_windows(log, offsets, Shares(low, high, warm, auto), keep_spikes)
    enough = []
    for r, ((x, spike), rule) in enumerate(zip(logs, rules, strict=True)):
        rows = by_hand(x, spike, *rule, keep_spikes)
        assert found.count[r] == len(rows)
        if len(rows) == 0:
            assert np.isnan(found.start[r])
            assert np.isnan(found.end[r])
            continue
        assert (found.start[r], found.end[r]) == (x[rows[0]], x[rows[-1]])
        assert (found.first[r], found.last[r]) == (offsets[r] + rows[0], offsets[r] + rows[-1] + 1)
        if len(rows) >= 3:
            enough.append((r, offsets[r] + rows))
    assert len(enough) > 50
    # Their points, of all runs and of some in the middle.
    which = np.array([r for r, _ in enough])
    used = type(found)(*(part[which] for part in found))
    places = np.concatenate([[0], np.cumsum(used.count)])
    for start, stop in ((0, len(which)), (7, 20)):
        n_points = places[stop] - places[start]
        out = tuple(np.full(n_points, np.nan) for _ in range(3))
        scales = np.full((len(which), 2), np.nan)
        kernels.take_windows(log, used, places, out, scales, start, stop)
        for r, rows in enough[start:stop]:
            k = int(np.flatnonzero(which == r)[0])
            here = slice(places[k] - places[start], places[k + 1] - places[start])
            np.testing.assert_array_equal(out[0][here], log.x[rows] / found.end[r])
            np.testing.assert_array_equal(out[1][here], log.y[rows])
            np.testing.assert_array_equal(out[2][here], log.weight[rows])
        alone = compiled.run_scales(*out, places[start : stop + 1] - places[start])
        np.testing.assert_array_equal(scales[start:stop], alone)
        assert np.isnan(scales[stop:]).all()


def test_weights_of_one_take_the_short_way_to_the_same_scales():
    rng = np.random.default_rng(6)
    x = np.sort(rng.uniform(0.1, 1, 400))
    y = 2 + x**-0.5 + rng.normal(0, 0.01, 400)
    ones = np.ones(400)
    almost = ones.copy()
    almost[-1] = 1 + 1e-15  # one that no deviation sees
    offsets = np.array([0, 400])
    found = compiled.run_scales(x, y, ones, offsets)
    np.testing.assert_array_equal(found, compiled.run_scales(x, y, almost, offsets))


def test_threads_change_nothing():
    rng = np.random.default_rng(7)
    n_runs = 3 * compiled.RUNS + 5
    x = np.tile(np.arange(1.0, 31), n_runs)
    log = Log(x, rng.normal(3, 1, x.size), np.ones(x.size), np.zeros(x.size, np.uint8))
    offsets = 30 * np.arange(n_runs + 1)
    one = np.ones(n_runs)
    shares = Shares(0.3 * one, one, 0 * one, np.ones(n_runs, np.int64))
    taken = []
    for threads in (1, 4):
        found = compiled.find_windows(log, offsets, shares, False, threads)
        places = np.concatenate([[0], np.cumsum(found.count)])
        out = tuple(np.empty(places[-1]) for _ in range(3))
        scales = np.empty((n_runs, 2))
        compiled.take_windows(log, found, places, out, scales, threads=threads)
        taken.append((*found, *out, scales))
    for a, b in zip(*taken, strict=True):
        np.testing.assert_array_equal(a, b)
