from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from lossfit import DataError, schedules


def test_cosine_by_hand():
    s = schedules.cosine(peak=3e-4, total=1000, warmup=100, final_ratio=0.1)
    for t in (100, 250, 550, 900, 1000):
        by_hand = 3e-5 + 0.5 * (3e-4 - 3e-5) * (1 + math.cos(math.pi * (t - 100) / 900))
        assert s(t) == pytest.approx(by_hand, rel=1e-12)
    np.testing.assert_allclose(s([0, 50, 100, 5000]), [0, 1.5e-4, 3e-4, 3e-5])


def test_the_other_kinds_by_hand():
    np.testing.assert_allclose(schedules.constant(2e-3, 10)([0, 5, 10, 1e9]), [0, 1e-3, 2e-3, 2e-3])
    linear = schedules.linear(1.0, 110, warmup=10, final_ratio=0.5)
    np.testing.assert_allclose(linear([5, 10, 60, 110, 200]), [0.5, 1, 0.75, 0.5, 0.5])
    two = schedules.two_stage(3.0, 1.0, 8, warmup=2)
    np.testing.assert_allclose(two([1, 2, 7, 8, 99]), [1.5, 3, 3, 1, 1])
    at = [10, 79.9, 80, 85, 100, 300]
    np.testing.assert_allclose(schedules.wsd(1.0, 100, 10)(at), [1, 1, 1, 0.75, 0, 0])
    power = schedules.wsd(3e-4, 100, 10, final_ratio=0.1, shape="exponential")
    by_hand = [3e-4 ** ((100 - t) / 20) * 3e-5 ** ((t - 80) / 20) for t in (80, 85, 100)]
    np.testing.assert_allclose(power([80, 85, 100]), by_hand)
    root = schedules.wsd(1.0, 100, decay=0.2, final_ratio=0.2, shape="sqrt")
    np.testing.assert_allclose(root([80, 85, 100]), [1, 1 - 0.8 * 0.5, 0.2])


def test_helpers():
    assert schedules.one_minus_sqrt(1.0, 100, decay=0.3) == schedules.wsd(
        1.0, 100, decay=0.3, shape="1-sqrt"
    )
    np.testing.assert_allclose(schedules.one_minus_sqrt(1.0, 100)([80, 85, 100]), [1, 0.5, 0])
    assert schedules.cosine_cycle(1.0, 1000, 1.25, 50) == schedules.cosine(1.0, 1250, 50)
    assert schedules.cosine_cycle(1.0, 1000) == schedules.cosine(1.0, 1000)
    long = schedules.cosine(1.0, 1000, 100)
    assert schedules.stretched(long, 500) == long.stretched(500)
    with pytest.raises(DataError, match="stretched needs a schedule"):
        schedules.stretched(3, 500)
    with pytest.raises(DataError, match="cycle must be a positive number"):
        schedules.cosine_cycle(1.0, 1000, 0)


def test_restarts_by_hand():
    s = schedules.cosine_restarts(1.0, 410, 4, warmup=10, final_ratio=0.1)
    np.testing.assert_allclose(s([5, 10, 60, 109.999999, 110, 160, 410, 999]),
                               [0.5, 1, 0.55, 0.1, 1, 0.55, 0.1, 0.1], atol=1e-6)  # fmt: skip
    grown = schedules.cosine_restarts(1.0, 700, 3, growth=2)  # cycles of 100, 200 and 400
    np.testing.assert_allclose(grown([50, 100, 200, 300, 500, 700]), [0.5, 1, 0.5, 1, 0.5, 0],
                               atol=1e-12)  # fmt: skip
    np.testing.assert_allclose(grown.stretched(1500)([700, 1100]), [1, 0.5], atol=1e-12)
    np.testing.assert_allclose(s.scaled(2, "tokens")([120, 220]), [0.55, 1])
    nodes = grown.nodes(64)
    at = np.linspace(0, 700, 2000)
    assert np.abs(np.interp(at, nodes, grown(nodes)) - grown(at)).max() < 2e-3
    with pytest.raises(DataError, match="growth is 1 or more"):
        schedules.cosine_restarts(1.0, 100, 2, growth=0.5)
    with pytest.raises(DataError, match="total must exceed its warm-up"):
        schedules.cosine_restarts(1.0, 100, 2, warmup=200)
    with pytest.raises(DataError, match="warmup must be 0 or more, got 'x'"):
        schedules.cosine_restarts(1.0, 100, 2, warmup="x")


def test_points_are_joined_by_lines_and_held_beyond():
    s = schedules.from_points([10, 20, 40], [1.0, 3.0, 0.0])
    np.testing.assert_allclose(s([0, 10, 15, 30, 40, 99]), [1, 1, 2, 1.5, 0, 0])
    assert (s.total, s.peak) == (40, 3.0)
    np.testing.assert_allclose(s.stretched(80)([20, 30, 60]), [1, 2, 1.5])


def test_stretching_keeps_peak_warmup_and_shares():
    s = schedules.cosine(1.0, 1000, 100, 0.1)
    assert s.stretched(2000) == schedules.cosine(1.0, 2000, 100, 0.1)
    assert schedules.wsd(1.0, 100, decay=0.1).stretched(50) == schedules.wsd(1.0, 50, decay=0.1)
    for endless in (schedules.constant(1.0), schedules.two_stage(1.0, 0.5, 10)):
        assert endless.stretched(500) == endless
    with pytest.raises(DataError, match="exceed its warm-up"):
        s.stretched(100)


def test_scaled_is_the_same_schedule_on_another_axis():
    for s in (
        schedules.cosine(1.0, 1000, 100),
        schedules.wsd(1.0, 1000, 100),
        schedules.two_stage(1.0, 0.3, 400, 50),
        schedules.from_points([1, 500, 900], [1, 0.7, 0.1]),
    ):
        by_tokens = s.scaled(4e6, "tokens")
        step = np.linspace(0, 1200, 50)
        np.testing.assert_allclose(by_tokens(step * 4e6), s(step), atol=1e-12)
        assert (s.axis, by_tokens.axis) == ("step", "tokens")


def test_shapes_equality_and_pickle():
    s = schedules.cosine(1.0, 10)
    assert s(3).shape == ()
    assert s(np.ones((2, 3))).shape == (2, 3)
    assert s == schedules.cosine(1, 10.0)
    assert hash(s) == hash(schedules.cosine(1, 10.0))
    assert s != schedules.linear(1.0, 10, final_ratio=0.1)
    points = schedules.from_points([1, 2], [1, 0.5])
    assert pickle.loads(pickle.dumps(points)) == points
    assert "cosine, peak 1, to step 10" in str(s)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedules.cosine(-1, 10), "peak must be a positive number"),
        (lambda: schedules.cosine(1, 0), "total must be a positive number"),
        (lambda: schedules.cosine(1, 10, 10), "total must exceed its warm-up"),
        (lambda: schedules.cosine(1, 10, -1), "warmup must be 0 or more"),
        (lambda: schedules.cosine(1, 10, final_ratio=2), "final_ratio is a share"),
        (lambda: schedules.cosine("1", 10), "peak must be a positive number"),
        (lambda: schedules.cosine(1, float("inf")), "total must be a positive number"),
        (lambda: schedules.cosine(1, 10, axis="epoch"), "axis is 'step' or 'tokens'"),
        (lambda: schedules.wsd(1, 10, shape="cubic"), "no decay is called 'cubic'"),
        (lambda: schedules.wsd(1, 10, shape="exponential"), "never reaches 0"),
        (lambda: schedules.wsd(1, 10, decay=0), "decay above 0"),
        (lambda: schedules.wsd(1, 100, warmup=50, decay=0.9), "before its warm-up ends"),
        (lambda: schedules.two_stage(1, 2, 0), "switch must be a positive number"),
        (lambda: schedules.from_points([1, 2], [1]), "as many steps as rates"),
        (lambda: schedules.from_points([], []), "at least one"),
        (lambda: schedules.from_points([1, 1], [1, 1]), r"point 1 \(step 1, lr 1\)"),
        (lambda: schedules.from_points([1, 2], [1, -1]), "point 1"),
        (lambda: schedules.from_points([1, math.nan], [1, 1]), "point 1"),
    ],
)
def test_numbers_out_of_range(make, words):
    with pytest.raises(DataError, match=words):
        make()
