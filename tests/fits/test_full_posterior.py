from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lossfit import laws, priors
from lossfit.fits.full_posterior import LogPosterior
from lossfit.fits.prior_table import prior_table
from tests.laws import formulas


def random_target(name, rng, dof):
    """A posterior with random data and priors."""
    law = laws.get(name)
    first = law.nonlinear[0]  # its prior is of any family
    low, high = max(first.low, 0.0), first.high
    place = low + (high - low) * rng.uniform(0.1, 0.3)
    kinds = [
        priors.lognormal(place, rng.uniform(0.3, 1)),
        priors.normal(place, (high - low) * rng.uniform(0.1, 0.3)),
        priors.uniform(low + 0.01 * (high - low), low + (high - low) * rng.uniform(0.5, 0.8)),
    ]
    own = {p.name: priors.normal(rng.normal(0, 1), rng.uniform(0.5, 3)) for p in law.linear}
    own[first.name] = kinds[rng.integers(3)]
    own["sigma"] = priors.inverse_gamma(rng.uniform(0.5, 3), rng.uniform(0.05, 0.5))
    law = law.with_priors(own)
    n = int(rng.integers(5, 30))
    x = np.sort(rng.uniform(0.2, 1, n))
    x[-1] = 1.0
    table = prior_table(law, np.array([2.0]), np.array([0.1]), x[:1] * 500, np.array([500.0]))
    target = LogPosterior(law, x, rng.normal(2, 0.5, n), rng.uniform(0.5, 2, n), table, 0, dof)
    return target, law, table


def random_sets(law, table, rng, n=6):
    theta = np.empty((n, len(law.parameters) + 1))
    d = len(law.nonlinear)
    low, high = table.nonlinear[0, :, 0], table.nonlinear[0, :, 1]
    theta[:, :d] = low + (high - low) * rng.uniform(0.1, 0.4, (n, d))
    theta[:, d:-1] = rng.uniform(0.05, 2, (n, len(law.linear)))
    theta[:, -1] = np.log(rng.uniform(0.05, 0.6, n))
    return theta


def by_hand(target, law, table, theta, dof):
    """Log density from scipy.stats, term by term."""
    d = len(law.nonlinear)
    sigma = np.exp(theta[-1])
    shape, scale = table.sigma[0]
    out = stats.invgamma(shape, scale=shape * scale**2).logpdf(sigma**2) + np.log(2 * sigma**2)
    spread = table.sd[0] * sigma / scale
    out += stats.norm(table.mean[0], spread).logpdf(theta[d:-1]).sum()
    for value, (_, _, code, first, second) in zip(theta[:d], table.nonlinear[0], strict=True):
        if code == 2:
            out += stats.lognorm(second, scale=first).logpdf(value)
        elif code == 1:
            out += stats.norm(first, second).logpdf(value)
        else:
            out += stats.uniform(first, second - first).logpdf(value)
    terms = formulas.columns(law, target.x, theta[:d, None])[0]
    curve = terms @ theta[d:-1]
    each = sigma / np.sqrt(target.weight)
    noise = stats.norm(0, each) if dof is None else stats.t(dof, 0, each)
    return out + noise.logpdf(target.y - curve).sum()


@pytest.mark.parametrize("name", laws.NAMES)
@pytest.mark.parametrize("dof", [None, 4.0])
def test_density_agrees_with_scipy_up_to_a_constant(name, dof):
    rng = np.random.default_rng([laws.NAMES.index(name), int(dof or 0)])
    for _ in range(5):
        target, law, table = random_target(name, rng, dof)
        theta = random_sets(law, table, rng)
        found = target.log_posterior(theta)
        wanted = np.array([by_hand(target, law, table, row, dof) for row in theta])
        np.testing.assert_allclose(found - found[0], wanted - wanted[0], rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("name", laws.NAMES)
def test_coordinates_of_walkers_go_there_and_back_with_their_jacobian(name):
    rng = np.random.default_rng(7)
    target, law, table = random_target(name, rng, None)
    theta = random_sets(law, table, rng)
    walkers = target.to_walkers(theta)
    back, jacobian = target.to_parameters(walkers)
    np.testing.assert_allclose(back, theta, rtol=1e-6)
    k = theta.shape[1]
    for row, log_jacobian in zip(walkers, jacobian, strict=True):
        steps = 1e-5 * np.eye(k)
        up, down = (target.to_parameters(row + s * steps)[0] for s in (1, -1))
        numeric = np.linalg.slogdet((up - down).T / 2e-5)[1]
        assert log_jacobian == pytest.approx(numeric, abs=1e-4)


def test_what_the_prior_excludes_has_no_density():
    rng = np.random.default_rng(8)
    target, law, table = random_target("power_linear", rng, None)
    theta = np.repeat(random_sets(law, table, rng, 1), 3, axis=0)
    theta[0, 1] = -0.01
    theta[1, 0] = 3.5
    found = target.log_posterior(theta)
    assert np.isneginf(found[:2]).all()
    assert np.isfinite(found[2])
