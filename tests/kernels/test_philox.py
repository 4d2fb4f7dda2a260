from __future__ import annotations

import numba
import numpy as np
import pytest
from numba import uint64
from scipy import stats

from lossfit.kernels import philox

ONES = 0xFFFFFFFF


# Known answers of Philox4x32-10: the Random123 distribution's kat_vectors.
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter, key, words):
    assert philox.known_answer(*counter, np.uint64(key[0] | key[1] << 32)) == words


@numba.njit
def variates(n, shape, stream, key):
    """Normals, gammas and uniforms of consecutive counters."""
    out = np.empty((4, n))
    for i in range(n):
        w0, w1, w2, _w3 = philox.philox(uint64(i), uint64(0), stream, uint64(0), key)
        out[0, i], out[1, i] = philox.normal_pair(w0, w1)
        out[2, i] = philox.gamma(shape, uint64(i), stream + uint64(1), key)
        out[3, i] = philox.uniform(w2)
    return out


@pytest.mark.parametrize("shape", [0.4, 1.0, 2.5, 250.0])
def test_distributions(shape):
    first, second, gamma, uniform = variates(100_000, shape, uint64(7), uint64(12345))
    for values, law in (
        (first, stats.norm),
        (second, stats.norm),
        (gamma, stats.gamma(shape)),
        (uniform, stats.uniform),
    ):
        assert stats.kstest(values, law.cdf).pvalue > 1e-3
    assert abs(np.corrcoef([first, second, gamma, uniform])[np.triu_indices(4, 1)]).max() < 0.015


def test_streams_and_keys_differ():
    one = variates(1000, 2.0, uint64(1), uint64(5))
    for stream, key in ((2, 5), (1, 6), (1, 5 + 2**32)):
        other = variates(1000, 2.0, uint64(stream), uint64(key))
        assert abs(np.corrcoef(one[0], other[0])[0, 1]) < 0.1
        assert not np.any(one[3] == other[3])
    assert np.unique(one[3]).size == 1000
