"""A coefficient cut at its bound, against SciPy's Student t and numerical integration."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from lossfit.kernels import cut
from lossfit.kernels.jit import plain

N = 4_000


@pytest.mark.parametrize("nu", [4.0, 17.3, 500.0, 1e5])
@pytest.mark.parametrize("bound", [-3.0, -0.6, -0.3, 0.0, 0.8, 4.0, 12.0])
def test_draws_are_of_the_t_beyond_the_bound(nu, bound):
    rng = np.random.default_rng(int(nu) + int(10 * bound) + 50)
    score, propose, keep, value, mass = (
        np.vectorize(plain(getattr(cut, name)))
        for name in ("cut_score", "propose_score", "keep_score", "cut_t", "proposed_mass")
    )
    b = float(score(bound, nu))
    words = rng.integers(0, 2**32, (2, N))
    s = propose(b, rng.normal(size=N), words[0])
    kept = keep(s, b, nu, words[1]) > 0
    t = value(s[kept], bound, nu)
    assert (t >= bound).all()
    left = stats.t.sf(bound, nu)
    p = stats.kstest(1 - stats.t.sf(t, nu) / left, "uniform").pvalue
    assert p > 1e-4
    # kept share x mass of what is proposed = probability x a constant of nu
    constant = np.sqrt(0.5 * (nu - 1)) * np.exp(gammaln(nu / 2) - gammaln(nu / 2 + 0.5))
    assert kept.mean() > (0.45 if nu > 10 else 0.2)
    assert float(mass(b)) * kept.mean() == pytest.approx(left * constant, rel=0.08)
