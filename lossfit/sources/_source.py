"""What a reader gets and gives; how a log is read into memory, within bounds."""

from __future__ import annotations

import codecs
import io
import itertools
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from .._base.errors import DataError
from ..runs.cleaning import Flag
from ._prefixes import plain

if TYPE_CHECKING:
    import pandas as pd

HEAD = 4096
SNIFFED = 1 << 22  # of a text, in which a format's lines are looked for: some logs start with code
CHUNK = 1 << 22
SLICE = 512  # of a gzip file, to begin with
PIPE_WAIT = 5.0  # seconds for a pipe to be written to
PLAIN_LINES = 5_000
LONGEST_PLAIN = 1 << 14  # characters
LINE = re.compile(r"[^\r\n]+")
LONGEST_LINE = 1 << 26  # 64 MiB
LARGEST_FILE = 1 << 31  # 2 GiB
# Text compresses some ten times, and hardly ever two hundred times.
LEAST_PACKED = 1 << 26
MOST_PACKED = 200

PARQUET = b"PAR1"
GZIP = b"\x1f\x8b"
EVENTS = b"brain.Event:"
STATED_ENDS = frozenset({"total_steps", "max_steps"})  # columns: where the run is planned to end
BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
}


@dataclass(frozen=True)
class Source:
    """One log, read into memory."""

    name: str  # what to call it in messages: the path, or "standard input"
    stem: str  # name of its run where the log does not name one
    suffix: str  # ending of the file name, lower case, with the dot; "" for none
    data: bytes  # the contents, unpacked
    # the files themselves, where there are any; several are parts of one run, in order
    paths: tuple[Path, ...] = ()
    beside: tuple[Path, ...] = ()  # other logs in its folder, which are not read
    optional: bool = False  # one of several files of a folder: left out where it holds no losses

    @classmethod
    def of_path(cls, path: Path, name: str) -> Source:
        """The file at that path; `DataError` if it cannot be read."""
        if path.is_dir():
            raise DataError(f"{name} is a directory: give the log files in it")
        try:
            with _opened(path, name) as stream:
                return cls.of_stream(stream, name, path.stem, path.suffix.lower(), path)
        except FileNotFoundError:
            raise DataError(f"there is no file {name}") from None
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"{name} cannot be read: {error}") from None

    @classmethod
    def of_stream(
        cls, stream: IO[Any], name: str, stem: str, suffix: str, path: Path | None = None
    ) -> Source:
        """An open file to its end, unpacked if it is compressed with gzip."""
        data = _whole_file(stream, name, suffix) or read_bounded(_chunks(stream), name, suffix)
        paths = () if path is None else (path,)
        if not data.startswith(GZIP):
            return cls(name, stem, suffix, data, paths)
        inner = Path(stem) if suffix == ".gz" else Path(stem + suffix)
        unpacked = read_bounded(_unpacked(data, name), name, inner.suffix.lower())
        return cls(name, inner.stem, inner.suffix.lower(), unpacked)

    @property
    def is_text(self) -> bool:
        """Whether the contents look like text."""
        return _is_text(self.data[:HEAD]) and not self.data.startswith(PARQUET)

    @cached_property
    def head(self) -> str:
        """The first few MiB as text, "" for a binary file; undecodable bytes are replaced."""
        if not self.is_text:
            return ""
        return self.data[:SNIFFED].decode(self.encoding, errors="replace")

    @cached_property
    def first_line(self) -> str:
        """The first line that is not blank, as far as `head` goes."""
        for line in _lines_of(self.head):
            if line.strip():
                return line
        return ""

    @cached_property
    def first_lines(self) -> list[str]:
        """The first few lines that are not blank, as far as `head` goes."""
        lines = (line for line in _lines_of(self.head) if line.strip())
        return list(itertools.islice(lines, 3))

    @cached_property
    def plain_head(self) -> str:
        """The first lines of `head` without control codes and prefixes (`_prefixes.plain`)."""
        lines = itertools.islice(self.lines(head=True), PLAIN_LINES)
        return "\n".join(plain(line[:LONGEST_PLAIN]).text for _, line in lines)

    def shows(self, pattern: re.Pattern[str]) -> bool:
        """Whether the pattern is found near the start of a text, with prefixes or without."""
        return bool(pattern.search(self.head) or pattern.search(self.plain_head))

    def lines(self, head: bool = False) -> Iterator[tuple[int, str]]:
        """Lines that are not empty, with their numbers; undecodable bytes are replaced.

        A progress bar ends its lines by returns: each is a line here, of one number.
        """
        number = 1
        for piece in self._pieces(head):
            last = 0
            for match in LINE.finditer(piece):
                number += piece.count("\n", last, match.start())
                last = match.start()
                yield number, match.group()
            number += piece.count("\n", last)

    @property
    def ends_a_line(self) -> bool:
        """Whether the last line is whole."""
        return self.data[-2:].rstrip(b"\0").endswith((b"\n", b"\r"))

    def _pieces(self, head: bool) -> Iterator[str]:
        """The text in pieces of whole lines."""
        if head or self.encoding == "utf-16":
            yield self.head if head else self.data.decode(self.encoding, errors="replace")
            return
        start, size = 0, len(self.data)
        while start < size:
            stop = min(start + CHUNK, size)
            if stop < size:
                cut = self.data.find(b"\n", stop)
                stop = size if cut < 0 else cut + 1
            yield bytes(self.data[start:stop]).decode("utf-8-sig", errors="replace")
            start = stop

    @property
    def encoding(self) -> str:
        """UTF-16 where the contents start with its byte-order mark, else UTF-8."""
        return "utf-16" if self.data.startswith(BOMS) else "utf-8-sig"

    def text(self) -> str:
        """The contents as text: UTF-8, or UTF-16 with a byte-order mark.

        Bytes that cannot be decoded are replaced.

        Raises `DataError`: binary contents, or NUL bytes in many places (the message names the
        line).
        """
        return self.whole_bytes().decode(self.encoding, errors="replace")

    def whole_bytes(self) -> bytes:
        """The contents without the NUL bytes that a crash left; `DataError` for a binary file."""
        if not self.is_text:
            raise DataError(f"{self.name} is a binary file of a kind that lossfit does not read")
        data = self.data
        if self.encoding == "utf-16" or (at := data.find(b"\0")) < 0:
            return data
        lines = data.count(b"\n") + 1
        damaged = sum(1 for line in data.split(b"\n") if b"\0" in line)
        if damaged > max(1, lines // 100) or data.count(b"\0") > len(data) // 50:
            line = data.count(b"\n", 0, at) + 1
            raise DataError(
                f"{self.name}, line {line}: NUL bytes, as a crash while writing leaves them: "
                "delete them or the line"
            )
        return data.replace(b"\0", b"")


@dataclass(frozen=True)
class Table:
    """What a reader gives back."""

    # tidy, with the column names of `lossfit.runs.frames.COLUMNS` where it has them.  A column
    # ``count`` is about the training losses (`lossfit.runs.selection`)
    frame: pd.DataFrame
    row_words: Callable[[int], str]  # the words for a row by position, e.g. "line 7"
    # what the reader noticed; a flag of run "" is of every run of the log
    flags: list[Flag] = field(default_factory=list)
    # flags of the training losses only: left out where other losses are read
    loss_flags: list[Flag] = field(default_factory=list)
    long: bool = False  # each row has the value of one column: one without a loss is not missing it
    tokens_per_step: float | None = None  # batch size in tokens, if the log says it
    # steps that the run was to make, if the log says it: ``meta["planned_steps"]``
    planned_steps: float | None = None

    @property
    def meta(self) -> Mapping[str, Any]:
        """What to keep with the runs."""
        import pandas as pd

        planned = self.planned_steps
        for name in STATED_ENDS.intersection(self.frame.columns):
            column = pd.to_numeric(self.frame[name], errors="coerce")
            if planned is None and 0 < column.min() == column.max():  # the same in every row
                planned = float(column.max())
        return {} if planned is None else {"planned_steps": planned}


@dataclass(frozen=True)
class Example:
    """A small log of a format, which the tests of all formats read."""

    log: str | Callable[[], bytes]  # or what gives its bytes
    # its points: training losses (validation losses where it has no others)
    # by step.  Empty for a kind of file that is refused
    losses: dict[float, float]

    @property
    def data(self) -> bytes:
        """The log as bytes."""
        return self.log.encode() if isinstance(self.log, str) else self.log()


class Reader(Protocol):
    """A log format: what a module of ``lossfit.sources`` has."""

    EXAMPLE: Example

    def matches(self, source: Source) -> bool:
        """Whether the log is of this format, by its name and first bytes."""

    def read(self, source: Source) -> Table:
        """The log as a tidy frame; `DataError` for what is wrong in it."""


def read_bounded(
    chunks: Iterator[bytes],
    name: str,  # what to call the log in messages
    suffix: str = "",  # ending of its name; one of Parquet's lets binary contents through
) -> bytes:
    """All chunks in one, unless they cannot be a log: then no more of them is taken than needed.

    Raises `DataError`: a binary file of another kind than Parquet, gzip or TensorBoard events; a
    line of a text beyond `LONGEST_LINE`; a file beyond `LARGEST_FILE`.
    """
    data = bytearray()
    is_text = True
    line_start, scanned = 0, 0
    first = True
    for chunk in chunks:
        data += chunk
        if first and len(data) >= 8:
            first = False
            is_text = _checked_kind(bytes(data[:HEAD]), name, suffix)
        if len(data) > LARGEST_FILE:
            raise DataError(_too_large(name))
        if is_text:
            line_start = _checked_lines(data, scanned, len(data), line_start, name)
            scanned = len(data)
    if first:
        _checked_kind(bytes(data[:HEAD]), name, suffix)
    return bytes(data)


def _whole_file(stream: IO[Any], name: str, suffix: str) -> bytes:
    """What `read_bounded` gives, of a file on a disk: in memory once; b"" for other streams."""
    if not isinstance(stream, io.BufferedReader) or not isinstance(stream.raw, io.FileIO):
        return b""
    status = os.fstat(stream.fileno())
    if not stat.S_ISREG(status.st_mode) or not status.st_size or stream.tell():
        return b""
    is_text = _checked_kind(stream.read(HEAD), name, suffix)
    if status.st_size > LARGEST_FILE:
        raise DataError(_too_large(name))
    stream.seek(0)
    data = stream.read(status.st_size)
    line_start = 0
    for start in range(0, len(data) if is_text else 0, CHUNK):
        stop = min(start + CHUNK, len(data))
        line_start = _checked_lines(data, start, stop, line_start, name)
    return data


def _too_large(name: str) -> str:
    return (
        f"{name} is larger than {LARGEST_FILE >> 30} GiB: split it, or keep only the "
        "columns that are needed"
    )


def _checked_lines(data: bytes | bytearray, start: int, stop: int, line: int, name: str) -> int:
    """Where the last line that begins in ``data[:stop]`` begins; ``line`` is that of ``start``."""
    line = max(line, data.rfind(b"\n", start, stop) + 1)
    line = max(line, data.rfind(b"\r", start, stop) + 1)
    if stop - line > LONGEST_LINE:
        number = data.count(b"\n", 0, line) + 1
        raise DataError(
            f"{name}, line {number}: longer than {LONGEST_LINE >> 20} MiB, which no line of "
            "a log is: write one line for each step"
        )
    return line


def _opened(path: Path, name: str) -> IO[bytes]:
    """The file, open; `DataError` for devices, sockets and pipes that nothing writes to."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return path.open("rb")
    if not stat.S_ISFIFO(mode):
        kind = "socket" if stat.S_ISSOCK(mode) else "device"
        raise DataError(f"{name} is a {kind} and no log: give a file")
    # Without blocking, a pipe opens whether or not something writes to it; what tells is reading.
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    begun = time.monotonic()
    while True:
        try:
            first = os.read(end, CHUNK)
        except BlockingIOError:  # something has it open for writing
            first = b""
            break
        if first:
            break
        if time.monotonic() - begun > PIPE_WAIT:
            os.close(end)
            raise DataError(
                f"{name} is a pipe that nothing writes to: start the writer first, or give a file"
            )
        time.sleep(0.02)
    os.set_blocking(end, True)
    return _Rest(first, os.fdopen(end, "rb"))  # type: ignore[return-value]


class _Rest:
    """A stream after its first bytes were read."""

    def __init__(self, first: bytes, stream: IO[bytes]) -> None:
        self.first, self.stream = first, stream

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        if self.first:
            first, self.first = self.first, b""
            return first
        return self.stream.read(size)

    def __enter__(self) -> _Rest:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()


def _checked_kind(head: bytes, name: str, suffix: str) -> bool:
    """Whether a file is text; `DataError` for a binary one that no reader takes."""
    if head.startswith((PARQUET, GZIP)) or EVENTS in head[:64] or "tfevents" in name:
        return False
    for magic, words in PACKED.items():
        if head.startswith(magic):
            raise DataError(f"{name} is {words}: unpack it first (gzip is read as it is)")
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataError(
            f"{name} is a pickle, which can run any code when it is loaded, so lossfit does not: "
            "save the table as CSV, JSON lines or Parquet"
        )
    if _is_text(head):
        return True
    if suffix in (".parquet", ".pq"):
        return False
    at = head.find(b"\0")
    before = head[: head.rfind(b"\n", 0, max(at, 0)) + 1]
    if before and min(before) >= 9 and max(before) < 127:
        line = head.count(b"\n", 0, at) + 1
        raise DataError(
            f"{name}, line {line}: NUL bytes after text, as a crash while writing or a second "
            "encoding leaves them: delete them, or save the file as UTF-8"
        )
    if at < 2 and (b"\0" not in head[::2] or b"\0" not in head[1::2]) and head.count(b"\0") > 2:
        raise DataError(
            f"{name} looks like UTF-16 text without a byte-order mark: save the file as UTF-8"
        )
    raise DataError(
        f"{name} is a binary file of a kind that lossfit does not read; it reads logs and tables "
        "as text, Parquet and TensorBoard's event files"
    )


def _is_text(head: bytes) -> bool:
    return head.startswith(BOMS) or b"\0" not in head


def _chunks(stream: IO[Any]) -> Iterator[bytes]:
    while True:
        chunk = stream.read(CHUNK)
        if not chunk:
            return
        yield chunk.encode() if isinstance(chunk, str) else bytes(chunk)


def _unpacked(data: bytes, name: str) -> Iterator[bytes]:
    """The members of a gzip file, in pieces; `DataError` for what expands beyond reason.

    A member is fed in growing slices, so that many small ones take time in proportion to the file.
    """
    view = memoryview(data)
    at, total = 0, 0
    most = max(LEAST_PACKED, MOST_PACKED * len(data))
    while at < len(data):
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        size = SLICE
        while not inflate.eof and at < len(data):
            fed = view[at : at + size]
            at += len(fed)
            size = min(2 * size, CHUNK)
            rest: Any = fed
            while True:
                try:
                    piece = inflate.decompress(rest, CHUNK)
                except zlib.error as error:
                    words = f"{name} is not a gzip file that can be read: {error}"
                    raise DataError(words) from None
                total += len(piece)
                if total > most:
                    raise DataError(
                        f"{name} unpacks to more than {MOST_PACKED} times its size, which no log "
                        "does"
                    )
                if piece:
                    yield piece
                rest = inflate.unconsumed_tail
                if inflate.eof or not rest:
                    break
        if not inflate.eof:
            raise DataError(f"{name} ends in the middle of its gzip data: copy it again")
        at -= len(inflate.unused_data)
        if not view[at : at + 1].tobytes().strip(b"\0") and not bytes(view[at:]).strip(b"\0"):
            return  # padding


def _lines_of(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        yield text[start:stop].removesuffix("\r")
        start = stop + 1
