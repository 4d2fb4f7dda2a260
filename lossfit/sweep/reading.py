"""Sources of runs as pieces, and pieces as chunks of a fixed number of runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._base.errors import DataError
from ..runs.arrays import raw_from_arrays
from ..runs.axes import AXES
from ..runs.collection import Runs
from ..runs.known import Known
from .pieces import FramePiece, Piece, RawPiece, RunsPiece

MOST_NAMES = 1 << 24  # names that are remembered to find one that comes again: 8 bytes each
PARQUET = (".parquet", ".pq", ".parq")


@dataclass
class Input:
    """A source that has been opened."""

    kind: str  # "runs", "frame", "parquet", "files" or "iterator"
    pieces: Iterator[Piece]
    # a hash of the whole source; "" for an iterator, which is known only as far as it was read
    identity: str = ""
    # runs, rows: how many there are, where that is known beforehand
    runs: int | None = None
    rows: int | None = None
    # a file that is not any more what `identity` is of; "" for none
    changed: Callable[[], str] = str


@dataclass(frozen=True)
class Chunk:
    """The runs of one chunk of the store."""

    number: int
    first: int  # position of its first run in the source
    pieces: list[Piece]
    names: list[str]
    repeats: tuple[int, ...] = ()  # positions within the chunk of runs whose name came before
    hash: str = ""  # of all that was read of these runs

    @property
    def rows(self) -> int:
        """Points of its runs."""
        return sum(int(piece.lengths.sum()) for piece in self.pieces)


def open_source(source: Any, axis: str, known: Known, shard: tuple[int, int] | None) -> Input:
    """Find out what a source is.

    Raises `DataError`: nothing that runs can be read from.
    """
    if isinstance(source, Runs):
        runs = source if shard is None else source.select(_share(source.names, shard))
        whole = RunsPiece(runs)
        return Input("runs", iter([whole]), whole.digest().hex(), len(runs))
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        frame = FramePiece.of_frame(source, known)
        if shard is not None:
            frame = frame.part(*_range(len(frame.names), shard))
        return Input("frame", iter([frame]), frame.digest().hex(), len(frame.names))
    if _is_parquet(source):
        from .parquet import Parquet

        dataset = Parquet(source, known, shard)
        return Input(
            "parquet", dataset.pieces(), dataset.identity(), rows=dataset.rows,
            changed=dataset.changed,
        )  # fmt: skip
    if isinstance(source, (str, os.PathLike)) or _all_paths(source):
        from .logs import read_logs

        many = source if isinstance(source, (list, tuple)) else [source]
        logs = read_logs(many, known)
        if isinstance(logs, Runs):
            return open_source(logs, axis, known, shard)
        source = logs
    if _of_frames(source):
        digests = b"".join(piece.digest() for piece in source)
        if shard is not None:
            source = [p.part(*_range(len(p.names), shard)) for p in source]
        count = sum(len(piece.names) for piece in source)
        digest = hashlib.blake2b(digests, digest_size=16).hexdigest()
        return Input("frame", iter(source), digest, count)
    if isinstance(source, Iterable):
        items: Iterable[Any] = [source] if _is_arrays(source) else source
        return Input("iterator", _items(iter(items), axis, known, shard))
    raise DataError(
        f"a source is Runs, a tidy frame, a Parquet dataset (path or pyarrow.dataset), a path that "
        f"lossfit.load reads, or an iterator of Runs, frames or (names, x, loss, offsets); got "
        f"{type(source).__name__}"
    )


def _is_parquet(source: Any) -> bool:
    if type(source).__module__.startswith("pyarrow") and hasattr(source, "get_fragments"):
        return True
    paths = list(source) if isinstance(source, (list, tuple)) else [source]
    if not paths or not all(isinstance(item, (str, os.PathLike)) for item in paths):
        return False
    paths = [os.path.expanduser(item) for item in paths]
    return all(
        os.fspath(item).endswith(PARQUET)
        or (os.path.isdir(item) and any(p.suffix in PARQUET for p in Path(item).rglob("*.p*q*")))
        for item in paths
    )


def _all_paths(source: Any) -> bool:
    return (
        isinstance(source, (list, tuple))
        and bool(source)
        and all(isinstance(item, (str, os.PathLike)) for item in source)
    )


def _of_frames(source: Any) -> bool:
    return isinstance(source, list) and all(isinstance(item, FramePiece) for item in source)


def _is_arrays(item: Any) -> bool:
    if isinstance(item, Mapping):
        return "loss" in item
    return isinstance(item, tuple) and len(item) == 4 and not isinstance(item[0], Runs)


def _range(count: int, shard: tuple[int, int]) -> tuple[int, int]:
    return count * shard[0] // shard[1], count * (shard[0] + 1) // shard[1]


def _share(names: Sequence[str], shard: tuple[int, int]) -> Sequence[str]:
    first, last = _range(len(names), shard)
    if first == last:
        raise DataError(f"there are {len(names)} runs for {shard[1]} shards: use fewer")
    return names[first:last]


def _items(
    items: Iterator[Any], axis: str, known: Known, shard: tuple[int, int] | None
) -> Iterator[Piece]:
    for number, item in enumerate(items):
        if shard is not None and number % shard[1] != shard[0]:
            continue
        yield _piece(item, number, axis, known)


def _piece(item: Any, number: int, axis: str, known: Known) -> Piece:
    """One item of an iterator."""
    if isinstance(item, Runs):
        return RunsPiece(item)
    if hasattr(item, "iloc") and hasattr(item, "columns"):
        return FramePiece.of_frame(item, known)
    try:
        if isinstance(item, Mapping):
            on = next((a for a in AXES if a in item), axis)
            x = item[on] if on in item else item["x"]
            parts = item.get("names"), x, item["loss"], item.get("offsets"), item.get("weight")
        elif isinstance(item, tuple) and len(item) in (4, 5):
            on, parts = axis, (*item, None)[:5]
        else:
            raise DataError(
                f"it is a {type(item).__name__}; items are Runs, tidy frames, (names, x, loss, "
                f"offsets) or a dict of these"
            )
        names, x, loss, offsets, weight = parts
        on = "step" if on == "auto" else on
        return RawPiece(raw_from_arrays(on, x, loss, offsets, names, weight), known)
    except (DataError, KeyError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"item {number} of the source: {what}") from None


@dataclass
class Seen:
    """Which names came before, by their 64-bit hashes."""

    sorted: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def repeats(self, names: Sequence[str]) -> tuple[int, ...]:
        """Positions of names that came before, here or in earlier calls."""
        new = np.fromiter(map(hash, names), np.int64, len(names))
        place = np.searchsorted(self.sorted, new)
        inside = place < len(self.sorted)
        old = np.zeros(len(new), bool)
        old[inside] = self.sorted[place[inside]] == new[inside]
        first = np.zeros(len(new), bool)
        first[np.unique(new, return_index=True)[1]] = True
        old |= ~first
        if len(self.sorted) < MOST_NAMES:
            fresh = np.sort(new[~old])
            self.sorted = np.insert(self.sorted, np.searchsorted(self.sorted, fresh), fresh)
        return tuple(np.flatnonzero(old).tolist())


def chunks(pieces: Iterator[Piece], size: int) -> Iterator[Chunk]:
    """Chunks of `size` runs each (the last one of fewer), in order."""
    seen = Seen()
    number = 0
    waiting: list[Piece] = []
    runs_waiting = 0
    for piece in pieces:
        at, count = 0, len(piece.names)
        while at < count:
            take = min(size - runs_waiting, count - at)
            waiting.append(piece.part(at, at + take))
            at, runs_waiting = at + take, runs_waiting + take
            if runs_waiting == size:
                yield _chunk(number, size, waiting, seen)
                number, waiting, runs_waiting = number + 1, [], 0
    if waiting:
        yield _chunk(number, size, waiting, seen)


def _chunk(number: int, size: int, pieces: list[Piece], seen: Seen) -> Chunk:
    names = [name for piece in pieces for name in piece.names]
    hashed = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        hashed.update(piece.digest())
    return Chunk(number, number * size, pieces, names, seen.repeats(names), hashed.hexdigest())
