from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy import stats

from lossfit.kernels import maths


@pytest.fixture(scope="module")
def vectors():
    """The scalar functions over arrays."""
    return {
        "exp": numba.vectorize(["f8(f8)"])(lambda x: maths.exp(x)),
        "log": numba.vectorize(["f8(f8)"])(lambda x: maths.log(x)),
        "sine": numba.vectorize(["f8(f8)"])(lambda u: maths.sincos_turns(u)[0]),
        "cosine": numba.vectorize(["f8(f8)"])(lambda u: maths.sincos_turns(u)[1]),
    }


def test_exp_and_log_agree_with_numpy(vectors):
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-700, 700, 50_000), rng.normal(0, 1e-3, 5000), [0.0]])
    np.testing.assert_allclose(vectors["exp"](x), np.exp(x), rtol=5e-16)
    positive = np.exp(rng.uniform(-690, 690, 50_000))
    near_one = 1 + rng.normal(0, 1e-6, 5000)
    np.testing.assert_allclose(vectors["log"](positive), np.log(positive), rtol=2e-15, atol=1e-15)
    np.testing.assert_allclose(vectors["log"](near_one), np.log(near_one), rtol=1e-12)


def test_exp_is_clipped(vectors):
    np.testing.assert_allclose(vectors["exp"](np.array([-1e4, 1e4])), np.exp([-700.0, 700.0]))


def test_sine_and_cosine_of_turns(vectors):
    u = np.concatenate(
        [np.random.default_rng(2).uniform(0, 1, 20_000), [0, 0.125, 0.25, 0.5, 0.75]]
    )
    np.testing.assert_allclose(vectors["sine"](u), np.sin(2 * np.pi * u), atol=3e-12)
    np.testing.assert_allclose(vectors["cosine"](u), np.cos(2 * np.pi * u), atol=3e-12)


def test_student_t_tail_agrees_with_scipy():
    rng = np.random.default_rng(3)
    nu = np.concatenate([[1.0, 2.0, 3.0], np.exp(rng.uniform(0, 8, 300))])
    z = rng.normal(0, 1, nu.size) * rng.choice([0.01, 1, 10, 40], nu.size)
    found = [maths.student_t_logsf(a, b) for a, b in zip(z, nu, strict=True)]
    np.testing.assert_allclose(found, stats.t.logsf(z, nu), rtol=1e-8, atol=1e-12)
    assert maths.student_t_logsf(0.0, 5.0) == pytest.approx(np.log(0.5))
