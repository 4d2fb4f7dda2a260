from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lossfit import DataError, laws, priors
from lossfit.fits.prior_curves import prior_draws
from lossfit.fits.prior_table import prior_table
from lossfit.kernels.scales import MOST_DEVIATIONS, NOISE_FLOOR
from lossfit.kernels.windows import run_scales
from lossfit.laws.priors import KIND_CODES


def by_hand(x, y, weight):
    """Scales of one run, in plain numpy."""
    n = len(x)
    tail = min(n, max(3, int(np.ceil(0.1 * n))))
    every = np.arange(1, n - 1, max(1, -(-(n - 2) // MOST_DEVIATIONS)))
    left = (x[every + 1] - x[every]) / (x[every + 1] - x[every - 1])
    line = left * y[every - 1] + (1 - left) * y[every + 1]
    spread = 1 / weight[every] + left**2 / weight[every - 1] + (1 - left) ** 2 / weight[every + 1]
    loss = abs(np.median(y[-tail:]))
    return loss, max(
        1.4826 * np.median(np.abs(y[every] - line) / np.sqrt(spread)), NOISE_FLOOR * loss
    )


def test_scales_agree_with_numpy():
    rng = np.random.default_rng(3)
    lengths = [3, 4, 5, 11, 40, 129, 130, 131, 400, 1000]
    x = [np.sort(rng.uniform(1, 2, n)) for n in lengths]
    y = [rng.normal(3, 1, n) for n in lengths]
    weight = [rng.uniform(0.2, 3, n) for n in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    found = run_scales(np.concatenate(x), np.concatenate(y), np.concatenate(weight), offsets)
    wanted = [by_hand(*run) for run in zip(x, y, weight, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_noise_scale_estimates_the_noise_of_weight_one():
    rng = np.random.default_rng(4)
    n = 4000
    x = np.geomspace(0.1, 1, n)
    weight = rng.uniform(0.2, 5, n)
    y = 2 + x**-0.5 + rng.normal(0, 0.05, n) / np.sqrt(weight)
    each = [
        run_scales(x[i::20], y[i::20], weight[i::20], np.array([0, n // 20]))[0, 1]
        for i in range(20)
    ]
    assert np.mean(each) == pytest.approx(0.05, rel=0.1)


def test_a_straight_line_has_the_floor_and_zero_loss_a_scale():
    x = np.array([0.1, 0.2, 0.5, 0.9, 1.0])
    found = run_scales(x, 3 - x, np.ones(5), np.array([0, 5]))
    np.testing.assert_allclose(found[0], [2.1, 2.1 * NOISE_FLOOR])
    zeros = run_scales(x, np.zeros(5), np.ones(5), np.array([0, 5]))
    np.testing.assert_array_equal(zeros[0], [1, NOISE_FLOOR])


def table_of(law, loss=2.0, noise=0.01, start=100.0, end=1000.0):
    return prior_table(law, *(np.array([v]) for v in (loss, noise, start, end)))


def test_relative_priors_scale_and_absolute_ones_do_not():
    law = laws.get("power_linear_offset")
    table = table_of(law)
    np.testing.assert_allclose(table.sd[0], [4, 4, 2])
    np.testing.assert_allclose(table.sigma[0], [1, 0.01])
    np.testing.assert_array_equal(table.lower[0], 0)
    np.testing.assert_allclose(table.nonlinear[0, 0], [0.02, 3, KIND_CODES["lognormal"], 0.5, 1])
    np.testing.assert_allclose(table.nonlinear[0, 1], [-0.05, 0.3, KIND_CODES["normal"], 0, 0.1])
    own = law.with_priors(
        {
            "E": priors.normal(1.7, 0.3),
            "sigma": priors.inverse_gamma(3, 0.02),
            "x0": priors.lognormal(50, 0.7),
        }
    )
    table = table_of(own)
    assert (table.mean[0, 0], table.sd[0, 0]) == (1.7, 0.3)
    np.testing.assert_allclose(table.sigma[0], [3, 0.02])
    # 50 steps of 1,000; the spread of logarithms has no unit.
    np.testing.assert_allclose(table.nonlinear[0, 1, 3:], [0.05, 0.7])
    relative = law.with_priors({"x0": priors.lognormal(0.5, 0.7, relative=True)})
    np.testing.assert_allclose(table_of(relative).nonlinear[0, 1, 3:], [0.05, 0.7])


def test_a_prior_outside_its_bounds_is_refused():
    law = laws.get("power").with_priors({"alpha": priors.uniform(5, 6)})
    with pytest.raises(DataError, match=r"alpha, \(5, 6\), lies outside its bounds"):
        table_of(law)


def test_prior_draws_follow_the_prior():
    """Against plain rejection: draw everything uncut, keep what meets the constraints."""
    rng = np.random.default_rng(5)
    law = laws.get("power_linear").with_priors(
        {
            "E": priors.normal(-1, 2),
            "B": priors.normal(0.5, 0.4),
            "alpha": priors.normal(0.2, 0.5),
            "sigma": priors.inverse_gamma(1.5, 0.3),
        }
    )
    table = table_of(law)
    found = prior_draws(table, 0, 4000, rng)
    n = 400_000
    alpha = rng.normal(0.2, 0.5, n)
    sigma = 0.3 * np.sqrt(1.5 / rng.gamma(1.5, size=n))
    linear = table.mean[0][:, None] + table.sd[0][:, None] * sigma / 0.3 * rng.normal(size=(3, n))
    keep = (linear > 0).all(axis=0)
    alpha = alpha[(alpha > 0.02) & (alpha < 3)]
    wanted = [alpha, *linear[:, keep], sigma[keep]]
    for mine, theirs in zip(found, wanted, strict=True):
        assert stats.ks_2samp(mine, theirs).pvalue > 1e-3
