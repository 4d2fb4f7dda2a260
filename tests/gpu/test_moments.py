"""Spectral moments of prefixes and predicted curves: the kernels against the CPU."""

from itertools import pairwise

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit import laws
from lossfit.kernels import compress, driver
from lossfit.kernels.columns import chebyshev
from lossfit.kernels.gpu import moments, predict
from tests.gpu.tested import launched


def curve(rng, n):
    x = np.sort(rng.uniform(0.03, 1.0, n))
    return x, 2 + 0.5 * x**-0.3 + rng.normal(0, 0.01, n), rng.uniform(0.5, 2.0, n)


def on_cpu(x, y, w, centre, cutoffs, order):
    found = np.empty((len(cutoffs), 2, order))
    totals = np.empty((len(cutoffs), 3))
    compress.prefix_moments(x, y, w, centre, cutoffs, order, np.empty((7, len(x))), found, totals)
    return found, totals


@pytest.mark.parametrize("n", [2, 5, 200])
def test_prefixes_are_reproduced(n):
    """Pseudo-points from a prefix's moments give sums of smooth functions over that prefix."""
    rng = np.random.default_rng(n)
    x, y, w = curve(rng, n)
    order = 40
    cutoffs = np.unique(np.concatenate([rng.integers(1, n + 1, 4), [n]]))
    found, totals = on_cpu(x, y, w, 2.0, cutoffs, order)
    u, matrix = chebyshev(order)
    log_x = np.log(x)
    middle, half = (log_x[-1] + log_x[0]) / 2, (log_x[-1] - log_x[0]) / 2
    for f in (np.ones_like, lambda v: v**-0.7, lambda v: v, lambda v: np.exp(-v / 0.2)):
        at_nodes = f(np.exp(middle + half * u))
        for c, stop in enumerate(cutoffs):
            weights, weighted = found[c] @ matrix
            np.testing.assert_allclose(weights @ at_nodes, w[:stop] @ f(x[:stop]), rtol=1e-10)
            direct = (w * (y - 2.0))[:stop] @ f(x[:stop])
            np.testing.assert_allclose(weighted @ at_nodes, direct, rtol=1e-9, atol=1e-10)
    e = y - 2.0
    expected = np.cumsum(np.stack([w, w * e, w * e * e], 1), 0)[cutoffs - 1]
    np.testing.assert_allclose(totals, expected, rtol=1e-12)


@pytest.mark.parametrize("single", [False, True])
def test_moments_of_ragged_runs(single, new_device):
    rng = np.random.default_rng(4)
    number = np.float32 if single else np.float64
    lengths, order = [2, 300, 33, 129], 24
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    x, y, w = (np.concatenate(part) for part in zip(*(curve(rng, n) for n in lengths), strict=True))
    cutoffs = np.array([np.sort(rng.integers(0, n + 1, 3)) for n in lengths], np.int32)
    cutoffs[:, -1] = lengths
    centres = y[offsets[1:] - 1]
    found = np.full((4, 3, 2, order), np.nan)
    totals = np.full((4, 3, 3), np.nan)
    kernel = moments.build(single)
    arrays = [a.astype(number) for a in (x, y, w)]
    arguments = (*arrays, offsets.astype(np.uint32), centres.astype(number), cutoffs, found, totals)
    launched(new_device(), kernel, 4, arguments)
    for r, (a, b) in enumerate(pairwise(offsets)):
        expected, sums = on_cpu(
            x[a:b], y[a:b], w[a:b], centres[r], cutoffs[r].astype(np.int64), order
        )
        scale = np.abs(w[a:b]).sum()
        tolerance = 1e-4 if single else 1e-12  # of a recurrence near its ends
        np.testing.assert_allclose(found[r], expected, rtol=0, atol=tolerance * scale)
        np.testing.assert_allclose(totals[r], sums, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("law", ["power_linear", "power_linear_offset", "broken_power"])
@pytest.mark.parametrize("single", [False, True])
def test_predicted_curves(law, single, new_device):
    rng = np.random.default_rng(5)
    program = laws.get(law).program
    n_parameters = len(program.nonlinear) + program.n_linear + 1
    draws = rng.uniform(0.2, 1.0, (3, n_parameters, 45))
    at = rng.uniform(0.1, 4.0, (3, 2))
    at[1, 1] = np.nan
    expected = driver.predict_batch(program, draws, at)
    kernel = predict.build(program, single)
    number = np.float32 if single else np.float64
    found = predict.predict_on(new_device(), kernel, draws.astype(number), at)
    np.testing.assert_allclose(found, expected, rtol=3e-6 if single else 1e-12, atol=1e-6 * single)
