"""Counter-based random numbers: Philox4x32-10.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

Every number is a function of a 64-bit key (seed and run) and a 128-bit counter (draw, block,
stream), so that any draw of any run can be made alone, in any order, on any device.

All words are held in uint64 and below 2**32.  Never mix uint64 with an int literal: Numba makes
that a float64, and the counter stops moving.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import uint64

from .maths import inline, kernel, log, sincos_turns
from .team import real

__all__ = ["gamma", "normal_pair", "philox", "uniform"]

M0 = uint64(0xD2511F53)
M1 = uint64(0xCD9E8D57)
W0 = uint64(0x9E3779B9)
W1 = uint64(0xBB67AE85)
MASK = uint64(0xFFFFFFFF)
SHIFT = uint64(32)


@inline
def _round(c0, c1, c2, c3, k0, k1):
    p0 = c0 * M0
    p1 = c2 * M1
    return (p1 >> SHIFT) ^ c1 ^ k0, p1 & MASK, (p0 >> SHIFT) ^ c3 ^ k1, p0 & MASK


@inline
def philox(c0, c1, c2, c3, key):
    """Four 32-bit words of a counter (four words below 2**32) and a 64-bit key, as uint64."""
    k0 = key & MASK
    k1 = key >> SHIFT
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    # Written out: the vectoriser of the surrounding loop wants no inner loop.
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return _round(c0, c1, c2, c3, k0, k1)


@inline
def uniform(word):
    """Uniform in (0, 1) from one word."""
    return (real(np.int64(word)) + 0.5) * 2.3283064365386963e-10


@inline
def normal_pair(word0, word1):
    """Two independent standard normals from two words (Box-Muller); never beyond 6.8."""
    radius = math.sqrt(-2.0 * log(uniform(word0)))
    sine, cosine = sincos_turns(uniform(word1))
    return radius * sine, radius * cosine


@kernel
def gamma(shape, draw, stream, key):
    """One gamma variate of that shape (Marsaglia and Tsang 2000; boosted for shape < 1)."""
    boosted = shape + 1.0 if shape < 1.0 else shape
    d = boosted - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    block = uint64(0)
    boost = 1.0
    value = d
    for _ in range(1000):  # each try is accepted with probability above 0.95
        w0, w1, w2, w3 = philox(draw, block, stream, uint64(0), key)
        block += uint64(1)
        z, _unused = normal_pair(w0, w1)
        boost = uniform(w3)
        v = 1.0 + c * z
        if v > 0.0:
            v = v * v * v
            if log(uniform(w2)) < 0.5 * z * z + d - d * v + d * log(v):
                value = d * v
                break
    if shape < 1.0:
        value *= math.exp(log(boost) / shape)
    return value


@kernel
def known_answer(c0, c1, c2, c3, key):
    """`philox` for tests, from Python integers."""
    return philox(uint64(c0), uint64(c1), uint64(c2), uint64(c3), uint64(key))
