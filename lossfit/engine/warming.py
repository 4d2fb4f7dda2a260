"""Compile everything beforehand: what ``lossfit warmup`` does."""

from __future__ import annotations

import sys
from pathlib import Path

from .. import laws
from .._base.errors import DataError


def warm_up() -> tuple[Path, int]:
    """Compile all kernels and the columns of all laws that are not in the cache, with a bar.

    Raises `DataError`: the cache cannot be written.

    Returns
    -------
    folder : Path
        The cache.
    size : int
        Its bytes.
    """
    from tqdm.auto import tqdm

    from ..kernels import cache, compiling
    from ..kernels.warmup import STEPS

    if not cache.writable():
        raise DataError(
            f"compiled kernels cannot be kept in {cache.folder}: set LOSSFIT_CACHE to a folder "
            "that can be written"
        )
    seconds = 0.1 if sys.stderr.isatty() else 5.0  # a log keeps every line
    with tqdm(
        total=len(STEPS) + len(laws.NAMES), desc="compiling", unit=" kernel", mininterval=seconds
    ) as shown:
        done: set[str] = set()

        def advance(_waited: float) -> None:
            ready = {name for name in STEPS if compiling.is_compiled(name)}
            shown.update(len(ready - done))
            done.update(ready)

        # By another Python, as always: see `compiling`.
        if not compiling.wait(tuple(STEPS), advance):
            for name in STEPS:
                if not compiling.is_compiled(name):
                    STEPS[name]()
        advance(0.0)
        for name in laws.NAMES:
            laws.get(name).program.code()
            shown.update(1)
    return Path(cache.folder), cache.size()


def clear_cache() -> tuple[Path, int]:
    """Remove all compiled kernels; gives the folder and the bytes that they had."""
    from ..kernels import cache

    return cache.root(), cache.clear()
