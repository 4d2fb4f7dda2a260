"""What holds for every default forecast, and where its one number in nats ends that.

The prior of B, what the schedule takes off the loss, is about 0.19 nats but never more than
0.19/1.5 of the last loss (nor less than a thousandth of the 0.19): between last losses of 0.0015
and 1.5 nothing refers to nats, and losses in other units give the same forecast.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lossfit
from lossfit.laws.annealing import STRENGTH
from tests.properties.strategies import (
    Curve,
    assert_same_draws,
    curves,
    plain,
    runs_of,
)

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")]

LOWEST = 1e-3 * STRENGTH.mean / STRENGTH.share
HIGHEST = STRENGTH.mean / STRENGTH.share
KNOWN = st.sampled_from(["nothing", "total", "cosine", "constant"])


def plan(known: str, end: float) -> dict[str, object]:
    schedules = lossfit.schedules
    return {
        "nothing": {},
        "total": {"total": 3 * end},
        "cosine": {"schedule": schedules.cosine(1.0, 3 * end, 0.01 * end, 0.1, axis="tokens")},
        "constant": {"schedule": schedules.constant(1.0, axis="tokens")},
    }[known]


def plans(known: str, ends: dict[str, float]) -> dict[str, object]:
    """`plan` for runs of different lengths: one that fits each."""
    each = {name: plan(known, end) for name, end in ends.items()}
    words = {word for options in each.values() for word in options}
    return {word: {name: options[word] for name, options in each.items()} for word in words}


def draws_of(curve: Curve, at, **options):
    """Draws of one run at targets, shape (T, D)."""
    answer = lossfit.extrapolate(
        runs_of([curve]), at=at, axis="tokens", random_seed=0, **({"draws": 200} | options)
    )
    return answer.mixed.curves[0]


@given(plain(log_size=(-2.5, -0.5)), KNOWN, st.floats(-3, 1).map(lambda e: 10.0**e))
def test_the_unit_of_the_loss_does_not_matter_between_two_levels(curve, known, factor):
    level = np.array([curve.y[-5:].min(), curve.y[-5:].max()])
    for size in (1, factor):
        assume(size * level[0] > LOWEST and size * level[1] < HIGHEST)
    at = [0.7 * curve.x[-1], 2 * curve.x[-1]]
    options = {"domain": "other", **plan(known, curve.x[-1])}
    before = draws_of(curve, at, **options)
    after = draws_of(Curve(curve.x, curve.y * factor), at, **options)
    spread = before.std(axis=-1, keepdims=True) * factor
    assert_same_draws(after, before * factor, spread)


@given(plain(log_size=(-4, 4)), st.floats(-3, 3).map(lambda e: 10.0**e))
def test_the_unit_of_the_loss_does_not_matter_on_a_constant_rate(curve, factor):
    """There B has no part in the forecast, whatever the level."""
    at = [1.5 * curve.x[-1], 2 * curve.x[-1]]
    # By itself the default law looks whether a loss has the size of a language model's.
    options = {"draws": 2000, "domain": "other", **plan("constant", 1.0)}
    before = draws_of(curve, at, **options)
    bigger = Curve(curve.x, curve.y * factor)
    after = draws_of(bigger, at, **options)
    for a, b in zip(before, after / factor, strict=True):
        np.testing.assert_allclose(
            np.quantile(b, [0.1, 0.5, 0.9]), np.quantile(a, [0.1, 0.5, 0.9]), atol=0.15 * a.std()
        )


@given(plain(log_size=(-1, 1)), KNOWN, st.floats(-8, 6).map(lambda e: 10.0**e))
def test_the_unit_of_the_axis_does_not_matter(curve, known, factor):
    at = np.array([0.7, 1.2, 2]) * curve.x[-1]
    longer = Curve(curve.x * factor, curve.y)
    before = draws_of(curve, at, draws=1000, **plan(known, curve.x[-1]))
    after = draws_of(longer, at * factor, draws=1000, **plan(known, curve.x[-1] * factor))
    if (np.abs(after - before) > 1e-3 * before.std(axis=-1, keepdims=True)).mean() < 0.05:
        return
    # A point on the edge of a bin may have moved to the next one by a bit.
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(
            np.quantile(b, [0.1, 0.5, 0.9]), np.quantile(a, [0.1, 0.5, 0.9]), atol=0.3 * a.std()
        )


@given(plain(shapes=("power",), log_size=(0, 0.5)), st.floats(0.0, 2.0))
def test_a_constant_added_to_the_loss_is_added_to_the_forecast(curve, shift):
    """Above last losses of 1.5 nats, unless the slope is the least that is taken for one."""
    low, high = (Curve(curve.x, curve.y + s) for s in (2.0, 2.0 + shift))
    at = [0.7 * curve.x[-1], 2 * curve.x[-1]]
    runs = [runs_of([c]) for c in (low, high)]
    assume((runs[0].flat("tokens").spike == runs[1].flat("tokens").spike).all())
    slopes = [lossfit.extrapolate(r, at=at, axis="tokens").mixed.forecasts[0].slope for r in runs]
    assume(slopes[0] == pytest.approx(slopes[1], rel=1e-6))
    sigmas = [lossfit.extrapolate(r, at=at, axis="tokens").mixed.forecasts[0].sigma for r in runs]
    assume(sigmas[0] == pytest.approx(sigmas[1], rel=1e-6))
    before, after = (draws_of(c, at) for c in (low, high))
    assert_same_draws(after - shift, before, before.std(axis=-1, keepdims=True))


@given(st.lists(curves(), min_size=2, max_size=6), KNOWN, st.randoms(use_true_random=False))
def test_order_and_company_do_not_matter(some, known, random):
    names = [f"run{i}" for i in range(len(some))]
    ends = {n: c.x[-1] for n, c in zip(names, some, strict=True)}
    at = {n: [1.5 * end, 2.5 * end] for n, end in ends.items()}
    options = {"axis": "tokens", "draws": 60, **plans(known, ends)}
    together = lossfit.extrapolate(runs_of(some, names), at=at, **options)
    order = list(range(len(some)))
    random.shuffle(order)
    shuffled = lossfit.extrapolate(
        runs_of([some[i] for i in order], [names[i] for i in order]), at=at, **options
    )
    np.testing.assert_array_equal(shuffled.mixed.curves, together.mixed.curves[order])
    i = order[0]
    options |= plans(known, {names[i]: ends[names[i]]})
    alone = lossfit.extrapolate(
        runs_of([some[i]], [names[i]]), at={names[i]: at[names[i]]}, **options
    )
    np.testing.assert_array_equal(alone.mixed.curves[0], together.mixed.curves[i])
    asked = lossfit.extrapolate(runs_of(some, names), names[i], at=at, **options)
    np.testing.assert_array_equal(asked.mixed.curves[0], together.mixed.curves[i])


@given(
    st.lists(curves(), min_size=1, max_size=5),
    KNOWN,
    st.lists(st.floats(-3, 3).map(lambda e: 10.0**e), min_size=1, max_size=5),
)
def test_every_number_of_a_forecast_is_finite(some, known, ratios):
    """Whatever the curve, at its start, at its end and a thousand times beyond."""
    runs = runs_of(some)
    names = [f"run{i}" for i in range(len(some))]
    first = {n: c.x[c.x > 0][0] for n, c in zip(names, some, strict=True)}
    at = {
        n: np.maximum(np.array(ratios) * c.x[-1], first[n])
        for n, c in zip(names, some, strict=True)
    }
    options = plans(known, {n: c.x[-1] for n, c in zip(names, some, strict=True)})
    answer = lossfit.extrapolate(runs, at=at, axis="tokens", draws=40, **options)
    frame = answer.frame
    numbers = frame[["at", "horizon_ratio", "mean", "sd", "lower", "median", "upper"]].to_numpy()
    assert np.isfinite(numbers).all()
    assert (frame["lower"] <= frame["upper"]).all()
    assert (frame["sd"] >= 0).all()
    assert len(frame) == len(some) * len(ratios)
    assert np.isfinite(answer.draws.values).all()
    assert str(answer)
    # Targets in another order, and one of them alone, give the same curves at the same places.
    back = {name: values[::-1] for name, values in at.items()}
    turned = lossfit.extrapolate(runs, at=back, axis="tokens", draws=40, **options)
    if all(len(set(values)) == len(values) for values in at.values()):
        np.testing.assert_array_equal(turned.mixed.curves[:, ::-1], answer.mixed.curves)


@given(plain(least=8, log_size=(-3, 3)), st.integers(0, 10**6), st.sampled_from([1e6, -1e6]), KNOWN)
def test_one_wild_point_bends_nothing(curve, where, value, known):
    """The last point too, and in windows that are too short to be judged by themselves."""
    where %= len(curve.x)
    spoilt = curve.y.copy()
    spoilt[where] = value * (1 + abs(curve.y).max())
    if value < 0 and where >= len(spoilt) - 2:
        return  # a fall at the end may be true: it is not left out
    at = 2 * curve.x[-1]
    options = plan(known, curve.x[-1])
    if value < 0:  # the default takes such a loss for one that may be negative: its band is wider
        options["laws"] = "annealing"
    clean = draws_of(curve, at, **options)
    found = draws_of(Curve(curve.x, spoilt), at, **options)
    a, b = (np.quantile(d, [0.05, 0.5, 0.95]) for d in (clean, found))
    width = a[2] - a[0] + 1e-3 * abs(a[1])
    assert abs(b[1] - a[1]) < 5 * width
    assert b[2] - b[0] < 10 * width


def test_three_points_are_not_taken_for_free_of_noise():
    """Runs of three points with noise: their intervals hold the truth about as often as said."""
    rng = np.random.default_rng(0)
    n = 300
    share = np.arange(1, 4) / 3
    floor, size, alpha = rng.uniform(1.5, 3, n), rng.uniform(0.3, 1, n), rng.uniform(0.2, 0.6, n)
    loss = floor[:, None] + size[:, None] * share ** -alpha[:, None]
    some = [Curve(share * 1e4, y) for y in loss + rng.normal(0, 0.03, (n, 3))]
    answer = lossfit.extrapolate(
        runs_of(some), at=1.25e4, axis="tokens", draws=200, **plan("constant", 1.0)
    )
    truth = floor + size * 1.25**-alpha
    frame = answer.frame
    held = (frame["lower"] < truth) & (truth < frame["upper"])
    assert held.mean() > 0.85


def test_a_small_run_beside_a_large_one():
    """The level of a run is its own, not a difference of sums over all."""
    rng = np.random.default_rng(0)
    x = np.arange(1, 61) * 100.0
    y = 2 + x**-0.3 + rng.normal(0, 0.01, 60)
    small, large = Curve(x, 1e-6 * y), Curve(x, 1e12 * y)
    alone = lossfit.extrapolate(runs_of([small], ["a"]), at=12_000, axis="tokens")
    beside = lossfit.extrapolate(runs_of([large, small], ["b", "a"]), at=12_000, axis="tokens")
    np.testing.assert_array_equal(beside.mixed.curves[1], alone.mixed.curves[0])


def test_losses_of_1e_minus_8_are_not_taken_for_rounded():
    rng = np.random.default_rng(0)
    x = np.arange(1, 61) * 100.0
    y = 1e-8 * (2 + x**-0.3 + rng.normal(0, 0.01, 60))
    runs = runs_of([Curve(x, y)])
    assert runs["run0"].decimals is None
    answer = lossfit.extrapolate(runs, at=12_000, axis="tokens")
    assert answer.frame["sd"].iloc[0] < 0.2e-8 + 0.3 * y[-1]
