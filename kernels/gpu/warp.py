"""The functions of `lossfit.kernels.team` for a warp of 32 threads, one block each."""

from __future__ import annotations

import math

import numpy as np

from .. import maths, team
from .backend import cuda

__all__ = ["FULL", "TABLE", "WARP", "broadcast", "count_before", "lane_up"]

WARP = 32
FULL = 0xFFFFFFFF


def lane():
    return np.int32(cuda.threadIdx.x)


def width():
    return np.int32(32)


def sync():
    # The barrier of the block, which is one warp: after it the compiler knows that all lanes are
    # together.  It does not know so after one of the warp: shuffles then get a second, slow form,
    # and on sm_80 the barrier is a call, around which registers spill.
    cuda.syncthreads()


def team_sum(value):
    value += cuda.shfl_xor_sync(FULL, value, 16)
    value += cuda.shfl_xor_sync(FULL, value, 8)
    value += cuda.shfl_xor_sync(FULL, value, 4)
    value += cuda.shfl_xor_sync(FULL, value, 2)
    value += cuda.shfl_xor_sync(FULL, value, 1)
    return value


def team_max(value):
    value = max(value, cuda.shfl_xor_sync(FULL, value, 16))
    value = max(value, cuda.shfl_xor_sync(FULL, value, 8))
    value = max(value, cuda.shfl_xor_sync(FULL, value, 4))
    value = max(value, cuda.shfl_xor_sync(FULL, value, 2))
    value = max(value, cuda.shfl_xor_sync(FULL, value, 1))
    return value


def any_lane(condition):
    return cuda.any_sync(FULL, condition)


def team_argbest(value, index):
    for distance in (16, 8, 4, 2, 1):
        other = cuda.shfl_xor_sync(FULL, value, distance)
        other_index = cuda.shfl_xor_sync(FULL, index, distance)
        if other > value or (other == value and other_index < index):
            value = other
            index = other_index
    return index


def broadcast(value, source):
    """The value of one lane, for every lane."""
    return cuda.shfl_sync(FULL, value, source)


def lane_up(value, distance):
    """The value of the lane that far before this one; its own where there is none."""
    return cuda.shfl_up_sync(FULL, value, distance)


def count_before(condition):
    """How many lanes before this one meet the condition, and how many do in all."""
    votes = cuda.ballot_sync(FULL, condition)
    before = votes & ((np.uint32(1) << np.uint32(cuda.threadIdx.x)) - np.uint32(1))
    return np.int32(cuda.popc(before)), np.int32(cuda.popc(votes))


def floor(x):
    return cuda.libdevice.floor(x)


def floor_single(x):
    return cuda.libdevice.floorf(x)


def exp_single(x):
    return math.exp(x)


def log_single(x):
    return math.log(x)


def tolerance_single():
    return 1e-6


# What a port puts in the place of the CPU's functions.
TABLE = {
    team.lane: lane,
    team.width: width,
    team.sync: sync,
    team.team_sum: team_sum,
    team.team_max: team_max,
    team.any_lane: any_lane,
    team.team_argbest: team_argbest,
    team.count_before: count_before,
    maths.floor: floor,
}
SINGLE_TABLE = {
    **TABLE,
    maths.floor: floor_single,
    maths.exp: exp_single,
    maths.log: log_single,
    maths.tolerance: tolerance_single,
}
