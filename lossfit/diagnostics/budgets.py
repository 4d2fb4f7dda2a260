"""What each kernel may use of a multiprocessor: the one table that tests hold kernels to.

Registers come in steps: a quarter of a multiprocessor has 16,384 of them, in units of 256 a warp,
so that 128 registers a thread allow 16 blocks of one warp, 168 allow 12, and 255 allow 8.  Shared
memory (and 1 KB a block for the system) allows 12 blocks at 18 KB on an H100, whose
multiprocessors have 228 KB; an A100 has 164 KB, the consumer GPUs 100 KB.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import NamedTuple


class Budget(NamedTuple):
    """Upper limits; spills, stack and local memory are always 0."""

    registers: dict[int, int]  # of a thread, by the major number of the compute capability
    shared: int  # bytes of a block, without the system's


KB = 1024

# Patterns of names in the catalogue; the first that fits holds, for both precisions.
BUDGETS = {
    "fit *, wide": Budget({8: 255, 9: 168, 12: 168}, 23 * KB),
    "fit *": Budget({8: 255, 9: 168, 12: 168}, 18 * KB),
    "exact *": Budget({8: 224, 9: 192, 12: 192}, 24 * KB),
    "ensemble *": Budget({8: 168, 9: 168, 12: 168}, 22 * KB),
    "curve *": Budget({8: 200, 9: 168, 12: 168}, 9 * KB),
    "predict *": Budget({8: 128, 9: 64, 12: 64}, 0),
    "moments": Budget({8: 255, 9: 128, 12: 128}, 7 * KB),
    "*": Budget({8: 255, 9: 168, 12: 168}, 24 * KB),
}


def budget(name: str) -> Budget:
    """The budget of a kernel of the catalogue."""
    return next(limits for pattern, limits in BUDGETS.items() if fnmatch(name, pattern))
