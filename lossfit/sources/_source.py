"""What a reader gets and gives."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..cleaning import Flag
from ..errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Reader", "Source", "Table"]

HEAD = 4096


@dataclass(frozen=True)
class Source:
    """One log, read into memory.

    Attributes
    ----------
    name : str
        What to call it in messages: the path, or "standard input".
    stem : str
        Name of its run where the log does not name one.
    suffix : str
        Ending of the file name, lower case, with the dot; "" for none.
    data : bytes
        The contents.
    """

    name: str
    stem: str
    suffix: str
    data: bytes

    @classmethod
    def of_path(cls, path: Path, name: str) -> Source:
        """The file at that path; `DataError` if it cannot be read."""
        if path.is_dir():
            raise DataError(f"{name} is a directory: give the log files in it")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise DataError(f"there is no file {name}") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{name} cannot be read: {error}") from None
        return cls(name, path.stem, path.suffix.lower(), data)

    @property
    def is_text(self) -> bool:
        """Whether the contents look like text."""
        head = self.data[:HEAD]
        return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" not in head

    def text(self) -> str:
        """The contents as text: UTF-8, or UTF-16 with a byte-order mark.

        Raises
        ------
        DataError
            Binary contents, or text in another encoding (the message names the line).
        """
        if not self.is_text:
            raise DataError(f"{self.name} is a binary file of a kind that lossfit does not read")
        encoding = "utf-8-sig"
        if self.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            encoding = "utf-16"
        try:
            return self.data.decode(encoding)
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{self.name}, line {line}: not {encoding.removesuffix('-sig')} text; save the "
                "file as UTF-8"
            ) from None


@dataclass(frozen=True)
class Table:
    """What a reader gives back.

    Attributes
    ----------
    frame : pandas.DataFrame
        Tidy, with the column names of `lossfit.frames.COLUMNS` where it has them.
    row_words : callable
        The words for a row by position, e.g. "line 7".
    flags : list of Flag
        What the reader noticed.
    """

    frame: pd.DataFrame
    row_words: Callable[[int], str]
    flags: list[Flag] = field(default_factory=list)


class Reader(Protocol):
    """A log format.  A module of ``lossfit.sources`` is one: it has these two functions."""

    def matches(self, source: Source) -> bool:
        """Whether the log is of this format, by its name and first bytes."""

    def read(self, source: Source) -> Table:
        """The log as a tidy frame; `DataError` for what is wrong in it."""
