"""Philox in words of 32 bits, which is what GPUs multiply.

On a CPU the words are held in 64 bits, for its vectoriser; the numbers are the same.
"""

from __future__ import annotations

import numpy as np

from ..team import real

__all__ = ["philox_words", "uniform", "uniform_single"]


def philox_words(c0, c1, c2, c3, key):
    """`philox.philox` in words of 32 bits."""
    k0 = np.uint32(key & np.uint64(0xFFFFFFFF))
    k1 = np.uint32(key >> np.uint64(32))
    c0 = np.uint32(c0)
    c1 = np.uint32(c1)
    c2 = np.uint32(c2)
    c3 = np.uint32(c3)
    for _ in range(10):
        p0 = np.uint64(c0) * np.uint64(0xD2511F53)
        p1 = np.uint64(c2) * np.uint64(0xCD9E8D57)
        c0 = np.uint32(np.uint32(p1 >> np.uint64(32)) ^ c1 ^ k0)
        c1 = np.uint32(p1 & np.uint64(0xFFFFFFFF))
        c2 = np.uint32(np.uint32(p0 >> np.uint64(32)) ^ c3 ^ k1)
        c3 = np.uint32(p0 & np.uint64(0xFFFFFFFF))
        k0 = np.uint32(k0 + np.uint32(0x9E3779B9))
        k1 = np.uint32(k1 + np.uint32(0xBB67AE85))
    return c0, c1, c2, c3


def uniform(word):
    """`philox.uniform` of a word of 32 bits."""
    return (real(word) + 0.5) * 2.3283064365386963e-10


def uniform_single(word):
    """The same, not rounded to 1."""
    return min((real(word) + 0.5) * 2.3283064365386963e-10, 0.99999994)
