"""Stand-ins that keep large kernels within their registers.

LLVM keeps what it knows: it holds values of shared memory in registers for as long as nothing may
have changed them, computes whatever does not depend on a loop before it, and so on.  In a kernel of
thousands of instructions that costs a hundred registers.  Here it is made to forget.
"""

from __future__ import annotations

import numpy as np

from .. import philox as cpu
from .. import team
from .backend import assembly, types

__all__ = ["SPARING", "hidden", "lane", "philox"]

M0 = np.uint64(0xD2511F53)
M1 = np.uint64(0xCD9E8D57)
W0 = np.uint64(0x9E3779B9)
W1 = np.uint64(0xBB67AE85)
SHIFT = np.uint64(32)
ONE = np.int32(1)

_thread = assembly("mov.u32 $0, %tid.x;", "=r")
_copy = assembly("mov.u32 $0, $1;", "=r,r", types.int32)


def lane():
    """`team.lane`, anew at every call; what was read of arrays before is read again."""
    return _thread()


def hidden(number):
    """An int32 that the compiler does not know, so that it does not unroll loops by it."""
    return _copy(np.int32(number))


def philox(c0, c1, c2, c3, key):
    """`philox.philox` as a loop: of one key, all calls would share the keys of ten rounds."""
    c0, c1, c2, c3 = np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)
    k0, k1 = np.uint32(key), np.uint32(key >> SHIFT)
    left = hidden(10)
    while left > 0:
        p0 = np.uint64(c0) * M0
        p1 = np.uint64(c2) * M1
        c0 = np.uint32(np.uint32(p1 >> SHIFT) ^ c1 ^ k0)
        c1 = np.uint32(p1)
        c2 = np.uint32(np.uint32(p0 >> SHIFT) ^ c3 ^ k1)
        c3 = np.uint32(p0)
        k0 = np.uint32(np.uint64(k0) + W0)
        k1 = np.uint32(np.uint64(k1) + W1)
        left -= ONE
    return np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)


# What a port puts in the place of the CPU's functions, besides `warp.TABLE`.
SPARING = {team.lane: lane, cpu.philox: philox}
