"""A log that grows: only what was added is read from the disk, whatever happens to the file.

========================================  =====================================================
what happened                             what is read
========================================  =====================================================
lines were added                          these
the file was replaced, or truncated, and  the new one, after the points of the old one, with
the run goes on (log rotation)            what the old one got in between
it was replaced or truncated, and the     the new one alone; `Log.read` says so
run begins again
it was rewritten in place                 all of it
========================================  =====================================================

Every look still parses the whole log: cleaning a run needs all its points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError

if TYPE_CHECKING:
    from ..runs.collection import Runs
    from ..sources import Source

AGAIN = "the log was started again"
ON = "the log was rotated, and goes on"
COMPARED = 1 << 16  # bytes at the head of a file, and before what is new, that tell another file
PLAIN = (".gz", ".parquet", ".pq")  # endings of files that are rewritten, not added to


@dataclass
class Log:
    """The log and what was last seen of it."""

    path: Path
    reading: dict[str, Any]  # options of `lossfit.sources.survey`
    bytes_read: int = 0  # read from the disk so far, but for what tells one file from another
    _signature: tuple[tuple[str, int, int, int], ...] = ()
    _data: bytes = b""  # the file as it was read last
    _earlier: bytes = b""  # of files that were rotated away, and belong to the run
    _inode: int = 0
    _undecided: bytes = field(default=b"", repr=False)  # an old file; does the new one go on?

    def read(self, whole: bool) -> tuple[Runs | None, str]:
        """The runs if the log has changed, else None; what happened to it, "" for nothing.

        Raises `DataError`: the log is not there or cannot be read.

        Parameters
        ----------
        whole : bool
            Read a last line without its end too.
        """
        from ..sources import survey

        signature = self._stats()
        if signature == self._signature:
            return None, ""
        self._signature, before = signature, self._signature
        if self.path.is_dir():
            return survey(self.path, **self.reading)[0], _folder_again(before, signature)
        source, replaced = self._source()
        if not whole:
            source = _complete_lines(source)
        if not source.is_text or _is_document(source):
            self._earlier = self._undecided = b""
            return survey(source, **self.reading)[0], ""
        note = self._decide(source) if replaced or self._undecided else ""
        if self._earlier:
            source = _with_data(source, self._earlier + source.data)
        return survey(source, **self.reading)[0], note

    def _source(self) -> tuple[Source, bool]:
        """The file as it is, and whether it is another one than before."""
        from ..sources import Source

        name = str(self.path)
        replaced = False
        if self.path.suffix.lower() in PLAIN:
            source = Source.of_path(self.path, name)
            self._data = b""
        else:
            new = self._appended()
            if new is None:
                source = Source.of_path(self.path, name)
                replaced = bool(self._data) and not source.data.startswith(self._data)
                if replaced and not self._undecided:
                    self._undecided = self._data + self._rest_of_the_old()
                self.bytes_read += len(source.data)
            else:
                source = _with_data(
                    Source(name, self.path.stem, self.path.suffix.lower(), b"", (self.path,)),
                    self._data + new,
                )
                self.bytes_read += len(new)
            self._data = source.data
        self._inode = self._signature[0][1]
        return source, replaced

    def _appended(self) -> bytes | None:
        """What was added to the file; None where it must be read as a whole."""
        _, inode, size, _ = self._signature[0]
        had = len(self._data)
        if not had or inode != self._inode or size <= had:
            return None
        first = max(had - COMPARED, 0)
        head, tail = self._data[:COMPARED], self._data[first:]
        try:
            with self.path.open("rb") as file:
                if file.read(len(head)) != head:
                    return None
                file.seek(first)
                return file.read() if file.read(len(tail)) == tail else None
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error}") from None

    def _rest_of_the_old(self) -> bytes:
        """What the old file got after it was read last, where it was only renamed."""
        try:
            for other in self.path.parent.iterdir():
                stat = other.stat()
                if stat.st_ino == self._inode and other != self.path and stat.st_size:
                    data = other.read_bytes()
                    return data[len(self._data) :] if data.startswith(self._data) else b""
        except OSError:
            pass
        return b""

    def _decide(self, source: Source) -> str:
        """Whether a new file goes on where the old one ended, holds it too, or begins again."""
        from ..sources import survey

        new = survey(source, **self.reading)[0]  # raises until it can be read
        old, self._undecided = self._undecided, b""
        together = self._earlier + old
        together += b"" if together.endswith((b"\n", b"\r")) else b"\n"
        try:
            before = survey(_with_data(source, together), **self.reading)[0]
        except DataError:
            before = None
        if before is not None and before.names == new.names:
            if source.encoding != "utf-16" and _goes_on(before, new):
                self._earlier = together
                return ON
            if _holds(new, before):  # the table was rewritten, perhaps with a further column
                self._earlier = b""
                return ""
        self._earlier = b""
        return AGAIN

    def _stats(self) -> tuple[tuple[str, int, int, int], ...]:
        from ..sources._folders import logs_in

        try:
            if not self.path.exists():
                raise DataError(f"there is no file {self.path} yet")
            files = [self.path]
            if self.path.is_dir():
                files = [f for log in logs_in(self.path, str(self.path)) for f in log.files]
            stats = [(str(file), file.stat()) for file in files]
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.path} cannot be read: {error}") from None
        return tuple((name, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in stats)


def _goes_on(before: Runs, new: Runs) -> bool:
    """Whether all runs of a new file begin beyond the ends of the old one."""
    for name in new.names:
        axis = new[name].axes[0]
        if not before[name].has(axis) or new[name].axis(axis)[0] <= before[name].end(axis):
            return False
    return True


def _holds(new: Runs, before: Runs) -> bool:
    """Whether all runs begin with the points that they had before."""
    for name in new.names:
        old, axis = before[name], new[name].axes[0]
        had = len(old)
        if len(new[name]) < had or not old.has(axis):
            return False
        same_place = np.array_equal(new[name].axis(axis)[:had], old.axis(axis))
        if not (same_place and np.allclose(new[name].loss[:had], old.loss, rtol=1e-3)):
            return False
    return True


def _folder_again(
    before: tuple[tuple[str, int, int, int], ...], now: tuple[tuple[str, int, int, int], ...]
) -> str:
    """`AGAIN` where a file of a folder became shorter, or another one under its name."""
    known = {name: (inode, size) for name, inode, size, _ in before}
    for name, inode, size, _ in now:
        if name in known:
            old_inode, old_size = known[name]
            document = name.endswith(".json")  # written as a whole every time, and it only grows
            if size < old_size or (inode != old_inode and not document):
                return AGAIN
    return ""


def _with_data(source: Source, data: bytes) -> Source:
    from ..sources import Source

    return Source(source.name, source.stem, source.suffix, data, source.paths)


def _complete_lines(source: Source) -> Source:
    """The log without a last line that is still being written."""
    if not source.is_text:
        return source
    data = source.data
    if source.encoding == "utf-16":
        ends = (b"\n\0", b"\0\n")
        stop = max(data.rfind(end) for end in ends) + 2
        stop -= stop % 2
    else:
        stop = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    if 0 < stop < len(data) and not _is_document(source):
        return _with_data(source, data[:stop])
    return source


def _is_document(source: Source) -> bool:
    """Whether the log is one JSON document, whose last line may lack an end for good."""
    from ..sources import trainer_state

    return bool(trainer_state.matches(source)) or source.first_line.lstrip().startswith("[{")
