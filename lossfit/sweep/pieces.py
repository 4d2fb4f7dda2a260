"""Pieces of a source: some whole runs that have been read but not cleaned yet.

Cleaning is left to those who fit, so that it is spread over threads and workers, and so that a
piece with a bad run can be divided until the bad run is alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .._base.errors import DataError
from .._base.ragged import Ints, spans
from ..runs.collection import Runs
from ..runs.columns import cut
from ..runs.frames import RowWords
from ..runs.intake import clean
from ..runs.known import Known
from ..runs.raw import Raw

if TYPE_CHECKING:
    import pandas as pd


class Piece(Protocol):
    """Some whole runs."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the runs."""

    @property
    def lengths(self) -> Ints:
        """Rows of each run."""

    def part(self, first: int, last: int) -> Piece:
        """The runs ``first`` to ``last`` (exclusive)."""

    def runs(self) -> Runs:
        """The runs, cleaned; raises `DataError` if one is bad."""

    def digest(self) -> bytes:
        """A hash of all that was read."""


def _update(digest: Any, *values: Any) -> None:
    """Add arrays, texts and None to a hash, each with its kind and size."""
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data.cast("B") if value.size else b"")
        else:
            text = json.dumps(value, default=str, sort_keys=True).encode()
            digest.update(f"{len(text)}:".encode() + text)


def _shifted(where: Any, by: int, row: int) -> str:
    return str(where(row + by))


@dataclass(frozen=True)
class RawPiece:
    """Rows in flat arrays."""

    raw: Raw
    known: Known = field(default_factory=Known)

    @property
    def names(self) -> Sequence[str]:
        """Names of the runs."""
        return self.raw.names

    @property
    def lengths(self) -> Ints:
        """Rows of each run."""
        return np.diff(self.raw.offsets)

    def part(self, first: int, last: int) -> RawPiece:
        """The runs ``first`` to ``last`` (exclusive)."""
        raw = self.raw
        if (first, last) == (0, len(raw.names)):
            return self
        start, stop = int(raw.offsets[first]), int(raw.offsets[last])
        rows = slice(start, stop)
        optional = {
            name: None if (values := getattr(raw, name)) is None else values[rows]
            for name in ("lr", "params", "precision")
        }
        part = replace(
            raw,
            names=raw.names[first:last],
            offsets=raw.offsets[first : last + 1] - start,
            loss=raw.loss[rows],
            axes={axis: values[rows] for axis, values in raw.axes.items()},
            where=partial(_shifted, raw.where, start),
            flags=[f for f in raw.flags if f.run is None],
            **optional,
        )
        return replace(self, raw=part)

    def runs(self) -> Runs:
        """The runs, cleaned."""
        return Runs._of(clean(self.raw, self.known))

    def digest(self) -> bytes:
        """A hash of all that was read."""
        raw, hashed = self.raw, hashlib.blake2b(digest_size=16)
        _update(hashed, "raw", list(raw.names), raw.offsets, raw.loss, raw.lr, raw.params)
        _update(hashed, raw.precision, asdict(self.known))
        for axis, values in sorted(raw.axes.items()):
            _update(hashed, axis, values)
        return hashed.digest()


@dataclass(frozen=True)
class RunsPiece:
    """Runs that are clean already."""

    all: Runs
    first: int = 0
    last: int | None = None

    @cached_property
    def _own(self) -> Runs:
        columns = self.all._columns
        last = len(columns.names) if self.last is None else self.last
        if (self.first, last) == (0, len(columns.names)):
            return self.all
        index = np.arange(self.first, last)
        return Runs._of(cut(columns, index, columns.offsets[index], columns.offsets[index + 1]))

    @property
    def names(self) -> Sequence[str]:
        """Names of the runs."""
        return self.all.names[self.first : self.last]

    @property
    def lengths(self) -> Ints:
        """Rows of each run."""
        offsets = self.all._columns.offsets
        last = len(offsets) - 1 if self.last is None else self.last
        return np.diff(offsets[self.first : last + 1])

    def part(self, first: int, last: int) -> RunsPiece:
        """The runs ``first`` to ``last`` (exclusive)."""
        return RunsPiece(self.all, self.first + first, self.first + last)

    def runs(self) -> Runs:
        """The runs."""
        return self._own

    def digest(self) -> bytes:
        """A hash of all that is known of the runs."""
        c, hashed = self._own._columns, hashlib.blake2b(digest_size=16)
        _update(hashed, "runs", list(c.names), c.offsets, c.loss, c.weight, c.lr, c.base)
        _update(hashed, c.params, c.tokens_per_step, c.gpu_rate, c.spike)
        _update(hashed, {name: asdict(s) for name, s in c.schedules.items()})
        for axis, values in sorted(c.logged.items()):
            _update(hashed, axis, values, c.has[axis])
        return hashed.digest()

    def __reduce__(self) -> tuple[Any, ...]:
        return RunsPiece, (self._own,)  # only these runs travel to a worker


@dataclass(frozen=True)
class LongPiece:
    """One run that has too many rows to be read."""

    name: str
    rows: int

    @property
    def names(self) -> Sequence[str]:
        """Its name."""
        return (self.name,)

    @property
    def lengths(self) -> Ints:
        """Its rows."""
        return np.array([self.rows])

    def part(self, first: int, last: int) -> LongPiece:
        """Itself."""
        return self

    def runs(self) -> Runs:
        """Refused."""
        raise DataError(
            f"run {self.name!r} has {self.rows:,} rows, too many for one run: give every tenth "
            f"row, or means over some rows"
        )

    def digest(self) -> bytes:
        """A hash of what was read."""
        hashed = hashlib.blake2b(digest_size=16)
        _update(hashed, "long", self.name, self.rows)
        return hashed.digest()


@dataclass(frozen=True)
class FramePiece:
    """Rows of a tidy frame, those of a run together (`of_frame` sees to it)."""

    frame: pd.DataFrame
    names: Sequence[str]
    offsets: Ints
    known: Known = field(default_factory=Known)
    words: RowWords | None = None

    @classmethod
    def of_frame(
        cls, frame: pd.DataFrame, known: Known, words: RowWords | None = None
    ) -> FramePiece:
        """Group the rows of a frame by run, in order of first appearance.

        `words` are those for a row, by its label in the frame's index.
        """
        import pandas as pd

        if "run" not in frame.columns:
            return cls(frame, ("run",), np.array([0, len(frame)]), known, words)
        codes, labels = pd.factorize(frame["run"], sort=False)
        names = [str(label) for label in labels]
        if (codes < 0).any():  # rows without a name: a run of their own, which intake refuses
            codes = np.where(codes < 0, len(names), codes)
            names.append("")
        if (np.diff(codes) < 0).any():
            order = np.argsort(codes, kind="stable")
            frame, codes = frame.iloc[order], codes[order]
        return cls(frame, names, spans(np.bincount(codes, minlength=len(names))), known, words)

    @classmethod
    def of_sorted(
        cls, frame: pd.DataFrame, known: Known, words: RowWords | None = None
    ) -> FramePiece:
        """Rows that lie together run by run; a name that comes again is another run."""
        import pandas as pd

        codes, labels = pd.factorize(frame["run"], sort=False)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1])
        names = ["" if codes[start] < 0 else str(labels[codes[start]]) for start in starts]
        return cls(frame, names, np.append(starts, len(frame)).astype(np.int64), known, words)

    @property
    def lengths(self) -> Ints:
        """Rows of each run."""
        return np.diff(self.offsets)

    def part(self, first: int, last: int) -> FramePiece:
        """The runs ``first`` to ``last`` (exclusive)."""
        if (first, last) == (0, len(self.names)):
            return self
        start, stop = int(self.offsets[first]), int(self.offsets[last])
        offsets = self.offsets[first : last + 1] - start
        part = self.frame.iloc[start:stop]
        return replace(self, frame=part, names=self.names[first:last], offsets=offsets)

    def runs(self) -> Runs:
        """The runs, cleaned."""
        from ..runs.frames import raw_from_frame

        words, known_words, index = None, self.words, self.frame.index
        if known_words is not None:

            def words(row: int) -> str:
                return known_words(int(index[row]))

        return Runs._of(clean(raw_from_frame(self.frame, row_words=words), self.known))

    def digest(self) -> bytes:
        """A hash of all that was read."""
        import pandas as pd

        hashed = hashlib.blake2b(digest_size=16)
        _update(hashed, "frame", [str(c) for c in self.frame.columns], asdict(self.known))
        try:
            rows = pd.util.hash_pandas_object(self.frame, index=False).to_numpy()
        except TypeError:  # cells that do not hash, such as lists
            rows = pd.util.hash_pandas_object(self.frame.astype(str), index=False).to_numpy()
        _update(hashed, rows)
        return hashed.digest()
