"""Joint fits of several runs of one model: `lossfit.forecasts.joint`."""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import replace
from importlib import util
from types import ModuleType

import numpy as np
import pytest

from benches import multipower
from lossfit._base.errors import DataError
from lossfit.forecasts.joint import JointConstants, fit_jointly
from lossfit.forecasts.joint_data import Curve, binned
from lossfit.forecasts.joint_posterior import truncation
from lossfit.forecasts.responses import (
    Rate,
    annealing_units,
    basis,
    lr_time,
    multi_power_units,
)

FLAT = {"slope_sd": 1e6, "b_sd": 1e6}
CONSTANT = Rate(np.array([0.0]), np.array([1.0]))


def cosine(total: float, final: float = 0.1, warmup: float = 0.0, nodes: int = 2001) -> Rate:
    u = np.linspace(0, 1, nodes)
    step = warmup + u * (total - warmup)
    return Rate(step, final + (1 - final) * (1 + np.cos(np.pi * u)) / 2)


def cooldown(start: float, total: float, final: float) -> Rate:
    u = np.linspace(0, 1, 501)
    return Rate(start + u * (total - start), 1 - (1 - final) * u)


def truth(rate: Rate, step: np.ndarray, tau: float = 400.0, reference: float = 2e4) -> np.ndarray:
    """A curve of the model with the annealing response on rho^0.65."""
    unit = np.array([[0.0, tau, 0.65, 0.0]])
    phi, response = basis(rate, step, reference, np.array([[0.45, -0.04]]), unit)
    return 3.2 - 0.11 * phi[:, 0] - 0.14 * response[:, 0]


def simulated(rates: list[Rate], rng: np.random.Generator, n: int = 120) -> list[Curve]:
    found = []
    for rate in rates:
        step = np.linspace(2000, 20_000, n)
        loss = truth(rate, step) + 0.001 * rng.standard_normal(n)
        found.append(Curve(step, loss, rate))
    return found


@pytest.fixture(scope="module")
def three() -> list[Curve]:
    rates = [CONSTANT, cosine(20_000), cooldown(8000, 9000, 0.3)]
    return simulated(rates, np.random.default_rng(3))


@pytest.fixture(scope="module")
def oracle(shared) -> ModuleType:
    spec = util.spec_from_file_location("oracle", shared / "prototypes" / "honest_recipe.py")
    module = util.module_from_spec(spec)
    sys.modules["oracle"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------ against the oracle


@pytest.mark.shared
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_oracle(oracle, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(12_000, 24_000)
    nodes = np.linspace(0, 40_000, 8001)
    rates = [
        Rate(nodes, np.interp(nodes, *rate))
        for rate in (CONSTANT, cosine(20_000, rng.uniform(0, 0.3)), cooldown(9000, 14_000, 0.2))
    ]
    new = Rate(nodes, np.interp(nodes, *cosine(rng.uniform(25_000, 40_000))))
    curves = [
        Curve(np.sort(rng.uniform(2500, end, n)), np.empty(n), rate)
        for rate, end, n in zip(rates, (20_000, 22_000, 16_000), (80, 60, 44), strict=True)
    ]
    curves = [
        c._replace(loss=truth(c.rate, c.step) + 0.0015 * rng.standard_normal(len(c.step)))
        for c in curves
    ]
    at = np.sort(rng.uniform(2500, 40_000, 25))
    alphas, offsets = rng.uniform(0.2, 1, 4), rng.uniform(-0.05, 0.03, 3)
    taus, powers = (150.0, 900.0), tuple(rng.uniform(0.5, 1, 2))
    rates_c, betas, gammas = (0.02, 0.2), (0.4, 0.7), (0.5, 0.8)
    kb, slope, own = rng.uniform(0.01, 0.06), rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.8)
    monkeypatch.setattr(oracle, "STACK_ALPHAS", alphas)
    monkeypatch.setattr(oracle, "STACK_OFFSETS", tuple(offsets))
    train = {str(i): (c.step, c.loss, oracle.Schedule(*c.rate)) for i, c in enumerate(curves)}
    test = {"new": (at, None, oracle.Schedule(*new))}
    families = {
        "annealing": [("annealing", tau, p) for p in powers for tau in taus],
        "multi_power": [("multi_power", c, b, g) for b in betas for g in gammas for c in rates_c],
    }
    pairs = np.concatenate([c.loss.reshape(-1, 2).mean(1) for c in curves])
    sigma = oracle.second_difference_sigma(pairs)  # of a pair; it counts twice there
    mine = JointConstants(
        alphas=tuple(alphas), offsets=tuple(offsets), taus=taus, powers=powers, rates=rates_c,
        betas=betas, gammas=gammas, multi_powers=(1.0,), lightest=0.0, reference=reference,
        size=kb * slope, own=own,
        temper=4 * (sigma / binned(curves).sigma) ** 2, **FLAT,
    )  # fmt: skip
    each = {}
    for name, cells in families.items():
        each[name] = oracle.joint_fit(train, test, cells, kb, slope, own, reference)
    each["stack"] = oracle.stack(*each.values())
    for name, found in each.items():
        mean, sd, weight = found["new"]
        centre = weight @ mean
        var = weight @ (sd**2 + mean**2) - centre**2 - 2 * sigma**2
        chosen = tuple(families) if name == "stack" else (name,)
        fitted = fit_jointly(curves, replace(mine, families=chosen))
        ours, spread = fitted.moments(new, at)
        # The oracle takes annealing at the middle of its pieces of 5 steps.
        np.testing.assert_allclose(ours, centre, atol=2e-5)
        np.testing.assert_allclose(spread, np.sqrt(var), rtol=5e-3)


@pytest.mark.shared
def test_published_constants_give_the_published_errors(shared):
    """The multi-power response with its warm-up, by curve, to every digit that is known."""
    stated = {
        "cosine_24000": (0.004428, 0.003278), "constant_24000": (0.003762, 0.001849),
        "wsdcon_9": (0.002926, 0.004935), "wsd_20000_24000": (0.003408, 0.003748),
        "wsdld_20000_24000": (0.003136, 0.003248), "cosine_72000": (0.007445, 0.007265),
        "constant_72000": (0.001580, 0.004776), "wsdcon_3": (0.004487, 0.005669),
        "wsdcon_18": (0.002505, 0.001382),
    }  # fmt: skip
    for i, size in enumerate(multipower.SIZES):
        found = multipower.published_errors(
            multipower.curves(shared / "data" / "curves", size), size
        )
        for name, values in stated.items():
            assert found[name][0] == pytest.approx(values[i], abs=6e-7), (size, name)


@pytest.mark.shared
def test_benchmark_bars(shared):
    for size in multipower.SIZES:
        found = multipower.curves(shared / "data" / "curves", size)
        tests = {name: curve for name, curve in found.items() if name not in multipower.TRAIN}
        assert len(tests) == 6
        fitted = fit_jointly([found[name] for name in multipower.TRAIN])
        mae, _, r2, cover, _ = multipower.score(fitted, tests).mean(axis=0)
        assert mae <= multipower.MAE[size]
        assert r2 >= multipower.R2
        assert multipower.COVERAGE[0] <= cover <= multipower.COVERAGE[1]


# ------------------------------------------------------------------ against dense algebra


def brownian(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    same = np.sign(a)[:, None] == np.sign(b)
    return same * np.minimum(np.abs(a)[:, None], np.abs(b))


@pytest.mark.parametrize("curve", [None, 1])
def test_draws_and_moments_are_those_of_the_gaussian_process(three, curve):
    constants = JointConstants(
        families=("annealing",), alphas=(0.45,), offsets=(-0.04,), taus=(400.0,), powers=(0.65,),
        size=0.02, own=0.3, temper=1.7, reference=15_000.0,
    )  # fmt: skip
    fitted = fit_jointly(three, constants)
    new = cosine(30_000, 0.2)
    at = np.array([40_000.0, 2500.0, 12_000.0, 12_000.0, 15_000.0, 20_500.0, 29_000.0])
    data = fitted.data
    shapes, units = np.array([[0.45, -0.04]]), np.array([[0.0, 400.0, 0.65, 0.0]])

    def design(rate, step):
        phi, response = basis(rate, step, 15_000.0, shapes, units)
        return np.column_stack([np.ones(len(step)), -phi, -response])

    x = np.concatenate([design(c.rate, data.step[data.curve == i]) for i, c in enumerate(three)])
    u, v = np.log(data.step / 15_000), np.log(at / 15_000)
    same = data.curve[:, None] == data.curve
    c_data = 0.02**2 * brownian(u, u) * np.where(same, 1.0, 0.7)
    c_data += np.diag(1.7 * data.sigma**2 / data.points)
    c_cross = 0.02**2 * brownian(v, u) * np.where(data.curve == curve, 1.0, 0.7)
    # Kriging with a prior on the coefficients; L0 is flat.
    prior_mean = np.array([0.0, data.slope, 0.21])
    precision = np.diag([0.0, 1 / (3 * data.slope) ** 2, 1 / 0.105**2])
    inverse, xs = np.linalg.inv(c_data), design(new, at)
    beta_cov = np.linalg.inv(x.T @ inverse @ x + precision)
    beta = beta_cov @ (x.T @ inverse @ data.loss + precision @ prior_mean)
    gain = c_cross @ inverse
    left = xs - gain @ x
    mean = xs @ beta + gain @ (data.loss - x @ beta)
    cov = 0.02**2 * brownian(v, v) - gain @ c_cross.T + left @ beta_cov @ left.T
    ours, sd = fitted.moments(new, at, curve)
    np.testing.assert_allclose(ours, mean, atol=1e-5)
    np.testing.assert_allclose(sd, np.sqrt(np.diag(cov)), rtol=2e-3)
    n = 40_000
    draws = fitted.forecast(new, at, 5, n, curve)
    np.testing.assert_allclose(draws.mean(axis=1), mean, atol=5 * sd.max() / np.sqrt(n))
    scale = np.outer(sd, sd)
    np.testing.assert_allclose(np.cov(draws) / scale, cov / scale, atol=0.03)


def test_draws_have_the_exact_moments_of_the_stack(three):
    fitted = fit_jointly(three)
    assert len(fitted.weight) > 20
    new, at = cooldown(16_000, 30_000, 0.0), np.array([3000.0, 18_000.0, 25_000.0, 60_000.0])
    mean, sd = fitted.moments(new, at)
    n = 20_000
    draws = fitted.forecast(new, at, 11, n)
    assert (np.abs(draws.mean(axis=1) - mean) < 4 * sd / np.sqrt(n)).all()
    np.testing.assert_allclose(draws.std(axis=1), sd, rtol=0.02)


def test_truncated_slope():
    """Where the sign of a is open: draws have a > 0, and the exact moments know it."""
    rng = np.random.default_rng(8)
    step = np.linspace(9000, 10_000, 24)
    curve = Curve(step, 3 + 0.05 * rng.standard_normal(24), CONSTANT)
    constants = JointConstants(
        families=("annealing",), alphas=(0.4,), offsets=(0.0,), taus=(400.0,), powers=(0.65,),
        slope_sd=30.0,
    )  # fmt: skip
    fitted = fit_jointly([curve], constants)
    tail = fitted.mean[0, 1] / np.sqrt(fitted.cov[0, 1, 1])
    assert abs(tail) < 2
    at = np.array([5000.0, 10_000.0, 100_000.0])
    mean, sd = fitted.moments(CONSTANT, at)
    n = 40_000
    draws = fitted.forecast(CONSTANT, at, 2, n)
    assert (np.abs(draws.mean(axis=1) - mean) < 4 * sd / np.sqrt(n)).all()
    np.testing.assert_allclose(draws.std(axis=1), sd, rtol=0.02)
    z = rng.standard_normal(400_000) + 0.7
    lift, lost = truncation(np.array([0.7]))
    assert z[z > 0].mean() == pytest.approx(0.7 + lift[0], abs=0.01)
    assert z[z > 0].var() == pytest.approx(1 - lost[0], abs=0.01)


# ------------------------------------------------------------------ behaviour


def test_recovers_what_it_was_told(three):
    fitted = fit_jointly(three)
    for rate in (cosine(60_000), cooldown(15_000, 18_000, 0.1)):
        at = np.array([4000.0, 12_000.0, 18_000.0, 30_000.0])
        mean, sd = fitted.moments(rate, at)
        assert (np.abs(mean - truth(rate, at)) < 3 * sd).all()
        assert (np.abs(mean - truth(rate, at)) < 0.012).all()
    assert fitted.sigma == pytest.approx(0.001, rel=0.25)
    tissue = fit_jointly(three, JointConstants(families=("annealing",)))
    mean = tissue.weight @ tissue.mean
    # Its reference is 20,000 too, so level, a and B are those of `truth`.
    np.testing.assert_allclose(mean, [3.2, 0.11, 0.14], atol=0.02)


def test_intervals_cover_curves_of_the_model():
    """Curves with the model's discrepancy under schedules that were not fitted."""
    rng = np.random.default_rng(21)
    rates = [CONSTANT, cosine(20_000), cooldown(8000, 9000, 0.3)]
    new, at = cosine(40_000), np.array([5000.0, 15_000.0, 39_000.0])
    size, own = 0.008, 0.5
    constants = JointConstants(size=size, own=own, alphas=(0.3, 0.4, 0.45, 0.5, 0.6, 0.8),
                               families=("annealing",), temper=1.0)  # fmt: skip
    inside = []
    for key in range(60):
        step = np.linspace(2000, 20_000, 80)
        both = np.concatenate([step, at])
        root = np.linalg.cholesky(brownian(*2 * [np.log(both / 2e4)]) + 1e-12 * np.eye(83))
        common = size * np.sqrt(1 - own) * root @ rng.standard_normal(83)
        private = size * np.sqrt(own) * root @ rng.standard_normal((83, 4))
        curves = [
            Curve(step, truth(rate, step) + common[:80] + private[:80, i]
                  + 0.001 * rng.standard_normal(80), rate)
            for i, rate in enumerate(rates)
        ]  # fmt: skip
        real = truth(new, at) + common[80:] + private[80:, 3]
        draws = fit_jointly(curves, constants).forecast(new, at, key, 500)
        low, high = np.quantile(draws, [0.05, 0.95], axis=1)
        inside.append((low <= real) & (real <= high))
    assert 0.82 <= np.mean(inside) <= 0.97  # 0.9 but for the noise of 180 correlated cases


def test_same_key_same_draws(three):
    fitted = fit_jointly(three)
    new, at = cosine(40_000), np.array([15_000.0, 35_000.0])
    first = fitted.forecast(new, at, 4, 300)
    np.testing.assert_array_equal(first, fit_jointly(three).forecast(new, at, 4, 300))
    assert np.abs(first - fitted.forecast(new, at, 5, 300)).min(axis=1).max() > 0
    # The law's part of a draw is that of the draw, whatever is asked.
    without = fit_jointly(three, JointConstants(size=0.0))
    many = without.forecast(new, np.append(at, 50_000.0), 4, 300)
    np.testing.assert_allclose(many[:2], without.forecast(new, at, 4, 300), atol=1e-9)


def test_order_does_not_matter(three):
    new, at = cosine(40_000), np.array([15_000.0, 35_000.0, 4000.0])
    fitted = fit_jointly(three)
    mean, sd = fitted.moments(new, at)
    again = fit_jointly(three[::-1]).moments(new, at[::-1])
    np.testing.assert_allclose(again[0][::-1], mean, atol=1e-8)
    np.testing.assert_allclose(again[1][::-1], sd, rtol=1e-6)
    np.testing.assert_allclose(
        fit_jointly(three[::-1]).moments(new, at, 2)[0], fitted.moments(new, at, 0)[0], atol=1e-8
    )


def test_a_fitted_run_is_known_better_than_a_new_one(three):
    fitted = fit_jointly(three)
    at = np.array([6000.0, 12_000.0])  # beyond the reference g is new in either case
    known, new = fitted.moments(three[1].rate, at, 1), fitted.moments(three[1].rate, at)
    assert (known[1] < 0.9 * new[1]).all()


def test_many_targets_and_blocks_agree(three):
    fitted = fit_jointly(three)
    at = np.linspace(2000, 50_000, 700)
    mean, sd = fitted.moments(cosine(50_000), at)
    again = [fitted.moments(cosine(50_000), at[i : i + 1]) for i in (0, 255, 256, 699)]
    np.testing.assert_allclose(mean[[0, 255, 256, 699]], [m[0] for m, _ in again], rtol=1e-10)
    np.testing.assert_allclose(sd[[0, 255, 256, 699]], [s[0] for _, s in again], rtol=1e-8)


def test_schedules_that_say_nothing_of_the_response():
    """Constant learning rates only: B is its prior, and the forecast says so."""
    rng = np.random.default_rng(1)
    fitted = fit_jointly(simulated([CONSTANT], rng))
    mean, sd = fitted.moments(cosine(20_000, 0.0), np.array([20_000.0]))
    held, held_sd = fitted.moments(CONSTANT, np.array([20_000.0]))
    assert 0.1 < held[0] - mean[0] < 0.25
    assert sd[0] > 5 * held_sd[0]
    np.testing.assert_allclose(fitted.mean[:, 2], 0.21, rtol=1e-3)


def test_few_points_and_unequal_lengths():
    rng = np.random.default_rng(5)
    curves = simulated([CONSTANT, cosine(20_000)], rng, 20)
    long = np.geomspace(2500, 60_000, 3000)
    curves.append(Curve(long, truth(CONSTANT, long) + 0.001 * rng.standard_normal(3000), CONSTANT))
    fitted = fit_jointly(curves)
    assert fitted.reference == 20_000
    assert (fitted.data.points[fitted.data.curve < 2] == 1).all()
    at = np.array([10_000.0, 55_000.0])
    mean, sd = fitted.moments(cosine(60_000), at)
    assert (np.abs(mean - truth(cosine(60_000), at)) < 3.5 * sd).all()


def test_size_is_bounded():
    """Twenty curves of 5,000 points."""
    rng = np.random.default_rng(6)
    rates = [cosine(t, 0.1, nodes=101) for t in np.linspace(2e4, 6e4, 20)]
    curves = simulated(rates, rng, 5000)
    tracemalloc.start()
    fitted = fit_jointly(curves)
    draws = fitted.forecast(CONSTANT, np.linspace(2000, 60_000, 1000), 0, 500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6
    assert len(fitted.data.step) <= 1680
    assert fitted.data.points.sum() == 100_000
    assert np.isfinite(draws).all()


def test_bins():
    step = np.arange(1.0, 5001.0)
    data = binned([Curve(step, 3 + step**-0.5, CONSTANT)])
    assert len(data.step) <= 280
    assert data.points.sum() == 5000
    assert (data.points[:5] == 1).all()  # early, where the curve bends
    assert np.abs(data.loss - 3 - data.step**-0.5).max() < 2e-4
    odd = binned([Curve(step[:41], np.ones(41), CONSTANT)])
    assert odd.points.tolist() == [2.0] * 19 + [3.0]


def test_grids_grow_with_the_runs():
    assert annealing_units(24_000.0, (50.0, 100.0), (0.5, 1.0)).shape == (4, 4)
    assert annealing_units(240_000.0, (50.0, 100.0), (1.0,))[-1, 1] == pytest.approx(1600)
    assert annealing_units(1000.0, (50.0, 100.0), (1.0,))[:, 1].tolist() == [50.0, 100.0]
    assert multi_power_units(24_000.0, (0.1, 0.2), (0.5,), (0.5,))[:, 1].tolist() == [0.2, 0.1]
    assert multi_power_units(96_000.0, (0.1, 0.2), (0.5,), (0.5,))[-1, 1] == pytest.approx(0.025)
    early = fit_jointly([Curve(np.arange(10.0, 2010.0, 20), 3 + np.arange(10.0, 2010.0, 20) ** -0.5,
                               CONSTANT)])  # fmt: skip
    assert (early.offset > -10).all()  # x + x0 stays above 0


def test_lr_time_and_the_multi_power_response():
    rate = Rate(np.array([0.0, 100.0, 100.0, 200.0]), np.array([1.0, 1.0, 0.5, 0.25]))
    at = np.array([250.0, 50.0, 100.0, 150.0])
    np.testing.assert_allclose(lr_time(rate, np.sort(at)), [50, 100, 121.875, 150])
    unit = np.array([[1.0, 0.1, 0.6, 0.5]])
    _, response = basis(rate, at, 100.0, np.array([[0.5, 0.0]]), unit)
    # The slope by a fine sum, the jump at the rate after it.
    t = np.linspace(100, 200, 20_001)
    middle = (t[1:] + t[:-1]) / 2
    level, drop = np.interp(middle, [100, 200], [0.5, 0.25]), 0.25 / 20_000
    x = lr_time(rate, at.copy()[[1, 2, 3, 0]])[[3, 0, 1, 2]]
    for i in range(4):
        jump = 0.5 * (1 - (1 + 0.1 * 0.5**-0.5 * max(x[i] - 100, 0)) ** -0.6)
        since = np.maximum(x[i] - lr_time(rate, middle), 0)
        slope = (drop * (1 - (1 + 0.1 * level**-0.5 * since) ** -0.6)).sum()
        assert response[i, 0] == pytest.approx(jump + slope, abs=6e-4)  # of 13 pieces


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": [1.0, 2.0]}, "one length"),
        ({"step": [1.0, 3.0, 2.0] + [4.0] * 27}, "increase"),
        ({"loss": np.full(30, np.nan)}, "finite"),
        ({"step": [1.0, 2.0], "loss": [3.0, 2.0]}, "2 points"),
        ({"rate": Rate(np.array([1.0, 0.0]), np.array([1.0, 1.0]))}, "decrease"),
        ({"rate": Rate(np.array([0.0]), np.array([-1.0]))}, "0 or more"),
        ({"rate": Rate(np.array([]), np.array([]))}, "at least one"),
        ({"rate": Rate(np.array([0.0]), np.array([np.inf]))}, "finite"),
    ],
)
def test_bad_curves(change, words):
    good = Curve(np.arange(1.0, 31.0), 3 - 0.01 * np.arange(30.0), CONSTANT)
    with pytest.raises(DataError, match=words) as caught:
        fit_jointly([good, good._replace(**change)], names=["fine", "odd"])
    assert "'odd'" in str(caught.value)


def test_bad_requests(three):
    with pytest.raises(DataError, match="at least one curve"):
        fit_jointly([])
    with pytest.raises(DataError, match="needs 20"):
        fit_jointly([Curve(np.arange(1.0, 9.0), np.ones(8), CONSTANT)])
    with pytest.raises(DataError, match="no response is called 'tissue'"):
        fit_jointly(three, JointConstants(families=("tissue",)))
    fitted = fit_jointly(three)
    with pytest.raises(DataError, match="above 0"):
        fitted.moments(CONSTANT, [0.0])
    with pytest.raises(DataError, match="no curve 3"):
        fitted.forecast(CONSTANT, [10.0], curve=3)
