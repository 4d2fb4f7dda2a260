"""Quantiles of rows of draws: the kernel against `lossfit._base.summaries`."""

import numpy as np
import pytest

from tests.gpu import compiled

if (REASON := compiled.missing()) is not None:
    pytest.skip(REASON, allow_module_level=True)

from lossfit._base.summaries import describe
from lossfit._base.summaries import quantiles as expected_quantiles
from lossfit.kernels.gpu import quantiles
from tests.gpu.tested import launched

SHARES = (0.0, 0.05, 0.25, 0.5, 0.777, 0.95, 1.0)


def found(device, rows, single, size=None):
    kernel = quantiles.build(single, size or quantiles.size_for(rows.shape[1]))
    rows = rows.astype(np.float32 if single else np.float64)
    out = np.full((len(rows), 2 + len(SHARES)), 7.0, rows.dtype)
    places = quantiles.places(SHARES, rows.shape[1], single)
    launched(device, kernel, len(rows), (rows, *places, out))
    return out


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("n", [1, 2, 64, 200, 1000])
def test_rows(n, single, new_device):
    rng = np.random.default_rng(n)
    rows = 3 + rng.normal(0, [[1.0], [1e-3], [10.0]], (3, n))
    rows[2] = np.round(rows[2])  # ties
    out = found(new_device(), rows, single)
    if single:
        rows = rows.astype(np.float32).astype(float)
    sd = rows.std(axis=1, keepdims=True) + 1e-12
    mean, spread = describe(rows, 0.9)[:2]
    exact = 1e-12 if not single else 1e-3
    assert (np.abs(out[:, 0] - mean) <= exact * sd[:, 0] + 1e-15).all()
    np.testing.assert_allclose(out[:, 1], spread, rtol=1e-12 if not single else 1e-4, atol=1e-12)
    truth = expected_quantiles(rows, SHARES).T
    assert (np.abs(out[:, 2:] - truth) <= exact * sd).all()


@pytest.mark.parametrize("single", [False, True])
def test_a_row_with_nan_is_nan(single, new_device):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 70))
    rows[1, 69] = np.nan
    rows[2, 3] = np.inf
    out = found(new_device(), rows, single)
    assert np.isnan(out[1]).all()
    assert np.isfinite(out[0]).all()
    assert out[2, 2 + SHARES.index(1.0)] == np.inf
    np.testing.assert_allclose(out[2, 2:-1], expected_quantiles(rows, SHARES[:-1])[:, 2], rtol=1e-6)


def test_rows_may_be_shorter_than_the_size(new_device):
    rows = np.random.default_rng(1).normal(size=(2, 40))
    np.testing.assert_allclose(
        found(new_device(), rows, False, 256), found(new_device(), rows, False), rtol=1e-12
    )


def test_sizes():
    assert [quantiles.size_for(n) for n in (1, 64, 65, 1000, 2048)] == [64, 64, 128, 1024, 2048]
    with pytest.raises(ValueError, match="at most 2048"):
        quantiles.size_for(2049)
