"""A chunk from its runs to its files: the one task of a sweep, whoever does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .layout import chunk_files, layout
from .reading import Chunk
from .work import Failure, Fitted, Spec, fit_chunk


@dataclass(frozen=True)
class Made:
    """The files of a chunk and what its entry in the ledger says."""

    number: int
    runs: int
    hash: str
    files: dict[str, bytes]
    failures: list[Failure]
    flags: dict[str, int]


def make(
    chunk: Chunk,
    spec: Spec,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Made:
    """Fit a chunk and make its files."""
    return finished(chunk, spec, fit_chunk(chunk, spec, threads, progress))


def finished(chunk: Chunk, spec: Spec, fitted: Fitted) -> Made:
    """The files of a fitted chunk."""
    flags = Counter(flag for text in fitted.arrays["flags"] if text for flag in text.split(","))
    return Made(
        number=chunk.number,
        runs=len(chunk.names),
        hash=chunk.hash,
        files=chunk_files(chunk.number, fitted, spec, layout(spec)[0]),
        failures=fitted.failures,
        flags=dict(sorted(flags.items())),
    )
