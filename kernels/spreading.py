"""Runs spread over threads.

Kernels release the GIL, so plain Python threads run them side by side: no threading layer of
Numba's is needed, calls from several threads or after a fork are safe, and results do not depend on
the number of threads because every run is done by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .jit import COMPILED

__all__ = ["CHUNK", "available_threads", "spread"]

CHUNK = 64  # runs that a thread takes at once


def available_threads(threads: int | None, n_runs: int, chunk: int = CHUNK) -> int:
    """Threads for so many runs: as many as asked for, or one for each processor."""
    if not COMPILED:  # plain Python runs one thread at a time
        return 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(threads or available or 1, -(-n_runs // chunk)))


def spread(
    task: Callable[[int, int], None],
    n_runs: int,
    threads: int | None,
    progress: Callable[[int], None] | None,
    chunk: int = CHUNK,
) -> None:
    """Call ``task(start, stop)`` for chunks of runs, on several threads where that pays."""
    chunks = [(i, min(i + chunk, n_runs)) for i in range(0, n_runs, chunk)]

    def one(runs: tuple[int, int]) -> None:
        task(*runs)
        if progress is not None:
            progress(runs[1] - runs[0])

    count = available_threads(threads, n_runs, chunk)
    if count == 1:
        for runs in chunks:
            one(runs)
        return
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(one, chunks):
            pass
