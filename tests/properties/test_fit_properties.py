"""What holds for every fit: units do not matter, order does not, and an answer is a number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lossfit
from lossfit import priors
from tests.properties.strategies import (
    Curve,
    assert_same_draws,
    curves,
    plain,
    runs_of,
)

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore::lossfit.LossfitWarning")]

LAWS = st.sampled_from(["power", "power_linear"])
FACTOR = st.floats(-8, 8).map(lambda e: 10.0**e)


def assert_same_posterior(found, wanted, fit) -> None:
    """Draws agree; on curves that are free of noise, where sums lose what matters, medians do.

    Draws have shape (n_runs, n_parameters, n_draws), and `fit` is the one that gave `wanted`.
    """
    sd = np.std(wanted, axis=-1, keepdims=True)
    losses = fit.padded()[1]
    noisy = np.median(fit.draws[:, -1], axis=-1) > 1e-3 * np.ptp(
        np.where(np.isnan(losses), np.nanmin(losses, axis=1, keepdims=True), losses), axis=1
    )
    exact = fit.info["status"] == 0  # the ensemble, where exact draws are too rare, is chaotic
    for r in np.flatnonzero(exact):
        if noisy[r]:
            assert_same_draws(found[r], wanted[r], sd[r] + 1e-7 * np.abs(wanted[r]))
        else:
            gap = np.median(found[r], axis=-1) - np.median(wanted[r], axis=-1)
            size = np.abs(wanted[r]).max(axis=-1)
            assert (np.abs(gap) < sd[r, :, 0] + 1e-3 * size).all()


@given(st.lists(curves(), min_size=1, max_size=4), LAWS, FACTOR)
def test_the_unit_of_the_loss_does_not_matter(some, law, factor):
    """E, A, B and sigma are multiplied by it, alpha stays."""
    bigger = [Curve(c.x, c.y * factor) for c in some]
    assume(all(1e-9 < np.abs(c.y).max() < 1e15 or not c.y.any() for c in bigger))
    before, after = (lossfit.fit(runs_of(c), law, draws=100) for c in (some, bigger))
    unit = np.full((len(some), len(before.parameters), 1), factor)
    unit[:, 0] = 1
    for r, (x, y, _) in enumerate(zip(*before.padded(), strict=True)):
        if not y[~np.isnan(x)].any():  # a window of zeros has no unit
            unit[r] = 1
    assert_same_posterior(after.draws, before.draws * unit, before)


@given(st.lists(curves(), min_size=1, max_size=4), LAWS, FACTOR)
def test_the_unit_of_the_axis_does_not_matter(some, law, factor):
    """The scaled parameters stay, and so does a prediction at the same place."""
    longer = [Curve(c.x * factor, c.y) for c in some]
    assume(all((np.diff(c.x) > 0).all() for c in longer))
    before, after = (lossfit.fit(runs_of(c), law, draws=100) for c in (some, longer))
    # A multiplication may move a point by one bit, and over the edge of a window by chance.
    assume((before.count == after.count).all())
    assert_same_posterior(after.draws, before.draws, before)
    at = np.array([[0.5 * c.x[-1], 2 * c.x[-1]] for c in some])
    assert_same_posterior(after.curves(at * factor), before.curves(at), before)


@given(plain(shapes=("power",), log_size=(-1, 1)), st.floats(0.1, 20))
def test_a_constant_added_to_the_loss_goes_to_the_floor(curve, shift):
    """Where priors do not refer to the size of the loss and E >= 0 cuts nothing off."""
    wide = {name: priors.normal(0, 1e5) for name in "EA"}
    wide["sigma"] = priors.inverse_gamma(1, 0.02)
    runs = [runs_of([Curve(curve.x, curve.y + s)]) for s in (100, 100 + shift)]
    assume((runs[0].flat("tokens").spike == runs[1].flat("tokens").spike).all())
    low, high = (lossfit.fit(r, "power", draws=400, priors=wide) for r in runs)
    assume(low.draws[0, 1].min() > 20 and low.info["status"][0] == high.info["status"][0] == 0)
    sd = low.draws[0].std(axis=1)
    gap = np.median(high.draws[0], axis=1) - np.median(low.draws[0], axis=1)
    gap[1] -= shift
    assert (np.abs(gap) < 0.1 * sd + 1e-9).all(), gap / sd


@given(st.lists(curves(), min_size=2, max_size=6), LAWS, st.randoms(use_true_random=False))
def test_order_and_company_do_not_matter(some, law, random):
    """Bit by bit; also for draws of other runs of the same name in another batch."""
    names = [f"run{i}" for i in range(len(some))]
    together = lossfit.fit(runs_of(some, names), law, draws=50)
    order = list(range(len(some)))
    random.shuffle(order)
    shuffled = lossfit.fit(
        runs_of([some[i] for i in order], [names[i] for i in order]), law, draws=50
    )
    np.testing.assert_array_equal(shuffled.draws, together.draws[order])
    np.testing.assert_array_equal(shuffled.info, together.info[order])
    i = order[0]
    alone = lossfit.fit(runs_of([some[i]], [names[i]]), law, draws=50)
    np.testing.assert_array_equal(alone.draws[0], together.draws[i])
    summary = lossfit.fit(runs_of(some, names), law, draws=50, keep="summary").summary()
    kept = summary[["mean", "lower", "upper"]].to_numpy()
    full = together.summary()[["mean", "lower", "upper"]].to_numpy()
    np.testing.assert_allclose(kept, full, rtol=1e-6)


@given(plain(), LAWS)
def test_the_same_run_under_two_names(curve, law):
    """Other draws of the same posterior."""
    fit = lossfit.fit(runs_of([curve, curve], ["a", "b"]), law, draws=1000)
    a, b = fit.draws
    assert not np.array_equal(a, b)
    assert fit.info["status"][0] == fit.info["status"][1]
    assume(fit.info["status"][0] == 0)
    # Both are exact and independent draws: their ranks say whether of the same distribution.
    for mine, other in zip(a, b, strict=True):
        rank = np.searchsorted(np.sort(mine), other).mean() / 1000
        assert abs(rank - 0.5) < 6 * np.sqrt(1 / 6000)


@given(
    st.lists(curves(), min_size=1, max_size=5), st.sampled_from(lossfit.laws.NAMES[:4]), st.data()
)
def test_every_number_of_a_fit_is_finite(some, law, data):
    """Whatever the curve: constant, falling to zero, one wild point, three points."""
    before = [c.y.copy() for c in some]
    runs = runs_of(some)
    fit = lossfit.fit(runs, law, draws=40)
    assert np.isfinite(fit.draws).all()
    assert (fit.draws[:, -1] > 0).all()
    ratio = 10.0 ** data.draw(st.floats(-3, 3))
    assert np.isfinite(fit.curves(ratio * fit.end[:, None])).all()
    summary = fit.summary()
    assert np.isfinite(summary[["mean", "sd", "lower", "upper", "ess"]].to_numpy()).all()
    assert (summary["lower"] <= summary["upper"]).all()
    assert np.isfinite(fit.residuals().drop(columns="run").to_numpy()).all()
    assert np.isfinite(fit.diagnostics[["n_points", "bound_share"]].to_numpy()).all()
    for c, y in zip(some, before, strict=True):
        np.testing.assert_array_equal(c.y, y)


@given(
    alpha=st.floats(0.1, 1.5),
    floor=st.floats(0, 5),
    n=st.integers(12, 400),
    size=st.floats(-8, 8).map(lambda e: 10.0**e),
    end=st.floats(0, 18).map(lambda e: 10.0**e),
)
def test_a_curve_without_noise_is_found_again(alpha, floor, n, size, end):
    x = np.arange(1, n + 1) / n

    def loss(share):
        return size * (floor + share**-alpha)

    fit = lossfit.fit(runs_of([Curve(x * end, loss(x))]), "power", window="all", draws=1000)
    share = np.array([0.5, 1, 2])
    low, middle, high = np.quantile(fit.curves(share[None] * end)[0], [0.002, 0.5, 0.998], axis=-1)
    truth = loss(share)
    slack = 1e-3 * truth
    assert ((low - slack < truth) & (truth < high + slack)).all(), (low, truth, high)
    # What is left is the curve's own bend between neighbours, which is taken for noise.
    np.testing.assert_allclose(middle, truth, rtol=0.1 if n < 50 else 0.01)


@given(plain(least=8, log_size=(-8, 4)), st.integers(0, 10**6), st.sampled_from([1e6, -1e6]), LAWS)
def test_one_wild_point_is_as_if_it_was_not_there(curve, where, value, law):
    """A million among losses of any usual size is a spike, wherever it stands."""
    n = len(curve.x)
    where %= n
    assume(value > 0 or where < n - 2)  # a fall at the end may be true: it is not left out
    spoilt = curve.y.copy()
    spoilt[where] = value * (1 + abs(curve.y).max())
    runs = runs_of([Curve(curve.x, spoilt)])
    spike = runs.flat("tokens").spike
    assert spike[where]
    fit = lossfit.fit(runs, law, draws=100)
    assert "spike" in fit.flags[0]
    assert (np.abs(fit.predict([curve.x[-1]]).values) < 1e3 * (1 + np.abs(curve.y).max())).all()
    less = runs_of([Curve(np.delete(curve.x, where), np.delete(curve.y, where))])
    if where < n - 1 and (less.flat("tokens").spike == np.delete(spike, where)).all():
        np.testing.assert_array_equal(fit.draws, lossfit.fit(less, law, draws=100).draws)


@pytest.mark.parametrize("law", ["power", "power_linear"])
@pytest.mark.parametrize("value", [2.5, 1e-8, 1e8, 0.0, -3.0])
def test_losses_that_are_all_equal(law, value):
    fit = lossfit.fit(runs_of([Curve(np.arange(1.0, 41), np.full(40, value))]), law, draws=200)
    assert "constant" in fit.flags[0]
    here = fit.predict([20.0, 40.0]).values
    assert np.isfinite(here).all()
    if value > 0:
        np.testing.assert_allclose(np.median(here, axis=(0, 1)), value, rtol=0.01)


def test_a_million_points():
    """One run; its posterior is that of the noise, sd over root n."""
    rng = np.random.default_rng(0)
    x = np.arange(1, 1_000_001.0)
    y = 2 + (x / 1e6) ** -0.4 + rng.normal(0, 0.1, x.size)
    fit = lossfit.fit(runs_of([Curve(x, y)]), "power", draws=200)
    assert fit.count[0] == 700_001
    np.testing.assert_allclose(np.median(fit.draws[0], axis=1), [0.4, 2, 1, 0.1], rtol=0.02)
    end = fit.predict([1e6]).values
    assert end.mean() == pytest.approx(3, abs=6 * end.std())
    assert end.std() < 4 * 0.1 / np.sqrt(700_000)
